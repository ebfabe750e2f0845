//! `rooms` against a small chat server on Python's `websockets`, which is right or has one fault.
//! `scripts/test` installs what it needs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A chat server that lives until the test ends.
struct Chat {
    process: Child,
    url: String,
}

impl Chat {
    fn start(manner: &[&str]) -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let python = project.join(".deps/venv/bin/python");
        assert!(python.exists(), "{} is missing: run scripts/test", python.display());
        let mut process = Command::new(python)
            .arg(project.join("tests/clients/python_chat.py"))
            .args(manner)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the server says where it listens");
        let url = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Self { process, url }
    }

    /// Runs the program: its exit code and its report.
    fn run(&self, words: &str) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .arg("rooms")
            .args(words.split_ascii_whitespace())
            .args(["--url", &self.url, "--warmup", "0", "--interval", "100ms", "--json", "-"])
            .output()
            .expect("the program starts");
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().expect("no signal"), report)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn number(report: &Value, pointer: &str) -> u64 {
    let value = report.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in {report}"));
    value.as_u64().unwrap_or_else(|| panic!("{pointer} is {value}"))
}

/// A figure that only some scenarios have; 0 where it is not.
fn figure(report: &Value, name: &str) -> u64 {
    let figures = report["figures"].as_array().expect("a list");
    let found = figures.iter().find(|figure| figure["name"] == name);
    found.map_or(0, |figure| figure["value"].as_f64().expect("a number") as u64)
}

/// What was wrong with messages: missing, duplicate, out of order, corrupt.
fn wrong(report: &Value) -> [u64; 4] {
    ["missing", "duplicate", "out_of_order", "corrupt"]
        .map(|fault| number(report, &format!("/messages/{fault}")))
}

/// Kinds of errors, each with its count.
fn errors(report: &Value) -> Vec<(&str, u64)> {
    let errors = report["errors"].as_array().expect("a list").iter();
    let of = |error: &'_ Value| error["count"].as_u64().expect("a number");
    errors.map(|error| (error["kind"].as_str().expect("a text"), of(error))).collect()
}

/// Valid, or made on a machine that is too busy for more; and nothing was wrong.
fn assert_good((code, report): &(i32, Value)) {
    assert!([0, 4].contains(code), "{report}");
    assert_eq!((wrong(report), errors(report)), ([0; 4], Vec::new()), "{report}");
}

#[test]
fn every_message_reaches_every_member_of_its_room() {
    let chat = Chat::start(&[]);
    for flags in [
        "--rooms 3 --members 4 --threads 1",
        "--rooms 3 --connections 12 --threads 5 --size 56..1000",
        "--members 12 --connections 12 --threads 2 --poisson",
        "--rooms 12 --members 1",
    ] {
        let outcome = chat.run(&format!("{flags} --rate 300 --duration 300ms"));
        assert_good(&outcome);
        let report = outcome.1;
        let members = match flags {
            "--rooms 12 --members 1" => 1,
            _ if flags.starts_with("--rooms") => 4,
            _ => 12,
        };
        let sent = number(&report, "/messages/sent");
        assert!(sent > 0, "{flags}");
        assert_eq!(number(&report, "/messages/scheduled"), sent, "{flags}");
        assert_eq!(number(&report, "/messages/received"), sent * members, "{flags}");
        assert_eq!(number(&report, "/latency_us/count"), sent * (members - 1), "{flags}");
        assert_eq!(number(&report, "/histograms/own_message/us/count"), sent, "{flags}");
        if !flags.contains("--threads") {
            // On several threads a room may be on two of them.
            assert_eq!(number(&report, "/histograms/last_receiver/us/count"), sent, "{flags}");
        }
        assert_eq!(number(&report, "/histograms/join/us/count"), 12, "{flags}");
        assert_eq!(figure(&report, "orders_not_compared"), 0, "{flags}");
    }
}

#[test]
fn a_member_answers_its_own_message_with_the_next() {
    let chat = Chat::start(&[]);
    let outcome = chat.run("--rooms 2 --members 3 --threads 2 --closed --duration 200ms");
    assert_good(&outcome);
    let (sent, received) =
        (number(&outcome.1, "/messages/sent"), number(&outcome.1, "/messages/received"));
    assert!(sent >= 6, "{sent}");
    assert_eq!(received, 3 * sent);
}

