//! The bounds of what nodes share.

use std::time::Duration;

use super::TICKS_PER_SECOND;

/// Bytes of one batch of events of a room: what a script appends, and a room's turn at the servers.
pub const SPAN_BATCH_BYTES_MAX: usize = 64 * 1024;

/// Events of one batch: below 8,000, which Lua's `unpack` takes, and few enough for a script of a
/// fraction of a millisecond.
pub const SPAN_BATCH_EVENTS_MAX: usize = 512;

/// Bytes that wait in the queues of a home for the servers. Past it who would add to them is
/// refused: while the servers are away, memory is not.
pub const SPAN_QUEUES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of envelopes that wait while their room is being synced. Past it they are dropped, and the
/// room is synced again.
pub const SPAN_HEARD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Rooms of a home that are asked for in one turn after the servers have come back: at about 1 µs
/// each, a millisecond.
pub const SPAN_SYNCS_PER_TURN: usize = 1024;

/// Ticks within which a node that was just met counts as alive, whatever is said of the living:
/// 3 s, as long as a lease.
pub const SPAN_NEWCOMER_TICKS: u32 = 3 * TICKS_PER_SECOND;

/// How long a room is kept at the servers when none of its nodes has looked after it: those that
/// have ended with all its members must not leave it there for ever. An outage that is longer ends
/// the room's epoch.
pub const CLUSTER_ROOM_TTL: Duration = Duration::from_secs(15 * 60);

/// Parts in which rooms are looked after, one each second: each room every five minutes, well
/// within [`CLUSTER_ROOM_TTL`].
pub const CLUSTER_CHECK_PARTS: u32 = 300;

/// Redis servers that may be named.
pub const CLUSTER_SERVERS_MAX: usize = 64;

/// Shortest and longest `--redis-probe`: a script each time, and an outage that is seen within
/// twice that.
pub const CLUSTER_PROBE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(60));

/// Intervals that a probe may wait behind other questions, as long as those are answered: all rooms
/// of a node are synced within that, however busy the host.
pub const CLUSTER_PROBE_DELAYS_MAX: u32 = 10;

/// Probes that may fail before the lease of a node ends: it should outlive a reconnect.
pub const CLUSTER_LEASE_PROBES: u32 = 3;

/// Readings of the living nodes after a reconnect before any is believed: after an outage all
/// leases have ended, and the others take up to a second longer to come back.
pub const CLUSTER_READINGS_MIN: u32 = 5;

/// Bytes of a node's name, or of the prefix of keys.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;

/// Bytes of a password file or of the certificates of authorities: a host's bundle has 220 KB.
pub const CLUSTER_SECRET_BYTES_MAX: u64 = 1024 * 1024;

/// Longest time to connect to a server and to make ready: within it and the longest pause it is
/// found again when it has come back.
pub const CLUSTER_CONNECT_TIME: Duration = Duration::from_secs(2);

/// First and longest pause between two attempts to connect; each is shortened at random, so that
/// nodes do not come in step.
pub const CLUSTER_RECONNECT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(500));

/// How long joins and messages of sequenced rooms wait for a server that is away: as long as a
/// client waits for an answer before it asks again.
pub const CLUSTER_PATIENCE: Duration = Duration::from_secs(10);

/// Commands under way at once to a server: what fits its buffers in one round.
pub const CLUSTER_COMMANDS_MAX: usize = 1024;

/// Messages of a server that wait to be passed on. Past it the connection is given up and the rooms
/// are synced: then a home is too slow, and Redis would soon do the same.
pub const CLUSTER_PUSHES_MAX: usize = 256 * 1024;

/// Pause before a full inbox is tried again.
pub const CLUSTER_POST_PAUSE: Duration = Duration::from_millis(1);

/// How often a Redis Cluster is asked which server has which slots.
pub const CLUSTER_TOPOLOGY_PERIOD: Duration = Duration::from_secs(2);

/// How long the end of the process waits for servers to hear that this node goes.
pub const CLUSTER_FAREWELL_TIME: Duration = Duration::from_millis(500);
