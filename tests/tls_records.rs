//! TLS behind the upgrade, over real sockets: records of every size, how streams end, faults, and
//! new keys.

mod common;
#[path = "common/forging.rs"]
mod forging;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use common::tls::{HOUSE, session};
use common::{Scheme, Server};
use observed::{Baseline, Metrics, cpu_time, wait_for_value, wait_until};
use raw::{BINARY, CLOSE, End, Frame, PING, PONG, RawClient, TEXT, close_frame, frame};
use ringwire::tls::{Inlet, Outlet, Session, flush, say_goodbye};
use rustls::crypto::aws_lc_rs;
use rustls::{AlertDescription, ContentType, ServerConfig};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Bounds a failure; measures nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Much more than any of this takes, and much less than what grows with the square of it.
const CPU_MAX: Duration = Duration::from_secs(4);

fn start() -> Server {
    Server::start_for(Scheme::Tls, &["--shards", "1", "--admin", "127.0.0.1:0"])
}

/// An upgraded client that can send records of any kind.
fn forger(address: SocketAddr) -> RawClient {
    let stream = TcpStream::connect(address).expect("the server accepts a connection");
    let mut client = RawClient::untold(stream);
    client.secure(session(&forging::CLIENT, "localhost")).expect("TLS comes up");
    client.upgrade("/echo");
    client
}

/// Seals each of `parts` as a record, and sends all of them at once.
fn send_records<'a>(client: &mut RawClient, parts: impl IntoIterator<Item = &'a [u8]>) {
    for part in parts {
        client.tls().writer().write_all(part).expect("memory takes all");
    }
    client.flush().expect("the server takes what is sent");
}

#[test]
fn a_message_in_records_of_a_byte_costs_little() {
    let server = start();
    let mut client = RawClient::open(server.place(), "/echo");
    let payload: Vec<u8> = (0..16 * 1024_u32).map(|number| (number % 251) as u8).collect();
    let message = frame(BINARY, &payload);
    let before = cpu_time(server.pid());
    send_records(&mut client, message.chunks(1));
    assert!(client.read_frame() == Ok(Frame::new(BINARY, &payload)), "the echo is another");
    let spent = cpu_time(server.pid()) - before;
    assert!(spent < CPU_MAX, "{spent:?} for {} records", message.len());
    client.close();
}

#[test]
fn empty_records_are_nothing_and_too_many_are_an_end() {
    let server = start();
    let admin = server.admin_address();
    let empty = forging::record(ContentType::ApplicationData, b"");
    let mut client = forger(server.address());
    let hello = frame(TEXT, b"between nothing");
    for byte in &hello {
        send_records(&mut client, [&empty[..], &[*byte], &empty]);
    }
    assert_eq!(client.read_frame(), Ok(Frame::new(TEXT, b"between nothing")));

    let before = cpu_time(server.pid());
    send_records(&mut client, std::iter::repeat_n(&empty[..], 10_000));
    let end = client.read_to_end();
    let spent = cpu_time(server.pid()) - before;
    assert!(matches!(end, End::Alert(_) | End::Cut | End::Reset), "{end:?}");
    assert!(spent < CPU_MAX, "{spent:?} for nothing");
    drop(client);
    wait_for_value(admin, "connections", 0);
    assert_eq!(Metrics::scrape(admin).closed("tls_error"), 1);
}

