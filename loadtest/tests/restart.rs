//! Clients that come back when the server lets them go, and what they say of one that does not.

#[allow(unreachable_pub, missing_docs, dead_code)]
mod common;

use std::time::{Duration, Instant};

use common::{Manner, Server};
use serde_json::Value;

const KINDS: [&str; 7] = [
    "refused",
    "reset",
    "ended_without_close",
    "closed_otherwise",
    "not_upgraded",
    "timed_out",
    "broke_otherwise",
];

fn number(report: &Value, pointer: &str) -> u64 {
    let value = report.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in {report}"));
    value.as_u64().unwrap_or_else(|| panic!("{pointer} is {value}"))
}

fn figure_of(report: &Value, name: &str) -> Option<f64> {
    let figures = report["figures"].as_array().expect("figures");
    figures.iter().find(|figure| figure["name"] == name)?["value"].as_f64()
}

fn figure(report: &Value, name: &str) -> u64 {
    figure_of(report, name).unwrap_or_else(|| panic!("{name} is not in {report}")) as u64
}

/// The kinds of what broke that are not 0.
fn broken(report: &Value) -> Vec<(&'static str, u64)> {
    let all = KINDS.map(|kind| (kind, figure(report, kind)));
    all.into_iter().filter(|&(_, count)| count > 0).collect()
}

/// Valid, or made on a machine that is too busy for more.
fn is_good(code: i32) -> bool {
    code == 0 || code == 4
}

#[test]
fn whoever_is_let_go_comes_back() {
    for (threads, rate) in [(1, 50), (3, 0)] {
        // From the tenth of the ramp to the third that comes back.
        let server = Server::start(Manner::CloseBetween(9, 23, 1001));
        let (code, report) = server.run(&format!(
            "restart --connections 20 --threads {threads} --send-rate {rate} --backoff-base 5ms \
             --warmup 0 --duration 500ms"
        ));
        assert!(is_good(code), "{report}");
        assert_eq!((figure(&report, "farewells"), figure(&report, "returned")), (14, 14));
        assert_eq!((figure(&report, "never_back"), broken(&report)), (0, vec![]), "{report}");
        assert_eq!((number(&report, "/connections/opened"), server.accepted()), (34, 34));
        assert_eq!(number(&report, "/connections/lost"), 0, "{report}");
        assert_eq!(report["errors"], Value::Array(Vec::new()));
        for histogram in ["recovery", "return"] {
            assert_eq!(number(&report, &format!("/histograms/{histogram}/us/count")), 14);
        }
        let round_trips = report.pointer("/histograms/round_trip/us/count").and_then(Value::as_u64);
        let received = number(&report, "/messages/received");
        assert_eq!((round_trips.unwrap_or(0), received > 0), (received, rate > 0), "{report}");
        assert!(figure_of(&report, "returns_max_over_mean").is_some_and(|ratio| ratio >= 1.0));
        // No new connections were asked for.
        assert_eq!(figure_of(&report, "new_connections_per_second"), None);
        server.await_silence();
    }
}

#[test]
fn new_connections_come_by_their_schedule_meanwhile() {
    let server = Server::start(Manner::CloseBetween(0, 5, 1001));
    let began = Instant::now();
    let (code, report) = server.run(
        "restart --connections 10 --threads 2 --send-rate 5 --churn-rate 100 --newcomers 20 \
         --backoff-base 5ms --warmup 100ms --duration 1s --linger 300ms",
    );
    assert!(is_good(code), "{report}");
    assert_eq!((number(&report, "/connections/requested"), figure(&report, "never_back")), (30, 0));
    assert_eq!((figure(&report, "not_started"), broken(&report)), (0, vec![]), "{report}");
    let let_go = figure(&report, "farewells") + figure(&report, "new_farewells");
    assert_eq!(let_go, 5, "{report}");
    let rate = figure(&report, "new_connections_per_second");
    assert!((80..=120).contains(&rate), "{rate}");
    // Those that stay outlast them, and only for so long.
    let ended = report.pointer("/connections/closed_cleanly").and_then(Value::as_u64);
    assert_eq!(ended, Some(server.accepted() - 5), "{report}");
    assert!(began.elapsed() >= Duration::from_millis(1_400));
    // The latency of the run is theirs.
    let latencies = number(&report, "/latency_us/count");
    assert!((90..=110).contains(&latencies), "{latencies}");
    assert!(report["latency_of"].as_str().is_some_and(|of| of.contains("new connection")));
    assert_eq!(number(&report, "/messages/missing"), 0, "{report}");
    server.await_silence();
}

#[test]
fn a_message_without_an_answer_at_a_farewell_is_told_and_not_missing() {
    let server = Server::start(Manner::FarewellBetween(0, 4));
    let (code, report) = server.run(
        "restart --connections 4 --threads 1 --send-rate 20 --backoff-base 1ms --warmup 0 \
         --duration 500ms",
    );
    assert!(is_good(code), "{report}");
    assert_eq!((figure(&report, "farewells"), figure(&report, "unanswered_at_farewell")), (4, 4));
    assert_eq!((number(&report, "/messages/missing"), broken(&report)), (0, vec![]), "{report}");
    server.await_silence();
}

#[test]
fn every_other_end_is_an_error_of_its_kind() {
    // The first six are those of the ramp.
    for (manner, kind, count, label) in [
        (Manner::CloseBetween(6, 9, 1012), "closed_otherwise", 3, "another code than 1001"),
        (Manner::ResetBetween(6, 9), "reset", 3, "were reset"),
        (Manner::RefuseBetween(6, 9), "not_upgraded", 3, "something else than 101"),
        (Manner::EndBetween(6, 7), "ended_without_close", 1, "without a close frame"),
        (Manner::IgnoreBetween(6, 8), "timed_out", 2, "timed out"),
    ] {
        let server = Server::start(manner);
        let (code, report) = server.run(
            "restart --connections 2 --threads 1 --send-rate 0 --churn-rate 50 --newcomers 4 \
             --connect-timeout 300ms --backoff-base 5ms --warmup 0 --duration 700ms",
        );
        assert_eq!((code, &report["verdict"]), (3, &Value::from("SERVER-ERRORS")), "{report}");
        assert_eq!(broken(&report), [(kind, count)], "{report}");
        let reasons = report["reasons"].to_string();
        assert!(
            reasons.contains(&format!("{count} connections"))
                || reasons.contains(&format!("{count} handshakes")),
            "{reasons}"
        );
        assert!(reasons.contains(label), "{label}: {reasons}");
        server.await_silence();
    }
}

#[test]
fn whoever_is_reset_comes_back_with_back_off() {
    let server = Server::start(Manner::ResetBetween(1, 6));
    let (code, report) = server.run(
        "restart --connections 4 --threads 1 --send-rate 0 --backoff-base 2ms --warmup 0 \
         --duration 300ms",
    );
    assert_eq!((code, figure(&report, "reset")), (3, 5), "{report}");
    let returned = (figure(&report, "returned"), figure(&report, "never_back"));
    // Two of the three were open again before they were reset once more.
    assert_eq!((returned, figure(&report, "farewells")), ((5, 0), 0), "{report}");
    assert_eq!(server.accepted(), 9);
    server.await_silence();
}
