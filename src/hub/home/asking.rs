//! What is asked of the servers, and what is refused while they are away.

use bytes::Bytes;

use super::spanning::Nodes;
use super::{Home, Now, Room, RoomFigures};
use crate::hub::road::{MemberTicket, Notice, RoomName};
use crate::hub::span::{Act, Body, Comer, Entry, Link, Order, RoomMode, Span, Sync, What};
use crate::hub::{Position, Wording};
use crate::limits::SPAN_QUEUES_BYTES_MAX;
use crate::protocol::{OpCode, encode_frame};

impl<W: Wording> Home<W> {
    pub(super) fn nodes_mut(&mut self) -> &mut Nodes {
        self.nodes.as_deref_mut().expect("the caller knows that rooms span nodes")
    }

    /// Lets somebody become a member when the servers have said so.
    pub(super) fn defer_join(&mut self, number: usize, comer: Comer) {
        let room = &mut self.rooms[number];
        let slot = room.span().slot;
        if self.nodes_mut().given_up.contains(slot)
            || self.is_refused(number, comer.from, comer.ticket)
        {
            return self.refuse_join(number, comer);
        }
        let wants = self.note_wanted(number, comer.since);
        self.enqueue(number, What::Join(comer));
        if wants && self.rooms[number].span().link == Link::Live {
            self.begin_sync(number);
        }
    }

    /// Whether a member has been refused and has not heard of it yet: it has no part in the room.
    fn is_refused(&mut self, number: usize, from: usize, ticket: MemberTicket) -> bool {
        self.rooms[number].span().refused.contains(&(from, ticket.number))
    }

    /// Notes that messages are wanted that are not here but may be kept elsewhere.
    fn note_wanted(&mut self, number: usize, since: Option<Position>) -> bool {
        let Some(Position { epoch, offset }) = since else { return false };
        let span = self.rooms[number].span();
        let is_here = span.has_synced && (epoch != span.epoch || offset >= span.loaded_from);
        if is_here {
            return false;
        }
        let least = match span.wanted {
            Some((wanted, least)) if wanted == epoch => least.min(offset),
            _ => offset,
        };
        span.wanted = Some((epoch, least));
        true
    }

    pub(super) fn defer_leave(&mut self, number: usize, from: usize, ticket: MemberTicket) {
        let span = self.rooms[number].span();
        if let Some(place) = span.refused.iter().position(|who| *who == (from, ticket.number)) {
            span.refused.swap_remove(place);
            return;
        }
        let (slot, waits) = (span.slot, !span.queue.is_empty());
        if self.nodes_mut().given_up.contains(slot) && !waits {
            self.rooms[number].span().own.count -= 1;
            self.part(number, from);
        } else {
            self.enqueue(number, What::Leave(from, ticket));
        }
    }

    pub(super) fn defer_message(
        &mut self,
        number: usize,
        who: Option<(usize, MemberTicket)>,
        id: u64,
        head: Bytes,
    ) {
        let slot = self.rooms[number].span().slot;
        let is_refused = who.is_some_and(|(from, ticket)| self.is_refused(number, from, ticket));
        let nodes = self.nodes_mut();
        let is_full = nodes.queued_bytes > SPAN_QUEUES_BYTES_MAX;
        if is_refused || is_full || nodes.given_up.contains(slot) {
            return self.refuse_message(number, who);
        }
        let is_kept = self.limits.messages > 0;
        match who {
            Some((from, ticket)) if is_kept && self.rooms[number].span().ids.contains(&id) => {
                self.enqueue(number, What::Repeat(from, ticket, id, head));
            }
            _ => self.enqueue(number, What::Message(who, id, head)),
        }
    }

    /// Tells other nodes what has happened in a fast room.
    pub(super) fn tell_nodes(&mut self, number: usize, what: What) {
        let Some(span) = &self.rooms[number].span else { return };
        let slot = span.slot;
        let nodes = self.nodes_mut();
        if nodes.given_up.contains(slot) || nodes.queued_bytes > SPAN_QUEUES_BYTES_MAX {
            self.leave_untold(number, what);
        } else {
            self.enqueue(number, what);
        }
    }

    fn enqueue(&mut self, number: usize, what: What) {
        let nodes = self.nodes_mut();
        nodes.ops += 1;
        let op = nodes.ops;
        self.change_queue(number, |span| span.push(Entry { op, what }));
        self.go_on(number);
    }

