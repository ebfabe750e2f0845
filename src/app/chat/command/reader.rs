//! Reads the fields of a command out of JSON.
//!
//! One pass reads all of a payload, and its shape is judged afterwards: so what is no JSON at all
//! is never called JSON of a wrong shape.

use crate::limits::JSON_LEVELS_MAX;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The fields that some command has.
#[derive(Clone, Copy)]
pub(super) enum Name {
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
pub(super) enum Value<'a> {
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
pub(super) struct Fields<'a>([Option<Value<'a>>; NAMES]);

/// Reads a payload: its fields if it is an object.
///
/// # Errors
/// When it is not JSON, has a number that no double holds, or more than [`JSON_LEVELS_MAX`] levels.
pub(super) fn read(payload: &[u8]) -> Result<Option<Fields<'_>>, serde_json::Error> {
    let mut fields = Fields::default();
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let reader =
        Reader { fields: &mut fields, place: Place::Command, levels_left: JSON_LEVELS_MAX };
    let value = reader.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(matches!(value, Value::Object).then_some(fields))
}

impl<'a> Fields<'a> {
    /// Takes the value of a field; of one that is not there, null.
    pub(super) fn take(&mut self, name: Name) -> Value<'a> {
        self.0[name as usize].take().unwrap_or(Value::Null)
    }

    /// Keeps a value. A field that is there twice has none: readers of JSON differ in which counts.
    fn put(&mut self, name: Name, value: Value<'a>) {
        let slot = &mut self.0[name as usize];
        *slot = Some(if slot.is_none() { value } else { Value::Other });
    }
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
