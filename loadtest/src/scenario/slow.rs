//! `slow`: some clients hardly read, while an inner scenario measures the others.

use std::ops::RangeInclusive;

use ringwire::limits::READ_BYTES;

use super::alarms::Alarms;
use super::{Known, Message, Scenario};
use crate::connections::{Cause, Connections};
use crate::names;
use crate::payload::{Payloads, Stamp};
use crate::stats::{Failure, Stats};

/// Nanoseconds between two reads of a slow reader, unless its receive buffer holds less than comes
/// in that time: often enough to be steady, and rare enough to cost nothing.
const READ_NANOSECONDS: f64 = 1e8;

/// Bytes of a read: the kernel gives no socket a smaller receive buffer, and connections read no
/// more at once.
const SHARE_BYTES: RangeInclusive<usize> = 2048..=READ_BYTES;

/// Reads of a slow reader in a row, when it is late: the others wait meanwhile.
const READS_IN_A_ROW: u64 = 64;

/// What slow readers do. The last clients of every thread are slow readers.
#[derive(Debug)]
pub(crate) struct Habits {
    /// Bytes that each reads per second; 0 is never.
    pub(crate) read_rate: usize,
    /// Bytes that the kernel gathers for each at least.
    pub(crate) receive_buffer: usize,
    /// What each sends, and nanoseconds from one message to the next.
    pub(crate) sends: Option<(Payloads, u64)>,
}

/// Slow readers next to `S`, which knows nothing of them.
#[derive(Debug)]
pub(crate) struct Slow<S> {
    inner: S,
    habits: Habits,
    /// The first slow reader of this thread.
    first_slow: u32,
    reads: Alarms,
    sends: Alarms,
    /// Messages that slow readers have sent.
    sent: u32,
    /// When the load began.
    began: Option<u64>,
    settling: bool,
}

impl Habits {
    /// Nanoseconds between two reads, and the bytes of each. What is read at once is never more
    /// than the receive buffer holds: the server could not have sent the rest.
    fn reading(&self) -> Option<(u64, usize)> {
        let rate = self.read_rate as f64;
        let share_max = self.receive_buffer.clamp(*SHARE_BYTES.start(), *SHARE_BYTES.end());
        let bytes = (rate * READ_NANOSECONDS * 1e-9).round().clamp(1.0, share_max as f64);
        (rate > 0.0).then(|| (((bytes * 1e9 / rate) as u64).max(1), bytes as usize))
    }
}

impl<S: Scenario> Slow<S> {
    /// `inner` for the first clients of a thread, and slow readers from `first_slow` to `count`.
    pub(crate) fn new(inner: S, habits: Habits, first_slow: u32, count: u32) -> Self {
        let slow = count - first_slow;
        Self {
            inner,
            habits,
            first_slow,
            reads: Alarms::new(slow),
            sends: Alarms::new(slow),
            sent: 0,
            began: None,
            settling: false,
        }
    }

    const fn is_slow(&self, index: u32) -> bool {
        index >= self.first_slow
    }

    /// Reads with the slow readers whose time has come.
    fn read(&mut self, connections: &mut Connections, now: u64) {
        let Some((interval, bytes)) = self.habits.reading() else { return };
        while let Some((slow, due)) = self.reads.next(now) {
            let index = self.first_slow + slow;
            // A turn may come after the time of several reads.
            let missed = (now - due) / interval;
            for _ in 0..=missed.min(READS_IN_A_ROW) {
                let read = connections.read_some(self, index, bytes);
                connections.stats.count_many(names::SLOW_BYTES, read as u64);
                if read < bytes {
                    break;
                }
            }
            if connections.is_open(index) {
                self.reads.set(slow, due + (missed + 1) * interval);
            }
        }
    }

    /// Sends for the slow readers whose time has come.
    fn send(&mut self, connections: &mut Connections, now: u64) {
        if self.settling {
            return;
        }
        while let Some((slow, due)) = self.sends.next(now) {
            let Some((payloads, interval)) = &mut self.habits.sends else { return };
            let index = self.first_slow + slow;
            if !connections.is_open(index) {
                continue;
            }
            // What the server does not take is not gathered here without end.
            if connections.is_blocked(index) {
                connections.stats.count(names::SLOW_BLOCKED);
            } else {
                let (sender, number) = (connections.number(index), self.sent);
                self.sent = number.wrapping_add(1);
                let stamp = Stamp { sender, number, intended: due, sent: now };
                connections.send(index, payloads.frame(&stamp));
                connections.stats.count(names::SLOW_SENT);
            }
            let missed = (now - due) / *interval;
            self.sends.set(slow, due + (missed + 1) * *interval);
        }
    }
}

