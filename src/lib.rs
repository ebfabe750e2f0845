//! A WebSocket server on io_uring for hosts that hold hundreds of thousands of connections.

pub mod collections;
pub mod config;
pub mod limits;
pub mod protocol;
