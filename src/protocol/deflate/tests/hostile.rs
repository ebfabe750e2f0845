//! Bombs, and bytes that are no messages.

use super::*;
use crate::limits::{DEFLATE_EXCESS, DEFLATE_FINAL_BLOCKS_MAX, INFLATED_BYTES_KEPT};

const TOO_BIG: Result<&[u8], ProtocolError> = Err(ProtocolError::MessageTooBig);
const CORRUPT: Result<&[u8], ProtocolError> = Err(ProtocolError::DeflateCorrupt);

fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new(6).deflate(15, None, message, &mut out);
    out
}

/// A gibibyte of zeros: 64 times 16 MiB that do not refer to each other.
fn bomb() -> Vec<u8> {
    let mut peer = Compress::new(Compression::new(9), false);
    let mut part = Vec::with_capacity(1 << 20);
    peer.compress_vec(&vec![0; 16 << 20], &mut part, FlushCompress::Full).expect("zeros");
    assert_eq!((peer.total_in(), part.ends_with(&TAIL)), (16 << 20, true));
    let mut bomb = part.repeat(64);
    bomb.truncate(bomb.len() - TAIL.len());
    bomb
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let bomb = bomb();
    assert!((1_000_000..1_100_000).contains(&bomb.len()), "{}", bomb.len());
    let mut inflater = Inflater::new();
    for limit in [0, 1, 4096, 1 << 20, 10_000_000] {
        let mut history = History::new(15);
        assert!(inflater.inflate(Some(&mut history), &bomb, limit) == TOO_BIG);
        assert_eq!(history.footprint(), 0, "a message that failed is no context");
        assert!(inflater.memory() <= INFLATED_BYTES_KEPT);
    }
    // What is declared or could come plays no part, only what has come.
    assert_eq!(inflater.inflate(None, &deflated(b"Hello"), usize::MAX), Ok(&b"Hello"[..]));
    assert!(inflater.memory() <= INFLATED_BYTES_KEPT);
}

#[test]
fn the_limit_holds_to_the_byte() {
    let mut inflater = Inflater::new();
    for size in [1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1 << 20] {
        for message in [vec![0; size], text(size, 3), noise(size)] {
            let compressed = deflated(&message);
            assert!(inflater.inflate(None, &compressed, size + 1) == Ok(&message), "{size}");
            assert!(inflater.inflate(None, &compressed, size) == Ok(&message), "{size}");
            assert!(inflater.inflate(None, &compressed, size - 1) == TOO_BIG, "{size}");
        }
    }
    assert_eq!(inflater.inflate(None, &[0], 0), Ok(&[][..]));
}

#[test]
fn a_large_message_gives_its_memory_back() {
    let mut inflater = Inflater::new();
    let size = 10 << 20;
    let message = vec![1; size];
    assert!(inflater.inflate(None, &deflated(&message), size) == Ok(&message));
    assert!((size..2 * size).contains(&inflater.memory()));
    inflater.trim();
    assert_eq!(inflater.memory(), 0);
    inflater.inflate(None, &deflated(b"small"), size).expect("valid");
    inflater.trim();
    assert!(inflater.memory() > 0, "a small buffer is worth keeping");
}

/// Every level of zlib, and the worst that a sender may do, stays within what a decoder lets in.
#[test]
fn what_does_not_compress_fits_the_excess() {
    for size in [0, 1, 100, 1000, 70_000, 1 << 20] {
        let (part, more) = DEFLATE_EXCESS;
        let most = size + size / part + more;
        for level in 0..=9 {
            let mut out = Vec::new();
            Deflater::new(level).deflate(15, None, &noise(size), &mut out);
            assert!(out.len() <= most, "{} for {size} at level {level}", out.len());
        }
    }
    // Fixed codes of 9 bits: literals from 144 on (RFC 1951 section 3.2.6).
    let size = 10_000;
    let (mut bits, mut compressed) = (vec![false, true, false], Vec::new());
    for at in 0..size {
        let literal = 144 + at % 112;
        bits.extend((0..9).rev().map(|bit| (0b1_1001_0000 + literal - 144) >> bit & 1 == 1));
    }
    bits.extend([false; 10]);
    for byte in bits.chunks(8) {
        compressed.push(byte.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit)));
    }
    assert!(compressed.len() <= size + size / DEFLATE_EXCESS.0 + DEFLATE_EXCESS.1);
    let mut inflater = Inflater::new();
    let message = inflater.inflate(None, &compressed, size).expect("valid");
    assert!(message.iter().enumerate().all(|(at, &byte)| usize::from(byte) == 144 + at % 112));
}

