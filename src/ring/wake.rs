//! The doorbell of a thread: an eventfd that other threads and the thread's own ring both ring.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};

/// Wakes one thread. Create every `Wake` before the threads take descriptor tables of their own:
/// the copied tables then hold it under the same number.
#[derive(Debug)]
pub struct Wake(OwnedFd);

impl Wake {
    /// A new doorbell, not rung.
    ///
    /// # Errors
    /// EMFILE or ENFILE when descriptors are used up.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Rings. Any number of rings before the thread looks count as one.
    ///
    /// The counter is never read: readiness is edge-triggered, and at one ring per nanosecond it
    /// would take 500 years to fill 64 bits.
    pub fn ring(&self) {
        let rung = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        assert!(rung.is_ok(), "an eventfd takes eight bytes: {rung:?}");
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Wake {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
