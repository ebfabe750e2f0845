//! Compressed messages from a peer, and to it.

use super::*;
use crate::protocol::deflate::{DeflatePolicy, History, Sending};

const TAKEOVER: DeflatePolicy = DeflatePolicy { takeover: true, window_bits: 12 };
const PLAIN: DeflatePolicy = DeflatePolicy { takeover: false, window_bits: 15 };

fn rig(policy: DeflatePolicy, offer: &str) -> Rig {
    let (agreement, _) = Agreement::negotiate([offer].into_iter(), policy).expect("acceptable");
    let mut rig = Rig::new();
    rig.connection = Connection::new(0, 0, Some(agreement));
    rig
}

/// What a client sends, compressed with what it sent before.
fn said(history: Option<&mut History>, kind: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    encode_masked_frame(&mut frames, kind, payload, KEY);
    let sending = Sending { window_bits: 12, min_bytes: 0, key: Some(KEY) };
    let mut out = Vec::new();
    assert_eq!(Deflater::new(6).deflate_frames(sending, history, &frames, &mut out), 1);
    out
}

fn words(count: usize) -> Vec<u8> {
    "the same words again, ".repeat(count).into_bytes()
}

#[test]
fn messages_of_a_peer_are_inflated_with_what_it_sent_before() {
    let mut rig = rig(TAKEOVER, "permessage-deflate; client_max_window_bits");
    let mut history = History::new(12);
    let first = said(Some(&mut history), OpCode::Text, &words(20));
    let second = said(Some(&mut history), OpCode::Binary, &words(20));
    assert!(second.len() < first.len(), "it refers to the first");
    assert_eq!(rig.connection.compression_bytes(), 0);
    rig.receive(first);
    rig.receive(second);
    assert_eq!(rig.delivered, [words(20), words(20)]);
    assert!((1..3 * 4096).contains(&rig.connection.compression_bytes()));
}

#[test]
fn without_takeover_a_connection_remembers_nothing() {
    let mut rig = rig(PLAIN, "permessage-deflate");
    for _ in 0..3 {
        rig.receive(said(None, OpCode::Text, &words(20)));
    }
    assert_eq!(rig.delivered, [words(20), words(20), words(20)]);
    let mut frames = Vec::new();
    encode_frame(&mut frames, OpCode::Text, &words(20));
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    assert_eq!(rig.connection.deflate(&mut rig.workshop, &frames, &mut once), 1);
    assert_eq!(rig.connection.deflate(&mut rig.workshop, &frames, &mut twice), 1);
    assert!(once.len() < 60 && once == twice);
    assert_eq!(rig.connection.compression_bytes(), 0);
    let mut shared = Vec::new();
    assert_eq!(rig.workshop.deflate_shared(&frames, &mut shared), 1);
    assert_eq!(shared, once);
}

#[test]
fn messages_to_a_peer_refer_to_those_before() {
    let mut rig = rig(TAKEOVER, "permessage-deflate");
    let mut frames = Vec::new();
    encode_frame(&mut frames, OpCode::Text, &words(20));
    let mut sent = [Vec::new(), Vec::new()];
    for out in &mut sent {
        assert_eq!(rig.connection.deflate(&mut rig.workshop, &frames, out), 1);
    }
    assert!(sent[1].len() < sent[0].len());
    // Nothing was agreed to: the frames are as they were.
    let mut plain = Vec::new();
    let mut other = Rig::new();
    assert_eq!(other.connection.deflate(&mut other.workshop, &frames, &mut plain), 0);
    assert_eq!(plain, frames);
}

#[test]
fn peers_hear_what_they_agreed_to() {
    let hears = |policy, offer| {
        let rig = rig(policy, offer);
        rig.connection.hears(&rig.workshop)
    };
    let none = Rig::new();
    assert_eq!(none.connection.hears(&none.workshop), Hears::Plain);
    assert_eq!(hears(PLAIN, "permessage-deflate"), Hears::Shared);
    assert_eq!(hears(PLAIN, "permessage-deflate; server_max_window_bits=10"), Hears::Own);
    assert_eq!(hears(TAKEOVER, "permessage-deflate"), Hears::Own);
    let wide = DeflatePolicy { takeover: true, window_bits: 15 };
    assert_eq!(hears(wide, "permessage-deflate; server_no_context_takeover"), Hears::Shared);
}

#[test]
fn what_cannot_be_inflated_ends_the_connection() {
    let zeros = said(None, OpCode::Binary, &vec![0; (1 << 16) + 1]);
    let bad_text = said(None, OpCode::Text, &[0xFF; 100]);
    let mut corrupt = Vec::new();
    encode_masked_frame(&mut corrupt, OpCode::Text, b"no DEFLATE", KEY);
    corrupt[0] |= 0x40;
    for (frame, error) in [
        (zeros, ProtocolError::MessageTooBig),
        (bad_text, ProtocolError::TextInvalid),
        (corrupt, ProtocolError::DeflateCorrupt),
    ] {
        let mut rig = rig(PLAIN, "permessage-deflate");
        rig.receive([frame, said(None, OpCode::Text, &words(5))].concat());
        assert_eq!(rig.delivered, [[0; 0]; 0], "nothing behind it counts");
        let mut told = Vec::new();
        encode_close(&mut told, error.close_code().0, error.reason());
        assert_eq!((rig.wire.clone(), rig.step()), (told, Step::ShutWrite));
        assert_eq!(rig.connection.reason(), error.into());
    }
}

#[test]
fn a_message_of_exactly_the_limit_passes() {
    let mut rig = rig(PLAIN, "permessage-deflate");
    let message = vec![1; 1 << 16];
    rig.receive(said(None, OpCode::Binary, &message));
    assert!(rig.delivered == [message]);
}

#[test]
fn strangers_may_not_compress() {
    let mut rig = rig(PLAIN, "permessage-deflate");
    rig.connection.trust(false);
    rig.receive(said(None, OpCode::Text, &words(5)));
    assert_eq!(rig.delivered, [[0; 0]; 0]);
    assert_eq!(rig.connection.code(), CodeClass::of(Some(1002)));
}

#[test]
fn while_closing_nothing_is_inflated() {
    let mut rig = rig(PLAIN, "permessage-deflate");
    rig.close();
    let mut corrupt = Vec::new();
    encode_masked_frame(&mut corrupt, OpCode::Text, b"no DEFLATE", KEY);
    corrupt[0] |= 0x40;
    rig.receive(corrupt);
    assert_eq!((rig.delivered.len(), rig.connection.reason()), (0, CloseReason::GoingAway));
}
