//! The opening handshake (RFC 6455 section 4): heads in, heads out.

mod client;
mod forwarded;
mod head;
mod refusal;
mod request;
mod response;

pub use client::{Accepted, ResponseError, check_response, write_request};
pub use forwarded::forwarded_for;
pub use head::HeadScanner;
pub use refusal::Refusal;
pub use request::{Request, UpgradeRequest, parse_request};
pub use response::{accept, accept_key, refuse};
