//! Rooms that span nodes: what a home knows of a room's members elsewhere, and what it has asked
//! the servers that all nodes share.
//!
//! Two ways to run a room:
//!
//! * **Sequenced.** What happens waits in a queue until a script has given it its place, and is
//!   done when it comes back, as on every other node. So all nodes have one order.
//! * **Fast.** What happens is done here at once, and told to the others afterwards. Each node has
//!   an order of its own, in which every other node's messages keep theirs.
//!
//! In both a node states its members as a number, never as a difference, and numbers what it asks
//! for: so everything may be said twice. Envelopes are numbered, too; where one is missing, the
//! home asks how the room stands ([`Sync`]) and goes on from there.
#![forbid(unsafe_code)]

mod envelope;
mod road;
mod slots;

use std::collections::{HashSet, VecDeque};
use std::fmt;

use bytes::Bytes;

pub use envelope::{Body, ENVELOPE_VERSION, Envelope, Event};
pub use road::{Act, Apply, News, NodeState, Order, Reply, State, Sync};
pub use slots::{SLOTS, Slots, key_name, slot_of};

use super::road::MemberTicket;
use super::{Epoch, Position, RoomName};
use crate::collections::Tick;
use crate::limits::{SPAN_BATCH_BYTES_MAX, SPAN_BATCH_EVENTS_MAX};

/// One start of one node: whoever comes back after a restart is another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// How a room is run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RoomMode {
    /// One order on all nodes, and one history.
    #[default]
    Sequenced,
    /// Members on the node of a publisher first, the others later.
    Fast,
}

/// Which rooms are run how.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RoomModes {
    /// Those that nothing else is said of.
    pub default: RoomMode,
    /// What the names of rooms begin with that are fast.
    pub fast: Vec<Box<str>>,
}

impl RoomModes {
    /// How the room of this name is run.
    #[must_use]
    pub fn of(&self, room: &str) -> RoomMode {
        if self.fast.iter().any(|prefix| room.starts_with(&**prefix)) {
            RoomMode::Fast
        } else {
            self.default
        }
    }
}

/// Somebody who wants to be a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comer {
    /// The shard.
    pub(super) from: usize,
    pub(super) ticket: MemberTicket,
    pub(super) since: Option<Position>,
    /// It is one, or has asked before.
    pub(super) again: bool,
}

/// Something that is to be put in the order of all nodes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) op: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// Sequenced: done when it comes back.
    Join(Comer),
    /// As before. The shard of the member, and which membership it was.
    Leave(usize, MemberTicket),
    /// Fast: done already.
    Came,
    /// As before.
    Went,
    /// Who says it, unless an operator does; what it is called, hashed, or 0; and the words.
    Message(Option<(usize, MemberTicket)>, u64, Bytes),
    /// A message that is on its way already, said again by this member: what it is called, and the
    /// words, for the case that it is forgotten when this comes to its turn.
    Repeat(usize, MemberTicket, u64, Bytes),
}

impl Entry {
    /// What it weighs in its queue, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let head = match &self.what {
            What::Message(_, _, head) | What::Repeat(_, _, _, head) => head.len(),
            _ => 0,
        };
        head + size_of::<Self>()
    }

    /// What the other nodes are to hear of it, given the members here: of some nothing.
    fn event(&self, count: &mut u32) -> Option<Event> {
        match &self.what {
            What::Join(Comer { again: true, .. }) | What::Repeat(..) => None,
            What::Join(_) | What::Came => {
                *count += 1;
                Some(Event::Joined(*count))
            }
            What::Leave(..) | What::Went => {
                *count -= 1;
                Some(Event::Left(*count))
            }
            What::Message(_, id, head) => Some(Event::Message { id: *id, head: head.clone() }),
        }
    }
}

/// How a room stands to the servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Link {
    /// They cannot be reached.
    Down,
    /// They were asked how the room stands.
    Syncing,
    /// What they tell is heard.
    Live,
}

