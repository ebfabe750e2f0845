//! Compresses messages, and rewrites frames that were encoded without.

use flate2::{Compress, Compression, FlushCompress};

use super::{History, TAIL};
use crate::limits::{DEFLATE_WINDOW_BITS_MAX, DEFLATE_WINDOW_BITS_MIN, INFLATED_BYTES_KEPT};
use crate::protocol::frames::walk;
use crate::protocol::header::encode_compressed;
use crate::protocol::{OpCode, Role, mask};

const WINDOWS: usize = (DEFLATE_WINDOW_BITS_MAX - DEFLATE_WINDOW_BITS_MIN) as usize + 1;

/// How an end sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sending {
    /// Its window, as a power of two (RFC 7692 section 7.1.2).
    pub window_bits: u8,
    /// Shorter messages go as they are (RFC 7692 section 6: compression is the sender's choice).
    pub min_bytes: usize,
    /// A client's frames are masked with it, and will be (RFC 6455 section 5.3).
    pub key: Option<[u8; 4]>,
}

/// The compressors of one thread, one for every window that is in use: 140 to 390 KiB each. They
/// carry nothing from message to message, so all connections share them; what a message may refer
/// to is given to them as a dictionary.
#[derive(Debug)]
pub struct Deflater {
    level: Compression,
    windows: [Option<Compress>; WINDOWS],
    /// The payload that is being compressed, if it was masked.
    unmasked: Vec<u8>,
}

impl Deflater {
    /// Compresses at `level`: 1, the fastest, to 9, the smallest. Nothing is allocated before it is
    /// needed.
    #[must_use]
    pub const fn new(level: u32) -> Self {
        Self {
            level: Compression::new(level),
            windows: [const { None }; WINDOWS],
            unmasked: Vec::new(),
        }
    }

    /// Appends `payload` compressed, without the four bytes that end it always (RFC 7692 section
    /// 7.2.1). With a `history` it may refer to messages before it and becomes part of that.
    /// `window_bits` is 9 to 15.
    pub fn deflate(
        &mut self,
        window_bits: u8,
        history: Option<&mut History>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        let dictionary = history.as_deref().map_or(&[][..], History::bytes);
        let compressor = compressor(&mut self.windows, self.level, window_bits);
        let is_whole = compress(compressor, dictionary, payload, out, usize::MAX);
        debug_assert!(is_whole, "there is always room");
        if let Some(history) = history {
            history.push(payload);
        }
    }

    /// Appends `frames`, whole and as this end encoded them, with every message compressed that is
    /// long enough, lies in one frame and becomes smaller by it; says how many did. All else is
    /// copied: control frames, fragments, and the 101 that may come first.
    ///
    /// A message that is not compressed is not part of the `history` (RFC 7692 section 7.2.1): the
    /// other end's decompressor does not see it.
    pub fn deflate_frames(
        &mut self,
        sending: Sending,
        mut history: Option<&mut History>,
        frames: &[u8],
        out: &mut Vec<u8>,
    ) -> u64 {
        let Sending { window_bits, min_bytes, key } = sending;
        let reader = if key.is_some() { Role::Server } else { Role::Client };
        let mut count = 0;
        out.reserve(frames.len());
        for frame in walk(frames, reader) {
            let bytes = &frames[frame.start..frame.end];
            // What a server may ask of a client but zlib cannot do: the client compresses nothing.
            let is_possible = window_bits >= DEFLATE_WINDOW_BITS_MIN;
            let payload =
                frame.message().filter(|(_, at)| is_possible && frame.end - at >= min_bytes);
            let Some((opcode, at)) = payload else {
                out.extend_from_slice(bytes);
                continue;
            };
            let payload = &frames[at..frame.end];
            let history = history.as_deref_mut();
            if self.deflate_frame(window_bits, key, history, opcode, payload, out) {
                count += 1;
            } else {
                out.extend_from_slice(bytes);
            }
        }
        count
    }

    /// Appends the frame of a compressed message; nothing, if it would not be smaller.
    fn deflate_frame(
        &mut self,
        window_bits: u8,
        key: Option<[u8; 4]>,
        history: Option<&mut History>,
        opcode: OpCode,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        let payload = match key {
            None => payload,
            Some(key) => {
                self.unmasked.clear();
                self.unmasked.extend_from_slice(payload);
                mask::apply(&mut self.unmasked, key);
                &self.unmasked
            }
        };
        let start = out.len();
        // The header of the longest form that it can need; moved up once the length is known.
        let (_, reserved) = encode_compressed(opcode, payload.len(), key);
        out.resize(start + reserved, 0);
        let dictionary = history.as_deref().map_or(&[][..], History::bytes);
        let compressor = compressor(&mut self.windows, self.level, window_bits);
        let is_smaller = compress(compressor, dictionary, payload, out, payload.len());
        if is_smaller {
            let at = start + reserved;
            let (header, size) = encode_compressed(opcode, out.len() - at, key);
            if let Some(key) = key {
                mask::apply(&mut out[at..], key);
            }
            out[at - size..at].copy_from_slice(&header[..size]);
            out.drain(start..at - size);
            if let Some(history) = history {
                history.push(payload);
            }
        } else {
            out.truncate(start);
        }
        if self.unmasked.capacity() > INFLATED_BYTES_KEPT {
            self.unmasked = Vec::new();
        }
        is_smaller
    }
}

/// The compressor for a window, a new one if need be.
fn compressor(
    windows: &mut [Option<Compress>; WINDOWS],
    level: Compression,
    window_bits: u8,
) -> &mut Compress {
    let slot = &mut windows[usize::from(window_bits - DEFLATE_WINDOW_BITS_MIN)];
    slot.get_or_insert_with(|| Compress::new_with_window_bits(level, false, window_bits))
}

/// Appends `payload` compressed, if that takes less than `room` bytes.
fn compress(
    compressor: &mut Compress,
    dictionary: &[u8],
    payload: &[u8],
    out: &mut Vec<u8>,
    room: usize,
) -> bool {
    const NEVER: &str = "zlib compresses anything";
    const ROOM_MIN: usize = 64;
    compressor.reset();
    if !dictionary.is_empty() {
        compressor.set_dictionary(dictionary).expect(NEVER);
    }
    let start = out.len();
    // The tail is cut off again.
    let end_max = start.saturating_add(room).saturating_add(TAIL.len());
    out.reserve(payload.len() / 2 + ROOM_MIN);
    loop {
        let at = compressor.total_in() as usize;
        compressor.compress_vec(&payload[at..], out, FlushCompress::Sync).expect(NEVER);
        if out.len() >= end_max {
            out.truncate(start);
            return false;
        }
        // It flushed all that it had only if room was left (zlib's manual, `deflate`).
        if out.len() < out.capacity() {
            break;
        }
        // More than a flush takes: it would begin again (same place).
        out.reserve((out.len() - start).max(ROOM_MIN));
    }
    debug_assert!(compressor.total_in() as usize == payload.len() && out.ends_with(&TAIL));
    out.truncate(out.len() - TAIL.len());
    true
}