#[test]
fn what_is_said_while_a_member_is_away_is_not_due() {
    let chat = Chat::start(&["late"]);
    let flags = "--rooms 2 --members 6 --threads 2 --rate 1000 --rejoin-rate 60 --duration 500ms";
    let outcome = chat.run(flags);
    assert_good(&outcome);
    let report = outcome.1;
    let not_due = figure(&report, "deliveries_not_due");
    assert!(figure(&report, "rejoins") > 0 && not_due > 0, "{report}");
    // Those that were not due may be of the time before the window.
    let (sent, received) =
        (number(&report, "/messages/sent"), number(&report, "/messages/received"));
    assert!(received < 6 * sent && received + not_due >= 6 * sent, "{report}");
}

#[test]
fn a_member_that_resumes_gets_what_it_missed() {
    let chat = Chat::start(&["late"]);
    let flags = "--rooms 2 --members 6 --threads 2 --rate 1000 --rejoin-rate 60 --duration 500ms \
        --resume";
    let outcome = chat.run(flags);
    assert_good(&outcome);
    let report = outcome.1;
    let rejoins = figure(&report, "rejoins");
    assert!(rejoins > 0, "{report}");
    assert_eq!(figure(&report, "recovered"), rejoins, "{report}");
    assert_eq!(figure(&report, "deliveries_not_due"), 0, "{report}");
    assert!(number(&report, "/histograms/recovered_message/us/count") > 0, "{report}");
    let sent = number(&report, "/messages/sent");
    assert_eq!(number(&report, "/messages/received"), 6 * sent, "{report}");
}

#[test]
fn each_fault_is_counted_as_what_it_is() {
    for (fault, counts) in [
        ("skip", [1, 0, 0, 0]),
        ("twice", [0, 1, 0, 0]),
        ("reorder", [0, 0, 1, 0]),
        ("exchange", [0, 0, 2, 0]),
        ("repeat", [0, 4, 0, 0]),
        // A text that is damaged never came.
        ("damage", [4, 0, 0, 4]),
    ] {
        let chat = Chat::start(&[fault]);
        let (code, report) = chat
            .run("--rooms 1 --members 4 --threads 1 --rate 200 --duration 200ms --settle 300ms");
        assert_eq!((code, wrong(&report)), (3, counts), "{fault}: {report}");
        assert_eq!(errors(&report), [], "{fault}: {report}");
    }
}

#[test]
fn errors_and_wrong_counts_are_told_apart() {
    for (fault, kind, count) in [
        ("refuse", "error: Rate limit exceeded", 1),
        // The second to join and the first, who is told of it.
        ("count", "protocol violation: a userCount that the room never has", 2),
    ] {
        let chat = Chat::start(&[fault]);
        let (code, report) = chat
            .run("--rooms 1 --members 4 --threads 1 --rate 200 --duration 200ms --settle 300ms");
        assert_eq!((code, wrong(&report)), (3, [0; 4]), "{fault}: {report}");
        assert_eq!(errors(&report), [(kind, count)], "{fault}: {report}");
        assert_eq!(number(&report, "/connections/lost"), 0, "{fault}");
    }
}

#[test]
fn a_member_that_is_not_let_in_again_gets_nothing_more() {
    let chat = Chat::start(&["bar"]);
    let (code, report) = chat.run(
        "--rooms 1 --members 6 --threads 2 --rate 200 --rejoin-rate 20 --duration 300ms \
         --settle 2s",
    );
    assert_eq!((code, wrong(&report)), (3, [0; 4]), "{report}");
    let [("error: You have left", count)] = errors(&report)[..] else { panic!("{report}") };
    assert!((1..=6).contains(&count), "{report}");
}

#[test]
fn a_member_whose_message_is_refused_speaks_again() {
    let chat = Chat::start(&["refuse"]);
    let (code, report) =
        chat.run("--rooms 1 --members 1 --threads 1 --closed --duration 300ms --settle 300ms");
    assert_eq!((code, wrong(&report)), (3, [0; 4]), "{report}");
    assert_eq!(errors(&report), [("error: Rate limit exceeded", 1)], "{report}");
    assert!(number(&report, "/messages/sent") > 5, "{report}");
}

#[test]
fn a_server_that_lets_nobody_in_ends_the_run() {
    let chat = Chat::start(&["silence"]);
    let (code, report) = chat.run("--rooms 1 --members 2 --threads 1 --rate 1 --duration 200ms");
    assert_eq!((code, number(&report, "/messages/sent")), (3, 0), "{report}");
    let reason = report["reasons"][0].as_str().expect("a reason");
    assert!(reason.contains("2 clients have asked to join"), "{reason}");
}

#[test]
fn rooms_that_do_not_divide_the_connections_are_refused() {
    for words in ["--rooms 3 --connections 10", "--rooms 3", "--rooms 2 --members 2 --size 1001"] {
        let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args(["rooms", "--rate", "1", "--url", "ws://127.0.0.1:1/"])
            .args(words.split_ascii_whitespace())
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{words}");
    }
}
