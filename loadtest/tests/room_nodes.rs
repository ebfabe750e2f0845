//! `rooms` against several nodes that have their rooms in common.

#[allow(unreachable_pub)]
mod chat;

use chat::{Chat, assert_good, errors, figure, number, wrong};
use serde_json::Value;

/// A room of four members, in turn on each of two nodes, and all on one thread.
const ONE_ROOM: &str = "--rooms 1 --members 4 --threads 1 --rate 200 --duration 300ms --settle 1s";

/// Members that come back, long enough for the last of them.
const COME_BACK: &str = "--reconnect --backoff-base 50ms --duration 500ms --settle 10s";

fn count(report: &Value, histogram: &str) -> u64 {
    report["histograms"][histogram]["us"]["count"].as_u64().unwrap_or_default()
}

/// What was lost and told: gaps, deliveries, messages without a receiver, refusals.
fn told(report: &Value) -> [u64; 4] {
    ["gaps_told", "deliveries_told_lost", "unconfirmed", "room_unavailable"]
        .map(|name| figure(report, name))
}

fn note(report: &Value, part: &str) -> bool {
    let notes = report["notes"].as_array().expect("a list");
    notes.iter().any(|note| note.as_str().expect("a text").contains(part))
}

#[test]
fn a_room_spans_the_nodes_and_has_one_order() {
    let chat = Chat::start(&["well", "3"]);
    for (flags, members) in [
        ("--rooms 4 --members 6 --threads 1", 6),
        ("--rooms 4 --members 6 --threads 3", 6),
        ("--rooms 6 --members 4 --threads 5", 4),
    ] {
        let outcome = chat.run(&format!("{flags} --rate 300 --duration 300ms"));
        assert_good(&outcome);
        let report = outcome.1;
        let rooms = &report["config"]["rooms"];
        let span = (&rooms["nodes"], &rooms["nodes_per_room"], &rooms["order"]);
        assert_eq!(span, (&3.into(), &3.into(), &"room".into()), "{flags}");
        let sent = number(&report, "/messages/sent");
        assert!(sent > 0, "{flags}");
        assert_eq!(number(&report, "/messages/received"), sent * members, "{flags}");
        let others = number(&report, "/latency_us/count");
        let (same, cross) =
            (count(&report, "same_node_message"), count(&report, "cross_node_message"));
        assert_eq!((others, same + cross), (sent * (members - 1), others), "{flags}");
        if members == 6 {
            assert_eq!(cross, 4 * sent, "{flags}");
        }
        assert_eq!(figure(&report, "orders_not_compared"), 0, "{flags}");
        assert_eq!(told(&report), [0; 4], "{flags}");
    }
    let (_, report) = chat.run("--rooms 3 --members 2 --rate 100 --duration 100ms");
    assert!(note(&report, "on no more than 2 of 3 nodes"), "{report}");
}

#[test]
fn what_is_lost_is_missing_unless_it_was_told() {
    for (manner, code, faults, news) in [
        ("told", 0, [0, 0, 0, 0], [2, 2, 0, 0]),
        // What it took along came to nobody.
        ("epoch", 0, [0, 0, 0, 0], [4, 0, 1, 0]),
        ("away", 0, [0, 0, 0, 0], [0, 0, 0, 1]),
        ("shut", 0, [0, 0, 0, 0], [0, 0, 0, 1]),
        ("untold", 3, [2, 0, 0, 0], [0, 0, 0, 0]),
        ("double", 3, [0, 2, 0, 0], [0, 0, 0, 0]),
    ] {
        let chat = Chat::start(&[manner, "2"]);
        let (found, report) = chat.run(ONE_ROOM);
        assert!(found == code || code == 0 && found == 4, "{manner}: {report}");
        assert_eq!((wrong(&report), told(&report)), (faults, news), "{manner}: {report}");
        assert_eq!(errors(&report), [], "{manner}: {report}");
        assert_eq!(note(&report, "gaps were told"), news[0] > 0, "{manner}: {report}");
        assert_eq!(note(&report, "room unavailable"), news[3] > 0, "{manner}: {report}");
    }
}

#[test]
fn a_told_gap_stops_nobody() {
    for manner in ["told", "epoch", "away"] {
        let chat = Chat::start(&[manner, "2"]);
        let outcome =
            chat.run("--rooms 3 --members 4 --threads 2 --closed --duration 800ms --settle 3s");
        assert_good(&outcome);
        // Every member goes on with messages of its own, the one whose message was lost too.
        let (sent, received) =
            (number(&outcome.1, "/messages/sent"), number(&outcome.1, "/messages/received"));
        assert!(sent > 100 && received >= 4 * (sent - 3), "{manner}: {}", outcome.1);
    }
}

