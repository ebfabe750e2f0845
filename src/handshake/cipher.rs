//! Cryptography takes turns with everything else that a shard does.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::limits::TLS_TIME_PER_TURN;

/// Has handshakes of TLS, of which a step takes up to a millisecond, leave time for connections
/// that are established, however many there are.
#[derive(Debug)]
pub(super) struct CipherTurns {
    /// One step after the other, in the order in which they were ready.
    gate: Semaphore,
    /// What steps took since others had their turn.
    spent: Cell<Duration>,
}

impl CipherTurns {
    pub(super) const fn new() -> Self {
        Self { gate: Semaphore::const_new(1), spent: Cell::new(Duration::ZERO) }
    }

    /// Does a step, after those that were ready before it.
    pub(super) async fn take<R>(&self, step: impl FnOnce() -> R) -> R {
        let _turn = self.gate.acquire().await.expect("nobody closes the gate");
        if self.spent.get() >= TLS_TIME_PER_TURN {
            // Comes back after the reactor has been looked at, which wakes the shard.
            tokio::task::yield_now().await;
            self.renew();
        }
        let start = Instant::now();
        let result = step();
        self.spent.set(self.spent.get() + start.elapsed());
        result
    }

    /// Others had their turn.
    pub(super) fn renew(&self) {
        self.spent.set(Duration::ZERO);
    }
}
