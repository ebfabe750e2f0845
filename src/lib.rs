//! A WebSocket server on io_uring for hosts that hold hundreds of thousands of connections.

pub mod check;
pub mod collections;
pub mod config;
pub mod limits;
pub mod protocol;
pub mod ring;