    pub(super) fn pop(&mut self, number: usize) -> Option<Entry> {
        self.change_queue(number, Span::pop)
    }

    /// Changes the queue of a room and keeps the sum of all.
    pub(super) fn change_queue<T>(
        &mut self,
        number: usize,
        change: impl FnOnce(&mut Span) -> T,
    ) -> T {
        let span = self.rooms[number].span();
        let before = span.queue_bytes;
        let changed = change(span);
        let after = span.queue_bytes;
        let nodes = self.nodes_mut();
        nodes.queued_bytes = nodes.queued_bytes + after - before;
        changed
    }

    /// After a change of a room's queue or of its state: asks for what is next, or ends the room.
    pub(super) fn go_on(&mut self, number: usize) {
        let span = self.rooms[number].span();
        let (link, slot) = (span.link, span.slot);
        if link == Link::Live {
            if span.sent == 0 && span.batch == 0 {
                self.do_idle(number);
            }
            if self.rooms[number].span().may_ask() {
                self.nodes_mut().asking.push(number);
            }
        } else if link == Link::Down && self.nodes_mut().up.contains(slot) {
            self.begin_sync(number);
        }
        self.end_if_empty(number);
    }

    pub(super) fn ask(&mut self, number: usize) {
        let is_kept = self.limits.messages > 0;
        let Some(room) = self.rooms.get_mut(number) else { return };
        let Some(span) = room.span.as_mut().filter(|span| span.may_ask()) else { return };
        if let Some(apply) = span.next_batch(is_kept) {
            self.order(number, Act::Apply(apply));
        }
    }

    pub(super) fn order(&mut self, number: usize, act: Act) {
        let room = &mut self.rooms[number];
        let name = room.name.clone();
        let Span { slot, serial, .. } = *room.span();
        self.nodes_mut().orders.push(Order { room: name, slot, serial, act });
    }

    /// Asks how a room stands.
    pub(super) fn begin_sync(&mut self, number: usize) {
        let (new_epoch, serial) = (self.next_epoch(), self.nodes_mut().next_serial());
        let room = &mut self.rooms[number];
        let offset = room.history.offset();
        let span = room.span();
        // What was asked before is answered by this as well.
        span.serial = serial;
        span.has_asked = true;
        let wanted = span.wanted.take();
        let since = if span.mode == RoomMode::Fast {
            None
        } else if span.has_synced {
            let older = wanted.filter(|(epoch, _)| *epoch == span.epoch);
            Some((span.epoch, older.map_or(offset, |(_, least)| least.min(offset))))
        } else {
            wanted
        };
        let known = span.has_synced.then_some((span.epoch, span.seq));
        let own = span.own;
        let body = Body {
            count: own.count,
            messages: own.messages,
            op: own.op,
            ..Body::new(span.mode, own.node)
        };
        let (count, op, messages, body) = (own.count, own.op, own.messages, body.encode());
        self.set_link(number, Link::Syncing);
        self.nodes_mut().figures.syncs += 1;
        self.order(number, Act::Sync(Sync { count, op, messages, new_epoch, known, since, body }));
    }

    /// How a room stands to the servers from now on.
    pub(super) fn set_link(&mut self, number: usize, link: Link) {
        let before = std::mem::replace(&mut self.rooms[number].span().link, link);
        let nodes = self.nodes_mut();
        nodes.live =
            nodes.live + usize::from(link == Link::Live) - usize::from(before == Link::Live);
    }

    /// Whether nobody else has yet to hear that a room without members here has none.
    pub(super) fn may_end(&self, number: usize) -> bool {
        let Some(span) = &self.rooms[number].span else { return true };
        match span.link {
            Link::Live => span.queue.is_empty() && span.batch == 0,
            Link::Syncing => false,
            Link::Down => span.queue.is_empty() && !span.has_asked,
        }
    }

    /// A room has ended here.
    pub(super) fn close_span(&mut self, mut room: Room) {
        let Some(span) = room.span.take() else { return };
        if span.link == Link::Live {
            let Span { slot, serial, .. } = *span;
            let room = room.name;
            self.nodes_mut().live -= 1;
            self.nodes_mut().orders.push(Order { room, slot, serial, act: Act::Close });
        }
    }

