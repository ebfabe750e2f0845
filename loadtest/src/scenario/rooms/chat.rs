//! The chat protocol: the frames that a client sends, and what the server's messages say.

use std::borrow::Cow;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use ringwire::protocol::{MessageKind, OpCode, encode_masked_frame};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::connections::Connections;
use crate::payload::MASKING_KEY;
use crate::scenario::Message;

/// Characters that the text of a message may have.
pub(crate) const TEXT_CHARACTERS_MAX: usize = 1000;

/// Texts of errors that are told apart, and characters that are kept of each: they stay in memory
/// until the program ends.
const ERRORS_MAX: usize = 32;
const ERROR_CHARACTERS_MAX: usize = 100;

/// What is sent in the rooms of one run. Frames gather until they are sent.
#[derive(Debug)]
pub(crate) struct Speech {
    /// All names of rooms begin with this, so that runs do not meet.
    prefix: String,
    payload: Vec<u8>,
    frames: Vec<u8>,
}

impl Speech {
    /// For the run with this number.
    pub(crate) fn new(run: u32) -> Self {
        Self { prefix: format!("load-{run:08x}-"), payload: Vec::new(), frames: Vec::new() }
    }

    /// Asks to become a member of a room; after what was missed, if that is to come: the epoch as
    /// JSON, and the last offset that was received.
    pub(crate) fn join_room(&mut self, room: u32, since: Option<(&str, u64)>) {
        let prefix = &self.prefix;
        let payload = &mut self.payload;
        let written = write!(payload, r#"{{"type":"join_room","roomId":"{prefix}{room}""#)
            .and_then(|()| match since {
                None => Ok(()),
                Some((epoch, offset)) => {
                    write!(payload, r#","since":{{"epoch":{epoch},"offset":{offset}}}"#)
                }
            })
            .and_then(|()| payload.write_all(b"}"));
        self.end_message(written);
    }

    /// Gives a membership up.
    pub(crate) fn leave_room(&mut self, room: u32) {
        let prefix = &self.prefix;
        let written = write!(self.payload, r#"{{"type":"leave_room","roomId":"{prefix}{room}"}}"#);
        self.end_message(written);
    }

    /// Says something to all members. `text` needs no escapes.
    pub(crate) fn chat_message(&mut self, room: u32, text: &[u8]) {
        let prefix = &self.prefix;
        let payload = &mut self.payload;
        let written =
            write!(payload, r#"{{"type":"chat_message","roomId":"{prefix}{room}","text":""#)
                .and_then(|()| payload.write_all(text))
                .and_then(|()| payload.write_all(b"\"}"));
        self.end_message(written);
    }

    /// Sends what has gathered.
    pub(crate) fn send(&mut self, connections: &mut Connections, index: u32) {
        connections.send(index, &self.frames);
        self.frames.clear();
    }

    /// The number of a room of this run.
    pub(crate) fn room(&self, name: &str) -> Option<u32> {
        name.strip_prefix(&*self.prefix)?.parse().ok()
    }

    fn end_message(&mut self, written: std::io::Result<()>) {
        written.expect("a vector takes everything");
        encode_masked_frame(&mut self.frames, OpCode::Text, &self.payload, MASKING_KEY);
        self.payload.clear();
    }
}

/// What a message of the server says.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Said<'a> {
    /// `welcome`.
    Welcome,
    /// `room_joined`.
    RoomJoined(Joined<'a>),
    /// `user_joined`.
    UserJoined(Count<'a>),
    /// `user_left`.
    UserLeft(Count<'a>),
    /// `chat_message`.
    ChatMessage {
        /// The name of the room.
        room: Cow<'a, str>,
        /// What was said.
        text: Cow<'a, str>,
        /// Its number in the room.
        offset: u64,
    },
    /// `error`: the text, or a part of it.
    Error(&'static str),
    /// `pong` and `auth_success`, which nothing here asks for.
    Other,
}

/// The answer to `join_room`.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Joined<'a> {
    /// Members now.
    pub(crate) count: Count<'a>,
    /// Within which offsets count, as JSON.
    pub(crate) epoch: &'a str,
    /// That of the last message.
    pub(crate) offset: u64,
    /// Whether all that was missed follows.
    pub(crate) recovered: bool,
}

/// How many members a room has.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Count<'a> {
    /// The name of the room.
    pub(crate) room: Cow<'a, str>,
    /// Its members.
    pub(crate) users: u64,
}

/// Reads a message of the server.
///
/// # Errors
/// How it breaks the protocol.
#[inline]
pub(crate) fn read<'a>(message: &Message<'a>) -> Result<Said<'a>, &'static str> {
    if message.kind != MessageKind::Text {
        return Err("a binary message in a chat");
    }
    let fields: Fields<'_> = serde_json::from_slice(message.payload)
        .map_err(|_| "not JSON, or not with the fields of the chat protocol")?;
    fields.meaning()
}

/// The fields of all messages.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    room_id: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    user_count: Option<u64>,
    offset: Option<u64>,
    recovered: Option<bool>,
}

/// Text that is copied only when it has escapes. (serde borrows a `Cow` in an `Option` never.)
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Fields<'a> {
    fn meaning(self) -> Result<Said<'a>, &'static str> {
        match &*self.kind.0 {
            "chat_message" => {
                let (Some(room), Some(text), Some(offset)) = (self.room_id, self.text, self.offset)
                else {
                    return Err("a chat_message without roomId, text or offset");
                };
                Ok(Said::ChatMessage { room: room.0, text: text.0, offset })
            }
            "room_joined" => {
                let (Some(epoch), Some(offset), Some(recovered)) =
                    (self.epoch, self.offset, self.recovered)
                else {
                    return Err("a room_joined without epoch, offset or recovered");
                };
                let count = count(self.room_id, self.user_count)?;
                Ok(Said::RoomJoined(Joined { count, epoch: epoch.get(), offset, recovered }))
            }
            "user_joined" => Ok(Said::UserJoined(count(self.room_id, self.user_count)?)),
            "user_left" => Ok(Said::UserLeft(count(self.room_id, self.user_count)?)),
            "welcome" => Ok(Said::Welcome),
            "error" => {
                Ok(Said::Error(self.message.map_or("without a message", |text| kept(&text.0))))
            }
            "pong" | "auth_success" => Ok(Said::Other),
            _ => Err("a type that the chat protocol does not have"),
        }
    }
}

fn count<'a>(room: Option<Text<'a>>, users: Option<u64>) -> Result<Count<'a>, &'static str> {
    let (Some(room), Some(users)) = (room, users) else {
        return Err("a change of members without roomId or userCount");
    };
    Ok(Count { room: room.0, users })
}

/// The text of an error for as long as the program runs, if there are not too many.
#[cold]
fn kept(text: &str) -> &'static str {
    static KEPT: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let plain = text.chars().filter(|character| !character.is_control());
    let text: String = plain.take(ERROR_CHARACTERS_MAX).collect();
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(same) = kept.iter().find(|same| **same == text) {
        return same;
    }
    if kept.len() == ERRORS_MAX {
        return "(one of many)";
    }
    let text: &'static str = text.leak();
    kept.push(text);
    text
}