/// What is known of a room beyond its home.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) mode: RoomMode,
    pub(super) slot: u16,
    pub(super) serial: u64,
    pub(super) link: Link,
    /// It was in step with the others once.
    pub(super) has_synced: bool,
    /// The last envelope that was heard, and what it counts in.
    pub(super) epoch: Epoch,
    pub(super) seq: u64,
    /// Messages of all nodes up to there. And of those from here, how many more are known to be
    /// done than were heard back: a batch is heard before or after the reply to it.
    pub(super) offset: u64,
    pub(super) unheard: i64,
    /// What is known to be done: members here, messages from here, and the last operation.
    pub(super) own: NodeState,
    /// The others.
    pub(super) nodes: Vec<Other>,
    /// What is to be done, in order: first what was asked for, the last `batch` without a reply.
    pub(super) queue: VecDeque<Entry>,
    pub(super) sent: usize,
    pub(super) batch: usize,
    /// So many at the front are asked for again: by themselves, so that whoever has heard of them
    /// knows them.
    pub(super) again: usize,
    pub(super) queue_bytes: usize,
    /// What the messages in the queue are called.
    pub(super) ids: HashSet<u64>,
    /// Envelopes that came while the room was being synced, and whether some are missing again.
    pub(super) heard: Vec<Envelope>,
    pub(super) heard_bytes: usize,
    pub(super) sync_again: bool,
    /// Messages behind this offset are here, as far as anybody keeps them; and what is wanted.
    pub(super) loaded_from: u64,
    pub(super) wanted: Option<(Epoch, u64)>,
    /// Members that were refused and have not left yet: shard and ticket.
    pub(super) refused: Vec<(usize, u32)>,
}

/// Another node in a room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Other {
    pub(super) state: NodeState,
    /// When it was first heard of.
    pub(super) since: Tick,
}

impl Span {
    pub(super) fn new(mode: RoomMode, room: &RoomName, node: NodeId, serial: u64) -> Self {
        Self {
            mode,
            slot: slot_of(&key_name(room)),
            serial,
            link: Link::Down,
            has_synced: false,
            epoch: Epoch(0),
            seq: 0,
            offset: 0,
            unheard: 0,
            own: NodeState { node, count: 0, messages: 0, op: 0 },
            nodes: Vec::new(),
            queue: VecDeque::new(),
            sent: 0,
            batch: 0,
            again: 0,
            queue_bytes: 0,
            ids: HashSet::new(),
            heard: Vec::new(),
            heard_bytes: 0,
            sync_again: false,
            loaded_from: 0,
            wanted: None,
            refused: Vec::new(),
        }
    }

    /// Members on other nodes.
    pub(super) fn others(&self) -> u64 {
        self.nodes.iter().map(|node| u64::from(node.state.count)).sum()
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.queue_bytes += entry.bytes();
        if let What::Message(_, id @ 1.., _) = entry.what {
            self.ids.insert(id);
        }
        self.queue.push_back(entry);
    }