/// A handshake message that is never whole must not disturb what the server sends meanwhile.
#[test]
fn half_a_handshake_message_behind_the_upgrade_harms_nobody() {
    let server = start();
    let admin = server.admin_address();
    let handshake = |payload: &[u8]| forging::record(ContentType::Handshake, payload);
    // A new session ticket, as only a server may send it; and new keys.
    for message in [&[4, 0, 0, 9][..], &[24, 0, 0, 1], &[24, 0, 0], &[24]] {
        // In one read with a frame, whose echo is sealed when half of the message is there.
        let mut client = forger(server.address());
        send_records(&mut client, [&frame(TEXT, b"first")[..], &handshake(message)]);
        assert_eq!(client.read_frame(), Ok(Frame::new(TEXT, b"first")));
        // What follows has no place in the middle of it.
        send_records(&mut client, [&frame(TEXT, b"second")[..]]);
        assert!(matches!(client.read_to_end(), End::Alert(_) | End::Cut | End::Fin));

        // It hangs up in the middle.
        let mut client = forger(server.address());
        send_records(&mut client, [&frame(TEXT, b"first")[..], &handshake(message)]);
        assert_eq!(client.read_frame(), Ok(Frame::new(TEXT, b"first")));
        client.cut();
        client.read_to_end();

        // It leaves properly, with half a message in the same read.
        let mut client = forger(server.address());
        send_records(&mut client, [&close_frame(1000, "")[..], &handshake(message)]);
        assert_eq!(client.read_close(), Some(1000));
        client.read_to_end();
    }
    // A message that is whole, in records of a byte; and others behind a bad one.
    let mut client = forger(server.address());
    let records: Vec<Vec<u8>> = [24, 0, 0, 1, 1].iter().map(|byte| handshake(&[*byte])).collect();
    send_records(&mut client, records.iter().map(Vec::as_slice));
    let pair = handshake(&[4, 0, 0, 0, 24, 0, 0, 1, 1]);
    send_records(&mut client, [&pair[..], &frame(TEXT, b"too late")]);
    assert!(matches!(client.read_to_end(), End::Alert(_) | End::Cut));
    wait_for_value(admin, "connections", 0);
    let metrics = Metrics::scrape(admin);
    let expected = [("tls_error", 5), ("truncated", 4), ("client_close", 4)];
    assert_eq!(expected.map(|(reason, _)| (reason, metrics.closed(reason))), expected);
}

#[test]
fn a_stream_that_is_cut_is_told_from_one_that_ends() {
    let server = start();
    let admin = server.admin_address();
    let baseline = Baseline::of(server.pid(), admin);
    let open = || RawClient::open(server.place(), "/echo");
    let closed = |reason: &str, count: u64| {
        wait_until(PATIENCE, || {
            let found = Metrics::scrape(admin).closed(reason);
            (found == count).then_some(()).ok_or_else(|| format!("{found} times {reason}"))
        });
    };
    let mut cut = open();
    cut.cut();
    cut.read_to_end();
    closed("truncated", 1);
    // In the middle of a record it is the same.
    let mut cut = open();
    cut.tls().writer().write_all(b"more than a header").expect("memory takes all");
    let mut record = Vec::new();
    cut.tls().write_tls(&mut record).expect("memory takes all");
    cut.stream().write_all(&record[..record.len() - 1]).expect("the server reads");
    cut.cut();
    cut.read_to_end();
    closed("truncated", 2);
    let mut ended = open();
    ended.half_close();
    assert_eq!(ended.read_to_end(), End::Fin);
    closed("peer_gone", 1);
    open().reset();
    closed("peer_gone", 2);
    // Its end is clean by what both have said.
    open().close();
    closed("client_close", 1);
    let mut failed = open();
    failed.send_frame(0x83, b"");
    failed.expect_failure(1002, "a reserved opcode");
    drop(failed);
    closed("protocol_error", 1);
    let mut last = open();
    last.send_frame(CLOSE, b"");
    assert_eq!(last.read_close(), None);
    assert_eq!(last.read_frame(), Err(End::Fin));
    closed("client_close", 2);
    baseline.wait(server.pid(), admin, PATIENCE);
    assert_eq!(Metrics::scrape(admin).closed("truncated"), 2);
}

/// Payloads of many sizes, around those of records and of what is sealed at once.
fn payloads() -> Vec<Vec<u8>> {
    let sizes = [1, 16_383, 16_384, 16_385, 65_535, 65_536, 100_000, 0, 40_000, 70, 131_072, 7];
    let fill = |(number, size): (usize, &usize)| vec![number as u8; *size];
    sizes.iter().enumerate().map(fill).collect()
}

/// Rounds of payloads in which the kernel is known to be full.
const ROUNDS_MAX: u64 = 200;

