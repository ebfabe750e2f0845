//! The program against a server that is well-behaved, or not: what it reports and how it ends.

#[allow(unreachable_pub, missing_docs, dead_code)]
mod common;

use std::net::TcpListener;

use common::{Manner, Server, program, report};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn number(report: &Value, pointer: &str) -> u64 {
    let value = report.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in {report}"));
    value.as_u64().unwrap_or_else(|| panic!("{pointer} is {value}"))
}

/// A figure that only one scenario has.
fn figure(report: &Value, name: &str) -> f64 {
    let figures = report["figures"].as_array().expect("a list");
    let figure = figures.iter().find(|figure| figure["name"] == name).expect(name);
    figure["value"].as_f64().expect("a number")
}

/// Valid, or made on a machine that is too busy for more.
fn is_good(code: i32) -> bool {
    code == 0 || code == 4
}

#[test]
fn idle_connections_are_held_and_closed() {
    let server = Server::start(Manner::Echo);
    let (code, report) = server.run("idle --connections 40 --threads 3 --duration 100ms");
    assert_eq!((code, &report["verdict"]), (0, &Value::from("VALID")), "{report}");
    assert_eq!(number(&report, "/connections/opened"), 40);
    assert_eq!(number(&report, "/connections/closed_cleanly"), 40);
    assert_eq!(number(&report, "/histograms/handshake/us/count"), 40);
    assert_eq!(report["errors"], Value::Array(Vec::new()));
}

#[test]
fn idle_connections_may_leave_with_a_reset_and_come_slowly() {
    let server = Server::start(Manner::Echo);
    let (code, report) =
        server.run("idle --connections 5 --connect-rate 100 --duration 1ms --leave abort");
    assert_eq!(code, 0, "{report}");
    assert_eq!(number(&report, "/connections/closed_cleanly"), 0);
    let seconds = report["connections"]["connect_seconds"].as_f64().expect("a number");
    assert!(seconds >= 0.01, "{seconds}");
}

#[test]
fn a_connection_the_server_closes_is_lost() {
    let server = Server::start(Manner::CloseThird);
    let (code, report) = server.run("idle --connections 5 --duration 2s");
    assert_eq!((code, &report["verdict"]), (3, &Value::from("SERVER-ERRORS")), "{report}");
    assert_eq!(number(&report, "/connections/lost"), 1);
    assert_eq!(number(&report, "/connections/pings_answered"), 5);
    assert_eq!(report["errors"][0]["kind"], "close frame 1001");
}

#[test]
fn echoes_come_back_whole_in_every_shape() {
    let server = Server::start(Manner::Echo);
    for shape in ["--size 0", "--size 5 --text", "--size 300 --depth 7", "--size 150000 --text"] {
        let (code, report) = server
            .run(&format!("echo --closed --connections 4 --warmup 10ms --duration 200ms {shape}"));
        assert!(is_good(code), "{shape}: {report}");
        let received = number(&report, "/messages/received");
        assert!(received > 0, "{shape}");
        assert_eq!(number(&report, "/latency_us/count"), received, "{shape}");
    }
}

#[test]
fn damage_is_noticed() {
    let server = Server::start(Manner::Damage);
    let (code, report) =
        server.run("echo --closed --connections 3 --warmup 0 --duration 200ms --size 100");
    assert_eq!((code, number(&report, "/messages/corrupt")), (3, 1), "{report}");
}

#[test]
fn a_swallowed_message_is_missing() {
    let server = Server::start(Manner::Swallow);
    let (code, report) =
        server.run("echo --closed --connections 3 --warmup 0 --duration 200ms --settle 200ms");
    assert_eq!((code, number(&report, "/messages/missing")), (3, 1), "{report}");
}

#[test]
fn broadcast_rounds_reach_everyone_once() {
    let server = Server::start(Manner::Broadcast);
    for flags in ["--threads 1", "--threads 3", "--threads 2 --text --size 200"] {
        let (code, report) = server.run(&format!(
            "broadcast --closed --connections 6 --warmup 10ms --duration 300ms {flags}"
        ));
        assert!(is_good(code), "{flags}: {report}");
        assert!(figure(&report, "rounds") > 0.0, "{flags}");
        assert!(number(&report, "/messages/received") > 0, "{flags}");
        // The server of the test never forgets a member.
        server.forget_members();
    }
}

#[test]
fn published_messages_reach_everyone() {
    let server = Server::start(Manner::Broadcast);
    for flags in ["--threads 1", "--threads 2 --publishers 3 --text --size 80", "--poisson"] {
        let (code, report) = server.run(&format!(
            "broadcast --rate 200 --connections 6 --warmup 0 --duration 300ms {flags}"
        ));
        assert!(is_good(code), "{flags}: {report}");
        let sent = number(&report, "/messages/sent");
        assert!(sent > 0, "{flags}");
        assert_eq!(number(&report, "/messages/scheduled"), sent, "{flags}");
        assert_eq!(number(&report, "/messages/received"), 6 * sent, "{flags}");
        assert_eq!(number(&report, "/latency_us/count"), 6 * sent, "{flags}");
        assert_eq!(number(&report, "/histograms/last_receiver/us/count"), sent, "{flags}");
        server.forget_members();
    }
}

