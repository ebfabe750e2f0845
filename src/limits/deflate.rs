//! Bounds of compressed messages.

/// Smallest window that zlib compresses into, as a power of two: 512 bytes. Offers of 256 are
/// declined.
pub const DEFLATE_WINDOW_BITS_MIN: u8 = 9;

/// Largest window of DEFLATE, as a power of two: 32 KiB (RFC 1951 section 2).
pub const DEFLATE_WINDOW_BITS_MAX: u8 = 15;

/// How hard to compress, of 1 to 9: the fastest. What is fanned out is compressed on the way to its
/// readers, and every further level costs more time than bytes it saves.
pub const DEFLATE_LEVEL_DEFAULT: u8 = 1;

/// Bytes of a message below which it is not compressed: what would be saved is less than a packet's
/// header.
pub const COMPRESSION_BYTES_MIN: usize = 256;

/// The part of the limit of a message, and the bytes, by which it may be longer compressed: in
/// fixed Huffman codes what does not compress takes 9 bits for 8 (RFC 1951 section 3.2.6), and the
/// blocks have headers.
pub const DEFLATE_EXCESS: (usize, usize) = (8, 64);

/// First size of the buffer that messages are inflated into: most messages fit, and who sends
/// little makes little grow.
pub const INFLATED_BYTES_MIN: usize = 4 * 1024;

/// Bytes of that buffer that are kept between messages: as much as one read takes. Larger ones go
/// back to the allocator.
pub const INFLATED_BYTES_KEPT: usize = 64 * 1024;

/// Final blocks of a message (RFC 7692 section 7.2.3.4). After each one the decompressor begins
/// anew with a dictionary of up to 32 KiB, for as little as two bytes: at 2 µs each, half a
/// millisecond in all.
pub const DEFLATE_FINAL_BLOCKS_MAX: usize = 256;

/// `--compression-level`, as zlib counts them: least and most.
pub const COMPRESSION_LEVELS: (u8, u8) = (1, 9);

/// Bits of the window: 4 KiB to look back. Small messages gain nothing from more; clients that ask
/// for a window often ask for this one, so that one copy serves them and browsers; and it is what a
/// connection with context takeover keeps for each direction.
pub const DEFLATE_WINDOW_BITS_DEFAULT: u8 = 12;
