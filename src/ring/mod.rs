//! The only unsafe code: rings, descriptors, readiness, affinity. No protocol word in here.
//!
//! # What the kernel holds of ours
//!
//! Nothing but readiness. The only operations a [`Ring`] submits are polls, timers and
//! cancellations; bytes move by direct non-blocking calls ([`socket`]) on a readable or writable
//! socket, so no buffer of ours is ever in the kernel's hands when a call returns, and none can be
//! written to after it was freed. An idle connection costs one armed multishot poll and no buffer.
//!
//! # The rules that keep descriptors safe
//!
//! * A poll holds a reference to its file. `close(2)` under it would neither end the poll nor send
//!   a FIN, so a descriptor is closed only after the poll's last completion (`more == false`):
//!   shut down, cancel, wait, close.
//! * Operations are cancelled by [`Token`], never by descriptor: a token carries the generation of
//!   the slot, so that a late completion or cancellation cannot touch the slot's next tenant.
#![allow(unsafe_code)]

mod completion;
mod descriptors;
mod host;
pub mod probe;
pub mod socket;
mod token;
mod wake;

pub use completion::{Completion, Interest, Ring, RingSizes, TimerSlot};
pub use descriptors::{
    allowed_cpus, own_descriptor_table, pin_to_cpu, raise_descriptor_limit, thread_cpu_time,
};
pub use host::{Doorbell, HostSizes, poll_once, run_hosted};
pub use token::Token;
pub use wake::Wake;
