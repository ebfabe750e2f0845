//! RFC 7692 clause by clause: what a decoder makes of compressed messages, and the handshake.

use std::ops::ControlFlow;

use ringwire::protocol::Role::{self, Client, Server};
use ringwire::protocol::deflate::{Agreement, DeflatePolicy, Deflater, Inflater};
use ringwire::protocol::upgrade::{
    Request, ResponseError, accept, check_response, parse_request, write_request,
};
use ringwire::protocol::{
    AssemblyPool, Decoder, Event, Input, Limits, MessageKind, OpCode, ProtocolError,
    encode_fragment,
};

const LIMITS: Limits = Limits { message_bytes_max: 1000, fragments_max: 8, compressed: true };
const RSV1: u8 = 0x40;
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
/// "Hello" (section 7.2.3.1).
const HELLO: [u8; 7] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];

/// Kind of the event, whether it is compressed, and what it contains, inflated.
type Heard = (&'static str, bool, Vec<u8>);

/// A frame for an end with `role`.
fn frame_to(role: Role, fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_fragment(&mut frame, fin, opcode, payload, (role == Server).then_some(KEY));
    frame
}

/// The same with the first reserved bit set.
fn compressed(role: Role, fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_to(role, fin, opcode, payload);
    frame[0] |= RSV1;
    frame
}

fn hear<'a>(
    role: Role,
    limits: Limits,
    chunks: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Heard>, Option<ProtocolError>) {
    let (mut decoder, mut pool) = (Decoder::new(role), AssemblyPool::new(1 << 20));
    let mut inflater = Inflater::new();
    let mut heard = Vec::new();
    let mut listen = |chunk: &[u8]| {
        let mut chunk = chunk.to_vec();
        let mut input = Input::new(&mut chunk);
        loop {
            match decoder.next(&mut input, &mut pool, &limits) {
                Ok(Some(Event::Message { kind, compressed, payload })) => {
                    let name = if kind == MessageKind::Text { "text" } else { "binary" };
                    let payload = if compressed {
                        inflater.inflate(None, payload, limits.message_bytes_max)
                    } else {
                        Ok(payload)
                    };
                    heard.push((name, compressed, payload.expect("DEFLATE").to_vec()));
                }
                Ok(Some(Event::Ping(payload))) => heard.push(("ping", false, payload.to_vec())),
                Ok(Some(_)) => heard.push(("other", false, Vec::new())),
                Ok(None) => return ControlFlow::Continue(()),
                Err(error) => return ControlFlow::Break(error),
            }
        }
    };
    let end = chunks.map(&mut listen).find_map(ControlFlow::break_value);
    decoder.release(&mut pool);
    assert_eq!(pool.bytes_in_use(), 0);
    (heard, end)
}

fn hear_whole(role: Role, limits: Limits, stream: &[u8]) -> (Vec<Heard>, Option<ProtocolError>) {
    hear(role, limits, std::iter::once(stream))
}

/// Messages in one frame and in several, with frames of others between them.
fn session(role: Role) -> (Vec<u8>, Vec<Heard>) {
    let (text, binary, more) = (OpCode::Text, OpCode::Binary, OpCode::Continuation);
    let mut long = Vec::new();
    Deflater::new(6).deflate(15, None, "é, ".repeat(200).as_bytes(), &mut long);
    let stream = [
        compressed(role, true, text, &HELLO),
        frame_to(role, true, text, b"plain"),
        // Cut inside a block, as sections 6.1 and 7.2.3.1 allow.
        compressed(role, false, text, &HELLO[..3]),
        frame_to(role, true, OpCode::Ping, b"?"),
        frame_to(role, false, more, &HELLO[3..6]),
        frame_to(role, false, more, b""),
        frame_to(role, true, OpCode::Ping, b"!"),
        frame_to(role, true, more, &HELLO[6..]),
        frame_to(role, false, binary, b"pla"),
        frame_to(role, true, more, b"in"),
        compressed(role, false, binary, b""),
        frame_to(role, true, more, &long),
        compressed(role, true, text, &[0]),
    ];
    let hello = || b"Hello".to_vec();
    let heard = vec![
        ("text", true, hello()),
        ("text", false, b"plain".to_vec()),
        ("ping", false, b"?".to_vec()),
        ("ping", false, b"!".to_vec()),
        ("text", true, hello()),
        ("binary", false, b"plain".to_vec()),
        ("binary", true, "é, ".repeat(200).into_bytes()),
        ("text", true, Vec::new()),
    ];
    (stream.concat(), heard)
}

#[test]
fn section_6_2_messages_are_compressed_one_by_one() {
    for role in [Server, Client] {
        let (stream, expected) = session(role);
        assert_eq!(hear_whole(role, LIMITS, &stream), (expected, None));
    }
}

