//! A client of the chat: JSON in text frames over the raw client, blocking.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use super::common::Server;
use super::raw::{CLOSE, End, Frame, PING, RawClient, TEXT, close_frame, frame};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Starts a server whose chat takes whatever a test has to say.
pub(crate) fn start(args: &[&str]) -> Server {
    Server::start(args)
}

/// What the server says.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum Said {
    Welcome {
        connection_id: String,
    },
    RoomJoined {
        room_id: String,
        user_count: u64,
        epoch: String,
        offset: u64,
        recovered: bool,
    },
    UserJoined {
        room_id: String,
        user_count: u64,
    },
    UserLeft {
        room_id: String,
        user_count: u64,
    },
    ChatMessage {
        room_id: String,
        username: String,
        text: String,
        offset: u64,
        #[serde(default)]
        id: Option<String>,
    },
    AuthSuccess {
        user_id: String,
    },
    Pong,
    Error {
        message: String,
    },
}

/// A place in the history of a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

/// The answer to a join.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Joined {
    pub(crate) position: Position,
    pub(crate) user_count: u64,
    pub(crate) recovered: bool,
}

/// A connection to the chat that was greeted.
pub(crate) struct ChatClient {
    pub(crate) raw: RawClient,
    pub(crate) id: String,
}

impl ChatClient {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::over(RawClient::connect(address))
    }

    /// Upgrades a connection and hears its welcome.
    pub(crate) fn over(mut raw: RawClient) -> Self {
        raw.upgrade("/chat");
        let mut client = Self { raw, id: String::new() };
        match client.hear() {
            Said::Welcome { connection_id } => client.id = connection_id,
            other => panic!("{other:?} instead of a welcome"),
        }
        client
    }

    /// A client in a room that has nobody else to hear of.
    pub(crate) fn open_in(address: SocketAddr, room: &str) -> (Self, Joined) {
        let mut client = Self::open(address);
        let joined = client.join(room, None);
        (client, joined)
    }

    /// The name of one that has taken none.
    pub(crate) fn guest_name(&self) -> String {
        format!("guest-{}", self.id)
    }

    pub(crate) fn say(&mut self, command: &Value) {
        self.raw.send_frame(TEXT, command.to_string().as_bytes());
    }

    /// Says several things in one segment.
    pub(crate) fn say_all(&mut self, commands: &[Value]) {
        self.raw.send(&frames(commands));
    }

    pub(crate) fn hear(&mut self) -> Said {
        match self.try_hear() {
            Ok(said) => said,
            Err(ended) => panic!("{ended:?} instead of a message"),
        }
    }

    /// What comes next, or the Close frame, or the end without one.
    pub(crate) fn try_hear(&mut self) -> Result<Said, Result<Frame, End>> {
        loop {
            let frame = self.raw.read_frame().map_err(Err)?;
            match frame.first {
                TEXT => return Ok(read(&frame.payload)),
                PING => {}
                CLOSE => return Err(Ok(frame)),
                _ => panic!("{frame:?} is none of the chat's"),
            }
        }
    }

    /// Joins a room and expects the answer next.
    pub(crate) fn join(&mut self, room: &str, since: Option<&Position>) -> Joined {
        self.say(&join(room, since));
        self.hear_joined(room)
    }

    pub(crate) fn hear_joined(&mut self, room: &str) -> Joined {
        match self.hear() {
            Said::RoomJoined { room_id, user_count, epoch, offset, recovered } => {
                assert_eq!(room_id, room);
                Joined { position: Position { epoch, offset }, user_count, recovered }
            }
            other => panic!("{other:?} instead of room_joined"),
        }
    }

    /// Expects a chat message next; gives its offset and text.
    pub(crate) fn hear_message(&mut self) -> (u64, String) {
        match self.hear() {
            Said::ChatMessage { offset, text, .. } => (offset, text),
            other => panic!("{other:?} instead of a message"),
        }
    }

    pub(crate) fn hears(&mut self, expected: &Said) {
        assert_eq!(&self.hear(), expected);
    }

    pub(crate) fn hears_error(&mut self, message: &str) {
        self.hears(&Said::Error { message: message.into() });
    }

    /// Closes as the RFC wants it; nothing is heard before the server does the same.
    pub(crate) fn close(self) {
        self.raw.close();
    }

    /// Closes and gives what was heard until the server did the same.
    pub(crate) fn close_and_hear(mut self) -> Vec<Said> {
        self.raw.send(&close_frame(1000, ""));
        let mut heard = Vec::new();
        loop {
            match self.try_hear() {
                Ok(said) => heard.push(said),
                Err(ended) => {
                    let close = ended.expect("a Close is answered with a Close");
                    assert_eq!(close.close_code(), Some(1000));
                    return heard;
                }
            }
        }
    }
}

pub(crate) fn join(room: &str, since: Option<&Position>) -> Value {
    let since = since.map(|position| json!({"epoch": position.epoch, "offset": position.offset}));
    json!({"type": "join_room", "roomId": room, "since": since})
}

pub(crate) fn leave(room: &str) -> Value {
    json!({"type": "leave_room", "roomId": room})
}

pub(crate) fn message(room: &str, text: &str) -> Value {
    json!({"type": "chat_message", "roomId": room, "text": text})
}

pub(crate) fn user_joined(room: &str, user_count: u64) -> Said {
    Said::UserJoined { room_id: room.into(), user_count }
}

pub(crate) fn user_left(room: &str, user_count: u64) -> Said {
    Said::UserLeft { room_id: room.into(), user_count }
}

pub(crate) fn frames(commands: &[Value]) -> Vec<u8> {
    commands.iter().flat_map(|command| frame(TEXT, command.to_string().as_bytes())).collect()
}

fn read(payload: &[u8]) -> Said {
    let text = String::from_utf8_lossy(payload);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}
