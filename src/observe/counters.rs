//! What one shard counts and measures. Only the shard writes, anybody may read.
//!
//! The list in here is the only one: a line of it is a field of [`ShardCounters`] and a metric of
//! the exposition.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ProtocolVersion;

use super::family::{
    AcceptError, Closes, ErrorKind, Family, HandshakeResult, RefusedStatus, SocketCall,
    TlsHandshake,
};
use super::histogram::Histogram;
use super::prometheus::{Kind, Metric, Scope};
use crate::connection::{CloseReason, CodeClass};

/// A number with one writer: no locked instruction, and readers see a recent value.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Call it from the one thread that owns the counter.
    #[inline]
    pub fn add(&self, count: u64) {
        self.set(self.get() + count);
    }

    /// Replaces the value. As [`add`](Self::add).
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Processor time, with one writer.
#[derive(Debug, Default)]
pub struct TimeCounter(Counter);

impl TimeCounter {
    /// Replaces the value. As [`Counter::add`].
    pub fn set(&self, time: Duration) {
        self.0.set(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> Duration {
        Duration::from_nanos(self.0.get())
    }
}

/// `field: type, kind, scope, "name", "help";`: the name without `ringwire_`.
macro_rules! metrics {
    ($($field:ident: $type:ty, $kind:ident, $scope:ident, $name:literal, $help:literal;)*) => {
        /// Everything one shard counts, on cache lines of its own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct ShardCounters {
            $(#[doc = $help] pub $field: $type,)*
        }

        /// The metrics of all shards, in the order of their text.
        pub(super) const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            help: $help,
            kind: Kind::$kind,
            scope: Scope::$scope,
            read: |shard| (&shard.$field).into(),
        },)*];
    };
}

metrics! {
    connections: Counter, Gauge, AndShards, "connections",
        "Established connections.";
    tls_connections: Counter, Gauge, Sum, "tls_connections",
        "Established connections by TLS.";
    connections_max: Counter, Gauge, Sum, "connections_max",
        "Connections that may be here at once.";
    overloaded: Counter, Gauge, Sum, "overloaded",
        "1 from a mark that the server is past until it is 5 % below it, else 0.";
    handshakes_in_progress: Counter, Gauge, Sum, "handshakes_in_progress",
        "Handshakes in progress.";
    audience: Counter, Gauge, Sum, "audience_members",
        "Connections that hear broadcasts.";
    rooms: Counter, Gauge, Sum, "rooms",
        "Rooms; each has a member.";
    room_members: Counter, Gauge, Sum, "room_members",
        "Members of all rooms together.";
    history_messages: Counter, Gauge, Sum, "history_messages",
        "Messages that rooms remember.";
    history_bytes: Counter, Gauge, Sum, "history_bytes",
        "Bytes of the messages that rooms remember.";
    rooms_syncing: Counter, Gauge, Sum, "cluster_rooms_syncing",
        "Rooms that span nodes and are not in step with the others.";
    assembly_bytes: Counter, Gauge, Sum, "assembly_bytes",
        "Bytes held by unfinished messages.";
    replies_kept_bytes: Counter, Gauge, Sum, "replies_kept_bytes",
        "Bytes of replies kept for peers that have to read first.";
    slow_readers: Counter, Gauge, Sum, "slow_readers",
        "Connections for which something waits because their peer has to read first.";
    backlog_bytes: Counter, Gauge, Sum, "backlog_bytes",
        "Bytes that wait for slow readers; a message for many counts for each of them.";
    completion_queue_depth: Counter, Gauge, AndShards, "completion_queue_depth",
        "Completions that the last turn found.";
    opened: Counter, Counter, Sum, "connections_opened_total",
        "Connections established.";
    closed: Closes, Counter, Sum, "connections_closed_total",
        "Connections ended, by reason and by the code of the Close frame that began the end.";
    handshakes: Family<HandshakeResult>, Counter, Sum, "handshakes_total",
        "Handshakes ended, by result.";
    refused: Family<RefusedStatus>, Counter, Sum, "handshakes_refused_total",
        "Handshakes refused, by status.";
    tls_handshakes: Family<TlsHandshake>, Counter, Sum, "tls_handshakes_total",
        "Handshakes of TLS that succeeded, by version and whether they resumed a session.";
    accept_errors: Family<AcceptError>, Counter, Sum, "accept_errors_total",
        "Failed attempts to accept, by errno.";
    messages_received: Counter, Counter, AndShards, "messages_received_total",
        "Messages received whole before their connection began to close.";
    messages_sent: Counter, Counter, AndShards, "messages_sent_total",
        "Messages to be sent, one for each receiver: delivered and dropped ones together.";
    messages_dropped: Family<CloseReason>, Counter, Sum, "messages_dropped_total",
        "Messages to be sent that the kernel did not take whole, by why their connection ended.";
    messages_compressed: Counter, Counter, Sum, "messages_compressed_total",
        "Messages compressed: once for all members of a room that take the same copy.";
    bytes_saved: Counter, Counter, Sum, "compression_saved_bytes_total",
        "Bytes by which messages that were compressed became smaller, once for each compression.";
    messages_inflated: Counter, Counter, Sum, "messages_inflated_total",
        "Compressed messages received.";
    compression_bytes: Counter, Gauge, Sum, "compression_bytes",
        "Bytes that connections keep for what compressed messages may refer to.";
    rate_limited: Counter, Counter, Sum, "rate_limited_total",
        "Messages refused for their rate.";
    bytes_received: Counter, Counter, Sum, "bytes_received_total",
        "Bytes read from established connections, frame headers included.";
    bytes_sent: Counter, Counter, Sum, "bytes_sent_total",
        "Bytes the kernel took for established connections, 101 and frame headers included.";
    errors: Family<ErrorKind>, Counter, Sum, "errors_total",
        "Errors by kind: accept, handshake, protocol, or message (answered with an error).";
    span_lost: Counter, Counter, Sum, "cluster_messages_lost_total",
        "Messages of other nodes that members here never got.";
    span_undelivered: Counter, Counter, Sum, "cluster_messages_undelivered_total",
        "Messages of fast rooms that other nodes were never told.";
    span_refused: Counter, Counter, Sum, "cluster_refused_total",
        "Joins and messages answered with Room unavailable.";
    span_gaps: Counter, Counter, Sum, "cluster_gaps_total",
        "Times that the members of a room were told that they may have missed something.";
    span_syncs: Counter, Counter, Sum, "cluster_syncs_total",
        "Questions how a room stands: when it is opened, after an outage, and every five minutes.";
    span_strange: Counter, Counter, Sum, "cluster_strange_envelopes_total",
        "Envelopes of other nodes that could not be understood.";
    memory_shortages: Family<SocketCall>, Counter, Sum, "memory_shortages_total",
        "Reads and writes that failed for want of kernel memory (ENOBUFS, ENOMEM); tried again.";
    completions: Counter, Counter, Sum, "completions_total",
        "Completions taken from the rings.";
    completion_pressure: Counter, Counter, Sum, "completion_pressure_total",
        "Times a completion queue was too small for what the kernel had.";
    turns: Counter, Counter, AndShards, "turns_total",
        "Turns of the loops.";
    cpu_time: TimeCounter, Counter, AndShards, "cpu_seconds_total",
        "Processor time of the threads of the shards.";
    handshake_time: Histogram, Histogram, Sum, "handshake_seconds",
        "Time from accept to the decision for 101.";
    tls_time: Histogram, Histogram, Sum, "tls_handshake_seconds",
        "Time from the first byte of a hello to the end of the handshake of TLS.";
    turn_time: Histogram, Histogram, Sum, "turn_seconds",
        "Time of one turn of a loop.";
    fan_out_time: Histogram, Histogram, Sum, "fan_out_seconds",
        "Time from the first to the last send of a round: all members of a room on one shard.";
    outbound_delay: Histogram, Histogram, Sum, "outbound_delay_seconds",
        "Time from the arrival of a round's oldest message at a shard to the last send.";
    timer_lateness: Histogram, Histogram, Sum, "timer_lateness_seconds",
        "Time by which the tick of a shard came late.";
}

