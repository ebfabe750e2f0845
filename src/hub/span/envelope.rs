//! What nodes tell each other of a room, as bytes.
//!
//! ```text
//!   by the script:  version 1 │ epoch 8 │ seq 8 │ offset 8 │ time 8
//!   by the node:    flags 1 │ node 8 │ count 4 │ messages 8 │ op 8 │ events
//!   event:  1 │ count 4          a member came
//!           2 │ count 4          a member went
//!           3 │ id 8 │ length 4 │ head          a message
//! ```
//!
//! Numbers are big-endian. The first half is what only Redis can know: the place of these events in
//! the order of the room.

use bytes::Bytes;

use super::{NodeId, RoomMode};
use crate::hub::Epoch;

/// The version of the form. Nodes of another version are not understood.
pub const ENVELOPE_VERSION: u8 = 1;

const FAST: u8 = 1;
const DROPPED: u8 = 2;

const JOINED: u8 = 1;
const LEFT: u8 = 2;
const MESSAGE: u8 = 3;

/// Events of one node in a room, with their place in the order of all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// What the numbers below count in.
    pub epoch: Epoch,
    /// Envelopes of this epoch, this one included.
    pub seq: u64,
    /// The offset of the last message before this envelope.
    pub offset: u64,
    /// When Redis got it, in milliseconds since 1970.
    pub time: u64,
    /// What the node has said.
    pub body: Body,
}

/// What a node says in an envelope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// How the node runs the room.
    pub mode: RoomMode,
    /// Another node says that this one has ended.
    pub dropped: bool,
    /// The node.
    pub node: NodeId,
    /// Its members after the events.
    pub count: u32,
    /// Messages that it has published in this room before the events.
    pub messages: u64,
    /// The last of its operations that are among the events.
    pub op: u64,
    /// What happened there, in order.
    pub events: Vec<Event>,
}

/// Something that happened in a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A member came to the node, which has so many now.
    Joined(u32),
    /// A member of the node has left; it has so many now.
    Left(u32),
    /// A member of the node has published something.
    Message {
        /// What the sender calls it, hashed; 0: nothing.
        id: u64,
        /// What the application gave to be published.
        head: Bytes,
    },
}

impl Body {
    /// One without events.
    #[must_use]
    pub const fn new(mode: RoomMode, node: NodeId) -> Self {
        Self { mode, dropped: false, node, count: 0, messages: 0, op: 0, events: Vec::new() }
    }

    /// Messages among the events.
    #[must_use]
    pub fn message_count(&self) -> u64 {
        let is_message = |event: &&Event| matches!(event, Event::Message { .. });
        self.events.iter().filter(is_message).count() as u64
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let fast = if self.mode == RoomMode::Fast { FAST } else { 0 };
        out.push(fast | if self.dropped { DROPPED } else { 0 });
        out.extend_from_slice(&self.node.0.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.messages.to_be_bytes());
        out.extend_from_slice(&self.op.to_be_bytes());
        for event in &self.events {
            match event {
                Event::Joined(count) => {
                    out.push(JOINED);
                    out.extend_from_slice(&count.to_be_bytes());
                }
                Event::Left(count) => {
                    out.push(LEFT);
                    out.extend_from_slice(&count.to_be_bytes());
                }
                Event::Message { id, head } => {
                    out.push(MESSAGE);
                    out.extend_from_slice(&id.to_be_bytes());
                    let length = u32::try_from(head.len()).expect("a head is shorter than 4 GiB");
                    out.extend_from_slice(&length.to_be_bytes());
                    out.extend_from_slice(head);
                }
            }
        }
        out
    }

    fn decode(bytes: &mut Reader) -> Option<Self> {
        let flags = bytes.byte()?;
        let mode = if flags & FAST == 0 { RoomMode::Sequenced } else { RoomMode::Fast };
        let mut body = Self {
            mode,
            dropped: flags & DROPPED != 0,
            node: NodeId(bytes.long()?),
            count: bytes.word()?,
            messages: bytes.long()?,
            op: bytes.long()?,
            events: Vec::new(),
        };
        while !bytes.0.is_empty() {
            body.events.push(match bytes.byte()? {
                JOINED => Event::Joined(bytes.word()?),
                LEFT => Event::Left(bytes.word()?),
                MESSAGE => {
                    let id = bytes.long()?;
                    let length = bytes.word()? as usize;
                    Event::Message { id, head: bytes.take(length)? }
                }
                _ => return None,
            });
        }
        Some(body)
    }
}

impl Envelope {
    /// Reads what nodes and the script have written. `None`: it is of another version, or cut.
    #[must_use]
    pub fn decode(bytes: Bytes) -> Option<Self> {
        let mut bytes = Reader(bytes);
        if bytes.byte()? != ENVELOPE_VERSION {
            return None;
        }
        Some(Self {
            epoch: Epoch(bytes.long()?),
            seq: bytes.long()?,
            offset: bytes.long()?,
            time: bytes.long()?,
            body: Body::decode(&mut bytes)?,
        })
    }

    /// The offset of the last message, this envelope's included.
    #[must_use]
    pub fn last_offset(&self) -> u64 {
        self.offset.saturating_add(self.body.message_count())
    }
}

/// Takes numbers from the front; nothing is allocated for what lengths declare.
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn word(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?[..].try_into().expect("four bytes")))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?[..].try_into().expect("eight bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the script does.
    fn whole(body: &Body) -> Vec<u8> {
        let mut bytes = vec![ENVELOPE_VERSION];
        for number in [0xABCD_u64, 7, 41, 1_700_000_000_000] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend(body.encode());
        bytes
    }

    fn body() -> Body {
        let message = |id, head: &'static str| Event::Message { id, head: head.into() };
        Body {
            count: 3,
            messages: 9,
            op: 5,
            events: vec![
                Event::Joined(4),
                message(0, ""),
                Event::Left(3),
                message(u64::MAX, "{\"type\""),
            ],
            ..Body::new(RoomMode::Fast, NodeId(u64::MAX - 1))
        }
    }

    #[test]
    fn an_envelope_says_what_was_put_in() {
        for body in [body(), Body { dropped: true, ..Body::new(RoomMode::Sequenced, NodeId(1)) }] {
            let envelope = Envelope::decode(whole(&body).into()).expect("it is whole");
            let expected = Envelope {
                epoch: Epoch(0xABCD),
                seq: 7,
                offset: 41,
                time: 1_700_000_000_000,
                body,
            };
            assert_eq!(envelope, expected);
            let messages = expected.body.message_count();
            assert_eq!(envelope.last_offset(), 41 + messages);
        }
    }

    #[test]
    fn what_is_cut_or_strange_is_refused() {
        let bytes = whole(&body());
        // Where an event ends, so may the envelope.
        let ends: Vec<usize> = (0..bytes.len())
            .filter(|&end| Envelope::decode(bytes[..end].to_vec().into()).is_some())
            .collect();
        assert_eq!(ends, [62, 67, 80, 85]);
        let mut other = bytes.clone();
        other[0] = ENVELOPE_VERSION + 1;
        assert_eq!(Envelope::decode(other.into()), None);
        let mut long = bytes;
        let length = long.len() - 7 - 4;
        long[length] = 0xFF;
        assert_eq!(Envelope::decode(long.into()), None);
    }
}
