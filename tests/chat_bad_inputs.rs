//! What a client of the chat must not say: the exact answer to each, and that nobody else hears
//! anything of it.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/raw.rs"]
mod raw;

use chat::{ChatClient, Said, message, start, user_joined, user_left};
use raw::{BINARY, CONTINUE_END, Frame, RawClient, TEXT, TEXT_BEGIN};
use serde_json::{Value, json};

const JSON: &str = "Invalid JSON";
const FORMAT: &str = "Invalid message format";
const NOT_IN_ROOM: &str = "Not in room";

/// What the inputs say where they can say anything.
const MARK: &str = "zqx";

/// Syntax that is not JSON (RFC 8259), in text that is UTF-8.
const NOT_JSON: &[&str] = &[
    "",
    " ",
    "zqx",
    "{zqx",
    "}zqx",
    "[\"zqx\"",
    "[\"zqx\",]",
    "{\"zqx\"}",
    "{\"zqx\":}",
    "{zqx:1}",
    "{'type':'zqx'}",
    "\"zqx",
    "\"zqx\u{1}\"",
    "\"zqx\n\"",
    "\"\\zqx\"",
    "\"zqx\\u12\"",
    "\0zqx",
    "\u{FEFF}{\"type\":\"ping\",\"zqx\":1}",
    "nul",
    "NaN",
    "Infinity",
    "-",
    "01",
    "1.",
    "+1",
    "1e999",
    "-1e999",
    "{\"type\":\"ping\",\"zqx\":1e400}",
    "{\"type\":\"ping\"} zqx",
    "{\"type\":\"ping\"}{\"type\":\"ping\"}",
    "{\"type\":\"ping\",}",
    "{\"type\":\"ping\" /* zqx */}",
    "{\"type\":\"chat_message\",\"text\":\"zqx \\ud83d\"}",
    "{\"type\":\"chat_message\",\"text\":\"zqx \\udc00\\ud800\"}",
    "{\"type\":\"ping\",\"\\ud800\":\"zqx\"}",
    // The fault of the syntax comes before that of the shape.
    "{\"type\":5,\"zqx\":tru}",
];

/// JSON of a wrong shape.
const NOT_A_COMMAND: &[&str] = &[
    "null",
    "true",
    "5",
    "184467440737095516160000",
    "\"ping\"",
    "[]",
    "[{\"type\":\"ping\"}]",
    "{}",
    "{\"zqx\":1}",
    "{\"Type\":\"ping\"}",
    "{\"type\":\"PING\"}",
    "{\"type\":\"ping \"}",
    "{\"type\":\"zqx\"}",
    "{\"type\":\"\"}",
    "{\"type\":null}",
    "{\"type\":[\"ping\"]}",
    "{\"type\":\"ping\",\"type\":\"ping\"}",
    "{\"type\":\"ping\",\"\\u0074ype\":\"ping\"}",
    // What only the server says.
    "{\"type\":\"welcome\"}",
    "{\"type\":\"pong\"}",
    "{\"type\":\"error\",\"message\":\"zqx\"}",
    "{\"type\":\"user_left\",\"roomId\":\"witnessed\",\"userCount\":0}",
    "{\"type\":\"room_joined\",\"roomId\":\"witnessed\"}",
    "{\"type\":\"auth\"}",
    "{\"type\":\"auth\",\"password\":\"zqx\"}",
    "{\"type\":\"auth\",\"token\":\"\"}",
    "{\"type\":\"auth\",\"token\":\"zqx\",\"username\":\"zqx\"}",
    "{\"type\":\"join_room\"}",
    "{\"type\":\"join_room\",\"room\":\"zqx\"}",
    "{\"type\":\"join_room\",\"roomId\":null}",
    "{\"type\":\"join_room\",\"roomId\":\"zqx\",\"roomId\":\"zqx\"}",
    "{\"type\":\"join_room\",\"roomId\":\"zqx\",\"since\":{}}",
    "{\"type\":\"join_room\",\"roomId\":\"zqx\",\"since\":{\"epoch\":\"a\"}}",
    "{\"type\":\"join_room\",\"roomId\":\"zqx\",\"since\":{\"offset\":1}}",
    "{\"type\":\"join_room\",\"roomId\":\"zqx\",\"since\":{\"epoch\":\"a\",\"offset\":null}}",
    "{\"type\":\"chat_message\"}",
    "{\"type\":\"chat_message\",\"text\":null}",
    "{\"type\":\"chat_message\",\"text\":\"zqx\",\"text\":\"zqx\"}",
    "{\"type\":\"chat_message\",\"text\":\"zqx\",\"id\":\"\"}",
    "{\"type\":\"chat_message\",\"text\":\"zqx\",\"id\":\"a\",\"id\":\"a\"}",
];

