//! One server process after another, and no client that notices more than a farewell.

mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/successor.rs"]
mod successor;

use common::{Place, Scheme, Server, over_both};
use observed::wait_for_value;
use raw::{CLOSE, End, PING, PONG, RawClient, TEXT, close_frame, request};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use successor::Successor;

over_both! {
    a_signal_starts_the_next_server_and_everybody_moves,
}

const LONG: Duration = Duration::from_secs(30);

/// Waits to be told to go, and comes back.
fn come_back(address: Place, mut client: RawClient) -> RawClient {
    assert_eq!(client.read_close(), Some(1001));
    client.send(&close_frame(1001, ""));
    assert_eq!(client.read_frame(), Err(End::Fin));
    let mut client = RawClient::open(address, "/echo");
    client.echo("here again");
    client
}

/// Connects, is answered and leaves, again and again; returns how often. The farewell of the old
/// server may cross a message, but nobody is refused or cut off.
fn come_and_go(address: Place, is_over: &AtomicBool) -> usize {
    let mut visits = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mut client = RawClient::open(address, "/echo");
        client.send_frame(TEXT, b"a short visit");
        client.send(&close_frame(1000, ""));
        let mut frame = client.read_frame().expect("an answer or a farewell");
        if frame.first == TEXT {
            assert_eq!(frame.payload, b"a short visit");
            visits += 1;
            frame = client.read_frame().expect("a close");
        }
        assert!(matches!(frame.close_code(), Some(1000 | 1001)), "{frame:?}");
    }
    visits
}

/// Moves everybody from `old` to the server that `restart` brings.
fn everybody_moves(old: &Server, restart: impl FnOnce() -> Option<Server>) -> Option<Server> {
    let clients = if old.place().scheme == Scheme::Plain { 400 } else { 100 };
    let (address, admin) = (old.place(), old.admin_address());
    let crowd: Vec<RawClient> = (0..clients).map(|_| RawClient::open(address, "/echo")).collect();
    wait_for_value(admin, "connections", clients);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let visitors: Vec<_> =
            (0..4).map(|_| scope.spawn(|| come_and_go(address, &is_over))).collect();
        let new = restart();
        // Each is told at its own time, and has little of it to answer.
        let crowd: Vec<_> = crowd
            .into_iter()
            .map(|client| scope.spawn(move || come_back(address, client)))
            .collect();
        let crowd: Vec<RawClient> =
            crowd.into_iter().map(|client| client.join().expect("everybody comes back")).collect();
        old.wait_for_end(LONG);
        is_over.store(true, Ordering::Relaxed);
        for visitor in visitors {
            assert!(visitor.join().expect("every visitor was served") > 0);
        }
        // The admin listener was handed over, too.
        wait_for_value(admin, "connections", clients);
        drop(crowd);
        wait_for_value(admin, "connections", 0);
        new
    })
}

fn a_signal_starts_the_next_server_and_everybody_moves(scheme: Scheme) {
    let mut first =
        Server::start_for(scheme, &["--shards", "2", "--admin", "127.0.0.1:0", "--drain", "2s"]);
    let mut successor = None;
    everybody_moves(&first, || {
        first.signal(Signal::USR2);
        successor = Some(Successor::of(&first));
        None
    });
    drop(successor);
    let status = first.wait_for_exit(LONG);
    assert!(status.success(), "{status}");
    assert!(first.output().contains("has taken over"), "{}", first.output());
}

#[test]
fn a_server_with_more_or_fewer_shards_takes_over() {
    let base = ["--admin", "127.0.0.1:0", "--drain", "1s", "--shards"];
    let mut server = Server::start(&[&base[..], &["2"]].concat());
    for shards in ["4", "1"] {
        let take_over = format!("--take-over={}", server.address());
        let next = everybody_moves(&server, || {
            Some(Server::start(&[&base[..], &[shards, &take_over]].concat()))
        });
        let next = next.expect("it was started");
        assert_eq!(next.address(), server.address());
        assert!(server.wait_for_exit(LONG).success());
        server = next;
    }
}

/// Where a server waits for its successor.
fn door(address: SocketAddr) -> UnixAddress {
    UnixAddress::from_abstract_name(format!("ringwire {address}")).expect("a short name")
}

