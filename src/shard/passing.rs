//! Publications and requests on their way: to their home, and from there to every shard.
//!
//! Nothing is dropped on the way. Where there is no room, the one before waits: members' shards for
//! their own rounds, homes for the members' shards too, publishers for the homes. Nobody waits in
//! the other direction, so all go on.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{HOME, Shard};
use crate::app::Publications;
use crate::hub::{Batch, Requests};
use crate::limits::{
    ANSWER_BYTES_PER_TURN, ENVELOPES_PER_TURN, GATHERED_BYTES_MAX, REPLY_BYTES_KEPT,
};
use crate::mesh::{Envelope, Lane, Mesh};

/// Envelopes that found their inbox full, in order for each inbox. Nothing is read while there are
/// any, and who leaves says so once for each of its rooms: that, and what one turn has asked for,
/// bounds them.
#[derive(Debug)]
pub(super) struct Outboxes {
    waiting: Box<[[VecDeque<Envelope>; 2]]>,
    /// For each lane.
    counts: [usize; 2],
}

impl Outboxes {
    pub(super) fn new(shards: usize) -> Self {
        Self { waiting: (0..shards).map(|_| Default::default()).collect(), counts: [0; 2] }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.counts[Lane::Home as usize] == 0 && self.can_tell()
    }

    /// Whether all that members were told is on its way.
    const fn can_tell(&self) -> bool {
        self.counts[Lane::Members as usize] == 0
    }

    fn send(&mut self, mesh: &Mesh, shard: usize, envelope: Envelope) {
        let lane = envelope.lane() as usize;
        let waiting = &mut self.waiting[shard][lane];
        // Behind those that wait already, to keep the order.
        let refused =
            if waiting.is_empty() { mesh.send(shard, envelope).err() } else { Some(envelope) };
        if let Some(envelope) = refused {
            waiting.push_back(envelope);
            self.counts[lane] += 1;
        }
    }

    pub(super) fn send_waiting(&mut self, mesh: &Mesh) {
        if self.is_empty() {
            return;
        }
        for (shard, lanes) in self.waiting.iter_mut().enumerate() {
            for (waiting, count) in lanes.iter_mut().zip(&mut self.counts) {
                while let Some(envelope) = waiting.pop_front() {
                    if let Err(envelope) = mesh.send(shard, envelope) {
                        waiting.push_front(envelope);
                        break;
                    }
                    *count -= 1;
                }
            }
        }
    }
}

impl Shard {
    /// Brings what the connections here have published and asked for to its homes.
    pub(super) fn pass_on(&mut self) {
        self.pass_on_publications();
        let Self { exchange, outboxes, mesh, number, requests, .. } = self;
        exchange.rooms.take_requests(|home, asked| {
            if home == *number {
                *requests = asked;
            } else {
                outboxes.send(mesh, home, Envelope::Requests(*number, asked));
            }
        });
        if !self.requests.is_empty() {
            let asked = std::mem::take(&mut self.requests);
            self.serve(self.number, asked);
            self.tell_members();
        }
    }

    /// Brings the publications of the connections here to the home of the broadcast audience.
    fn pass_on_publications(&mut self) {
        let Publications { frames, count } = &mut self.exchange.publications;
        if *count == 0 {
            return;
        }
        self.clock.read();
        let batch = Batch::new(Bytes::copy_from_slice(frames), std::mem::take(count));
        frames.clear();
        frames.shrink_to(REPLY_BYTES_KEPT);
        if self.number == HOME {
            self.order_publication(batch);
        } else {
            self.outboxes.send(&self.mesh, HOME, Envelope::Publish(batch));
        }
    }

    /// At the home: gives `batch` its place in the order and passes it on to every shard.
    fn order_publication(&mut self, batch: Batch) {
        for shard in (0..self.mesh.shards()).filter(|&shard| shard != HOME) {
            self.outboxes.send(&self.mesh, shard, Envelope::Deliver(batch.clone()));
        }
        self.exchange.rooms.broadcast(self.clock.now, batch);
    }

    /// As the home of rooms: does what the members on shard `from` ask for.
    fn serve(&mut self, from: usize, requests: Requests) {
        self.home.serve(self.clock.now(), from, requests);
    }

    /// As the home of rooms: tells the shards what has happened.
    fn tell_members(&mut self) {
        let Self { home, outboxes, mesh, number, notices, .. } = self;
        home.take_notices(|shard, told| {
            if shard == *number {
                *notices = told;
            } else {
                outboxes.send(mesh, shard, Envelope::Notices(told));
            }
        });
        self.hear();
    }

    /// Asks the servers that nodes share for what the homes here want of them; says whether there
    /// is more to ask.
    pub(super) fn ask_cluster(&mut self) -> bool {
        let Some(road) = &self.cluster else { return false };
        let more = self.home.sync_some();
        road.send(self.home.take_orders());
        more
    }

