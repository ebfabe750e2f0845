//! RFC 6455 framing over real sockets: every session gets the same answer however TCP cuts it, and
//! every forbidden frame gets the Close code the RFC demands.

mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use common::{Place, Scheme, Server, over_both};
use observed::{Baseline, Metrics};
use raw::{
    BINARY, CLOSE, CONTINUE, CONTINUE_END, End, Frame, PING, PONG, RawClient, TEXT, TEXT_BEGIN,
    close_frame, frame, header_16, header_64, upgrade_request,
};
use std::thread;
use std::time::Duration;

over_both! {
    sessions_sent_byte_by_byte_get_the_same_answer,
    sessions_cut_in_two_get_the_same_answer,
    every_frame_is_answered_by_the_table,
    every_close_code_is_answered_by_the_table,
}

const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// A conversation in which the client says all it has to say at once.
struct Session {
    name: &'static str,
    /// What the client sends after its upgrade request, its Close frame included.
    input: Vec<u8>,
    /// What the server answers before its Close frame.
    answer: Vec<Frame>,
    /// The codes the server may close with; `None` is a Close frame without a code.
    close: &'static [Option<u16>],
}

impl Session {
    /// A session that ends with a normal close.
    fn closed(name: &'static str, frames: &[Vec<u8>], answer: &[Frame]) -> Self {
        let input = [frames.concat(), close_frame(1000, "bye")].concat();
        Self { name, input, answer: answer.to_vec(), close: &[Some(1000)] }
    }

    /// A session whose last byte makes the server fail the connection.
    fn failed(name: &'static str, input: Vec<u8>, close: &'static [Option<u16>]) -> Self {
        Self { name, input, answer: Vec::new(), close }
    }

    /// Upgrade request and frames: all bytes the client sends.
    fn bytes(&self) -> Vec<u8> {
        [upgrade_request("/echo"), self.input.clone()].concat()
    }

    /// Reads the whole answer and compares it with what the session promises.
    fn check(&self, client: &mut RawClient, cut: &str) {
        client.expect_switch();
        for expected in &self.answer {
            let frame = client.read_frame();
            assert!(frame.as_ref() == Ok(expected), "{}, {cut}: wrong answer", self.name);
        }
        let code = client.read_close();
        assert!(self.close.contains(&code), "{}, {cut}: closed with {code:?}", self.name);
        assert_eq!(client.read_frame(), Err(End::Fin), "{}, {cut}", self.name);
    }
}

fn sessions() -> Vec<Session> {
    let text = |text: &str| Frame::new(TEXT, text.as_bytes());
    let bytes: Vec<u8> = (0..=255).collect();
    let large = bytes.repeat(256);
    let greek = "κόσμε".as_bytes();
    // The masked "Hello" of RFC 6455 section 5.7.
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec();
    let halves = [frame(TEXT_BEGIN, b"Hel"), frame(CONTINUE_END, b"lo")];
    let ping = frame(PING, b"there?");
    let pong = Frame::new(PONG, b"there?");
    vec![
        Session::closed("a text", &[hello], &[text("Hello")]),
        Session::closed("two fragments", &halves, &[text("Hello")]),
        Session::closed("a ping", std::slice::from_ref(&ping), std::slice::from_ref(&pong)),
        Session::closed(
            "a ping between fragments",
            &[halves[0].clone(), ping, halves[1].clone()],
            &[pong, text("Hello")],
        ),
        Session::closed(
            "an unsolicited pong",
            &[frame(PONG, b"?"), frame(TEXT, b"a")],
            &[text("a")],
        ),
        Session::closed("an empty text", &[frame(TEXT, b"")], &[text("")]),
        Session::closed(
            "empty fragments",
            &[frame(TEXT_BEGIN, b""), frame(CONTINUE, b""), frame(CONTINUE_END, b"")],
            &[text("")],
        ),
        Session::closed(
            "a code point over two fragments",
            &[frame(TEXT_BEGIN, &greek[..3]), frame(CONTINUE_END, &greek[3..])],
            &[text("κόσμε")],
        ),
        Session::closed(
            "many messages at once",
            &[frame(TEXT, b"1"), frame(BINARY, b"2"), frame(TEXT, b"3")],
            &[text("1"), Frame::new(BINARY, b"2"), text("3")],
        ),
        Session::closed(
            "a length of 16 bits",
            &[frame(BINARY, &bytes)],
            &[Frame::new(BINARY, &bytes)],
        ),
        Session::closed(
            "a length of 64 bits",
            &[frame(BINARY, &large)],
            &[Frame::new(BINARY, &large)],
        ),
        Session::failed("a close without a code", frame(CLOSE, b""), &[None, Some(1000)]),
        Session::failed("an unmasked frame", vec![TEXT, 0], &[Some(1002)]),
        Session::failed("invalid UTF-8", frame(TEXT, b"ab\xff"), &[Some(1007)]),
    ]
}

