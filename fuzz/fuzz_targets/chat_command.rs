//! Any bytes as a message of a chat client: no panic, one opinion with a JSON parser on what is
//! JSON, and a text that was read is said again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringwire::app::chat::answer::message_head;
use ringwire::app::chat::{Command, CommandError, parse};
use serde_json::Value;

fuzz_target!(|payload: &[u8]| {
    let document = serde_json::from_slice::<Value>(payload);
    match parse(payload) {
        Ok(command) => check_command(&command, &document.expect("a command is JSON")),
        Err(CommandError::Format) => assert!(document.is_ok()),
        // It may also be nested too deep.
        Err(CommandError::Json) => {}
    }
});

fn check_command(command: &Command<'_>, document: &Value) {
    assert!(document.is_object());
    let Command::ChatMessage { room, text, id } = command else { return };
    assert_eq!(document["text"], **text);
    assert_eq!(document.get("id").and_then(Value::as_str), id.as_deref());
    let room = room.as_deref().unwrap_or("the last");
    let mut out = Vec::new();
    message_head(&mut out, room, "Ada", text, id.as_deref());
    out.push(b'}');
    let said: Value = serde_json::from_slice(&out).expect("a head and a brace are JSON");
    assert_eq!((&said["roomId"], &said["text"]), (&room.into(), &document["text"]));
}
