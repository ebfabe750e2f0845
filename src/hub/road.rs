//! What shards tell each other about rooms.

use std::sync::Arc;

use bytes::Bytes;

use super::{Batch, Position};
use crate::collections::Key;

/// The name of a room, shared by all that refer to it.
pub type RoomName = Arc<str>;

/// One membership of one connection. The connection may have left again, and even have joined anew,
/// when an answer comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberTicket {
    /// The connection.
    pub key: Key,
    /// Different for every membership of a shard.
    pub number: u32,
}

/// What the shard of a member asks the home of a room.
#[derive(Debug)]
pub enum Request {
    /// Somebody wants to be a member.
    Join {
        /// Of this room.
        room: RoomName,
        /// Who asks.
        ticket: MemberTicket,
        /// What it has already heard.
        since: Option<Position>,
        /// It is a member, or has asked before: it is not counted again.
        again: bool,
    },
    /// A member has left.
    Leave {
        /// This room.
        room: RoomName,
        /// Which membership it was.
        ticket: MemberTicket,
    },
    /// A member has something to say.
    Publish {
        /// In this room.
        room: RoomName,
        /// Who says it.
        ticket: MemberTicket,
        /// The next so many bytes of the heads of the batch.
        head: u32,
        /// What the sender calls it, hashed: published once, however often it is said. 0: nothing.
        id: u64,
    },
}

/// Requests of one shard to one home, in order.
#[derive(Debug, Default)]
pub struct Requests {
    /// What is asked.
    pub list: Vec<Request>,
    /// The heads of the messages to be published, one after the other.
    pub heads: Vec<u8>,
}

impl Requests {
    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What they weigh in a queue, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.heads.len() + self.list.len() * size_of::<Request>()
    }
}

/// What the home of a room tells the shard of members.
#[derive(Debug)]
pub enum Notice {
    /// Something happened in a room: for all of its members there.
    Deliver {
        /// The room.
        room: RoomName,
        /// In the words of the application.
        batch: Batch,
    },
    /// The answer to a join: who asked is a member from here on. Or to a message that the room has
    /// already: the message itself.
    Answer {
        /// The room.
        room: RoomName,
        /// Who asked.
        ticket: MemberTicket,
        /// The answer, and what was missed behind it.
        frames: Bytes,
        /// How many.
        count: u32,
        /// It is the answer to a join.
        joins: bool,
        /// What was missed is among them: what came before is not to be heard again.
        recovered: bool,
    },
    /// The answer to a join: who asked does not become a member, and its home waits to hear that it
    /// has left.
    Refused {
        /// The room.
        room: RoomName,
        /// Who asked.
        ticket: MemberTicket,
        /// The answer, one frame.
        frames: Bytes,
    },
}

impl Notice {
    /// What it weighs in a queue, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let frames = match self {
            Self::Deliver { batch, .. } => batch.frames.len(),
            Self::Answer { frames, .. } | Self::Refused { frames, .. } => frames.len(),
        };
        frames + size_of::<Self>()
    }
}
