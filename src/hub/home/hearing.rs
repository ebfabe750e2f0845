//! What other nodes have said: envelopes, in their order.

use bytes::Bytes;

use super::{Home, Now};
use crate::collections::Tick;
use crate::hub::Wording;
use crate::hub::road::MemberTicket;
use crate::hub::span::{
    Body, Comer, Entry, Envelope, Event, Link, NodeState, Other, RoomMode, What,
};
use crate::limits::SPAN_HEARD_BYTES_MAX;

impl<W: Wording> Home<W> {
    /// An envelope of a room that is in step is taken; others wait until it is.
    pub(super) fn hear_envelope(&mut self, now: Now, number: usize, envelope: Envelope) {
        let span = self.rooms[number].span();
        match span.link {
            Link::Down => {}
            Link::Live => {
                self.take_envelope(now, number, envelope);
                self.go_on(number);
            }
            Link::Syncing => self.keep_envelope(number, envelope),
        }
    }

    pub(super) fn keep_envelope(&mut self, number: usize, envelope: Envelope) {
        let span = self.rooms[number].span();
        let heads = envelope.body.events.iter().map(|event| match event {
            Event::Message { head, .. } => head.len(),
            _ => 0,
        });
        span.heard_bytes += heads.sum::<usize>() + size_of::<Envelope>();
        if span.heard_bytes > SPAN_HEARD_BYTES_MAX {
            span.heard.clear();
            span.sync_again = true;
        }
        if !span.sync_again {
            span.heard.push(envelope);
        }
    }

    /// Takes the next envelope; where it is not the next, asks how the room stands.
    pub(super) fn take_envelope(&mut self, now: Now, number: usize, envelope: Envelope) {
        let room = &mut self.rooms[number];
        let offset = room.history.offset();
        let span = room.span();
        if envelope.epoch == span.epoch && envelope.seq <= span.seq {
            return;
        }
        let is_in_place = span.mode == RoomMode::Fast || envelope.offset == offset;
        if envelope.epoch != span.epoch || envelope.seq != span.seq + 1 || !is_in_place {
            // The answer knows of it. Kept, one of an epoch that is over would be asked about again
            // and again.
            self.begin_sync(number);
            return;
        }
        span.seq = envelope.seq;
        span.offset = envelope.last_offset();
        let body = &envelope.body;
        if body.node == span.own.node {
            span.unheard -= body.message_count().cast_signed();
        }
        if body.mode != span.mode {
            self.nodes_mut().figures.strange += 1;
        } else if body.node != span.own.node {
            self.hear_other(now, number, &envelope);
        } else if body.dropped {
            // They think that this node has ended: they will be told that it has not.
            self.begin_sync(number);
        } else if span.mode == RoomMode::Sequenced {
            self.come_back(now, number, body.op, Some(envelope.time));
        }
    }

    /// Does what was asked for up to `op`: it has its place now. Messages are published unless that
    /// is done already.
    pub(super) fn come_back(&mut self, now: Now, number: usize, op: u64, time: Option<u64>) {
        while self.rooms[number].span().queue.front().is_some_and(|entry| entry.op <= op) {
            let entry = self.pop(number).expect("there is one");
            self.note_done(number, &entry);
            match entry.what {
                What::Join(comer) => self.admit(number, comer),
                What::Leave(from, _) => self.part(number, from),
                What::Message(_, id, head) => {
                    if let Some(time) = time {
                        self.publish(now.tick, time, number, id, &head);
                    }
                }
                What::Repeat(from, ticket, id, head) => {
                    self.say_again(number, from, ticket, id, head);
                }
                What::Came | What::Went => {}
            }
        }
        self.do_idle(number);
    }

    /// Does what waits for nothing but what was before it.
    pub(super) fn do_idle(&mut self, number: usize) {
        loop {
            let span = self.rooms[number].span();
            match span.queue.front().map(|entry| &entry.what) {
                Some(What::Join(comer)) if comer.again => {
                    let comer = *comer;
                    self.pop(number);
                    self.admit(number, comer);
                }
                Some(What::Repeat(from, ticket, id, head)) => {
                    let (from, ticket, id, head) = (*from, *ticket, *id, head.clone());
                    self.pop(number);
                    self.say_again(number, from, ticket, id, head);
                }
                _ => return,
            }
        }
    }

    /// Gives a member the message that it has said again. Where that is not remembered here, the
    /// servers are asked: they have it, or it is a new one.
    fn say_again(
        &mut self,
        number: usize,
        from: usize,
        ticket: MemberTicket,
        id: u64,
        head: Bytes,
    ) {
        if !self.repeat(number, from, ticket, id) {
            self.defer_message(number, Some((from, ticket)), id, head);
        }
    }

    /// An entry of the queue is known to be done.
    pub(super) fn note_done(&mut self, number: usize, entry: &Entry) {
        let span = self.rooms[number].span();
        let own = &mut span.own;
        own.op = own.op.max(entry.op);
        match entry.what {
            What::Join(Comer { again: false, .. }) | What::Came => own.count += 1,
            What::Leave(..) | What::Went => own.count -= 1,
            What::Message(..) => {
                own.messages += 1;
                span.unheard += 1;
            }
            What::Join(_) | What::Repeat(..) => {}
        }
    }

    /// What another node has said.
    fn hear_other(&mut self, now: Now, number: usize, envelope: &Envelope) {
        let body = &envelope.body;
        let place = self.other(now.tick, number, body);
        let room = &mut self.rooms[number];
        let users = room.users();
        let span = room.span();
        let known = span.nodes[place].state;
        if body.dropped {
            span.nodes.swap_remove(place);
            if known.count > 0 {
                self.tell_left(number);
            }
            return;
        }
        // A batch that the servers have forgotten may come twice.
        let is_again = span.mode == RoomMode::Fast && body.op > 0 && body.op <= known.op;
        let missed = body.messages.saturating_sub(known.messages);
        span.nodes[place].state.messages = known.messages.max(body.messages + body.message_count());
        span.nodes[place].state.op = known.op.max(body.op);
        self.nodes_mut().figures.lost += missed;
        let mut was_told = false;
        for event in &body.events {
            match event {
                Event::Message { .. } if is_again => {}
                Event::Message { id, head } => {
                    self.publish(now.tick, envelope.time, number, *id, head);
                }
                Event::Joined(count) | Event::Left(count) => {
                    let room = &mut self.rooms[number];
                    room.span().nodes[place].state.count = *count;
                    was_told = true;
                    if matches!(event, Event::Joined(_)) {
                        self.tell_joined(number);
                    } else {
                        self.tell_left(number);
                    }
                }
            }
        }
        let room = &mut self.rooms[number];
        room.span().nodes[place].state.count = body.count;
        if !was_told {
            self.tell_difference(number, users);
        }
        let span = self.rooms[number].span();
        if body.count == 0 {
            span.nodes.swap_remove(place);
        }
    }

    /// The place of the node that speaks, among the others.
    fn other(&mut self, now: Tick, number: usize, body: &Body) -> usize {
        let nodes = &mut self.rooms[number].span().nodes;
        let known = nodes.iter().position(|other| other.state.node == body.node);
        known.unwrap_or_else(|| {
            let state = NodeState { node: body.node, count: 0, messages: body.messages, op: 0 };
            nodes.push(Other { state, since: now });
            nodes.len() - 1
        })
    }

    /// Tells members that they have become more or fewer, if they have.
    pub(super) fn tell_difference(&mut self, number: usize, before: u64) {
        match self.rooms[number].users() {
            users if users > before => self.tell_joined(number),
            users if users < before => self.tell_left(number),
            _ => {}
        }
    }
}
