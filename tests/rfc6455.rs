//! The frames of RFC 6455, clause by clause, with the bytes spelled out.

mod frames;

use ringwire::protocol::ProtocolError::{self, *};
use ringwire::protocol::Role::{self, Client, Server};
use ringwire::protocol::{
    AssemblyPool, CloseCode, Decoder, Input, Limits, OpCode, encode_masked_frame,
};

use frames::Heard::{Binary, Close, Failed, Ping, Pong, Text};
use frames::{Heard, KEY, LIMITS, Receiver, frame_to, hear};

/// The first two bytes and the extended length as given, then the key if `role` needs one.
fn raw_header(role: Role, first: u8, length: u8, extended: &[u8]) -> Vec<u8> {
    let masked = if role == Server { 0x80 } else { 0 };
    let mut out = vec![first, masked | length];
    out.extend_from_slice(extended);
    if role == Server {
        out.extend_from_slice(&KEY);
    }
    out
}

/// The result of a header alone, at an end without limits.
fn judge(role: Role, header: &[u8]) -> Result<(), ProtocolError> {
    let limits =
        Limits { message_bytes_max: usize::MAX, fragments_max: u16::MAX, compressed: false };
    let mut receiver = Receiver::new(role, limits);
    let result = receiver.feed(header);
    assert_eq!(receiver.pool.bytes_in_use(), 0, "a header alone must not allocate");
    receiver.finish();
    result
}

#[test]
fn section_5_1_masking_depends_on_the_role() {
    for opcode in [1, 2, 8, 9, 10] {
        assert_eq!(hear(Server, &[0x80 | opcode, 0]), [Failed(FrameNotMasked)]);
        assert_eq!(hear(Client, &[0x80 | opcode, 0x80, 1, 2, 3, 4]), [Failed(FrameMasked)]);
    }
}

#[test]
fn section_5_2_every_first_byte() {
    for role in [Server, Client] {
        for first in 0..=255_u8 {
            let (fin, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0F);
            let expected = match opcode {
                _ if reserved != 0 => Err(ReservedBit),
                3..=7 | 11..=15 => Err(ReservedOpCode),
                8..=10 if !fin => Err(ControlFragmented),
                0 => Err(ContinuationUnexpected),
                _ => Ok(()),
            };
            assert_eq!(judge(role, &raw_header(role, first, 0, &[])), expected, "{first:#04x}");
        }
    }
}

#[test]
fn section_5_2_lengths_in_shortest_form_only() {
    for role in [Server, Client] {
        for length in [126, 127, 65_534, 65_535_u16] {
            let header = raw_header(role, 0x82, 126, &length.to_be_bytes());
            assert_eq!(judge(role, &header), Ok(()), "{length}");
        }
        for length in [0, 1, 124, 125_u16] {
            let header = raw_header(role, 0x82, 126, &length.to_be_bytes());
            assert_eq!(judge(role, &header), Err(LengthNotMinimal), "{length}");
        }
        for length in [0, 125, 126, 127, 65_534, 65_535_u64] {
            let header = raw_header(role, 0x82, 127, &length.to_be_bytes());
            assert_eq!(judge(role, &header), Err(LengthNotMinimal), "{length}");
        }
    }
}

#[test]
fn section_5_2_lengths_of_63_bits() {
    let valid = [
        1_u64 << 16,
        (1 << 31) - 1,
        1 << 31,
        (1 << 31) + 1,
        (1 << 32) - 1,
        1 << 32,
        (1 << 32) + 1,
        (1 << 63) - 1,
    ];
    let invalid = [1 << 63, (1 << 63) + 1, u64::MAX];
    for role in [Server, Client] {
        for first in [0x01, 0x02, 0x81, 0x82] {
            for length in valid {
                let header = raw_header(role, first, 127, &length.to_be_bytes());
                assert_eq!(judge(role, &header), Ok(()), "{length}");
                let expected: &[Heard] =
                    if length <= 70_000 { &[] } else { &[Failed(MessageTooBig)] };
                assert_eq!(hear(role, &header), expected, "{length}");
            }
            for length in invalid {
                let header = raw_header(role, first, 127, &length.to_be_bytes());
                assert_eq!(judge(role, &header), Err(LengthTopBit), "{length}");
                assert_eq!(hear(role, &header), [Failed(LengthTopBit)], "{length}");
            }
        }
    }
}

