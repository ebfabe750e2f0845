//! How a stream is cut into chunks must never change what is heard.

mod frames;

use ringwire::protocol::Role::{self, Client, Server};
use ringwire::protocol::{
    Limits, OpCode, encode_close, encode_fragment, encode_frame, encode_masked_frame,
};

use frames::{Heard, KEY, LIMITS, Receiver, frame_to, hear};

/// A stream of frames to an end with `role`, masked if that end is a server.
struct Session {
    name: &'static str,
    role: Role,
    stream: Vec<u8>,
}

impl Session {
    fn new(name: &'static str, role: Role) -> Self {
        Self { name, role, stream: Vec::new() }
    }

    fn frame(self, opcode: OpCode, payload: impl AsRef<[u8]>) -> Self {
        self.fragment(true, opcode, payload)
    }

    fn fragment(mut self, fin: bool, opcode: OpCode, payload: impl AsRef<[u8]>) -> Self {
        self.stream.extend(frame_to(self.role, fin, opcode, payload.as_ref()));
        self
    }

    fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stream.extend_from_slice(bytes.as_ref());
        self
    }

    fn hear_in_chunks<'a>(&self, chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Heard> {
        let mut receiver = Receiver::new(self.role, LIMITS);
        for chunk in chunks {
            let _ = receiver.feed(chunk);
        }
        receiver.finish()
    }
}

fn valid_sessions(role: Role) -> Vec<Session> {
    use OpCode::{Binary, Close, Continuation, Ping, Pong, Text};
    let new = |name| Session::new(name, role);
    vec![
        new("nothing"),
        new("one text").frame(Text, "Hello, wörld"),
        new("empty frames").frame(Text, "").frame(Binary, "").frame(Ping, "").frame(Pong, ""),
        new("many small").frame(Text, "a").frame(Binary, "b").frame(Text, "ç").frame(Ping, "d"),
        new("16-bit length").frame(Binary, [7; 126]).frame(Text, "é".repeat(150)),
        new("fragments")
            .fragment(false, Text, "κόσ")
            .fragment(false, Continuation, "")
            .fragment(true, Continuation, "με")
            .frame(Text, "after"),
        new("characters cut by fragments")
            .fragment(false, Text, b"\xF0\x9F")
            .fragment(false, Continuation, b"\xA6")
            .fragment(true, Continuation, b"\x80\xE8\xAA\x9E"),
        new("control frames between")
            .fragment(false, Binary, [1; 20])
            .frame(Ping, "first")
            .fragment(false, Continuation, [2; 20])
            .frame(Pong, "second")
            .frame(Ping, [b'p'; 125])
            .fragment(true, Continuation, [3; 20]),
        new("empty fragments").fragment(false, Binary, "").fragment(true, Continuation, ""),
        new("close").frame(Text, "bye").frame(Close, b"\x03\xE9going away"),
        new("close in a message, then more")
            .fragment(false, Text, "unfinished")
            .frame(Close, "")
            .frame(Text, "ignored")
            .raw([0xFF; 30]),
        new("unfinished header").frame(Text, "whole").raw([0x81]),
        new("unfinished payload").frame(Binary, [9; 200]).raw(match role {
            Server => &[0x82, 0x85, 1, 2, 3, 4, 0xAA][..],
            Client => &[0x82, 0x05, 0xAA],
        }),
    ]
}

