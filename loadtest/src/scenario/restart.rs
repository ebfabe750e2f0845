//! `restart`: clients hold their connections, and come back by themselves when the server lets them
//! go with close frame 1001, as one that is restarted or taken out of service does. Meanwhile new
//! connections may come by a schedule.

use super::alarms::Alarms;
use super::pauses::Pauses;
use super::{Churn, Message, Scenario};
use crate::connections::{Cause, Connections};
use crate::names;
use crate::payload::{Payloads, Stamp, mix};
use crate::schedule::Schedule;
use crate::stats::{Failure, Stats};

/// Connections started, and messages sent, in one turn, so that completions are not left waiting.
const STARTS_PER_TURN: u32 = 64;
const SENDS_PER_TURN: u32 = 256;

/// What those do that stay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stay {
    /// Messages per second of each.
    pub(crate) send_rate: f64,
    /// Time before they come back.
    pub(crate) pauses: Pauses,
    /// Nanoseconds that they are there when nobody else comes any more.
    pub(crate) linger: u64,
}

/// Those who come for a moment: the first clients of the thread.
#[derive(Debug)]
pub(crate) struct Company {
    /// How they come and go.
    pub(crate) churn: Churn,
    /// How many they are.
    pub(crate) newcomers: u32,
    /// The latency of the run is that of their handshakes.
    pub(crate) are_measured: bool,
}

/// The clients of one thread.
#[derive(Debug)]
pub(crate) struct Restart {
    payloads: Payloads,
    stay: Stay,
    company: Company,
    /// The number of the first client that stays.
    first: u32,
    clients: Vec<Client>,
    /// When clients come back.
    alarms: Alarms,
    sends: Option<Schedule>,
    /// Whose turn it is to send.
    next: usize,
    /// Clients that are to come back.
    away: u64,
    /// Messages without an answer: of open connections, of such as the server let go with a
    /// farewell, and of such as were lost.
    in_flight: u64,
    unanswered: u64,
    missing: u64,
    begun: bool,
    /// The time of this turn, and until when the clients are to be there.
    now: u64,
    until: u64,
}

/// A client that stays.
#[derive(Clone, Copy, Default, Debug)]
struct Client {
    /// It is to come back.
    is_away: bool,
    /// An attempt to come back goes on.
    is_trying: bool,
    /// Its last message has no answer yet.
    awaits: bool,
    /// Attempts that have failed since it was open.
    failures: u32,
    /// Messages of all its lives.
    messages: u32,
    /// When its connection ended.
    left: u64,
    /// When the last attempt was to start, and did.
    due: u64,
    started: u64,
    /// When the last message was to be sent.
    intended: u64,
}

impl Restart {
    /// Clients of which those that stay are `count` from number `first` on.
    pub(crate) fn new(
        payloads: Payloads,
        stay: Stay,
        company: Company,
        (first, count): (u32, u32),
    ) -> Self {
        Self {
            payloads,
            stay,
            company,
            first,
            clients: vec![Client::default(); count as usize],
            alarms: Alarms::new(count),
            sends: None,
            next: 0,
            away: 0,
            in_flight: 0,
            unanswered: 0,
            missing: 0,
            begun: false,
            now: 0,
            until: 0,
        }
    }

    /// The place among those that stay; absent for those that come for a moment.
    const fn place(&self, index: u32) -> Option<u32> {
        index.checked_sub(self.company.newcomers)
    }

    /// A client has no connection any more, and will come back.
    fn leaves(&mut self, place: u32, now: u64) {
        let client = &mut self.clients[place as usize];
        (client.is_away, client.left, client.failures) = (true, now, 0);
        self.away += 1;
        self.pause(place, now);
    }

    /// Sets the alarm for the next attempt of a client.
    fn pause(&mut self, place: u32, now: u64) {
        let Client { failures, left, .. } = self.clients[place as usize];
        let number = u64::from(self.first + place);
        let random = mix(number << 32 | u64::from(failures)).wrapping_add(mix(left));
        self.alarms.set(place, now + self.stay.pauses.pause(failures, mix(random)));
    }

