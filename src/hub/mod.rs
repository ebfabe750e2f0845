//! Who hears what: audiences, the order of their messages, and the plan of a fan-out.
#![forbid(unsafe_code)]

mod audience;
mod wording;

pub use audience::{Audience, Batch, Seat};
pub use wording::{Epoch, Joined, Position, Wording};
