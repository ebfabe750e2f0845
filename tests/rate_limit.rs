//! How much a member of the chat may say, in any span of time, and what becomes of one that says
//! more.

mod common;
#[path = "common/member.rs"]
mod member;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::Server;
use member::{Heard, Member, chat, error, ping, said};
use observed::{Metrics, wait_for_value};
use raw::{BINARY, TEXT, frame};
use serde_json::{Value, json};

const EXCEEDED: &str = "Rate limit exceeded";

/// How long a test may wait for what takes seconds; a failure, never a delay.
const PATIENCE: Duration = Duration::from_secs(60);

fn server_with(args: &[&str]) -> Server {
    Server::start(&[args, &["--shards", "2", "--admin", "127.0.0.1:0"]].concat())
}

/// Messages that count, each with its answer.
fn kinds() -> Vec<(Vec<u8>, Value)> {
    let format = error("Invalid message format");
    vec![
        (said(&ping()), json!({ "type": "pong" })),
        (frame(TEXT, b"not JSON"), error("Invalid JSON")),
        (frame(TEXT, b""), error("Invalid JSON")),
        (frame(TEXT, b"7"), format.clone()),
        (frame(BINARY, b"{}"), format.clone()),
        (said(&json!({ "type": "unknown" })), format),
        (said(&json!({ "type": "leave_room", "roomId": "x" })), error("Not in room")),
        (
            said(&json!({ "type": "chat_message", "roomId": "x", "text": "x" })),
            error("Not in room"),
        ),
        (
            said(&json!({ "type": "auth", "username": "Ada" })),
            json!({ "type": "auth_success", "userId": "Ada" }),
        ),
    ]
}

#[test]
fn a_hundred_messages_pass_a_hundred_are_refused_and_the_next_is_the_last() {
    let server = server_with(&[]);
    let mut witness = Member::come(server.address());
    witness.join("room");
    let mut member = Member::come(server.address());
    member.join("room");
    assert_eq!(witness.hear()["type"], "user_joined");
    let kinds = kinds();
    for (message, answer) in kinds.iter().cycle().take(98) {
        member.send(message);
        assert_eq!(member.hear(), *answer);
    }
    assert_eq!(member.ask(&chat("the hundredth"))["text"], "the hundredth");
    // Whatever it is that comes now, it is not looked at. The leave would be silent.
    let more = [said(&chat("refused")), said(&json!({ "type": "leave_room" }))];
    let more = more.iter().chain(kinds.iter().map(|(message, _)| message));
    for message in more.cycle().take(100) {
        member.send(message);
        member.expect_error(EXCEEDED);
    }
    member.say(&chat("refused"));
    member.expect_close(1008, EXCEEDED);
    assert_eq!(witness.hear()["text"], "the hundredth");
    let left = json!({ "type": "user_left", "roomId": "room", "userCount": 1 });
    assert_eq!(witness.hear(), left, "refused messages reach nobody");
    let metrics = Metrics::scrape(server.admin_address());
    assert_eq!(metrics.value("rate_limited_total"), 101);
    assert_eq!(metrics.closed("rate_limited"), 1);
    // The limit is one of connections: who comes back begins anew.
    let mut again = Member::come(server.address());
    again.join("room");
    again.leave();
    witness.leave();
    wait_for_value(server.admin_address(), "connections", 0);
}