fn expect_payloads(client: &mut RawClient, rounds: u64) {
    for _ in 0..rounds {
        for payload in payloads() {
            let heard = client.read_frame();
            assert!(heard == Ok(Frame::new(BINARY, &payload)), "{}", payload.len());
        }
    }
}

#[test]
fn answers_that_waited_for_a_slow_reader_come_whole() {
    let server = start();
    let admin = server.admin_address();
    let mut client = RawClient::connect_narrow(server.place());
    client.upgrade("/echo");
    let all: Vec<u8> = payloads().iter().flat_map(|payload| frame(BINARY, payload)).collect();
    let mut rounds = 0;
    while Metrics::scrape(admin).value("slow_readers") == 0 {
        client.send(&all);
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "the kernel takes whatever nobody reads");
        wait_until(PATIENCE, || {
            let metrics = Metrics::scrape(admin);
            let received = metrics.value("bytes_received_total");
            let is_over =
                metrics.value("slow_readers") > 0 || received == rounds * all.len() as u64;
            is_over.then_some(()).ok_or_else(|| format!("{received} bytes after {rounds} rounds"))
        });
    }
    expect_payloads(&mut client, rounds);
    client.echo("nothing is left");
    client.close();
}

#[test]
fn publications_that_waited_for_a_slow_reader_come_whole() {
    let server = start();
    let admin = server.admin_address();
    let mut slow = RawClient::connect_narrow(server.place());
    slow.upgrade("/broadcast");
    let mut publisher = RawClient::open(server.place(), "/broadcast");
    wait_for_value(admin, "audience_members", 2);
    let all: Vec<u8> = payloads().iter().flat_map(|payload| frame(BINARY, payload)).collect();
    let mut rounds = 0;
    // A round is less than what drops a reader.
    while Metrics::scrape(admin).value("slow_readers") == 0 {
        publisher.send(&all);
        expect_payloads(&mut publisher, 1);
        rounds += 1;
        assert!(rounds < ROUNDS_MAX, "the kernel takes whatever nobody reads");
    }
    expect_payloads(&mut slow, rounds);
    slow.echo("nothing is left");
    slow.close();
}

#[test]
fn a_record_that_was_changed_on_its_way_ends_the_connection() {
    let server = start();
    let admin = server.admin_address();
    let mut probe = RawClient::open(server.place(), "/echo");
    for place in [5, 20, usize::MAX] {
        let mut client = RawClient::open(server.place(), "/echo");
        client.echo("before");
        let message = frame(TEXT, b"never read by anybody");
        client.tls().writer().write_all(&message).expect("memory takes all");
        let mut record = Vec::new();
        client.tls().write_tls(&mut record).expect("memory takes all");
        let place = place.min(record.len() - 1);
        record[place] ^= 1;
        client.stream().write_all(&record).expect("the server reads");
        let end = client.read_frame();
        assert_eq!(end, Err(End::Alert(AlertDescription::BadRecordMac)), "byte {place}");
        drop(client);
    }
    probe.echo("unharmed");
    wait_until(PATIENCE, || {
        let found = Metrics::scrape(admin).closed("tls_error");
        (found == 3).then_some(()).ok_or_else(|| format!("{found} errors"))
    });
    probe.close();
    wait_for_value(admin, "tls_connections", 0);
}

#[test]
fn a_fault_in_front_of_the_request_is_told_of() {
    let server = start();
    let admin = server.admin_address();
    let mut client = RawClient::connect(server.place());
    client.tls().writer().write_all(b"GET /echo HTTP/1.1\r\n").expect("memory takes all");
    let mut record = Vec::new();
    client.tls().write_tls(&mut record).expect("memory takes all");
    record[20] ^= 1;
    client.stream().write_all(&record).expect("the server reads");
    assert_eq!(client.read_to_end(), End::Alert(AlertDescription::BadRecordMac));
    drop(client);
    wait_until(PATIENCE, || {
        let failed = Metrics::scrape(admin).handshakes("tls_failed");
        (failed == 1).then_some(()).ok_or_else(|| format!("{failed} failed"))
    });
    wait_for_value(admin, "handshakes_in_progress", 0);
}

