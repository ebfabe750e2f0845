//! Members of the chat that say who they are in a message: with a token or with a password.

mod common;
#[path = "common/member.rs"]
mod member;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::Server;
use member::{
    Heard, KEY_FILE, Member, UserFile, auth_password, auth_token, chat, error, foreign_token,
    lasting_token, now, ping, said, token, upgrade_status,
};
use observed::{Metrics, wait_for_value};
use raw::{BINARY, CONTINUE, CONTINUE_END, TEXT, TEXT_BEGIN, frame};
use serde_json::{Value, json};

const FAILED: &str = "Authentication failed";
const NOT_AUTHENTICATED: &str = "Not authenticated";
const TOO_BIG: &str = "message exceeds the limit";

/// Longest message of somebody who has not said yet who it is.
const GUEST_BYTES: usize = 4096;

/// KiB of memory of a check that takes next to nothing, and of one that takes a while.
const QUICK: u32 = 8;
const SLOW: u32 = 4096;

fn server_with(users: &UserFile, more: &[&str]) -> Server {
    let args = ["--auth", "message", "--auth-key", KEY_FILE, "--auth-users", users.path()];
    let rest = ["--shards", "2", "--admin", "127.0.0.1:0"];
    Server::start(&[&args[..], &rest, more].concat())
}

fn users(name: &str) -> UserFile {
    UserFile::new(name, &[("Ada", "correct horse", QUICK), ("Größe 1", "é\"\\ 😀", QUICK)])
}

/// After everybody has left, nothing is left of them, and as many as `refused` were closed for
/// their credentials.
fn expect_baseline(server: &Server, refused: u64) {
    let admin = server.admin_address();
    for gauge in ["connections", "rooms", "room_members"] {
        wait_for_value(admin, gauge, 0);
    }
    assert_eq!(Metrics::scrape(admin).closed("authentication"), refused);
}

fn auth_success(user: &str) -> Value {
    json!({ "type": "auth_success", "userId": user })
}

fn join(room: &str) -> Value {
    json!({ "type": "join_room", "roomId": room })
}

/// A message with that many bytes in all.
fn padded(mut command: Value, bytes: usize) -> Vec<u8> {
    command["padding"] = json!("");
    let missing = bytes - command.to_string().len();
    command["padding"] = json!("x".repeat(missing));
    command.to_string().into_bytes()
}

/// Nobody has come to the room of `witness` before the one who comes now.
fn expect_alone(witness: &mut Member, address: SocketAddr, room: &str) {
    let mut second = Member::come_as(address, &auth_token(&lasting_token("Bob")));
    assert_eq!(second.join(room)["userCount"], 2);
    let joined = json!({ "type": "user_joined", "roomId": room, "userCount": 2 });
    assert_eq!(witness.hear(), joined);
    second.leave();
    assert_eq!(witness.hear()["type"], "user_left");
}

#[test]
fn until_it_says_who_it_is_a_guest_gets_nothing() {
    let users = users("guest");
    let server = server_with(&users, &[]);
    let mut witness = Member::come_as(server.address(), &auth_token(&lasting_token("Wim")));
    witness.join("room");
    let nonsense: [Vec<u8>; 8] = [
        said(&join("room")),
        said(&chat("unheard")),
        said(&json!({ "type": "chat_message", "text": "unheard", "roomId": "room" })),
        said(&ping()),
        frame(TEXT, b"{ not JSON"),
        frame(TEXT, b""),
        frame(BINARY, auth_token(&lasting_token("Ada")).to_string().as_bytes()),
        said(&json!({ "type": "leave_room", "roomId": "room" })),
    ];
    // One by one, and all of them in one segment.
    let mut guest = Member::come(server.address());
    for message in &nonsense[..7] {
        guest.send(message);
        guest.expect_error(NOT_AUTHENTICATED);
    }
    guest.send(&nonsense[7]);
    guest.expect_refusal(FAILED);
    let mut guest = Member::come(server.address());
    guest.send(&nonsense.concat());
    for _ in 0..7 {
        guest.expect_error(NOT_AUTHENTICATED);
    }
    guest.expect_refusal(FAILED);
    // Bad forms of `auth` are no better than other messages.
    let mut guest = Member::come(server.address());
    for bad in [json!(null), json!(7), json!(""), json!(["x"])] {
        assert_eq!(guest.ask(&json!({ "type": "auth", "token": bad })), error(NOT_AUTHENTICATED));
    }
    assert_eq!(guest.ask(&json!({ "type": "auth", "username": "" })), error(NOT_AUTHENTICATED));
    // The eighth message may still say it; then all are served.
    for _ in 0..2 {
        assert_eq!(guest.ask(&ping()), error(NOT_AUTHENTICATED));
    }
    assert_eq!(guest.ask(&auth_token(&lasting_token("Ada"))), auth_success("Ada"));
    for _ in 0..10 {
        guest.expect_pong();
    }
    guest.leave();
    expect_alone(&mut witness, server.address(), "room");
    witness.leave();
    expect_baseline(&server, 2);
}

