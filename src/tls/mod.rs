//! TLS as configured: certificates, which of them a client gets, and who must show one.
//!
//! Files are read when the server starts and with every reload, never by a shard.

mod certificates;
mod resolver;
mod settings;

pub use settings::Tls;
#[cfg(test)]
mod tests;
