//! What a hostile client can do to a server's memory, time and places: declare lengths, stay
//! silent, trickle, flood, and speak bad HTTP.

mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use common::Server;
use observed::{Baseline, Metrics, resident_bytes};
use raw::{
    BINARY, CLOSE, CONTINUE, End, PING, PONG, RawClient, TEXT, TEXT_BEGIN, frame, header_64,
    request, upgrade_request,
};
use rustix::event::epoll;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;

/// Memory a server may gain from a thousand clients that declare much and send little.
const GROWTH_MAX: u64 = 64 * MIB;

fn growth_since(before: u64, server: &Server) -> u64 {
    resident_bytes(server.pid()).saturating_sub(before)
}

#[test]
fn declared_lengths_are_never_allocated() {
    let server = Server::start(&["--shards", "1", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    let mut probe = RawClient::open(address, "/echo");
    probe.echo("warm");
    let before = resident_bytes(server.pid());

    // 1 TiB is refused at the header; the largest message allowed is waited for.
    for declared in [MIB * MIB, MIB] {
        let mut clients: Vec<RawClient> =
            (0..1000).map(|_| RawClient::open(address, "/echo")).collect();
        for client in &mut clients {
            client.send(&[header_64(BINARY, declared), vec![0; 10]].concat());
        }
        // Asked later, answered later: the shard has read what the others sent.
        probe.echo("first");
        probe.echo("second");
        let growth = growth_since(before, &server);
        assert!(growth < GROWTH_MAX, "{growth} bytes for 1,000 declarations of {declared}");
        if declared > MIB {
            for client in &mut clients {
                assert_eq!(client.read_close(), Some(1009));
            }
        }
    }
    probe.close();
    observed::wait_for_value(admin, "connections", 0);
    assert_eq!(Metrics::scrape(admin).closed("too_big"), 1000);
}

#[test]
fn endless_fragments_end_at_the_cap() {
    let server = Server::start(&["--shards", "2", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    RawClient::open(address, "/echo").close();
    let before = resident_bytes(server.pid());

    for payload in [b"".as_slice(), b"a"] {
        let mut clients: Vec<RawClient> =
            (0..100).map(|_| RawClient::open(address, "/echo")).collect();
        for client in &mut clients {
            client.send_frame(TEXT_BEGIN, payload);
            // The server hangs up somewhere in here; what it then leaves unread does not matter.
            drop(client.try_send(&frame(CONTINUE, payload).repeat(4000)));
        }
        for client in &mut clients {
            assert_eq!(client.read_close(), Some(1008), "fragments of {} bytes", payload.len());
        }
    }
    let growth = growth_since(before, &server);
    assert!(growth < GROWTH_MAX, "{growth} bytes for endless fragments");
    observed::wait_for_value(admin, "connections", 0);
    assert_eq!(Metrics::scrape(admin).closed("policy"), 200);
}

#[test]
fn pings_nobody_reads_are_not_answered_in_memory() {
    const PINGS: u32 = 300_000;
    let server = Server::start(&["--shards", "1", "--admin", "127.0.0.1:0"]);
    let mut client = RawClient::open(server.address(), "/echo");
    let before = resident_bytes(server.pid());

    thread::scope(|scope| {
        let mut writer = client.stream().try_clone().expect("a socket can be shared");
        scope.spawn(move || {
            for first in (0..PINGS).step_by(1000) {
                let numbers = first..first + 1000;
                let pings = numbers.map(|number| frame(PING, &number.to_be_bytes().repeat(30)));
                let pings = pings.collect::<Vec<_>>().concat();
                writer.write_all(&pings).expect("the server reads on once it is read from");
            }
        });
        // From here on it is the server's memory that fills, if it does not stop reading.
        observed::wait_until_still(server.admin_address(), "bytes_received_total");
        let growth = growth_since(before, &server);
        assert!(growth < 16 * MIB, "{growth} bytes for pongs that wait");

        // RFC 6455 section 5.5.3: only the most recent ping needs an answer.
        let mut last = None;
        while last != Some(PINGS - 1) {
            let frame = client.read_frame().expect("the flood is answered");
            assert_eq!(frame.first, PONG);
            let number = frame.payload.first_chunk().map(|number| u32::from_be_bytes(*number));
            assert!(number > last, "pong {number:?} after pong {last:?}");
            last = number;
        }
    });
    client.echo("still here");
}

#[test]
fn a_message_must_be_complete_within_thirty_seconds() {
    let server = Server::start(&["--shards", "1", "--admin", "127.0.0.1:0", "--heartbeat", "60s"]);
    let mut client = RawClient::open(server.address(), "/echo");
    let start = Instant::now();
    client.send_frame(TEXT_BEGIN, b"a");
    // Bytes that keep coming do not move the deadline.
    let second = Some(Duration::from_secs(1));
    client.stream().set_read_timeout(second).expect("a read deadline can be set");
    let mut answer = [0; 4];
    while client.stream().read_exact(&mut answer).is_err() {
        assert!(start.elapsed() < Duration::from_secs(40), "the server waits for ever");
        client.send_frame(CONTINUE, b"a");
    }
    let [first, _, code @ ..] = answer;
    assert_eq!((first, u16::from_be_bytes(code)), (CLOSE, 1008));
    assert!(start.elapsed() > Duration::from_secs(28), "after {:?}", start.elapsed());
    drop(client);
    observed::wait_for_value(server.admin_address(), "connections", 0);
    assert_eq!(Metrics::scrape(server.admin_address()).closed("message_deadline"), 1);
}

/// Where the absolute deadline of a handshake, 10 s, may be seen by a client. It is late by what a
/// loaded machine makes of it, and would come much later if a byte could move it.
fn assert_at_handshake_deadline(elapsed: Duration, who: &str) {
    let allowed = Duration::from_secs(9)..Duration::from_secs(20);
    assert!(allowed.contains(&elapsed), "{who} was hung up on after {elapsed:?}");
}

#[test]
fn handshakes_that_never_end_are_ended_after_ten_seconds() {
    const SILENT: usize = 5000;
    let server = Server::start(&["--shards", "2", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    RawClient::open(address, "/echo").close();
    let baseline = Baseline::of(server.pid(), admin);

    thread::scope(|scope| {
        scope.spawn(move || trickle_until_closed(address));
        scope.spawn(move || {
            let unfinished = upgrade_request("/echo");
            let start = Instant::now();
            let mut client = RawClient::connect(address);
            client.send(&unfinished[..unfinished.len() - 2]);
            client.read_rest();
            assert_at_handshake_deadline(start.elapsed(), "the client with an unfinished head");
        });
        let crowd = scope.spawn(move || watch_silent_sockets(SILENT, address));
        while !crowd.is_finished() {
            let start = Instant::now();
            let mut client = RawClient::open(address, "/echo");
            client.echo("good");
            client.close();
            let elapsed = start.elapsed();
            assert!(elapsed < Duration::from_secs(9), "a good client waited {elapsed:?}");
            thread::sleep(Duration::from_millis(250));
        }
    });

    baseline.wait(server.pid(), admin, Duration::from_secs(12));
    assert_eq!(Metrics::scrape(admin).handshakes("timeout"), SILENT as u64 + 2);
}

/// Sends one byte of a good request per second.
fn trickle_until_closed(address: SocketAddr) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).expect("the server accepts a connection");
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a deadline can be set");
    for byte in upgrade_request("/echo") {
        drop(stream.write_all(&[byte]));
        match stream.read(&mut [0; 1024]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => break,
        }
    }
    assert_at_handshake_deadline(start.elapsed(), "the client that trickles");
}

/// Opens `count` sockets, sends nothing, and checks when each is hung up on.
fn watch_silent_sockets(count: usize, address: SocketAddr) {
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll can be made");
    let mut sockets: Vec<(Instant, Option<TcpStream>)> = Vec::with_capacity(count);
    for index in 0..count {
        let start = Instant::now();
        let stream = TcpStream::connect(address).expect("the server accepts a connection");
        stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a deadline can be set");
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&watch, &stream, data, epoll::EventFlags::IN).expect("a socket is watched");
        sockets.push((start, Some(stream)));
    }

    let mut open = count;
    let mut events = Vec::with_capacity(1024);
    let patience = rustix::event::Timespec { tv_sec: 40, tv_nsec: 0 };
    while open > 0 {
        epoll::wait(&watch, rustix::buffer::spare_capacity(&mut events), Some(&patience))
            .expect("the epoll can be waited for");
        assert!(!events.is_empty(), "{open} silent sockets are still open");
        for event in events.drain(..) {
            let (start, socket) = &mut sockets[event.data.u64() as usize];
            let Some(mut stream) = socket.take() else { continue };
            assert_at_handshake_deadline(start.elapsed(), "a silent client");
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer));
            let polite = answer.is_empty() || answer.starts_with(b"HTTP/1.1 408 ");
            assert!(polite, "silence was answered with {:?}", String::from_utf8_lossy(&answer));
            open -= 1;
        }
    }
}

#[test]
fn bad_requests_are_refused_and_hung_up_on() {
    let server = Server::start(&["--shards", "2", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    RawClient::open(address, "/echo").close();
    let baseline = Baseline::of(server.pid(), admin);

    // What follows a refused request must not be looked at.
    let more = [frame(TEXT, b"a"), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()].concat();
    for (name, request, statuses) in bad_requests() {
        for tail in [&[], more.as_slice()] {
            let mut client = RawClient::connect(address);
            // The server may hang up on a long request before it has read all of it.
            drop(client.try_send(&[&request, tail].concat()));
            let head = client.try_read_head().unwrap_or_else(|end| panic!("{name}: {end:?}"));
            let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
            assert!(status.is_some_and(|status| statuses.contains(&status)), "{name}: {head}");
            if status == Some(426) {
                let version = head.to_lowercase().contains("sec-websocket-version: 13");
                assert!(version, "{name}: 426 without the version that would do: {head}");
            }
            let (body, end) = client.read_rest();
            assert!(!body.contains("HTTP/1.1 "), "{name}: a second answer: {body}");
            let all_read = tail.is_empty() && !statuses.contains(&431);
            assert!(end == End::Fin || !all_read, "{name}: not hung up on with a FIN");
        }
    }

    RawClient::open(address, "/echo").close();
    baseline.wait(server.pid(), admin, Duration::from_secs(12));
}

/// A name, a request, and the statuses it may be refused with.
type BadRequest = (&'static str, Vec<u8>, &'static [u16]);

fn bad_requests() -> Vec<BadRequest> {
    const BAD: &[u16] = &[400];
    const REFUSED: &[u16] = &[400, 404, 405, 426, 501, 505];
    let good = String::from_utf8(upgrade_request("/echo")).expect("the request is ASCII");
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "the request has no {from:?}");
        good.replacen(from, to, 1).into_bytes()
    };
    let more = |lines: &str| request("/echo", lines);
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let long = format!("X-Long: {}\r\n", "x".repeat(8 * 1024));
    // The upgrade has five fields of its own.
    vec![
        ("a head over 8 KiB", more(&long), &[431]),
        ("a target over 8 KiB", with("/echo", &"/echo".repeat(2000)), &[414, 431]),
        ("65 fields", more(&"X: y\r\n".repeat(60)), &[431]),
        ("2,000 fields", more(&"X: y\r\n".repeat(1995)), &[431]),
        ("version 12", with("Version: 13", "Version: 12"), &[426]),
        ("no version", with("Sec-WebSocket-Version: 13\r\n", ""), &[400, 426]),
        ("version 13 twice", more("Sec-WebSocket-Version: 13\r\n"), &[400, 426]),
        ("no key", with(key, ""), BAD),
        ("an empty key", with("dGhlIHNhbXBsZSBub25jZQ==", ""), BAD),
        ("a key of 15 bytes", with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"), BAD),
        ("a key of 17 bytes", with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWU="), BAD),
        ("a key that is not base64", with("dGhl", "!!!!"), BAD),
        ("two keys", more(key), BAD),
        ("no host", with("Host: server.example.com\r\n", ""), BAD),
        ("an empty host", with("server.example.com", ""), BAD),
        ("two hosts", more("Host: other.example.com\r\n"), BAD),
        ("no upgrade field", with("Upgrade: websocket\r\n", ""), REFUSED),
        ("another upgrade", with("Upgrade: websocket", "Upgrade: h2c"), REFUSED),
        ("no connection field", with("Connection: Upgrade\r\n", ""), REFUSED),
        ("a body by length", more("Content-Length: 3\r\n"), BAD),
        ("a body in chunks", more("Transfer-Encoding: chunked\r\n"), BAD),
        ("HTTP/1.0", with("HTTP/1.1", "HTTP/1.0"), REFUSED),
        ("HTTP/2.0", with("HTTP/1.1", "HTTP/2.0"), REFUSED),
        ("POST", with("GET", "POST"), REFUSED),
        ("a method in lower case", with("GET", "get"), REFUSED),
        ("an unknown path", with("/echo", "/nowhere"), &[404]),
        ("a blank before the colon", more("X : y\r\n"), BAD),
        ("an empty name", more(": y\r\n"), BAD),
        ("a folded field", more("X: y\r\n z\r\n"), BAD),
        ("a NUL in a value", more("X: y\0z\r\n"), BAD),
        ("a CR in a value", more("X: y\rz\r\n"), BAD),
        ("a field without a colon", more("X\r\n"), BAD),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), BAD),
        ("bytes that are no HTTP", b"\xff\xfe\xfd\0\r\n\r\n".to_vec(), BAD),
    ]
}

#[test]
fn requests_at_the_limits_are_served() {
    let server = Server::start(&["--shards", "1"]);
    let mut client = RawClient::connect(server.address());
    client.send(&request("/echo", &"X: y\r\n".repeat(59)));
    client.expect_switch();
    client.echo("64 fields");

    let space = 8 * 1024 - request("/echo", "X: \r\n").len();
    let mut client = RawClient::connect(server.address());
    client.send(&request("/echo", &format!("X: {}\r\n", "y".repeat(space))));
    client.expect_switch();
    client.echo("8 KiB");
}

#[test]
fn pages_are_served_without_an_upgrade() {
    let server = Server::start(&["--shards", "1"]);
    let get = |path: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut client = RawClient::connect(server.address());
        client.send(request.as_bytes());
        (client.read_head(), client.read_rest().0)
    };
    let (head, body) = get("/");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(body.contains("WebSocket server running"), "{body}");
    assert!(head.contains("Content-Security-Policy: default-src 'none'; script-src"), "{head}");
    let (head, body) = get("/healthz");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body.trim(), "ok");
    for path in ["/page.css", "/page.js", "/client.js?version=1"] {
        let (head, body) = get(path);
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        assert!(head.contains("X-Content-Type-Options: nosniff"), "{path}: {head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{path}: {head}");
    }
    let (head, _) = get("/nowhere");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}

#[test]
fn a_client_that_hangs_up_mid_handshake_is_forgotten() {
    let server = Server::start(&["--shards", "1", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    RawClient::open(address, "/echo").close();
    let baseline = Baseline::of(server.pid(), admin);
    for half in [0, 1, 30, 100] {
        let mut client = RawClient::connect(address);
        client.send(&upgrade_request("/echo")[..half]);
        client.half_close();
        client.read_rest();
        let mut client = RawClient::connect(address);
        client.send(&upgrade_request("/echo")[..half]);
        client.reset();
    }
    // Well before the deadline of a handshake: the end of the connection is the end of it.
    baseline.wait(server.pid(), admin, Duration::from_secs(5));
}
