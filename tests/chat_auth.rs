//! Who a member of the chat is, by the token of its handshake or by its own word, and for how long.

mod common;
#[path = "common/member.rs"]
mod member;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use std::net::SocketAddr;
use std::time::Duration;

use common::Server;
use member::{
    Heard, KEY_FILE, Member, auth_password, auth_token, chat, error, foreign_token, lasting_token,
    now, ping, said, token, upgrade_status,
};
use observed::{Metrics, wait_for_value};
use raw::{BINARY, CLOSE, End, RawClient, close_frame, frame, upgrade_request};
use serde_json::{Value, json};

const FAILED: &str = "Authentication failed";
const EXPIRED: &str = "Token expired";

fn token_server() -> Server {
    Server::start(&["--auth", "token", "--auth-key", KEY_FILE, "--shards", "2", "--admin", ADMIN])
}

const ADMIN: &str = "127.0.0.1:0";

/// After everybody has left, nothing is left of them, and as many as `refused` were
/// closed for their credentials.
fn expect_baseline(server: &Server, refused: u64) {
    let admin = server.admin_address();
    for gauge in ["connections", "rooms", "room_members"] {
        wait_for_value(admin, gauge, 0);
    }
    assert_eq!(Metrics::scrape(admin).closed("authentication"), refused);
}

fn rename(name: impl Into<Value>) -> Value {
    json!({ "type": "auth", "username": name.into() })
}

fn auth_success(user: &str) -> Value {
    json!({ "type": "auth_success", "userId": user })
}

/// The name under which a message of `member` comes back to it. It is alone in its room.
fn name_in_room(member: &mut Member) -> Value {
    let room = format!("room of {}", member.id);
    member.join(&room);
    let message = member.ask(&chat("hello"));
    assert_eq!((&message["type"], &message["roomId"]), (&json!("chat_message"), &json!(room)));
    message["username"].clone()
}

#[test]
fn the_subject_of_a_token_is_the_name_of_its_member() {
    let server = token_server();
    for user in ["Ada", "ümlaut 😀", "quoted \" \\ name", "</script>"] {
        let mut member = Member::come_with(server.address(), &lasting_token(user));
        assert_eq!(name_in_room(&mut member), user);
        // A name that the client gives to itself does not count.
        member.say(&json!({ "type": "chat_message", "text": "x", "username": "Eve" }));
        assert_eq!(member.hear()["username"], user);
        member.leave();
    }
    let mut member = Member::come_with(server.address(), &lasting_token("Ada"));
    assert_eq!(member.ask(&rename(7)), error("Invalid message format"));
    member.say(&rename("Eve"));
    member.expect_refusal(FAILED);
    let mut member = Member::come_with(server.address(), &lasting_token("Ada"));
    member.say(&auth_password("Ada", "a password"));
    member.expect_refusal(FAILED);
    expect_baseline(&server, 2);
}

#[test]
fn a_connection_ends_with_its_token_and_no_other() {
    let server = token_server();
    let expires = now() + 2;
    let mut short = Member::come_with(server.address(), &token("Ada", expires));
    let mut long = Member::come_with(server.address(), &lasting_token("Ada"));
    let mut endless = Member::come_with(server.address(), &token("Bob", u64::MAX));
    short.join("room");
    long.join("room");
    endless.join("room");
    assert_eq!(short.hear()["userCount"], 2);
    assert_eq!(short.hear()["userCount"], 3);
    assert_eq!(long.hear()["userCount"], 3);
    short.expect_refusal(EXPIRED);
    assert!(now() >= expires, "not before its time");
    let left = json!({ "type": "user_left", "roomId": "room", "userCount": 2 });
    assert_eq!((long.hear(), endless.hear()), (left.clone(), left));
    long.expect_pong();
    endless.expect_pong();
    long.leave();
    endless.leave();
    expect_baseline(&server, 1);
}

#[test]
fn echo_and_broadcast_end_with_the_token_too() {
    let server = token_server();
    let expires = now() + 2;
    let come = |path: &str, expires| {
        RawClient::open(server.address(), &format!("{path}?token={}", token("Ada", expires)))
    };
    for mut client in [come("/echo", expires), come("/broadcast", expires)] {
        let close = client.read_frame().expect("a Close frame comes first");
        assert!(now() >= expires, "not before its time");
        assert_eq!(close.close_code(), Some(4001));
        assert_eq!(&close.payload[2..], EXPIRED.as_bytes());
        client.send(&close_frame(4001, ""));
        assert_eq!(client.read_frame(), Err(End::Fin));
    }
    // What is said behind the Close frame of an expiry is not served.
    let expires = now() + 2;
    let (mut expiring, mut other) = (come("/broadcast", expires), come("/broadcast", now() + 99));
    assert_eq!(expiring.read_frame().expect("a Close frame").first, CLOSE);
    expiring.send_frame(raw::TEXT, b"too late");
    expiring.send(&close_frame(1000, ""));
    assert_eq!(expiring.read_frame(), Err(End::Fin));
    other.echo("in time");
    other.close();
    expect_baseline(&server, 3);
}

