//! What an operator sees at one glance: the message of the dashboard's feed, of
//! `GET /api/overview`, and what `ringwire top` shows.

use serde::{Deserialize, Serialize};

/// The server at one moment. Rates are of the second before it, latencies of
/// [`latency_seconds`](Self::latency_seconds); totals count from the start of the process.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The version of the server.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Milliseconds of Unix time.
    pub timestamp: u64,
    /// Seconds since its start.
    pub uptime_seconds: f64,
    /// Whether it takes newcomers.
    pub state: ServerState,
    /// Established connections.
    pub connections: u64,
    /// Connections it may have.
    pub connections_max: u64,
    /// Handshakes in progress.
    pub handshakes_in_progress: u64,
    /// Since the start.
    pub totals: Flows<u64>,
    /// Per second.
    pub rates: Flows<f64>,
    /// How many seconds before it the latencies are of: ten, or as long as somebody has asked.
    pub latency_seconds: f64,
    /// From accept to 101.
    pub handshake: Percentiles,
    /// One turn of a shard's loop.
    pub turn: Percentiles,
    /// The sends of one round of a room.
    pub fan_out: Percentiles,
    /// From the arrival of a publication at a shard to the send that brings it to the last member.
    pub outbound_delay: Percentiles,
    /// In the order of their numbers.
    pub shards: Vec<ShardOverview>,
    /// Memory of the process, and of the kernel for the host's sockets.
    pub memory: MemoryOverview,
    /// Rooms that have members.
    pub rooms: u64,
    /// Members of all rooms together.
    pub room_members: u64,
    /// The rooms with the most members, the largest first: ten at most.
    pub top_rooms: Vec<RoomOverview>,
    /// Ends of connections since the start, the most frequent first; without those that never
    /// were.
    pub closes: Vec<CloseOverview>,
    /// The newest warnings and errors of the log, the newest first: twenty at most.
    pub recent_errors: Vec<LogLine>,
    /// Lines that no log took, for want of room or of a working disk.
    pub log_lines_dropped: u64,
}

/// Whether a server takes newcomers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// It does.
    Serving,
    /// They get 503 until there is room again.
    Overloaded,
    /// It lets everybody go and ends.
    Draining,
}

/// What goes through the server: totals, or per second.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flows<T> {
    /// Connections established.
    pub opened: T,
    /// Connections ended.
    pub closed: T,
    /// Messages received.
    pub messages_received: T,
    /// Messages sent, one for each receiver.
    pub messages_sent: T,
    /// Bytes received.
    pub bytes_received: T,
    /// Bytes sent.
    pub bytes_sent: T,
    /// Messages that receivers did not get.
    pub messages_dropped: T,
    /// Messages refused for their rate.
    pub rate_limited: T,
    /// Errors of all kinds.
    pub errors: T,
}

impl<T> Flows<T> {
    /// Joins each with its like.
    pub(super) fn zip<U, V>(self, other: Flows<U>, join: impl Fn(T, U) -> V) -> Flows<V> {
        Flows {
            opened: join(self.opened, other.opened),
            closed: join(self.closed, other.closed),
            messages_received: join(self.messages_received, other.messages_received),
            messages_sent: join(self.messages_sent, other.messages_sent),
            bytes_received: join(self.bytes_received, other.bytes_received),
            bytes_sent: join(self.bytes_sent, other.bytes_sent),
            messages_dropped: join(self.messages_dropped, other.messages_dropped),
            rate_limited: join(self.rate_limited, other.rate_limited),
            errors: join(self.errors, other.errors),
        }
    }
}

/// A distribution of times, in seconds. All zero when nothing was measured.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// Measurements.
    pub count: u64,
    /// Half of them were at most this.
    pub p50: f64,
    /// 90 of 100.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// All.
    pub max: f64,
}

/// One shard.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardOverview {
    /// Counted from 0.
    pub number: usize,
    /// Established connections.
    pub connections: u64,
    /// Messages received per second.
    pub messages_received: f64,
    /// Messages sent per second.
    pub messages_sent: f64,
    /// Turns of the loop per second.
    pub turns: f64,
    /// The share of a processor that its thread used, from 0 to 1.
    pub cpu: f64,
}

/// Memory.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryOverview {
    /// Resident memory of the process, in bytes.
    pub resident_bytes: u64,
    /// The same per connection; 0 without any.
    pub resident_bytes_per_connection: f64,
    /// Buffers of all TCP sockets of the host, not of this server alone, in bytes: of its network
    /// namespace, where it has one of its own.
    pub kernel_socket_bytes: u64,
}

/// One room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomOverview {
    /// Its name.
    pub room_id: String,
    /// Members on all shards.
    pub members: u64,
    /// Messages that it remembers.
    pub history_messages: u64,
    /// The offset of its newest message.
    pub offset: u64,
}

/// Ends of connections for one reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloseOverview {
    /// As in the metric `connections_closed_total`.
    pub reason: String,
    /// Since the start.
    pub count: u64,
}

/// One line of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Milliseconds of Unix time.
    pub timestamp: u64,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: String,
    /// The module that wrote it.
    pub target: String,
    /// Message and fields, at most 300 characters.
    pub message: String,
}
