//! What the server tells of itself: counters and
//! histograms with one writer each, their text, the log, and the
//! listener where operators ask for them.

mod admin;
mod counters;
mod family;
mod histogram;
mod log;
mod overview;
mod process;
mod prometheus;
mod sample;
mod sampler;
mod summary;

pub use admin::{Admin, AdminToken, AskError, Operator, Order, RoomList, list_rooms, rooms};
pub use counters::{Counter, ShardCounters, TimeCounter};
pub use family::{
    AcceptError, Closes, ErrorKind, Family, HandshakeResult, Label, RefusedStatus, SocketCall,
    TlsHandshake,
};
pub use histogram::{Histogram, empty as empty_times};
pub use log::{DropReason, EXIT_PANIC, LogControl, LogStatistics, Sink};
pub use overview::{
    CloseOverview, Flows, LogLine, MemoryOverview, Overview, Percentiles, RoomOverview,
    ServerState, ShardOverview,
};
pub use process::ProcessFigures;
pub use prometheus::{MEDIA_TYPE, exposition};
pub use summary::Summary;