const ELSEWHERE: &[&str] = &[
    "{\"type\":\"leave_room\",\"roomId\":\"zqx\"}",
    "{\"type\":\"leave_room\",\"roomId\":\"Witnessed\"}",
    "{\"type\":\"leave_room\",\"roomId\":\"witnessed \"}",
    "{\"type\":\"chat_message\",\"roomId\":\"zqx\",\"text\":\"zqx\"}",
    "{\"type\":\"chat_message\",\"roomId\":\"witnesse\\u0501\",\"text\":\"zqx\",\"id\":\"zqx\"}",
];

/// A text message and the error that answers it.
fn inputs() -> Vec<(String, &'static str)> {
    let mut inputs = Vec::new();
    for (cases, error) in [(NOT_JSON, JSON), (NOT_A_COMMAND, FORMAT), (ELSEWHERE, NOT_IN_ROOM)] {
        inputs.extend(cases.iter().map(|case| ((*case).to_owned(), error)));
    }
    inputs.extend(fields().into_iter().map(|command| (command.to_string(), FORMAT)));
    for levels in [16, 17, 10_000] {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        inputs.push((format!("{{\"type\":\"ping\",\"zqx\":{open}{close}}}"), JSON));
        inputs.push((format!("{{\"type\":\"ping\",\"zqx\":{open}"), JSON));
        let (open, close) = ("{\"zqx\":".repeat(levels), "}".repeat(levels));
        inputs.push((format!("{{\"type\":\"ping\",\"x\":{open}1{close}}}"), JSON));
    }
    // A whole message of 1 MiB, all of it text, and one that is no JSON until its last byte.
    let shell = message("witnessed", "").to_string();
    let largest = message("witnessed", &"z".repeat((1 << 20) - shell.len())).to_string();
    inputs.push((format!("{}}}", &largest[..largest.len() - 1]), FORMAT));
    inputs.push((format!("{}]", &largest[..largest.len() - 1]), JSON));
    inputs
}

/// Each field with a wrong type, and one above each limit; in room `witnessed` where it matters.
fn fields() -> Vec<Value> {
    let long = |characters: usize| "ß".repeat(characters);
    let join = |room: Value| json!({"type": "join_room", "roomId": room});
    let leave = |room: Value| json!({"type": "leave_room", "roomId": room});
    let say = |room: Value| json!({"type": "chat_message", "roomId": room, "text": MARK});
    let text = |text: Value| json!({"type": "chat_message", "text": text});
    let id = |id: Value| json!({"type": "chat_message", "text": MARK, "id": id});
    let name = |name: Value| json!({"type": "auth", "username": name});
    let password =
        |password: Value| json!({"type": "auth", "username": MARK, "password": password});
    let token = |token: Value| json!({"type": "auth", "token": token});
    let since = |since: Value| json!({"type": "join_room", "roomId": MARK, "since": since});
    let epoch = |epoch: Value| since(json!({"epoch": epoch, "offset": 1}));
    let offset = |offset: Value| since(json!({"epoch": "a", "offset": offset}));
    let rooms = [json!(""), json!(" "), json!("\u{3000}"), json!("zqx\n"), json!(long(51))];
    let mut commands = Vec::new();
    for field in [join, leave, say] {
        commands.extend(rooms.iter().cloned().map(field));
    }
    let names = [json!(""), json!("  "), json!("zqx\u{0}"), json!("zqx\u{85}"), json!(long(51))];
    commands.extend(names.into_iter().map(name));
    let texts = [json!(""), json!("zqx\u{0}"), json!("zqx\r\n"), json!("zqx\u{7f}")];
    commands.extend(texts.into_iter().map(text));
    commands.extend([json!(long(1001)), json!("😀".repeat(1001))].map(text));
    commands.extend([json!(long(65)), json!("zqx\t")].map(id));
    commands.extend([json!(""), json!(long(129))].map(password));
    commands.push(token(json!("z".repeat(4097))));
    commands.extend([json!(""), json!(long(65))].map(epoch));
    commands.extend([json!(-1), json!(1.5), json!(1_u64 << 53), json!(u64::MAX)].map(offset));
    commands.push(offset(json!("1")));
    let wrong = [json!(5), json!(true), json!([MARK]), json!({MARK: MARK})];
    for field in [join, leave, say] {
        commands.extend(wrong.iter().cloned().map(field));
    }
    commands.extend(wrong.iter().cloned().map(text));
    commands.extend(wrong.iter().cloned().map(id));
    commands.extend(wrong.iter().cloned().map(name));
    commands.extend(wrong.iter().cloned().map(password));
    commands.extend(wrong.iter().cloned().map(token));
    commands.extend(wrong.iter().cloned().map(epoch));
    commands.extend([json!(5), json!("zqx"), json!(true), json!([1])].map(since));
    commands
}

