//! Every bound of the program, each with the reason for its value.

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

/// First size of the buffer of an unfinished message, so that small fragments do not each grow it.
pub const ASSEMBLY_BYTES_MIN: usize = 512;

/// Largest buffer a shard keeps after its message is done: larger ones go back to the allocator.
pub const ASSEMBLY_RETAINED_BYTES_MAX: usize = 64 * 1024;

/// Buffers a shard keeps for the next unfinished messages: 4 MiB at most, and in practice the few
/// that one turn needs.
pub const ASSEMBLIES_RETAINED_MAX: usize = 64;
