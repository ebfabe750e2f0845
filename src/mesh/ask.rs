//! What operators ask of a shard, each question with the way back for its answer.

use tokio::sync::oneshot;

use super::Lane;
use crate::collections::Key;
use crate::hub::{RoomFigures, RoomName, RoomsPart, RoomsQuery};
use crate::protocol::CloseCode;
use crate::security::ClientAddress;

/// The way back. Who has given up waiting has dropped the other end: then nothing is done.
///
/// A shard wakes the runtime that waits there, through a descriptor of that runtime: it must have
/// been made before the shards took their tables of descriptors.
pub type AnswerTo<T> = oneshot::Sender<T>;

/// A question to one shard.
#[derive(Debug)]
pub enum Ask {
    /// To a home: a part of its rooms.
    Rooms(RoomsQuery, AnswerTo<RoomsPart>),
    /// To the home of a room: how it stands.
    Room(RoomName, AnswerTo<Option<RoomFigures>>),
    /// To the home of a room: publish a message, given its head in the words of the application.
    /// Answers how the room then stands; nothing, when it has no members.
    Publish(RoomName, Vec<u8>, AnswerTo<Option<RoomFigures>>),
    /// To the shard of a connection: how it stands.
    Connection(Key, AnswerTo<Option<ConnectionFigures>>),
    /// To a shard: end connections.
    Disconnect(Farewell, AnswerTo<Disconnected>),
    /// To a shard that is to fail, for tests.
    #[cfg(debug_assertions)]
    Panic,
    /// To a shard that is to hang for so long, for tests.
    #[cfg(debug_assertions)]
    Hang(std::time::Duration),
}

/// One connection at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionFigures {
    /// Where the client is; `None` when it has just left.
    pub peer: Option<ClientAddress>,
    /// The path of the application that it speaks with.
    pub endpoint: &'static str,
    /// Who it is, if it is anybody.
    pub user: Option<Box<str>>,
    /// When its handshake ended, in milliseconds of Unix time, to a tenth of a second.
    pub opened: u64,
    /// Milliseconds since then.
    pub age: u64,
    /// Messages from it. The count stays at its end, 2^32 − 1.
    pub messages_received: u32,
    /// Messages sent to it or queued. As above.
    pub messages_sent: u32,
    /// Bytes that wait for it to read.
    pub queued_bytes: usize,
    /// The rooms it is in, in the order of its joins.
    pub rooms: Vec<RoomName>,
}

/// Who is to go, and with which words.
#[derive(Clone, Debug)]
pub struct Farewell {
    /// Who.
    pub whom: Whom,
    /// In the Close frame.
    pub code: CloseCode,
    /// In the Close frame: 123 bytes at most.
    pub reason: Box<str>,
}

/// The connections that are meant.
#[derive(Clone, Debug)]
pub enum Whom {
    /// This one.
    Connection(Key),
    /// Those of this user, from this place in the table on. A shard is asked in parts, so that none
    /// of its turns is long.
    User(Box<str>, usize),
}

/// What came of a [`Farewell`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnected {
    /// Connections that were told to go.
    pub count: u64,
    /// Where the next part of the table begins, if there is one.
    pub next: Option<usize>,
}

impl Ask {
    /// The inbox that it goes to.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Rooms(..) | Self::Room(..) | Self::Publish(..) => Lane::Home,
            Self::Connection(..) | Self::Disconnect(..) => Lane::Members,
            #[cfg(debug_assertions)]
            Self::Panic | Self::Hang(_) => Lane::Members,
        }
    }

    /// What it weighs in a queue, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let head = if let Self::Publish(_, head, _) = self { head.len() } else { 0 };
        size_of::<Self>() + head
    }

    /// Whether its answer takes so long that it should be the last of a turn.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        matches!(self, Self::Rooms(..) | Self::Disconnect(..))
    }
}