    /// Starts an attempt to come back that was due.
    fn start(&mut self, connections: &mut Connections, place: u32, due: u64) {
        let now = connections.clock.now();
        let client = &mut self.clients[place as usize];
        (client.is_trying, client.due, client.started) = (true, due, now);
        if connections.stats.is_measured(due) {
            connections.stats.lag.record(now.saturating_sub(due));
        }
        connections.start(place + self.company.newcomers, now);
    }

    /// Sends what is due, to those that are there. Gives back when more is.
    fn send_due(&mut self, connections: &mut Connections, now: u64) -> Option<u64> {
        let last = connections.stats.window.end.saturating_sub(1);
        for _ in 0..SENDS_PER_TURN {
            let Some(intended) = self.sends.as_mut()?.take_due(now.min(last)) else { break };
            let place = self.next;
            self.next = (place + 1) % self.clients.len();
            if connections.is_open(place as u32 + self.company.newcomers) {
                self.send(connections, place as u32, intended);
            }
        }
        self.sends.as_ref().map(Schedule::next).filter(|&next| next <= last)
    }

    fn send(&mut self, connections: &mut Connections, place: u32, intended: u64) {
        let sent = connections.clock.now();
        let stats = &mut connections.stats;
        let is_measured = stats.is_measured(intended);
        stats.messages.scheduled += u64::from(is_measured);
        let client = &mut self.clients[place as usize];
        if client.awaits {
            stats.messages.shed += u64::from(is_measured);
            return;
        }
        if is_measured {
            stats.lag.record(sent.saturating_sub(intended));
        }
        stats.sent(intended);
        (client.awaits, client.intended) = (true, intended);
        client.messages = client.messages.wrapping_add(1);
        self.in_flight += 1;
        let (sender, number) = (self.first + place, client.messages);
        let stamp = Stamp { sender, number, intended, sent };
        let index = place + self.company.newcomers;
        connections.send(index, self.payloads.frame(&stamp));
    }
}

impl Scenario for Restart {
    fn begin(&mut self, connections: &mut Connections, origin: u64) {
        self.begun = true;
        self.company.churn.begin(connections, origin);
        let rate = self.stay.send_rate * self.clients.len() as f64;
        self.sends = (rate > 0.0).then(|| Schedule::new(origin, rate, None));
        for place in 0..self.clients.len() as u32 {
            if connections.may_start(place + self.company.newcomers) {
                self.leaves(place, origin);
            }
        }
    }

    fn message(&mut self, stats: &mut Stats, index: u32, message: Message<'_>) {
        let Some(place) = self.place(index) else {
            return self.company.churn.message(stats, index, message);
        };
        // A server may speak first, where nothing is exchanged.
        if self.stay.send_rate == 0.0 {
            return;
        }
        let client = &mut self.clients[place as usize];
        let (sender, number) = (self.first + place, client.messages);
        let awaited = Stamp { sender, number, intended: 0, sent: 0 };
        let answer = self.payloads.answer(message.kind, message.payload, &awaited);
        if stats.messages.skipped(answer, client.awaits.into()).is_some() {
            client.awaits = false;
            self.in_flight -= 1;
            stats.received_apart(names::ROUND_TRIP, client.intended, message.at);
        }
    }

    fn read_done(&mut self, connections: &mut Connections, index: u32, now: u64) {
        if self.place(index).is_none() {
            self.company.churn.read_done(connections, index, now);
        }
    }

    fn turn(&mut self, connections: &mut Connections, now: u64) -> Result<Option<u64>, String> {
        (self.now, self.until) = (now, connections.stats.window.end + self.stay.linger);
        let newcomers = self.company.churn.turn(connections, now)?;
        if now >= connections.stats.window.end {
            self.company.churn.send_home(connections, now);
        }
        for _ in 0..STARTS_PER_TURN {
            let Some((place, due)) = self.alarms.next(now) else { break };
            self.start(connections, place, due);
        }
        let sends = self.send_due(connections, now);
        let linger = Some(self.until).filter(|&until| until > now);
        Ok([newcomers, sends, self.alarms.next_at(), linger].into_iter().flatten().min())
    }

    fn opened(&mut self, connections: &mut Connections, index: u32, now: u64) {
        let Some(place) = self.place(index) else {
            return self.company.churn.opened(connections, index, now);
        };
        let client = &mut self.clients[place as usize];
        if !client.is_trying {
            return;
        }
        (client.is_trying, client.is_away) = (false, false);
        self.away -= 1;
        let stats = &mut connections.stats;
        stats.count_at(names::RETURNED, now);
        stats.histogram(names::RECOVERY).record(now.saturating_sub(client.left));
        stats.histogram(names::RETURN_HANDSHAKE).record(now.saturating_sub(client.started));
        if !self.company.are_measured {
            stats.took(client.due, client.started, now);
        }
    }

