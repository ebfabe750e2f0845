//! Who hears what: audiences, the order of their messages, and the plan of a fan-out.
#![forbid(unsafe_code)]

mod audience;

pub use audience::{Audience, Batch, Seat};
