//! `storm`: clients are dropped at one moment and come back, as after the end of a server, a load
//! balancer or a network.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::alarms::Alarms;
use super::pauses::Pauses;
use super::{Message, Scenario};
use crate::args::{Backoff, Leave};
use crate::connections::{Cause, Connections};
use crate::names;
use crate::payload::mix;
use crate::stats::{Failure, Stage, Stats};

/// Connections started in one turn, so that completions are not left waiting.
const STARTS_PER_TURN: u32 = 64;

/// What a storm is. Times are nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// How connections are dropped.
    pub(crate) by: Leave,
    /// Share of them.
    pub(crate) share: f64,
    /// Time before clients come back.
    pub(crate) pauses: Pauses,
    /// Storms, and the time from one to the next.
    pub(crate) storms: u32,
    pub(crate) spacing: u64,
    /// Handshakes of this thread at once.
    pub(crate) at_once: usize,
}

/// Handshakes of all threads that go on.
pub(crate) type AtOnce = Arc<AtomicU64>;

/// The storm of one thread.
#[derive(Debug)]
pub(crate) struct Storm {
    weather: Weather,
    clients: Vec<Absence>,
    alarms: Alarms,
    /// Clients whose time to come back has come, and since when.
    waiting: VecDeque<(u32, u64)>,
    /// Handshakes of all threads, and of this one.
    all_at_once: AtOnce,
    at_once: usize,
    /// Since when there are fewer handshakes than there may be.
    room_since: u64,
    /// When the first client of this storm was started.
    first_start: Option<u64>,
    /// Clients that are to come back.
    away: u64,
    /// The scenario has begun.
    begun: bool,
    /// When the first storm broke, and how many have.
    first: Option<u64>,
    storms: u32,
    settling: bool,
}

/// What is known of a client.
#[derive(Clone, Copy, Default, Debug)]
struct Absence {
    /// It is to come back.
    is_away: bool,
    /// An attempt to come back goes on.
    is_trying: bool,
    /// Attempts that have failed since it was dropped.
    failures: u32,
    /// When it was dropped.
    dropped: u64,
    /// When the attempt was to start, and did.
    intended: u64,
    started: u64,
}

impl Weather {
    /// Whether a storm drops the client with this number. Of `n` neighbours, it drops the share.
    fn drops(&self, number: u32, storm: u32) -> bool {
        let before = |place: u64| (place as f64 * self.share).floor();
        let place = u64::from(number) + u64::from(storm);
        before(place + 1) > before(place)
    }
}

impl Storm {
    /// Storms over `count` clients; threads share `all_at_once`.
    pub(crate) fn new(weather: Weather, all_at_once: AtOnce, count: u32) -> Self {
        Self {
            weather,
            clients: vec![Absence::default(); count as usize],
            alarms: Alarms::new(count),
            waiting: VecDeque::new(),
            all_at_once,
            at_once: 0,
            room_since: 0,
            first_start: None,
            away: 0,
            begun: false,
            first: None,
            storms: 0,
            settling: false,
        }
    }

    /// When the next storm breaks, once the run is measured.
    fn next_storm(&self) -> Option<u64> {
        let is_left = self.storms < self.weather.storms && !self.settling;
        let first = self.first.filter(|_| is_left)?;
        Some(first + u64::from(self.storms) * self.weather.spacing)
    }

    /// Drops everybody that the storm takes, at once.
    fn break_out(&mut self, connections: &mut Connections) {
        let began = connections.clock.now();
        let open: Vec<u32> = connections.open_clients().collect();
        for index in open {
            if self.weather.drops(connections.number(index), self.storms) {
                let now = connections.clock.now();
                self.dropped(&mut connections.stats, index, now);
                connections.leave(index, self.weather.by, now);
            }
        }
        self.storms += 1;
        self.first_start = None;
        let took = connections.clock.now() - began;
        connections.stats.peak(names::DROP_TIME, took);
    }

    fn dropped(&mut self, stats: &mut Stats, index: u32, now: u64) {
        let absence = Absence { is_away: true, dropped: now, ..Absence::default() };
        self.clients[index as usize] = absence;
        self.away += 1;
        stats.count(names::DROPPED);
    }

    /// Sets the alarm for the next attempt of a client.
    fn pause(&mut self, number: u32, index: u32, now: u64) {
        let failures = self.clients[index as usize].failures;
        let seed = u64::from(number) << 32 | u64::from(self.storms) << 16 | u64::from(failures);
        self.alarms.set(index, now + self.weather.pauses.pause(failures, mix(seed)));
    }

    fn start(&mut self, connections: &mut Connections, index: u32, intended: u64) {
        let now = connections.clock.now();
        let absence = &mut self.clients[index as usize];
        absence.is_trying = true;
        (absence.intended, absence.started) = (intended.min(now), now);
        let is_first = absence.failures == 0;
        self.late(&mut connections.stats, is_first, intended, now);
        self.at_once += 1;
        let at_once = self.all_at_once.fetch_add(1, Ordering::Relaxed) + 1;
        connections.stats.peak(names::HANDSHAKES_AT_ONCE, at_once);
        connections.start(index, now);
    }

    /// Records how late an attempt starts by this program's doing. Without back-off, all clients
    /// are due at once and start one after the other, as fast as they can: that is no schedule to
    /// be late for, but the time that it takes is told.
    fn late(&mut self, stats: &mut Stats, is_first: bool, intended: u64, now: u64) {
        if self.weather.pauses.backoff == Backoff::None {
            let first = *self.first_start.get_or_insert(now);
            if is_first {
                stats.peak(names::START_TIME, now - first);
            }
        } else if stats.is_measured(intended) {
            // Waiting for one of the handshakes that the user allows at once is not its doing.
            stats.lag.record(now.saturating_sub(intended.max(self.room_since)));
        }
    }

