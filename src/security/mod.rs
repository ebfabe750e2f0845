//! Who may come, as whom, and how much: decisions without I/O and without a clock.
//!
//! [`Access`] and [`Networks`] are all of them as the server is configured: the one is replaced
//! when the settings change, the other lives on. Nothing here keeps or shows the text of a
//! token, a password or a key longer than the decision takes.
#![forbid(unsafe_code)]

mod access;
mod admission;
mod client;
mod credentials;
mod der;
mod identity;
mod key;
mod networks;
mod origin;
mod password;
mod proxies;
mod rate;
mod secret;
mod token;

pub use access::{Access, AuthMode, Unauthenticated};
pub use admission::{Admission, AdmissionLimits, Network, Refused, Ticket};
pub use client::{ClientAddress, NotAnAddress};
pub use credentials::{CredentialsError, token_of};
pub use identity::{Identity, is_user_name};
pub use networks::Networks;
pub use origin::{Origins, OriginsError};
pub use password::PasswordFile;
pub use proxies::{Proxies, ProxiesError};
pub use rate::{RateLimit, RateWindow};
pub use token::{TokenError, TokenVerifier};
