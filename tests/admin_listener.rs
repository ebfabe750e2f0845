//! The admin listener itself: who may ask, what it says of health, and peers that do not play
//! along.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/http.rs"]
mod http;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use chat::ChatClient;
use common::Server;
use folder::Folder;
use http::{Api, exchange, read_answer};
use observed::{Metrics, wait_until};
use raw::RawClient;
use ringwire::observe::EXIT_PANIC;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn start(args: &[&str]) -> (Server, Api) {
    let server = Server::start(&[&["--admin", "127.0.0.1:0"], args].concat());
    let api = Api::new(server.admin_address());
    (server, api)
}

#[test]
fn every_described_operation_is_served_and_no_other() {
    let (_server, api) = start(&["--shards", "1"]);
    let description = api.get("/openapi.json").json();
    assert_eq!(description["openapi"], "3.1.0");
    for (path, operations) in description["paths"].as_object().expect("it has paths") {
        let operations = operations.as_object().expect("a path has operations");
        let described: BTreeSet<String> = operations.keys().map(|key| key.to_uppercase()).collect();
        let target = path.replace("{id}", "0-0-1");
        let refused = api.request("DELETE", &target, "", "");
        refused.refusal(405, "method_not_allowed");
        let allowed = refused.header("allow").expect("405 comes with Allow");
        let allowed: BTreeSet<String> =
            allowed.split(',').map(|method| method.trim().into()).collect();
        let allowed: BTreeSet<String> =
            allowed.into_iter().filter(|method| method != "HEAD").collect();
        assert_eq!(allowed, described, "{path}");
    }
}

#[test]
fn what_is_wrong_is_refused_in_json() {
    let (_server, api) = start(&["--shards", "1"]);
    for target in ["/nothing", "/api", "/api/", "/api/rooms/", "/api/rooms/a/b", "/healthz/"] {
        api.get(target).refusal(404, "not_found");
    }
    let json = "Content-Type: application/json\r\n";
    let large = format!("{{\"roomId\":\"r\",\"text\":\"{}\"}}", "x".repeat(64 * 1024));
    api.request("POST", "/api/publish", json, &large).refusal(413, "payload_too_large");
    for body in ["", "{", "{\"roomId\":\"r\",\"text\":\"t\"}}", "roomId=r", "\u{0}", "[[[["] {
        api.request("POST", "/api/publish", json, body).refusal(400, "bad_request");
    }
    let invalid = b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Content-Type: application/json\r\nContent-Length: 3\r\n\r\n\"\xff\"";
    exchange(api.address, invalid).refusal(400, "bad_request");
    let answer = api.get("/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"));
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
}

/// What a browser on this host sends for a page of another site, in rows: method, header lines,
/// and the code of the refusal.
#[test]
fn pages_of_other_sites_steer_nothing() {
    let (mut server, api) = start(&["--shards", "1"]);
    let port = api.address.port();
    let json = "Content-Type: application/json\r\n";
    let rows = [
        ("", 415, "unsupported_media_type"),
        ("Content-Type: text/plain\r\n", 415, "unsupported_media_type"),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415, "unsupported_media_type"),
        ("Content-Type: multipart/form-data; boundary=x\r\n", 415, "unsupported_media_type"),
        (&format!("{json}Origin: https://evil.example\r\n"), 403, "forbidden"),
        (&format!("{json}Origin: null\r\n"), 403, "forbidden"),
        (
            &format!("{json}Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1\r\n"),
            403,
            "forbidden",
        ),
        (&format!("{json}Host: evil.example\r\n"), 421, "misdirected"),
        (&format!("{json}Host: evil.example:{port}\r\n"), 421, "misdirected"),
        (
            &format!("{json}Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n"),
            421,
            "misdirected",
        ),
        (&format!("{json}Host: localhost\r\nHost: evil.example\r\n"), 400, "bad_request"),
    ];
    for (more, status, code) in rows {
        api.request("POST", "/api/drain", more, "{}").refusal(status, code);
        api.request("PUT", "/api/log-level", more, "{\"filter\":\"off\"}").refusal(status, code);
    }
    let elsewhere = "Host: evil.example\r\n";
    api.request("GET", "/metrics", elsewhere, "").refusal(421, "misdirected");
    api.request("GET", "http://evil.example/metrics", "", "").refusal(421, "misdirected");
    api.request("GET", "/metrics", "Origin: http://evil.example\r\n", "").refusal(403, "forbidden");
    for probe in ["/healthz", "/readyz"] {
        let nameless = format!("GET {probe} HTTP/1.0\r\n\r\n");
        assert_eq!(exchange(api.address, nameless.as_bytes()).status, 200, "{probe}");
        assert_eq!(api.request("GET", probe, elsewhere, "").status, 200, "{probe}");
    }
    assert_eq!(api.request("OPTIONS", "/api/drain", "", "").status, 405, "no preflight passes");

    assert_eq!(api.get("/api/log-level").json(), json!({"filter": "info"}));
    assert_eq!(api.get("/readyz").status, 200);
    for host in [format!("127.0.0.1:{port}"), "[::1]:1".into(), "ringwire:9090".into()] {
        let own = format!("{json}Host: {host}\r\nOrigin: http://{host}\r\n");
        let answer = api.request("PUT", "/api/log-level", &own, "{\"filter\":\"info\"}");
        assert_eq!(answer.status, 200, "{host}");
    }
    let own = format!("Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n{json}");
    assert_eq!(api.request("POST", "/api/drain", &own, "").status, 202);
    assert!(server.wait_for_exit(Duration::from_secs(20)).success());
}

