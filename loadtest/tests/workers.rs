//! Runs of several processes: workers and a coordinator against the server of the tests.

#[allow(dead_code, unreachable_pub, missing_docs)]
mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

use common::{Manner, Server, Worker, program, report};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// So many workers, and the flag that names them.
fn workers(count: usize) -> (Vec<Worker>, String) {
    let workers: Vec<Worker> = (0..count).map(|_| Worker::start("")).collect();
    let addresses: Vec<&str> = workers.iter().map(|worker| worker.address.as_str()).collect();
    let flag = format!("--workers {}", addresses.join(","));
    (workers, flag)
}

fn number(report: &Value, pointer: &str) -> u64 {
    let value = report.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in {report}"));
    value.as_u64().unwrap_or_else(|| panic!("{pointer} is {value}"))
}

/// Valid, or made on a machine that is too busy for more.
fn is_good(code: i32) -> bool {
    code == 0 || code == 4
}

/// A folder of a test for results.
fn folder(test: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(test)
}

fn rows(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("timeseries.ndjson")).expect("a time series");
    text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

/// The intervals that two workers told are those of one run.
fn check_intervals(folder: &Path, summary: &Value) {
    let rows = rows(folder);
    let measured: Vec<&Value> = rows.iter().filter(|row| row["phase"] == "measure").collect();
    let times: Vec<f64> = measured.iter().map(|row| row["t"].as_f64().expect("one")).collect();
    let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(steps.clone().all(|step| (step - 0.1).abs() < 1e-6), "{times:?}");
    for row in measured {
        assert_eq!(row["connections"], summary["connections"]["opened"], "{row}");
    }
    let counts = rows.iter().map(|row| number(row, "/latency_us/count"));
    assert_eq!(counts.sum::<u64>(), number(summary, "/latency_us/count"));
}

#[test]
fn echoes_of_two_processes_are_those_of_one_run() {
    let server = Server::start(Manner::Echo);
    let (_workers, flag) = workers(2);
    let out = folder("workers-echo");
    let (code, report) = server.run(&format!(
        "echo --closed --connections 5 --warmup 100ms --duration 500ms {flag} --out {}",
        out.display()
    ));
    assert!(is_good(code), "{report}");
    let (sent, received) =
        (number(&report, "/messages/sent"), number(&report, "/messages/received"));
    assert!(sent > 0 && sent == received, "{report}");
    assert_eq!(number(&report, "/latency_us/count"), received);
    assert_eq!(
        (number(&report, "/connections/requested"), number(&report, "/connections/opened")),
        (5, 5)
    );
    assert_eq!(number(&report, "/connections/closed_cleanly"), 5);
    assert_eq!(number(&report, "/config/processes"), 2);
    let notes = report["notes"].as_array().expect("a list");
    let clocks = |note: &Value| note.as_str().is_some_and(|note| note.contains("2 workers agree"));
    assert!(notes.iter().any(clocks), "{notes:?}");
    let command = report["environment"]["command"].as_array().expect("a list");
    assert!(command.contains(&Value::from("--workers")), "{command:?}");
    check_intervals(&out, &report);
}

#[test]
fn a_schedule_is_divided_without_a_rest() {
    let server = Server::start(Manner::Echo);
    let (_workers, flag) = workers(3);
    let out = folder("workers-rate");
    let (code, report) = server.run(&format!(
        "rate --rate 500 --connections 7 --threads 1 --warmup 0 --duration 1s {flag} --out {}",
        out.display()
    ));
    assert!(is_good(code), "{report}");
    let sent = number(&report, "/messages/sent");
    // One more or less for each process.
    assert!((497..=503).contains(&sent), "{sent}");
    for equal in ["/messages/scheduled", "/messages/received", "/latency_us/count"] {
        assert_eq!(number(&report, equal), sent, "{equal}");
    }
    assert_eq!(report["rate"]["target"], 500.0);
    check_intervals(&out, &report);
}