#[test]
fn a_successor_that_fails_costs_nobody_anything() {
    let server = Server::start(&["--shards", "2"]);
    let mut client = RawClient::open(server.address(), "/echo");
    let door = door(server.address());
    for reads in [false, true] {
        let mut knock = UnixStream::connect_addr(&door).expect("the server waits for a successor");
        if reads {
            let mut count = [0; 5];
            knock.read_exact(&mut count).expect("the server tells how many sockets it has");
            assert_eq!(count, [0, 0, 0, 2, 0], "two listeners and no admin listener");
        }
        drop(knock);
        client.echo("still here");
        RawClient::open(server.address(), "/echo").close();
    }
    // The door is still open, and one can get in.
    let take_over = format!("--take-over={}", server.address());
    let next = Server::start(&["--shards", "1", &take_over]);
    assert_eq!(client.read_close(), Some(1001));
    RawClient::open(next.address(), "/echo").echo("over there");
}

/// Opens the dashboard's feed.
fn watch(admin: SocketAddr) -> RawClient {
    let request = String::from_utf8(request("/api/feed", "")).expect("it is ASCII");
    let mut feed = RawClient::connect(admin);
    feed.send(request.replace("server.example.com", &admin.to_string()).as_bytes());
    feed.expect_switch();
    feed
}

/// The process that the next overview is of.
fn watched_process(feed: &mut RawClient) -> u64 {
    let frame = feed.read_frame().expect("the feed goes on");
    assert_eq!(frame.first, TEXT, "nobody has been silent");
    let overview: Value = serde_json::from_slice(&frame.payload).expect("it is an overview");
    overview["pid"].as_u64().expect("it has a process")
}

#[test]
fn who_watches_is_sent_to_the_next_server() {
    let mut old = Server::start(&["--shards", "1", "--admin", "127.0.0.1:0", "--drain", "8s"]);
    let admin = old.admin_address();
    let mut feed = watch(admin);
    assert_eq!(watched_process(&mut feed), u64::from(old.pid()));
    // It never answers its Close frame and so keeps the old server there.
    let _deaf = RawClient::open(old.address(), "/echo");
    let take_over = format!("--take-over={}", old.address());
    let new = Server::start(&["--shards", "1", "--admin", "127.0.0.1:0", &take_over]);
    loop {
        let frame = feed.read_frame().expect("a Close frame comes first");
        match frame.first {
            PING => feed.send_frame(PONG, &frame.payload),
            CLOSE => break assert_eq!(frame.close_code(), Some(1001)),
            first => assert_eq!(first, TEXT),
        }
    }
    assert_eq!(watched_process(&mut watch(admin)), u64::from(new.pid()));
    assert!(old.wait_for_exit(LONG).success());
}

#[test]
fn a_successor_that_keeps_silent_keeps_nobody() {
    let mut server = Server::start(&["--shards", "2", "--drain", "1s"]);
    let mut client = RawClient::open(server.address(), "/echo");
    let mut knock = UnixStream::connect_addr(&door(server.address())).expect("the door is open");
    let mut count = [0; 5];
    knock.read_exact(&mut count).expect("the server tells how many sockets it has");
    server.terminate();
    assert_eq!(client.read_close(), Some(1001));
    // The sockets are the successor's too: what they do is up to it.
    TcpStream::connect(server.address()).expect("who has got the sockets may still serve them");
    client.send(&close_frame(1001, ""));
    let status = server.wait_for_exit(Duration::from_secs(10));
    assert!(status.success(), "{status}");
}

#[test]
fn a_server_that_has_given_up_waiting_is_not_taken_over() {
    let probe = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = probe.local_addr().expect("it is bound");
    drop(probe);
    let waiting = UnixListener::bind_addr(&door(address)).expect("nobody waits there");
    let take_over = format!("--take-over={address}");
    let late = Command::new(env!("CARGO_BIN_EXE_ringwire"))
        .args(["--listen", &address.to_string(), "--admin", "off", "--shards", "1", &take_over])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server binary starts");
    let (mut knock, _) = waiting.accept().expect("it knocks");
    knock.write_all(&[0; 5]).expect("it has no sockets to give");
    drop(knock);
    let output = late.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let (said, errors) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(errors.contains("the server that was to be taken over goes on"), "{errors}");
    assert!(!String::from_utf8_lossy(&said).contains("listening"), "it has served nobody");
}

#[test]
fn there_must_be_a_server_to_take_over() {
    let output = Command::new(env!("CARGO_BIN_EXE_ringwire"))
        .args(["--listen", "127.0.0.1:1", "--take-over"])
        .output()
        .expect("the server binary starts");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("no server that listens on 127.0.0.1:1 can be taken over"), "{errors}");
}