    /// Publishes in a room what no member has said: numbered and kept as if one had. Gives the room
    /// behind it, or before it where the servers have yet to give it its place; `None` when nobody
    /// is there to hear it, or the servers are away.
    pub fn announce(&mut self, now: Now, name: &RoomName, head: &[u8]) -> Option<RoomFigures> {
        if self.nodes.is_none() && !self.names.contains_key(name) {
            return None;
        }
        let number = self.room_or_new(name);
        if self.rooms[number].is_sequenced() {
            let head = Bytes::copy_from_slice(head);
            let figures = self.rooms[number].figures();
            let refused = self.nodes_mut().figures.refused;
            self.defer_message(number, None, 0, head);
            let is_refused = self.nodes_mut().figures.refused > refused;
            self.end_if_empty(number);
            return (!is_refused).then_some(figures);
        }
        self.publish(now.tick, now.unix_milliseconds, number, 0, head);
        let figures = self.rooms[number].figures();
        self.tell_nodes(number, What::Message(None, 0, Bytes::copy_from_slice(head)));
        self.end_if_empty(number);
        Some(figures)
    }

    fn refuse_join(&mut self, number: usize, comer: Comer) {
        let frames = self.unavailable(number);
        let Comer { from, ticket, again, .. } = comer;
        if again {
            return self.answer(number, from, ticket, frames);
        }
        let room = &mut self.rooms[number];
        let name = room.name.clone();
        room.span().refused.push((from, ticket.number));
        self.answer_bytes += frames.len();
        self.notices[from].push(Notice::Refused { room: name, ticket, frames });
    }

    fn refuse_message(&mut self, number: usize, who: Option<(usize, MemberTicket)>) {
        let frames = self.unavailable(number);
        if let Some((from, ticket)) = who {
            self.answer(number, from, ticket, frames);
        }
    }

    /// What is told to somebody who is refused; counted.
    fn unavailable(&mut self, number: usize) -> Bytes {
        self.nodes_mut().figures.refused += 1;
        self.payload.clear();
        self.wording.unavailable(&mut self.payload, &self.rooms[number].name);
        let mut frame = Vec::new();
        encode_frame(&mut frame, OpCode::Text, &self.payload);
        frame.into()
    }

    /// Other nodes will not hear of this, but of the number of members when they hear again.
    fn leave_untold(&mut self, number: usize, what: What) {
        match what {
            What::Came | What::Went => self.count_untold(number, what),
            What::Message(..) => self.nodes_mut().figures.undelivered += 1,
            _ => {}
        }
    }

    /// Counts one member more or less. Behind what may have been done that waits for its turn:
    /// but who comes and goes there leaves no trace, so that no more waits than there are members.
    fn count_untold(&mut self, number: usize, what: What) {
        let span = self.rooms[number].span();
        let last = span.queue.len();
        if last == 0 {
            match what {
                What::Came => span.own.count += 1,
                _ => span.own.count -= 1,
            }
            return;
        }
        let is_undone = last > span.sent
            && matches!(
                (&span.queue[last - 1].what, &what),
                (What::Came, What::Went) | (What::Went, What::Came)
            );
        if is_undone {
            self.change_queue(number, |span| drop(span.remove(last - 1)));
        } else {
            self.enqueue(number, what);
        }
    }

    /// Refuses what nobody knows of, since it is not worth waiting for any more. What may have been
    /// done stays, and so does a member's way out behind it.
    pub(super) fn give_up(&mut self, number: usize) {
        let span = self.rooms[number].span();
        let (sent, mode) = (span.sent, span.mode);
        let rest: Vec<Entry> = self.change_queue(number, |span| {
            (sent..span.queue.len()).map(|_| span.remove(sent)).collect()
        });
        for entry in rest {
            match entry.what {
                What::Join(comer) => self.refuse_join(number, comer),
                What::Message(who, ..) if mode == RoomMode::Sequenced => {
                    self.refuse_message(number, who);
                }
                What::Repeat(from, ticket, ..) => self.refuse_message(number, Some((from, ticket))),
                What::Leave(from, ticket) => self.defer_leave(number, from, ticket),
                what => self.leave_untold(number, what),
            }
        }
        self.end_if_empty(number);
    }
}
