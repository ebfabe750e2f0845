//! The figures at a glance, of a real server: `GET /api/overview`, the feed and `ringwire top`
//! against the truth of the clients.

mod common;
#[path = "common/member.rs"]
mod member;
#[path = "common/program.rs"]
mod program;
#[path = "common/raw.rs"]
mod raw;

use common::Server;
use member::{Member, chat};
use program::{project_file, require};
use raw::{CLOSE, PING, PONG, RawClient, TEXT, close_frame, frame, request};
use ringwire::observe::{Overview, ServerState};
use serde_json::json;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long the figures may take to become the truth: they are made anew every second.
const PATIENCE: Duration = Duration::from_secs(30);

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn start(args: &[&str]) -> Server {
    Server::start(&[&["--admin", "127.0.0.1:0"], args].concat())
}

/// `GET /api/overview` once.
fn look(admin: SocketAddr) -> Overview {
    let mut client = RawClient::connect(admin);
    client.send(
        format!("GET /api/overview HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")
            .as_bytes(),
    );
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("application/json"), "{head}");
    let (body, _) = client.read_rest();
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body}"))
}

/// The first overview that is as it should be.
#[track_caller]
fn look_until(admin: SocketAddr, what: &str, is_so: impl Fn(&Overview) -> bool) -> Overview {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let overview = look(admin);
        if is_so(&overview) {
            return overview;
        }
        assert!(Instant::now() < deadline, "it never showed {what}: {overview:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Opens the feed.
fn watch(admin: SocketAddr) -> RawClient {
    let mut client = RawClient::connect(admin);
    client.send(&feed_request(admin, ""));
    client.expect_switch();
    client
}

fn feed_request(admin: SocketAddr, more: &str) -> Vec<u8> {
    let request = String::from_utf8(request("/api/feed", more)).expect("it is ASCII");
    request.replace("server.example.com", &admin.to_string()).into_bytes()
}

/// The next overview of the feed; answers the pings in front of it.
fn next(client: &mut RawClient) -> Overview {
    loop {
        let frame = client.read_frame().expect("the feed goes on");
        match frame.first {
            PING => client.send_frame(PONG, &frame.payload),
            first => {
                assert_eq!(first, TEXT);
                return serde_json::from_slice(&frame.payload).expect("it is an overview");
            }
        }
    }
}

#[test]
fn the_overview_is_the_truth() {
    let server = start(&["--shards", "2", "--max-connections", "50"]);
    let (address, admin) = (server.address(), server.admin_address());
    let mut members: Vec<Member> = (0..4).map(|_| Member::come(address)).collect();
    for (number, member) in members.iter_mut().enumerate() {
        member.join(if number < 3 { "many" } else { "few" });
    }
    members[0].say(&chat("hello"));
    members.pop().expect("there are four").leave();
    let mut echo = RawClient::open(address, "/echo");
    for _ in 0..5 {
        echo.echo("x");
    }
    let mut refused = RawClient::connect(address);
    refused.send(&request("/nowhere", ""));
    refused.read_head();

    let overview = look_until(admin, "one close and the messages", |overview| {
        overview.totals.closed == 1
            && overview.totals.messages_received == 10
            && overview.handshakes_in_progress == 0
            && overview.top_rooms.len() == 1
    });
    assert_eq!(overview.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(overview.pid, server.pid());
    assert_eq!(overview.state, ServerState::Serving);
    assert_eq!((overview.connections, overview.connections_max), (4, 50));
    assert_eq!(overview.totals.opened, 5);
    // Four welcomes, four joins, 2 + 1 told of joins, three that hear the message, five echoes.
    assert_eq!(overview.totals.messages_sent, 4 + 4 + 3 + 3 + 5);
    assert_eq!(overview.totals.messages_dropped, 0);
    assert_eq!(overview.totals.errors, 1, "the refused handshake");
    assert_eq!((overview.rooms, overview.room_members), (1, 3));
    let room = &overview.top_rooms[0];
    assert_eq!((room.room_id.as_str(), room.members), ("many", 3));
    assert_eq!((room.history_messages, room.offset), (1, 1));
    let closes: Vec<_> =
        overview.closes.iter().map(|close| (close.reason.as_str(), close.count)).collect();
    assert_eq!(closes, [("client_close", 1)]);
    assert_eq!(overview.shards.len(), 2);
    let connections: u64 = overview.shards.iter().map(|shard| shard.connections).sum();
    assert_eq!(connections, 4);
    assert!(overview.shards.iter().all(|shard| (0.0..=1.0).contains(&shard.cpu)));
    assert!(overview.memory.resident_bytes > 1 << 20);
    let per_connection = overview.memory.resident_bytes as f64 / 4.0;
    assert_eq!(overview.memory.resident_bytes_per_connection, per_connection);
}

#[test]
fn rates_and_latencies_are_those_of_now() {
    let server = start(&["--shards", "1"]);
    let (address, admin) = (server.address(), server.admin_address());
    let mut feed = watch(admin);
    let before = next(&mut feed);
    let mut echo = RawClient::open(address, "/echo");
    for _ in 0..500 {
        echo.echo("x");
    }
    // The rates of all seconds together are what was sent.
    let (mut sum, mut last) = (0.0, before);
    while last.totals.messages_received < 500 {
        let overview = next(&mut feed);
        let seconds = overview.uptime_seconds - last.uptime_seconds;
        sum += overview.rates.messages_received * seconds;
        last = overview;
    }
    assert!((sum - 500.0).abs() < 1e-3, "{sum}");
    assert!(last.handshake.count >= 1 && last.handshake.max > 0.0, "{:?}", last.handshake);
    assert!(last.turn.p50 > 0.0 && last.turn.p50 <= last.turn.p999, "{:?}", last.turn);
    let still = next(&mut feed);
    assert_eq!(still.rates.messages_received, 0.0);
}

#[test]
fn a_first_question_has_rates_too() {
    let server = start(&["--shards", "1"]);
    let mut echo = RawClient::open(server.address(), "/echo");
    echo.echo("x");
    let asked = Instant::now();
    let overview = look(server.admin_address());
    assert_eq!(overview.rates.messages_received, 0.0, "what was before it asked is not of now");
    assert_eq!(overview.totals.messages_received, 1);
    let elapsed = asked.elapsed().as_secs_f64();
    assert!(elapsed >= 0.9, "two looks are a second apart");
    let measured = 0.9..=elapsed;
    assert!(measured.contains(&overview.latency_seconds), "{}", overview.latency_seconds);
}

/// Longer than the test takes, so that none of what it sees is from after.
#[cfg(debug_assertions)]
#[test]
fn overviews_come_while_shards_hang() {
    let server = start(&["--shards", "2"]);
    let admin = server.admin_address();
    let mut member = Member::come(server.address());
    member.join("kept");
    let mut feed = watch(admin);
    while next(&mut feed).top_rooms.len() != 1 {}
    for shard in 0..2 {
        let body = json!({ "shard": shard, "milliseconds": 60_000 }).to_string();
        let mut client = RawClient::connect(admin);
        client.send(
            format!(
                "POST /api/debug/hang HTTP/1.1\r\nHost: {admin}\r\nContent-Type: \
                 application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 202 "), "{head}");
    }
    let since = next(&mut feed).uptime_seconds;
    for _ in 0..3 {
        let overview = next(&mut feed);
        assert!(overview.uptime_seconds < since + 50.0, "the shards hang no more");
        assert_eq!(overview.top_rooms[0].room_id, "kept");
        assert_eq!(overview.connections, 1);
    }
}

#[test]
fn a_closed_feed_is_closed_in_order() {
    let server = start(&["--shards", "1"]);
    let mut feed = watch(server.admin_address());
    next(&mut feed);
    feed.send(&frame(PING, b"there?"));
    feed.send(&frame(TEXT, b"what it says is ignored"));
    feed.send(&close_frame(1001, "page left"));
    let mut pongs = 0;
    loop {
        let frame = feed.read_frame().expect("a Close frame comes first");
        match frame.first {
            PONG => {
                assert_eq!(frame.payload, b"there?");
                pongs += 1;
            }
            CLOSE => break assert_eq!(frame.close_code(), Some(1001)),
            _ => {}
        }
    }
    assert_eq!(pongs, 1);
    assert_eq!(feed.read_frame(), Err(raw::End::Fin));
}

#[test]
fn who_watches_a_drain_is_told_of_its_end() {
    let mut server = start(&["--shards", "1", "--drain", "2s"]);
    let mut feed = watch(server.admin_address());
    next(&mut feed);
    // It never answers its Close frame and so keeps the drain going.
    let _deaf = RawClient::open(server.address(), "/echo");
    server.terminate();
    while next(&mut feed).state != ServerState::Draining {}
    loop {
        match feed.read_frame().expect("a Close frame comes first") {
            frame if frame.first == CLOSE => break assert_eq!(frame.close_code(), Some(1001)),
            frame if frame.first == PING => feed.send_frame(PONG, &frame.payload),
            _ => {}
        }
    }
    assert!(server.wait_for_exit(PATIENCE).success());
}

#[test]
fn a_watcher_who_breaks_the_protocol_is_told_so() {
    let server = start(&["--shards", "1"]);
    let mut feed = watch(server.admin_address());
    next(&mut feed);
    feed.send(&[TEXT, 1, b'x']);
    loop {
        let frame = feed.read_frame().expect("a Close frame comes first");
        if frame.first == CLOSE {
            break assert_eq!(frame.close_code(), Some(1002));
        }
    }
}

#[test]
fn pages_of_others_and_bad_openings_are_refused() {
    let server = start(&["--shards", "1"]);
    let admin = server.admin_address();
    let cases = [
        ("Origin: https://evil.example\r\n".to_owned(), "403"),
        ("Origin: null\r\n".to_owned(), "403"),
        (format!("Origin: http://{admin}\r\n"), "101"),
        ("Sec-WebSocket-Protocol: ringwire.overview.v1, other\r\n".to_owned(), "101"),
        ("Sec-WebSocket-Protocol: no token\r\n".to_owned(), "400"),
    ];
    for (more, status) in cases {
        let mut client = RawClient::connect(admin);
        client.send(&feed_request(admin, &more));
        let head = client.read_head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{more}: {head}");
        let chosen = head.to_lowercase().contains("sec-websocket-protocol: ringwire.overview.v1\r");
        assert_eq!(chosen, more.contains("overview"), "{head}");
    }
    let mut old = RawClient::connect(admin);
    let request = String::from_utf8(feed_request(admin, "")).expect("it is ASCII");
    old.send(request.replace("Version: 13", "Version: 12").as_bytes());
    let head = old.read_head().to_lowercase();
    assert!(head.starts_with("http/1.1 426 "), "{head}");
    assert!(head.contains("sec-websocket-version: 13\r"), "{head}");
}

/// It reads nothing: neither the overviews nor the pings, which it does not answer.
#[test]
fn a_watcher_that_stops_reading_is_dropped_and_others_go_on() {
    let server = start(&["--shards", "1"]);
    let admin = server.admin_address();
    let mut stopped = watch(admin);
    let mut reading = watch(admin);
    let since = next(&mut reading).uptime_seconds;
    // Longer than two pings are apart.
    while next(&mut reading).uptime_seconds < since + 13.0 {}
    // What the kernel had taken for it, and then the end without a Close frame.
    loop {
        match stopped.read_frame() {
            Ok(frame) => assert_ne!(frame.first, CLOSE),
            Err(end) => break assert_eq!(end, raw::End::Fin),
        }
    }
    next(&mut reading);
}

#[test]
fn the_feed_holds_a_bounded_number_and_places_come_back() {
    let server = start(&["--shards", "1"]);
    let admin = server.admin_address();
    let mut watchers: Vec<RawClient> =
        (0..ringwire::limits::WATCHERS_MAX).map(|_| watch(admin)).collect();
    let status = || {
        let mut client = RawClient::connect(admin);
        client.send(&feed_request(admin, ""));
        client.read_head()[9..12].to_owned()
    };
    assert_eq!(status(), "503");
    let mut leaving = watchers.pop().expect("there are some");
    leaving.send(&close_frame(1000, ""));
    leaving.read_to_end();
    let deadline = Instant::now() + PATIENCE;
    while status() != "101" {
        assert!(Instant::now() < deadline, "the place does not come back");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn clients_that_are_not_ours_can_watch() {
    require(&project_file("tests/clients/node_modules/ws"));
    let token = TokenFile::new("clients");
    let open = start(&["--shards", "1"]);
    let guarded = start(&["--shards", "1", "--admin-token-file", token.path()]);
    let python = project_file(".deps/venv/bin/python");
    for (server, token) in [(&open, ""), (&guarded, TOKEN)] {
        let admin = server.admin_address().to_string();
        assert_eq!(program::run("node".as_ref(), "node_feed.mjs", &[&admin, token]), 4);
        assert_eq!(program::run(&python, "python_feed.py", &[&admin, token]), 4);
    }
}

fn top(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
    command.arg("top").args(args).output().expect("the binary starts")
}

#[test]
fn top_prints_the_truth_once() {
    let server = start(&["--shards", "2", "--max-connections", "1234"]);
    let (address, admin) = (server.address(), server.admin_address());
    let mut member = Member::come(address);
    let room = "a\u{202e}世";
    assert_eq!(member.ask(&json!({ "type": "join_room", "roomId": room }))["roomId"], room);
    RawClient::open(address, "/echo").close();
    look_until(admin, "a close", |overview| {
        overview.totals.closed == 1 && overview.top_rooms.len() == 1
    });
    // Its standard output is no terminal here, so that it need not be told to print once.
    for flags in [&["--once"][..], &[]] {
        let output = top(&[&["--admin", &admin.to_string()], flags].concat());
        let page = String::from_utf8(output.stdout).expect("it prints UTF-8");
        assert!(output.status.success(), "{page}");
        for words in [
            "serving",
            &format!("pid {}", server.pid()),
            "connections  1 of 1,234",
            "rooms  1, members 1",
            "        1  a\\u{202e}世",
            "        1  client_close",
        ] {
            assert!(page.contains(words), "{words:?} is not in\n{page}");
        }
        assert!(!page.contains(['\u{1b}', '\u{202e}']), "{page:?}");
    }
}

#[test]
fn top_says_what_is_wrong_and_fails() {
    // The port of a listener that is gone.
    let gone =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let gone = gone.expect("a port is free").to_string();
    let token = TokenFile::new("top");
    let guarded = start(&["--shards", "1", "--admin-token-file", token.path()]);
    let (main, guarded_admin) =
        (guarded.address().to_string(), guarded.admin_address().to_string());
    let cases: [(&[&str], &str); 5] = [
        (&["--admin", &gone], "is the server running"),
        (&["--admin", &main], "answered 404"),
        (&["--admin", &guarded_admin], "--admin-token-file"),
        (&["--admin", &main, "--admin-token-file", "/no/such/file"], "/no/such/file"),
        (&["--admin", &main, "--admin-token-file", "/dev/null"], "holds no token"),
    ];
    for (args, words) in cases {
        let output = top(&[args, &["--once"]].concat());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
        assert!(message.starts_with("ringwire: ") && message.contains(words), "{message}");
        assert_eq!(output.stdout, b"");
    }
    let output = top(&["--once", "--admin", &guarded_admin, "--admin-token-file", token.path()]);
    assert!(output.status.success(), "{output:?}");
}

/// In a terminal: `python_top.py` gives it one, resizes it, looks at the screen and ends it in
/// every way.
#[test]
fn top_leaves_the_terminal_as_it_was() {
    let server = start(&["--shards", "1"]);
    let python = project_file(".deps/venv/bin/python");
    let admin = server.admin_address().to_string();
    let binary = env!("CARGO_BIN_EXE_ringwire");
    let checks = program::run(&python, "python_top.py", &[binary, &admin]);
    assert_eq!(checks, 6);
}

/// A file with [`TOKEN`] that lives as long as the value.
struct TokenFile(std::path::PathBuf);

impl TokenFile {
    fn new(name: &str) -> Self {
        let name = format!("ringwire-overview-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, format!("{TOKEN}\n")).expect("the temporary directory is writable");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the path was made from UTF-8")
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        // A left-over file harms nobody, and a panic here would hide the test's own.
        let _ = std::fs::remove_file(&self.0);
    }
}