/// A file that lives as long as the value.
struct TokenFile(PathBuf);

impl TokenFile {
    fn new(name: &str, content: &[u8]) -> Self {
        let name = format!("ringwire-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).expect("the temporary directory is writable");
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

#[test]
fn with_a_token_who_has_it_not_sees_health_alone() {
    const TOKEN: &str = "0123456789abcdef";
    let file = TokenFile::new("admin-token", format!("{TOKEN}\n").as_bytes());
    let args = ["--admin", "127.0.0.1:0", "--shards", "1", "--admin-token-file", file.path()];
    let server = Server::start(&args);
    let (stranger, api) =
        (Api::new(server.admin_address()), Api::with_token(server.admin_address(), TOKEN));
    for open in ["/", "/healthz", "/readyz"] {
        assert_eq!(stranger.get(open).status, 200, "{open}");
    }
    let elsewhere = "Host: metrics.example.com\r\n";
    for target in ["/metrics", "/openapi.json", "/api/rooms", "/api/log-level", "/nothing"] {
        let refused = stranger.get(target);
        refused.refusal(401, "unauthorized");
        assert_eq!(
            refused.header("www-authenticate").as_deref(),
            Some("Bearer realm=\"ringwire\"")
        );
        let status = api.request("GET", target, elsewhere, "").status;
        assert_eq!(status, if target == "/nothing" { 404 } else { 200 }, "{target}");
    }
    stranger.post("/api/drain", &json!({})).refusal(401, "unauthorized");
    let same_length = "Bearer 0123456789abcdeF";
    for value in ["", "Bearer", "Bearer ", TOKEN, "Basic 0123456789abcdef", same_length] {
        let wrong = format!("Authorization: {value}\r\n");
        stranger.request("GET", "/metrics", &wrong, "").refusal(401, "unauthorized");
    }
    stranger.get(&format!("/metrics?token={TOKEN}")).refusal(401, "unauthorized");
    let cross = "Content-Type: application/json\r\nOrigin: http://evil.example\r\n";
    api.request("POST", "/api/drain", cross, "{}").refusal(403, "forbidden");
    assert!(!server.output().contains(TOKEN), "the token is in the log");
}

#[test]
fn a_token_file_that_holds_none_is_refused() {
    for (content, why) in [
        (&b""[..], "16 to"),
        (b"too short\n", "16 to"),
        (b"0123456789abcdef 0123456789abcdef", "blanks"),
        (&[b'x'; 5000], "more than"),
    ] {
        let file = TokenFile::new("bad-admin-token", content);
        assert_refused(&["--admin-token-file", file.path()], why);
    }
    assert_refused(&["--admin-token-file", "/nonexistent/token"], "cannot read");
}

fn assert_refused(args: &[&str], why: &str) {
    let mut command = Command::new("timeout");
    command.args(["20", env!("CARGO_BIN_EXE_ringwire"), "--listen", "127.0.0.1:0"]);
    command.args(["--admin", "127.0.0.1:0", "--shards", "1"]).args(args);
    let output = command.output().expect("timeout(1) of the coreutils is there");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("admin token file") && errors.contains(why), "{errors}");
}

#[test]
fn only_a_lone_stranger_is_warned_of() {
    const WARNING: &str = "can steer this server";
    let open = Server::start(&["--admin", "0.0.0.0:0", "--shards", "1"]);
    open.admin_address();
    wait_until(Duration::from_secs(10), || {
        open.output().contains(WARNING).then_some(()).ok_or_else(|| "no warning".into())
    });
    let file = TokenFile::new("warning-token", b"0123456789abcdef");
    let args = ["--admin", "0.0.0.0:0", "--shards", "1", "--admin-token-file", file.path()];
    let safe = [Server::start(&args), start(&["--shards", "1"]).0];
    for mut server in safe {
        assert_eq!(Api::new(server.admin_address()).get("/healthz").status, 200);
        server.terminate();
        server.wait_for_exit(Duration::from_secs(20));
        assert!(!server.output().contains(WARNING));
    }
}

#[test]
fn a_shard_that_hangs_is_named() {
    let (_server, api) = start(&["--shards", "2"]);
    assert_eq!((api.get("/healthz").status, api.get("/healthz").body.trim()), (200, "ok"));
    let hang = json!({"shard": 1, "milliseconds": 8000});
    assert_eq!(api.post("/api/debug/hang", &hang).status, 202);
    thread::scope(|scope| {
        let targets = [("/healthz", "shard_stuck"), ("/api/rooms", "shard_unavailable")];
        for (target, code) in targets {
            let api = &api;
            scope.spawn(move || {
                let message = api.get(target).refusal(503, code);
                assert!(message.contains("shard 1"), "{message}");
            });
        }
    });
    wait_until(Duration::from_secs(20), || match api.get("/healthz").status {
        200 => Ok(()),
        status => Err(format!("{status}")),
    });
    assert_eq!(api.get("/api/rooms").json()["total"], 0);
    api.post("/api/debug/hang", &json!({"shard": 2, "milliseconds": 1})).refusal(404, "not_found");
}

#[test]
fn a_publication_that_was_given_up_is_not_made() {
    let (server, api) = start(&["--shards", "1"]);
    let (mut member, _) = ChatClient::open_in(server.address(), "r");
    let hang = json!({"shard": 0, "milliseconds": 6000});
    assert_eq!(api.post("/api/debug/hang", &hang).status, 202);
    let publication = |text| json!({"roomId": "r", "text": text});
    api.post("/api/publish", &publication("late")).refusal(503, "shard_unavailable");
    wait_until(Duration::from_secs(20), || match api.get("/healthz").status {
        200 => Ok(()),
        status => Err(format!("{status}")),
    });
    assert_eq!(api.post("/api/publish", &publication("next")).json()["offset"], 1);
    assert_eq!(member.hear_message(), (1, "next".to_owned()));
}

/// Has the last shard panic; its end is told once on standard error and once in each file.
fn panic_and_tell(server: &mut Server, api: &Api, folder: &Folder, shard: usize) {
    let before = Instant::now();
    // The process may be gone before it has answered.
    let request = format!(
        "POST /api/debug/panic HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\
         Content-Type: application/json\r\n\r\n{{\"shard\":{shard}}}"
    );
    let mut stream = TcpStream::connect(api.address).expect("the admin listener accepts");
    stream.write_all(request.as_bytes()).expect("it takes a request");
    let status = server.wait_for_exit(Duration::from_secs(20));
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    assert_eq!(status.code(), Some(EXIT_PANIC.into()), "{status}");
    let (thread, text) = (format!("shard-{shard}"), format!("asked shard {shard} to panic"));
    let output = server.output();
    let told = output.lines().filter(|line| line.contains("a thread panicked"));
    let told: Vec<&str> = told.collect();
    assert!(matches!(told[..], [line] if line.contains(&thread)), "{output}");
    assert!(told[0].contains(&text), "{output}");
    for file in ["error.log", "combined.log"] {
        let lines = folder.lines(file);
        let told: Vec<&Value> = lines.iter().filter(|line| line["panic"].is_string()).collect();
        assert_eq!(told.len(), 1, "{file} tells it once");
        assert_eq!((&told[0]["level"], &told[0]["thread"]), (&json!("ERROR"), &json!(thread)));
        assert!(told[0]["panic"].as_str().is_some_and(|panic| panic.contains(&text)));
    }
}

#[test]
fn a_shard_that_panics_ends_the_process_with_one_line() {
    let folder = Folder::new("panic");
    let (mut server, api) = start(&["--shards", "2", "--log-dir", folder.path()]);
    api.post("/api/debug/panic", &json!({"shard": 2})).refusal(404, "not_found");
    panic_and_tell(&mut server, &api, &folder, 1);
}

#[test]
fn a_shard_without_descriptors_that_panics_tells_it_too() {
    let folder = Folder::new("panic-without-descriptors");
    let args = ["--shards", "1", "--admin", "127.0.0.1:0", "--log-dir", folder.path()];
    let mut server = Server::start(&args);
    let api = Api::new(server.admin_address());
    // Below what it had at its start, so that its own bounds do not keep it from running out.
    let limit = Rlimit { current: Some(60), maximum: Some(60) };
    let pid = Pid::from_raw(server.pid().cast_signed()).expect("the server has a process id");
    prlimit(Some(pid), Resource::Nofile, limit).expect("the limit of a child can be set");
    let connect = || TcpStream::connect(server.address()).expect("the kernel queues connections");
    let _clients: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
    wait_until(Duration::from_secs(10), || {
        match Metrics::scrape(api.address).value("accept_errors_total") {
            0 => Err("there are descriptors left".to_owned()),
            _ => Ok(()),
        }
    });
    panic_and_tell(&mut server, &api, &folder, 0);
}

#[test]
fn readiness_ends_when_the_server_is_full_and_comes_back() {
    let (server, api) = start(&["--shards", "1", "--max-connections", "1"]);
    assert_eq!(api.get("/readyz").status, 200);
    let client = RawClient::open(server.address(), "/echo");
    wait_until(Duration::from_secs(10), || match api.get("/readyz").status {
        503 => Ok(()),
        status => Err(format!("{status}")),
    });
    api.get("/readyz").refusal(503, "full");
    assert_eq!(api.get("/healthz").status, 200, "a full server is healthy");
    client.close();
    wait_until(Duration::from_secs(10), || match api.get("/readyz").status {
        200 => Ok(()),
        status => Err(format!("{status}")),
    });
}

#[test]
fn a_drain_is_ordered_and_seen() {
    let (mut server, api) = start(&["--shards", "2", "--drain", "3s"]);
    // It never answers its Close frame and so keeps the drain going.
    let mut deaf = RawClient::open(server.address(), "/echo");
    let draining = json!({"state": "draining"});
    let answer = api.post("/api/drain", &json!({}));
    assert_eq!((answer.status, answer.json()), (202, draining.clone()));
    assert_eq!(deaf.read_close(), Some(1001));
    api.get("/readyz").refusal(503, "draining");
    assert_eq!(api.get("/healthz").status, 200);
    assert_eq!(api.post("/api/drain", &json!({})).json(), draining, "once more is no harm");
    assert!(server.wait_for_exit(Duration::from_secs(20)).success());
}

#[test]
fn the_filter_of_the_log_is_replaced_or_kept() {
    let (_server, api) = start(&["--shards", "1", "--log-level", "warn"]);
    let in_force = || api.get("/api/log-level").json()["filter"].clone();
    assert_eq!(in_force(), "warn");
    let answer = api.put("/api/log-level", &json!({"filter": "ringwire::shard=debug,error"}));
    let filter = answer.json()["filter"].clone();
    assert!(filter.as_str().is_some_and(|filter| filter.contains("ringwire::shard=debug")));
    assert_eq!(in_force(), filter);
    let bad = [json!({"filter": "ringwire=loud"}), json!({"filter": ""}), json!({"filter": 1})];
    for bad in bad.into_iter().chain([json!({})]) {
        api.put("/api/log-level", &bad).refusal(400, "bad_request");
    }
    assert_eq!(in_force(), filter);
}

/// Peers that never finish their requests, or do not ask again, and come back as soon as they are
/// sent away: three times as many as there are places.
#[test]
fn peers_that_dawdle_do_not_keep_operators_out() {
    /// Far less than the 5 s that a head may take, or the 10 s of a body.
    const SOON: Duration = Duration::from_secs(3);
    const LONG: Duration = Duration::from_secs(60);
    let (_server, api) = start(&["--shards", "1"]);
    let requests = [
        "GET /healthz HTTP/1.1\r\nHost: local",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\
         Content-Type: application/json\r\n\r\n{\"roomId\"",
    ];
    let (started, is_over) = (Instant::now(), AtomicBool::new(false));
    let sent_away = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..200 {
            let (is_over, sent_away) = (&is_over, &sent_away);
            scope.spawn(move || {
                // To an end also where the test fails.
                while !is_over.load(Ordering::Relaxed) && started.elapsed() < LONG {
                    dawdle(api.address, requests[number % 3].as_bytes());
                    sent_away.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until(Duration::from_secs(30), || match sent_away.load(Ordering::Relaxed) {
            ..300 => Err("there is room for everybody".into()),
            _ => Ok(()),
        });
        let asked: Vec<(u16, Duration)> = (0..5)
            .map(|_| {
                let before = Instant::now();
                (api.get("/healthz").status, before.elapsed())
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(asked.iter().all(|(status, time)| *status == 200 && *time < SOON), "{asked:?}");
    });
}

/// Sends a request and waits to be sent away.
fn dawdle(address: SocketAddr, request: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("the listener accepts");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline can be set");
    // It may be sent away before it has sent anything; a reset is an end, too.
    let ended = stream.write_all(request).and_then(|()| stream.read_to_end(&mut Vec::new()));
    assert!(!matches!(&ended, Err(error) if error.kind() == ErrorKind::WouldBlock), "{ended:?}");
}

#[test]
fn assets_have_one_type_and_the_policy() {
    let (_server, api) = start(&["--shards", "1"]);
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/dashboard.css", "text/css; charset=utf-8"),
        ("/dashboard.js", "text/javascript; charset=utf-8"),
        ("/dashboard_charts.js", "text/javascript; charset=utf-8"),
        ("/dashboard_dom.js", "text/javascript; charset=utf-8"),
        ("/dashboard_feed.js", "text/javascript; charset=utf-8"),
        ("/dashboard_format.js", "text/javascript; charset=utf-8"),
        ("/dashboard_shards.js", "text/javascript; charset=utf-8"),
    ] {
        let answer = api.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.headers("content-type"), [content_type], "{path}");
        assert_eq!(answer.headers("x-content-type-options"), ["nosniff"], "{path}");
        assert_eq!(answer.headers("cache-control"), ["no-cache"], "{path}");
        let policies = answer.headers("content-security-policy");
        assert!(matches!(&policies[..], [one] if one.starts_with("default-src 'none'")), "{path}");
    }
}

#[test]
fn what_is_no_request_gets_a_status_alone() {
    let (_server, api) = start(&["--shards", "1"]);
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(9000));
    let fields = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "x: y\r\n".repeat(64));
    for (head, status) in [(&*long, 431), (&*fields, 431), ("GET\r\n\r\n", 400)] {
        let answer = exchange(api.address, head.as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (status, ""));
    }
}

#[test]
fn a_body_that_does_not_come_has_its_time() {
    let (_server, api) = start(&["--shards", "1"]);
    let mut stream = TcpStream::connect(api.address).expect("the listener accepts");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline can be set");
    let head = "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\
         Content-Type: application/json\r\n\r\n{\"roomId\"";
    stream.write_all(head.as_bytes()).expect("it takes a request");
    read_answer(&mut stream).refusal(408, "request_timeout");
}

#[test]
fn many_ask_at_once() {
    const EACH: usize = 40;
    let (server, api) = start(&["--shards", "3"]);
    let rooms: Vec<String> = (0..6).map(|number| format!("r{number}")).collect();
    let _members: Vec<ChatClient> =
        rooms.iter().map(|room| ChatClient::open_in(server.address(), room).0).collect();
    let offsets: Vec<u64> = thread::scope(|scope| {
        let askers: Vec<_> = rooms
            .iter()
            .map(|room| {
                let api = &api;
                scope.spawn(move || {
                    let publication = json!({"roomId": room, "text": "x"});
                    (0..EACH).fold(0, |_, _| {
                        assert_eq!(api.get("/api/rooms").json()["total"], 6);
                        assert_eq!(api.get("/healthz").status, 200);
                        let answer: Value = api.post("/api/publish", &publication).json();
                        answer["offset"].as_u64().expect("it has a member")
                    })
                })
            })
            .collect();
        askers.into_iter().map(|asker| asker.join().expect("it does not fail")).collect()
    });
    assert_eq!(offsets, [EACH as u64; 6]);
}