#[test]
fn section_5_2_payloads_of_every_length_form() {
    for role in [Server, Client] {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let frame = frame_to(role, true, OpCode::Binary, &payload);
            assert_eq!(hear(role, &frame), [Binary(payload)]);
        }
    }
}

#[test]
fn section_5_4_fragments_with_control_frames_between() {
    for role in [Server, Client] {
        let heard = hear(
            role,
            &[
                frame_to(role, false, OpCode::Text, "Zwölf ".as_bytes()),
                frame_to(role, true, OpCode::Ping, b"1"),
                frame_to(role, false, OpCode::Continuation, b""),
                frame_to(role, true, OpCode::Pong, b"2"),
                frame_to(role, true, OpCode::Continuation, "Boxkämpfer".as_bytes()),
                frame_to(role, true, OpCode::Binary, b"next"),
            ]
            .concat(),
        );
        let expected = [
            Ping(b"1".into()),
            Pong(b"2".into()),
            Text("Zwölf Boxkämpfer".into()),
            Binary(b"next".into()),
        ];
        assert_eq!(heard, expected);
    }
}

#[test]
fn section_5_4_a_close_may_interrupt_a_message() {
    let heard = hear(
        Server,
        &[
            frame_to(Server, false, OpCode::Text, b"never finished"),
            frame_to(Server, true, OpCode::Close, b"\x03\xE8bye"),
            frame_to(Server, true, OpCode::Continuation, b"too late"),
        ]
        .concat(),
    );
    assert_eq!(heard, [Close(Some(1000), "bye".into())]);
}

#[test]
fn section_5_4_empty_fragments_make_an_empty_message() {
    for (opcode, expected) in
        [(OpCode::Text, Text(String::new())), (OpCode::Binary, Binary(vec![]))]
    {
        let first = frame_to(Server, false, opcode, b"");
        let last = frame_to(Server, true, OpCode::Continuation, b"");
        assert_eq!(hear(Server, &[first, last].concat()), [expected]);
    }
}

#[test]
fn section_5_4_order_of_fragments() {
    for opcode in [OpCode::Text, OpCode::Binary] {
        for fin in [false, true] {
            let stray = frame_to(Server, fin, OpCode::Continuation, b"x");
            assert_eq!(hear(Server, &stray), [Failed(ContinuationUnexpected)]);

            let whole = frame_to(Server, true, opcode, b"x");
            assert_eq!(
                hear(Server, &[whole, stray].concat())[1..],
                [Failed(ContinuationUnexpected)]
            );

            let open = frame_to(Server, false, opcode, b"x");
            let second = frame_to(Server, fin, opcode, b"y");
            assert_eq!(hear(Server, &[open, second].concat()), [Failed(ContinuationExpected)]);
        }
    }
}

#[test]
fn section_5_5_control_frames_are_short_and_whole() {
    for role in [Server, Client] {
        for opcode in [OpCode::Ping, OpCode::Pong] {
            let longest = [b'a'; 125];
            let expected = if opcode == OpCode::Ping { Ping } else { Pong };
            let frame = frame_to(role, true, opcode, &longest);
            assert_eq!(hear(role, &frame), [expected(longest.into())]);
        }
        for opcode in [8, 9, 10] {
            let whole = 0x80 | opcode;
            let long = raw_header(role, whole, 126, &[0, 126]);
            assert_eq!(judge(role, &long), Err(ControlTooLong));
            let longer = raw_header(role, whole, 127, &(1_u64 << 16).to_be_bytes());
            assert_eq!(judge(role, &longer), Err(ControlTooLong));
            // The two bytes that decide are enough.
            assert_eq!(judge(role, &long[..2]), Err(ControlTooLong));
            assert_eq!(judge(role, &raw_header(role, opcode, 0, &[])), Err(ControlFragmented));
        }
    }
}

#[test]
fn section_5_5_1_close_payloads() {
    let close = |payload: &[u8]| hear(Server, &frame_to(Server, true, OpCode::Close, payload));
    assert_eq!(close(b""), [Close(None, String::new())]);
    assert_eq!(close(b"\x03"), [Failed(CloseTruncated)]);
    assert_eq!(close(b"\x03\xE8"), [Close(Some(1000), String::new())]);

    let reason = "é".repeat(61);
    let payload = [b"\x0F\xA1", reason.as_bytes()].concat();
    assert_eq!(close(&payload), [Close(Some(4001), reason)]);
    for position in 2..payload.len() {
        let mut broken = payload.clone();
        broken[position] = 0xFF;
        assert_eq!(close(&broken), [Failed(CloseReasonInvalid)], "{position}");
    }
    let cut_off = &payload[..payload.len() - 1];
    assert_eq!(close(cut_off), [Failed(CloseReasonInvalid)]);
}

