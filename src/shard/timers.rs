//! Deadlines of connections in the wheel, and the two timers that wake the shard for them.

use std::time::Duration;

use super::{Shard, kind};
use crate::collections::{Key, Tick};
use crate::connection::CloseReason;
use crate::limits::{REARMS_PER_TURN, TICK_MILLISECONDS, TIMERS_PER_TURN};
use crate::mesh::DrainPlan;
use crate::protocol::CloseCode;
use crate::ring::{TimerSlot, Token};

const TICK_TIMER: TimerSlot = TimerSlot(0);
const PACE_TIMER: TimerSlot = TimerSlot(1);

/// Time of the handshakes in progress when the server ends: a round trip, and the rest of a head.
const ENDING_HANDSHAKE_TIME: Duration = Duration::from_secs(1);

/// Ticks until the first farewell: by then no shard accepts any more, and who comes back at once
/// comes to the next server.
const FIRST_FAREWELL_TICKS: Tick = 2;

/// How far a drain is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    shard: usize,
    begin: Tick,
    /// Ticks over which the farewells are spread, until four fifths of the time are over. The last
    /// have the rest to take what they are owed.
    spread: Tick,
    /// When who is still here is cut off: a twentieth before the process ends.
    deadline: Tick,
}

impl Drain {
    fn new(shard: usize, now: Tick, grace: Duration) -> Self {
        let ticks = grace.as_millis() as u64 / TICK_MILLISECONDS;
        Self {
            shard,
            begin: now.wrapping_add(FIRST_FAREWELL_TICKS),
            spread: (ticks * 4 / 5).saturating_sub(u64::from(FIRST_FAREWELL_TICKS)).max(1) as Tick,
            deadline: now.wrapping_add((ticks * 19 / 20) as Tick),
        }
    }

    /// When a connection that was `opened` then is told to go: at any time until the end of the
    /// spread.
    fn farewell(self, key: Key, opened: Tick) -> Tick {
        let since = if is_due(opened, self.begin) { self.begin } else { opened };
        let left = self.begin.wrapping_add(self.spread).wrapping_sub(since).cast_signed().max(1);
        // Consecutive slots, and the same slot of different shards, are spread evenly (Knuth, 6.4),
        // whatever the length of the spread.
        let number = key.index().wrapping_add((self.shard as u32).wrapping_mul(0x85EB_CA6B));
        let place = u64::from(number.wrapping_mul(0x9E37_79B1));
        since.wrapping_add(((place * u64::from(left.unsigned_abs())) >> 32) as Tick)
    }

    /// What a connection has to do `now`.
    fn order(self, key: Key, opened: Tick, now: Tick) -> Order {
        if is_due(self.deadline, now) {
            Order::Out
        } else if is_due(self.farewell(key, opened), now) {
            Order::Go
        } else {
            Order::Stay
        }
    }
}

/// What a drain wants of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Stay,
    Go,
    Out,
}

fn is_due(time: Tick, now: Tick) -> bool {
    time.wrapping_sub(now).cast_signed() <= 0
}