    fn gone(&mut self, connections: &mut Connections, index: u32, now: u64, cause: Cause) {
        let is_farewell = matches!(cause, Cause::Failed(_, Failure::FAREWELL));
        let Some(place) = self.place(index) else {
            if is_farewell {
                connections.stats.count(names::NEW_FAREWELLS);
            }
            return self.company.churn.gone(connections, index, now, cause);
        };
        if is_farewell {
            connections.stats.count_at(names::FAREWELLS, now);
        }
        let client = &mut self.clients[place as usize];
        if !self.begun || cause == Cause::Asked {
            return;
        }
        if client.is_trying {
            client.is_trying = false;
            client.failures = client.failures.saturating_add(1);
            self.pause(place, now);
        } else if !client.is_away {
            self.leaves(place, now);
        }
    }

    fn settled(&mut self) -> bool {
        let is_done = self.company.churn.settled() && self.away == 0 && self.in_flight == 0;
        is_done && self.now >= self.until
    }

    fn finish(&mut self, stats: &mut Stats) {
        self.company.churn.finish(stats);
        stats.messages.missing += self.missing + self.in_flight;
        stats.count_many(names::UNANSWERED, self.unanswered);
        stats.count_many(names::NEVER_BACK, self.away);
    }

    fn lost(&mut self, index: u32, failure: Failure) {
        let is_farewell = failure == Failure::FAREWELL;
        let Some(place) = self.place(index) else {
            if is_farewell {
                self.unanswered += u64::from(self.company.churn.let_go(index));
            } else {
                self.company.churn.lost(index, failure);
            }
            return;
        };
        if std::mem::take(&mut self.clients[place as usize].awaits) {
            self.in_flight -= 1;
            *(if is_farewell { &mut self.unanswered } else { &mut self.missing }) += 1;
        }
    }
}

/// Connections that ended, or did not come to be, in another way than a restart should have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Break {
    /// The name of the figure.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) label: &'static str,
    /// How many.
    pub(crate) count: u64,
}

/// What broke, by kind, none left out. What this host lacked is not the server's doing.
pub(crate) fn breaks(stats: &Stats) -> [Break; 7] {
    let mut breaks = [
        ("refused", "connections were refused"),
        ("reset", "connections were reset"),
        ("ended_without_close", "connections ended without a close frame"),
        ("closed_otherwise", "connections were closed with another code than 1001"),
        ("not_upgraded", "handshakes were answered with something else than 101"),
        ("timed_out", "connections timed out"),
        ("broke_otherwise", "connections failed in another way"),
    ]
    .map(|(name, label)| Break { name, label, count: 0 });
    for (&(_, failure), &count) in &stats.errors {
        let kind = match failure {
            Failure::REFUSED => 0,
            Failure::Broken => 1,
            Failure::Ended | Failure::Cut => 2,
            Failure::Closed(_) => 3,
            Failure::Status(_) | Failure::Response(_) => 4,
            Failure::TimedOut => 5,
            Failure::NotTried => continue,
            own if Failure::OF_THIS_HOST.contains(&own) => continue,
            _ => 6,
        };
        breaks[kind].count += count;
    }
    breaks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Stage;

    #[test]
    fn everything_but_a_farewell_has_its_kind() {
        let mut stats = Stats::default();
        let failures = [
            Failure::REFUSED,
            Failure::Broken,
            Failure::Cut,
            Failure::Closed(1000),
            Failure::Status(503),
            Failure::TimedOut,
            Failure::Protocol("any"),
        ];
        for (count, failure) in (1..).zip(failures) {
            stats.fail_many(Stage::Open, failure, count);
            stats.fail_many(Stage::Upgrade, failure, 10);
        }
        stats.fail(Stage::Connect, Failure::NO_PORT);
        stats.fail(Stage::Connect, Failure::NotTried);
        assert_eq!(breaks(&stats).map(|of| of.count), [11, 12, 13, 14, 15, 16, 17]);
    }
}
