//! Tests of the page.

use super::*;
use crate::observe::{Flows, MemoryOverview};
use crate::top::words::width;

fn overview() -> Overview {
    let times = Percentiles { count: 9, p50: 12e-6, p90: 5e-5, p99: 1.2e-3, p999: 0.03, max: 3.4 };
    Overview {
        version: "0.1.0".to_owned(),
        pid: 4321,
        timestamp: 1_700_000_045_999,
        uptime_seconds: 273_600.0,
        state: ServerState::Serving,
        connections: 120_345,
        connections_max: 400_000,
        handshakes_in_progress: 3,
        totals: Flows { closed: 7, messages_received: 12_345_678, ..Flows::default() },
        rates: Flows { messages_received: 1.2e6, bytes_sent: 3.4 * 1048576.0, ..Flows::default() },
        latency_seconds: 4.001,
        handshake: times,
        turn: times,
        fan_out: Percentiles::default(),
        outbound_delay: times,
        shards: shards_of(2),
        memory: MemoryOverview {
            resident_bytes: 50 << 20,
            resident_bytes_per_connection: 436.0,
            kernel_socket_bytes: 8192,
        },
        rooms: 2,
        room_members: 1_100,
        top_rooms: vec![room("lobby", 1000), room("世界世界", 100)],
        closes: vec![CloseOverview { reason: "client_close".to_owned(), count: 7 }],
        recent_errors: Vec::new(),
        log_lines_dropped: 0,
    }
}

fn shards_of(count: usize) -> Vec<ShardOverview> {
    let shard = |number| ShardOverview {
        number,
        connections: 100 * number as u64,
        messages_received: 5.0,
        messages_sent: 5.0,
        turns: 1.0,
        cpu: 0.25,
    };
    (0..count).map(shard).collect()
}

fn room(name: &str, members: u64) -> RoomOverview {
    RoomOverview { room_id: name.to_owned(), members, history_messages: 1, offset: 1 }
}

fn error(message: &str) -> LogLine {
    let (level, target) = ("WARN".to_owned(), "ringwire::shard".to_owned());
    LogLine { timestamp: 1_700_000_045_999, level, target, message: message.to_owned() }
}

/// An overview without anything that a server may lack.
fn empty() -> Overview {
    let nothing = Percentiles::default();
    Overview {
        connections: 0,
        totals: Flows::default(),
        rates: Flows::default(),
        handshake: nothing,
        turn: nothing,
        outbound_delay: nothing,
        shards: Vec::new(),
        rooms: 0,
        room_members: 0,
        top_rooms: Vec::new(),
        closes: Vec::new(),
        ..overview()
    }
}

#[track_caller]
fn shows(page: &str, words: &[&str]) {
    for words in words {
        assert!(page.contains(words), "{words:?} is not in\n{page}");
    }
}

#[test]
fn the_page_tells_what_the_overview_holds() {
    let mut overview = overview();
    overview.recent_errors.push(error("it rains"));
    let page = render(&overview, 100, usize::MAX);
    shows(
        &page,
        &[
            "ringwire 0.1.0  serving  up 3 d 4 h  pid 4321  22:14:05 UTC",
            "120,345 of 400,000",
            "1.2 M/s",
            "3.4 MiB/s",
            "12 M",
            "handshake         12 µs    50 µs   1.2 ms    30 ms    3.4 s        9",
            "fan-out               -        -        -        -        -        0",
            "RSS 50 MiB, 436 B/connection; all TCP sockets of the host 8.0 KiB",
            "last 4 s            p50",
            "    0          0 [        ]      10 /s [||||||||]       25 % [||      ]",
            "    1        100 [||||||||]",
            "rooms  2, members 1,100",
            "    1,000  lobby",
            "        7  client_close",
            "22:14:05 WARN  ringwire::shard it rains",
        ],
    );
}

#[test]
fn every_page_fits_its_terminal() {
    let mut full = overview();
    full.shards = shards_of(1000);
    full.top_rooms = (0..10).map(|number| room(&"世".repeat(5 * number), 9)).collect();
    full.recent_errors = vec![error(&"wörd 世".repeat(100)); 20];
    for overview in [overview(), empty(), full] {
        for columns in [0, 1, 7, 40, 79, 80, 81, 200] {
            for lines in [0, 1, 5, 13, 14, 15, 16, 20, 24, 50, 2000] {
                let page = render(&overview, columns, lines);
                assert!(page.lines().count() <= lines, "{columns} × {lines}:\n{page}");
                for line in page.lines() {
                    assert!(width(line) <= columns, "{columns} × {lines}: {line}");
                }
            }
        }
    }
}

#[test]
fn a_small_terminal_shows_something_of_everything() {
    let mut overview = overview();
    overview.shards = shards_of(64);
    overview.recent_errors = vec![error("it rains"); 20];
    let page = render(&overview, 80, 24);
    assert_eq!(page.lines().count(), 24, "{page}");
    shows(&page, &["shard", "lobby", "client_close", "it rains", "+62 more"]);
}

#[test]
fn a_tall_terminal_shows_everything() {
    let mut overview = overview();
    overview.shards = shards_of(64);
    overview.recent_errors = vec![error("it rains"); 20];
    let page = render(&overview, 80, 200);
    assert!(!page.contains(" more"), "{page}");
    assert_eq!(page.matches("it rains").count(), 20);
}

#[test]
fn a_narrow_terminal_has_closes_below_rooms() {
    let page = render(&overview(), 40, 60);
    let at = |words: &str| page.lines().position(|line| line.contains(words));
    assert!(at("closes  7") > at("lobby") && at("lobby").is_some(), "{page}");
}

#[test]
fn a_server_without_anything_has_a_page() {
    let page = render(&empty(), 80, 24);
    shows(&page, &["connections  0 of 400,000", "rooms  0", "closes  0"]);
    assert!(!page.contains("NaN"), "{page}");
}

#[test]
fn what_users_write_moves_no_cursor() {
    let mut overview = overview();
    let attack = "\u{1b}]0;x\u{7}\r\n\u{9b}2J\u{202e}";
    overview.version = attack.to_owned();
    overview.top_rooms = vec![room(attack, 1)];
    overview.closes[0].reason = attack.to_owned();
    overview.recent_errors = vec![LogLine { level: attack.to_owned(), ..error(attack) }];
    let page = render(&overview, 200, 100);
    let foreign =
        |character: char| (character.is_control() && character != '\n') || character == '\u{202e}';
    assert!(!page.contains(foreign), "{page:?}");
    assert!(page.contains("\\u{1b}]0;x"), "{page}");
}
