//! What rooms that span nodes have been through: written down where it gets its order, and compared
//! with what members hear.

use std::collections::{BTreeMap, BTreeSet};

use super::truth::{Words, frame};
use crate::hub::span::NodeId;
use crate::hub::{Epoch, Position, RoomName, Wording};

/// One epoch of a room: of a fast one, on one node.
#[derive(Default)]
pub(super) struct Log {
    /// The frame at each offset from 1 on. Several, where the servers went back to an older state
    /// and nobody knew; none, where nobody has heard it yet.
    pub(super) messages: Vec<BTreeSet<Vec<u8>>>,
    /// The members, one after the other, while the room stood at each offset from 0 on.
    totals: Vec<Vec<u64>>,
    /// The messages by number.
    numbers: BTreeSet<u32>,
}

#[derive(Default)]
pub(super) struct Ledger {
    logs: BTreeMap<(RoomName, u64), Log>,
    /// Messages that have got a place somewhere.
    published: BTreeSet<u32>,
    /// Of each node in a fast room, its messages in order.
    pub(super) spoken: BTreeMap<(RoomName, NodeId), Vec<u32>>,
    /// Of each fast room, what went through the servers: epoch, place, and who said it.
    pub(super) relayed: BTreeMap<RoomName, Vec<(Epoch, u64, NodeId)>>,
    /// The servers went back to an older state.
    pub(super) went_back: bool,
    /// The servers have forgotten something.
    pub(super) has_lost: bool,
    /// Something may go wrong.
    pub(super) is_stormy: bool,
}

impl Ledger {
    /// A room stands at `offset` and has so many members now.
    pub(super) fn total(&mut self, room: &RoomName, epoch: Epoch, offset: u64, users: u64) {
        self.log(room, epoch).totals_at(offset).push(users);
    }

    /// A message has got its place at the servers.
    pub(super) fn message(
        &mut self,
        room: &RoomName,
        node: NodeId,
        position: Position,
        head: &[u8],
        time: u64,
        users: u64,
    ) {
        let Position { epoch, offset } = position;
        let number = number_of(head);
        self.published.insert(number);
        if is_fast(room) {
            self.relayed.entry(room.clone()).or_default().push((epoch, offset, node));
            return;
        }
        let went_back = self.went_back;
        let log = self.log(room, epoch);
        let is_new = log.numbers.insert(number);
        assert!(is_new || went_back, "message {number} has two places in one epoch");
        let frame = frame(|out| Words.message(out, head, time, offset));
        log.messages_at(offset).insert(frame);
        assert!(log.messages_at(offset).len() == 1 || went_back);
        log.totals_at(offset).push(users);
    }

    /// A message of a fast room was done on its node.
    pub(super) fn spoke(&mut self, room: &RoomName, node: NodeId, epoch: Epoch, frame: Vec<u8>) {
        let offset = offset_of(&frame);
        let number = number_of(payload_of(&frame));
        self.published.insert(number);
        self.spoken.entry((room.clone(), node)).or_default().push(number);
        self.log(room, epoch).messages_at(offset).insert(frame);
    }

    /// A member has heard a message.
    pub(super) fn check_message(&mut self, room: &RoomName, epoch: Epoch, frame: &[u8]) {
        let offset = offset_of(frame);
        let known = self.log(room, epoch).messages_at(offset);
        if is_fast(room) && known.is_empty() {
            known.insert(frame.to_vec());
        }
        assert!(known.contains(frame), "{} is not what the others heard", words(frame));
    }

    /// How much had gone through the servers when a fast room stood at `offset`.
    pub(super) fn relayed_at(&self, room: &RoomName, epoch: Epoch, offset: u64) -> usize {
        let all = self.relayed.get(room).map_or(&[][..], Vec::as_slice);
        let later = all.iter().position(|(of, at, _)| *of == epoch && *at > offset);
        later.unwrap_or(all.len())
    }

    /// Whether a message has got a place.
    pub(super) fn is_published(&self, number: u32) -> bool {
        self.published.contains(&number)
    }

    /// What the room was like at `offset`.
    pub(super) fn totals(&mut self, room: &RoomName, epoch: Epoch, offset: u64) -> &[u64] {
        self.log(room, epoch).totals_at(offset)
    }

    /// What members heard of other nodes in a fast room: theirs in order, and nothing twice.
    pub(super) fn check_orders(&self, may_repeat: bool) {
        let mut places: BTreeMap<u32, (NodeId, usize)> = BTreeMap::new();
        for ((_, node), numbers) in &self.spoken {
            for (place, number) in numbers.iter().enumerate() {
                places.insert(*number, (*node, place));
            }
        }
        for ((room, _), log) in self.logs.iter().filter(|((room, _), _)| is_fast(room)) {
            let mut last: BTreeMap<NodeId, usize> = BTreeMap::new();
            for frame in log.messages.iter().flatten() {
                let number = number_of(payload_of(frame));
                let (node, place) = places[&number];
                if let Some(before) = last.insert(node, place) {
                    assert!(
                        before < place || may_repeat,
                        "{room}: message {number} is out of order"
                    );
                }
            }
        }
    }

    fn log(&mut self, room: &RoomName, epoch: Epoch) -> &mut Log {
        self.logs.entry((room.clone(), epoch.0)).or_default()
    }
}

impl Log {
    fn messages_at(&mut self, offset: u64) -> &mut BTreeSet<Vec<u8>> {
        let offset = offset as usize;
        if self.messages.len() < offset {
            self.messages.resize_with(offset, BTreeSet::new);
        }
        &mut self.messages[offset - 1]
    }

    fn totals_at(&mut self, offset: u64) -> &mut Vec<u64> {
        let offset = offset as usize;
        if self.totals.len() <= offset {
            self.totals.resize_with(offset + 1, Vec::new);
        }
        &mut self.totals[offset]
    }
}

pub(super) fn is_fast(room: &str) -> bool {
    room.starts_with('f')
}

/// The payload of one frame.
pub(super) fn payload_of(frame: &[u8]) -> &[u8] {
    &frame[if frame[1] == 126 { 4 } else { 2 }..]
}

/// Splits frames.
pub(super) fn frames_of(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = match bytes[1] {
            126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
            short => 2 + usize::from(short),
        };
        let (frame, rest) = bytes.split_at(length);
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// The word at this place, behind the room.
pub(super) fn word(payload: &[u8], place: usize) -> &str {
    let text = std::str::from_utf8(payload).expect("words are text");
    text.split(' ').nth(place).expect("it has as many words")
}

/// What a message is called here: the first word behind the room.
pub(super) fn number_of(head: &[u8]) -> u32 {
    word(head, 1).parse().expect("a number")
}

fn offset_of(frame: &[u8]) -> u64 {
    word(payload_of(frame), 3).parse().expect("a number")
}

pub(super) fn words(frame: &[u8]) -> String {
    String::from_utf8_lossy(payload_of(frame)).into_owned()
}
