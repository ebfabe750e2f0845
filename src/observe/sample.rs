//! One look at all counters, and what two of them tell together.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::admin::Operator;
use super::{
    CloseOverview, Flows, Histogram, MemoryOverview, Overview, Percentiles, ProcessFigures,
    RoomOverview, ServerState, ShardCounters, ShardOverview, empty_times,
};
use crate::connection::CloseReason;
use crate::hub::RoomFigures;
use crate::limits::OVERVIEW_ERRORS_MAX;

/// Times of all shards together, in nanoseconds.
type Times = hdrhistogram::Histogram<u64>;

/// The counters at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    at: Instant,
    totals: Flows<u64>,
    shards: Vec<ShardSample>,
    handshake: Times,
    turn: Times,
    fan_out: Times,
    outbound_delay: Times,
}

#[derive(Debug)]
struct ShardSample {
    messages_received: u64,
    messages_sent: u64,
    turns: u64,
    cpu: Duration,
}

impl Sample {
    pub(super) fn take(shards: &[ShardCounters]) -> Self {
        let sum = |sum: Flows<u64>, shard| sum.zip(flows(shard), |left, right| left + right);
        Self {
            at: Instant::now(),
            totals: shards.iter().fold(Flows::default(), sum),
            shards: shards.iter().map(ShardSample::take).collect(),
            handshake: times(shards, |shard| &shard.handshake_time),
            turn: times(shards, |shard| &shard.turn_time),
            fan_out: times(shards, |shard| &shard.fan_out_time),
            outbound_delay: times(shards, |shard| &shard.outbound_delay),
        }
    }

    /// The server at the moment of this sample, which is now. Rates are those since the last of
    /// the `earlier` samples, latencies those since the first.
    ///
    /// # Panics
    /// When there is no earlier sample.
    pub(super) fn overview(
        &self,
        earlier: &VecDeque<Self>,
        operator: &Operator,
        rooms: &[RoomFigures],
        started: Instant,
    ) -> Overview {
        let (Some(first), Some(last)) = (earlier.front(), earlier.back()) else {
            panic!("rates need an earlier sample");
        };
        let seconds = self.at.duration_since(last.at).as_secs_f64();
        let counters = &*operator.counters;
        let connections = sum(counters, |shard| shard.connections.get());
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        Overview {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            timestamp: unix_milliseconds(),
            uptime_seconds: self.at.duration_since(started).as_secs_f64(),
            state: state(operator),
            connections,
            connections_max: sum(counters, |shard| shard.connections_max.get()),
            handshakes_in_progress: sum(counters, |shard| shard.handshakes_in_progress.get()),
            totals: self.totals,
            rates: self.totals.zip(last.totals, rate),
            latency_seconds: self.at.duration_since(first.at).as_secs_f64(),
            handshake: percentiles(&self.handshake, &first.handshake),
            turn: percentiles(&self.turn, &first.turn),
            fan_out: percentiles(&self.fan_out, &first.fan_out),
            outbound_delay: percentiles(&self.outbound_delay, &first.outbound_delay),
            shards: self.shards(last, seconds, counters),
            memory: memory(connections),
            rooms: sum(counters, |shard| shard.rooms.get()),
            room_members: sum(counters, |shard| shard.room_members.get()),
            top_rooms: top_rooms(rooms),
            closes: closes(counters),
            recent_errors: operator.log.recent(OVERVIEW_ERRORS_MAX),
            log_lines_dropped: operator.log.lines_dropped(),
        }
    }

    fn shards(&self, last: &Self, seconds: f64, counters: &[ShardCounters]) -> Vec<ShardOverview> {
        let pairs = self.shards.iter().zip(&last.shards);
        let shards = pairs.zip(counters).enumerate().map(|(number, ((now, last), counters))| {
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
            let cpu = now.cpu.saturating_sub(last.cpu).as_secs_f64() / seconds;
            ShardOverview {
                number,
                connections: counters.connections.get(),
                messages_received: rate(now.messages_received, last.messages_received),
                messages_sent: rate(now.messages_sent, last.messages_sent),
                turns: rate(now.turns, last.turns),
                // Shards note their time at moments of their own.
                cpu: cpu.min(1.0),
            }
        });
        shards.collect()
    }
}

impl ShardSample {
    fn take(shard: &ShardCounters) -> Self {
        Self {
            messages_received: shard.messages_received.get(),
            messages_sent: shard.messages_sent.get(),
            turns: shard.turns.get(),
            cpu: shard.cpu_time.get(),
        }
    }
}

fn flows(shard: &ShardCounters) -> Flows<u64> {
    Flows {
        opened: shard.opened.get(),
        closed: shard.closed.total(),
        messages_received: shard.messages_received.get(),
        messages_sent: shard.messages_sent.get(),
        bytes_received: shard.bytes_received.get(),
        bytes_sent: shard.bytes_sent.get(),
        messages_dropped: shard.messages_dropped.total(),
        rate_limited: shard.rate_limited.get(),
        errors: shard.errors.total(),
    }
}

