//! What a client of the chat asks for: one JSON object per text message.
//!
//! One pass reads all of a payload and judges its shape afterwards, so that what is no JSON at all
//! is never called JSON of a wrong shape.

use super::answer::{INVALID_FORMAT, INVALID_JSON};
use crate::limits::{
    CHAT_TEXT_CHARACTERS_MAX, EPOCH_CHARACTERS_MAX, JSON_LEVELS_MAX, MESSAGE_ID_CHARACTERS_MAX,
    OFFSET_MAX, PASSWORD_CHARACTERS_MAX, ROOM_NAME_CHARACTERS_MAX, TOKEN_BYTES_MAX,
    USERNAME_CHARACTERS_MAX,
};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
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
    /// A token: 1 to 4,096 bytes.
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
    let mut fields = Fields::default();
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let reader =
        Reader { fields: &mut fields, place: Place::Command, levels_left: JSON_LEVELS_MAX };
    let value = reader.deserialize(&mut deserializer).map_err(|_| CommandError::Json)?;
    deserializer.end().map_err(|_| CommandError::Json)?;
    let command = match value {
        Value::Object => fields.command(),
        _ => None,
    };
    command.ok_or(CommandError::Format)
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

/// The fields that some command has.
#[derive(Clone, Copy)]
enum Name {
    Type,
    Token,
    Username,
    Password,
    Room,
    Since,
    Epoch,
    Offset,
    Text,
    Id,
}

const NAMES: usize = Name::Id as usize + 1;

/// A value, as far as a field can hold it.
enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Number(u64),
    Object,
    /// What no field can hold.
    Other,
}

/// Where in a payload a value stands.
#[derive(Clone, Copy)]
enum Place {
    /// The payload itself.
    Command,
    /// The field `since` of it.
    Since,
    /// Another field that some command has.
    Field,
    /// Anywhere else: nobody looks at it.
    Elsewhere,
}

impl Place {
    fn name_of(self, key: &str) -> Option<Name> {
        match (self, key) {
            (Self::Command, "type") => Some(Name::Type),
            (Self::Command, "token") => Some(Name::Token),
            (Self::Command, "username") => Some(Name::Username),
            (Self::Command, "password") => Some(Name::Password),
            (Self::Command, "roomId") => Some(Name::Room),
            (Self::Command, "since") => Some(Name::Since),
            (Self::Command, "text") => Some(Name::Text),
            (Self::Command, "id") => Some(Name::Id),
            (Self::Since, "epoch") => Some(Name::Epoch),
            (Self::Since, "offset") => Some(Name::Offset),
            _ => None,
        }
    }

    fn of_field(name: Option<Name>) -> Self {
        match name {
            Some(Name::Since) => Self::Since,
            Some(_) => Self::Field,
            None => Self::Elsewhere,
        }
    }
}

/// The fields that were read.
#[derive(Default)]
struct Fields<'a>([Option<Value<'a>>; NAMES]);

/// The inner `None` of an optional field is its absence, the outer one a fault.
type Optional<T> = Option<Option<T>>;

impl<'a> Fields<'a> {
    /// Keeps a value. A field that is there twice has none: readers must not differ in which counts.
    fn put(&mut self, name: Name, value: Value<'a>) {
        let slot = &mut self.0[name as usize];
        *slot = Some(if slot.is_none() { value } else { Value::Other });
    }

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

    fn take(&mut self, name: Name) -> Value<'a> {
        self.0[name as usize].take().unwrap_or(Value::Null)
    }
}

fn is_room_name(name: &str) -> bool {
    is_name(name, ROOM_NAME_CHARACTERS_MAX)
}

fn is_username(name: &str) -> bool {
    is_name(name, USERNAME_CHARACTERS_MAX)
}

fn is_name(name: &str, characters_max: usize) -> bool {
    has_characters(name, characters_max)
        && !name.chars().any(char::is_control)
        && !name.chars().all(char::is_whitespace)
}

fn is_text(text: &str) -> bool {
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

/// Reads one value, whatever it is, and what is in it. It fails on nothing but bad syntax: even
/// strings that nobody looks at must be sound, which [`serde::de::IgnoredAny`] does not check.
struct Reader<'r, 'a> {
    fields: &'r mut Fields<'a>,
    place: Place,
    levels_left: usize,
}

impl<'a> Reader<'_, 'a> {
    fn inner(&mut self, place: Place) -> Reader<'_, 'a> {
        Reader { fields: self.fields, place, levels_left: self.levels_left }
    }

    fn go_deeper<E: Error>(&mut self) -> Result<(), E> {
        let deeper = self.levels_left.checked_sub(1);
        self.levels_left = deeper.ok_or_else(|| E::custom("nested too deep"))?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_, 'de> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, 'de> {
    type Value = Value<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(match self.place {
            Place::Field => Value::Text(Cow::Owned(text.to_owned())),
            Place::Command | Place::Since | Place::Elsewhere => Value::Other,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Self::Value, A::Error> {
        self.go_deeper()?;
        while items.next_element_seed(self.inner(Place::Elsewhere))?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Self::Value, A::Error> {
        self.go_deeper()?;
        while let Some(name) = entries.next_key_seed(KeyReader(self.place))? {
            let value = entries.next_value_seed(self.inner(Place::of_field(name)))?;
            if let Some(name) = name {
                self.fields.put(name, value);
            }
        }
        Ok(Value::Object)
    }
}

/// Reads the key of a field of an object that stands in this place.
struct KeyReader(Place);

impl<'de> DeserializeSeed<'de> for KeyReader {
    type Value = Option<Name>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyReader {
    type Value = Option<Name>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.name_of(key))
    }
}

#[cfg(test)]
mod tests;
