//! What the server says of itself: its lines, their sinks, and what it does when a sink fails.

mod common;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use common::Server;
use folder::Folder;
use observed::{Metrics, wait_until, wait_until_still};
use raw::{RawClient, TEXT, is_served, request};
use ringwire::config::LogConfig;
use ringwire::limits::TICK_MILLISECONDS;
use ringwire::observe::LogControl;
use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long something may take that takes a second at most.
const SOON: Duration = Duration::from_secs(30);

/// The lines about connections and their messages, and no others.
const MESSAGES: &str = "ringwire::shard::lines=debug";

/// Starts the server with its log in `folder`.
fn start(folder: &Folder, wrapper: &[&str], args: &[&str]) -> Server {
    let log = ["--shards", "1", "--admin", "127.0.0.1:0", "--log-dir", folder.path()];
    Server::start_under(wrapper, &[&log, args].concat())
}

fn end(server: &mut Server) {
    server.terminate();
    assert!(server.wait_for_exit(SOON).success(), "it ends well");
}

fn with_message<'a>(lines: &'a [Value], message: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["message"] == message)
}

/// Lines that a sink did not get.
fn dropped(admin: SocketAddr, sink: &str) -> u64 {
    let label = format!("sink=\"{sink}\"");
    Metrics::scrape(admin).labelled("log_lines_dropped_total", &label)
}

/// Sends that many messages to `/echo` and takes them back.
fn flood(address: SocketAddr, messages: usize) {
    let mut client = RawClient::open(address, "/echo");
    for _ in 0..messages {
        client.echo("what goes around comes around, and is worth a line of the log each time");
    }
    client.close();
}

