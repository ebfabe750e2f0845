//! TLS 1.2 and 1.3: how it is configured, and how it is spoken over the sockets of a thread.
//!
//! `rustls` does the cryptography and the protocol, without buffers of its own: records are opened
//! in what was received, and made in a buffer that all connections of the thread share. Files are
//! read when the server starts and with every reload, never by a shard.

mod certificates;
mod resolver;
mod session;
mod settings;
mod wire;

pub use session::Session;
pub use settings::Tls;
pub use wire::{Heard, Inlet, Outcome, Outlet, flush, say_goodbye, shut_down_write};

#[cfg(test)]
mod tests;