#[test]
fn a_silent_guest_is_sent_away_after_ten_seconds() {
    let users = users("silent");
    let server = server_with(&users, &[]);
    let start = Instant::now();
    let mut first = Member::come(server.address());
    let mut talking = Member::come(server.address());
    assert_eq!(talking.ask(&ping()), error(NOT_AUTHENTICATED));
    // Neither pings nor an unfinished message gain time.
    talking.send(&frame(raw::PING, b""));
    talking.send(&said(&auth_token(&lasting_token("Ada")))[..20]);
    let mut known = Member::come_as(server.address(), &auth_password("Ada", "correct horse"));
    let mut with_token = Member::come_with(server.address(), &lasting_token("Ada"));
    let mut last = Member::come(server.address());
    assert_eq!(first.next(), timed_out());
    // A tick begins up to 100 ms before what happens in it.
    assert!(start.elapsed() >= Duration::from_millis(9_800), "{:?}", start.elapsed());
    talking.skip_pong();
    assert_eq!(talking.next(), timed_out());
    assert_eq!(last.next(), timed_out());
    known.expect_pong();
    with_token.expect_pong();
    drop((first, talking, last, known, with_token));
    expect_baseline(&server, 3);
}

fn timed_out() -> Heard {
    Heard::Close(4001, "Authentication timeout".to_owned())
}

#[test]
fn a_guest_sends_small_messages_only() {
    let users = users("small");
    let server = server_with(&users, &[]);
    let auth = || auth_token(&lasting_token("Ada"));
    // As long as may be, whole and in fragments.
    let mut member = Member::come(server.address());
    member.send(&frame(TEXT, &padded(auth(), GUEST_BYTES)));
    assert_eq!(member.hear(), auth_success("Ada"));
    member.leave();
    let mut member = Member::come(server.address());
    member.send(&in_fragments(&padded(auth(), GUEST_BYTES)));
    assert_eq!(member.hear(), auth_success("Ada"));
    // Then a large one is fine.
    member.send(&frame(TEXT, &padded(ping(), 100_000)));
    assert_eq!(member.hear()["type"], "pong");
    member.send(&in_fragments(&padded(ping(), 10_000)));
    assert_eq!(member.hear()["type"], "pong");
    member.leave();
    // Also behind the one that says who it is, in the same segment.
    let large = frame(TEXT, &padded(ping(), 20_000));
    let mut member = Member::come(server.address());
    member.send(&[said(&auth()), large.clone()].concat());
    assert_eq!(
        (member.hear(), member.hear()["type"].clone()),
        (auth_success("Ada"), json!("pong"))
    );
    member.leave();
    // A byte too many, a declaration alone, the sum of fragments, and one behind another message.
    let too_large = padded(auth(), GUEST_BYTES + 1);
    for bytes in [
        frame(TEXT, &too_large),
        raw::header_16(TEXT, GUEST_BYTES as u16 + 1),
        raw::header_64(BINARY, 1 << 20),
        in_fragments(&too_large),
    ] {
        let mut member = Member::come(server.address());
        member.send(&bytes);
        member.expect_close(1009, TOO_BIG);
    }
    let mut member = Member::come(server.address());
    member.send(&[said(&ping()), large].concat());
    member.expect_error(NOT_AUTHENTICATED);
    member.expect_close(1009, TOO_BIG);
    expect_baseline(&server, 0);
}

/// A text in fragments of at most 1,000 bytes.
fn in_fragments(payload: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = payload.chunks(1000).collect();
    let last = parts.len() - 1;
    let first_byte = |index| match index {
        0 => TEXT_BEGIN,
        index if index == last => CONTINUE_END,
        _ => CONTINUE,
    };
    let frames = parts.iter().enumerate().map(|(index, part)| frame(first_byte(index), part));
    frames.collect::<Vec<_>>().concat()
}