impl ShardCounters {
    /// Counts the end of a connection.
    pub fn count_closed(&self, reason: CloseReason, code: CodeClass) {
        self.closed.of(reason).of(code).add(1);
        let is_violation = matches!(
            reason,
            CloseReason::ProtocolError
                | CloseReason::InvalidPayload
                | CloseReason::Policy
                | CloseReason::TooBig
        );
        if is_violation {
            self.errors.of(ErrorKind::Protocol).add(1);
        }
    }

    /// Counts the end of a handshake.
    pub fn count_handshake(&self, result: HandshakeResult) {
        self.handshakes.of(result).add(1);
        if !matches!(result, HandshakeResult::Accepted | HandshakeResult::Static) {
            self.errors.of(ErrorKind::Handshake).add(1);
        }
    }

    /// Counts a handshake of TLS that took so long.
    pub fn count_tls(&self, version: Option<ProtocolVersion>, is_resumed: bool, time: Duration) {
        let handshake = match (version, is_resumed) {
            (Some(ProtocolVersion::TLSv1_2), false) => TlsHandshake::Full12,
            (Some(ProtocolVersion::TLSv1_2), true) => TlsHandshake::Resumed12,
            (_, false) => TlsHandshake::Full13,
            (_, true) => TlsHandshake::Resumed13,
        };
        self.tls_handshakes.of(handshake).add(1);
        self.tls_time.record(time);
    }

    /// Counts a handshake that is answered with an error status.
    pub fn count_refused(&self, status: RefusedStatus) {
        self.refused.of(status).add(1);
    }

    /// Counts a failed attempt to accept.
    pub fn count_accept_error(&self, error: AcceptError) {
        self.accept_errors.of(error).add(1);
        self.errors.of(ErrorKind::Accept).add(1);
    }
}
