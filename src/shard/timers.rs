//! Deadlines of connections in the wheel, and the two timers that wake the shard for them.

use std::time::Duration;

use super::{Drain, Shard, kind};
use crate::collections::{Key, Tick};
use crate::connection::CloseReason;
use crate::limits::{REARMS_PER_TURN, TICK_MILLISECONDS, TIMERS_PER_TURN};
use crate::protocol::CloseCode;
use crate::ring::{TimerSlot, Token};

const TICK_TIMER: TimerSlot = TimerSlot(0);
const PACE_TIMER: TimerSlot = TimerSlot(1);

impl Shard {
    pub(super) fn arm_deadline(&mut self, key: Key) {
        let deadline = self.deadline(key);
        self.arm(key, deadline);
    }

    /// Arms the deadline if it is before the armed one. Activity, which moves it back, does not
    /// touch the wheel, nor does it put off a farewell.
    pub(super) fn hasten_deadline(&mut self, key: Key) {
        let deadline = self.deadline(key);
        let slot = self.slots.get(key).expect("the caller holds a live key");
        if deadline.wrapping_sub(slot.armed).cast_signed() < 0 {
            self.arm(key, deadline);
        }
    }

    /// When the connection wants to be judged, its session ends, or a drain cuts it off.
    fn deadline(&self, key: Key) -> Tick {
        let slot = self.slots.get(key).expect("the caller holds a live key");
        let mut deadline = slot.connection.deadline(&self.exchange.workshop);
        let session = slot.session.as_ref().filter(|_| slot.connection.is_open());
        if let Some(end) = session.and_then(|session| session.deadline(self.clock.now()))
            && end.wrapping_sub(deadline).cast_signed() < 0
        {
            deadline = end;
        }
        match self.draining {
            Some(drain) if drain.deadline.wrapping_sub(deadline).cast_signed() < 0 => {
                drain.deadline
            }
            _ => deadline,
        }
    }

    pub(super) fn arm(&mut self, key: Key, deadline: Tick) {
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        slot.armed = deadline;
        self.wheel.arm(key.index(), deadline);
    }

    /// Judges the connections whose deadline has come, and has rooms forget what is too old; says
    /// whether there is more.
    pub(super) fn fire_timers(&mut self) -> bool {
        let now = self.clock.tick();
        let more_old = self.home.forget_old(now);
        self.fire_deadlines(now) || more_old
    }

    fn fire_deadlines(&mut self, now: Tick) -> bool {
        for _ in 0..TIMERS_PER_TURN {
            let Some(index) = self.wheel.pop_due(now) else { return false };
            let key = self.slots.key_at(index).expect("only live connections have a deadline");
            self.fire(key, now);
        }
        true
    }

    fn fire(&mut self, key: Key, now: Tick) {
        let held_back = !self.takes_publications();
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        if held_back && slot.queued {
            slot.connection.on_held_back(now);
        }
        let draining = self.draining;
        let moment = self.clock.now();
        self.exchange.judge(moment, slot, |slot, reply| match draining {
            Some(drain) if drain.deadline.wrapping_sub(now).cast_signed() <= 0 => {
                slot.connection.abort(CloseReason::GoingAway);
            }
            Some(_) => slot.connection.close(
                now,
                CloseReason::GoingAway,
                CloseCode::GOING_AWAY,
                "server is going away",
                reply,
            ),
            None => {}
        });
        if self.perform_step(key) {
            self.arm_deadline(key);
        }
    }

    /// Brings forward the deadlines of some connections after the heartbeat has become shorter;
    /// says whether there are more.
    pub(super) fn rearm(&mut self) -> bool {
        let Some(next) = self.rearming else { return false };
        // Who came meanwhile has the shorter heartbeat already.
        let end = next.saturating_add(REARMS_PER_TURN).min(self.slots.reach());
        for index in next..end {
            let Some(key) = self.slots.key_at(index) else { continue };
            if self.slots.get(key).is_some_and(|slot| !slot.ended) {
                self.hasten_deadline(key);
            }
        }
        self.rearming = (end < self.slots.reach()).then_some(end);
        self.rearming.is_some()
    }

    pub(super) fn heed_drain(&mut self) {
        if self.draining.is_none()
            && let Some(grace) = self.mesh.drain()
        {
            self.begin_drain(grace);
        }
    }

    /// Stops accepting and spreads the farewells over the first half of `grace`, so that not
    /// everybody reconnects elsewhere in the same moment. Nine tenths of it must do for all.
    fn begin_drain(&mut self, grace: Duration) {
        let now = self.clock.tick();
        let ticks = (grace.as_millis() as u64 / TICK_MILLISECONDS) as Tick;
        self.draining = Some(Drain { deadline: now.wrapping_add(ticks / 10 * 9) });
        self.desk.close();
        let spread = (ticks / 2).max(1);
        let keys: Vec<Key> = self.slots.iter().map(|(key, _)| key).collect();
        for key in keys {
            let slot = self.slots.get(key).expect("listed just now");
            // Consecutive slots are spread evenly (Knuth, 6.4).
            let share = key.index().wrapping_mul(0x9E37_79B1) % spread;
            let farewell = now.wrapping_add(share);
            // Who is on the way out already gets no more time for it.
            let sooner = farewell.wrapping_sub(slot.armed).cast_signed() < 0;
            if !slot.ended && (slot.connection.is_open() || sooner) {
                self.arm(key, farewell);
            }
        }
    }

    /// Has the ring wake us for the next tick and, unless there is more to send at once, for the
    /// next round of a room.
    pub(super) fn start_timers(&mut self, more_sends: bool) {
        if !self.ticking && (!self.wheel.is_empty() || self.home.remembers()) {
            self.ticking = true;
            let next =
                Duration::from_millis((u64::from(self.clock.tick()) + 1) * TICK_MILLISECONDS);
            let delay = next.saturating_sub(self.clock.now);
            self.ring.timer(TICK_TIMER, delay, Token::new(kind::TICK, 0, 0));
        }
        if !self.pacing
            && !more_sends
            && let Some(due) = self.exchange.rooms.due()
        {
            self.pacing = true;
            let delay = due.saturating_sub(self.clock.now);
            self.ring.timer(PACE_TIMER, delay, Token::new(kind::PACE, 0, 0));
        }
    }
}
