//! What the server tells of itself: counters with one writer each, and their text.

mod admin;
mod counters;
mod process;
mod prometheus;

pub use admin::serve;
pub use counters::{Counter, HandshakeResult, ShardCounters};
pub use process::process_exposition;
pub use prometheus::exposition;
