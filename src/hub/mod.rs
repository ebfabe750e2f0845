//! Who hears what: rooms, their members, the order of their messages, and the plan of a fan-out.
//!
//! ```text
//!   shard of a member                 home of the room                shards of all members
//!   Rooms ── Join, Leave, Publish ──▶ Home ── Answer, Deliver ──────▶ Rooms ── sends
//!            (Requests)               counts, orders, remembers       (Notices)
//! ```
#![forbid(unsafe_code)]

mod audience;
mod batch;
mod history;
mod home;
mod road;
mod rooms;
pub mod span;
mod wording;

pub use audience::{Audience, RoundTimes, Seat};
pub use batch::Batch;
pub use history::{History, HistoryLimits};
pub use home::{Home, Now, RoomFigures, RoomsPart, RoomsQuery, SpanFigures, SpanPlan, rank_rooms};
pub use road::{MemberTicket, Notice, Request, Requests, RoomName};
pub use rooms::{RoomError, Rooms, home_of};
pub use wording::{Epoch, Joined, Position, Wording};

#[cfg(test)]
mod tests;
