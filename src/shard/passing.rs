//! Publications on their way: to the home of the audience, and from there to every shard.
//!
//! Nothing is dropped on the way. Where there is no room, the one before waits: members' shards for
//! their own rounds, the home for the members' shards too, publishers for the home. Nobody waits in
//! the other direction, so all go on.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{HOME, Shard};
use crate::hub::Batch;
use crate::limits::{GATHERED_BYTES_MAX, REPLY_BYTES_KEPT};
use crate::mesh::{Envelope, Mesh};

/// Envelopes that found their inbox full, in order for each shard.
#[derive(Debug)]
pub(super) struct Outboxes {
    waiting: Box<[VecDeque<Envelope>]>,
    count: usize,
}

impl Outboxes {
    pub(super) fn new(shards: usize) -> Self {
        Self { waiting: (0..shards).map(|_| VecDeque::new()).collect(), count: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn send(&mut self, mesh: &Mesh, shard: usize, envelope: Envelope) {
        let waiting = &mut self.waiting[shard];
        // Behind those that wait already, to keep the order.
        let refused =
            if waiting.is_empty() { mesh.send(shard, envelope).err() } else { Some(envelope) };
        if let Some(envelope) = refused {
            waiting.push_back(envelope);
            self.count += 1;
        }
    }

    pub(super) fn send_waiting(&mut self, mesh: &Mesh) {
        if self.is_empty() {
            return;
        }
        for (shard, waiting) in self.waiting.iter_mut().enumerate() {
            while let Some(envelope) = waiting.pop_front() {
                if let Err(envelope) = mesh.send(shard, envelope) {
                    waiting.push_front(envelope);
                    break;
                }
                self.count -= 1;
            }
        }
    }
}

impl Shard {
    /// Brings the publications of the connections here to the home of the audience.
    pub(super) fn pass_on_publications(&mut self) {
        if self.exchange.published == 0 {
            return;
        }
        self.clock.read();
        let count = std::mem::take(&mut self.exchange.published);
        let frames = Bytes::copy_from_slice(&self.exchange.publications);
        self.exchange.publications.clear();
        self.exchange.publications.shrink_to(REPLY_BYTES_KEPT);
        let batch = Batch { frames, count };
        if self.number == HOME {
            self.order_publication(batch);
        } else {
            self.outboxes.send(&self.mesh, HOME, Envelope::Publish(batch));
        }
    }

    /// At the home: gives `batch` its place in the order and passes it on to every shard.
    pub(super) fn order_publication(&mut self, batch: Batch) {
        self.audience.publish(self.clock.now, &batch.frames, batch.count);
        for shard in (0..self.mesh.shards()).filter(|&shard| shard != HOME) {
            self.outboxes.send(&self.mesh, shard, Envelope::Deliver(batch.clone()));
        }
    }

    /// Whether what is published finds room on its way to the members here and on other shards.
    pub(super) fn takes_publications(&self) -> bool {
        self.outboxes.is_empty() && self.audience.gathered_bytes() < GATHERED_BYTES_MAX
    }

    /// Whether envelopes may be taken from the inbox.
    pub(super) fn takes_envelopes(&self) -> bool {
        let room = self.audience.gathered_bytes() < GATHERED_BYTES_MAX;
        room && (self.number != HOME || self.outboxes.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::INBOX_ENVELOPES_MAX;

    fn batch(number: usize) -> Envelope {
        let frames = Bytes::copy_from_slice(&number.to_be_bytes());
        Envelope::Deliver(Batch { frames, count: 1 })
    }

    #[test]
    fn envelopes_that_found_no_room_follow_in_order() -> std::io::Result<()> {
        let mesh = Mesh::new(2)?;
        let mut outboxes = Outboxes::new(2);
        let all = INBOX_ENVELOPES_MAX + 3;
        for number in 0..all {
            outboxes.send(&mesh, 1, batch(number));
        }
        assert_eq!(outboxes.count, 3);
        outboxes.send_waiting(&mesh);
        assert_eq!(outboxes.count, 3, "there is no room yet");

        let mut taken = Vec::new();
        mesh.take(1, 2, &mut taken);
        outboxes.send_waiting(&mesh);
        assert_eq!(outboxes.count, 1);
        while mesh.take(1, 100, &mut taken) {}
        outboxes.send_waiting(&mesh);
        assert!(outboxes.is_empty());
        while mesh.take(1, 100, &mut taken) {}

        let number = |envelope: &Envelope| match envelope {
            Envelope::Deliver(batch) => batch.frames.to_vec(),
            other => unreachable!("{other:?} was not sent"),
        };
        assert!(taken.iter().map(number).eq((0..all).map(|number| number.to_be_bytes().to_vec())));
        Ok(())
    }
}