#[test]
fn connections_are_told_as_they_were() {
    let folder = Folder::new("truth");
    let mut server = start(&folder, &[], &[]);
    let begin = Instant::now();
    let mut client = RawClient::open(server.address(), "/chat");
    let welcome = client.read_frame().expect("the chat greets");
    let welcome: Value = serde_json::from_slice(&welcome.payload).expect("the chat speaks JSON");
    client.send_frame(TEXT, br#"{"type":"auth","username":"ada \" level=\"ERROR"}"#);
    client.read_frame().expect("a name is taken");
    for _ in 0..5 {
        client.send_frame(TEXT, br#"{"type":"ping"}"#);
        client.read_frame().expect("a ping is answered");
    }
    let peer = client.stream().local_addr().expect("the client has an address").to_string();
    thread::sleep(Duration::from_millis(400));
    client.close();
    let longest = begin.elapsed().as_millis() as u64 + TICK_MILLISECONDS;
    let mut stranger = RawClient::connect(server.address());
    stranger.send(&request("/nowhere?token=s3cret", ""));
    assert!(stranger.read_head().starts_with("HTTP/1.1 404"));
    drop(stranger);
    end(&mut server);

    let lines = folder.lines("combined.log");
    let connected: Vec<&Value> = with_message(&lines, "connected").collect();
    let disconnected: Vec<&Value> = with_message(&lines, "disconnected").collect();
    assert_eq!((connected.len(), disconnected.len()), (1, 1));
    assert_eq!(connected[0]["connection"], welcome["connectionId"]);
    assert_eq!(connected[0]["peer"], Value::from(peer));
    assert_eq!(connected[0]["endpoint"], "chat");
    assert_eq!(disconnected[0]["connection"], welcome["connectionId"]);
    assert_eq!(disconnected[0]["user"], "ada \" level=\"ERROR");
    assert_eq!(disconnected[0]["reason"], "client_close");
    assert_eq!(disconnected[0]["code"], "1000");
    assert_eq!(disconnected[0]["messages_received"], 6);
    assert_eq!(disconnected[0]["messages_sent"], 7);
    let duration = disconnected[0]["duration_ms"].as_u64().expect("it is a number");
    assert!((400 - TICK_MILLISECONDS..=longest).contains(&duration), "{duration} ms");
    let refused: Vec<&Value> = with_message(&lines, "handshake refused").collect();
    assert_eq!((refused.len(), &refused[0]["status"]), (1, &Value::from(404)));
    for message in ["shard started", "listening", "draining", "shard ended", "drained"] {
        assert_eq!(with_message(&lines, message).count(), 1, "{message}");
    }
    for key in ["timestamp", "level", "target", "message"] {
        assert!(lines.iter().all(|line| line[key].is_string()), "{key} is in every line");
    }
    assert!(lines.iter().all(|line| line["level"] == "INFO"));
    assert_eq!(folder.text("error.log"), "");
    assert!(server.output().contains("disconnected connection="), "people read it, too");
}

#[test]
fn messages_forge_nothing_and_credentials_are_never_told() {
    let folder = Folder::new("secrets");
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/hs256.secret");
    let auth = ["--auth", "message", "--auth-key", key, "--log-level", "trace"];
    let mut server = start(&folder, &[], &auth);
    let mut client = RawClient::connect(server.address());
    client.send(&request("/echo?token=s3cret.s3cret.s3cret", ""));
    assert!(client.read_head().starts_with("HTTP/1.1 401"));
    let mut client = RawClient::open(server.address(), "/chat");
    client.send_frame(TEXT, br#"{"type":"auth","token":"s3cret.s3cret.s3cret"}"#);
    client.read_to_end();
    let mut client = RawClient::open(server.address(), "/chat");
    client.send_frame(TEXT, br#"{"type":"auth","password":"s3cret","username":7}"#);
    client.send_frame(TEXT, br#"{"type":"auth","username":"ada","password":"s3cret"}"#);
    client.read_to_end();
    end(&mut server);
    let lines = folder.lines("combined.log");
    assert_eq!(with_message(&lines, "authentication failed").count(), 3);
    assert_eq!(with_message(&lines, "message").count(), 3);
    assert!(!folder.text("combined.log").contains("s3cret"));
    assert!(!server.output().contains("s3cret"));

    let mut server = start(&folder, &[], &["--log-level", MESSAGES]);
    let mut client = RawClient::open(server.address(), "/echo");
    client.echo("x\n2026-01-01T00:00:00Z ERROR ringwire: forged\x1b[2J\",\"level\":\"ERROR");
    client.close();
    end(&mut server);
    let lines = folder.lines("combined.log");
    let told = with_message(&lines, "message").last().expect("the message was told");
    let preview = told["preview"].as_str().expect("it is text");
    assert!(preview.starts_with("x\n2026-01-01T00:00:00Z ERROR ringwire: forged\x1b[2J"));
    assert_eq!((preview.chars().count(), &told["level"]), (65, &Value::from("DEBUG")));
    assert!(!server.output().contains('\x1b') && !server.output().contains("\n2026-01-01"));
}

#[test]
fn files_are_rotated_and_bounded() {
    let folder = Folder::new("rotation");
    let limits = ["--log-file-size", "64KiB", "--log-files", "3", "--log-level", MESSAGES];
    let mut server = start(&folder, &[], &limits);
    let admin = server.admin_address();
    // Some 250 bytes each: twice what three files take.
    wait_until(SOON, || {
        flood(server.address(), 400);
        let lines = Metrics::scrape(admin).value("log_lines_total");
        (lines >= 1600).then_some(()).ok_or_else(|| format!("{lines} lines"))
    });
    end(&mut server);
    for name in ["combined.log", "combined.log.1", "combined.log.2"] {
        let bytes = fs::metadata(folder.file(name)).expect("the file is there").len();
        assert!((1..=64 * 1024).contains(&bytes), "{name} has {bytes} bytes");
    }
    assert!(!folder.file("combined.log.3").exists());
    for name in ["combined.log.1", "combined.log.2"] {
        assert!(folder.lines(name).len() > 100, "{name} has whole lines");
    }
}

#[test]
fn what_is_suppressed_is_counted_and_told_exactly() {
    let folder = Folder::new("suppressed");
    let mut server = start(&folder, &[], &["--log-level", MESSAGES]);
    let admin = server.admin_address();
    flood(server.address(), 5000);
    let metrics = Metrics::scrape(admin);
    let lines = metrics.labelled("log_lines_total", "level=\"debug\"");
    let suppressed = metrics.value("log_lines_suppressed_total");
    assert!(suppressed > 1000, "{suppressed} of 5000 lines were suppressed");
    end(&mut server);
    let written = folder.lines("combined.log");
    let told: u64 = written.iter().filter_map(|line| line["suppressed"].as_u64()).sum();
    assert_eq!(told, suppressed);
    // Reports have the level of what they report.
    let reports = written.iter().filter(|line| line["suppressed"].is_u64()).count() as u64;
    assert!((lines + suppressed).abs_diff(5000) <= reports, "{lines} and {suppressed} lines");
}

/// A pipe with a name, open for reading and writing, that nobody reads yet.
fn fifo(folder: &Folder, name: &str) -> File {
    mkfifoat(CWD, folder.file(name), Mode::RWXU).expect("a pipe can be made");
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open(folder.file(name), flags, Mode::empty()).expect("it can be opened").into()
}

/// Reads lines until one second brought no more.
fn count_lines(mut pipe: File) -> u64 {
    let (mut lines, mut quiet) = (0, Instant::now());
    let mut buffer = [0; 4096];
    while quiet.elapsed() < Duration::from_secs(1) {
        match pipe.read(&mut buffer) {
            Ok(count) => {
                lines += buffer[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
                quiet = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("the pipe cannot be read: {error}"),
        }
    }
    lines
}

#[test]
fn a_reader_of_stderr_who_stops_stops_nobody_else() {
    let folder = Folder::new("stderr");
    let pipe = fifo(&folder, "stderr");
    let path = folder.file("stderr");
    let path = path.to_str().expect("the path is text");
    let wrapper = ["sh", "-c", "exec \"$@\" 2>\"$0\"", path];
    let server = start(&folder, &wrapper, &["--log-level", "debug"]);
    let (address, admin) = (server.address(), server.admin_address());
    wait_until(SOON, || {
        flood(address, 500);
        let lost = dropped(admin, "stderr");
        (lost > 100).then_some(()).ok_or_else(|| format!("{lost} lines were dropped"))
    });
    assert!(is_served(address));

    // The reader goes on: so does the sink, and not a line is unaccounted for.
    let reader = thread::spawn(|| count_lines(pipe));
    folder.wait_for(|line| line["sink"] == "stderr" && line["lines"].is_u64());
    wait_until_still(admin, "log_lines_total");
    let read = reader.join().expect("reading does not panic");
    let metrics = Metrics::scrape(admin);
    assert_eq!(metrics.labelled("log_lines_dropped_total", "sink=\"stderr\",reason=\"error\""), 0);
    assert_eq!(read + dropped(admin, "stderr"), metrics.value("log_lines_total"));
}

#[test]
fn a_server_whose_streams_are_full_from_the_start_serves_and_ends() {
    let folder = Folder::new("full");
    let mut pipe = fifo(&folder, "pipe");
    let full = loop {
        if let Err(error) = pipe.write(&[b'x'; 512]) {
            break error.kind();
        }
    };
    assert_eq!(full, ErrorKind::WouldBlock);
    let inherited = || {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        File::from(open(folder.file("pipe"), flags, Mode::empty()).expect("it can be opened"))
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringwire"))
        .args(["--listen", "127.0.0.1:0", "--admin", "off", "--log-dir", folder.path()])
        .stdin(Stdio::null())
        .stdout(inherited())
        .stderr(inherited())
        .spawn()
        .expect("the server starts");
    let line = folder.wait_for(|line| line["message"] == "listening");
    let address = line["address"].as_str().expect("it is text").parse().expect("an address");
    flood(address, 10);
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it still runs");
    assert_eq!(wait(&mut child), Some(0));
}

/// The exit code of a child that ends soon.
fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status.code();
        }
        if Instant::now() > deadline {
            drop(child.kill());
            panic!("the process has not ended");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_the_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_ringwire"))
        .args(["--listen", "127.0.0.1:0", "--admin", "off", "--log-dir", "/dev/null/logs"])
        .output()
        .expect("the server starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--log-dir /dev/null/logs: Not a directory"), "{said}");
}

#[test]
fn now_and_then_the_server_sums_up() {
    let folder = Folder::new("summary");
    let server = start(&folder, &[], &["--summary", "1s"]);
    let mut client = RawClient::open(server.address(), "/echo");
    client.echo("hello");
    let line = folder.wait_for(|line| line["message"] == "summary" && line["connections"] == 1);
    assert_eq!(line["errors"], 0);
    assert!(line["messages_per_second_in"].is_number());
    client.close();
}

/// A variable that names the folder to a process that is to panic.
const PANIC: &str = "RINGWIRE_TEST_PANIC";

/// Panics on threads of their own at once, as shards would.
fn panic_into(folder: &str) -> ! {
    let directory = Some(folder.into());
    let config = LogConfig { directory, ..LogConfig::default() };
    let log = LogControl::start("info", &config).expect("the log starts");
    log.end_on_panic().expect("there is room for a thread");
    let panic_as_shard = |_| {
        let shard = thread::Builder::new().name("shard-7".to_owned());
        shard.spawn(|| panic!("index 7 is out\nof bounds")).expect("a thread starts")
    };
    let shards: Vec<JoinHandle<()>> = (0..4).map(panic_as_shard).collect();
    for shard in shards {
        drop(shard.join());
    }
    panic!("the process has not ended with its thread");
}

#[test]
fn a_panic_ends_the_process_with_one_line() {
    if let Ok(folder) = std::env::var(PANIC) {
        panic_into(&folder);
    }
    let folder = Folder::new("panic");
    let this = std::env::current_exe().expect("the test has a path");
    let panicking = |stderr: Stdio| {
        let name = "a_panic_ends_the_process_with_one_line";
        let mut command = Command::new(&this);
        command.args(["--exact", name, "--nocapture"]).env(PANIC, folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        command.spawn().expect("the test can be started")
    };
    let mut child = panicking(Stdio::piped());
    assert_eq!(wait(&mut child), Some(70));
    let mut said = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("it is text");
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in ["shard-7", "tests/logs.rs", "index 7", "half a server is worse than none"] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    // Nor does it wait for a reader who has stopped.
    let mut pipe = fifo(&folder, "pipe");
    while pipe.write(&[b'x'; 512]).is_ok() {}
    let blocking = File::options().read(true).write(true).open(folder.file("pipe"));
    let mut child = panicking(blocking.expect("it can be opened").into());
    assert_eq!(wait(&mut child), Some(70));
    let errors = folder.lines("error.log");
    assert_eq!(errors.len(), 2);
    assert!(errors.iter().all(|line| line["thread"] == "shard-7" && line["level"] == "ERROR"));
}
