//! The counters of all shards as Prometheus text (exposition format 0.0.4).

use std::fmt::Write;

use super::counters::{Counter, HandshakeResult, ShardCounters};
use crate::connection::CloseReason;

/// The text of `/metrics`.
#[must_use]
pub fn exposition(shards: &[ShardCounters]) -> String {
    let mut text = String::with_capacity(4096);
    for metric in &METRICS {
        describe(&mut text, metric.name, metric.kind, metric.help);
        let sum: u64 = shards.iter().map(|shard| (metric.of)(shard).get()).sum();
        line(&mut text, metric.name, "", sum);
    }
    describe(&mut text, "connections_closed_total", "counter", "Connections ended, by reason.");
    for reason in CloseReason::ALL {
        let sum = shards.iter().map(|shard| shard.closed[reason as usize].get()).sum();
        line(&mut text, "connections_closed_total", &label("reason", reason.label()), sum);
    }
    describe(&mut text, "handshakes_total", "counter", "Handshakes ended, by result.");
    for result in HandshakeResult::ALL {
        let sum = shards.iter().map(|shard| shard.handshakes[result as usize].get()).sum();
        line(&mut text, "handshakes_total", &label("result", result.label()), sum);
    }
    describe(&mut text, "shard_connections", "gauge", "Established connections of one shard.");
    for (number, shard) in shards.iter().enumerate() {
        let labels = label("shard", &number.to_string());
        line(&mut text, "shard_connections", &labels, shard.connections.get());
    }
    text
}

struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    of: fn(&ShardCounters) -> &Counter,
}

const METRICS: [Metric; 21] = [
    gauge("connections", "Established connections.", |shard| &shard.connections),
    gauge("connections_max", "Connections that may be here.", |shard| &shard.connections_max),
    gauge("overloaded", "1 while newcomers get 503, else 0.", |shard| &shard.overloaded),
    gauge("handshakes_in_progress", "Handshakes in progress.", |shard| {
        &shard.handshakes_in_progress
    }),
    gauge("audience_members", "Connections that hear broadcasts.", |shard| &shard.audience),
    gauge("rooms", "Rooms; each has a member.", |shard| &shard.rooms),
    gauge("room_members", "Members of all rooms together.", |shard| &shard.room_members),
    gauge("history_messages", "Messages that rooms remember.", |shard| &shard.history_messages),
    gauge("history_bytes", "Bytes of those messages.", |shard| &shard.history_bytes),
    gauge("assembly_bytes", "Bytes held by unfinished messages.", |shard| &shard.assembly_bytes),
    gauge("replies_kept_bytes", "Bytes of replies that wait for peers to read.", |shard| {
        &shard.replies_kept_bytes
    }),
    counter("connections_opened_total", "Connections established.", |shard| &shard.opened),
    counter("accept_errors_total", "Failed attempts to accept.", |shard| &shard.accept_errors),
    counter("messages_received_total", "Messages received.", |shard| &shard.messages_received),
    counter("messages_sent_total", "Messages sent or queued, one for each receiver.", |shard| {
        &shard.messages_sent
    }),
    counter("rate_limited_total", "Messages refused for their rate.", |shard| &shard.rate_limited),
    counter("bytes_received_total", "Bytes read from connections.", |shard| &shard.bytes_received),
    counter("bytes_sent_total", "Bytes written to connections.", |shard| &shard.bytes_sent),
    counter("completion_pressure_total", "Times the completion queue was too small.", |shard| {
        &shard.completion_pressure
    }),
    counter("turns_total", "Turns of the loops.", |shard| &shard.turns),
    gauge("shards", "Shards.", |_| &ONE),
];

/// Summed over the shards, it counts them.
static ONE: Counter = Counter::one();

const fn gauge(
    name: &'static str,
    help: &'static str,
    of: fn(&ShardCounters) -> &Counter,
) -> Metric {
    Metric { name, kind: "gauge", help, of }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    of: fn(&ShardCounters) -> &Counter,
) -> Metric {
    Metric { name, kind: "counter", help, of }
}

fn describe(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP ringwire_{name} {help}\n# TYPE ringwire_{name} {kind}");
}

fn label(name: &str, value: &str) -> String {
    format!("{{{name}=\"{value}\"}}")
}

fn line(text: &mut String, name: &str, labels: &str, value: u64) {
    let _ = writeln!(text, "ringwire_{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_summed_and_labelled() {
        let shards = [ShardCounters::default(), ShardCounters::default()];
        shards[0].connections.add(3);
        shards[1].connections.add(4);
        shards[1].count_closed(CloseReason::SlowReader);
        let text = exposition(&shards);
        for line in [
            "ringwire_connections 7",
            "ringwire_shards 2",
            "ringwire_shard_connections{shard=\"1\"} 4",
            "ringwire_connections_closed_total{reason=\"slow_reader\"} 1",
            "# TYPE ringwire_connections gauge",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