#[test]
fn wrong_deliveries_of_an_open_loop_are_counted() {
    for (manner, fault) in [
        (Manner::Repeat, "duplicate"),
        (Manner::Forget, "missing"),
        (Manner::Reorder, "out_of_order"),
    ] {
        let server = Server::start(manner);
        let (code, report) = server
            .run("broadcast --rate 200 --connections 4 --warmup 0 --duration 200ms --settle 200ms");
        assert_eq!(code, 3, "{fault}: {report}");
        assert_eq!(number(&report, &format!("/messages/{fault}")), 1, "{report}");
    }
}

#[test]
fn a_message_that_comes_again_does_not_stand_for_one_that_never_came() {
    let server = Server::start(Manner::Cover);
    let (code, report) = server
        .run("broadcast --rate 200 --connections 4 --warmup 0 --duration 200ms --settle 200ms");
    assert_eq!(code, 3, "{report}");
    for (fault, count) in [("missing", 1), ("duplicate", 1), ("out_of_order", 0)] {
        assert_eq!(number(&report, &format!("/messages/{fault}")), count, "{report}");
    }
}

#[test]
fn the_last_receiver_is_known_after_one_is_lost() {
    let server = Server::start(Manner::Expel);
    let (code, report) = server.run(
        "broadcast --rate 200 --publishers 4 --connections 4 --threads 2 --warmup 0 --duration 1s",
    );
    assert_eq!((code, number(&report, "/connections/lost")), (3, 1), "{report}");
    let found = number(&report, "/histograms/last_receiver/us/count");
    // Those that were on their way have nobody whom they reach last.
    assert!(found > number(&report, "/messages/sent") / 2, "{found}: {report}");
}

#[test]
fn a_schedule_is_kept_and_answered() {
    let server = Server::start(Manner::Echo);
    for flags in ["", "--depth 3 --threads 3", "--poisson", "--size 10..300 --text"] {
        let (code, report) = server
            .run(&format!("rate --rate 500 --connections 7 --warmup 0 --duration 1s {flags}"));
        assert!(is_good(code), "{flags}: {report}");
        let sent = number(&report, "/messages/sent");
        if flags.contains("poisson") {
            assert!((300..700).contains(&sent), "{sent}");
        } else {
            // One more or less for each thread.
            assert!((497..=503).contains(&sent), "{flags}: {sent}");
        }
        for equal in ["/messages/scheduled", "/messages/received", "/latency_us/count"] {
            assert_eq!(number(&report, equal), sent, "{flags} {equal}");
        }
        assert_eq!(number(&report, "/latency_uncorrected_us/count"), sent, "{flags}");
    }
}

#[test]
fn a_lost_answer_is_one_missing_message_and_no_more() {
    for load in ["echo --closed --depth 4", "rate --rate 400 --depth 4"] {
        let server = Server::start(Manner::Swallow);
        let (code, report) =
            server.run(&format!("{load} --connections 1 --warmup 0 --duration 300ms --settle 5s"));
        assert_eq!((code, number(&report, "/messages/missing")), (3, 1), "{load}: {report}");
        for none in ["corrupt", "duplicate", "shed"] {
            assert_eq!(number(&report, &format!("/messages/{none}")), 0, "{load}: {report}");
        }
    }
}

#[test]
fn a_greeting_is_no_answer() {
    let server = Server::start(Manner::Greet);
    for load in ["echo --closed", "rate --rate 100"] {
        let (code, report) =
            server.run(&format!("{load} --connections 4 --warmup 0 --duration 200ms"));
        assert!(is_good(code), "{load}: {report}");
        assert!(report["notes"].to_string().contains("none of this run"), "{load}: {report}");
    }
}

#[test]
fn nothing_is_counted_twice_when_the_time_is_up() {
    let server = Server::start(Manner::Slow);
    for load in ["echo --closed", "rate --rate 2000"] {
        let (_, report) =
            server.run(&format!("{load} --connections 4 --warmup 0 --duration 300ms --settle 0"));
        let of = |name: &str| number(&report, &format!("/messages/{name}"));
        assert_eq!(of("scheduled"), of("sent") + of("shed"), "{load}: {report}");
        // What was lost before the window is missing as well.
        assert!(of("received") <= of("sent"), "{load}: {report}");
        assert!(of("received") + of("missing") >= of("sent"), "{load}: {report}");
    }
}