fn failing_sessions(role: Role) -> Vec<Session> {
    use OpCode::{Binary, Close, Continuation, Text};
    let new = |name| Session::new(name, role).frame(Text, "fine so far");
    let masked = |length: u8| if role == Server { 0x80 | length } else { length };
    vec![
        new("reserved bit").raw([0xC1, masked(0), 0, 0, 0, 0]),
        new("reserved opcode").raw([0x83, masked(0), 0, 0, 0, 0]),
        new("wrong masking").raw([0x82, masked(0) ^ 0x80, 1, 2, 3, 4]),
        new("length not minimal").raw([0x82, masked(126), 0, 125, 1, 2, 3, 4]),
        new("length of 64 bits").raw([0x82, masked(127), 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        new("too big").raw([0x82, masked(127), 0, 0, 0, 0, 0, 9, 0, 0, 1, 2, 3, 4]),
        new("long ping").raw([0x89, masked(126), 0, 126, 1, 2, 3, 4]),
        new("fragmented ping").raw([0x09, masked(0), 1, 2, 3, 4]),
        new("stray continuation").frame(Continuation, "x"),
        new("message in a message").fragment(false, Text, "x").frame(Binary, "y"),
        new("too many fragments")
            .fragment(false, Text, "x")
            .raw([[0x00, masked(0), 0, 0, 0, 0]; 8].concat()),
        new("bad text").frame(Text, b"good \xC3\xA9, bad \xED\xA0\x80, more"),
        new("bad text over fragments")
            .fragment(false, Text, b"\xF0\x9F")
            .fragment(false, Continuation, b"(")
            .fragment(true, Continuation, "never read"),
        new("text ends in a character").fragment(false, Text, b"\xE8\xAA").frame(Continuation, ""),
        new("close of one byte").frame(Close, b"\x03"),
        new("close code").frame(Close, b"\x03\xED"),
        new("close reason").frame(Close, b"\x03\xE8\xC3("),
    ]
}

fn sessions() -> Vec<Session> {
    [Server, Client]
        .into_iter()
        .flat_map(|role| valid_sessions(role).into_iter().chain(failing_sessions(role)))
        .collect()
}

#[test]
fn cut_in_two_at_every_byte() {
    for session in sessions() {
        let whole = hear(session.role, &session.stream);
        for cut in 0..=session.stream.len() {
            let (head, tail) = session.stream.split_at(cut);
            let heard = session.hear_in_chunks([head, tail].into_iter());
            assert_eq!(heard, whole, "{} ({:?}) cut at {cut}", session.name, session.role);
        }
    }
}

#[test]
fn byte_by_byte_and_in_small_pieces() {
    for session in sessions() {
        let whole = hear(session.role, &session.stream);
        for size in [1, 2, 3, 5, 7, 13, 64] {
            let heard = session.hear_in_chunks(session.stream.chunks(size));
            assert_eq!(heard, whole, "{} ({:?}) by {size}", session.name, session.role);
        }
    }
}

/// The comparison above is worth something only if the sessions do what their names say.
#[test]
fn failing_sessions_fail_and_valid_ones_do_not() {
    for role in [Server, Client] {
        for session in valid_sessions(role) {
            let heard = hear(role, &session.stream);
            assert!(!matches!(heard.last(), Some(Heard::Failed(_))), "{}: {heard:?}", session.name);
        }
        let failing = failing_sessions(role);
        let mut errors: Vec<String> = failing
            .iter()
            .map(|session| match &hear(role, &session.stream)[..] {
                [Heard::Text(_), Heard::Failed(error)] => error.to_string(),
                heard => panic!("{}: {heard:?}", session.name),
            })
            .collect();
        errors.sort_unstable();
        errors.dedup();
        assert_eq!(errors.len(), failing.len() - 2, "three of them are the same failure of text");
    }
}

#[test]
fn a_client_and_a_server_talk_through_any_chunks() {
    let limits = Limits { message_bytes_max: 1 << 20, fragments_max: 1024, compressed: false };
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for _ in 0..50 {
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let mut said = Vec::new();
        for _ in 0..20 {
            let payload: Vec<u8> =
                (0..random.below(3000)).map(|_| b' ' + random.below(90) as u8).collect();
            let key = (random.next() as u32).to_be_bytes();
            let last = OpCode::Continuation;
            if random.below(2) == 0 {
                encode_masked_frame(&mut to_server, OpCode::Text, &payload, key);
                encode_frame(&mut to_client, OpCode::Text, &payload);
            } else {
                let (first, rest) = payload.split_at(random.below(payload.len() + 1));
                encode_fragment(&mut to_server, false, OpCode::Text, first, Some(key));
                encode_fragment(&mut to_client, false, OpCode::Text, first, None);
                encode_masked_frame(&mut to_server, last, rest, KEY);
                encode_frame(&mut to_client, last, rest);
            }
            said.push(Heard::Text(String::from_utf8(payload).expect("ASCII")));
        }
        encode_masked_frame(&mut to_server, OpCode::Close, b"\x03\xE8done", [4, 3, 2, 1]);
        encode_close(&mut to_client, 1000, "done");
        said.push(Heard::Close(Some(1000), "done".into()));
        for (role, stream) in [(Server, to_server), (Client, to_client)] {
            let mut receiver = Receiver::new(role, limits);
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(1 + random.below(rest.len().min(4000)));
                assert_eq!(receiver.feed(chunk), Ok(()));
                rest = after;
            }
            assert!(!receiver.decoder.in_message());
            assert!(receiver.finish() == said, "{role:?} heard something else");
        }
    }
}

/// A fixed sequence (xorshift), so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
