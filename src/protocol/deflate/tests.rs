//! Both directions against peers that keep their own zlib alive, and against hostile ones.

mod frames;
mod hostile;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::*;
use crate::protocol::ProtocolError;

const SIZES: [usize; 8] = [0, 1, 125, 126, 4096, 70_000, 1 << 20, 300];

/// Something like chat: words that come again, near and far, and numbers that do not.
fn text(size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut text = Vec::with_capacity(size + 64);
    while text.len() < size {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let word = ["message", "user", "room", "Hello", "{\"type\":", "\n"][state as usize % 6];
        text.extend_from_slice(word.as_bytes());
        text.extend_from_slice(format!("{:x}", state >> (state % 28)).as_bytes());
    }
    text.truncate(size);
    text
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(size)
    .collect()
}

/// A peer that compresses as RFC 7692 section 7.2.1 describes, with one stream for its whole life.
fn compressed_by(peer: &mut Compress, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * message.len() + 100);
    let before = peer.total_in();
    peer.compress_vec(message, &mut out, FlushCompress::Sync).expect("zlib compresses anything");
    assert_eq!(peer.total_in() - before, message.len() as u64);
    assert!(out.len() < out.capacity(), "it was flushed");
    out.truncate(out.strip_suffix(&TAIL).expect("the tail").len());
    out
}

/// A peer that inflates as section 7.2.2 describes, with one stream for its whole life.
fn inflated_by(peer: &mut Decompress, compressed: &[u8], size: usize) -> Vec<u8> {
    let bytes = [compressed, &TAIL].concat();
    let mut out = Vec::with_capacity(size + 100);
    let before = peer.total_in();
    peer.decompress_vec(&bytes, &mut out, FlushDecompress::Sync).expect("DEFLATE");
    assert_eq!(peer.total_in() - before, bytes.len() as u64);
    out
}

#[test]
fn a_peer_with_a_stream_of_its_own_understands_us() {
    for level in [1, 6] {
        let mut deflater = Deflater::new(level);
        for bits in 9..=15 {
            let mut peer = Decompress::new_with_window_bits(false, bits);
            let mut history = History::new(bits);
            for (round, size) in SIZES.into_iter().chain([300, 301, 1000]).enumerate() {
                let message = text(size, 1 + round as u32 % 3);
                let mut out = b"kept".to_vec();
                deflater.deflate(bits, Some(&mut history), &message, &mut out);
                let compressed = out.strip_prefix(b"kept").expect("it appends");
                assert!(inflated_by(&mut peer, compressed, size) == message, "{bits}, {size}");

                let mut alone = Vec::new();
                deflater.deflate(bits, None, &message, &mut alone);
                let mut stranger = Decompress::new_with_window_bits(false, bits);
                assert!(inflated_by(&mut stranger, &alone, size) == message, "{bits}, {size}");
                // What came before helps where it is in the window.
                if size == 300 && round > 8 {
                    assert!(compressed.len() < alone.len() / 2, "{bits}");
                }
            }
        }
    }
}

#[test]
fn we_understand_a_peer_with_a_stream_of_its_own() {
    let mut inflater = Inflater::new();
    for bits in 9..=15 {
        for level in [0, 1, 6, 9] {
            let new = || Compress::new_with_window_bits(Compression::new(level), false, bits);
            let mut peer = new();
            let mut history = History::new(bits);
            for (round, size) in SIZES.into_iter().enumerate() {
                let message = if round == 5 { noise(size) } else { text(size, 1) };
                let compressed = compressed_by(&mut peer, &message);
                let inflated = inflater.inflate(Some(&mut history), &compressed, size);
                assert!(inflated == Ok(&message), "{bits}, {level}, {size}");
                assert!(history.footprint() <= 1 << bits);

                let alone = compressed_by(&mut new(), &message);
                assert!(inflater.inflate(None, &alone, size) == Ok(&message), "{bits}, {size}");
            }
        }
    }
}

#[test]
fn our_own_messages_come_back_as_they_were() {
    let (mut deflater, mut inflater) = (Deflater::new(1), Inflater::new());
    for bits in 9..=15 {
        let (mut sent, mut received) = (History::new(bits), History::new(bits));
        for size in SIZES {
            for message in [text(size, 7), noise(size)] {
                let mut out = Vec::new();
                deflater.deflate(bits, Some(&mut sent), &message, &mut out);
                let inflated = inflater.inflate(Some(&mut received), &out, size);
                assert!(inflated == Ok(&message), "{bits}, {size}");
                assert_eq!(sent.bytes(), received.bytes());
            }
        }
    }
}

/// Section 7.2.3, byte for byte.
#[test]
fn examples_of_the_specification() {
    const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    let mut inflater = Inflater::new();
    let mut inflated =
        |bytes: &[u8]| inflater.inflate(None, bytes, 100).map(<[u8]>::to_vec).expect("valid");
    // 7.2.3.1, and by our own hand.
    assert_eq!(inflated(&HELLO), b"Hello");
    for level in [1, 6, 9] {
        let mut out = Vec::new();
        Deflater::new(level).deflate(15, None, b"Hello", &mut out);
        assert_eq!(out, HELLO, "level {level}");
    }
    // 7.2.3.3: a block without compression.
    let stored = [0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00];
    assert_eq!(inflated(&stored), b"Hello");
    // 7.2.3.4: a final block.
    assert_eq!(inflated(&[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00]), b"Hello");
    // 7.2.3.5: two blocks.
    let two = [0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00];
    assert_eq!(inflated(&two), b"Hello");
    // 7.2.3.6: nothing.
    assert_eq!(inflated(&[0x00]), b"");
    let mut out = Vec::new();
    Deflater::new(6).deflate(15, None, b"", &mut out);
    assert_eq!(inflated(&out), b"");

    // 7.2.3.2: with the window of the first message, the second is shorter.
    let mut history = History::new(15);
    let mut of = |bytes: &[u8]| {
        inflater.inflate(Some(&mut history), bytes, 100).map(<[u8]>::to_vec).expect("valid")
    };
    assert_eq!(of(&HELLO), b"Hello");
    assert_eq!(of(&[0xF2, 0x00, 0x11, 0x00, 0x00]), b"Hello");
    assert_eq!(of(&HELLO), b"Hello", "and need not be");
}