fn earlier(one: Tick, other: Tick) -> Tick {
    if is_due(one, other) { one } else { other }
}

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

    /// When the connection wants to be judged, its session ends, or a drain lets it go or cuts it
    /// off.
    fn deadline(&self, key: Key) -> Tick {
        let slot = self.slots.get(key).expect("the caller holds a live key");
        let mut deadline = slot.connection.deadline(&self.exchange.workshop);
        if slot.connection.is_open() {
            let session = slot.session.as_ref();
            let end = session.and_then(|session| session.deadline(self.clock.now()));
            deadline = end.map_or(deadline, |end| earlier(end, deadline));
        }
        let Some(drain) = self.draining else { return deadline };
        if slot.connection.is_open() {
            deadline = earlier(drain.farewell(key, slot.opened), deadline);
        }
        earlier(drain.deadline, deadline)
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
        let order = self.draining.map_or(Order::Stay, |drain| drain.order(key, slot.opened, now));
        let moment = self.clock.now();
        self.exchange.judge(moment, key, slot, |slot, reply| match order {
            Order::Stay => {}
            Order::Go => slot.connection.close(
                now,
                CloseReason::GoingAway,
                CloseCode::GOING_AWAY,
                "server is going away",
                reply,
            ),
            Order::Out => slot.connection.abort(CloseReason::GoingAway),
        });
        if self.perform_step(key) {
            self.arm_deadline(key);
        }
    }

    /// The tick timer has fired. Who was starved is tried again: nothing else would.
    pub(super) fn on_tick(&mut self) {
        self.ticking = false;
        let lateness = self.clock.now.saturating_sub(self.tick_due);
        self.counters().timer_lateness.record(lateness);
        for key in std::mem::take(&mut self.exchange.starved) {
            let Some(slot) = self.slots.get_mut(key).filter(|slot| !slot.ended) else { continue };
            if slot.connection.backlog().is_some() {
                self.flush_backlog(key);
            } else {
                self.mark_readable(key);
                self.flush_records(key);
            }
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

    /// Accepts when all shards are ready to, and stops when the server ends.
    pub(super) fn heed_mesh(&mut self) {
        if self.mesh.is_open() {
            self.desk.open();
        }
        if self.draining.is_none()
            && let Some(plan) = self.mesh.drain()
        {
            self.begin_drain(plan);
        }
    }

    /// Stops accepting and spreads the farewells, so that not everybody reconnects elsewhere in the
    /// same moment.
    fn begin_drain(&mut self, plan: DrainPlan) {
        let now = self.clock.tick();
        let drain = Drain::new(self.number, now, plan.grace);
        self.draining = Some(drain);
        // Who is still in its handshake when the server ends goes within a second; where another
        // process goes on, there is no hurry.
        let time = plan.grace / 20 * 19;
        let time = if plan.handed_over { time } else { time.min(ENDING_HANDSHAKE_TIME) };
        self.desk.close(plan.handed_over, time);
        let here = self.slots.iter().filter(|(_, slot)| !slot.ended);
        let keys: Vec<Key> = here.map(|(key, _)| key).collect();
        for key in keys {
            self.arm_deadline(key);
        }
    }

    /// Has the ring wake us for the next tick and, unless there is more to send at once, for the
    /// next round of a room.
    pub(super) fn start_timers(&mut self, more_sends: bool) {
        if !self.ticking && (!self.wheel.is_empty() || self.home.remembers()) {
            self.ticking = true;
            let next =
                Duration::from_millis((u64::from(self.clock.tick()) + 1) * TICK_MILLISECONDS);
            self.tick_due = next;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Farewells of each second of a drain that begins at a tick close to the wrap.
    fn farewells(shards: usize, connections: u32, grace: Duration) -> Vec<usize> {
        const BEGIN: Tick = Tick::MAX - 7;
        let mut seconds = Vec::new();
        for shard in 0..shards {
            let drain = Drain::new(shard, BEGIN, grace);
            for index in 0..connections {
                let farewell = drain.farewell(Key::from_parts(index, 0), BEGIN);
                assert!(drain.deadline.wrapping_sub(farewell).cast_signed() >= 0);
                let second =
                    (farewell.wrapping_sub(BEGIN) / crate::limits::TICKS_PER_SECOND) as usize;
                seconds.resize(seconds.len().max(second + 1), 0);
                seconds[second] += 1;
            }
        }
        seconds
    }

    #[test]
    fn farewells_are_spread_evenly_over_most_of_the_drain() {
        for (shards, connections) in [(1, 10_000), (2, 5_000), (64, 100), (1000, 1)] {
            for grace in [5, 10, 60] {
                let seconds = farewells(shards, connections, Duration::from_secs(grace));
                let all = shards * connections as usize;
                let most = seconds.iter().max().copied().unwrap_or_default();
                assert_eq!(seconds.len() as u64, grace * 4 / 5);
                assert!(most * grace as usize <= all * 2, "{shards} × {connections}: {seconds:?}");
            }
        }
    }

    #[test]
    fn who_comes_late_has_what_is_left() {
        let drain = Drain::new(0, 100, Duration::from_secs(10));
        for opened in 0..200 {
            let since = opened.max(102);
            for index in 0..100 {
                let farewell = drain.farewell(Key::from_parts(index, 0), opened);
                assert!(farewell >= since && farewell <= since.max(179), "{farewell}, {opened}");
            }
        }
    }

    #[test]
    fn nobody_is_told_to_go_before_its_time() {
        let drain = Drain::new(0, 100, Duration::from_secs(10));
        for index in 0..100 {
            let key = Key::from_parts(index, 0);
            let farewell = drain.farewell(key, 0);
            let order = |now| drain.order(key, 0, now);
            assert!((100..farewell).all(|now| order(now) == Order::Stay));
            assert!((farewell..195).all(|now| order(now) == Order::Go));
            assert_eq!(order(195), Order::Out);
        }
    }
}
