//! `rooms` against a small chat server on Python's `websockets`, which is right or has one fault.

#[allow(unreachable_pub)]
mod chat;

use std::process::Command;

use chat::{Chat, assert_good, errors, figure, number, wrong};

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
