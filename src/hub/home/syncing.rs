//! How a room gets in step with the other nodes: what it has missed, or that it has.

use bytes::Bytes;

use super::{Home, Now, account};
use crate::collections::Tick;
use crate::hub::history::History;
use crate::hub::span::{Envelope, Event, Link, NodeState, Other, RoomMode, State};
use crate::hub::{Joined, Wording};
use crate::limits::TICK_MILLISECONDS;

/// A message of the log.
struct Logged {
    offset: u64,
    time: u64,
    id: u64,
    head: Bytes,
}

impl<W: Wording> Home<W> {
    /// The servers have said how a room stands.
    pub(super) fn on_synced(&mut self, now: Now, number: usize, state: State) {
        let span = self.rooms[number].span();
        if span.link != Link::Syncing {
            return;
        }
        let heard = std::mem::take(&mut span.heard);
        span.heard_bytes = 0;
        let is_known = span.has_synced && span.epoch == state.epoch;
        self.set_link(number, Link::Live);
        let mut heard = heard.into_iter().peekable();
        if is_known {
            // What came behind the answer is for later: the answer does not know of it.
            let is_due = |home: &mut Self, envelope: &Envelope| {
                envelope.seq <= state.seq && home.is_next(number, envelope)
            };
            while heard.peek().is_some_and(|envelope| is_due(self, envelope)) {
                let envelope = heard.next().expect("it was looked at");
                self.take_envelope(now, number, envelope);
            }
        }
        let room = &mut self.rooms[number];
        let users = room.users();
        let span = room.span();
        let (had_synced, mode) = (std::mem::replace(&mut span.has_synced, true), span.mode);
        let own = state.nodes.iter().find(|node| node.node == span.own.node);
        let (done, counted) = own.map_or((0, 0), |own| (own.op, own.count));
        // Messages may come before a reply that stands before them.
        let is_behind = !is_known || span.seq < state.seq;
        if is_behind {
            let missed = span.missed(state.offset, done);
            (span.epoch, span.seq, span.offset) = (state.epoch, state.seq, state.offset);
            let mut lost = self.meet_others(now.tick, number, &state.nodes, is_known);
            if is_known {
                lost = missed;
            }
            match mode {
                RoomMode::Fast => self.nodes_mut().figures.lost += lost,
                RoomMode::Sequenced => self.catch_up(now, number, &state, had_synced, lost),
            }
        } else if mode == RoomMode::Sequenced {
            self.load_older(now, number, &state);
        }
        self.tell_difference(number, users);
        self.come_back(now, number, done, None);
        let span = self.rooms[number].span();
        span.unheard = 0;
        span.own.op = span.own.op.max(done);
        // Somebody took this node for one that has ended, and the count could not be put right.
        span.sync_again |= span.own.count != counted;
        span.again = span.again.max(std::mem::take(&mut span.sent));
        span.batch = 0;
        for envelope in heard {
            let span = self.rooms[number].span();
            if envelope.epoch != state.epoch {
                // Of an epoch that is over, or of one that has begun since.
                span.sync_again = true;
            } else if span.link == Link::Live {
                self.take_envelope(now, number, envelope);
            } else {
                self.keep_envelope(number, envelope);
            }
        }
        self.suspect(number);
        let span = self.rooms[number].span();
        if std::mem::take(&mut span.sync_again) && span.link == Link::Live {
            self.begin_sync(number);
        }
        self.go_on(number);
    }

    /// Whether an envelope follows what has been heard.
    fn is_next(&mut self, number: usize, envelope: &Envelope) -> bool {
        let room = &mut self.rooms[number];
        let offset = room.history.offset();
        let span = room.span();
        envelope.epoch == span.epoch
            && (envelope.seq <= span.seq
                || envelope.seq == span.seq + 1
                    && (span.mode == RoomMode::Fast || envelope.offset == offset))
    }

    /// Takes over what is known of the other nodes; says how many of their messages never came.
    fn meet_others(
        &mut self,
        now: Tick,
        number: usize,
        states: &[NodeState],
        is_known: bool,
    ) -> u64 {
        let span = self.rooms[number].span();
        let known = std::mem::take(&mut span.nodes);
        let mut lost = 0;
        for &state in states.iter().filter(|state| state.node != span.own.node) {
            let before = known.iter().find(|other| other.state.node == state.node);
            let (mut state, mut since) = (state, now);
            if let Some(before) = before {
                lost += state.messages.saturating_sub(before.state.messages);
                // Servers that have forgotten the room know less than what was heard.
                state.messages = state.messages.max(before.state.messages);
                state.op = state.op.max(before.state.op);
                since = before.since;
            }
            if state.count > 0 {
                span.nodes.push(Other { state, since });
            }
        }
        if !is_known && span.mode == RoomMode::Fast {
            // A room that was lost does not know all nodes yet: what they say again was heard.
            for mut other in known {
                let node = other.state.node;
                if span.nodes.iter().all(|met| met.state.node != node) {
                    other.state.count = 0;
                    span.nodes.push(other);
                }
            }
        }
        lost
    }