impl<S: Scenario> Scenario for Slow<S> {
    fn begin(&mut self, connections: &mut Connections, origin: u64) {
        self.began = Some(origin);
        let count = connections.count() - self.first_slow;
        for slow in 0..count {
            if !connections.is_open(self.first_slow + slow) {
                continue;
            }
            connections.stats.count(names::SLOW_READERS);
            if let Some((interval, _)) = self.habits.reading() {
                self.reads.set(slow, origin + spread(interval, slow, count));
            }
            if let Some((_, interval)) = self.habits.sends {
                self.sends.set(slow, origin + spread(interval, slow, count));
            }
        }
        self.inner.begin(connections, origin);
    }

    #[inline]
    fn message(&mut self, stats: &mut Stats, index: u32, message: Message<'_>) {
        if !self.is_slow(index) {
            self.inner.message(stats, index, message);
        }
    }

    #[inline]
    fn recognise(&mut self, stats: &mut Stats, index: u32, bytes: &[u8]) -> Known {
        if self.is_slow(index) {
            return Known::default();
        }
        self.inner.recognise(stats, index, bytes)
    }

    #[inline]
    fn read_done(&mut self, connections: &mut Connections, index: u32, now: u64) {
        if !self.is_slow(index) {
            self.inner.read_done(connections, index, now);
        }
    }

    fn turn(&mut self, connections: &mut Connections, now: u64) -> Result<Option<u64>, String> {
        self.read(connections, now);
        self.send(connections, now);
        let inner = self.inner.turn(connections, now)?;
        let sends = self.sends.next_at().filter(|_| !self.settling);
        Ok([inner, self.reads.next_at(), sends].into_iter().flatten().min())
    }

    fn published(&self) -> Option<u64> {
        self.inner.published()
    }

    fn settled(&mut self) -> bool {
        self.settling = true;
        self.inner.settled()
    }

    fn finish(&mut self, stats: &mut Stats) {
        self.inner.finish(stats);
    }

    fn lost(&mut self, index: u32, failure: Failure) {
        if !self.is_slow(index) {
            self.inner.lost(index, failure);
        }
    }

    fn opened(&mut self, connections: &mut Connections, index: u32, now: u64) {
        if !self.is_slow(index) {
            self.inner.opened(connections, index, now);
        }
    }

    fn gone(&mut self, connections: &mut Connections, index: u32, now: u64, cause: Cause) {
        if !self.is_slow(index) {
            self.inner.gone(connections, index, now, cause);
        } else if let Some(began) = self.began {
            connections.stats.histogram(names::SLOW_ENDED).record(now.saturating_sub(began));
        }
    }
}

/// Nanoseconds after the first of `count` slow readers that another begins: they take turns.
fn spread(interval: u64, slow: u32, count: u32) -> u64 {
    (u128::from(interval) * u128::from(slow) / u128::from(count)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_have_the_rate_that_was_asked_for() {
        assert_eq!(Habits { read_rate: 0, receive_buffer: 4096, sends: None }.reading(), None);
        for read_rate in [1, 19, 1 << 10, 640 << 10, 1 << 20, 64 << 20] {
            for receive_buffer in [0, 4 << 10, 1 << 20] {
                let habits = Habits { read_rate, receive_buffer, sends: None };
                let (interval, bytes) = habits.reading().expect("it reads");
                let rate = bytes as f64 * 1e9 / interval as f64;
                assert!((rate / read_rate as f64 - 1.0).abs() < 1e-3, "{read_rate}: {rate}");
                assert!((1..=READ_BYTES).contains(&bytes), "{bytes}");
                assert!(bytes <= receive_buffer.max(2048), "{bytes} of {receive_buffer}");
            }
        }
    }

    #[test]
    fn the_longest_intervals_are_spread_over_the_most_readers() {
        assert_eq!([0, 1, 3].map(|slow| spread(100, slow, 4)), [0, 25, 75]);
        let last = spread(1_000_000_000_000_000_000, 15_999_999, 16_000_000);
        assert_eq!(last, 999_999_937_500_000_000);
    }
}