/// A server with one shard, and a client whose echo proves that the shard has read what other
/// clients sent before.
fn server_with_probe(scheme: Scheme) -> (Server, RawClient) {
    let server = Server::start_for(scheme, &["--shards", "1"]);
    let probe = RawClient::open(server.place(), "/echo");
    (server, probe)
}

fn sessions_sent_byte_by_byte_get_the_same_answer(scheme: Scheme) {
    let (server, mut probe) = server_with_probe(scheme);
    // The length of a message changes nothing about its bytes: the long session is cut below.
    let mut talks: Vec<(Session, Vec<u8>, RawClient)> = sessions()
        .into_iter()
        .map(|session| (session.bytes(), session))
        .filter(|(bytes, _)| bytes.len() < 1024)
        .map(|(bytes, session)| (session, bytes, RawClient::connect(server.place())))
        .collect();

    let longest = talks.iter().map(|(_, bytes, _)| bytes.len()).max().unwrap_or(0);
    for position in 0..longest {
        for (_, bytes, client) in &mut talks {
            if let Some(byte) = bytes.get(position) {
                client.send(&[*byte]);
            }
        }
        probe.echo("read");
    }

    for (session, _, client) in &mut talks {
        session.check(client, "byte by byte");
    }
    probe.close();
}

fn sessions_cut_in_two_get_the_same_answer(scheme: Scheme) {
    let (server, mut probe) = server_with_probe(scheme);
    for session in sessions() {
        let bytes = session.bytes();
        // In the middle of a long payload one cut is like the next.
        let cuts = (1..bytes.len().min(512)).chain(bytes.len().max(520) - 8..bytes.len());
        // What is read out of records is cut like what is read from TCP: the more costly
        // connections try fewer places, not the same in each session.
        let step = if scheme == Scheme::Plain { 1 } else { 7 };
        let cuts = cuts.skip(bytes.len() % step).step_by(step);
        let mut clients: Vec<(usize, RawClient)> =
            cuts.map(|cut| (cut, RawClient::connect(server.place()))).collect();
        for (cut, client) in &mut clients {
            client.send(&bytes[..*cut]);
        }
        probe.echo("read");
        for (cut, client) in &mut clients {
            client.send(&bytes[*cut..]);
        }
        for (cut, mut client) in clients {
            session.check(&mut client, &format!("cut after {cut} bytes"));
        }
    }
    probe.close();
}

/// How the server answers a run of bytes on /echo.
enum Answer {
    /// With this frame; the connection stays open.
    Same(Frame),
    /// With a Close frame of this code, then FIN.
    Failure(u16),
}
use Answer::{Failure, Same};

/// A name, what the client sends, and the answer.
type Case = (String, Vec<u8>, Answer);

