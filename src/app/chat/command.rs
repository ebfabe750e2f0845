//! What a client of the chat asks for: one JSON object per text message.

mod reader;

use self::reader::{Fields, Name, Value, read};
use super::answer::{INVALID_FORMAT, INVALID_JSON};
use crate::limits::{
    CHAT_TEXT_CHARACTERS_MAX, EPOCH_CHARACTERS_MAX, MESSAGE_ID_CHARACTERS_MAX, OFFSET_MAX,
    PASSWORD_CHARACTERS_MAX, ROOM_NAME_CHARACTERS_MAX, TOKEN_BYTES_MAX, USER_CHARACTERS_MAX,
};
use std::borrow::Cow;
use std::fmt;

/// What a client asks for. Strings without escapes are slices of the payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// Says who the client is.
    Auth(Credentials<'a>),
    /// Enters a room.
    JoinRoom {
        /// Its name: 1 to 50 characters, not blank, without control characters.
        room: Cow<'a, str>,
        /// What the client has of it already.
        since: Option<Since<'a>>,
    },
    /// Says something to a room.
    ChatMessage {
        /// The room; without it, the one that was joined last.
        room: Option<Cow<'a, str>>,
        /// 1 to 1,000 characters, of the control characters only line feeds and tabs.
        text: Cow<'a, str>,
        /// What the sender will know the message by: 1 to 64 characters.
        id: Option<Cow<'a, str>>,
    },
    /// Goes out of a room.
    LeaveRoom {
        /// The room; without it, the one that was joined last.
        room: Option<Cow<'a, str>>,
    },
    /// Asks for an answer.
    Ping,
}

/// What shows who a client is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// A token: 1 to 4,000 bytes.
    Token(Cow<'a, str>),
    /// A name, and its password where one is asked for.
    Password {
        /// 1 to 50 characters, not blank, without control characters.
        username: Cow<'a, str>,
        /// 1 to 128 characters.
        password: Option<Cow<'a, str>>,
    },
}

/// The last message that a client has of a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Since<'a> {
    /// The history it was in, as the client was told: 1 to 64 characters.
    pub epoch: Cow<'a, str>,
    /// Its offset, at most 2^53 − 1.
    pub offset: u64,
}

/// Why a payload is no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// It is not JSON (RFC 8259), or nested too deep.
    Json,
    /// It is JSON of another shape, or a value is out of its bounds.
    Format,
}

/// Reads the payload of a message.
///
/// Fields that the command does not have are ignored, and `null` counts as absent. Only strings
/// with escapes are copied.
///
/// # Errors
/// When it is no command. A fault of the syntax anywhere comes before any fault of the shape.
pub fn parse(payload: &[u8]) -> Result<Command<'_>, CommandError> {
    let fields = read(payload).map_err(|_| CommandError::Json)?;
    fields.and_then(Fields::command).ok_or(CommandError::Format)
}

impl fmt::Debug for Credentials<'_> {
    /// Without the secrets, which must not come into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => formatter.debug_tuple("Token").finish_non_exhaustive(),
            Self::Password { username, .. } => formatter
                .debug_struct("Password")
                .field("username", username)
                .finish_non_exhaustive(),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Json => INVALID_JSON,
            Self::Format => INVALID_FORMAT,
        })
    }
}

impl std::error::Error for CommandError {}

/// The inner `None` of an optional field is its absence, the outer one a fault.
type Optional<T> = Option<Option<T>>;

impl<'a> Fields<'a> {
    /// The command, unless it misses something or has something wrong.
    fn command(mut self) -> Option<Command<'a>> {
        let kind = self.text(Name::Type)??;
        match &*kind {
            "auth" => self.credentials().map(Command::Auth),
            "join_room" => Some(Command::JoinRoom { room: self.room()??, since: self.since()? }),
            "chat_message" => Some(Command::ChatMessage {
                room: self.room()?,
                text: self.checked(Name::Text, is_text)??,
                id: self.checked(Name::Id, is_message_id)?,
            }),
            "leave_room" => Some(Command::LeaveRoom { room: self.room()? }),
            "ping" => Some(Command::Ping),
            _ => None,
        }
    }

    fn credentials(&mut self) -> Option<Credentials<'a>> {
        let token = self.checked(Name::Token, is_token)?;
        let username = self.checked(Name::Username, is_username)?;
        let password = self.checked(Name::Password, is_password)?;
        match (token, username, password) {
            (Some(token), None, None) => Some(Credentials::Token(token)),
            (None, Some(username), password) => Some(Credentials::Password { username, password }),
            _ => None,
        }
    }

    fn room(&mut self) -> Optional<Cow<'a, str>> {
        self.checked(Name::Room, is_room_name)
    }

    fn since(&mut self) -> Optional<Since<'a>> {
        match self.take(Name::Since) {
            Value::Null => Some(None),
            Value::Object => {
                let epoch = self.checked(Name::Epoch, is_epoch)??;
                let Value::Number(offset @ ..=OFFSET_MAX) = self.take(Name::Offset) else {
                    return None;
                };
                Some(Some(Since { epoch, offset }))
            }
            _ => None,
        }
    }

    fn checked(&mut self, name: Name, is_good: fn(&str) -> bool) -> Optional<Cow<'a, str>> {
        let text = self.text(name)?;
        text.as_deref().is_none_or(is_good).then_some(text)
    }

    fn text(&mut self, name: Name) -> Optional<Cow<'a, str>> {
        match self.take(name) {
            Value::Null => Some(None),
            Value::Text(text) => Some(Some(text)),
            _ => None,
        }
    }
}

/// Whether this can be the name of a room: 1 to 50 characters (Unicode scalar values), not all of
/// them blank, no control character.
#[must_use]
pub fn is_room_name(name: &str) -> bool {
    is_name(name, ROOM_NAME_CHARACTERS_MAX)
}

/// The same for the name of a user.
#[must_use]
pub fn is_username(name: &str) -> bool {
    is_name(name, USER_CHARACTERS_MAX)
}

fn is_name(name: &str, characters_max: usize) -> bool {
    has_characters(name, characters_max)
        && !name.chars().any(char::is_control)
        && !name.chars().all(char::is_whitespace)
}

/// Whether this can be a message: 1 to 1,000 characters, of the control characters only line feeds
/// and tabs.
#[must_use]
pub fn is_text(text: &str) -> bool {
    let is_bad = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    has_characters(text, CHAT_TEXT_CHARACTERS_MAX) && !text.chars().any(is_bad)
}

fn is_message_id(id: &str) -> bool {
    has_characters(id, MESSAGE_ID_CHARACTERS_MAX) && !id.chars().any(char::is_control)
}

fn is_password(password: &str) -> bool {
    has_characters(password, PASSWORD_CHARACTERS_MAX)
}

fn is_epoch(epoch: &str) -> bool {
    has_characters(epoch, EPOCH_CHARACTERS_MAX)
}

fn is_token(token: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&token.len())
}

fn has_characters(text: &str, characters_max: usize) -> bool {
    (1..=characters_max).contains(&text.chars().count())
}

#[cfg(test)]
mod tests;
