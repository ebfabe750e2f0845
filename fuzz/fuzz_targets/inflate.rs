//! Any bytes as compressed messages: bounded, the same again, and what we compress comes back.
//!
//! Input: one byte of settings (window, limit, takeover), one byte of length, then a message of
//! that length that came before, then the compressed message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringwire::protocol::ProtocolError;
use ringwire::protocol::deflate::{Deflater, History, Inflater};

fuzz_target!(|data: &[u8]| {
    let [settings, length, rest @ ..] = data else { return };
    let window_bits = 9 + settings % 7;
    let limit = if settings & 0x10 == 0 { 1 << 16 } else { 100 };
    let (before, message) = rest.split_at(rest.len().min(usize::from(*length)));
    let mut deflater = Deflater::new(if settings & 0x20 == 0 { 1 } else { 6 });

    for takes_over in [false, true] {
        let first = inflate(&mut Inflater::new(), takes_over, window_bits, before, message, limit);
        // One that has seen other messages makes the same of it.
        let mut used = Inflater::new();
        let _ = used.inflate(None, before, 1 << 20);
        let second = inflate(&mut used, takes_over, window_bits, before, message, limit);
        assert_eq!(first, second, "the same again");
        come_back(&mut deflater, &mut used, takes_over, window_bits, [before, message, rest]);
    }
});

/// What the message contains, and the history after it.
fn inflate(
    inflater: &mut Inflater,
    takes_over: bool,
    window_bits: u8,
    before: &[u8],
    message: &[u8],
    limit: usize,
) -> (Result<Vec<u8>, ProtocolError>, Vec<u8>) {
    let mut history = History::new(window_bits);
    // Whatever it is: stored, it becomes what the message may refer to.
    if let Ok(length) = u16::try_from(before.len()) {
        let [low, high] = length.to_le_bytes();
        let stored = [&[0x00, low, high, !low, !high][..], before, &[0x00]].concat();
        let kept = inflater.inflate(Some(&mut history), &stored, 1 << 16);
        assert_eq!(kept, Ok(before));
    }
    let known = history.bytes().to_vec();
    let result = inflater.inflate(takes_over.then_some(&mut history), message, limit);
    match &result {
        Ok(content) => assert!(content.len() <= limit),
        Err(error) => {
            assert!(matches!(error, ProtocolError::MessageTooBig | ProtocolError::DeflateCorrupt))
        }
    }
    let result = result.map(<[u8]>::to_vec);
    inflater.trim();
    assert!(inflater.memory() <= 1 << 16, "what is kept between messages");
    assert!(history.footprint() <= 1 << window_bits);
    if result.is_err() || !takes_over {
        assert_eq!(history.bytes(), known, "no context");
    }
    (result, history.bytes().to_vec())
}

fn come_back(
    deflater: &mut Deflater,
    inflater: &mut Inflater,
    takes_over: bool,
    window_bits: u8,
    messages: [&[u8]; 3],
) {
    let (mut sent, mut received) = (History::new(window_bits), History::new(window_bits));
    for message in messages {
        let mut out = Vec::new();
        deflater.deflate(window_bits, takes_over.then_some(&mut sent), message, &mut out);
        let history = takes_over.then_some(&mut received);
        assert_eq!(inflater.inflate(history, &out, message.len()), Ok(message));
        assert_eq!(sent.bytes(), received.bytes());
    }
}
