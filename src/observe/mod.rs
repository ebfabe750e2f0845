//! What the server tells of itself: counters with one writer each, their text, the log, and the
//! listener where operators ask for them.

mod admin;
mod counters;
mod log;
mod overview;
mod process;
mod prometheus;
mod sample;
mod sampler;

pub use admin::{Admin, AskError, Operator, Order, RoomList, rooms};
pub use counters::{Counter, HandshakeResult, ShardCounters};
pub use log::LogControl;
pub use overview::{
    CloseOverview, Flows, LogLine, MemoryOverview, Overview, Percentiles, RoomOverview,
    ServerState, ShardOverview,
};
pub use process::process_exposition;
pub use prometheus::exposition;