#[test]
fn rates_are_those_of_the_window_however_long_messages_wait() {
    let server = Server::start(Manner::Slow);
    let (_, report) = server.run(
        "rate --rate 4000 --connections 2 --warmup 1s --duration 550ms --settle 10s --threads 1",
    );
    let rate = |name: &str| report["rate"][name].as_f64().expect("a number");
    // Each connection is answered every 5 ms or more.
    assert!((20.0..500.0).contains(&rate("received")), "{report}");
    assert!((20.0..500.0).contains(&rate("achieved")), "{report}");
    assert!(rate("ratio") < 0.2, "{report}");
}

#[test]
fn what_cannot_be_sent_is_shed_and_counted() {
    let server = Server::start(Manner::Swallow);
    let (code, report) = server.run(
        "rate --rate 500 --connections 1 --warmup 0 --duration 500ms --settle 100ms --waiting 10",
    );
    assert_eq!(code, 3, "{report}");
    assert_eq!(number(&report, "/messages/missing"), 1, "{report}");
    let of = |name: &str| number(&report, &format!("/messages/{name}"));
    assert_eq!(of("scheduled"), of("received") + of("shed"), "{report}");
}

#[test]
fn what_the_server_does_not_read_is_shed() {
    let server = Server::start(Manner::Deaf);
    // Far more than sockets hold.
    let (code, report) = server.run(
        "broadcast --rate 1000 --connections 2 --warmup 0 --duration 500ms --settle 1ms \
         --size 1MiB --leave abort",
    );
    assert_eq!(code, 3, "{report}");
    let of = |name: &str| number(&report, &format!("/messages/{name}"));
    assert!(of("shed") > 0, "{report}");
    assert_eq!(of("scheduled"), of("sent") + of("shed"), "{report}");
    assert_eq!(number(&report, "/connections/lost"), 0, "{report}");
}

#[test]
fn pongs_for_a_server_that_reads_none_are_bounded() {
    let server = Server::start(Manner::Nag);
    let (code, report) = server.run("idle --connections 1 --duration 3s --leave abort");
    assert_eq!((code, number(&report, "/connections/lost")), (3, 1), "{report}");
    assert_eq!(report["errors"][0]["kind"], "the server stopped reading");
}

#[test]
fn a_repeated_message_is_a_duplicate() {
    let server = Server::start(Manner::Repeat);
    let (code, report) = server.run(
        "broadcast --closed --connections 4 --threads 1 --warmup 0 --duration 300ms --settle 200ms",
    );
    assert_eq!(code, 3, "{report}");
    assert!(number(&report, "/messages/duplicate") > 0, "{report}");
}

#[test]
fn pings_between_messages_change_nothing() {
    let server = Server::start(Manner::Chatter);
    let (code, report) =
        server.run("broadcast --closed --connections 4 --threads 1 --warmup 0 --duration 300ms");
    assert!(is_good(code), "{report}");
    assert_eq!(number(&report, "/connections/pings_answered"), 3 * 4, "{report}");
}

#[test]
fn a_message_that_one_client_does_not_get_is_missing() {
    let server = Server::start(Manner::Forget);
    let (code, report) = server.run(
        "broadcast --closed --connections 4 --threads 1 --warmup 0 --duration 100ms --settle 200ms",
    );
    assert_eq!((code, number(&report, "/messages/missing")), (3, 1), "{report}");
}

#[test]
fn different_orders_are_noticed() {
    let server = Server::start(Manner::Reorder);
    let (code, report) =
        server.run("broadcast --closed --connections 4 --warmup 0 --duration 300ms");
    assert_eq!(code, 3, "{report}");
    assert!(number(&report, "/messages/out_of_order") > 0, "{report}");
}

#[test]
fn refused_connections_are_missing() {
    let server = Server::start(Manner::RefuseFourth);
    let (code, report) = server.run("idle --connections 5 --duration 1ms");
    assert_eq!((code, number(&report, "/connections/opened")), (5, 3), "{report}");
    assert_eq!(report["errors"][0]["kind"], "HTTP status 503");
}

#[test]
fn an_interrupted_run_still_reports() {
    let server = Server::start(Manner::Echo);
    let child = server.start_program("idle --connections 4 --duration 1h");
    server.await_members(4);
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).expect("the program runs");
    let (code, report) = report(child);
    assert_eq!((code, &report["verdict"]), (130, &Value::from("INTERRUPTED")), "{report}");
}

#[test]
fn a_run_without_a_server_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    drop(listener);
    let words = format!("echo --closed --url ws://{address}/ --connections 1000 --json -");
    let (code, report) = report(program(&words));
    assert_eq!((code, &report["verdict"]), (1, &Value::from("COULD-NOT-RUN")), "{report}");
    assert_eq!(report["errors"][0]["kind"], "connection refused");
}

#[test]
fn wrong_arguments_have_a_code_of_their_own() {
    for words in ["echo", "idle --url ws://127.0.0.1:1/ --connections 1 --rate 5"] {
        let output = program(words).wait_with_output().expect("the program ends");
        assert_eq!(output.status.code(), Some(2), "{words}");
    }
}
