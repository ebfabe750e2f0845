//! The fault proxy of the tests, in front of an echo.

#[path = "common/fault_proxy.rs"]
mod fault_proxy;

use fault_proxy::FaultProxy;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long something may take that is known to come; a failure, never a delay.
const SOON: Duration = Duration::from_secs(10);
/// How long to look before calling it quiet.
const QUIET: Duration = Duration::from_millis(100);

/// A server that says back what it hears, for as long as the test lasts.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || io::copy(&mut &socket, &mut &socket));
        }
    });
    address
}

fn client(proxy: &FaultProxy) -> TcpStream {
    let client = TcpStream::connect(proxy.address()).expect("the proxy accepts");
    client.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    client
}

fn says(mut client: &TcpStream, text: &str) {
    client.write_all(text.as_bytes()).expect("the proxy reads");
}

fn hears(mut client: &TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    client.read_exact(&mut heard).expect("the echo comes");
    assert_eq!(heard, text.as_bytes());
}

fn hears_nothing(mut client: &TcpStream) {
    client.set_read_timeout(Some(QUIET)).expect("a timeout can be set");
    let heard = client.read(&mut [0; 1]);
    assert!(heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    client.set_read_timeout(Some(SOON)).expect("a timeout can be set");
}

#[test]
fn everything_is_passed_and_the_end_too() {
    let proxy = FaultProxy::start(echo());
    let mut client = client(&proxy);
    let much = "0123456789abcdef".repeat(256 * 1024);
    let mut writer = client.try_clone().expect("there are descriptors");
    let sent = much.clone();
    let writing = thread::spawn(move || {
        writer.write_all(sent.as_bytes()).expect("the proxy reads");
        writer.shutdown(std::net::Shutdown::Write).expect("it is open");
    });
    let mut heard = String::new();
    client.read_to_string(&mut heard).expect("the echo comes, and its end");
    writing.join().expect("all was sent");
    assert!(heard == much, "{} of {} bytes", heard.len(), much.len());
    let start = Instant::now();
    while proxy.connections() > 0 {
        assert!(start.elapsed() < SOON, "the connection stays");
    }
    assert_eq!(proxy.accepted(), 1);
}

#[test]
fn a_black_hole_takes_everything_and_gives_it_back_when_healed() {
    let proxy = FaultProxy::start(echo());
    let old = client(&proxy);
    says(&old, "a");
    hears(&old, "a");
    proxy.black_hole();
    let new = client(&proxy);
    for client in [&old, &new] {
        says(client, "b");
        hears_nothing(client);
    }
    // More than fits into the buffers of sockets.
    let much = "b".repeat(16 * 1024 * 1024);
    says(&old, &much);
    proxy.heal();
    hears(&new, "b");
    let mut left = much.len() + 1;
    let mut chunk = vec![0; 65_536];
    while left > 0 {
        left -= (&old).read(&mut chunk).expect("the echo comes");
    }
}

#[test]
fn the_end_of_a_connection_does_not_leave_a_black_hole() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let proxy = FaultProxy::start(listener.local_addr().expect("it is bound"));
    let client = client(&proxy);
    let (mut server, _) = listener.accept().expect("the proxy connects");
    proxy.black_hole();
    drop(client);
    hears_nothing(&server);
    assert_eq!(proxy.connections(), 1);
    proxy.heal();
    assert_eq!(server.read(&mut [0; 1]).expect("the end comes"), 0);
}

#[test]
fn neither_does_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let proxy = FaultProxy::start(listener.local_addr().expect("it is bound"));
    let client = client(&proxy);
    let (mut server, _) = listener.accept().expect("the proxy connects");
    // Closed with something unread.
    server.write_all(b"a").expect("the proxy reads");
    assert_eq!(client.peek(&mut [0; 1]).expect("it comes"), 1);
    proxy.black_hole();
    drop(client);
    hears_nothing(&server);
    proxy.heal();
    let error = server.read(&mut [0; 1]).expect_err("no end but a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_stall_brings_the_sender_to_a_halt() {
    let proxy = FaultProxy::start(echo());
    let mut client = client(&proxy);
    says(&client, "a");
    hears(&client, "a");
    proxy.stall();
    client.set_write_timeout(Some(QUIET)).expect("a timeout can be set");
    let chunk = vec![b'b'; 65_536];
    let mut sent = 0;
    let error = loop {
        match client.write(&chunk) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    hears_nothing(&client);
    proxy.heal();
    let mut chunk = vec![0; 65_536];
    while sent > 0 {
        sent -= client.read(&mut chunk).expect("the echo comes");
    }
}

#[test]
fn latency_delays_each_way() {
    let proxy = FaultProxy::start(echo());
    let client = client(&proxy);
    says(&client, "a");
    hears(&client, "a");
    proxy.delay(QUIET);
    let start = Instant::now();
    says(&client, "b");
    hears(&client, "b");
    assert!(start.elapsed() >= QUIET * 2, "{:?}", start.elapsed());
    proxy.heal();
    says(&client, "c");
    hears(&client, "c");
}

#[test]
fn a_cut_resets_both_sides() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let proxy = FaultProxy::start(listener.local_addr().expect("it is bound"));
    let client = client(&proxy);
    let (server, _) = listener.accept().expect("the proxy connects");
    proxy.cut();
    assert_eq!(proxy.connections(), 0);
    for mut side in [&client, &server] {
        let error = side.read(&mut [0; 1]).expect_err("no end but a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    // The next one is passed.
    says(&self::client(&proxy), "a");
    listener.accept().expect("the proxy connects");
}

#[test]
fn new_connections_are_refused_and_old_ones_stay() {
    let proxy = FaultProxy::start(echo());
    let old = client(&proxy);
    says(&old, "a");
    hears(&old, "a");
    for _ in 0..2 {
        proxy.refuse();
        let error = TcpStream::connect(proxy.address()).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        says(&old, "b");
        hears(&old, "b");
        proxy.heal();
        let new = client(&proxy);
        says(&new, "c");
        hears(&new, "c");
    }
}

#[test]
fn a_server_that_is_not_there_is_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let proxy = FaultProxy::start(address);
    let mut client = client(&proxy);
    let error = client.read(&mut [0; 1]).expect_err("no end but a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
