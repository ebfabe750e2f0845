//! When the servers that nodes share go and come, and other nodes end.

use std::sync::Arc;

use super::Home;
use crate::collections::Tick;
use crate::hub::Wording;
use crate::hub::span::{Act, Body, Link, NodeId, Slots};
use crate::limits::SPAN_NEWCOMER_TICKS;

impl<W: Wording> Home<W> {
    /// Rooms of these slots, by number.
    fn rooms_in(&self, slots: &Slots) -> Vec<usize> {
        let spanning = self.rooms.iter().filter_map(|(number, room)| {
            let span = room.span.as_ref()?;
            slots.contains(span.slot).then_some(number)
        });
        spanning.collect()
    }

    pub(super) fn on_up(&mut self, slots: &Slots) {
        let rooms = self.rooms_in(slots);
        let nodes = self.nodes_mut();
        nodes.up.add(slots);
        nodes.given_up.remove(slots);
        nodes.to_sync.extend(rooms);
    }

    pub(super) fn on_down(&mut self, slots: &Slots) {
        let nodes = self.nodes_mut();
        nodes.up.remove(slots);
        nodes.orders.retain(|order| !slots.contains(order.slot));
        for number in self.rooms_in(slots) {
            let span = self.rooms[number].span();
            span.batch = 0;
            span.heard = Vec::new();
            span.heard_bytes = 0;
            span.sync_again = false;
            self.set_link(number, Link::Down);
        }
    }

    pub(super) fn on_given_up(&mut self, slots: &Slots) {
        self.nodes_mut().given_up.add(slots);
        for number in self.rooms_in(slots) {
            self.give_up(number);
        }
    }

    /// Members on nodes that are alive no more have left.
    pub(super) fn on_living(&mut self, now: Tick, slots: Arc<Slots>, living: Arc<[NodeId]>) {
        let known = &mut self.nodes_mut().living;
        // Slots may have moved: what other servers said of them is old.
        known.retain(|(of, _)| *of == slots || !of.overlaps(&slots));
        let before = known.iter_mut().find(|(of, _)| *of == slots);
        let has_ended = match before {
            Some((_, before)) => {
                let ended = before.iter().any(|node| !living.contains(node));
                *before = Arc::clone(&living);
                ended
            }
            None => {
                known.push((Arc::clone(&slots), Arc::clone(&living)));
                true
            }
        };
        let suspects = if has_ended {
            self.rooms_in(&slots)
        } else {
            std::mem::take(&mut self.nodes_mut().suspects)
        };
        for number in suspects {
            self.judge_others(now, number, &slots, &living);
        }
    }

    fn judge_others(&mut self, now: Tick, number: usize, slots: &Slots, living: &[NodeId]) {
        let span = self.rooms.get_mut(number).and_then(|room| room.span.as_deref_mut());
        let Some(span) = span else { return };
        let mut must_wait = !slots.contains(span.slot) || span.link != Link::Live;
        let mut ended = Vec::new();
        for other in &span.nodes {
            if must_wait || living.contains(&other.state.node) {
                continue;
            }
            // It may have come after the living were counted.
            if now.wrapping_sub(other.since) < SPAN_NEWCOMER_TICKS {
                must_wait = true;
            } else {
                ended.push(other.state);
            }
        }
        let mode = span.mode;
        // Of some only what they said last is known, and nobody else counts members there.
        span.nodes.retain(|other| other.state.count > 0 || !ended.contains(&other.state));
        ended.retain(|state| state.count > 0);
        if must_wait {
            self.nodes_mut().suspects.push(number);
        }
        for state in ended {
            let body = Body {
                dropped: true,
                messages: state.messages,
                op: state.op,
                ..Body::new(mode, state.node)
            };
            self.order(number, Act::Drop { node: state.node, body: body.encode() });
        }
    }

    /// Looks at the next rooms, one in `parts` of all, whether what is known of them is still so:
    /// that also tells the servers that the room is in use.
    pub(super) fn check(&mut self, parts: u32) {
        let places = self.rooms.capacity();
        for _ in 0..places.div_ceil(parts.max(1) as usize) {
            let nodes = self.nodes_mut();
            let number = nodes.check_hand;
            nodes.check_hand = if number + 1 < places { number + 1 } else { 0 };
            let room = self.rooms.get(number);
            if room.and_then(|room| room.span.as_ref()).is_some_and(|span| span.link == Link::Live)
            {
                self.begin_sync(number);
            }
        }
    }
}