#[test]
fn a_fresh_token_of_the_same_user_renews() {
    let server = token_server();
    let expires = now() + 2;
    let come = || Member::come_with(server.address(), &token("Ada", expires));
    let (mut renewed, mut shortened) =
        (come(), Member::come_with(server.address(), &lasting_token("Ada")));
    let unchanged = come();
    renewed.join("room");
    assert_eq!(renewed.ask(&auth_token(&lasting_token("Ada"))), auth_success("Ada"));
    // The newest token counts, also when it ends sooner.
    assert_eq!(shortened.ask(&auth_token(&token("Ada", expires))), auth_success("Ada"));
    unchanged.expect_refusal(EXPIRED);
    shortened.expect_refusal(EXPIRED);
    assert!(now() >= expires);
    renewed.expect_pong();
    assert_eq!(renewed.ask(&chat("still here"))["username"], "Ada");
    renewed.leave();
    expect_baseline(&server, 2);
}

#[test]
fn a_wrong_token_ends_a_member_as_well_as_a_guest() {
    let server = token_server();
    let mut witness = Member::come_with(server.address(), &lasting_token("Wim"));
    witness.join("room");
    let good = lasting_token("Ada");
    let bad = [
        lasting_token("Eve"),
        lasting_token("ada"),
        foreign_token("Ada"),
        token("Ada", now()),
        "garbage".to_owned(),
        format!("{good}x"),
        good.rsplit_once('.').expect("a token has dots").0.to_owned(),
    ];
    for token in &bad {
        let mut member = Member::come_with(server.address(), &good);
        member.join("room");
        assert_eq!(witness.hear()["userCount"], 2);
        // What stands behind the wrong token is not served.
        member.send(&[said(&auth_token(token)), said(&chat("unheard"))].concat());
        member.expect_refusal(FAILED);
        assert_eq!(witness.hear()["type"], "user_left", "{token}");
    }
    for malformed in [json!({ "type": "auth" }), json!({ "type": "auth", "token": 7 })] {
        let mut member = Member::come_with(server.address(), &good);
        assert_eq!(member.ask(&malformed), error("Invalid message format"));
        member.leave();
    }
    witness.leave();
    expect_baseline(&server, bad.len() as u64);
}

#[test]
fn who_is_not_known_anymore_cannot_come_back() {
    let server = token_server();
    let mut witness = Member::come_with(server.address(), &lasting_token("Wim"));
    let joined = witness.join("room");
    let since = json!({ "epoch": joined["epoch"], "offset": 0 });
    witness.ask(&chat("what the others must not hear"));
    let last = token("Ada", now() + 2);
    Member::come_with(server.address(), &last).expect_refusal(EXPIRED);
    for token in [last, foreign_token("Ada"), token("Ada", now())] {
        for path in ["/", "/chat", "/echo", "/broadcast"] {
            assert_eq!(upgrade_status(server.address(), &format!("{path}?token={token}")), 401);
        }
        // Bytes behind a refused upgrade are nobody's.
        let mut client = RawClient::connect(server.address());
        let request = upgrade_request(&format!("/chat?token={token}"));
        let join = said(&json!({ "type": "join_room", "roomId": "room", "since": since }));
        client.send(&[request, join].concat());
        client.half_close();
        let (answer, end) = client.read_rest();
        assert!(answer.starts_with("HTTP/1.1 401 ") && !answer.contains("room"), "{answer}");
        assert_eq!(end, End::Fin);
    }
    expect_first_after(&mut witness, server.address());
    witness.leave();
}

/// The next thing that `witness` hears of its room is a second member who comes now.
fn expect_first_after(witness: &mut Member, address: SocketAddr) {
    let mut second = Member::come_with(address, &lasting_token("Bob"));
    assert_eq!(second.join("room")["userCount"], 2);
    let joined = json!({ "type": "user_joined", "roomId": "room", "userCount": 2 });
    assert_eq!(witness.hear(), joined);
    second.leave();
}