#[test]
fn a_message_cut_at_any_byte_is_corrupt() {
    let mut inflater = Inflater::new();
    let mut peers: Vec<Vec<u8>> = [0, 1, 6]
        .map(|level| {
            let mut peer = Compress::new(Compression::new(level), false);
            compressed_by(&mut peer, &text(3000, 5))
        })
        .into();
    let hello = deflated(b"Hello");
    peers.push(hello.clone());
    peers.push(deflated(&noise(500)));
    // Two blocks, with a flush between them.
    peers.push([&deflated(b"Hello")[..], &TAIL, &deflated(b"Hello")].concat());
    for whole in peers {
        inflater.inflate(None, &whole, 1 << 20).expect("valid");
        for end in 0..whole.len() {
            // What is cut in front of the tail of a flush is a message of its own.
            let cut = &whole[..end];
            let found = inflater.inflate(None, cut, 1 << 20);
            if cut == [0] {
                assert_eq!(found, Ok(&b""[..]), "nothing, and then a flush");
            } else if cut == hello {
                assert_eq!(found, Ok(&b"Hello"[..]));
            } else {
                assert_eq!(found, CORRUPT, "{end} of {}", whole.len());
            }
        }
    }
}

#[test]
fn what_is_no_deflate_is_corrupt() {
    let mut inflater = Inflater::new();
    for bytes in [
        &[][..],
        // The tail must not be there.
        &[0x00, 0x00, 0x00, 0xFF, 0xFF],
        // A reserved type of block.
        &[0x06, 0x00],
        &[0xFF; 10],
        // Stored, with lengths that do not agree.
        &[0x00, 0x05, 0x00, 0xFA, 0xFE, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00],
        // Five bytes back from the first.
        &[0xF2, 0x00, 0x11, 0x00, 0x00],
        // Something behind the end that is no block.
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0xFF],
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00, 0x00],
        b"Hello",
    ] {
        let mut history = History::new(15);
        assert_eq!(inflater.inflate(Some(&mut history), bytes, 100), CORRUPT, "{bytes:?}");
        assert_eq!(history.bytes(), b"");
    }
    assert_eq!(inflater.inflate(None, &deflated(b"Hello"), 5), Ok(&b"Hello"[..]), "as before");
}

#[test]
fn no_flipped_bit_does_more_than_fail() {
    let mut inflater = Inflater::new();
    let whole = deflated(&text(600, 9));
    for bit in 0..8 * whole.len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let limit = 1000;
        match inflater.inflate(None, &bytes, limit) {
            Ok(message) => assert!(message.len() <= limit),
            error => assert!(error == CORRUPT || error == TOO_BIG),
        }
    }
}

#[test]
fn messages_may_have_final_blocks_anywhere() {
    // A match of the last stream that reaches back over the final block, into the first message.
    let hello = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    let again = [0xF2, 0x00, 0x11, 0x00, 0x00];
    let mut inflater = Inflater::new();
    let message = [&hello[..], &hello, &again].concat();
    assert_eq!(inflater.inflate(None, &message, 100), Ok(&b"HelloHelloHello"[..]));
    let mut history = History::new(15);
    inflater.inflate(Some(&mut history), &[&hello[..], &[0]].concat(), 100).expect("valid");
    let message = [&[0x03, 0x00], &again[..]].concat();
    assert_eq!(inflater.inflate(Some(&mut history), &message, 100), Ok(&b"Hello"[..]));
    // The block that is owed behind the last is not missed.
    assert_eq!(inflater.inflate(Some(&mut history), &hello, 100), Ok(&b"Hello"[..]));
    assert_eq!(history.bytes(), b"HelloHelloHello");

    for (count, is_allowed) in
        [(DEFLATE_FINAL_BLOCKS_MAX, true), (DEFLATE_FINAL_BLOCKS_MAX + 1, false)]
    {
        let expected = if is_allowed { Ok(&b""[..]) } else { CORRUPT };
        for owed in [&[0][..], &[]] {
            let message = [&[0x03, 0x00].repeat(count)[..], owed].concat();
            assert_eq!(inflater.inflate(None, &message, 100), expected, "{count}, {owed:?}");
        }
    }
}

/// A megabyte of blocks that contain nothing: stored ones, and four in fixed codes at a time. It
/// would be felt here if each cost more than its own bytes.
#[test]
fn empty_blocks_are_legal_and_cost_what_they_weigh() {
    let mut inflater = Inflater::new();
    for blocks in [[0x00, 0x00, 0x00, 0xFF, 0xFF], [0x02, 0x08, 0x20, 0x80, 0x00]] {
        let mut message = blocks.repeat((1 << 20) / blocks.len());
        message.push(0);
        assert_eq!(inflater.inflate(None, &message, 0), Ok(&b""[..]));
    }
}
