//! What the server says to a client of the chat: one JSON object per text message.

use crate::hub::{Epoch, Joined, Wording};
use serde::{Serialize, Serializer};

/// The payload was not JSON.
pub const INVALID_JSON: &str = "Invalid JSON";

/// The payload was JSON, but no command, or a binary message.
pub const INVALID_FORMAT: &str = "Invalid message format";

/// The command is for members of the room only.
pub const NOT_IN_ROOM: &str = "Not in room";

/// The client has not said yet who it is.
pub const NOT_AUTHENTICATED: &str = "Not authenticated";

/// The client sends more than it may; this message was not looked at.
pub const RATE_LIMIT_EXCEEDED: &str = "Rate limit exceeded";

/// The client is in as many rooms as it may be.
pub const TOO_MANY_ROOMS: &str = "Too many rooms";

/// The room spans nodes, and the servers that give it its order are away.
pub const ROOM_UNAVAILABLE: &str = "Room unavailable";

/// Appends the greeting of a new connection. `timestamp` is in milliseconds since 1970.
pub fn welcome(out: &mut Vec<u8>, timestamp: u64, connection_id: &str) {
    write(out, &Answer::Welcome { message: "Connected to server", timestamp, connection_id });
}

/// Appends the answer to good credentials.
pub fn auth_success(out: &mut Vec<u8>, user_id: &str) {
    write(out, &Answer::AuthSuccess { user_id });
}

/// Appends the answer to a ping.
pub fn pong(out: &mut Vec<u8>) {
    write(out, &Answer::Pong);
}

/// Appends the refusal of a message: one of the constants above.
pub fn error(out: &mut Vec<u8>, message: &str) {
    write(out, &Answer::Error { message, room_id: None });
}

/// Appends what is known of a chat message before its room has numbered it. [`ChatWording`] adds
/// the rest.
pub fn message_head(
    out: &mut Vec<u8>,
    room_id: &str,
    username: &str,
    text: &str,
    id: Option<&str>,
) {
    write(out, &Answer::ChatMessage { room_id, username, text, id });
    let end = out.pop();
    debug_assert_eq!(end, Some(b'}'));
}

/// Puts the events of rooms into the words of the chat.
#[derive(Clone, Copy, Debug)]
pub struct ChatWording;

impl Wording for ChatWording {
    fn room_joined(&self, out: &mut Vec<u8>, joined: &Joined<'_>) {
        let Joined { room: room_id, user_count, position, recovered } = *joined;
        let (epoch, offset) = (position.epoch, position.offset);
        write(out, &Answer::RoomJoined { room_id, user_count, epoch, offset, recovered });
    }

    fn user_joined(&self, out: &mut Vec<u8>, room_id: &str, user_count: u64) {
        write(out, &Answer::UserJoined { room_id, user_count });
    }

    fn user_left(&self, out: &mut Vec<u8>, room_id: &str, user_count: u64) {
        write(out, &Answer::UserLeft { room_id, user_count });
    }

    fn unavailable(&self, out: &mut Vec<u8>, room_id: &str) {
        write(out, &Answer::Error { message: ROOM_UNAVAILABLE, room_id: Some(room_id) });
    }

    /// `head` is what [`message_head`] has written.
    fn message(&self, out: &mut Vec<u8>, head: &[u8], timestamp: u64, offset: u64) {
        out.extend_from_slice(head);
        out.extend_from_slice(br#","timestamp":"#);
        write(out, &timestamp);
        out.extend_from_slice(br#","offset":"#);
        write(out, &offset);
        out.push(b'}');
    }
}

/// The vocabulary, its fields in the order that they are written in.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
enum Answer<'a> {
    Welcome {
        message: &'a str,
        timestamp: u64,
        connection_id: &'a str,
    },
    AuthSuccess {
        user_id: &'a str,
    },
    RoomJoined {
        room_id: &'a str,
        user_count: u64,
        #[serde(serialize_with = "write_epoch")]
        epoch: Epoch,
        offset: u64,
        recovered: bool,
    },
    UserJoined {
        room_id: &'a str,
        user_count: u64,
    },
    UserLeft {
        room_id: &'a str,
        user_count: u64,
    },
    ChatMessage {
        room_id: &'a str,
        username: &'a str,
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
    },
    Pong,
    Error {
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        room_id: Option<&'a str>,
    },
}

fn write_epoch<S: Serializer>(epoch: &Epoch, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(epoch)
}

fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("a vector takes all, and every key is a string");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Position;
    use serde_json::{Value, json};

