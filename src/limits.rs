//! Every bound of the program, each with the reason for its value.

use std::time::Duration;

/// Bytes of a request head, request line included. A browser with cookies stays under 4 KiB;
/// the common servers stop at 4 to 8 KiB. More is answered with 431.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Header fields of a request. Past it the answer is 431: a head is never cut short in silence.
pub const HEADER_FIELDS_MAX: usize = 64;

/// Bytes of a message, all fragments together, unless `--max-message` says otherwise.
pub const MESSAGE_BYTES_DEFAULT: usize = 1024 * 1024;

/// Frames of one fragmented message, empty ones included: bytes alone do not bound the work that a
/// stream of empty fragments causes.
pub const FRAGMENTS_MAX: u16 = 1024;

/// Payload of a control frame (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Bytes that `--max-message` may ask for. A message is assembled whole in memory, so one peer may
/// hold this much; larger transfers belong in several messages.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Shards of a process. Every pair of shards has a queue, so their number grows with the square.
pub const SHARDS_MAX: usize = 1024;

/// Shortest `--heartbeat`: below it the pings themselves are the load.
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// Longest `--heartbeat`: past it middleboxes have long forgotten the connection.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(3600);

/// Longest `--drain`: supervisors kill a process that takes longer to stop.
pub const DRAIN_MAX: Duration = Duration::from_secs(3600);

/// Descriptors of a shard that are not connections: reserve, listeners, rings, and those of
/// handshakes that are being refused.
pub const DESCRIPTOR_RESERVE: u64 = 16;
