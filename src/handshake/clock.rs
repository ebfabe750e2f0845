//! The clocks of the handshake.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::collections::Tick;
use crate::limits::{TICK_MILLISECONDS, TICKS_PER_SECOND};

/// Seconds of Unix time, by which tokens expire.
pub(super) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Ticks of the host's steady clock, the same on all shards.
pub(super) fn host_tick() -> Tick {
    let time = clock_gettime(ClockId::Monotonic);
    let ticks = time.tv_nsec / (TICK_MILLISECONDS as i64 * 1_000_000);
    (time.tv_sec as Tick).wrapping_mul(TICKS_PER_SECOND).wrapping_add(ticks as Tick)
}