fn every_frame_is_answered_by_the_table(scheme: Scheme) {
    let server = Server::start_for(scheme, &["--shards", "2", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.place(), server.admin_address());
    RawClient::open(address, "/echo").close();
    let baseline = Baseline::of(server.pid(), admin);

    let tables = [length_cases(), header_cases(), control_cases(), fragment_cases(), utf8_cases()];
    let mut failures =
        [(1002, "protocol_error", 0), (1007, "invalid_payload", 0), (1009, "too_big", 0)];
    for (name, input, answer) in tables.into_iter().flatten() {
        let mut client = RawClient::open(address, "/echo");
        client.send(&input);
        match answer {
            Same(expected) => {
                let frame = client.read_frame();
                assert!(
                    frame == Ok(expected),
                    "{name}: not echoed but {:.80}",
                    format!("{frame:?}")
                );
                client.close();
            }
            Failure(code) => {
                client.expect_failure(code, &name);
                for (_, _, count) in failures.iter_mut().filter(|(known, ..)| *known == code) {
                    *count += 1;
                }
            }
        }
    }

    RawClient::open(address, "/echo").close();
    baseline.wait(server.pid(), admin, Duration::from_secs(12));
    let metrics = Metrics::scrape(admin);
    for (_, reason, count) in failures {
        assert_eq!(metrics.closed(reason), count, "connections closed as {reason}");
    }
}

fn length_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for length in [0, 125, 126, 127, 65_535, 65_536, MESSAGE_BYTES_MAX] {
        let payload = vec![b'*'; length];
        let answer = Same(Frame::new(TEXT, &payload));
        cases.push((format!("{length} bytes"), frame(TEXT, &payload), answer));
    }
    let two = |power: u32| 1_u64 << power;
    let over = MESSAGE_BYTES_MAX as u64 + 1;
    for length in [over, two(31) - 1, two(31), two(31) + 1, two(32) - 1, two(32), two(32) + 1] {
        let name = format!("{length} bytes declared");
        cases.push((name, header_64(TEXT, length), Failure(1009)));
    }
    for first in [TEXT, BINARY, TEXT_BEGIN] {
        let name = format!("2^63 - 1 bytes declared, first byte {first:#04x}");
        cases.push((name, header_64(first, two(63) - 1), Failure(1009)));
        for length in [two(63), two(63) + 1, u64::MAX] {
            // RFC 6455 section 5.2: the most significant bit must be 0.
            let name = format!("{length:#x} bytes declared, first byte {first:#04x}");
            cases.push((name, header_64(first, length), Failure(1002)));
        }
    }
    for length in [0, 1, 125] {
        // Section 5.2: the minimal number of bytes must be used.
        let name = format!("{length} in 16 bits");
        cases.push((name, header_16(TEXT, length), Failure(1002)));
    }
    for length in [0, 125, 126, 65_535] {
        cases.push((format!("{length} in 64 bits"), header_64(TEXT, length), Failure(1002)));
    }
    let half = vec![b'*'; MESSAGE_BYTES_MAX / 2];
    let fragments = [frame(TEXT_BEGIN, &half), frame(CONTINUE, &half), header_1(CONTINUE_END)];
    cases.push(("fragments that are too much together".into(), fragments.concat(), Failure(1009)));
    cases
}

/// The header of a masked frame of one byte, without the byte.
fn header_1(first: u8) -> Vec<u8> {
    frame(first, b"*")[..6].to_vec()
}

fn header_cases() -> Vec<Case> {
    let mut cases = vec![
        ("an unmasked text".into(), vec![TEXT, 1, b'a'], Failure(1002)),
        ("an unmasked empty ping".into(), vec![PING, 0], Failure(1002)),
        ("an unmasked close".into(), vec![CLOSE, 2, 3, 232], Failure(1002)),
    ];
    for bit in [0x40, 0x20, 0x10] {
        for first in [TEXT, TEXT_BEGIN, PING, CLOSE] {
            let name = format!("reserved bit {bit:#04x} on {first:#04x}");
            cases.push((name, frame(first | bit, b""), Failure(1002)));
        }
        let on_continuation = [frame(TEXT_BEGIN, b""), frame(CONTINUE_END | bit, b"")].concat();
        cases.push((
            format!("reserved bit {bit:#04x} on a continuation"),
            on_continuation,
            Failure(1002),
        ));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push((format!("opcode {opcode}"), frame(0x80 | opcode, b""), Failure(1002)));
    }
    cases
}

fn control_cases() -> Vec<Case> {
    let full = vec![b'p'; 125];
    let mut cases = vec![
        ("a ping of 125 bytes".into(), frame(PING, &full), Same(Frame::new(PONG, &full))),
        ("a close of one byte".into(), frame(CLOSE, b"\x03"), Failure(1002)),
        ("a close with bad UTF-8".into(), frame(CLOSE, b"\x03\xe8\xff"), Failure(1007)),
        ("a close with a cut code point".into(), frame(CLOSE, b"\x03\xe8\xce"), Failure(1007)),
        (
            "data after close".into(),
            [close_frame(1000, ""), frame(TEXT, b"a")].concat(),
            Failure(1000),
        ),
        (
            "a second close".into(),
            [close_frame(1000, ""), close_frame(1001, "")].concat(),
            Failure(1000),
        ),
        (
            "data after a failure".into(),
            [frame(0x83, b""), frame(TEXT, b"a")].concat(),
            Failure(1002),
        ),
    ];
    for first in [PING, PONG, CLOSE] {
        cases.push((format!("{first:#04x} of 126 bytes"), header_16(first, 126), Failure(1002)));
        cases.push((format!("{first:#04x} in fragments"), frame(first & 0x0f, b""), Failure(1002)));
    }
    cases
}

