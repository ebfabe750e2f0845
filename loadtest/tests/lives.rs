//! Connections that end and come back: every attempt and every end is counted, and nobody stays.

#[allow(unreachable_pub, missing_docs, dead_code)]
mod common;

use common::{Manner, Server};
use serde_json::Value;

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

/// Valid, or made on a machine that is too busy for more.
fn is_good(code: i32) -> bool {
    code == 0 || code == 4
}

fn errors(report: &Value) -> Vec<(&str, &str, u64)> {
    let errors = report["errors"].as_array().expect("errors");
    let all = errors.iter().map(|error| {
        let (stage, kind) = (error["stage"].as_str(), error["kind"].as_str());
        (stage.expect("a stage"), kind.expect("a kind"), error["count"].as_u64().expect("a count"))
    });
    all.collect()
}

#[test]
fn churn_counts_every_life() {
    let server = Server::start(Manner::Echo);
    let (code, report) = server.run(
        "churn --connections 12 --threads 2 --lifetime 20ms --messages 3 --warmup 50ms \
         --duration 500ms",
    );
    assert!(is_good(code), "{report}");
    let opened = number(&report, "/connections/opened");
    assert!(opened > 24, "{report}");
    assert_eq!(opened, figure(&report, "attempts"));
    assert_eq!(opened, server.accepted());
    assert_eq!(opened, number(&report, "/connections/closed_cleanly"));
    assert_eq!(opened, figure(&report, "left_by_close"));
    for histogram in ["connect", "upgrade", "close"] {
        assert_eq!(opened, number(&report, &format!("/histograms/{histogram}/us/count")));
    }
    assert!(number(&report, "/histograms/first_message/us/count") > 0);
    assert_eq!(figure(&report, "retried"), 0);
    server.await_silence();
}

#[test]
fn churn_follows_its_schedule() {
    let server = Server::start(Manner::Echo);
    let (code, report) = server.run(
        "churn --connections 20 --threads 2 --churn-rate 100 --lifetime 10ms --messages 0 \
         --warmup 200ms --duration 1s",
    );
    assert!(is_good(code), "{report}");
    assert_eq!(figure(&report, "not_started"), 0);
    // 1.1 s of the schedule at least, after the 20 of the ramp.
    let came_back = figure(&report, "attempts") - 20;
    assert!(came_back >= 110, "{came_back}");
    let rate = figure(&report, "handshakes_per_second");
    assert!((80..=120).contains(&rate), "{rate}");
    server.await_silence();
}

#[test]
fn a_schedule_without_free_clients_says_so() {
    let server = Server::start(Manner::IgnoreBetween(4, usize::MAX));
    let (code, report) = server.run(
        "churn --connections 4 --threads 1 --churn-rate 100 --lifetime 1ms --warmup 0 \
         --duration 500ms --settle 100ms",
    );
    // All four clients wait for an answer that never comes.
    assert_eq!(figure(&report, "attempts"), 8, "{report}");
    assert_eq!(figure(&report, "abandoned"), 4);
    assert!(figure(&report, "not_started") >= 30, "{report}");
    assert_eq!((code, figure(&report, "not_admitted")), (3, 4), "{report}");
    server.await_silence();
}

#[test]
fn churn_whose_clients_are_refused_is_not_valid() {
    let server = Server::start(Manner::RefuseBetween(8, 11));
    let (code, report) =
        server.run("churn --connections 4 --threads 2 --lifetime 10ms --warmup 0 --duration 500ms");
    assert_eq!((code, figure(&report, "not_admitted")), (3, 3), "{report}");
    assert_eq!(errors(&report), [("upgrade", "HTTP status 503", 3)]);
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("3 of ") && reasons.contains("were refused"), "{reasons}");
    server.await_silence();
}

#[test]
fn churn_that_nobody_came_back_in_says_so() {
    let server = Server::start(Manner::Echo);
    // Each thread's first client would leave after half of the lifetime.
    let (_, report) =
        server.run("churn --connections 4 --threads 2 --lifetime 1s --warmup 0 --duration 300ms");
    assert_eq!(number(&report, "/latency_us/count"), 0, "{report}");
    assert!(report["notes"].to_string().contains("no client came back"), "{report}");
    server.await_silence();
}

#[test]
fn messages_on_lost_connections_of_churn_are_missing() {
    let server = Server::start(Manner::EndBetween(6, 9));
    let (code, report) =
        server.run("churn --connections 4 --threads 1 --lifetime 10ms --warmup 0 --duration 300ms");
    assert_eq!((code, number(&report, "/connections/lost")), (3, 3), "{report}");
    assert_eq!(number(&report, "/messages/missing"), 3, "{report}");
    server.await_silence();
}

