//! How the events of rooms are put into words: what an application's protocol says for each.

use std::fmt;

/// Which history of a room an offset counts in. A room that vanished and came back has a new one,
/// and so has every room of a server that was restarted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Reads what [`fmt::Display`] has written; any other text names no epoch of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_ours = text.len() == 16 && text.bytes().all(is_hex);
        is_ours.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// A place in the history of a room: behind the message with this offset. The first message of an
/// epoch has offset 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The history.
    pub epoch: Epoch,
    /// The last message before this place; 0 before the first.
    pub offset: u64,
}

/// The answer to a join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Joined<'a> {
    /// The name of the room.
    pub room: &'a str,
    /// Members now, the new one included.
    pub user_count: u64,
    /// Where the room stands.
    pub position: Position,
    /// Whether all that was missed follows.
    pub recovered: bool,
}

/// Puts the events of rooms into the words of an application's protocol. Each appends the payload
/// of one text message.
pub trait Wording {
    /// To the one that has joined.
    fn room_joined(&self, out: &mut Vec<u8>, joined: &Joined<'_>);

    /// To the others, when somebody has joined.
    fn user_joined(&self, out: &mut Vec<u8>, room: &str, user_count: u64);

    /// To the others, when somebody has left.
    fn user_left(&self, out: &mut Vec<u8>, room: &str, user_count: u64);

    /// To all members: what one of them has published. `head` is what the application gave to be
    /// published; `timestamp` is in milliseconds since 1970.
    fn message(&self, out: &mut Vec<u8>, head: &[u8], timestamp: u64, offset: u64);

    /// To somebody whose join or message could not be put in the order of all nodes.
    fn unavailable(&self, out: &mut Vec<u8>, room: &str);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_reads_what_it_has_written_and_nothing_else() {
        for number in [0, 1, 0xABCD, u64::MAX] {
            assert_eq!(Epoch::parse(&Epoch(number).to_string()), Some(Epoch(number)));
        }
        for text in ["", "0", "00000000000000001", "+00000000000000f", "000000000000000F", "€"] {
            assert_eq!(Epoch::parse(text), None, "{text}");
        }
    }
}