    /// Hears what a home has told.
    fn hear(&mut self) {
        let mut notices = std::mem::take(&mut self.notices);
        for notice in notices.drain(..) {
            let mut answered = None;
            self.exchange.rooms.hear(self.clock.now, notice, |key, frames, count| {
                answered = Some((key, frames, count));
            });
            if let Some((key, frames, count)) = answered {
                self.answer(key, &frames, count);
            }
        }
    }

    /// Does what waits in the inbox of this home; says whether there is more.
    pub(super) fn take_home_envelopes(&mut self) -> bool {
        let mut envelopes = std::mem::take(&mut self.envelopes);
        let (mut more, mut taken, mut is_enough) = (true, 0, false);
        while more
            && taken < ENVELOPES_PER_TURN
            && !is_enough
            && self.takes_requests()
            && self.home.answer_bytes() < ANSWER_BYTES_PER_TURN
        {
            more = self.mesh.take(self.number, Lane::Home, 1, &mut envelopes);
            match envelopes.pop() {
                Some(Envelope::Publish(batch)) => self.order_publication(batch),
                Some(Envelope::Requests(from, requests)) => self.serve(from, requests),
                Some(Envelope::News(news)) => {
                    let now = self.clock.now();
                    news.into_iter().for_each(|news| self.home.hear_news(now, news));
                }
                Some(Envelope::Ask(ask)) => {
                    is_enough = ask.is_long();
                    self.answer_ask(ask);
                }
                Some(_) => unreachable!("it is for members"),
                None => break,
            }
            taken += 1;
        }
        self.envelopes = envelopes;
        if taken > 0 {
            self.tell_members();
        }
        more
    }

    /// Hears what waits in the inbox of the members here; says whether there is more.
    pub(super) fn take_member_envelopes(&mut self) -> bool {
        let mut envelopes = std::mem::take(&mut self.envelopes);
        let (mut more, mut taken, mut is_enough) = (true, 0, false);
        while more && taken < ENVELOPES_PER_TURN && !is_enough && self.has_room_for_members() {
            more = self.mesh.take(self.number, Lane::Members, 1, &mut envelopes);
            match envelopes.pop() {
                Some(Envelope::Deliver(batch)) => {
                    self.exchange.rooms.broadcast(self.clock.now, batch);
                }
                Some(Envelope::Notices(told)) => {
                    self.notices = told;
                    self.hear();
                }
                Some(Envelope::PasswordChecked(key, identity)) => {
                    self.on_password_checked(key, identity);
                }
                Some(Envelope::Ask(ask)) => {
                    is_enough = ask.is_long();
                    self.answer_ask(ask);
                }
                Some(Envelope::Settings(settings)) => self.apply(&settings),
                Some(_) => unreachable!("it is for homes"),
                None => break,
            }
            taken += 1;
        }
        self.envelopes = envelopes;
        more
    }

    /// Whether what is published finds room on its way to the members here and on other shards.
    pub(super) fn takes_publications(&self) -> bool {
        self.outboxes.is_empty() && self.has_room_for_members()
    }

    /// Whether what members are told finds room until their rounds.
    pub(super) fn has_room_for_members(&self) -> bool {
        self.exchange.rooms.gathered_bytes() < GATHERED_BYTES_MAX
    }

    /// Whether a home here can tell what it is asked to.
    pub(super) fn takes_requests(&self) -> bool {
        self.outboxes.can_tell() && self.has_room_for_members()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::INBOX_ENVELOPES_MAX;

    fn batch(number: usize) -> Envelope {
        let frames = Bytes::copy_from_slice(&number.to_be_bytes());
        Envelope::Deliver(Batch::new(frames, 1))
    }

    #[test]
    fn envelopes_that_found_no_room_follow_in_order() -> std::io::Result<()> {
        let mesh = Mesh::new(2)?;
        let mut outboxes = Outboxes::new(2);
        let all = INBOX_ENVELOPES_MAX + 3;
        for number in 0..all {
            outboxes.send(&mesh, 1, batch(number));
        }
        assert_eq!(outboxes.counts, [0, 3]);
        outboxes.send_waiting(&mesh);
        assert_eq!(outboxes.counts, [0, 3], "there is no room yet");

        let mut taken = Vec::new();
        mesh.take(1, Lane::Members, 2, &mut taken);
        outboxes.send_waiting(&mesh);
        assert_eq!(outboxes.counts, [0, 1]);
        while mesh.take(1, Lane::Members, 100, &mut taken) {}
        outboxes.send_waiting(&mesh);
        assert!(outboxes.is_empty());
        while mesh.take(1, Lane::Members, 100, &mut taken) {}

        let number = |envelope: &Envelope| match envelope {
            Envelope::Deliver(batch) => batch.frames.to_vec(),
            other => unreachable!("{other:?} was not sent"),
        };
        assert!(taken.iter().map(number).eq((0..all).map(|number| number.to_be_bytes().to_vec())));
        Ok(())
    }
}
