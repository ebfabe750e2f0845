//! From accept to adoption: short, branchy, sometimes slow work, as async tasks on tokio-uring.
//!
//! A task reads the request when bytes are there, answers it, and hands an upgraded socket to the
//! shard together with what followed the request. It never holds a buffer while it waits: a silent
//! peer costs its task and its descriptor. All of them share one kind of deadline, counted from
//! accept; who passes it is shut down, and the task sees the end of the stream.

mod cipher;
mod clock;
mod desk;
mod guest;
mod guests;
mod listener;
mod peer;
mod reception;
mod secure;
mod standing;
mod stream;

pub use desk::{Adoption, Desk, DeskPlan};
pub use listener::accept_connections;
pub use peer::PeerOf;
