//! The null echo as a client sees it over a socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use ringwire::protocol::upgrade::{check_response, write_request};
use ringwire::protocol::{OpCode, encode_frame, encode_masked_frame};
use ringwire::ring::allowed_cpus;

use super::{NullPeer, PAYLOAD_BYTES_MAX};

const MASKING_KEY: [u8; 4] = [0x5D, 0x01, 0xB2, 0xEE];
const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const SIZES: [usize; 6] = [0, 1, 125, 126, 65_535, 65_536];

fn start() -> NullPeer {
    let cpus = allowed_cpus().expect("an affinity");
    NullPeer::start(cpus[cpus.len() - 1]).expect("a null echo")
}

fn connect(peer: &NullPeer) -> TcpStream {
    let stream = TcpStream::connect(peer.address()).expect("a connection");
    // Bounds a test that fails; nothing waits that long in one that does not.
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    stream.set_write_timeout(Some(Duration::from_secs(30))).expect("a time");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// A request, with `field` to make it different from others.
fn request(field: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write_request(&mut request, "127.0.0.1", "/", WEBSOCKET_KEY, &[], &[("X-Test", field)]);
    request
}

fn read_response(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("more of the response");
        head.push(byte[0]);
    }
    check_response(&head, WEBSOCKET_KEY, &[], None).expect("the right 101");
}

fn open(peer: &NullPeer) -> TcpStream {
    let mut stream = connect(peer);
    stream.write_all(&request("")).expect("a request sent");
    read_response(&mut stream);
    stream
}

fn expect_bytes(stream: &mut TcpStream, expected: &[u8]) {
    let mut received = vec![0; expected.len()];
    stream.read_exact(&mut received).expect("an answer");
    assert!(received == expected, "the answer differs");
}

fn expect_end(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // A peer that ends with bytes unread resets, which is an end as well.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|position| b'a' + (position % 23) as u8).collect()
}

/// Frames of every size and kind, and what comes back.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    for size in SIZES {
        for opcode in [OpCode::Text, OpCode::Binary] {
            encode_masked_frame(&mut sent, opcode, &payload(size), MASKING_KEY);
            encode_frame(&mut answered, opcode, &payload(size));
        }
        encode_masked_frame(&mut sent, OpCode::Ping, &payload(size.min(125)), MASKING_KEY);
        encode_frame(&mut answered, OpCode::Pong, &payload(size.min(125)));
        encode_masked_frame(&mut sent, OpCode::Pong, b"unasked", MASKING_KEY);
    }
    (sent, answered)
}

#[test]
fn frames_come_back_wherever_they_are_cut() {
    let peer = start();
    let mut stream = open(&peer);
    for size in SIZES {
        let (mut frame, mut answer) = (Vec::new(), Vec::new());
        encode_masked_frame(&mut frame, OpCode::Text, &payload(size), MASKING_KEY);
        encode_frame(&mut answer, OpCode::Text, &payload(size));
        let near_the_ends = (1..frame.len().min(16)).chain([frame.len() / 2, frame.len() - 1]);
        for cut in near_the_ends {
            // The pong of the ping before the cut shows that the peer has read up to it.
            let mut first = Vec::new();
            encode_masked_frame(&mut first, OpCode::Ping, b"now", MASKING_KEY);
            first.extend_from_slice(&frame[..cut]);
            stream.write_all(&first).expect("the first part sent");
            expect_bytes(&mut stream, b"\x8A\x03now");
            stream.write_all(&frame[cut..]).expect("the rest sent");
            expect_bytes(&mut stream, &answer);
        }
    }
}

#[test]
fn several_frames_of_a_read_come_back_in_order() {
    let peer = start();
    let (sent, answered) = conversation();
    for part in [1_000, 4_093, 65_536, sent.len()] {
        let mut stream = open(&peer);
        let mut writer = stream.try_clone().expect("a second handle");
        let sent = &sent;
        thread::scope(|scope| {
            scope.spawn(move || {
                sent.chunks(part).for_each(|part| writer.write_all(part).expect("frames sent"));
            });
            expect_bytes(&mut stream, &answered);
        });
    }
}

