//! Figures that must be true whatever the server does: latencies, rates, and the verdict.

#[allow(unreachable_pub, missing_docs, dead_code)]
mod common;

use std::fs;
use std::path::Path;

use common::{Manner, STALL, Server, program};
use serde_json::Value;

fn number(report: &Value, pointer: &str) -> f64 {
    let value = report.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in {report}"));
    value.as_f64().unwrap_or_else(|| panic!("{pointer} is {value}"))
}

/// The experiment of wrk2: a server that stops for a while is seen by all who would have asked,
/// and not only by those who were waiting.
#[test]
fn a_stall_is_seen_by_everyone_who_was_due_in_it() {
    let server = Server::start(Manner::Stall);
    let (_, report) =
        server.run("rate --rate 2000 --connections 100 --warmup 0 --duration 10s --threads 1");
    let corrected = number(&report, "/latency_us/p99");
    let uncorrected = number(&report, "/latency_uncorrected_us/p99");
    // One message of seven was due in the stall, and one of hundred in its first 0.1 s.
    let expected = STALL.as_secs_f64() * 1e6 - 100_000.0;
    assert!((0.9..1.3).contains(&(corrected / expected)), "{corrected} µs\n{report}");
    assert!(uncorrected < corrected / 2.0, "{uncorrected} µs of {corrected}");
    let gap = report["latency_gap"].as_str().expect("a sentence");
    assert!(gap.contains("began late"), "{gap}");
    assert_eq!(number(&report, "/messages/received"), number(&report, "/messages/scheduled"));
}

/// Little's law: connections = rate × latency, when each always has one message in flight.
#[test]
fn rate_and_latency_of_a_closed_loop_agree() {
    let server = Server::start(Manner::Echo);
    for depth in [1.0, 4.0] {
        let (_, report) = server.run(&format!(
            "echo --closed --connections 16 --depth {depth} --warmup 0 --duration 2s --threads 1"
        ));
        let rate =
            number(&report, "/messages/received") / number(&report, "/messages/measured_seconds");
        let in_flight = rate * number(&report, "/latency_us/mean") * 1e-6;
        let ratio = in_flight / (16.0 * depth);
        assert!((0.95..1.05).contains(&ratio), "depth {depth}: {in_flight} in flight");
    }
}

#[test]
fn intervals_add_up_to_the_run() {
    let server = Server::start(Manner::Echo);
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("intervals");
    let (_, report) = server.run(&format!(
        "rate --rate 1000 --connections 20 --duration 1950ms --threads 2 --out {}",
        out.display()
    ));
    let rows = fs::read_to_string(out.join("timeseries.ndjson")).expect("a time series");
    let rows: Vec<Value> =
        rows.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect();
    let measured = |row: &&Value| row["phase"] == "measure" || row["phase"] == "settle";
    let sum = |name: &str| rows.iter().filter(measured).map(|row| number(row, name)).sum::<f64>();
    assert_eq!(sum("/sent"), number(&report, "/messages/sent"));
    assert_eq!(sum("/received"), number(&report, "/messages/received"));
    assert_eq!(sum("/latency_us/count"), number(&report, "/latency_us/count"));
    let seconds: f64 =
        rows.iter().filter(|row| row["phase"] == "measure").map(|row| number(row, "/length")).sum();
    assert!((seconds - 1.95).abs() < 1e-6, "{seconds} s");
    let steps = ["min", "p50", "p75", "p90", "p99", "p99_9", "p99_99", "max"];
    let percentiles = steps.map(|step| number(&report, &format!("/latency_us/{step}")));
    assert!(percentiles.is_sorted(), "{percentiles:?}");
}

/// The server answers one message at a time after 5 ms: two connections get 400 a second.
#[test]
fn a_search_finds_where_the_promise_breaks() {
    let server = Server::start(Manner::Slow);
    let search = "--connections 2 --duration 500ms --warmup 0 --slo p90<200ms --from 50 \
                  --allow-generator-bound";
    for (command, flags) in [("capacity", "--precision 0.2"), ("ramp", "--step 100")] {
        let (code, report) = server.run(&format!("{command} {search} {flags} --to 3000"));
        assert_eq!(code, 0, "{report}");
        let found = &report["figures"][0];
        assert_eq!(found["name"], "capacity_messages_per_second");
        let found = found["value"].as_f64().expect("a number");
        assert!((50.0..700.0).contains(&found), "{found}: {report}");
        let steps = report["steps"].as_array().expect("steps");
        assert!(steps.iter().any(|step| step["passed"] == false), "{report}");
    }
    let (code, report) = server.run(&format!("capacity {search} --slo p50<1us"));
    assert_eq!((code, &report["verdict"]), (3, &Value::from("GATE-FAILED")), "{report}");
}

#[test]
fn connections_are_searched_up_to_what_the_server_takes() {
    let server = Server::start(Manner::RefuseFourth);
    let (_, report) = server.run(
        "capacity --of connections --connections 64 --from 1 --per-connection 10 --duration 200ms \
         --warmup 0 --slo p50<10s --allow-generator-bound",
    );
    // The server counts all that ever came: one and two make three.
    assert_eq!(number(&report, "/figures/0/value"), 2.0, "{report}");
}

#[test]
fn gates_fail_a_run() {
    let server = Server::start(Manner::Echo);
    let run = "rate --rate 100 --connections 2 --duration 200ms --allow-generator-bound --fail-if";
    let (code, report) = server.run(&format!("{run} p50>0us --fail-if missing>0"));
    assert_eq!((code, &report["verdict"]), (3, &Value::from("GATE-FAILED")), "{report}");
    let reasons = report["reasons"].as_array().expect("a list");
    assert!(reasons[0].as_str().is_some_and(|reason| reason.contains("p50>0us")), "{report}");
    let relative = program(&format!("{run} p99>+5% --url ws://127.0.0.1:1"));
    assert_eq!(relative.wait_with_output().expect("it ends").status.code(), Some(2));
}
