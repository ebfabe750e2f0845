//! Compressed messages, against the permessage-deflate of Python's `websockets`, which keeps
//! streams of zlib alive where this end has histories.

#[allow(dead_code, unreachable_pub, missing_docs)]
mod common;
#[allow(dead_code, unreachable_pub, missing_docs)]
mod peer;

use common::{Manner, Server, program};
use peer::{Authority, Peer, is_good, number, run};

const LOAD: &str = "echo --connections 6 --closed --text --size 300..3000 --warmup 100ms \
                    --duration 400ms";

/// What the connections sent and received: without compression, and with it.
fn bytes(report: &serde_json::Value) -> [u64; 4] {
    ["sent_bytes", "sent_wire_bytes", "received_bytes", "received_wire_bytes"]
        .map(|name| number(report, &format!("/connections/compression/{name}")))
}

#[test]
fn messages_are_compressed_as_both_ends_agree() {
    // Of what refers to earlier messages, which are nearly the same, little is left.
    for (server, offer, parts) in [
        ("shared", "shared", 2..6),
        ("dedicated", "shared", 2..6),
        ("shared", "dedicated", 2..6),
        ("dedicated", "dedicated", 8..1000),
    ] {
        let peer = Peer::start(&format!("deflate={server}"));
        let (code, report) = run(&peer.plain_url(), &format!("{LOAD} --compression {offer}"));
        assert!(is_good(code), "{server}, {offer}: {report}");
        assert_eq!(report["errors"], serde_json::json!([]));
        assert_eq!(number(&report, "/connections/compression/connections"), 6);
        assert_eq!(report["config"]["compression"], offer);
        let [sent, sent_wire, received, received_wire] = bytes(&report);
        assert!(parts.contains(&(sent / sent_wire)), "{server}, {offer}: {sent} as {sent_wire}");
        assert!(received_wire < received && sent_wire < sent && received > 10_000, "{report}");
    }
}

#[test]
fn small_messages_and_those_that_do_not_shrink_go_as_they_are() {
    let peer = Peer::start("deflate=shared");
    for (flags, is_smaller) in [
        ("--size 255 --text", false),
        ("--size 255 --text --compression-min 100", true),
        ("--size 2000", false),
        ("--size 2000 --text --compression-level 9", true),
    ] {
        let words = "echo --connections 2 --closed --warmup 0s --duration 200ms";
        let words = format!("{words} {flags} --compression shared --allow-generator-bound");
        let (code, report) = run(&peer.plain_url(), &words);
        let [sent, sent_wire, ..] = bytes(&report);
        assert_eq!(code, 0, "{report}");
        assert_eq!(sent_wire < sent, is_smaller, "{flags}: {sent} as {sent_wire}");
    }
}

#[test]
fn whoever_declines_is_spoken_to_without() {
    let peer = Peer::start("deflate=off");
    let (code, report) = run(&peer.plain_url(), &format!("{LOAD} --compression dedicated"));
    assert!(is_good(code), "{report}");
    assert_eq!(number(&report, "/connections/compression/connections"), 0);
    assert_eq!(bytes(&report), [0; 4]);
    let server = Server::start(Manner::Echo);
    let (code, report) = server.run(&format!("{LOAD} --compression shared"));
    assert!(is_good(code), "{report}");
    assert!(number(&report, "/messages/received") > 6, "{report}");
    // Who offers nothing hears nothing of it.
    let (_, report) = server.run(LOAD);
    assert_eq!(report["connections"]["compression"], serde_json::Value::Null);
}

#[test]
fn it_goes_over_tls_and_through_every_life() {
    let authority = Authority::new("compression");
    let certificate = authority.server("leaf", "IP:127.0.0.1");
    let peer = Peer::start(&format!("{certificate} deflate=dedicated"));
    let flags = "--insecure --compression dedicated --allow-generator-bound";
    for words in [
        "churn --connections 4 --messages 3 --text --size 600 --lifetime 10ms --warmup 0s \
         --duration 400ms",
        "rate --connections 4 --rate 100 --text --size 600 --warmup 0s --duration 400ms",
    ] {
        let (code, report) = run(&peer.url("127.0.0.1"), &format!("{words} {flags}"));
        assert_eq!(code, 0, "{report}");
        let opened = number(&report, "/connections/opened");
        assert_eq!(number(&report, "/connections/compression/connections"), opened, "{report}");
        let [sent, sent_wire, ..] = bytes(&report);
        assert!(sent_wire < sent, "{report}");
    }
}

#[test]
fn flags_of_compression_need_it() {
    for (flags, reason) in [
        ("--compression-level 3", "--compression-level is for --compression"),
        ("--compression-min 3", "--compression-min is for --compression"),
        ("--compression shared --compression-level 10", "10 is not in 1..=9"),
        ("--compression always", "possible values: off, shared, dedicated"),
    ] {
        let words = format!("idle --connections 1 --url ws://127.0.0.1:1 {flags}");
        let output = program(&words).wait_with_output().expect("the program ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(reason), "{said}");
    }
}