#[test]
fn section_6_2_chunks_change_nothing() {
    for role in [Server, Client] {
        let (stream, expected) = session(role);
        for size in [1, 2, 3, 5, 7, 64] {
            assert_eq!(hear(role, LIMITS, stream.chunks(size)), (expected.clone(), None));
        }
        for cut in 0..=stream.len() {
            let (before, after) = stream.split_at(cut);
            let heard = hear(role, LIMITS, [before, after].into_iter());
            assert_eq!(heard, (expected.clone(), None), "cut at {cut}");
        }
    }
}

#[test]
fn section_6_1_the_bit_is_for_first_frames_of_data() {
    let more = OpCode::Continuation;
    let failed = Some(ProtocolError::ReservedBit);
    assert_eq!(ProtocolError::ReservedBit.close_code().0, 1002);
    for role in [Server, Client] {
        for opcode in [OpCode::Ping, OpCode::Pong, OpCode::Close] {
            let stream = compressed(role, true, opcode, b"");
            assert_eq!(hear_whole(role, LIMITS, &stream).1, failed, "{opcode:?}");
        }
        for is_compressed in [false, true] {
            let mut stream = frame_to(role, false, OpCode::Binary, &HELLO[..3]);
            stream[0] |= if is_compressed { RSV1 } else { 0 };
            stream.extend(compressed(role, true, more, &HELLO[3..]));
            assert_eq!(hear_whole(role, LIMITS, &stream).1, failed);
        }
        for bits in [0x10, 0x20, 0x30, 0x50, 0x60, 0x70] {
            let mut stream = frame_to(role, true, OpCode::Text, &HELLO);
            stream[0] |= bits;
            assert_eq!(hear_whole(role, LIMITS, &stream).1, failed, "{bits:x}");
        }
    }
}

#[test]
fn section_6_without_an_agreement_the_bit_is_reserved() {
    let limits = Limits { compressed: false, ..LIMITS };
    for role in [Server, Client] {
        for fin in [false, true] {
            let stream = compressed(role, fin, OpCode::Text, &HELLO);
            let failed = (Vec::new(), Some(ProtocolError::ReservedBit));
            assert_eq!(hear_whole(role, limits, &stream), failed);
            // Two bytes are enough to know.
            assert_eq!(hear_whole(role, limits, &stream[..2]), failed);
        }
    }
}

/// A message of the limit that does not compress is a little longer on the wire.
#[test]
fn section_6_the_limit_on_the_wire_leaves_room_for_what_does_not_compress() {
    let most = 1000 + 1000 / 8 + 64;
    let more = OpCode::Continuation;
    let error_of = |stream: &[u8]| hear_whole(Server, LIMITS, stream).1;
    let header = |length: u16, first: u8| {
        let [high, low] = length.to_be_bytes();
        [&[first, 0xFE, high, low][..], &KEY].concat()
    };
    assert_eq!(error_of(&header(most, 0xC1)), None);
    assert_eq!(error_of(&header(most + 1, 0xC1)), Some(ProtocolError::MessageTooBig));
    assert_eq!(error_of(&header(1001, 0x81)), Some(ProtocolError::MessageTooBig));
    let first = compressed(Server, false, OpCode::Binary, &[0; 1000]);
    let too_big = Some(ProtocolError::MessageTooBig);
    for (length, expected) in [(most - 1000, None), (most - 999, too_big)] {
        assert_eq!(error_of(&[&first[..], &header(length, 0x80)].concat()), expected);
    }
    // The next message has the usual limit again.
    let small = compressed(Server, false, OpCode::Text, &HELLO);
    let end = frame_to(Server, true, more, b"");
    let plain = frame_to(Server, false, OpCode::Binary, &[0; 1000]);
    let over = frame_to(Server, true, more, b"!");
    assert_eq!(error_of(&[small, end, plain, over].concat()), too_big);
}

#[test]
fn section_5_1_both_ends_agree_in_the_handshake() {
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let policy = DeflatePolicy { takeover: true, window_bits: 12 };
    let offer = Agreement::offer(policy);
    let mut request = Vec::new();
    let extra = [("Sec-WebSocket-Extensions", &*offer)];
    write_request(&mut request, "a.example", "/", key, &[], &extra);
    let Ok(Request::Upgrade(request)) = parse_request(&request) else { panic!("an upgrade") };
    let (agreement, value) =
        Agreement::negotiate(request.extensions(), policy).expect("acceptable");
    let mut response = Vec::new();
    accept(&mut response, &request, None, Some(&value));
    let accepted = check_response(&response, key, &[], Some(policy)).expect("as offered");
    assert_eq!(accepted.agreement, Some(agreement));
    // Not offered, or not that.
    let refused = Err(ResponseError::Extension);
    assert_eq!(check_response(&response, key, &[], None), refused);
    let none = DeflatePolicy { takeover: false, window_bits: 12 };
    assert_eq!(check_response(&response, key, &[], Some(none)), refused);
    // Declined.
    response.clear();
    accept(&mut response, &request, None, None);
    let accepted = check_response(&response, key, &[], Some(policy)).expect("a good response");
    assert_eq!(accepted.agreement, None);
}