#[test]
fn a_token_or_a_password_opens_the_chat() {
    let users = users("open");
    let server = server_with(&users, &[]);
    let by_token = auth_token(&lasting_token("Ada"));
    for (auth, user) in [
        (by_token.clone(), "Ada"),
        (auth_password("Ada", "correct horse"), "Ada"),
        (auth_password("Größe 1", "é\"\\ 😀"), "Größe 1"),
    ] {
        let mut member = Member::come(server.address());
        assert_eq!(member.ask(&auth), auth_success(user));
        member.join(user);
        assert_eq!(member.ask(&chat("hello"))["username"], user);
        // The same user may say it again, in any way.
        if user == "Ada" {
            assert_eq!(member.ask(&by_token), auth_success("Ada"));
            let by_password = auth_password("Ada", "correct horse");
            assert_eq!(member.ask(&by_password), auth_success("Ada"));
        }
        member.leave();
    }
    let bad = [
        auth_password("Ada", "correct horsf"),
        auth_password("Ada", "é\"\\ 😀"),
        auth_password("ada", "correct horse"),
        auth_password("Nobody", "correct horse"),
        json!({ "type": "auth", "username": "Ada" }),
        auth_token(&foreign_token("Ada")),
        auth_token(&token("Ada", now())),
        auth_token("garbage"),
    ];
    for auth in &bad {
        let mut member = Member::come(server.address());
        member.say(auth);
        member.expect_refusal(FAILED);
    }
    // A known member that shows something wrong is sent away, too.
    let more = [auth_password("Größe 1", "é\"\\ 😀"), auth_token(&lasting_token("Eve"))];
    for auth in bad.iter().chain(&more) {
        let mut member = Member::come_as(server.address(), &by_token);
        member.say(auth);
        member.expect_refusal(FAILED);
    }
    expect_baseline(&server, (2 * bad.len() + more.len()) as u64);
}

#[test]
fn a_token_of_the_handshake_opens_every_path() {
    let users = users("handshake");
    let server = server_with(&users, &[]);
    let (address, good) = (server.address(), lasting_token("Ada"));
    for path in ["/echo", "/broadcast"] {
        assert_eq!(upgrade_status(address, path), 401, "{path}");
        assert_eq!(upgrade_status(address, &format!("{path}?token={good}")), 101, "{path}");
    }
    for bad in [foreign_token("Ada"), token("Ada", now()), "garbage".to_owned(), String::new()] {
        assert_eq!(upgrade_status(address, &format!("/chat?token={bad}")), 401, "{bad}");
    }
    let mut member = Member::come_with(address, &good);
    member.join("room");
    assert_eq!(member.ask(&chat("hello"))["username"], "Ada");
    // It has no 4 KiB and no eight messages to mind.
    member.send(&frame(TEXT, &padded(ping(), 10_000)));
    assert_eq!(member.hear()["type"], "pong");
    member.leave();
    // The token of a message ends a connection as one of the handshake does, within the ten
    // seconds that a guest would have.
    let expires = now() + 2;
    let by_message = Member::come_as(address, &auth_token(&token("Ada", expires)));
    let by_handshake = Member::come_with(address, &token("Ada", expires));
    // A password has no end.
    let mut renewed = Member::come_as(address, &auth_token(&token("Ada", expires)));
    let by_password = auth_password("Ada", "correct horse");
    assert_eq!(renewed.ask(&by_password), json!({ "type": "auth_success", "userId": "Ada" }));
    by_message.expect_refusal("Token expired");
    by_handshake.expect_refusal("Token expired");
    assert!(now() >= expires);
    renewed.expect_pong();
    renewed.leave();
    expect_baseline(&server, 2);
}

#[test]
fn what_the_server_cannot_judge_is_refused() {
    let users = users("judge");
    let (by_token, by_password) =
        (auth_token(&lasting_token("Ada")), auth_password("Ada", "correct horse"));
    for (flag, file, good, bad) in [
        ("--auth-key", KEY_FILE, &by_token, &by_password),
        ("--auth-users", users.path(), &by_password, &by_token),
    ] {
        let args = ["--auth", "message", flag, file, "--admin", "127.0.0.1:0"];
        let server = Server::start(&args);
        let mut guest = Member::come(server.address());
        guest.say(bad);
        guest.expect_refusal(FAILED);
        let mut member = Member::come_as(server.address(), good);
        member.say(bad);
        member.expect_refusal(FAILED);
        let path = format!("/echo?token={}", lasting_token("Ada"));
        let expected = if flag == "--auth-key" { 101 } else { 401 };
        assert_eq!(upgrade_status(server.address(), &path), expected, "{flag}");
        expect_baseline(&server, 2);
    }
}