fn error(message: &str) -> Frame {
    Frame::new(TEXT, format!("{{\"type\":\"error\",\"message\":\"{message}\"}}").as_bytes())
}

#[test]
fn every_bad_input_has_its_answer_and_nobody_else_hears_of_it() {
    let inputs = inputs();
    assert!(inputs.len() > 150, "{}", inputs.len());
    let server = start(&["--shards", "2"]);
    let (mut witness, _) = ChatClient::open_in(server.address(), "witnessed");
    let (mut client, _) = ChatClient::open_in(server.address(), "witnessed");
    for (input, answer) in &inputs {
        client.raw.send_frame(TEXT, input.as_bytes());
        let shown = input.chars().take(200).collect::<String>();
        assert_eq!(client.raw.read_frame(), Ok(error(answer)), "{shown}");
        // The connection goes on.
        client.say(&json!({"type": "ping"}));
        client.hears(&Said::Pong);
    }
    // The same again in one go.
    let small = || inputs.iter().filter(|(input, _)| input.len() < 10_000);
    let frames = small().flat_map(|(input, _)| raw::frame(TEXT, input.as_bytes()));
    client.raw.send(&frames.collect::<Vec<u8>>());
    for (input, answer) in small() {
        assert_eq!(client.raw.read_frame(), Ok(error(answer)), "{input}");
    }
    client.say(&message("witnessed", "good"));
    assert_eq!(client.hear_message(), (1, "good".into()));
    assert_eq!(client.close_and_hear(), []);
    witness.hears(&user_joined("witnessed", 2));
    assert_eq!(witness.hear_message(), (1, "good".into()));
    witness.hears(&user_left("witnessed", 1));
    witness.close();
}

#[test]
fn binary_messages_are_refused_whatever_they_say() {
    let server = start(&["--shards", "1"]);
    let mut client = ChatClient::open(server.address());
    for payload in [&b"{\"type\":\"ping\"}"[..], b"", b"\xFF\xFE", &[0; 1 << 20]] {
        client.raw.send_frame(BINARY, payload);
        client.hears_error(FORMAT);
    }
    client.close();
}

#[test]
fn what_breaks_the_protocol_of_messages_ends_the_connection_and_its_memberships() {
    let server = start(&["--shards", "2"]);
    let (mut witness, _) = ChatClient::open_in(server.address(), "witnessed");
    let too_big = message("witnessed", &"z".repeat(1 << 20)).to_string();
    let text =
        |bytes: &[u8]| [&b"{\"type\":\"chat_message\",\"text\":\"zqx"[..], bytes, b"\"}"].concat();
    let invalid = [&b"\xFF"[..], b"\xC0\xAF", b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"\xE4\xB8"];
    let mut cases: Vec<(Vec<u8>, u16)> = Vec::new();
    for bytes in invalid {
        cases.push((raw::frame(TEXT, &text(bytes)), 1007));
        let parts = [raw::frame(TEXT_BEGIN, &text(b"")), raw::frame(CONTINUE_END, bytes)];
        cases.push((parts.concat(), 1007));
    }
    cases.push((raw::frame(TEXT, too_big.as_bytes())[..14].to_vec(), 1009));
    cases.push((raw::frame(0xC1, b"{\"type\":\"ping\"}"), 1002));
    cases.push((raw::frame(CONTINUE_END, b"{\"type\":\"ping\"}"), 1002));
    for (number, (bytes, code)) in cases.iter().enumerate() {
        let mut client = ChatClient::over(RawClient::connect(server.address()));
        client.join("witnessed", None);
        witness.hears(&user_joined("witnessed", 2));
        client.raw.send(bytes);
        assert_eq!(client.raw.read_close(), Some(*code), "case {number}");
        witness.hears(&user_left("witnessed", 1));
    }
    witness.say(&message("witnessed", "good"));
    assert_eq!(witness.hear_message(), (1, "good".into()));
    witness.close();
}