#[test]
fn messages_of_every_process_reach_everyone() {
    let server = Server::start(Manner::Broadcast);
    let (_workers, flag) = workers(2);
    for (connections, publishers) in [(6, 3), (5, 5)] {
        let out = folder(&format!("workers-broadcast-{publishers}"));
        let (code, report) = server.run(&format!(
            "broadcast --rate 200 --connections {connections} --publishers {publishers} \
             --warmup 0 --duration 500ms {flag} --out {}",
            out.display()
        ));
        assert!(is_good(code), "{report}");
        let sent = number(&report, "/messages/sent");
        assert!(sent > 0 && sent == number(&report, "/messages/scheduled"), "{report}");
        for equal in ["/messages/received", "/latency_us/count"] {
            assert_eq!(number(&report, equal), connections * sent, "{equal}");
        }
        for none in ["missing", "duplicate", "out_of_order", "corrupt"] {
            assert_eq!(number(&report, &format!("/messages/{none}")), 0, "{none}");
        }
        assert!(report.pointer("/histograms/last_receiver").is_none());
        check_intervals(&out, &report);
        server.forget_members();
    }
}

#[test]
fn what_one_process_misses_is_missing() {
    let server = Server::start(Manner::Forget);
    let (_workers, flag) = workers(2);
    let (code, report) = server.run(&format!(
        "broadcast --rate 200 --connections 4 --publishers 4 --warmup 0 --duration 300ms \
         --settle 300ms {flag}"
    ));
    assert_eq!((code, number(&report, "/messages/missing")), (3, 1), "{report}");
}

#[test]
fn a_worker_that_dies_is_named() {
    let server = Server::start(Manner::Echo);
    let (workers, flag) = workers(2);
    let run = server.start_program(&format!("idle --connections 4 --duration 1h {flag}"));
    server.await_members(4);
    workers[1].signal(Signal::KILL);
    let (code, report) = report(run);
    assert_eq!((code, &report["verdict"]), (1, &Value::from("COULD-NOT-RUN")), "{report}");
    let reason = report["reasons"][0].as_str().expect("a reason");
    assert!(reason.contains(&workers[1].address), "{reason}");
    assert_eq!(number(&report, "/connections/requested"), 4);
    assert_eq!(number(&report, "/config/processes"), 1);
}

#[test]
fn an_interrupted_run_is_reported_and_its_workers_take_the_next() {
    let server = Server::start(Manner::Echo);
    let (_workers, flag) = workers(2);
    let run = server.start_program(&format!("idle --connections 4 --duration 1h {flag}"));
    server.await_members(4);
    kill_process(Pid::from_child(&run), Signal::INT).expect("the program runs");
    let (code, report) = report(run);
    assert_eq!((code, &report["verdict"]), (130, &Value::from("INTERRUPTED")), "{report}");
    let (code, report) = server.run(&format!("idle --connections 4 --duration 100ms {flag}"));
    assert_eq!((code, number(&report, "/connections/closed_cleanly")), (0, 4), "{report}");
}

#[test]
fn a_worker_that_is_ended_ends_the_run() {
    let server = Server::start(Manner::Echo);
    let (mut workers, flag) = workers(2);
    let run = server.start_program(&format!("idle --connections 4 --duration 1h {flag}"));
    server.await_members(4);
    workers[0].signal(Signal::TERM);
    let (code, report) = report(run);
    assert_eq!((code, &report["verdict"]), (130, &Value::from("INTERRUPTED")), "{report}");
    assert_eq!(number(&report, "/config/processes"), 2);
    let ended = workers[0].child.wait().expect("the worker ends");
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_worker_may_end_after_one_run_or_while_it_waits() {
    let server = Server::start(Manner::Echo);
    let mut once = Worker::start("--once");
    let (code, report) =
        server.run(&format!("idle --connections 2 --duration 100ms --workers {}", once.address));
    assert_eq!((code, number(&report, "/connections/opened")), (0, 2), "{report}");
    assert_eq!(once.child.wait().expect("the worker ends").code(), Some(0));
    let mut waiting = Worker::start("");
    waiting.signal(Signal::TERM);
    assert_eq!(waiting.child.wait().expect("the worker ends").code(), Some(0));
}

#[test]
fn other_versions_refuse_each_other() {
    let worker = Worker::start("");
    let mut stream = TcpStream::connect(&worker.address).expect("the worker listens");
    let hello = r#"{"Hello":{"protocol":1,"version":"0.0.0","secret":"","place":""}}"#;
    stream.write_all(format!("{hello}\n").as_bytes()).expect("room in the socket");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("a line");
    assert!(answer.contains("Refused") && answer.contains("same version"), "{answer}");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a coordinator");
        let answered = stream.write_all(format!("{hello}\n").as_bytes());
        answered.expect("room in the socket");
        // Until the coordinator hangs up.
        let _ = BufReader::new(stream).lines().count();
    });
    let error = failure(&format!("--workers {address}"));
    assert!(error.contains("same version") && error.contains(&address.to_string()), "{error}");
}

