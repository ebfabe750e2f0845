//! Commands that are read, payloads that are refused, and mutations of both.

use super::super::answer::message_head;
use super::CommandError::{Format, Json};
use super::*;
use crate::collections::random::Random;
use crate::limits::{JSON_LEVELS_MAX, STRANGER_MESSAGE_BYTES_MAX};
use serde_json::{Value as Document, json};

/// Payloads of all commands, and what they say.
fn valid() -> Vec<(&'static str, Command<'static>)> {
    let since = Since { epoch: "00000000000000ab".into(), offset: 7 };
    let named = |password: Option<&'static str>| {
        let password = password.map(Cow::from);
        Command::Auth(Credentials::Password { username: "Ada".into(), password })
    };
    let in_lobby = |text: &'static str, id: Option<&'static str>| Command::ChatMessage {
        room: Some("lobby".into()),
        text: text.into(),
        id: id.map(Cow::from),
    };
    vec![
        (r#"{"type":"ping"}"#, Command::Ping),
        (r#" { "type" : "leave_room" } "#, Command::LeaveRoom { room: None }),
        (
            r#"{"type":"leave_room","roomId":"lobby"}"#,
            Command::LeaveRoom { room: Some("lobby".into()) },
        ),
        (r#"{"type":"join_room","roomId":"lobby"}"#, join("lobby")),
        (
            r#"{"since":{"offset":7,"epoch":"00000000000000ab"},"roomId":"a","type":"join_room"}"#,
            Command::JoinRoom { room: "a".into(), since: Some(since) },
        ),
        (
            r#"{"type":"join_room","roomId":"世界 😀","since":null,"x":[{"a":[true,null,-1.5e3]}]}"#,
            join("世界 😀"),
        ),
        (r#"{"type":"chat_message","text":"hello"}"#, said("hello")),
        (
            r#"{"type":"chat_message","roomId":"lobby","text":"\"\\\/\n\t\u00e9\ud83d\ude00"}"#,
            in_lobby("\"\\/\n\té😀", None),
        ),
        (
            r#"{"type":"chat_message","roomId":"lobby","text":"Grüße\n 😀","id":"0af7c3"}"#,
            in_lobby("Grüße\n 😀", Some("0af7c3")),
        ),
        (
            r#"{"type":"auth","token":"eyJhbGciOiJIUzI1NiJ9.e30.c2ln"}"#,
            Command::Auth(Credentials::Token("eyJhbGciOiJIUzI1NiJ9.e30.c2ln".into())),
        ),
        (r#"{"type":"auth","username":"Ada","password":"horse"}"#, named(Some("horse"))),
        (r#"{"type":"auth","username":"Ada"}"#, named(None)),
    ]
}

#[test]
fn reads_every_command() {
    for (payload, command) in valid() {
        assert_eq!(read_text(payload), Ok(command), "{payload}");
    }
}

#[test]
fn null_counts_as_absent_and_other_fields_as_nothing() {
    for (payload, command) in [
        (r#"{"type":"leave_room","roomId":null}"#, Command::LeaveRoom { room: None }),
        (r#"{"type":"chat_message","text":"a","id":null,"roomId":null}"#, said("a")),
        (
            r#"{"type":"auth","token":"t","username":null,"password":null}"#,
            Command::Auth(Credentials::Token("t".into())),
        ),
        // Fields of other commands, and of no command, with any value and any number of times.
        (r#"{"type":"ping","text":5,"id":[],"since":{"epoch":1}}"#, Command::Ping),
        (r#"{"type":"ping","x":1,"x":{"type":"auth"},"":null}"#, Command::Ping),
        (r#"{"type":"join_room","roomId":"a","text":"","username":"Ada"}"#, join("a")),
        (r#"{"\u0074ype":"\u0070ing"}"#, Command::Ping),
    ] {
        assert_eq!(read_text(payload), Ok(command), "{payload}");
    }
}

#[test]
fn what_is_no_json_is_called_so_whatever_its_shape() {
    let cases: &[&[u8]] = &[
        b"",
        b" ",
        b"hello",
        b"{",
        b"}",
        b"{]",
        b"[",
        b"[1,]",
        b"nul",
        b"True",
        b"NaN",
        b"-",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"1e",
        b"1e999",
        b"0x10",
        b"'ping'",
        b"\"ping",
        b"\"tab\tin a string\"",
        b"\"\\x41\"",
        b"\"\\u12g4\"",
        b"\0",
        b"\xEF\xBB\xBF{\"type\":\"ping\"}",
        br#"{"type":"ping""#,
        br#"{"type":"ping"} x"#,
        br#"{"type":"ping"}{"type":"ping"}"#,
        br#"{"type":"ping"},"#,
        br#"{"type":"ping",}"#,
        br#"{"type" "ping"}"#,
        br#"{type:"ping"}"#,
        br#"{"type":}"#,
        br#"{"type":"ping" /* comment */}"#,
        br#"{"type":"join_room","roomId":5, bad"#,
        br#"{"type":"join_room","roomId":5,"since":{"epoch":}}"#,
        br#"{"type":5,"type":6,"x":tru}"#,
        br#"{"type":"ping","x":"\ud800"}"#,
        br#"{"type":"ping","x":"\udc00\ud800"}"#,
        br#"{"type":"ping","x":["\ud83dx"]}"#,
        br#"{"type":"ping","\ud800":1}"#,
        br#"{"type":"chat_message","text":"\ud83d"}"#,
        br#"{"type":"ping","x":1e999}"#,
        b"{\"type\":\"chat_message\",\"text\":\"\xFF\"}",
        b"{\"type\":\"ping\",\"x\":\"\xC0\xAF\"}",
        b"{\"type\":\"ping\",\"x\":\"\xED\xA0\x80\"}",
        b"{\"type\":\"ping\",\"\xFF\":1}",
        b"{\"type\":\"ping\"}\xFF",
    ];
    for case in cases {
        assert_eq!(parse(case), Err(Json), "{}", case.escape_ascii());
    }
}

#[test]
fn json_of_another_shape_is_called_so() {
    for case in [
        "null",
        "5",
        "true",
        r#""ping""#,
        "[]",
        r#"[{"type":"ping"}]"#,
        "{}",
        r#"{"Type":"ping"}"#,
        r#"{"type":5}"#,
        r#"{"type":null}"#,
        r#"{"type":["ping"]}"#,
        r#"{"type":{"type":"ping"}}"#,
        r#"{"type":""}"#,
        r#"{"type":"PING"}"#,
        r#"{"type":"ping "}"#,
        r#"{"type":"welcome"}"#,
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":"ping","\u0074ype":null}"#,
        r#"{"type":"join_room"}"#,
        r#"{"type":"join_room","roomId":null}"#,
        r#"{"type":"join_room","roomid":"a"}"#,
        r#"{"type":"join_room","roomId":5}"#,
        r#"{"type":"join_room","roomId":true}"#,
        r#"{"type":"join_room","roomId":["a"]}"#,
        r#"{"type":"join_room","roomId":{}}"#,
        r#"{"type":"join_room","roomId":""}"#,
        r#"{"type":"join_room","roomId":" \t"}"#,
        r#"{"type":"join_room","roomId":"\u2003 "}"#,
        r#"{"type":"join_room","roomId":"a\nb"}"#,
        r#"{"type":"join_room","roomId":"a\u0000"}"#,
        r#"{"type":"join_room","roomId":"a\u0085"}"#,
        r#"{"type":"join_room","roomId":"a","roomId":"a"}"#,
        r#"{"type":"join_room","roomId":null,"roomId":"a"}"#,
        r#"{"type":"join_room","roomId":"a","since":5}"#,
        r#"{"type":"join_room","roomId":"a","since":"00000000000000ab"}"#,
        r#"{"type":"join_room","roomId":"a","since":[]}"#,
        r#"{"type":"join_room","roomId":"a","since":{}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":"e"}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"offset":1}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":null,"offset":1}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":"e","offset":null}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":"","offset":1}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":1,"offset":1}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":"e","offset":"1"}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":"e","offset":-1}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":"e","offset":1.5}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":"e","offset":1e3}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":"e","offset":9007199254740992}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":"e","offset":99999999999999999999}}"#,
        r#"{"type":"join_room","roomId":"a","since":{"epoch":"e","offset":1,"offset":1}}"#,
        r#"{"type":"join_room","roomId":"a","since":null,"since":{"epoch":"e","offset":1}}"#,
        r#"{"type":"join_room","roomId":"a","epoch":"e","offset":1,"since":{}}"#,
        r#"{"type":"chat_message"}"#,
        r#"{"type":"chat_message","text":null}"#,
        r#"{"type":"chat_message","text":5}"#,
        r#"{"type":"chat_message","text":""}"#,
        r#"{"type":"chat_message","text":"\u0000"}"#,
        r#"{"type":"chat_message","text":"bell \u0007"}"#,
        r#"{"type":"chat_message","text":"a\r\n"}"#,
        r#"{"type":"chat_message","text":"\u007f"}"#,
        r#"{"type":"chat_message","text":"\u009b"}"#,
        r#"{"type":"chat_message","text":"a","roomId":7}"#,
        r#"{"type":"chat_message","text":"a","roomId":""}"#,
        r#"{"type":"chat_message","text":"a","text":"b"}"#,
        r#"{"type":"chat_message","text":"a","id":1}"#,
        r#"{"type":"chat_message","text":"a","id":""}"#,
        r#"{"type":"chat_message","text":"a","id":"\n"}"#,
        r#"{"type":"leave_room","roomId":0}"#,
        r#"{"type":"leave_room","roomId":" "}"#,
        r#"{"type":"auth"}"#,
        r#"{"type":"auth","token":null}"#,
        r#"{"type":"auth","token":""}"#,
        r#"{"type":"auth","token":5}"#,
        r#"{"type":"auth","token":"t","username":"Ada"}"#,
        r#"{"type":"auth","token":"t","password":"p"}"#,
        r#"{"type":"auth","token":"t","token":"t"}"#,
        r#"{"type":"auth","password":"p"}"#,
        r#"{"type":"auth","username":""}"#,
        r#"{"type":"auth","username":"  "}"#,
        r#"{"type":"auth","username":"A\u0009da"}"#,
        r#"{"type":"auth","username":["Ada"]}"#,
        r#"{"type":"auth","username":"Ada","password":""}"#,
        r#"{"type":"auth","username":"Ada","password":1}"#,
    ] {
        assert_eq!(read_text(case), Err(Format), "{case}");
    }
}

/// The longest string of every field is read, one more character is not; both with characters of
/// four bytes.
#[test]
fn lengths_are_counted_in_characters() {
    for (field, longest, rest) in [
        ("roomId", 50, json!({"type": "join_room"})),
        ("text", 1000, json!({"type": "chat_message"})),
        ("id", 64, json!({"type": "chat_message", "text": "a"})),
        ("username", 50, json!({"type": "auth"})),
        ("password", 128, json!({"type": "auth", "username": "Ada"})),
    ] {
        let with = |characters: usize| {
            let mut document = rest.clone();
            document[field] = json!("😀".repeat(characters));
            document.to_string()
        };
        assert!(read_text(&with(longest)).is_ok(), "{field}");
        assert_eq!(read_text(&with(longest + 1)), Err(Format), "{field}");
    }
    let with_epoch = |characters: usize| {
        let since = json!({"epoch": "é".repeat(characters), "offset": OFFSET_MAX});
        json!({"type": "join_room", "roomId": "a", "since": since}).to_string()
    };
    assert!(read_text(&with_epoch(64)).is_ok());
    assert_eq!(read_text(&with_epoch(65)), Err(Format));
    let with_token =
        |bytes: usize| json!({"type": "auth", "token": "é".repeat(bytes / 2)}).to_string();
    let longest = with_token(4000);
    assert!(read_text(&longest).is_ok() && longest.len() <= STRANGER_MESSAGE_BYTES_MAX);
    assert_eq!(read_text(&with_token(4002)), Err(Format));
}

#[test]
fn nesting_is_bounded() {
    let nested = |open: &str, close: &str, levels: usize| {
        let value = [&open.repeat(levels), "1", &close.repeat(levels)].concat();
        format!(r#"{{"type":"ping","x":{value}}}"#)
    };
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deepest = JSON_LEVELS_MAX - 1;
        assert_eq!(read_text(&nested(open, close, deepest)), Ok(Command::Ping));
        assert_eq!(read_text(&nested(open, close, deepest + 1)), Err(Json));
        assert_eq!(read_text(&nested(open, close, 10_000)), Err(Json));
        assert_eq!(read_text(&open.repeat(10_000)), Err(Json));
    }
    let brackets = json!({"type": "chat_message", "text": "[{".repeat(100)}).to_string();
    assert_eq!(read_text(&brackets), Ok(said(&"[{".repeat(100))));
}

#[test]
fn only_strings_with_escapes_are_copied() {
    let plain = r#"{"type":"chat_message","roomId":"lobby","text":"Grüße 😀","id":"x"}"#;
    let Ok(Command::ChatMessage { room: Some(room), text, id: Some(id) }) = read_text(plain) else {
        panic!("{plain} is a chat message with all fields");
    };
    for string in [&room, &text, &id] {
        assert!(matches!(string, Cow::Borrowed(_)), "{string}");
    }
    assert!(plain.as_bytes().as_ptr_range().contains(&text.as_ptr()));

    let escaped = r#"{"type":"join_room","roomId":"a\"b","since":{"epoch":"e","offset":0}}"#;
    let Ok(Command::JoinRoom { room, since: Some(since) }) = read_text(escaped) else {
        panic!("{escaped} is a join");
    };
    assert!(matches!(room, Cow::Owned(_)));
    assert!(matches!(since.epoch, Cow::Borrowed("e")));

    let auth = r#"{"type":"auth","username":"Ada","password":"p"}"#;
    assert!(matches!(
        read_text(auth),
        Ok(Command::Auth(Credentials::Password {
            username: Cow::Borrowed("Ada"),
            password: Some(Cow::Borrowed("p")),
        }))
    ));
}

#[test]
fn secrets_are_not_printed() {
    for payload in [
        r#"{"type":"auth","token":"secret"}"#,
        r#"{"type":"auth","username":"Ada","password":"secret"}"#,
    ] {
        let command = read_text(payload).expect("it is a command");
        assert!(!format!("{command:?}").contains("secret"));
    }
}

/// Whatever becomes of a command: it agrees with a JSON parser on what is JSON, and what is read as
/// a text to say is said again with the same text.
#[test]
fn mutations_are_read_or_refused_soundly() {
    let valid = valid();
    let mut random = Random::new(1);
    let (mut commands, mut refused, mut no_json) = (0, 0, 0);
    for _ in 0..60_000 {
        let (payload, _) = valid[pick(&mut random, valid.len())];
        let mut payload = payload.as_bytes().to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut random, &mut payload);
        }
        let document = serde_json::from_slice::<Document>(&payload);
        match parse(&payload) {
            Ok(command) => {
                assert!(document.is_ok(), "{}", payload.escape_ascii());
                check_echo(&command, &payload);
                commands += 1;
            }
            Err(Format) => {
                assert!(document.is_ok(), "{}", payload.escape_ascii());
                refused += 1;
            }
            // Nothing here is nested too deep.
            Err(Json) => {
                assert!(document.is_err(), "{}", payload.escape_ascii());
                no_json += 1;
            }
        }
    }
    assert!(commands.min(refused).min(no_json) > 1000, "{commands}, {refused}, {no_json}");
}

fn mutate(random: &mut Random, payload: &mut Vec<u8>) {
    const PIECES: [&str; 12] = [
        "\"",
        "\\u0041",
        "\\ud800",
        ",",
        "{",
        "}",
        "null",
        "[1]",
        "\u{7f}",
        "😀",
        " ",
        "\"id\":\"1\",",
    ];
    let at = pick(random, payload.len() + 1);
    let end = (at + pick(random, 4)).min(payload.len());
    match random.below(5) {
        0 => payload.truncate(at.max(1)),
        1 => drop(payload.drain(at..end)),
        2 => drop(payload.splice(at..end, PIECES[pick(random, PIECES.len())].bytes())),
        3 => payload.splice(at..at, PIECES[pick(random, PIECES.len())].bytes()).for_each(drop),
        _ => payload.splice(at..end, [random.below(256) as u8]).for_each(drop),
    }
}

fn check_echo(command: &Command<'_>, payload: &[u8]) {
    let Command::ChatMessage { room, text, id } = command else { return };
    let room = room.as_deref().unwrap_or("the last");
    let mut out = Vec::new();
    message_head(&mut out, room, "Ada", text, id.as_deref());
    out.push(b'}');
    let said: Document = serde_json::from_slice(&out).expect("a head and a brace are JSON");
    let mut expected =
        json!({"type": "chat_message", "roomId": room, "username": "Ada", "text": text});
    if let Some(id) = id {
        expected["id"] = json!(id);
    }
    assert_eq!(said, expected);
    let asked: Document = serde_json::from_slice(payload).expect("a command is JSON");
    assert_eq!(said["text"], asked["text"]);
}

fn read_text(payload: &str) -> Result<Command<'_>, CommandError> {
    parse(payload.as_bytes())
}

fn said(text: &str) -> Command<'_> {
    Command::ChatMessage { room: None, text: text.into(), id: None }
}

fn join(room: &str) -> Command<'_> {
    Command::JoinRoom { room: room.into(), since: None }
}

fn pick(random: &mut Random, count: usize) -> usize {
    random.below(u32::try_from(count).expect("payloads are short")) as usize
}