#[test]
fn nothing_behind_bad_credentials_is_served() {
    let users = users("behind");
    let server = server_with(&users, &[]);
    let mut witness = Member::come_as(server.address(), &auth_token(&lasting_token("Wim")));
    let joined = witness.join("room");
    for text in ["one", "two", "three"] {
        assert_eq!(witness.ask(&chat(text))["text"], text);
    }
    let since = json!({ "epoch": joined["epoch"], "offset": joined["offset"] });
    let back = json!({ "type": "join_room", "roomId": "room", "since": since });
    let behind = [said(&back), said(&chat("unheard")), said(&ping())].concat();
    let bad = [
        auth_token(&token("Wim", now())),
        auth_token(&foreign_token("Wim")),
        auth_token("garbage"),
        json!({ "type": "auth", "username": "Ada" }),
    ];
    for auth in &bad {
        let mut guest = Member::come(server.address());
        guest
            .send(&[said(auth), behind.clone(), said(&auth_token(&lasting_token("Ada")))].concat());
        guest.expect_refusal(FAILED);
    }
    // A password takes its time: what does not wait for the answer is not served, either way.
    for (password, is_right) in [("wrong", false), ("correct horse", true)] {
        let mut guest = Member::come(server.address());
        guest.send(&[said(&auth_password("Ada", password)), behind.clone()].concat());
        for _ in 0..3 {
            guest.expect_error(NOT_AUTHENTICATED);
        }
        if is_right {
            assert_eq!(guest.hear(), auth_success("Ada"));
            guest.expect_pong();
            guest.leave();
        } else {
            guest.expect_refusal(FAILED);
        }
    }
    expect_alone(&mut witness, server.address(), "room");
    // Who may come gets all of it.
    let mut back_again = Member::come_as(server.address(), &auth_token(&lasting_token("Ada")));
    let answer = back_again.ask(&back);
    assert_eq!((&answer["recovered"], &answer["userCount"]), (&json!(true), &json!(2)));
    for text in ["one", "two", "three"] {
        assert_eq!(back_again.hear()["text"], text);
    }
    back_again.leave();
    witness.leave();
    expect_baseline(&server, bad.len() as u64 + 1);
}

#[test]
fn a_flood_of_passwords_costs_one_check_at_a_time() {
    let slow = [("Ada", "correct horse", SLOW), ("Bob", "battery staple", SLOW)];
    let users = UserFile::new("flood", &slow);
    let server = server_with(&users, &[]);
    // Who floods as a guest is sent away before its password is looked at: even more of them than
    // passwords may wait leave room for others.
    let flood = said(&auth_password("Ada", "wrong")).repeat(200);
    let mut flooders: Vec<Member> = (0..100).map(|_| Member::come(server.address())).collect();
    for flooder in &mut flooders {
        flooder.send(&flood);
    }
    let mut honest = Member::come(server.address());
    assert_eq!(honest.ask(&auth_password("Bob", "battery staple")), auth_success("Bob"));
    for mut flooder in flooders {
        let mut refused = 0;
        let end = loop {
            match flooder.next() {
                Heard::Message(message) => assert_eq!(message, error(NOT_AUTHENTICATED)),
                end => break end,
            }
            refused += 1;
        };
        assert_eq!(end, Heard::Close(4001, FAILED.to_owned()));
        assert!(refused <= 7, "{refused} answers to a guest");
    }
    // A member may ask for one check at a time; the others are answered, not queued.
    let again = said(&auth_password("Bob", "battery staple"));
    honest.send(&again.repeat(50));
    for _ in 0..49 {
        honest.expect_error(NOT_AUTHENTICATED);
    }
    assert_eq!(honest.hear(), auth_success("Bob"));
    honest.expect_pong();
    honest.leave();
    expect_baseline(&server, 100);
}

#[test]
fn passwords_and_tokens_stay_out_of_the_log() {
    let users = UserFile::new("log", &[("Ada-Lovelace", "correct-horse", QUICK)]);
    let mut server = server_with(&users, &["--log-level", "trace"]);
    let tokens = [lasting_token("Ada-Lovelace"), foreign_token("Ada-Lovelace")];
    for token in &tokens {
        let mut member = Member::come(server.address());
        member.say(&auth_token(token));
        member.next();
    }
    for password in ["correct-horse", "wrong-battery"] {
        let mut member = Member::come(server.address());
        member.say(&auth_password("Ada-Lovelace", password));
        member.next();
        member.try_say(&json!({ "type": "auth", "password": password }));
        member.try_say(&json!({ "password": password }));
        member.next();
    }
    let mut member = Member::come(server.address());
    member.say(&auth_password("Ada-Lovelace", "correct-horse"));
    drop(member);
    wait_for_value(server.admin_address(), "connections", 0);

    server.terminate();
    server.wait_for_exit(Duration::from_secs(20));
    let output = server.output();
    let words = ["correct-horse", "wrong-battery", "argon2", "battery"];
    let parts = tokens.iter().flat_map(|token| token.split('.'));
    for secret in parts.chain(words) {
        assert!(!output.contains(secret), "the server shows {secret}: {output}");
    }
}
