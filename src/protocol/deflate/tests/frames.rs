//! Frames that were encoded without compression, rewritten.

use super::*;
use crate::protocol::{
    AssemblyPool, Decoder, Event, Input, Limits, MessageKind, OpCode, Role, encode_close,
    encode_fragment, unsent_messages,
};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, fragments_max: 8, compressed: true };

/// What a peer hears: text or not, compressed or not, and the content.
type Heard = (&'static str, bool, Vec<u8>);

fn hear(role: Role, frames: &[u8], mut history: Option<&mut History>) -> Vec<Heard> {
    let mut bytes = frames.to_vec();
    let mut input = Input::new(&mut bytes);
    let (mut decoder, mut pool) = (Decoder::new(role), AssemblyPool::new(4 << 20));
    let mut inflater = Inflater::new();
    let mut heard = Vec::new();
    while let Some(event) = decoder.next(&mut input, &mut pool, &LIMITS).expect("valid frames") {
        heard.push(match event {
            Event::Message { kind, compressed, payload } => {
                let name = if kind == MessageKind::Text { "text" } else { "binary" };
                let payload = if compressed {
                    inflater.inflate(history.as_deref_mut(), payload, 1 << 20).expect("DEFLATE")
                } else {
                    payload
                };
                (name, compressed, payload.to_vec())
            }
            Event::Ping(payload) => ("ping", false, payload.to_vec()),
            Event::Pong(payload) => ("pong", false, payload.to_vec()),
            Event::Close { reason, .. } => ("close", false, reason.as_bytes().to_vec()),
        });
    }
    heard
}

/// One of everything, and what is to be heard of it: compressed is what it pays for.
fn conversation(key: Option<[u8; 4]>, min_bytes: usize) -> (Vec<u8>, Vec<Heard>) {
    let mut frames = Vec::new();
    let mut heard = Vec::new();
    for size in [0, 1, 80, 125, 126, 127, 130, 500, 65_535, 65_536, 100_000] {
        for (opcode, payload) in [
            (OpCode::Text, text(size, 1)),
            (OpCode::Binary, noise(size)),
            (OpCode::Ping, b"??????????????????????????????".to_vec()),
            (OpCode::Pong, vec![b'!'; 125]),
            (OpCode::Binary, vec![7; size]),
        ] {
            encode_fragment(&mut frames, true, opcode, &payload, key);
            let name = match opcode {
                OpCode::Text => "text",
                OpCode::Binary => "binary",
                OpCode::Ping => "ping",
                _ => "pong",
            };
            let pays = size >= 80 && payload != noise(size);
            let compressed = pays && !opcode.is_control() && size >= min_bytes;
            heard.push((name, compressed, payload));
        }
        // Fragments stay as they are.
        let (first, last) = (text(size, 2), text(300, 2));
        encode_fragment(&mut frames, false, OpCode::Text, &first, key);
        encode_fragment(&mut frames, true, OpCode::Continuation, &last, key);
        heard.push(("text", false, [first, last].concat()));
    }
    (frames, heard)
}

#[test]
fn whole_messages_are_compressed_and_all_else_is_left_alone() {
    for (key, role) in [(None, Role::Client), (Some(KEY), Role::Server)] {
        for min_bytes in [0, 126, 1000, usize::MAX] {
            for bits in [9, 12, 15] {
                let (frames, expected) = conversation(key, min_bytes);
                let mut deflater = Deflater::new(1);
                let sending = Sending { window_bits: bits, min_bytes, key };
                let mut out = Vec::new();
                let count = deflater.deflate_frames(sending, None, &frames, &mut out);
                let heard = hear(role, &out, None);
                assert!(heard == expected, "{bits}, from {min_bytes}, {role:?}");
                let compressed = expected.iter().filter(|(_, compressed, _)| *compressed).count();
                assert_eq!(count, compressed as u64);
                assert!(out.len() < frames.len() || count == 0);
                // Rewritten once more, nothing changes.
                let mut again = Vec::new();
                let count = deflater.deflate_frames(sending, None, &out, &mut again);
                assert_eq!((count, again == out), (0, true));
            }
        }
    }
}

#[test]
fn messages_that_are_not_compressed_are_no_context() {
    for (key, role) in [(None, Role::Client), (Some(KEY), Role::Server)] {
        let mut deflater = Deflater::new(6);
        let (mut sent, mut received) = (History::new(12), History::new(12));
        let sending = Sending { window_bits: 12, min_bytes: 100, key };
        for _ in 0..3 {
            let (frames, expected) = conversation(key, 100);
            let mut out = Vec::new();
            deflater.deflate_frames(sending, Some(&mut sent), &frames, &mut out);
            let heard = hear(role, &out, Some(&mut received));
            let contents = |heard: Vec<Heard>| -> Vec<_> {
                heard.into_iter().map(|(name, _, payload)| (name, payload)).collect()
            };
            assert!(contents(heard) == contents(expected));
            assert_eq!(sent.bytes(), received.bytes());
        }
        // Of 100 bytes of noise, heard for the second time, a reference is left: but the first time
        // they were no context.
        let mut frames = Vec::new();
        encode_fragment(&mut frames, true, OpCode::Binary, &noise(200), key);
        let mut history = History::new(12);
        for _ in 0..2 {
            let mut out = Vec::new();
            assert_eq!(deflater.deflate_frames(sending, Some(&mut history), &frames, &mut out), 0);
            assert_eq!((out == frames, history.bytes()), (true, &b""[..]));
        }
    }
}

#[test]
fn a_101_comes_first_and_a_close_last() {
    let mut frames = HEAD.to_vec();
    encode_fragment(&mut frames, true, OpCode::Text, &text(1000, 4), None);
    encode_fragment(&mut frames, true, OpCode::Text, b"short", None);
    encode_close(&mut frames, 1000, "done");
    let sending = Sending { window_bits: 15, min_bytes: 10, key: None };
    let mut out = b"before".to_vec();
    assert_eq!(Deflater::new(1).deflate_frames(sending, None, &frames, &mut out), 1);
    let rest = out.strip_prefix(b"before").expect("it appends");
    assert_eq!(unsent_messages(rest, 0), 2);
    let rest = rest.strip_prefix(HEAD).expect("the head");
    assert_eq!(rest[0], 0xC1, "FIN, RSV1, text (RFC 7692 section 7.2.3.1)");
    let heard = hear(Role::Client, rest, None);
    assert_eq!(heard[0], ("text", true, text(1000, 4)));
    assert_eq!(heard[1], ("text", false, b"short".to_vec()));
    assert_eq!(heard[2], ("close", false, b"done".to_vec()));
}

#[test]
fn into_256_bytes_nothing_is_compressed() {
    let (frames, _) = conversation(Some(KEY), 0);
    let sending = Sending { window_bits: 8, min_bytes: 0, key: Some(KEY) };
    let mut out = Vec::new();
    assert_eq!(Deflater::new(1).deflate_frames(sending, None, &frames, &mut out), 0);
    assert!(out == frames);
}
