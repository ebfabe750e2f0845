//! The rounds of the audience: one send per member and round.

use super::Shard;
use crate::limits::FANOUT_SENDS_PER_TURN;

impl Shard {
    /// Sends what is due to the audience; says whether the round goes on in the next turn.
    pub(super) fn fan_out(&mut self) -> bool {
        let Some(due) = self.audience.due() else { return false };
        // The reads of this turn took their time.
        self.clock.read();
        if due > self.clock.now {
            return false;
        }
        if !self.audience.in_round()
            && let Some(batch) = self.audience.take_gathered()
        {
            self.audience.begin_round(batch);
        }
        for _ in 0..FANOUT_SENDS_PER_TURN {
            let Some((member, batch)) = self.audience.next_in_round() else {
                // The round took its time: what gathers now waits from here on.
                self.clock.read();
                self.audience.end_round(self.clock.now);
                return false;
            };
            self.transmit_batch(member, &batch);
        }
        true
    }
}
