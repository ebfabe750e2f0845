//! Counters of one shard. Only the shard writes them; anybody may read.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::connection::CloseReason;

/// A number with one writer: no locked instruction, and readers see a recent value.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Call it from the one thread that owns the counter.
    #[inline]
    pub fn add(&self, count: u64) {
        self.set(self.get() + count);
    }

    /// Subtracts, for gauges. As [`add`](Self::add).
    #[inline]
    pub fn subtract(&self, count: u64) {
        let left = self.get().checked_sub(count);
        self.set(left.expect("a gauge gives back no more than it took"));
    }

    /// A counter that stands at one.
    pub(super) const fn one() -> Self {
        Self(AtomicU64::new(1))
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

/// How a handshake ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum HandshakeResult {
    /// 101.
    Accepted,
    /// Answered with an error status.
    Refused,
    /// A static page.
    Static,
    /// Not finished in time.
    Timeout,
    /// The peer left.
    Failed,
}

impl HandshakeResult {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 5] =
        [Self::Accepted, Self::Refused, Self::Static, Self::Timeout, Self::Failed];

    /// The value of the label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Static => "static",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
        }
    }
}

/// Everything one shard counts, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardCounters {
    /// Established connections, until their socket is closed.
    pub connections: Counter,
    /// Connections that the shard takes.
    pub connections_max: Counter,
    /// 1 while the server is past a mark; only the first shard tells.
    pub overloaded: Counter,
    /// Handshakes in progress.
    pub handshakes_in_progress: Counter,
    /// Members of the broadcast audience.
    pub audience: Counter,
    /// Rooms whose home is here.
    pub rooms: Counter,
    /// Members of those rooms, on all shards.
    pub room_members: Counter,
    /// Messages that those rooms remember.
    pub history_messages: Counter,
    /// Bytes of those messages.
    pub history_bytes: Counter,
    /// Bytes held by unfinished messages.
    pub assembly_bytes: Counter,
    /// Bytes of replies that wait for peers to read.
    pub replies_kept_bytes: Counter,
    /// Connections established since the start.
    pub opened: Counter,
    /// Connections ended since the start, by [`CloseReason`].
    pub closed: [Counter; CloseReason::ALL.len()],
    /// Handshakes ended since the start, by [`HandshakeResult`].
    pub handshakes: [Counter; HandshakeResult::ALL.len()],
    /// Failed attempts to accept, EMFILE above all.
    pub accept_errors: Counter,
    /// Messages received whole.
    pub messages_received: Counter,
    /// Messages sent or queued, one for each receiver.
    pub messages_sent: Counter,
    /// Messages refused for their rate.
    pub rate_limited: Counter,
    /// Bytes read from established connections.
    pub bytes_received: Counter,
    /// Bytes written to established connections.
    pub bytes_sent: Counter,
    /// Times the completion queue was too small for what the kernel had.
    pub completion_pressure: Counter,
    /// Turns of the loop.
    pub turns: Counter,
}

impl ShardCounters {
    /// Counts the end of a connection.
    pub fn count_closed(&self, reason: CloseReason) {
        self.closed[reason as usize].add(1);
    }

    /// Counts the end of a handshake.
    pub fn count_handshake(&self, result: HandshakeResult) {
        self.handshakes[result as usize].add(1);
    }
}
