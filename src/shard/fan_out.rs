//! The rounds of all rooms: one send per connection in each part of a turn.

use super::Shard;
use super::transfer::SLICES_MAX;
use crate::limits::{FANOUT_PARTS_PER_TURN, FANOUT_SENDS_PER_PART};

impl Shard {
    /// Sends what is due to members; says whether there is more for the next turn. A turn in which
    /// nobody else wants anything makes several parts.
    pub(super) fn fan_out(&mut self) -> bool {
        if self.exchange.rooms.has_nothing_to_send() {
            return false;
        }
        // The reads of this turn took their time.
        self.clock.read();
        for _ in 0..FANOUT_PARTS_PER_TURN {
            if !self.exchange.rooms.is_due(self.clock.now) {
                return false;
            }
            self.fan_out_part();
            if self.is_wanted() {
                break;
            }
        }
        self.exchange.rooms.is_due(self.clock.now)
    }

    fn fan_out_part(&mut self) {
        let mut sends = std::mem::take(&mut self.sends);
        self.exchange.rooms.take_due(self.clock.now, FANOUT_SENDS_PER_PART, &mut sends);
        for of_one in sends.chunk_by(|(one, _), (other, _)| one == other) {
            of_one.chunks(SLICES_MAX).for_each(|batches| self.transmit(batches));
        }
        sends.clear();
        self.sends = sends;
        // The sends took their time, too.
        self.clock.read();
        self.exchange.end_rounds(self.clock.now);
    }

    /// Whether connections or other shards wait for this turn to end.
    fn is_wanted(&mut self) -> bool {
        self.ring.has_news() || (!self.is_holding_back() && self.mesh.waits(self.number))
    }
}
