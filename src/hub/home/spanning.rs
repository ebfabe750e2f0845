//! The home of rooms that span nodes: what is asked of the servers, and what they tell.
//!
//! ```text
//!   requests ──▶ queue of the room ── orders ──▶ Redis ── envelopes ──▶ every node:
//!                (at most one under way)                          done in this order
//! ```
//!
//! A fast room is done with a request at once; its queue only tells the others.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::{Home, Now};
use crate::hub::Wording;
use crate::hub::road::RoomName;
use crate::hub::span::{
    Envelope, Event, Link, News, NodeId, Order, Reply, RoomMode, RoomModes, Slots, Span, What,
};
use crate::limits::SPAN_SYNCS_PER_TURN;
use crate::protocol::{OpCode, encode_frame};

/// What a home needs to know to share rooms with other nodes.
#[derive(Clone, Debug)]
pub struct SpanPlan {
    /// This node.
    pub node: NodeId,
    /// How rooms are run.
    pub modes: Arc<RoomModes>,
}

/// What came of the rooms that span nodes, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SpanFigures {
    /// Messages of other nodes that members here never got.
    pub lost: u64,
    /// Messages of fast rooms that other nodes were never told.
    pub undelivered: u64,
    /// Messages and joins that were answered with an error, since the servers were away.
    pub refused: u64,
    /// Times that the members of a room were told that they may have missed something.
    pub gaps: u64,
    /// Questions how a room stands.
    pub syncs: u64,
    /// Envelopes that could not be understood.
    pub strange: u64,
}

/// What a home knows of other nodes, beside each room's own state.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) plan: SpanPlan,
    pub(super) serials: u64,
    pub(super) ops: u64,
    /// The slots that can be reached, and those that nobody should wait for.
    pub(super) up: Slots,
    pub(super) given_up: Slots,
    /// Nodes that were alive of late, of all slots.
    pub(super) living: Vec<(Arc<Slots>, Arc<[NodeId]>)>,
    /// Rooms that may have members on a node that has ended.
    pub(super) suspects: Vec<usize>,
    pub(super) orders: Vec<Order>,
    /// Rooms whose queue has something to ask for, some twice; and rooms that are to be synced.
    pub(super) asking: Vec<usize>,
    pub(super) to_sync: VecDeque<usize>,
    /// What waits in all queues.
    pub(super) queued_bytes: usize,
    /// The room that is looked at next whether what is known of it is still so.
    pub(super) check_hand: usize,
    /// Rooms that are in step.
    pub(super) live: usize,
    pub(super) figures: SpanFigures,
}

impl Nodes {
    pub(super) fn new(plan: SpanPlan) -> Self {
        Self {
            plan,
            serials: 0,
            ops: 0,
            up: Slots::none(),
            given_up: Slots::none(),
            living: Vec::new(),
            suspects: Vec::new(),
            orders: Vec::new(),
            asking: Vec::new(),
            to_sync: VecDeque::new(),
            queued_bytes: 0,
            check_hand: 0,
            live: 0,
            figures: SpanFigures::default(),
        }
    }

    pub(super) const fn next_serial(&mut self) -> u64 {
        self.serials += 1;
        self.serials
    }

    pub(super) fn span(&mut self, room: &RoomName) -> Span {
        let serial = self.next_serial();
        let mut span = Span::new(self.plan.modes.of(room), room, self.plan.node, serial);
        // What the servers may still know of this node was done before the room began again.
        span.own.op = self.ops;
        span
    }
}

impl<W: Wording> Home<W> {
    /// What came of the rooms that span nodes; nothing where none do.
    #[must_use]
    pub fn span_figures(&self) -> SpanFigures {
        self.nodes.as_ref().map(|nodes| nodes.figures).unwrap_or_default()
    }

    /// Rooms that span nodes and are not in step with the others.
    #[must_use]
    pub fn rooms_syncing(&self) -> usize {
        self.nodes.as_ref().map_or(0, |nodes| self.rooms.len() - nodes.live)
    }

    /// Whether something is on its way to other nodes.
    #[must_use]
    pub fn is_telling(&self) -> bool {
        let is_telling = |room: &super::Room| {
            let span = room.span.as_ref();
            span.is_some_and(|span| span.link != Link::Down && !span.queue.is_empty())
        };
        self.nodes.is_some() && self.rooms.iter().any(|(_, room)| is_telling(room))
    }

