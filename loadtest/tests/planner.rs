//! What the program does before it connects, and what it asks the server for.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread;

use ringwire::protocol::upgrade::{Request, accept, parse_request};

const PROGRAM: &str = env!("CARGO_BIN_EXE_loadtest");

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    (listener, format!("ws://{address}"))
}

fn nobody_came(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).expect("a socket");
    listener.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Runs the program in a shell that has first run `limits`.
fn run(limits: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new("sh")
        .args(["-c", &format!("{limits} && exec \"$0\" \"$@\""), PROGRAM])
        .args(words)
        .stdin(Stdio::null())
        .output();
    let Output { status, stdout, stderr } = output.expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

/// No address has 70,000 ports, and no table of 256 descriptors holds as many sockets.
#[test]
fn everything_that_is_missing_is_told_before_anything_is_connected() {
    let (listener, url) = listener();
    for dry_run in [true, false] {
        let line = format!(
            "idle --url {url} --connections 70000 --threads 2 --source 127.0.0.1 --duration 1ms"
        );
        let mut words: Vec<&str> = line.split(' ').collect();
        words.extend(dry_run.then_some("--dry-run"));
        let (code, stdout, stderr) = run("ulimit -n 256", &words);
        assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
        for mend in ["ulimit -n 35066", "--source 127.0.0.0/8"] {
            assert!(stderr.contains(mend), "{mend} is not in {stderr}");
        }
        assert!(nobody_came(&listener));
    }
}

#[test]
fn a_dry_run_shows_the_plan_and_connects_nothing() {
    let (listener, url) = listener();
    let url = format!("{url}/?token=abc");
    let line =
        format!("echo --closed --url {url} --connections 100 --threads 3 --size 9 --dry-run");
    let (code, stdout, stderr) = run("true", &line.split(' ').collect::<Vec<_>>());
    assert_eq!((code, &*stderr), (Some(0), ""), "{stdout}");
    for part in ["token=[redacted]", "100, both ends", "3, of 34", "ip_local_port_range", "ready"] {
        assert!(stdout.contains(part), "{part} is not in {stdout}");
    }
    assert!(nobody_came(&listener));
}

/// Answers one upgrade with the subprotocol `chat` under the name `chosen`, and gives back the
/// request.
fn serve_one(listener: &TcpListener, chosen: &str) -> String {
    let (mut stream, _) = listener.accept().expect("a client");
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut buffer).expect("a request");
        assert!(count > 0, "the request is cut short");
        request.extend_from_slice(&buffer[..count]);
    }
    let mut response = Vec::new();
    match parse_request(&request) {
        Ok(Request::Upgrade(upgrade)) => accept(&mut response, &upgrade, Some("chat"), None),
        other => panic!("{other:?}"),
    }
    let response = String::from_utf8(response).expect("ASCII").replace("chat", chosen);
    stream.write_all(response.as_bytes()).expect("a client that reads");
    drain(stream);
    String::from_utf8(request).expect("ASCII")
}

/// Reads to the end: an early close with unread bytes would be a reset.
fn drain(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

#[test]
fn every_target_is_asked_for_the_fields_and_subprotocols() {
    let servers: Vec<_> = ["/one?x=1", "/two"].map(|path| (listener(), path)).into();
    let urls: Vec<String> = servers.iter().map(|((_, url), path)| format!("{url}{path}")).collect();
    let served = servers
        .into_iter()
        .map(|((listener, _), path)| thread::spawn(move || (serve_one(&listener, "chat"), path)));
    let served: Vec<_> = served.collect();
    let urls = urls.join(",");
    let words = ["idle", "--connections=2", "--duration=1ms", "--leave=abort", "--url", &urls];
    let wishes = ["--header", "X-Trace: a b", "--protocol=chat.v2", "--protocol=chat"];
    let (code, stdout, stderr) = run("true", &[&words[..], &wishes].concat());
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    for server in served {
        let (request, path) = server.join().expect("no panic");
        assert!(request.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{request}");
        assert!(request.contains("\r\nX-Trace: a b\r\n"), "{request}");
        assert!(request.contains("\r\nSec-WebSocket-Protocol: chat.v2, chat\r\n"), "{request}");
    }
}

#[test]
fn a_subprotocol_that_was_not_offered_fails_the_connection() {
    let (listener, url) = listener();
    let server = thread::spawn(move || serve_one(&listener, "other"));
    let words = ["idle", "--connections=1", "--duration=1ms", "--url", &url, "--protocol=chat"];
    let (code, stdout, stderr) = run("true", &words);
    assert_ne!(code, Some(0), "{stdout}{stderr}");
    server.join().expect("no panic");
}

#[test]
fn wrong_wishes_are_bad_arguments() {
    let (listener, url) = listener();
    for wish in
        ["--header=Host: a", "--header=A: b\r\nC: d", "--protocol=a b", "--source=10.0.0.1/99"]
    {
        let (code, _, stderr) = run("true", &["idle", "--connections=1", "--url", &url, wish]);
        assert_eq!(code, Some(2), "{wish}: {stderr}");
    }
    assert!(nobody_came(&listener));
}
