//! TLS 1.2 and 1.3 over the sockets of a thread.
//!
//! `rustls` does the cryptography and the protocol, without buffers of its own: records are opened
//! in what was received, and made in a buffer that all connections of the thread share.

mod session;
mod wire;

pub use session::Session;
pub use wire::{Heard, Inlet, Outcome, Outlet, flush, say_goodbye, shut_down_write};