#[test]
fn what_the_client_does_not_read_waits_for_it() {
    let peer = start();
    let mut stream = open(&peer);
    let mut writer = stream.try_clone().expect("a second handle");
    writer.set_write_timeout(Some(Duration::from_millis(200))).expect("a time");
    let (mut frame, mut answer) = (Vec::new(), Vec::new());
    encode_masked_frame(&mut frame, OpCode::Binary, &payload(60_000), MASKING_KEY);
    encode_frame(&mut answer, OpCode::Binary, &payload(60_000));
    // Until the sockets are full in both directions, which 64 MiB of buffers could not prevent.
    let mut taken = 0;
    while taken < 64 << 20 {
        match writer.write(&frame[taken % frame.len()..]) {
            Ok(count) => taken += count,
            Err(_) => break,
        }
    }
    assert!(taken < 64 << 20, "the peer must stop reading");
    let rest = frame[taken % frame.len()..].to_vec();
    writer.set_write_timeout(Some(Duration::from_secs(30))).expect("a time");
    let messages = taken / frame.len() + 1;
    thread::scope(|scope| {
        scope.spawn(move || writer.write_all(&rest).expect("the last frame sent"));
        (0..messages).for_each(|_| expect_bytes(&mut stream, &answer));
    });
}

#[test]
fn a_close_frame_is_answered_and_ends_the_connection() {
    let peer = start();
    let mut stream = open(&peer);
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    encode_masked_frame(&mut sent, OpCode::Text, b"last words", MASKING_KEY);
    encode_frame(&mut answered, OpCode::Text, b"last words");
    encode_masked_frame(&mut sent, OpCode::Close, &1000u16.to_be_bytes(), MASKING_KEY);
    encode_frame(&mut answered, OpCode::Close, &1000u16.to_be_bytes());
    stream.write_all(&sent).expect("frames sent");
    expect_bytes(&mut stream, &answered);
    expect_end(stream);
}

#[test]
fn requests_may_come_in_pieces_and_differ() {
    let peer = start();
    for field in ["one", "one", "another"] {
        let mut stream = connect(&peer);
        let mut bytes = request(field);
        encode_masked_frame(&mut bytes, OpCode::Text, b"at once", MASKING_KEY);
        bytes.chunks(40).for_each(|part| stream.write_all(part).expect("a part sent"));
        read_response(&mut stream);
        expect_bytes(&mut stream, b"\x81\x07at once");
    }
}

#[test]
fn who_does_not_speak_as_a_client_is_dropped() {
    let peer = start();
    let mut plain = connect(&peer);
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request sent");
    expect_end(plain);
    let mut unmasked = open(&peer);
    unmasked.write_all(b"\x81\x02no").expect("a frame sent");
    expect_end(unmasked);
    let mut too_large = open(&peer);
    let mut frame = Vec::new();
    encode_masked_frame(&mut frame, OpCode::Binary, &payload(PAYLOAD_BYTES_MAX + 1), [0; 4]);
    too_large.write_all(&frame[..14]).expect("a header sent");
    expect_end(too_large);
}

#[test]
fn work_is_counted_and_paid_for() {
    let peer = start();
    let mut stream = open(&peer);
    for _ in 0..3 {
        stream.write_all(b"\x81\x82\0\0\0\0hi").expect("a frame sent");
        expect_bytes(&mut stream, b"\x81\x02hi");
    }
    // Answers are sent before the turn ends; the next one ends after that.
    stream.write_all(b"\x88\x80\0\0\0\0").expect("a close frame sent");
    expect_bytes(&mut stream, b"\x88\x00");
    let spent = peer.spent();
    assert_eq!((spent.opened, spent.echoed), (1, 3));
    assert!(spent.opening > 0 && spent.echoing > 0, "{spent:?}");
}
