//! Now and then one line that says how the server is.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{LogControl, ShardCounters};
use crate::connection::CloseReason;

/// Ends of connections that no side wanted.
const FAULTS: [CloseReason; 8] = [
    CloseReason::ProtocolError,
    CloseReason::InvalidPayload,
    CloseReason::Policy,
    CloseReason::TooBig,
    CloseReason::SlowReader,
    CloseReason::Heartbeat,
    CloseReason::MessageDeadline,
    CloseReason::Overloaded,
];

/// What the counters said when they were last looked at, and when to look again.
#[derive(Debug)]
pub struct Summary {
    interval: Option<Interval>,
    counters: Arc<[ShardCounters]>,
    log: LogControl,
    looked: Instant,
    last: Totals,
}

/// Sums over all shards since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Totals {
    opened: u64,
    messages_received: u64,
    messages_sent: u64,
    errors: u64,
}

impl Summary {
    /// Sums up every `period`, for the first time after it; without one never. To be called on a
    /// runtime.
    #[must_use]
    pub fn new(period: Option<Duration>, counters: Arc<[ShardCounters]>, log: LogControl) -> Self {
        let looked = Instant::now();
        let interval = period.map(|period| {
            let mut interval = interval_at(looked + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        let last = Totals::of(&counters);
        Self { interval, counters, log, looked, last }
    }

    /// Waits until it is time for the next one; for ever if there is none. May be cancelled.
    pub async fn due(&mut self) {
        match &mut self.interval {
            Some(interval) => drop(interval.tick().await),
            None => pending().await,
        }
    }

    /// Writes the line, and what the log still has to say of itself.
    pub fn tell(&mut self) {
        let now = Instant::now();
        let seconds = now.duration_since(self.looked).as_secs_f64();
        let totals = Totals::of(&self.counters);
        let last = std::mem::replace(&mut self.last, totals);
        self.looked = now;
        let per_second = |count: u64| (count as f64 / seconds * 10.0).round() / 10.0;
        let connections: u64 = self.counters.iter().map(|shard| shard.connections.get()).sum();
        tracing::info!(
            connections,
            opened = totals.opened - last.opened,
            messages_per_second_in = per_second(totals.messages_received - last.messages_received),
            messages_per_second_out = per_second(totals.messages_sent - last.messages_sent),
            errors = totals.errors - last.errors,
            log_lines_dropped = self.log.lines_dropped(),
            "summary"
        );
        self.log.report_suppressed();
    }
}

impl Totals {
    fn of(counters: &[ShardCounters]) -> Self {
        let mut totals = Self::default();
        for shard in counters {
            totals.opened += shard.opened.get();
            totals.messages_received += shard.messages_received.get();
            totals.messages_sent += shard.messages_sent.get();
            totals.errors += shard.accept_errors.get();
            totals.errors +=
                FAULTS.iter().map(|reason| shard.closed[*reason as usize].get()).sum::<u64>();
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_summed_and_only_faults_are_errors() {
        let shards = [ShardCounters::default(), ShardCounters::default()];
        shards[0].opened.add(3);
        shards[1].opened.add(4);
        shards[0].messages_received.add(10);
        shards[1].messages_sent.add(20);
        shards[0].accept_errors.add(1);
        shards[1].count_closed(CloseReason::SlowReader);
        shards[1].count_closed(CloseReason::ClientClose);
        let expected = Totals { opened: 7, messages_received: 10, messages_sent: 20, errors: 2 };
        assert_eq!(Totals::of(&shards), expected);
    }
}
