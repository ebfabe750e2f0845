//! The road between homes and the servers that nodes share: orders there, news back.
//!
//! A home has at most one order of each room under way, so that batches grow by themselves while
//! the way is long, and whatever was lost with a connection is found out by one question.

use std::sync::Arc;

use bytes::Bytes;

use super::{NodeId, Slots};
use crate::hub::{Epoch, RoomName};

/// What a home wants done with a room.
#[derive(Debug)]
pub struct Order {
    /// The room.
    pub room: RoomName,
    /// Its slot.
    pub slot: u16,
    /// Comes back with the reply: a room that has ended and begun again has another, and so has one
    /// that has asked since how it stands.
    pub serial: u64,
    /// What is to be done.
    pub act: Act,
}

/// What is to be done with a room. Bodies are those of [`Envelope`](super::Envelope)s.
#[derive(Debug)]
pub enum Act {
    /// Hear of the room from now on, and say how it stands. Replied with [`Reply::Synced`].
    Sync(Sync),
    /// Put events in the order of the room and tell all nodes. Replied with [`Reply::Applied`],
    /// [`Reply::Lost`] or [`Reply::Repeated`].
    Apply(Apply),
    /// Hear no more of the room. Has no reply.
    Close,
    /// A node has ended: count its members no more. Has no reply.
    Drop {
        /// The node.
        node: NodeId,
        /// What to tell the others.
        body: Vec<u8>,
    },
}

/// A question how a room stands.
#[derive(Debug)]
pub struct Sync {
    /// Members here, to be put right where none of our operations behind `op` was done.
    pub count: u32,
    /// The last operation that is known to be done.
    pub op: u64,
    /// Messages published here that are known to be done: servers that lost the room do not know.
    pub messages: u64,
    /// The epoch of a room that is new.
    pub new_epoch: Epoch,
    /// How far it was heard: an epoch that does not go as far is none to go on with.
    pub known: Option<(Epoch, u64)>,
    /// The messages that are wanted: of this epoch, behind this offset.
    pub since: Option<(Epoch, u64)>,
    /// What to tell the others if the count was put right.
    pub body: Vec<u8>,
}

/// Events to be put in order.
#[derive(Debug)]
pub struct Apply {
    /// Members here afterwards.
    pub count: u32,
    /// The last operation among the events: done once, however often it is asked for.
    pub op: u64,
    /// Messages published here so far, these included.
    pub messages: u64,
    /// Messages among the events.
    pub message_count: u64,
    /// What their senders call them, hashed, of those that have a name.
    pub ids: Vec<u64>,
    /// Whether they are to be kept for those who come back.
    pub is_kept: bool,
    /// The events.
    pub body: Vec<u8>,
}

/// What became of an order.
#[derive(Debug)]
pub enum Reply {
    /// How the room stands.
    Synced(State),
    /// It is done, or was before.
    Applied,
    /// Nothing was done: nobody knows the room any more.
    Lost,
    /// Nothing was done: some messages have been published before. For each, which of the `ids` it
    /// is, and the envelope that has it.
    Repeated(Vec<(usize, Bytes)>),
}

/// How a room stands.
#[derive(Debug)]
pub struct State {
    /// Its epoch.
    pub epoch: Epoch,
    /// Envelopes so far.
    pub seq: u64,
    /// The offset of its last message.
    pub offset: u64,
    /// The nodes that have members, and those that have published something.
    pub nodes: Vec<NodeState>,
    /// The envelopes with messages that were wanted, as far as they are kept.
    pub log: Vec<Bytes>,
}

/// What is known of a node in a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeState {
    /// The node.
    pub node: NodeId,
    /// Its members.
    pub count: u32,
    /// Messages that it has published.
    pub messages: u64,
    /// Its last operation that was done.
    pub op: u64,
}

/// What a home hears of the servers.
#[derive(Debug)]
pub enum News {
    /// The rooms in these slots can be had from now on.
    Up(Arc<Slots>),
    /// They cannot, and nobody knows what became of the orders that have no reply.
    Down(Arc<Slots>),
    /// They cannot, and that for so long that nobody should wait for it.
    GivenUp(Arc<Slots>),
    /// The nodes that are alive, as those know who run the rooms in these slots.
    Living(Arc<Slots>, Arc<[NodeId]>),
    /// Time to look whether what is known is still so, for one part in so many of the rooms.
    Check(u32),
    /// An envelope of a room.
    Heard(RoomName, Bytes),
    /// What became of the order of a room with this serial.
    Replied(RoomName, u64, Reply),
}

impl News {
    /// What it weighs in a queue, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let carried = match self {
            Self::Heard(_, bytes) => bytes.len(),
            Self::Replied(_, _, Reply::Synced(state)) => {
                state.log.iter().map(Bytes::len).sum::<usize>()
                    + state.nodes.len() * size_of::<NodeState>()
            }
            Self::Replied(_, _, Reply::Repeated(entries)) => {
                entries.iter().map(|(_, bytes)| bytes.len()).sum()
            }
            Self::Living(_, nodes) => size_of_val(&**nodes),
            _ => 0,
        };
        carried + size_of::<Self>()
    }
}
