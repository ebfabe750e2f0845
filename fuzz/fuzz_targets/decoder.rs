//! Any bytes, in any chunks: the decoder hears the same, keeps its bounds and its last word.
//!
//! Input: one byte of settings (role, limits, compression), one of chunk sizes, then the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringwire::protocol::{
    AssemblyPool, CloseCode, Decoder, Event, Input, Limits, MessageKind, ProtocolError, Role,
};

const POOL_BYTES: usize = 1 << 20;

/// What was heard: kind, payload, close code.
type Heard = (&'static str, Vec<u8>, Option<u16>);

fuzz_target!(|data: &[u8]| {
    let [settings, step, stream @ ..] = data else { return };
    let role = if settings & 1 == 0 { Role::Server } else { Role::Client };
    let message_bytes_max = if settings & 2 == 0 { 1 << 16 } else { 40 };
    let fragments_max = 1 + u16::from(settings >> 4);
    let limits = Limits { message_bytes_max, fragments_max, compressed: settings & 4 != 0 };
    let whole = listen(role, &limits, std::iter::once(stream));
    let chunked = listen(role, &limits, stream.chunks(1 + usize::from(*step)));
    assert_eq!(whole, chunked, "whole and in chunks");
});

fn listen<'a>(
    role: Role,
    limits: &Limits,
    chunks: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Heard>, Option<ProtocolError>, bool) {
    let mut decoder = Decoder::new(role);
    let mut pool = AssemblyPool::new(POOL_BYTES);
    let mut heard = Vec::new();
    let mut failure = None;
    for chunk in chunks {
        let mut chunk = chunk.to_vec();
        let mut input = Input::new(&mut chunk);
        loop {
            match decoder.next(&mut input, &mut pool, limits) {
                Ok(Some(event)) => {
                    assert_eq!(failure, None, "an event after an error");
                    heard.push(own(event, limits));
                }
                Ok(None) => break,
                Err(error) => {
                    check_error(error);
                    assert!(failure.is_none_or(|first| first == error), "another error");
                    failure = Some(error);
                    let again = decoder.next(&mut input, &mut pool, limits);
                    assert_eq!(again, Err(error), "the same call again");
                    break;
                }
            }
        }
        assert!(failure.is_some() || input.is_empty(), "bytes left without an error");
        assert!(pool.bytes_in_use() <= 2 * stream_bound(limits));
    }
    let in_message = decoder.in_message();
    decoder.release(&mut pool);
    assert_eq!(pool.bytes_in_use(), 0);
    (heard, failure, in_message)
}

/// Memory one connection may occupy: a message, one control frame, bookkeeping.
fn stream_bound(limits: &Limits) -> usize {
    wire_bytes_max(limits) + 1024
}

/// Compressed messages may be longer by what does not compress.
fn wire_bytes_max(limits: &Limits) -> usize {
    let bytes = limits.message_bytes_max;
    if limits.compressed { bytes + bytes / 8 + 64 } else { bytes }
}

fn own(event: Event<'_>, limits: &Limits) -> Heard {
    match event {
        Event::Message { compressed: true, payload, .. } => {
            assert!(limits.compressed && payload.len() <= wire_bytes_max(limits));
            ("compressed", payload.to_vec(), None)
        }
        Event::Message { kind, payload, .. } => {
            assert!(payload.len() <= limits.message_bytes_max);
            match kind {
                MessageKind::Text => {
                    assert!(str::from_utf8(payload).is_ok());
                    ("text", payload.to_vec(), None)
                }
                MessageKind::Binary => ("binary", payload.to_vec(), None),
            }
        }
        Event::Ping(payload) => ("ping", control(payload), None),
        Event::Pong(payload) => ("pong", control(payload), None),
        Event::Close { code, reason } => {
            assert!(code.is_none_or(|code| CloseCode(code).is_allowed_on_wire()));
            ("close", control(reason.as_bytes()), code)
        }
    }
}

fn control(payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= 125);
    payload.to_vec()
}

/// Only what can be sent in a close frame, and never a lack of memory this small.
fn check_error(error: ProtocolError) {
    assert_ne!(error, ProtocolError::Overloaded);
    assert!(error.close_code().is_allowed_on_wire());
    assert!(error.reason().len() <= 123);
}