fn times(shards: &[ShardCounters], of: impl Fn(&ShardCounters) -> &Histogram) -> Times {
    let mut all = empty_times();
    for shard in shards {
        all.add(of(shard).snapshot()).expect("all have one layout");
    }
    all
}

/// Of the times between two samples.
fn percentiles(now: &Times, before: &Times) -> Percentiles {
    let mut times = now.clone();
    times.subtract(before).expect("a histogram only grows");
    if times.is_empty() {
        return Percentiles::default();
    }
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    let at = |quantile| seconds(times.value_at_quantile(quantile));
    Percentiles {
        count: times.len(),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: seconds(times.max()),
    }
}

fn sum(shards: &[ShardCounters], value: impl Fn(&ShardCounters) -> u64) -> u64 {
    shards.iter().map(value).sum()
}

fn state(operator: &Operator) -> ServerState {
    if operator.mesh.drain().is_some() {
        ServerState::Draining
    } else if operator.mesh.is_overloaded() {
        ServerState::Overloaded
    } else {
        ServerState::Serving
    }
}

fn memory(connections: u64) -> MemoryOverview {
    let ProcessFigures { resident_bytes, tcp_memory_bytes, .. } = ProcessFigures::read();
    let per_connection =
        if connections == 0 { 0.0 } else { resident_bytes as f64 / connections as f64 };
    MemoryOverview {
        resident_bytes,
        resident_bytes_per_connection: per_connection,
        kernel_socket_bytes: tcp_memory_bytes,
    }
}

fn top_rooms(rooms: &[RoomFigures]) -> Vec<RoomOverview> {
    let overview = rooms.iter().map(|room| RoomOverview {
        room_id: room.name.to_string(),
        members: room.members,
        history_messages: room.history_messages as u64,
        offset: room.offset,
    });
    overview.collect()
}

fn closes(shards: &[ShardCounters]) -> Vec<CloseOverview> {
    let closes = CloseReason::ALL.into_iter().map(|reason| CloseOverview {
        reason: reason.label().to_owned(),
        count: sum(shards, |shard| shard.closed.of(reason).total()),
    });
    let mut closes: Vec<_> = closes.filter(|close| close.count > 0).collect();
    closes.sort_by_key(|close| std::cmp::Reverse(close.count));
    closes
}

fn unix_milliseconds() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::CodeClass;

    fn shards() -> [ShardCounters; 2] {
        [ShardCounters::default(), ShardCounters::default()]
    }

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let counters = shards();
        counters[1].messages_received.add(1000);
        let last = Sample::take(&counters);
        counters[1].messages_received.add(50);
        counters[1].messages_sent.add(500);
        counters[1].connections.set(7);
        counters[0].cpu_time.set(Duration::from_secs(1));
        counters[1].cpu_time.set(Duration::from_secs(9));
        let shards = Sample::take(&counters).shards(&last, 2.0, &counters);
        let idle = ShardOverview {
            number: 0,
            connections: 0,
            messages_received: 0.0,
            messages_sent: 0.0,
            turns: 0.0,
            cpu: 0.5,
        };
        let busy = ShardOverview {
            number: 1,
            connections: 7,
            messages_received: 25.0,
            messages_sent: 250.0,
            cpu: 1.0,
            ..idle
        };
        assert_eq!(shards, [idle, busy]);
    }

    #[test]
    fn totals_are_those_of_all_shards() {
        let counters = shards();
        counters[0].bytes_sent.add(3);
        counters[1].bytes_sent.add(4);
        counters[1].rate_limited.add(1);
        let totals = Flows { bytes_sent: 7, rate_limited: 1, ..Flows::default() };
        assert_eq!(Sample::take(&counters).totals, totals);
    }

    #[test]
    fn percentiles_leave_out_what_was_before() {
        let counters = shards();
        counters[0].turn_time.record(Duration::from_secs(9));
        let before = Sample::take(&counters);
        assert_eq!(percentiles(&before.turn, &before.turn), Percentiles::default());
        for millisecond in 1..=100 {
            counters[millisecond % 2].turn_time.record(Duration::from_millis(millisecond as u64));
        }
        let found = percentiles(&Sample::take(&counters).turn, &before.turn);
        assert_eq!(found.count, 100);
        for (found, exact) in [(found.p50, 0.05), (found.p90, 0.09), (found.max, 0.1)] {
            assert!(found >= exact && found <= exact * 1.05, "{found} is not {exact}");
        }
    }

    #[test]
    fn closes_that_were_most_frequent_come_first() {
        let counters = shards();
        counters[0].count_closed(CloseReason::Heartbeat, CodeClass::None);
        for shard in &counters {
            shard.count_closed(CloseReason::PeerGone, CodeClass::None);
        }
        let closes: Vec<_> =
            closes(&counters).into_iter().map(|close| (close.reason, close.count)).collect();
        assert_eq!(closes, [("peer_gone".to_owned(), 2), ("heartbeat".to_owned(), 1)]);
    }
}
