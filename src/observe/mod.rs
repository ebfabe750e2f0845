//! What the server tells of itself: counters with one writer each, and their text.

mod admin;
mod counters;
mod prometheus;

pub use admin::serve;
pub use counters::{Counter, HandshakeResult, ShardCounters};
pub use prometheus::exposition;