#[test]
fn without_authentication_a_member_has_the_name_it_likes() {
    let server = Server::start(&["--shards", "2", "--admin", ADMIN]);
    let mut member = Member::come(server.address());
    let guest = format!("guest-{}", member.id);
    assert_eq!(name_in_room(&mut member), *guest);
    for name in ["Ada", "ümlaut 😀", &"é".repeat(50)] {
        assert_eq!(member.ask(&rename(name)), auth_success(name));
        assert_eq!(member.ask(&chat("hello"))["username"], name);
    }
    for bad in ["", " ", "\t", "a\nb", "a\u{0}", "a\u{7f}", &"é".repeat(51)] {
        assert_eq!(member.ask(&rename(bad)), error("Invalid message format"), "{bad:?}");
    }
    for bad in [json!(7), json!(["Ada"]), json!({}), json!(true), json!(null)] {
        assert_eq!(member.ask(&rename(bad.clone())), error("Invalid message format"), "{bad}");
    }
    member.send(&frame(BINARY, rename("Eve").to_string().as_bytes()));
    member.expect_error("Invalid message format");
    let name = member.ask(&chat("hello"))["username"].clone();
    assert_eq!(name, "é".repeat(50), "a refused name changes nothing");
    // Nobody can be asked for what no one could judge.
    assert_eq!(member.ask(&auth_token("garbage")), auth_success(&guest));
    assert_eq!(member.ask(&auth_password("Bob", "anything")), auth_success("Bob"));
    let other = Member::come(server.address());
    assert_ne!(member.id, other.id);
    member.leave();
    other.leave();
    expect_baseline(&server, 0);
}

#[test]
fn secrets_and_words_stay_out_of_the_log() {
    hold_the_log("info", &["secret-password", "secret-room", "secret-words"]);
    // Then messages are shown, but never those that say who somebody is.
    hold_the_log("trace", &["secret-password"]);
}

/// Neither tokens nor `secrets` are in the log.
fn hold_the_log(level: &str, secrets: &[&str]) {
    let args = ["--auth", "token", "--auth-key", KEY_FILE, "--log-level", level];
    let mut server = Server::start(&[&args[..], &["--admin", ADMIN]].concat());
    let (good, soon) = (lasting_token("Ada-Lovelace"), token("Ada-Lovelace", now() + 2));
    let foreign = foreign_token("Ada-Lovelace");
    let mut member = Member::come_with(server.address(), &good);
    member.join("secret-room");
    member.ask(&chat("secret-words"));
    member.say(&auth_token(&foreign));
    member.expect_refusal(FAILED);
    let mut member = Member::come_with(server.address(), &good);
    member.ask(&auth_token(&soon));
    member.say(&json!({ "type": "auth", "token": good, "username": ["secret-password"] }));
    let heard = member.next();
    assert!(matches!(heard, Heard::Message(_)), "{heard:?}");
    member.say(&auth_password("Ada-Lovelace", "secret-password"));
    member.expect_refusal(FAILED);
    assert_eq!(upgrade_status(server.address(), &format!("/?token={foreign}")), 401);
    // Cut off in the middle of a request and of a message.
    let mut client = RawClient::connect(server.address());
    let request = upgrade_request(&format!("/?token={good}"));
    client.send(&request[..request.len() - 2]);
    client.reset();
    let mut member = Member::come_with(server.address(), &good);
    let bytes = said(&auth_token(&good));
    member.send(&bytes[..bytes.len() - 1]);
    drop(member);
    wait_for_value(server.admin_address(), "connections", 0);

    server.terminate();
    server.wait_for_exit(Duration::from_secs(20));
    let output = server.output();
    assert!(output.contains("authentication failed"), "the log has what it may: {output}");
    let tokens = [good, soon, foreign].map(|token| token.split('.').map(str::to_owned).collect());
    let parts = tokens.into_iter().flat_map(|parts: Vec<String>| parts);
    for secret in parts.chain(secrets.iter().map(|&secret| secret.to_owned())) {
        // All tokens begin alike, with their header; that is no secret, but nobody's business.
        assert!(!output.contains(&secret), "the server shows {secret}: {output}");
    }
}

#[test]
fn a_busy_connection_ends_with_its_token_too() {
    let server = token_server();
    let expires = now() + 2;
    let mut member = Member::come_with(server.address(), &token("Ada", expires));
    member.join("room");
    // Whatever it does, and it does as much as the rate allows, moves its end no further.
    let mut pongs = 0;
    let end = loop {
        // The server may have closed; what it had to say before is still to be read.
        let _ = member.try_say(&ping());
        match member.next() {
            Heard::Message(message) => assert_eq!(message, json!({ "type": "pong" })),
            end => break end,
        }
        pongs += 1;
        std::thread::sleep(Duration::from_millis(30));
    };
    assert_eq!(end, Heard::Close(4001, EXPIRED.to_owned()), "after {pongs} pongs");
    assert!(now() >= expires && pongs > 0);
}