#[test]
fn section_5_5_1_nothing_counts_after_a_close() {
    let mut receiver = Receiver::new(Server, LIMITS);
    let close = frame_to(Server, true, OpCode::Close, b"");
    let garbage = [0xFF; 40];
    assert_eq!(receiver.feed(&[&close[..], &garbage].concat()), Ok(()));
    assert_eq!(receiver.feed(&garbage), Ok(()));
    assert!(!receiver.decoder.in_message());
    assert_eq!(receiver.finish(), [Close(None, String::new())]);
}

#[test]
fn section_5_7_examples() {
    let text = || Text("Hello".into());
    assert_eq!(hear(Client, b"\x81\x05Hello"), [text()]);
    assert_eq!(hear(Server, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [text()]);
    assert_eq!(hear(Client, b"\x01\x03Hel\x80\x02lo"), [text()]);
    assert_eq!(hear(Client, b"\x89\x05Hello"), [Ping(b"Hello".into())]);
    assert_eq!(
        hear(Server, b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        [Pong(b"Hello".into())]
    );
    let binary = [b"\x82\x7E\x01\x00", &[7; 256][..]].concat();
    assert_eq!(hear(Client, &binary), [Binary(vec![7; 256])]);
    let binary = [b"\x82\x7F\0\0\0\0\0\x01\0\0", &[7; 65_536][..]].concat();
    assert_eq!(hear(Client, &binary), [Binary(vec![7; 65_536])]);
}

#[test]
fn section_7_1_7_an_error_is_for_good() {
    let mut receiver = Receiver::new(Server, LIMITS);
    let open = frame_to(Server, false, OpCode::Text, b"open");
    assert_eq!(receiver.feed(&open), Ok(()));
    assert!(receiver.decoder.in_message());
    assert!(receiver.pool.bytes_in_use() > 0);
    assert_eq!(receiver.feed(&[0xC1, 0x80]), Err(ReservedBit));
    assert_eq!(receiver.pool.bytes_in_use(), 0, "memory goes back at once");
    assert!(!receiver.decoder.in_message());
    assert_eq!(receiver.feed(&[]), Err(ReservedBit));
    assert_eq!(receiver.feed(&frame_to(Server, true, OpCode::Text, b"fine")), Err(ReservedBit));
    assert_eq!(receiver.finish(), [Failed(ReservedBit)]);
}

#[test]
fn section_7_4_every_close_code() {
    for role in [Server, Client] {
        for code in 0..=u16::MAX {
            let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            let expected =
                if allowed { Close(Some(code), String::new()) } else { Failed(CloseCodeInvalid) };
            let frame = frame_to(role, true, OpCode::Close, &code.to_be_bytes());
            assert_eq!(hear(role, &frame), [expected]);
            assert_eq!(CloseCode(code).is_allowed_on_wire(), allowed);
        }
    }
}

#[test]
fn section_10_4_limit_of_a_message() {
    let limits = Limits { message_bytes_max: 1000, fragments_max: 8, compressed: false };
    let fragments = |sizes: &[usize]| {
        let mut receiver = Receiver::new(Server, limits);
        for (index, &size) in sizes.iter().enumerate() {
            let fin = index + 1 == sizes.len();
            let opcode = if index == 0 { OpCode::Binary } else { OpCode::Continuation };
            if let Err(error) = receiver.feed(&frame_to(Server, fin, opcode, &vec![0; size])) {
                receiver.finish();
                return Err(error);
            }
        }
        Ok(receiver.finish().len())
    };
    assert_eq!(fragments(&[1000]), Ok(1));
    assert_eq!(fragments(&[1001]), Err(MessageTooBig));
    assert_eq!(fragments(&[999, 1]), Ok(1));
    assert_eq!(fragments(&[999, 1, 0]), Ok(1));
    assert_eq!(fragments(&[999, 2]), Err(MessageTooBig));
    assert_eq!(fragments(&[0, 1000, 1]), Err(MessageTooBig));
    assert_eq!(fragments(&[1; 8]), Ok(1));
    assert_eq!(fragments(&[1; 9]), Err(FragmentsTooMany));
    assert_eq!(fragments(&[0; 9]), Err(FragmentsTooMany));
}

#[test]
fn section_10_4_every_message_counts_its_own_fragments() {
    let first = frame_to(Server, false, OpCode::Binary, b"a");
    let last = frame_to(Server, true, OpCode::Continuation, b"b");
    let messages = [first, last].concat().repeat(usize::from(LIMITS.fragments_max));
    assert_eq!(hear(Server, &messages), vec![Binary(b"ab".into()); 8]);
}

#[test]
fn section_10_4_the_running_total_cannot_wrap() {
    let huge = raw_header(Server, 0x00, 127, &((1_u64 << 63) - 1).to_be_bytes());
    for (message_bytes_max, expected) in
        [(usize::MAX, Ok(())), (usize::MAX >> 1, Err(MessageTooBig))]
    {
        let limits = Limits { message_bytes_max, fragments_max: u16::MAX, compressed: false };
        let mut receiver = Receiver::new(Server, limits);
        assert_eq!(receiver.feed(&frame_to(Server, false, OpCode::Binary, &[0; 100])), Ok(()));
        assert_eq!(receiver.feed(&huge), expected);
        assert!(receiver.pool.bytes_in_use() < 4096);
        receiver.finish();
    }
}

#[test]
fn section_10_4_memory_follows_what_arrived_not_what_was_declared() {
    let limits = Limits { message_bytes_max: 1 << 40, fragments_max: 8, compressed: false };
    let mut receiver = Receiver::new(Server, limits);
    let header = raw_header(Server, 0x82, 127, &(1_u64 << 40).to_be_bytes());
    assert_eq!(receiver.feed(&header), Ok(()));
    assert_eq!(receiver.pool.bytes_in_use(), 0);
    for _ in 0..100 {
        assert_eq!(receiver.feed(&[0; 100]), Ok(()));
    }
    let in_use = receiver.pool.bytes_in_use();
    assert!((10_000..24_000).contains(&in_use), "{in_use} bytes for 10,000 received");
    assert_eq!(receiver.finish(), []);
}

#[test]
fn section_10_4_all_unfinished_messages_share_one_bound() {
    let mut pool = AssemblyPool::new(100_000);
    let mut decoders: Vec<Decoder> = (0..50).map(|_| Decoder::new(Server)).collect();
    let mut fragment = frame_to(Server, false, OpCode::Binary, &[0; 10_000]);
    let mut refused = 0;
    for decoder in &mut decoders {
        let bytes = &mut fragment.clone();
        match decoder.next(&mut Input::new(bytes), &mut pool, &LIMITS) {
            Ok(event) => assert_eq!(event, None),
            Err(error) => {
                assert_eq!(error, Overloaded);
                refused += 1;
            }
        }
        assert!(pool.bytes_in_use() <= 100_000);
    }
    assert!((40..=42).contains(&refused), "{refused} refused");
    decoders[0].release(&mut pool);
    let mut late = Decoder::new(Server);
    assert_eq!(late.next(&mut Input::new(&mut fragment), &mut pool, &LIMITS), Ok(None));
    for decoder in decoders.iter_mut().chain([&mut late]) {
        decoder.release(&mut pool);
    }
    assert_eq!(pool.bytes_in_use(), 0);
}

#[test]
fn whole_frames_are_handed_out_where_they_lie() {
    let mut stream = Vec::new();
    for _ in 0..3 {
        encode_masked_frame(&mut stream, OpCode::Text, b"in place", KEY);
        encode_masked_frame(&mut stream, OpCode::Ping, b"in place", KEY);
    }
    // Without any memory for assembly nothing can have been copied.
    let mut pool = AssemblyPool::new(0);
    let mut decoder = Decoder::new(Server);
    let mut input = Input::new(&mut stream);
    let mut events = 0;
    while let Some(event) = decoder.next(&mut input, &mut pool, &LIMITS).expect("valid frames") {
        assert!(matches!(Heard::from(event), Text(_) | Ping(_)));
        events += 1;
    }
    assert_eq!(events, 6);
}

#[test]
fn an_unfinished_header_counts_as_begun() {
    let frame = frame_to(Server, true, OpCode::Text, &[b'a'; 300]);
    let mut receiver = Receiver::new(Server, LIMITS);
    assert!(!receiver.decoder.in_message());
    for (index, &byte) in frame.iter().enumerate() {
        assert_eq!(receiver.feed(&[byte]), Ok(()));
        assert_eq!(receiver.decoder.in_message(), index + 1 < frame.len(), "byte {index}");
    }
    assert_eq!(receiver.finish(), [Text("a".repeat(300))]);
}