    /// An attempt has come to its end.
    fn tried(&mut self, index: u32, now: u64) {
        self.clients[index as usize].is_trying = false;
        if self.at_once == self.weather.at_once {
            self.room_since = now;
        }
        self.at_once -= 1;
        self.all_at_once.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Scenario for Storm {
    fn begin(&mut self, _: &mut Connections, _: u64) {
        self.begun = true;
    }

    fn message(&mut self, _: &mut Stats, _: u32, _: Message<'_>) {}

    fn read_done(&mut self, _: &mut Connections, _: u32, _: u64) {}

    fn turn(&mut self, connections: &mut Connections, now: u64) -> Result<Option<u64>, String> {
        // All threads have the same.
        let start = connections.stats.window.start;
        if self.first.is_none() && now >= start {
            self.first = Some(start);
        }
        if self.next_storm().is_some_and(|at| at <= now) {
            self.break_out(connections);
        }
        while let Some(due) = self.alarms.next(now) {
            self.waiting.push_back(due);
        }
        for _ in 0..STARTS_PER_TURN {
            if self.at_once >= self.weather.at_once {
                break;
            }
            let Some((index, due)) = self.waiting.pop_front() else { break };
            self.start(connections, index, due);
        }
        let may_start = !self.waiting.is_empty() && self.at_once < self.weather.at_once;
        let measured = Some(start).filter(|_| self.first.is_none());
        let times = [measured, self.next_storm(), self.alarms.next_at(), may_start.then_some(now)];
        Ok(times.into_iter().flatten().min())
    }

    fn opened(&mut self, connections: &mut Connections, index: u32, now: u64) {
        let absence = self.clients[index as usize];
        if !absence.is_trying {
            return;
        }
        self.tried(index, now);
        self.clients[index as usize].is_away = false;
        self.away -= 1;
        let stats = &mut connections.stats;
        stats.took(absence.intended, absence.started, now);
        stats.histogram(names::RECOVERY).record(now.saturating_sub(absence.dropped));
    }

    fn gone(&mut self, connections: &mut Connections, index: u32, now: u64, cause: Cause) {
        let absence = self.clients[index as usize];
        match cause {
            Cause::Failed(stage, _) if stage.is_opening() && absence.is_trying => {
                self.tried(index, now);
                let absence = &mut self.clients[index as usize];
                absence.failures = absence.failures.saturating_add(1);
                let stats = &mut connections.stats;
                stats.count(names::REFUSED);
                stats.histogram(names::REFUSAL).record(now.saturating_sub(absence.started));
            }
            // The server was faster than the storm: whoever is lost comes back too.
            Cause::Failed(Stage::Open, _) if self.begun && !absence.is_away => {
                self.dropped(&mut connections.stats, index, now);
            }
            _ if !absence.is_away => return,
            _ => {}
        }
        self.pause(connections.number(index), index, now);
    }

    fn settled(&mut self) -> bool {
        self.settling = true;
        self.away == 0
    }

    fn finish(&mut self, stats: &mut Stats) {
        stats.count_many(names::NEVER_BACK, self.away);
    }

    fn lost(&mut self, _: u32, _: Failure) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::args::BackoffArguments;

    fn weather(backoff: Backoff) -> Weather {
        let backoff_base = Duration::from_nanos(100);
        let pauses = BackoffArguments { backoff, backoff_base, backoff_max: backoff_base };
        Weather {
            by: Leave::Fin,
            share: 0.3,
            pauses: Pauses::new(&pauses),
            storms: 1,
            spacing: 0,
            at_once: usize::MAX,
        }
    }

    #[test]
    fn only_what_was_spread_by_a_back_off_is_late() {
        let late = |weather: Weather, tried_at: u64| {
            let mut storm = Storm::new(weather, AtOnce::default(), 2);
            let mut stats = Stats { window: 1_000..9_000, ..Stats::default() };
            storm.at_once = 1;
            storm.all_at_once.store(1, Ordering::Relaxed);
            storm.tried(0, tried_at);
            storm.late(&mut stats, true, 2_000, 5_000);
            storm.late(&mut stats, true, 2_000, 5_700);
            storm.late(&mut stats, true, 9_000, 9_900);
            let max = stats.lag.histogram().map(|lag| (lag.len(), lag.max() / 100));
            (max, stats.peaks.get(names::START_TIME).copied())
        };
        assert_eq!(late(weather(Backoff::Exponential), 4_500), (Some((2, 37)), None));
        // The bound on handshakes at once was the reason until there was room.
        let bounded = Weather { at_once: 1, ..weather(Backoff::Exponential) };
        assert_eq!(late(bounded, 4_500), (Some((2, 12)), None));
        assert_eq!(late(bounded, 1_500), (Some((2, 37)), None));
        assert_eq!(late(weather(Backoff::None), 4_500), (None, Some(4_900)));
    }

    #[test]
    fn a_storm_takes_its_share_and_the_next_one_others() {
        for (share, taken) in [(1.0, 100), (0.5, 50), (0.3, 30), (0.01, 1)] {
            let weather = Weather { share, ..weather(Backoff::None) };
            let drops = |storm| (0..100).filter(|&number| weather.drops(number, storm)).count();
            assert_eq!(drops(0), taken, "{share}");
        }
        let half = Weather { share: 0.5, ..weather(Backoff::None) };
        assert!((0..100).all(|number| half.drops(number, 0) != half.drops(number, 1)));
    }
}