#[test]
fn messages_of_one_segment_count_one_by_one() {
    let server = server_with(&["--rate-limit", "10/1h"]);
    let mut member = Member::come(server.address());
    member.send(&said(&ping()).repeat(500));
    for _ in 0..10 {
        assert_eq!(member.hear(), json!({ "type": "pong" }));
    }
    for _ in 0..100 {
        member.expect_error(EXCEEDED);
    }
    member.expect_close(1008, EXCEEDED);
    // What came behind the last refusal was not looked at.
    assert_eq!(Metrics::scrape(server.admin_address()).value("rate_limited_total"), 101);
    // Fragments are no messages, and neither are pings of the WebSocket protocol.
    let mut member = Member::come(server.address());
    for _ in 0..10 {
        let parts = [frame(raw::TEXT_BEGIN, b"{"), frame(raw::PING, b""), frame(raw::PING, b"")];
        member.send(&parts.concat());
        member.skip_pong();
        member.skip_pong();
        member.send(&frame(raw::CONTINUE_END, br#""type":"ping"}"#));
        assert_eq!(member.hear(), json!({ "type": "pong" }));
    }
    member.say(&ping());
    member.expect_error(EXCEEDED);
}

#[test]
fn bytes_are_limited_on_their_own() {
    let server = server_with(&["--rate-limit", "off", "--rate-bytes", "1KiB/1h"]);
    let mut member = Member::come(server.address());
    let pad = |bytes: usize| {
        let command = json!({ "type": "ping", "padding": "x".repeat(bytes - 28) });
        assert_eq!(command.to_string().len(), bytes);
        frame(TEXT, command.to_string().as_bytes())
    };
    for _ in 0..10 {
        member.send(&pad(100));
        assert_eq!(member.hear()["type"], "pong");
    }
    for bytes in [100, 1000, 100_000] {
        member.send(&pad(bytes));
        member.expect_error(EXCEEDED);
    }
    // What is refused takes nothing of the 24 bytes that are left.
    member.expect_pong();
    member.say(&ping());
    member.expect_error(EXCEEDED);
    member.send(&frame(TEXT, b"[1,2,3,4]"));
    member.expect_error("Invalid message format");
    member.send(&frame(TEXT, b"7"));
    member.expect_error(EXCEEDED);
    member.send(&frame(TEXT, b""));
    member.expect_error("Invalid JSON");
    assert_eq!(Metrics::scrape(server.admin_address()).value("rate_limited_total"), 5);
    member.leave();
    // Its default is a mebibyte.
    let server = server_with(&["--rate-limit", "off"]);
    let mut member = Member::come(server.address());
    for bytes in [1 << 19, 1 << 19] {
        member.send(&pad(bytes));
        assert_eq!(member.hear()["type"], "pong");
    }
    member.send(&frame(TEXT, b"7"));
    member.expect_error(EXCEEDED);
}

#[test]
fn limits_can_be_off() {
    let server = server_with(&["--rate-limit", "off", "--rate-bytes", "off"]);
    let mut member = Member::come(server.address());
    for _ in 0..30 {
        member.send(&said(&ping()).repeat(100));
        for _ in 0..100 {
            assert_eq!(member.hear(), json!({ "type": "pong" }));
        }
    }
    let large = json!({ "type": "ping", "padding": "x".repeat(1_000_000) });
    for _ in 0..5 {
        assert_eq!(member.ask(&large), json!({ "type": "pong" }));
    }
    member.leave();
    assert_eq!(Metrics::scrape(server.admin_address()).value("rate_limited_total"), 0);
}

#[test]
fn a_message_refused_for_one_limit_takes_nothing_of_the_other() {
    let large = json!({ "type": "ping", "padding": "x".repeat(900) });
    let server = server_with(&["--rate-limit", "3/1h", "--rate-bytes", "1KiB/1h"]);
    let mut member = Member::come(server.address());
    assert_eq!(member.ask(&large), json!({ "type": "pong" }));
    for _ in 0..10 {
        assert_eq!(member.ask(&large), error(EXCEEDED), "too many bytes");
    }
    member.expect_pong();
    member.expect_pong();
    assert_eq!(member.ask(&ping()), error(EXCEEDED), "too many messages");

    // The places of messages come back sooner than those of bytes. All in one turn, so that none
    // does meanwhile.
    let server = server_with(&["--rate-limit", "3/1s", "--rate-bytes", "1KiB/1h"]);
    let mut member = Member::come(server.address());
    member.send(&[said(&ping()).repeat(3), said(&large)].concat());
    for _ in 0..3 {
        assert_eq!(member.hear(), json!({ "type": "pong" }));
    }
    member.expect_error(EXCEEDED);
    thread::sleep(Duration::from_millis(1300));
    assert_eq!(member.ask(&large), json!({ "type": "pong" }));
}

/// The limit of the tests that follow.
const LIMIT: &[&str] = &["--rate-limit", "10/2s"];
const COUNT: usize = 10;
const WINDOW: Duration = Duration::from_secs(2);

/// How far apart a turn of the server, which reads the clock once, and what happens in it may be.
const TURN: Duration = Duration::from_millis(50);

/// A message that was admitted: judged after the one and before the other.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    /// Just before it was sent.
    sent: SystemTime,
    /// The timestamp that the witness saw, made once it was judged, cut to its millisecond: this is
    /// the end of that.
    stamped: SystemTime,
}

/// A member and its witness, alone in a room.
struct Pair {
    member: Member,
    witness: Member,
    /// The first is the join, which counts as all messages do.
    admitted: Vec<Admitted>,
    refused: u64,
}

impl Pair {
    fn come(address: SocketAddr, room: &str) -> Self {
        let (mut member, mut witness) = (Member::come(address), Member::come(address));
        witness.join(room);
        let sent = SystemTime::now();
        member.join(room);
        let admitted = vec![Admitted { sent, stamped: SystemTime::now() }];
        assert_eq!(witness.hear()["type"], "user_joined");
        Self { member, witness, admitted, refused: 0 }
    }

    /// Sends one message; says whether it was admitted.
    fn send(&mut self) -> bool {
        let sent = SystemTime::now();
        let answer = self.member.ask(&chat("x"));
        if answer == error(EXCEEDED) {
            self.refused += 1;
            return false;
        }
        assert_eq!(answer["type"], "chat_message", "{answer}");
        assert_eq!(self.witness.hear(), answer, "it sees what is admitted, and nothing else");
        let stamp = answer["timestamp"].as_u64().expect("it is a number");
        let stamped = UNIX_EPOCH + Duration::from_millis(stamp + 1);
        self.admitted.push(Admitted { sent, stamped });
        true
    }

    /// Sends so many messages; says how many were admitted.
    fn burst(&mut self, count: usize) -> usize {
        (0..count).filter(|_| self.send()).count()
    }

    /// Asserts that the limit held, as far as it can be known from outside.
    ///
    /// If the eleventh message in a row is stamped within a window from when the first was *sent*,
    /// all eleven were judged within it. To compare stamps alone would accuse a server whose room,
    /// on another core, stamped the first one late; this errs only in the server's favour, by the
    /// way of a message through loopback.
    fn expect_limit_held(&self) {
        for span in self.admitted.windows(COUNT + 1) {
            let judged_within = span[COUNT].stamped.duration_since(span[0].sent);
            let judged_within = judged_within.unwrap_or_default();
            assert!(judged_within > WINDOW - TURN, "11 within {judged_within:?}: {span:?}");
        }
    }

    /// Whether all since `first` was within one window, so that no place can have come back.
    fn is_within_window(&self, first: usize) -> bool {
        self.admitted[first].sent.elapsed().is_ok_and(|time| time < WINDOW)
    }
}

#[test]
fn the_limit_holds_in_every_span_of_its_window() {
    let server = server_with(LIMIT);
    let mut pair = Pair::come(server.address(), "room");
    let start = Instant::now();
    // As fast as it can without being sent away for a hundred refusals in a window.
    while pair.admitted.len() <= 4 * COUNT {
        assert!(start.elapsed() < PATIENCE, "only {} were admitted", pair.admitted.len());
        if !pair.send() {
            thread::sleep(Duration::from_millis(22));
        }
    }
    pair.expect_limit_held();
    // The places come back: one more than four windows full takes four windows, and little more.
    assert!(start.elapsed() > 4 * (WINDOW - TURN), "{:?}", start.elapsed());
    assert!(pair.refused > 0);
    let metrics = Metrics::scrape(server.admin_address());
    assert_eq!(metrics.value("rate_limited_total"), pair.refused);
    pair.member.leave();
    pair.witness.leave();
}

#[test]
fn a_border_between_windows_is_no_way_around_the_limit() {
    // Wherever a border might be that all windows of the server begin at, it lies between the
    // two bursts of one of these.
    const PHASES: u32 = 10;
    let server = server_with(LIMIT);
    let come = |number| Pair::come(server.address(), &format!("room {number}"));
    let mut before: Option<Pair> = None;
    let mut judged = 0;
    for number in 0..=PHASES {
        let start = Instant::now();
        if let Some(mut pair) = before.take() {
            pair.burst(COUNT - 1);
            pair.expect_limit_held();
            if pair.is_within_window(0) {
                assert_eq!(pair.admitted.len(), COUNT, "phase {number}");
                judged += 1;
            }
        }
        let mut pair = come(number);
        assert_eq!(pair.burst(COUNT - 2), COUNT - 2);
        before = Some(pair);
        thread::sleep((WINDOW / PHASES).saturating_sub(start.elapsed()));
    }
    assert!(judged > 0, "no two bursts were within two seconds");
}

#[test]
fn a_window_does_not_begin_with_the_first_message() {
    let server = server_with(LIMIT);
    let mut pair = Pair::come(server.address(), "room");
    let joined = Instant::now();
    thread::sleep(WINDOW - Duration::from_millis(200));
    assert!(pair.burst(COUNT - 1) == COUNT - 1);
    // A tick of 100 ms and a turn later, the place of the join is free, and no other.
    let free = WINDOW + Duration::from_millis(100) + 2 * TURN;
    thread::sleep(free.saturating_sub(joined.elapsed()));
    let more = pair.burst(COUNT - 1);
    pair.expect_limit_held();
    assert!(more >= 1, "the place of the join comes back");
    assert!(more == 1 || !pair.is_within_window(1), "{more} more than the first nine");
}

#[test]
fn who_floods_disturbs_nobody() {
    let server = server_with(&[]);
    let address = server.address();
    let stop = AtomicBool::new(false);
    let floods = thread::scope(|scope| {
        let flooders: Vec<_> =
            (0..3).map(|_| scope.spawn(|| (flood(address), flood_until(address, &stop)))).collect();
        let mut pair = Pair::come(address, "room");
        for number in 0..45 {
            pair.member.expect_pong();
            assert!(pair.send(), "message {number} of a well-behaved member");
        }
        stop.store(true, Ordering::Relaxed);
        pair.member.leave();
        pair.witness.leave();
        let floods = flooders.into_iter().map(|flooder| flooder.join().expect("none panics"));
        floods.map(|((), more)| 1 + more).sum::<u64>()
    });
    let metrics = Metrics::scrape(server.admin_address());
    assert_eq!(metrics.value("rate_limited_total"), 101 * floods);
    assert_eq!(metrics.closed("rate_limited"), floods);
    wait_for_value(server.admin_address(), "connections", 0);
}

/// Floods again and again, with a new connection each time; says how often.
fn flood_until(address: SocketAddr, stop: &AtomicBool) -> u64 {
    let start = Instant::now();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) && start.elapsed() < PATIENCE {
        flood(address);
        count += 1;
    }
    count
}

/// One connection that sends three times what is allowed at once, and more than it may try.
fn flood(address: SocketAddr) {
    let mut member = Member::come(address);
    member.send(&said(&ping()).repeat(300));
    let (mut pongs, mut refused) = (0, 0);
    for _ in 0..200 {
        match member.next() {
            Heard::Message(message) if message == error(EXCEEDED) => refused += 1,
            Heard::Message(_) => pongs += 1,
            end => panic!("{end:?} after {pongs} pongs and {refused} refusals"),
        }
    }
    assert_eq!((pongs, refused), (100, 100));
    member.expect_close(1008, EXCEEDED);
}
