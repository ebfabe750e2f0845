//! Text is UTF-8 (RFC 6455 section 8.1), judged byte by byte and across fragments.

mod frames;

use ringwire::protocol::OpCode;
use ringwire::protocol::ProtocolError::TextInvalid;
use ringwire::protocol::Role::Server;

use frames::Heard::{Binary, Failed, Ping, Text};
use frames::{LIMITS, Receiver, frame_to, hear};

/// Sequences that are not UTF-8, each at the end of a valid text.
const BAD_UTF8: [&[u8]; 12] = [
    b"\x80",
    b"\xBF",
    b"\xC0\xAF",
    b"\xC1\xBF",
    b"\xC3(",
    b"\xE0\x80\xAF",
    b"\xE0\x9F\xBF",
    b"\xED\xA0\x80",
    b"\xF0\x80\x80\xAF",
    b"\xF4\x90\x80\x80",
    b"\xF5\x80\x80\x80",
    b"\xFF",
];

const GOOD_TEXT: &str = "aé語𝄞 κόσμε — Здравствуй, 世界! 🦀🦀";

#[test]
fn section_8_1_text_fails_at_its_first_bad_byte() {
    let mut texts: Vec<Vec<u8>> = BAD_UTF8.map(|bad| [GOOD_TEXT.as_bytes(), bad].concat()).into();
    for position in 0..GOOD_TEXT.len() {
        for bad in [0xFF, 0x80, 0xC3, b'a'] {
            let mut text = GOOD_TEXT.as_bytes().to_vec();
            text[position] = bad;
            texts.push(text);
        }
    }
    for text in texts {
        let Err(error) = str::from_utf8(&text) else { continue };
        // The byte with which no continuation can be UTF-8 any more.
        let bad_at = (0..text.len())
            .find(|&end| str::from_utf8(&text[..=end]).is_err_and(|e| e.error_len().is_some()))
            .expect("ends in an invalid sequence");
        assert!(bad_at >= error.valid_up_to());
        // A long frame, of which only this much arrives: one byte at a time.
        let mut long = text.clone();
        long.resize(1000, b'.');
        let frame = frame_to(Server, true, OpCode::Text, &long);
        let payload_at = frame.len() - long.len();
        let mut receiver = Receiver::new(Server, LIMITS);
        let failed_at = frame
            .iter()
            .position(|&byte| receiver.feed(&[byte]).is_err())
            .expect("the text is invalid");
        assert_eq!(failed_at - payload_at, bad_at, "{text:x?}");
        assert_eq!(receiver.finish(), [Failed(TextInvalid)]);
        assert_eq!(hear(Server, &frame), [Failed(TextInvalid)], "whole");
        assert_eq!(hear(Server, &frame[..=payload_at + bad_at]), [Failed(TextInvalid)], "in part");
    }
}

#[test]
fn section_8_1_characters_may_be_cut_by_fragments() {
    let text = GOOD_TEXT.as_bytes();
    for cut in 0..=text.len() {
        for second in cut..=text.len() {
            let heard = hear(
                Server,
                &[
                    frame_to(Server, false, OpCode::Text, &text[..cut]),
                    frame_to(Server, false, OpCode::Continuation, &text[cut..second]),
                    frame_to(Server, true, OpCode::Continuation, &text[second..]),
                ]
                .concat(),
            );
            assert_eq!(heard, [Text(GOOD_TEXT.into())], "{cut} {second}");
        }
    }
}

#[test]
fn section_8_1_bad_text_across_fragments() {
    for bad in BAD_UTF8 {
        for cut in 0..=bad.len() {
            let heard = hear(
                Server,
                &[
                    frame_to(Server, false, OpCode::Text, &bad[..cut]),
                    frame_to(Server, true, OpCode::Continuation, &bad[cut..]),
                ]
                .concat(),
            );
            assert_eq!(heard, [Failed(TextInvalid)], "{bad:x?} cut at {cut}");
        }
    }
}

#[test]
fn section_8_1_a_message_may_not_end_inside_a_character() {
    for end in 1..4 {
        let begun = &"🦀".as_bytes()[..end];
        let whole = frame_to(Server, true, OpCode::Text, begun);
        assert_eq!(hear(Server, &whole), [Failed(TextInvalid)]);
        let open = frame_to(Server, false, OpCode::Text, begun);
        assert_eq!(hear(Server, &open), []);
        let last = frame_to(Server, true, OpCode::Continuation, b"");
        assert_eq!(hear(Server, &[open, last].concat()), [Failed(TextInvalid)]);
    }
}

#[test]
fn section_8_1_binary_and_pings_are_any_bytes() {
    let bytes: Vec<u8> = (0..=255).collect();
    let binary = frame_to(Server, true, OpCode::Binary, &bytes);
    let ping = frame_to(Server, true, OpCode::Ping, &bytes[200..]);
    let first = frame_to(Server, false, OpCode::Binary, &bytes[..200]);
    let last = frame_to(Server, true, OpCode::Continuation, &bytes[200..]);
    assert_eq!(
        hear(Server, &[binary, first, ping, last].concat()),
        [Binary(bytes.clone()), Ping(bytes[200..].into()), Binary(bytes)]
    );
}