#[test]
fn churn_without_messages_does_not_mind_a_greeting() {
    let server = Server::start(Manner::Greet);
    let (code, report) = server.run(
        "churn --connections 4 --threads 1 --lifetime 10ms --messages 0 --warmup 0 \
         --duration 300ms",
    );
    assert!(is_good(code), "{report}");
    assert_eq!(number(&report, "/messages/duplicate"), 0, "{report}");
    server.await_silence();
}

#[test]
fn churn_leaves_by_every_way() {
    for (leave, figure_name) in [("fin", "left_by_fin"), ("abort", "left_by_abort")] {
        let server = Server::start(Manner::Echo);
        let (code, report) = server.run(&format!(
            "churn --connections 6 --lifetime 10ms --leave {leave} --warmup 0 --duration 200ms"
        ));
        assert!(is_good(code), "{report}");
        let opened = number(&report, "/connections/opened");
        assert!(opened > 6, "{report}");
        assert_eq!((opened, opened), (figure(&report, figure_name), server.accepted()));
        assert_eq!(number(&report, "/connections/closed_cleanly"), 0);
        server.await_silence();
    }
}

#[test]
fn a_message_that_churn_never_gets_back_is_missing() {
    let server = Server::start(Manner::Swallow);
    let (code, report) = server
        .run("churn --connections 3 --lifetime 10ms --warmup 0 --duration 200ms --settle 200ms");
    assert_eq!((code, &report["verdict"]), (3, &Value::from("SERVER-ERRORS")), "{report}");
    server.await_silence();
}

#[test]
fn a_storm_drops_everyone_and_everyone_comes_back() {
    for (by, threads) in [("fin", 1), ("abort", 3), ("close", 2)] {
        let server = Server::start(Manner::Echo);
        let (code, report) = server.run(&format!(
            "storm --connections 30 --threads {threads} --by {by} --backoff-base 5ms --warmup 50ms \
             --duration 200ms"
        ));
        assert!(is_good(code), "{by}: {report}");
        assert_eq!((figure(&report, "dropped"), figure(&report, "never_back")), (30, 0), "{by}");
        assert_eq!((figure(&report, "attempts"), server.accepted()), (60, 60), "{by}");
        assert_eq!(number(&report, "/connections/opened"), 60, "{by}");
        assert_eq!(number(&report, "/histograms/recovery/us/count"), 30, "{by}");
        assert_eq!(number(&report, "/connections/lost"), 0, "{by}");
        // Those that were due while the run was measured: what is late is known of each.
        let late = number(&report, "/histograms/schedule_lag/us/count");
        assert_eq!(late, number(&report, "/histograms/latency/us/count"), "{by}");
        assert_eq!(figure_of(&report, "start_seconds"), None, "{by}");
        let again = if by == "close" { 30 } else { 0 };
        assert_eq!(number(&report, "/connections/closed_cleanly"), 30 + again, "{by}");
        let at_once = figure(&report, "handshakes_at_once_max");
        assert!((1..=30).contains(&at_once), "{by}: {at_once}");
        server.await_silence();
    }
}

#[test]
fn storms_take_their_share_and_come_again() {
    let server = Server::start(Manner::Echo);
    let (code, report) = server.run(
        "storm --connections 20 --threads 2 --drop 0.25 --storms 3 --backoff none --warmup 0 \
         --duration 600ms",
    );
    assert!(is_good(code), "{report}");
    assert_eq!(figure(&report, "dropped"), 15);
    assert!(figure_of(&report, "start_seconds").is_some_and(|seconds| seconds > 0.0), "{report}");
    assert_eq!(report.pointer("/histograms/schedule_lag"), None);
    assert_eq!((figure(&report, "attempts"), server.accepted()), (35, 35));
    server.await_silence();
}

#[test]
fn a_storm_recovers_from_refusals() {
    let refused = ("upgrade", "HTTP status 503", 25);
    for backoff in ["none", "jitter --backoff-base 1ms", "exponential --backoff-base 2ms"] {
        let server = Server::start(Manner::RefuseBetween(10, 35));
        let (code, report) = server.run(&format!(
            "storm --connections 10 --threads 2 --backoff {backoff} --warmup 0 --duration 100ms"
        ));
        assert!(is_good(code), "{backoff}: {report}");
        assert_eq!(figure(&report, "never_back"), 0, "{backoff}");
        assert_eq!((figure(&report, "attempts"), server.accepted()), (45, 45), "{backoff}");
        assert_eq!((figure(&report, "refused"), figure(&report, "retried")), (25, 25), "{backoff}");
        assert_eq!(errors(&report), [refused], "{backoff}");
        assert_eq!(number(&report, "/histograms/refusal/us/count"), 25, "{backoff}");
        assert!(figure_of(&report, "recovered_100_seconds").is_some(), "{backoff}");
        server.await_silence();
    }
}