    /// What is wanted of the servers since this was called last.
    pub fn take_orders(&mut self) -> Vec<Order> {
        let Some(nodes) = &mut self.nodes else { return Vec::new() };
        let asking = std::mem::take(&mut nodes.asking);
        for number in asking {
            self.ask(number);
        }
        self.nodes.as_mut().map(|nodes| std::mem::take(&mut nodes.orders)).unwrap_or_default()
    }

    /// Asks how some of the rooms stand that are to be synced; says whether there are more.
    pub fn sync_some(&mut self) -> bool {
        for _ in 0..SPAN_SYNCS_PER_TURN {
            let Some(nodes) = &mut self.nodes else { return false };
            let Some(number) = nodes.to_sync.pop_front() else { return false };
            let Some(span) = self.rooms.get(number).and_then(|room| room.span.as_ref()) else {
                continue;
            };
            if span.link == Link::Down && nodes.up.contains(span.slot) {
                self.begin_sync(number);
            }
        }
        true
    }

    /// Hears what the servers tell.
    pub fn hear_news(&mut self, now: Now, news: News) {
        match news {
            News::Up(slots) => self.on_up(&slots),
            News::Down(slots) => self.on_down(&slots),
            News::GivenUp(slots) => self.on_given_up(&slots),
            News::Living(slots, living) => self.on_living(now.tick, slots, living),
            News::Check(parts) => self.check(parts),
            News::Heard(room, bytes) => {
                let Some(&number) = self.names.get(&room) else { return };
                match Envelope::decode(bytes) {
                    Some(envelope) => self.hear_envelope(now, number, envelope),
                    None => self.nodes_mut().figures.strange += 1,
                }
            }
            News::Replied(room, serial, reply) => {
                let Some(&number) = self.names.get(&room) else { return };
                if self.rooms[number].span().serial == serial {
                    self.on_reply(now, number, reply);
                }
            }
        }
    }

    fn on_reply(&mut self, now: Now, number: usize, reply: Reply) {
        match reply {
            Reply::Synced(state) => self.on_synced(now, number, state),
            Reply::Applied => {
                let span = self.rooms[number].span();
                let batch = std::mem::take(&mut span.batch);
                if span.mode == RoomMode::Fast && span.link != Link::Down {
                    for _ in 0..batch {
                        let entry = self.pop(number).expect("a batch is of the queue");
                        self.note_done(number, &entry);
                    }
                }
                self.go_on(number);
            }
            Reply::Lost => {
                let span = self.rooms[number].span();
                span.take_back();
                if span.link == Link::Live {
                    self.begin_sync(number);
                }
            }
            Reply::Repeated(entries) => self.on_repeated(number, entries),
        }
    }

    /// Some messages of the batch were published before: those who said them hear them, and the
    /// rest is asked for again.
    fn on_repeated(&mut self, number: usize, entries: Vec<(usize, Bytes)>) {
        let span = self.rooms[number].span();
        let places: Vec<Option<usize>> =
            entries.iter().map(|(place, _)| span.place_of_id(*place)).collect();
        span.take_back();
        let mut repeated: Vec<(usize, Bytes)> = places
            .into_iter()
            .zip(entries)
            .filter_map(|(place, (_, bytes))| Some((place?, bytes)))
            .collect();
        repeated.sort_by_key(|(place, _)| *place);
        for (place, bytes) in repeated.into_iter().rev() {
            let entry = self.change_queue(number, |span| span.remove(place));
            let What::Message(Some((from, ticket)), id, _) = entry.what else { continue };
            if self.repeat(number, from, ticket, id) {
                continue;
            }
            if let Some(frame) = self.frame_of(bytes, id) {
                self.answer(number, from, ticket, frame);
            }
        }
        self.go_on(number);
    }

    /// The message with this id in an envelope, in the words of the application.
    fn frame_of(&mut self, bytes: Bytes, id: u64) -> Option<Bytes> {
        let envelope = Envelope::decode(bytes)?;
        let mut offset = envelope.offset;
        for event in &envelope.body.events {
            let Event::Message { id: own, head } = event else { continue };
            offset += 1;
            if *own == id {
                self.payload.clear();
                self.wording.message(&mut self.payload, head, envelope.time, offset);
                let mut frame = Vec::new();
                encode_frame(&mut frame, OpCode::Text, &self.payload);
                return Some(frame.into());
            }
        }
        None
    }
}