#[test]
fn nodes_with_orders_of_their_own_are_not_one_order() {
    for manner in ["fast", "split"] {
        let chat = Chat::start(&[manner, "2"]);
        let (code, report) = chat.run(ONE_ROOM);
        let [missing, duplicate, out_of_order, corrupt] = wrong(&report);
        assert_eq!((code, missing, duplicate, corrupt), (3, 0, 0, 0), "{manner}: {report}");
        assert!(out_of_order > 0, "{manner}: {report}");
    }
}

#[test]
fn each_publisher_has_an_order_on_every_node() {
    for (manner, code, faults) in [
        ("fast", 0, [0, 0, 0, 0]),
        ("fast-lost", 3, [2, 0, 0, 0]),
        ("fast-twice", 3, [0, 2, 0, 0]),
        // Told once, since the members of the node agree.
        ("fast-late", 3, [0, 0, 1, 0]),
    ] {
        let chat = Chat::start(&[manner, "2"]);
        let (found, report) = chat.run(&format!("{ONE_ROOM} --order publisher"));
        assert!(found == code || code == 0 && found == 4, "{manner}: {report}");
        assert_eq!((wrong(&report), told(&report)), (faults, [0; 4]), "{manner}: {report}");
        assert_eq!(errors(&report), [], "{manner}: {report}");
        assert_eq!(report["config"]["rooms"]["order"], "publisher");
    }
}

#[test]
fn members_come_back_to_the_next_node_and_get_what_they_missed() {
    for flags in [
        "--rooms 1 --members 4 --threads 1 --rate 200",
        "--rooms 3 --members 7 --threads 2 --rate 600",
        "--rooms 3 --members 7 --threads 2 --closed",
        "--rooms 3 --members 6 --threads 2 --rate 600 --rejoin-rate 40 --resume",
    ] {
        let chat = Chat::start(&["restart", "2"]);
        let outcome = chat.run(&format!("{flags} {COME_BACK}"));
        assert_good(&outcome);
        let report = outcome.1;
        let returned = figure(&report, "returned");
        assert!(returned >= 2, "{flags}: {report}");
        assert_eq!(figure(&report, "farewells"), returned, "{flags}: {report}");
        assert_eq!(count(&report, "back_in_room"), returned, "{flags}: {report}");
        assert_eq!(number(&report, "/connections/lost"), 0, "{flags}: {report}");
        assert_eq!(told(&report)[..2], [0, 0], "{flags}: {report}");
        if !flags.contains("closed") {
            let sent = number(&report, "/messages/sent");
            let members = report["config"]["rooms"]["members"].as_u64().expect("a number");
            let lost = figure(&report, "unconfirmed") * members;
            let received = number(&report, "/messages/received");
            assert!(received <= sent * members && received + lost >= sent * members, "{report}");
        }
    }
}

#[test]
fn what_a_dead_node_took_along_is_not_missing() {
    for flags in [
        "--rooms 1 --members 4 --threads 1 --rate 200",
        "--rooms 3 --members 7 --threads 2 --rate 600",
        "--rooms 3 --members 7 --threads 2 --closed",
    ] {
        let chat = Chat::start(&["kill", "2"]);
        let (code, report) = chat.run(&format!("{flags} {COME_BACK}"));
        assert_eq!((code, wrong(&report)), (3, [0; 4]), "{flags}: {report}");
        let lost = number(&report, "/connections/lost");
        assert!(lost >= 2, "{flags}: {report}");
        assert_eq!(figure(&report, "returned"), lost, "{flags}: {report}");
        assert_eq!(figure(&report, "never_back"), 0, "{flags}: {report}");
        let [gaps, told_lost, unconfirmed, _] = told(&report);
        assert_eq!((gaps, told_lost), (0, 0), "{flags}: {report}");
        assert!((1..=2 * lost).contains(&unconfirmed), "{flags}: {report}");
    }
}

#[test]
fn a_replay_that_is_not_whole_is_missing() {
    let chat = Chat::start(&["forget", "2"]);
    let flags = "--rooms 1 --members 4 --threads 1 --rate 400 --reconnect --backoff-base 5ms";
    let (code, report) = chat.run(&format!("{flags} --duration 500ms --settle 1s"));
    assert_eq!((code, wrong(&report)), (3, [2, 0, 0, 0]), "{report}");
    assert_eq!((figure(&report, "recovered"), told(&report)), (2, [0; 4]), "{report}");
}

#[test]
fn who_moves_to_a_node_with_an_order_of_its_own_is_told_to_have_missed() {
    let chat = Chat::start(&["fast-kill", "2"]);
    let flags = "--rooms 1 --members 6 --threads 1 --rate 400 --order publisher";
    let (code, report) = chat.run(&format!("{flags} {COME_BACK}"));
    assert_eq!((code, wrong(&report)), (3, [0; 4]), "{report}");
    assert_eq!((figure(&report, "returned"), figure(&report, "not_recovered")), (3, 3), "{report}");
    assert_eq!(errors(&report).len(), 1, "{report}");
}
