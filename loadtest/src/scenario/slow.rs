//! `slow`: some clients hardly read, while an inner scenario measures the others.

use super::alarms::Alarms;
use super::{Known, Message, Scenario};
use crate::connections::{Cause, Connections};
use crate::names;
use crate::payload::{Payloads, Stamp};
use crate::stats::{Failure, Stats};

/// Nanoseconds between two reads of a slow reader at least: often enough to be steady, and rare
/// enough to cost nothing.
const READ_NANOSECONDS_MIN: f64 = 1e8;

/// What slow readers do. The last clients of every thread are slow readers.
#[derive(Debug)]
pub(crate) struct Habits {
    /// Bytes that each reads per second; 0 is never.
    pub(crate) read_rate: usize,
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

    /// Nanoseconds between two reads, and the bytes of each.
    fn reading(&self) -> Option<(u64, usize)> {
        let rate = self.habits.read_rate as f64;
        let interval = READ_NANOSECONDS_MIN.max(1e9 / rate);
        (rate > 0.0).then(|| (interval as u64, (rate * interval * 1e-9).round() as usize))
    }

    /// Reads with the slow readers whose time has come.
    fn read(&mut self, connections: &mut Connections, now: u64) {
        let Some((interval, bytes)) = self.reading() else { return };
        while let Some((slow, due)) = self.reads.next(now) {
            let index = self.first_slow + slow;
            let read = connections.read_some(self, index, bytes);
            connections.stats.count_many(names::SLOW_BYTES, read as u64);
            if connections.is_open(index) {
                self.reads.set(slow, (due + interval).max(now));
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
        let spread = |interval: u64, slow: u32| u64::from(slow) * interval / u64::from(count);
        for slow in 0..count {
            if !connections.is_open(self.first_slow + slow) {
                continue;
            }
            connections.stats.count(names::SLOW_READERS);
            if let Some((interval, _)) = self.reading() {
                self.reads.set(slow, origin + spread(interval, slow));
            }
            if let Some((_, interval)) = self.habits.sends {
                self.sends.set(slow, origin + spread(interval, slow));
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