#[test]
fn deadlines_of_earlier_lives_end_no_later_one() {
    let server = Server::start(Manner::IgnoreBetween(3, 9));
    let (code, report) = server.run(
        "storm --connections 3 --threads 1 --backoff none --connect-timeout 200ms --warmup 0 \
         --duration 300ms",
    );
    assert!(is_good(code), "{report}");
    assert_eq!((figure(&report, "attempts"), server.accepted()), (12, 12));
    assert_eq!(errors(&report), [("upgrade", "timed out", 6)]);
    // Each had all of its time: the second attempt was not ended by the deadline of the first.
    let shortest = report.pointer("/histograms/refusal/us/min").and_then(Value::as_f64);
    assert!(shortest.is_some_and(|shortest| shortest >= 199_000.0), "{report}");
    server.await_silence();
}

#[test]
fn who_does_not_come_back_is_missing() {
    let server = Server::start(Manner::RefuseBetween(5, usize::MAX));
    let (code, report) = server.run(
        "storm --connections 5 --threads 2 --drop 0.4 --backoff-base 5ms --warmup 0 \
         --duration 50ms --settle 100ms",
    );
    assert_eq!((code, &report["verdict"]), (5, &Value::from("CONNECTIONS-MISSING")), "{report}");
    assert_eq!((figure(&report, "dropped"), figure(&report, "never_back")), (2, 2));
    assert_eq!(figure_of(&report, "recovered_90_seconds"), None);
    assert_eq!(figure(&report, "attempts"), server.accepted());
    server.await_silence();
}

#[test]
fn whoever_is_reset_in_a_storm_comes_back_and_is_lost() {
    let server = Server::start(Manner::ResetBetween(6, 10));
    let (code, report) =
        server.run("storm --connections 6 --threads 1 --backoff none --warmup 0 --duration 200ms");
    assert_eq!((code, number(&report, "/connections/lost")), (3, 4), "{report}");
    assert_eq!((figure(&report, "dropped"), figure(&report, "never_back")), (10, 0));
    assert_eq!((number(&report, "/connections/opened"), server.accepted()), (16, 16));
    assert_eq!(errors(&report), [("open", "reset", 4)]);
    server.await_silence();
}

#[test]
fn slow_readers_are_ended_and_the_others_do_not_notice() {
    let server = Server::start(Manner::Impatient);
    let (code, report) = server.run(
        "slow --connections 8 --slow 3 --threads 2 --load echo --closed --slow-send-rate 500 \
         --size 8192 --warmup 0 --duration 2s",
    );
    assert!(is_good(code), "{report}");
    assert_eq!((figure(&report, "slow_readers"), figure(&report, "slow_ended")), (3, 3));
    assert_eq!(figure(&report, "slow_ended_by_reset"), 3, "{report}");
    assert_eq!(number(&report, "/connections/lost"), 0);
    assert_eq!(errors(&report), []);
    let first = figure_of(&report, "slow_first_ended_seconds").expect("a time");
    let last = figure_of(&report, "slow_last_ended_seconds").expect("a time");
    assert!(0.0 < first && first <= last, "{first} {last}");
    assert_eq!(figure(&report, "slow_bytes_read"), 0);
    assert!(number(&report, "/messages/received") > 0);
    // The healthy ones close; nobody closes those that are gone.
    assert_eq!(number(&report, "/connections/closed_cleanly"), 5);
    server.await_silence();
}

#[test]
fn slow_readers_that_keep_up_stay() {
    for load in ["--closed", "--rate 200 --publishers 2"] {
        let server = Server::start(Manner::Broadcast);
        let (code, report) = server.run(&format!(
            "slow --connections 6 --slow 2 --threads 2 {load} --read-rate 1MiB --warmup 0 \
             --duration 500ms --receive-buffer 64KiB"
        ));
        assert!(is_good(code), "{report}");
        let ended = (figure(&report, "slow_readers"), figure(&report, "slow_ended"));
        assert_eq!(ended, (2, 0), "{load}");
        assert!(figure(&report, "slow_bytes_read") > 0, "{load}");
        assert!(number(&report, "/messages/received") > 0, "{load}");
        // Slow readers are no receivers of the measured load.
        assert_eq!(number(&report, "/messages/missing"), 0, "{load}");
        assert_eq!(number(&report, "/connections/closed_cleanly"), 6, "{load}");
    }
}
