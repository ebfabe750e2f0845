//! Figures that must be true whatever the server does: latencies, rates, and the verdict.

#[allow(unreachable_pub, missing_docs, dead_code)]
mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Manner, STALL, Server};
use ringwire::ring::{allowed_cpus, pin_to_cpu};
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
    assert!(uncorrected < corrected / 4.0, "{uncorrected} µs of {corrected}");
    let gap = report["latency_gap"].as_str().expect("a sentence");
    assert!(gap.contains("left late"), "{gap}");
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
fn a_generator_whose_processor_is_taken_says_so() {
    let server = Server::start(Manner::Echo);
    let cpu = *allowed_cpus().expect("processors").last().expect("one");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                pin_to_cpu(cpu).expect("an allowed processor");
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let (code, report) = server.run(&format!(
            "rate --rate 5000 --connections 50 --duration 2s --cpus {cpu} --threads 1"
        ));
        is_over.store(true, Ordering::Relaxed);
        assert_eq!((code, &report["verdict"]), (4, &Value::from("GENERATOR-BOUND")), "{report}");
        assert_ne!(report["reasons"], Value::Array(Vec::new()));
    });
}