    const AWKWARD: &str = "a \"quoted\" \\ 😀\n\t\u{1}\u{2028}</script>";

    /// What was appended to a vector that was not empty.
    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"before".to_vec();
        write(&mut out);
        String::from_utf8(out.split_off(6)).expect("JSON is UTF-8")
    }

    #[test]
    fn fields_are_in_the_order_of_the_contract() {
        let welcome = written(|out| welcome(out, 1_700_000_000_000, "42"));
        assert_eq!(
            welcome,
            r#"{"type":"welcome","message":"Connected to server","#.to_owned()
                + r#""timestamp":1700000000000,"connectionId":"42"}"#
        );
        assert_eq!(
            written(|out| auth_success(out, "ada")),
            r#"{"type":"auth_success","userId":"ada"}"#
        );
        assert_eq!(written(pong), r#"{"type":"pong"}"#);
        assert_eq!(
            written(|out| error(out, NOT_IN_ROOM)),
            r#"{"type":"error","message":"Not in room"}"#
        );
        assert_eq!(
            written(|out| ChatWording.user_joined(out, "r", 2)),
            r#"{"type":"user_joined","roomId":"r","userCount":2}"#
        );
        assert_eq!(
            written(|out| ChatWording.user_left(out, "r", 1)),
            r#"{"type":"user_left","roomId":"r","userCount":1}"#
        );
    }

    #[test]
    fn room_joined_tells_where_the_room_stands() {
        let position = Position { epoch: Epoch(0xAB), offset: u64::MAX };
        let joined = Joined { room: "r", user_count: 3, position, recovered: true };
        assert_eq!(
            written(|out| ChatWording.room_joined(out, &joined)),
            r#"{"type":"room_joined","roomId":"r","userCount":3,"#.to_owned()
                + r#""epoch":"00000000000000ab","offset":18446744073709551615,"recovered":true}"#
        );
    }

    #[test]
    fn a_message_is_its_head_and_its_number() {
        let head = written(|out| message_head(out, "r", "ada", "hi", None)).into_bytes();
        assert_eq!(
            written(|out| ChatWording.message(out, &head, 7, 1)),
            r#"{"type":"chat_message","roomId":"r","username":"ada","text":"hi","#.to_owned()
                + r#""timestamp":7,"offset":1}"#
        );
        let head = written(|out| message_head(out, "r", "ada", "hi", Some("x"))).into_bytes();
        assert_eq!(
            written(|out| ChatWording.message(out, &head, 7, 1)),
            r#"{"type":"chat_message","roomId":"r","username":"ada","text":"hi","id":"x","#
                .to_owned()
                + r#""timestamp":7,"offset":1}"#
        );
    }

    #[test]
    fn awkward_strings_come_through() {
        let parsed = |text: String| serde_json::from_str::<Value>(&text).expect("it is JSON");
        let joined = Joined {
            room: AWKWARD,
            user_count: 1,
            position: Position { epoch: Epoch(1), offset: 0 },
            recovered: false,
        };
        let head = written(|out| message_head(out, AWKWARD, AWKWARD, AWKWARD, Some(AWKWARD)));
        for (answer, fields) in [
            (
                written(|out| welcome(out, 0, AWKWARD)),
                json!({"type": "welcome", "message": "Connected to server", "timestamp": 0,
                       "connectionId": AWKWARD}),
            ),
            (
                written(|out| auth_success(out, AWKWARD)),
                json!({"type": "auth_success", "userId": AWKWARD}),
            ),
            (written(|out| error(out, AWKWARD)), json!({"type": "error", "message": AWKWARD})),
            (
                written(|out| ChatWording.room_joined(out, &joined)),
                json!({"type": "room_joined", "roomId": AWKWARD, "userCount": 1,
                       "epoch": "0000000000000001", "offset": 0, "recovered": false}),
            ),
            (
                written(|out| ChatWording.user_joined(out, AWKWARD, 2)),
                json!({"type": "user_joined", "roomId": AWKWARD, "userCount": 2}),
            ),
            (
                written(|out| ChatWording.user_left(out, AWKWARD, 0)),
                json!({"type": "user_left", "roomId": AWKWARD, "userCount": 0}),
            ),
            (
                written(|out| ChatWording.message(out, head.as_bytes(), 1, 2)),
                json!({"type": "chat_message", "roomId": AWKWARD, "username": AWKWARD,
                       "text": AWKWARD, "id": AWKWARD, "timestamp": 1, "offset": 2}),
            ),
        ] {
            assert_eq!(parsed(answer), fields);
        }
    }
}
