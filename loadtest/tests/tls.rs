//! `wss://` against another implementation: a server of Python's `websockets` over OpenSSL.

#[allow(dead_code, unreachable_pub, missing_docs)]
mod common;
#[allow(dead_code, unreachable_pub, missing_docs)]
mod peer;

use std::fs;
use std::path::Path;

use common::program;
use peer::{Authority, Peer, is_good, number, openssl_server, run};
use serde_json::Value;

const LOAD: &str = "echo --connections 20 --closed --size 64 --warmup 100ms --duration 400ms";

/// The only kind of failure of a run, of the stage `tls`, and how often it came.
fn refusal(report: &Value) -> (String, u64) {
    let errors = report["errors"].as_array().expect("a list");
    let tried = |error: &&Value| error["kind"] != "not tried: none before had worked";
    let errors: Vec<_> = errors.iter().filter(tried).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["stage"], "tls", "{errors:?}");
    (errors[0]["kind"].as_str().expect("words").to_owned(), number(errors[0], "/count"))
}

#[test]
fn echoes_are_those_of_a_verified_server() {
    let authority = Authority::new("verified");
    let peer = Peer::start(&authority.server("leaf", "DNS:localhost,IP:127.0.0.1"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls-verified");
    let flags = format!("--tls-ca {} --out {}", authority.file(), folder.display());
    for url in [peer.url("localhost"), peer.url("127.0.0.1")] {
        let (code, report) = run(&url, &format!("{LOAD} {flags}"));
        assert!(is_good(code), "{report}");
        assert_eq!(number(&report, "/connections/opened"), 20, "{report}");
        assert_eq!(number(&report, "/connections/closed_cleanly"), 20, "{report}");
        assert!(number(&report, "/messages/received") > 20, "{report}");
        assert_eq!(report["errors"], serde_json::json!([]));
        for histogram in ["connect", "tls", "upgrade", "handshake", "close"] {
            let pointer = format!("/histograms/{histogram}/us/count");
            assert_eq!(number(&report, &pointer), 20, "{histogram}");
        }
        let tls = &report["connections"]["tls"];
        assert_eq!(*tls, serde_json::json!({ "tls_1_2": 0, "tls_1_3": 20, "resumed": 0 }));
        assert_eq!(report["config"]["tls"]["verified"], true);
    }
    let saved = fs::read_to_string(folder.join("summary.json")).expect("a summary");
    let saved: Value = serde_json::from_str(&saved).expect("JSON");
    assert_eq!(number(&saved, "/histograms/tls/us/count"), 20);
}

#[test]
fn certificates_that_are_not_to_be_trusted_are_refused() {
    let authority = Authority::new("refused");
    let peer = Peer::start(&authority.server("leaf", "DNS:elsewhere.example"));
    let (url, idle) = (peer.url("127.0.0.1"), "idle --connections 3 --duration 100ms");
    let (code, report) = run(&url, &format!("{idle} --tls-ca {}", authority.file()));
    let (words, count) = refusal(&report);
    assert!(code == 1 && count == 3, "{code}: {report}");
    assert!(words.contains("not valid for name \"127.0.0.1\""), "{words}");
    let (_, report) = run(&url, &format!("{idle} --tls-ca {}", Authority::new("other").file()));
    let (words, count) = refusal(&report);
    assert!(words.contains("UnknownIssuer") && words.contains("--insecure"), "{words}");
    assert_eq!((count, number(&report, "/connections/opened")), (3, 0));
    let (code, report) = run(&url, &format!("{idle} --insecure"));
    assert_eq!((code, number(&report, "/connections/opened")), (0, 3), "{report}");
    assert_eq!(report["config"]["tls"]["verified"], false);
}

#[test]
fn versions_are_chosen_and_sessions_resumed() {
    let authority = Authority::new("versions");
    let server = authority.server("leaf", "IP:127.0.0.1");
    let churn = "churn --connections 4 --connecting 1 --threads 1 --messages 1 --lifetime 10ms \
                 --warmup 0s --duration 500ms --allow-generator-bound --insecure";
    for (version, name) in [("1.2", "tls_1_2"), ("1.3", "tls_1_3")] {
        let peer = Peer::start(&format!("{server} tls={version}"));
        let of = |flags: &str| {
            let (_, report) = run(&peer.url("127.0.0.1"), &format!("{churn} {flags}"));
            assert_eq!(report["errors"], serde_json::json!([]), "{flags}");
            let opened = number(&report, "/connections/opened");
            assert_eq!(number(&report, &format!("/connections/tls/{name}")), opened, "{report}");
            assert_eq!(number(&report, "/histograms/tls/us/count"), opened, "{report}");
            (opened, number(&report, "/connections/tls/resumed"))
        };
        let (opened, resumed) = of("");
        assert!(opened > 8 && resumed == 0, "{version}: {opened}, {resumed}");
        let (opened, resumed) = of("--tls-resume");
        assert!(resumed > opened / 2 && resumed < opened, "{version}: {opened}, {resumed}");
        let other = if version == "1.2" { "1.3" } else { "1.2" };
        let idle = format!("idle --connections 2 --insecure --tls-version {other}");
        let (_, report) = run(&peer.url("127.0.0.1"), &idle);
        let (words, count) = refusal(&report);
        // Python's asyncio ends such a connection before its alert is out.
        let is_refused = words.contains("ProtocolVersion") || words.starts_with("cut: ");
        assert!(is_refused && count == 2, "{words}");
    }
}

#[test]
fn alerts_are_told_in_words() {
    let authority = Authority::new("alerts");
    let peer = openssl_server(&authority.server("leaf", "IP:127.0.0.1"), "-tls1_3");
    let idle = "idle --connections 2 --connecting 1 --insecure --tls-version 1.2";
    let (code, report) = run(&peer.url("127.0.0.1"), idle);
    assert_eq!((code, number(&report, "/connections/opened")), (1, 0));
    assert_eq!(refusal(&report), ("received fatal alert: ProtocolVersion".to_owned(), 2));
}

#[test]
fn streams_that_are_cut_are_told_from_those_that_end() {
    let authority = Authority::new("cut");
    let peer = Peer::start(&format!("{} cut=yes", authority.server("leaf", "IP:127.0.0.1")));
    let (code, report) = run(&peer.url("127.0.0.1"), &format!("{LOAD} --insecure --settle 0s"));
    assert_eq!((code, number(&report, "/connections/lost")), (3, 20), "{report}");
    let kinds: Vec<_> = report["errors"].as_array().expect("a list").iter().collect();
    let is_cut = |error: &&&Value| {
        let kind = error["kind"].as_str().expect("words");
        error["stage"] == "open" && (kind.starts_with("cut: ") || kind == "reset")
    };
    assert_eq!(kinds.iter().filter(is_cut).count(), kinds.len(), "{kinds:?}");
}

/// A peer that accepts and says nothing.
#[test]
fn handshakes_that_take_too_long_fail_as_such() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("wss://{}", listener.local_addr().expect("a bound socket"));
    let words = "idle --connections 2 --insecure --connect-timeout 200ms --duration 100ms";
    let (code, report) = run(&url, words);
    assert_eq!((code, refusal(&report)), (1, ("timed out".to_owned(), 2)));
    // A peer that does not speak it is another matter.
    let server = common::Server::start(common::Manner::Echo);
    let url = server.url().replace("ws://", "wss://");
    let (code, report) = run(&url, words);
    assert_eq!((code, refusal(&report).1), (1, 2), "{report}");
}

/// Messages that fill the sockets, so that records are sent in parts.
#[test]
fn large_messages_come_back_whole() {
    let authority = Authority::new("large");
    let peer = Peer::start(&authority.server("leaf", "IP:127.0.0.1"));
    let words = "echo --connections 4 --closed --size 2MiB --insecure --warmup 0s --duration 1s \
                 --allow-generator-bound";
    let (code, report) = run(&peer.url("127.0.0.1"), words);
    assert_eq!(code, 0, "{report}");
    assert!(number(&report, "/messages/received") >= 4, "{report}");
}

#[test]
fn every_scenario_and_every_worker_speaks_it() {
    let authority = Authority::new("scenarios");
    let peer = Peer::start(&authority.server("leaf", "IP:127.0.0.1"));
    let issuer = format!("--tls-ca {}", authority.file());
    for words in [
        "rate --connections 5 --rate 200 --warmup 100ms --duration 300ms",
        "storm --connections 5 --warmup 100ms --duration 400ms --backoff none",
        "restart --connections 5 --warmup 100ms --duration 300ms",
        "slow --connections 6 --slow 2 --load echo --closed --warmup 100ms --duration 300ms",
    ] {
        let words = format!("{words} --allow-generator-bound {issuer}");
        let (code, report) = run(&peer.url("127.0.0.1"), &words);
        assert_eq!(code, 0, "{words}: {report}");
        let opened = number(&report, "/connections/opened");
        assert_eq!(number(&report, "/histograms/tls/us/count"), opened, "{report}");
    }
    let workers = [common::Worker::start(""), common::Worker::start("")];
    let [one, two] = workers.each_ref().map(|worker| worker.address.as_str());
    let words = format!("{LOAD} {issuer} --workers {one},{two}");
    let (code, report) = run(&peer.url("127.0.0.1"), &words);
    assert!(is_good(code), "{report}");
    assert_eq!(number(&report, "/connections/tls/tls_1_3"), 20, "{report}");
    assert_eq!(number(&report, "/histograms/tls/us/count"), 20, "{report}");
}

#[test]
fn flags_of_tls_need_a_server_that_speaks_it() {
    for (flags, reason) in [
        ("--url ws://127.0.0.1:1 --insecure", "--insecure is for a --url"),
        ("--url ws://127.0.0.1:1 --tls-ca /x", "--tls-ca is for a --url"),
        ("--url ws://127.0.0.1:1 --tls-version 1.3", "--tls-version is for a --url"),
        ("--url ws://127.0.0.1:1 --tls-resume", "--tls-resume is for a --url"),
        ("--url wss://127.0.0.1:1 --tls-ca /x --insecure", "cannot be used with"),
        ("--url wss://127.0.0.1:1 --tls-version 1.1", "possible values: 1.2, 1.3"),
    ] {
        let output = program(&format!("idle --connections 1 {flags}")).wait_with_output();
        let output = output.expect("the program ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(reason), "{said}");
    }
    let words = "idle --connections 1 --url wss://127.0.0.1:1 --tls-ca /nowhere/ca.pem --dry-run";
    let output = program(words).wait_with_output().expect("the program ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("--tls-ca /nowhere/ca.pem"), "{said}");
}