#[test]
fn a_secret_is_asked_for() {
    let server = Server::start(Manner::Echo);
    let file = |name: &str, secret: &str| {
        let path = folder(name);
        fs::write(&path, secret).expect("a writable folder");
        path.display().to_string()
    };
    let (right, wrong) = (file("right-secret", "open sesame\n"), file("wrong-secret", "open\n"));
    let worker = Worker::start(&format!("--secret {right}"));
    let flag = format!("--workers {}", worker.address);
    for flags in [flag.clone(), format!("{flag} --secret {wrong}")] {
        let error = failure(&flags);
        assert!(error.contains("secret is another"), "{error}");
    }
    let words = format!("idle --connections 2 --duration 100ms {flag} --secret {right}");
    let (code, report) = server.run(&words);
    assert_eq!((code, number(&report, "/connections/opened")), (0, 2), "{report}");
}

#[test]
fn what_cannot_be_made_together_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    drop(listener);
    let error = failure(&format!("--workers {address}"));
    assert!(error.contains(&format!("loadtest worker --listen {address}")), "{error}");

    let words = "broadcast --closed --url ws://127.0.0.1:1/ --connections 2 --workers 127.0.0.1:1";
    let output = program(words).wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(2));

    let worker = Worker::start("");
    let error = failure(&format!("--workers {} --cpus 4095", worker.address));
    assert!(error.contains(&worker.address) && error.contains("4095"), "{error}");
}

/// What a run says that cannot begin.
fn failure(flags: &str) -> String {
    let words = format!("idle --url ws://127.0.0.1:1/ --connections 2 {flags}");
    let output = program(&words).wait_with_output().expect("the program ends");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    error
}

#[test]
fn clients_that_come_back_do_so_in_every_process() {
    let server = Server::start(Manner::Echo);
    let (_workers, flag) = workers(2);
    let (code, report) = server.run(&format!(
        "churn --connections 6 --churn-rate 60 --lifetime 20ms --warmup 0 --duration 1s {flag}"
    ));
    assert!(is_good(code), "{report}");
    let opened = number(&report, "/connections/opened");
    // One more or less for each thread, and those of the beginning.
    assert!((50..=75).contains(&opened), "{opened}");
    assert_eq!(number(&report, "/messages/missing"), 0);
}

#[test]
fn a_search_takes_its_steps_in_the_workers() {
    let server = Server::start(Manner::Echo);
    let (_workers, flag) = workers(2);
    let (code, report) = server.run(&format!(
        "ramp --connections 4 --from 100 --to 200 --step 100 --slo p99<10s --warmup 0 \
         --duration 300ms --allow-generator-bound {flag}"
    ));
    assert_eq!(code, 0, "{report}");
    let steps = report["steps"].as_array().expect("a list");
    let rates: Vec<_> = steps.iter().map(|step| step["rate"].as_f64()).collect();
    assert_eq!(rates, [Some(100.0), Some(200.0)], "{report}");
    assert_eq!(number(&report, "/config/processes"), 2);
}