#[cfg(test)]
mod tests {
    use ringwire::protocol::{AssemblyPool, Decoder, Event, Input, Limits, Role};

    use super::*;

    fn read(text: &str) -> Result<Said<'_>, &'static str> {
        super::read(&Message { kind: MessageKind::Text, payload: text.as_bytes(), at: 0 })
    }

    fn count(room: &str, users: u64) -> Count<'_> {
        Count { room: room.into(), users }
    }

    #[test]
    fn messages_of_the_server_are_understood() {
        let joined = r#"{"type":"room_joined","roomId":"r","userCount":3,"epoch":"a\"1","offset":7,
            "recovered":false,"new":[{}]}"#;
        let meant =
            Joined { count: count("r", 3), epoch: r#""a\"1""#, offset: 7, recovered: false };
        assert_eq!(read(joined), Ok(Said::RoomJoined(meant)));
        for (text, said) in [
            (r#"{"type":"welcome","message":"Hello","timestamp":1}"#, Said::Welcome),
            (
                r#"{"roomId":"r","userCount":2,"type":"user_joined"}"#,
                Said::UserJoined(count("r", 2)),
            ),
            (r#"{"type":"user_left","roomId":"r","userCount":1}"#, Said::UserLeft(count("r", 1))),
            (r#"{"type":"pong"}"#, Said::Other),
            (r#"{"type":"error","message":"Not in\n room"}"#, Said::Error("Not in room")),
        ] {
            assert_eq!(read(text), Ok(said), "{text}");
        }
    }

    #[test]
    fn text_is_borrowed_where_it_has_no_escapes() {
        let message = r#"{"type":"chat_message","roomId":"a","username":"u","text":"b\u0021",
            "timestamp":1,"offset":9}"#;
        let Ok(Said::ChatMessage { room: Cow::Borrowed("a"), text: Cow::Owned(text), offset: 9 }) =
            read(message)
        else {
            panic!("{:?}", read(message));
        };
        assert_eq!(text, "b!");
    }

    #[test]
    fn whatever_is_no_message_of_the_protocol_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"shout"}"#,
            r#"{"type":"chat_message","roomId":"a","text":"b"}"#,
            r#"{"type":"user_left","roomId":"a","userCount":-1}"#,
            r#"{"type":"room_joined","roomId":"a","userCount":1,"offset":1,"recovered":true}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let binary = Message { kind: MessageKind::Binary, payload: b"{}", at: 0 };
        assert!(super::read(&binary).is_err());
    }

    #[test]
    fn texts_of_errors_are_bounded() {
        let long = format!(r#"{{"type":"error","message":"{}"}}"#, "ß".repeat(500));
        let Ok(Said::Error(text)) = read(&long) else { panic!("no error") };
        assert_eq!(text.chars().count(), ERROR_CHARACTERS_MAX);
        for number in 0..2 * ERRORS_MAX {
            let text = format!(r#"{{"type":"error","message":"{number}"}}"#);
            let Ok(Said::Error(_)) = read(&text) else { panic!("no error") };
        }
        assert_eq!(kept("the last straw"), "(one of many)");
    }

    #[test]
    fn clients_speak_the_protocol() {
        let mut speech = Speech::new(0xAB);
        speech.leave_room(7);
        speech.join_room(7, Some(("12", 5)));
        speech.join_room(8, None);
        speech.chat_message(8, b"hello");
        let mut decoder = Decoder::new(Role::Server);
        let mut pool = AssemblyPool::new(1 << 20);
        let limits = Limits { message_bytes_max: 1 << 20, fragments_max: 1, compressed: false };
        let mut input = Input::new(&mut speech.frames);
        for said in [
            r#"{"type":"leave_room","roomId":"load-000000ab-7"}"#,
            r#"{"type":"join_room","roomId":"load-000000ab-7","since":{"epoch":12,"offset":5}}"#,
            r#"{"type":"join_room","roomId":"load-000000ab-8"}"#,
            r#"{"type":"chat_message","roomId":"load-000000ab-8","text":"hello"}"#,
        ] {
            let event = decoder.next(&mut input, &mut pool, &limits).expect("valid frames");
            let Some(Event::Message { kind: MessageKind::Text, payload, .. }) = event else {
                panic!("{event:?} and not {said}");
            };
            assert_eq!(str::from_utf8(payload), Ok(said));
        }
        assert_eq!(speech.room("load-000000ab-12"), Some(12));
        assert_eq!((speech.room("load-000000ac-12"), speech.room("lobby")), (None, None));
    }
}