#[test]
fn a_conversation_goes_on_with_new_keys() {
    let server = start();
    let mut client = RawClient::open(server.place(), "/echo");
    for round in 0..3 {
        client.echo(&format!("round {round}"));
        client.tls().refresh_traffic_keys().expect("TLS 1.3 has new keys");
        // In front of a frame, and alone.
        client.send_frame(PING, b"?");
        assert_eq!(client.read_frame(), Ok(Frame::new(PONG, b"?")));
        client.tls().refresh_traffic_keys().expect("TLS 1.3 has new keys");
        client.flush().expect("the server takes what is sent");
    }
    client.echo(&"a long message".repeat(5000));
    client.close();
    assert_eq!(Metrics::scrape(server.admin_address()).closed("tls_error"), 0);
}

/// A fixed sequence (xorshift), so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    /// The beginning or the whole of a handshake message, or more than one, or neither.
    fn words(&mut self) -> Vec<u8> {
        let kind = [1, 4, 11, 20, 24, 255][self.below(6)];
        let length = [0, 1, 2, 40, 255][self.below(5)];
        let message = [&[kind, 0, 0, length][..], &vec![self.below(2) as u8; length.into()]];
        let messages = message.concat().repeat(1 + self.below(3));
        messages[..self.below(messages.len() + 1)].to_vec()
    }
}

/// Has a session of the server and a client do what they like, in any order.
fn converse(random: &mut Random, config: &Arc<ServerConfig>, inlet: &mut Inlet) -> bool {
    let (ours, theirs) = UnixStream::pair().expect("there are descriptors");
    for stream in [&ours, &theirs] {
        stream.set_nonblocking(true).expect("a socket can be set so");
    }
    let ours = OwnedFd::from(ours);
    let mut server = Session::server(Arc::clone(config)).expect("the configuration is good");
    let mut client = session(&forging::CLIENT, "localhost");
    let mut outlet = Outlet::default();
    let honest_for = random.below(12);
    let mut was_up = false;
    for step in 0..24 {
        let choice = if step < honest_for { [0, 1, 2][step % 3] } else { random.below(8) };
        match choice {
            0 => while client.wants_write() && client.write_tls(&mut &theirs).is_ok() {},
            1 => drop(inlet.receive(&ours, Some(&mut server))),
            2 => {
                let _ = flush(&ours, &mut server);
                if client.read_tls(&mut &theirs).is_ok() {
                    drop(client.process_new_packets());
                }
            }
            3 | 4 if !client.is_handshaking() => {
                let kind = [20, 21, 22, 22, 23, 24][random.below(6)];
                let forged = forging::record(kind.into(), &random.words());
                // It may have heard an alert.
                drop(client.writer().write_all(&forged));
            }
            3 | 4 => {
                let words = random.words();
                let kind = [20, 21, 22, 22, 23, 24][random.below(6)];
                let length = u16::try_from(words.len()).expect("words are short").to_be_bytes();
                drop((&theirs).write_all(&[&[kind, 3, 3], &length[..], &words].concat()));
            }
            5 if server.sealed() == 0 && !server.is_handshaking() => {
                let _ = outlet.send(&ours, Some(&mut server), b"what the server has to say");
            }
            6 if random.below(4) == 0 => say_goodbye(&ours, &mut server),
            7 if random.below(4) == 0 => drop((&theirs).write_all(&[random.below(256) as u8])),
            _ => {}
        }
        was_up |= !server.is_handshaking();
    }
    was_up
}

/// A panic would end the server of everybody.
#[test]
fn nothing_that_a_peer_says_makes_a_session_panic() {
    let house = &HOUSE.server;
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_no_client_auth()
        .with_single_cert(vec![house.certificate()], house.private_key())
        .expect("the key is for the certificate");
    let (config, mut inlet) = (Arc::new(config), Inlet::new(64 * 1024));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let talks = (0..1000).filter(|_| converse(&mut random, &config, &mut inlet)).count();
    assert!((100..900).contains(&talks), "{talks} of 1,000 had TLS up");
}