    /// Takes the oldest entry.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.queue.pop_front()?;
        self.sent = self.sent.saturating_sub(1);
        self.again = self.again.saturating_sub(1);
        self.forget(&entry);
        Some(entry)
    }

    /// Takes the entry at this place.
    pub(super) fn remove(&mut self, place: usize) -> Entry {
        let entry = self.queue.remove(place).expect("the caller has seen it");
        self.again -= usize::from(place < self.again);
        self.forget(&entry);
        entry
    }

    fn forget(&mut self, entry: &Entry) {
        self.queue_bytes -= entry.bytes();
        if let What::Message(_, id, _) = entry.what {
            self.ids.remove(&id);
        }
    }

    /// Messages of other nodes that were not heard before the room stood at `offset`, when the
    /// operations up to `done` were done.
    pub(super) fn missed(&self, offset: u64, done: u64) -> u64 {
        let is_own = |entry: &&Entry| entry.op <= done && matches!(entry.what, What::Message(..));
        let own = self.queue.iter().filter(is_own).count() as u64;
        let all = offset.saturating_sub(self.offset).cast_signed();
        let others = all - own.cast_signed() - self.unheard;
        others.max(0).cast_unsigned()
    }

    /// Whether something of the queue may be asked for now.
    pub(super) fn may_ask(&self) -> bool {
        self.link == Link::Live && self.batch == 0 && self.sent < self.queue.len()
    }

    /// The next part of the queue, as an order. `None`: there is nothing in it that others are to
    /// hear of.
    pub(super) fn next_batch(&mut self, is_kept: bool) -> Option<Apply> {
        let (mut count, mut messages) = (self.own.count, self.own.messages);
        // What was asked for and has not come back is as good as done.
        for entry in self.queue.iter().take(self.sent) {
            if let Some(Event::Message { .. }) = entry.event(&mut count) {
                messages += 1;
            }
        }
        let mut body = Body { messages, ..Body::new(self.mode, self.own.node) };
        let (mut ids, mut bytes) = (Vec::new(), 0);
        let end = if self.sent < self.again { self.again } else { self.queue.len() };
        for entry in self.queue.range(self.sent..end) {
            if bytes > SPAN_BATCH_BYTES_MAX || body.events.len() >= SPAN_BATCH_EVENTS_MAX {
                break;
            }
            bytes += entry.bytes();
            self.batch += 1;
            body.op = entry.op;
            body.events.extend(entry.event(&mut count));
            if let What::Message(_, id @ 1.., _) = entry.what {
                ids.push(id);
            }
        }
        self.sent += self.batch;
        if body.events.is_empty() {
            self.batch = 0;
            return None;
        }
        body.count = count;
        let message_count = body.message_count();
        let is_kept = is_kept && self.mode == RoomMode::Sequenced;
        Some(Apply {
            count,
            op: body.op,
            messages: messages + message_count,
            message_count,
            ids: if is_kept { ids } else { Vec::new() },
            is_kept,
            body: body.encode(),
        })
    }

    /// The batch without a reply was not done. Some of it may have gone without being asked for.
    pub(super) fn take_back(&mut self) {
        self.sent = self.sent.saturating_sub(std::mem::take(&mut self.batch));
    }

    /// Where in the queue the entry is that `id` of the batch without a reply belongs to.
    pub(super) fn place_of_id(&self, number: usize) -> Option<usize> {
        let start = self.sent.saturating_sub(self.batch);
        let named = (start..self.sent)
            .filter(|place| matches!(self.queue[*place].what, What::Message(_, 1.., _)));
        named.clone().nth(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::Key;

    const NODE: NodeId = NodeId(7);

    fn ticket(number: u32) -> MemberTicket {
        MemberTicket { key: Key::from_parts(number, 0), number }
    }

    fn comer(again: bool) -> What {
        What::Join(Comer { from: 0, ticket: ticket(1), since: None, again })
    }

    fn message(id: u64) -> What {
        What::Message(Some((0, ticket(1))), id, Bytes::from_static(b"head"))
    }

    fn span(list: Vec<What>) -> Span {
        let mut span = Span::new(RoomMode::Sequenced, &"room".into(), NODE, 1);
        span.link = Link::Live;
        for (op, what) in (1..).zip(list) {
            span.push(Entry { op, what });
        }
        span
    }

    #[test]
    fn names_decide_how_a_room_is_run() {
        let modes = RoomModes { default: RoomMode::Sequenced, fast: vec!["f-".into()] };
        assert_eq!((modes.of("f-1"), modes.of("f")), (RoomMode::Fast, RoomMode::Sequenced));
        let modes = RoomModes { default: RoomMode::Fast, fast: vec![] };
        assert_eq!(modes.of("f"), RoomMode::Fast);
    }

    #[test]
    fn a_batch_goes_on_from_what_was_asked_for() {
        let mut span = span(vec![comer(false), message(5), comer(true), message(0)]);
        let first = span.next_batch(true).expect("there is something to hear");
        assert_eq!((first.count, first.op, first.messages, first.message_count), (1, 4, 2, 2));
        assert_eq!((first.ids, first.is_kept), (vec![5], true));
        assert!(!span.may_ask(), "one at a time");
        span.batch = 0;
        assert!(!span.may_ask(), "there is nothing more");
        span.push(Entry { op: 5, what: What::Leave(0, ticket(1)) });
        let second = span.next_batch(true).expect("there is something to hear");
        assert_eq!((second.count, second.op, second.messages, second.message_count), (0, 5, 2, 0));
        span.batch = 0;
        span.push(Entry { op: 6, what: comer(true) });
        assert!(span.next_batch(true).is_none() && span.batch == 0 && span.sent == 6);
    }

    #[test]
    fn what_is_asked_for_again_is_a_batch_by_itself() {
        let mut span = span((1..=5).map(message).collect());
        span.again = 2;
        let first = span.next_batch(true).expect("there is something to hear");
        assert_eq!((first.op, first.message_count, span.sent), (2, 2, 2));
        span.batch = 0;
        let second = span.next_batch(true).expect("there is something to hear");
        assert_eq!((second.op, second.messages, span.sent), (5, 5, 5));
        for left in [1, 0, 0] {
            span.pop();
            assert_eq!(span.again, left);
        }
    }

    #[test]
    fn a_batch_is_bounded() {
        let many = 3 * SPAN_BATCH_EVENTS_MAX as u64;
        let mut span = span((1..=many).map(message).collect());
        let batch = span.next_batch(true).expect("there is something to hear");
        assert_eq!((batch.ids.len(), span.sent), (SPAN_BATCH_EVENTS_MAX, SPAN_BATCH_EVENTS_MAX));
        assert_eq!(span.place_of_id(3), Some(3));
        span.batch = 0;
        let batch = span.next_batch(true).expect("there is something to hear");
        assert_eq!(batch.ids[0], SPAN_BATCH_EVENTS_MAX as u64 + 1);
        assert_eq!(span.place_of_id(0), Some(SPAN_BATCH_EVENTS_MAX));
        let place = span.place_of_id(2).expect("there are more");
        span.remove(place);
        let queued: usize = span.queue.iter().map(Entry::bytes).sum();
        assert_eq!((span.queue_bytes, span.ids.len()), (queued, many as usize - 1));
    }
}