    /// Gives the members what the log has, or tells them that they may have missed something.
    fn catch_up(&mut self, now: Now, number: usize, state: &State, had_synced: bool, lost: u64) {
        let log = messages_of(state);
        let room = &mut self.rooms[number];
        let offset = room.history.offset();
        let is_same = had_synced && room.epoch == state.epoch;
        let is_whole = is_same && offset <= state.offset && covers(&log, offset, state.offset);
        if is_whole {
            for message in log.iter().filter(|message| message.offset > offset) {
                self.publish(now.tick, message.time, number, message.id, &message.head);
            }
            self.load(now, number, &log, state.offset);
            return;
        }
        self.rooms[number].epoch = state.epoch;
        self.restart_history(number, state.offset);
        self.load(now, number, &log, state.offset);
        if !had_synced {
            return;
        }
        let missed = if is_same { state.offset.saturating_sub(offset) } else { lost };
        let figures = &mut self.nodes_mut().figures;
        figures.lost += missed;
        figures.gaps += 1;
        self.tell_gap(number);
    }

    /// Nothing was missed, but older messages were wanted.
    fn load_older(&mut self, now: Now, number: usize, state: &State) {
        if self.rooms[number].history.offset() == state.offset {
            self.load(now, number, &messages_of(state), state.offset);
        }
    }

    /// Remembers a log that ends at `offset`, if it goes further back than what is remembered.
    fn load(&mut self, now: Now, number: usize, log: &[Logged], offset: u64) {
        let room = &mut self.rooms[number];
        let first = log.first().map_or(offset, |message| message.offset - 1);
        let has = offset - room.history.len() as u64;
        let span = room.span();
        span.loaded_from = span.loaded_from.min(first);
        if first >= has || !covers(log, first, offset) {
            return;
        }
        self.restart_history(number, first);
        let limits = self.limits;
        for message in log {
            let age = now.unix_milliseconds.saturating_sub(message.time) / TICK_MILLISECONDS;
            let published = now.tick.wrapping_sub(Tick::try_from(age).unwrap_or(limits.age));
            let mut frame = Vec::new();
            self.payload.clear();
            let (head, offset) = (&message.head, message.offset);
            self.wording.message(&mut self.payload, head, message.time, offset);
            super::encode_frame(&mut frame, super::OpCode::Text, &self.payload);
            let history = &mut self.rooms[number].history;
            account(&mut self.messages, &mut self.bytes, history, |history| {
                history.push(published, message.id, &frame, &limits);
            });
        }
        self.arm_expiry(number);
        self.forget_excess(number);
    }

    /// Forgets all messages; the next one has the offset behind this one.
    fn restart_history(&mut self, number: usize, offset: u64) {
        self.expiries.disarm(number as u32);
        let room = &mut self.rooms[number];
        account(&mut self.messages, &mut self.bytes, &mut room.history, |history| {
            *history = History::behind(offset);
        });
        room.span().loaded_from = offset;
    }

    /// Tells all members where the room goes on, as if they had just come.
    fn tell_gap(&mut self, number: usize) {
        let room = &mut self.rooms[number];
        let (wording, name) = (&self.wording, room.name.clone());
        let joined = Joined {
            room: &name,
            user_count: room.users(),
            position: room.position(),
            recovered: false,
        };
        if room.append(&mut self.payload, |out| wording.room_joined(out, &joined)) {
            self.unsent.push(number);
        }
    }

    /// A node that has ended may be counted in a room that was just synced.
    fn suspect(&mut self, number: usize) {
        let span = self.rooms[number].span();
        let (slot, nodes) = (span.slot, span.nodes.clone());
        let own = self.nodes_mut();
        let living = own.living.iter().find(|(slots, _)| slots.contains(slot));
        let is_living = |node| living.is_none_or(|(_, living)| living.contains(&node));
        if nodes.iter().any(|other| !is_living(other.state.node)) {
            own.suspects.push(number);
        }
    }
}

/// The messages of a log, in order.
fn messages_of(state: &State) -> Vec<Logged> {
    let envelopes = state.log.iter().filter_map(|bytes| Envelope::decode(bytes.clone()));
    let mut messages = Vec::new();
    for envelope in envelopes.filter(|envelope| envelope.epoch == state.epoch) {
        let mut offset = envelope.offset;
        for event in envelope.body.events {
            if let Event::Message { id, head } = event {
                offset += 1;
                messages.push(Logged { offset, time: envelope.time, id, head });
            }
        }
    }
    messages
}

/// Whether a log has all messages behind one offset up to another.
fn covers(log: &[Logged], from: u64, to: u64) -> bool {
    let missing = log.iter().filter(|message| message.offset > from).zip(from + 1..);
    let mut count = 0;
    for (message, expected) in missing {
        if message.offset != expected {
            return false;
        }
        count += 1;
    }
    count == to - from
}
