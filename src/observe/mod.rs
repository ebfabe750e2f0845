//! What the server tells of itself: counters with one writer each, their text, the log, and the
//! listener where operators ask for them.

mod admin;
mod counters;
mod log;
mod overview;
mod process;
mod prometheus;
mod summary;

pub use admin::{Operator, Order, start};
pub use counters::{Counter, HandshakeResult, ShardCounters};
pub use log::{DropReason, EXIT_PANIC, LogControl, LogStatistics, Sink};
pub use overview::{
    CloseOverview, Flows, LogLine, MemoryOverview, Overview, Percentiles, RoomOverview,
    ServerState, ShardOverview,
};
pub use process::process_exposition;
pub use prometheus::exposition;
pub use summary::Summary;