fn fragment_cases() -> Vec<Case> {
    let two_beginnings = [frame(TEXT_BEGIN, b"a"), frame(TEXT, b"b")].concat();
    // 1,024 fragments are a message, one more is not.
    let longest = [frame(TEXT_BEGIN, b"a"), frame(CONTINUE, b"a").repeat(1022)].concat();
    let message = Same(Frame::new(TEXT, &[b'a'; 1024]));
    vec![
        ("a continuation of nothing".into(), frame(CONTINUE_END, b"a"), Failure(1002)),
        ("a new message inside another".into(), two_beginnings, Failure(1002)),
        ("an empty continuation of nothing".into(), frame(CONTINUE, b""), Failure(1002)),
        ("1,024 fragments".into(), [longest.clone(), frame(CONTINUE_END, b"a")].concat(), message),
        (
            "1,025 fragments".into(),
            [longest, frame(CONTINUE, b"a").repeat(2)].concat(),
            Failure(1008),
        ),
    ]
}

fn utf8_cases() -> Vec<Case> {
    let bad: [(&str, &[u8]); 9] = [
        ("0xff", b"\xff"),
        ("a lone continuation byte", b"a\x80"),
        ("an overlong NUL", b"\xc0\x80"),
        ("an overlong slash", b"\xe0\x80\xaf"),
        ("a surrogate", b"\xed\xa0\x80"),
        ("past U+10FFFF", b"\xf4\x90\x80\x80"),
        ("five bytes", b"\xf8\x88\x80\x80\x80"),
        ("a cut code point", "€".as_bytes().split_at(2).0),
        ("a cut code point after ASCII", b"plain, then \xf0\x9f\x98"),
    ];
    let mut cases = Vec::new();
    for (name, payload) in bad {
        cases.push((format!("{name} in a frame"), frame(TEXT, payload), Failure(1007)));
        let fragments: Vec<u8> =
            payload.iter().flat_map(|byte| frame(CONTINUE, &[*byte])).collect();
        let message = [frame(TEXT_BEGIN, b""), fragments, frame(CONTINUE_END, b"")].concat();
        cases.push((format!("{name} in fragments"), message, Failure(1007)));
        let echo = Same(Frame::new(BINARY, payload));
        cases.push((format!("{name} as binary"), frame(BINARY, payload), echo));
    }
    // The message is not finished and can no longer become valid.
    cases.push(("0xff in a first fragment".into(), frame(TEXT_BEGIN, b"\xff"), Failure(1007)));
    for text in ["\u{7ff}\u{800}", "\u{fffd}\u{10ffff}", "\u{feff}\0"] {
        let echo = Same(Frame::new(TEXT, text.as_bytes()));
        cases.push((format!("{text:?}"), frame(TEXT, text.as_bytes()), echo));
    }
    cases
}

/// The code a Close frame with `code` is answered with: itself if an endpoint may send it (RFC 6455
/// section 7.4 and the registry it opened), else 1002.
fn answer_to_close(code: u16) -> u16 {
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => code,
        _ => 1002,
    }
}

fn every_close_code_is_answered_by_the_table(scheme: Scheme) {
    const THREADS: u16 = 8;
    let server = Server::start_for(scheme, &["--shards", "2", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.place(), server.admin_address());

    thread::scope(|scope| {
        for residue in 0..THREADS {
            let codes = (0..=u16::MAX).filter(move |code| code % THREADS == residue);
            let codes = codes.filter(move |&code| scheme == Scheme::Plain || is_telling(code));
            // A source address of its own keeps each thread clear of the others' ports.
            let source = [127, 0, 1, 1 + residue as u8];
            scope.spawn(move || codes.for_each(|code| check_close_code(code, source, address)));
        }
    });

    RawClient::open(address, "/echo").close();
    observed::wait_for_value(admin, "connections", 0);
}

/// Whether the codes next to this one are treated otherwise, or it stands for many.
fn is_telling(code: u16) -> bool {
    matches!(code, 998..=1017 | 2998..=3001 | 4998..=5001 | u16::MAX) || code.is_multiple_of(251)
}

fn check_close_code(code: u16, source: [u8; 4], place: Place) {
    let mut client = RawClient::connect_from(source, place);
    client.send(&[upgrade_request("/echo"), close_frame(code, "")].concat());
    client.expect_switch();
    client.expect_failure(answer_to_close(code), &format!("close code {code}"));
}
