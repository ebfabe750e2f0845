//! `churn`: clients connect, exchange messages, stay a while, leave and come back.
//!
//! The ramp opens all clients, whose first lives end one after the other over one lifetime. From
//! then on a client that has left waits for the next start of the schedule, or, without one, comes
//! back at once.

use std::collections::VecDeque;

use super::alarms::Alarms;
use super::{Message, Scenario};
use crate::args::Leave;
use crate::connections::{Cause, Connections};
use crate::names;
use crate::payload::{Payloads, Stamp};
use crate::schedule::Schedule;
use crate::stats::{Failure, Stats};

/// Connections started or ended in one turn, so that completions are not left waiting.
const STARTS_PER_TURN: u32 = 64;

/// Nanoseconds before another attempt after one that failed, without a schedule.
const RETRY_NANOSECONDS: u64 = 100_000_000;

/// Nanoseconds that clients have to leave before the schedule wants the first of them back.
const HEAD_START_NANOSECONDS: u64 = 100_000_000;

/// How clients of one thread come and go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coming {
    /// Messages that each connection exchanges.
    pub(crate) messages: u32,
    /// Nanoseconds that a connection stays at least.
    pub(crate) lifetime: u64,
    /// Starts per second of this thread, and nanoseconds from the beginning to the first of them;
    /// without them a client comes back when it has left.
    pub(crate) schedule: Option<(f64, u64)>,
    /// How a connection ends.
    pub(crate) leave: Leave,
}

/// The churn of one thread.
#[derive(Debug)]
pub(crate) struct Churn {
    coming: Coming,
    payloads: Payloads,
    /// The number of the thread's first client.
    first: u32,
    clients: Vec<Life>,
    alarms: Alarms,
    /// Clients that may be started.
    free: VecDeque<u32>,
    schedule: Option<Schedule>,
    /// Messages that were on their way on connections that were lost.
    lost: u64,
    begun: bool,
}

/// What a client is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    /// Not connected.
    Resting,
    /// On its way to be open.
    Opening,
    /// Waits for an echo, the number of which is left after it.
    Exchanging(u32),
    /// Stays until its alarm.
    Staying,
    /// On its way out.
    Leaving,
}

/// A client.
#[derive(Clone, Copy, Debug)]
struct Life {
    doing: Doing,
    /// When it was to start, and when it did.
    intended: u64,
    started: u64,
    /// When it was gone.
    rested: u64,
    /// When it was open, and when its last message was sent.
    opened: u64,
    sent: u64,
    /// Messages of all its lives.
    messages: u32,
    /// The last message has come back.
    answered: bool,
}

const RESTING: Life = Life {
    doing: Doing::Resting,
    intended: 0,
    started: 0,
    rested: 0,
    opened: 0,
    sent: 0,
    messages: 0,
    answered: false,
};

impl Churn {
    /// `count` clients from number `first` on.
    pub(crate) fn new(payloads: Payloads, coming: Coming, first: u32, count: u32) -> Self {
        Self {
            coming,
            payloads,
            first,
            clients: vec![RESTING; count as usize],
            alarms: Alarms::new(count),
            free: VecDeque::new(),
            schedule: None,
            lost: 0,
            begun: false,
        }
    }

    /// Starts a client now, which may be later than `intended`.
    fn start(&mut self, connections: &mut Connections, index: u32, intended: Option<u64>) {
        let now = connections.clock.now();
        let life = &mut self.clients[index as usize];
        (life.doing, life.intended, life.started) = (Doing::Opening, intended.unwrap_or(now), now);
        connections.start(index, now);
    }

    /// Sends the next message of a client, `left` more of which follow.
    fn send(&mut self, connections: &mut Connections, index: u32, left: u32, now: u64) {
        let life = &mut self.clients[index as usize];
        (life.doing, life.sent, life.answered) = (Doing::Exchanging(left), now, false);
        let (sender, number) = (self.first + index, life.messages);
        let stats = &mut connections.stats;
        stats.messages.scheduled += u64::from(stats.is_measured(now));
        stats.sent(now);
        let stamp = Stamp { sender, number, intended: now, sent: now };
        connections.send(index, self.payloads.frame(&stamp));
    }

    /// A client has exchanged its messages.
    fn stay(&mut self, index: u32) {
        let life = &mut self.clients[index as usize];
        life.doing = Doing::Staying;
        self.alarms.set(index, life.opened + self.coming.lifetime);
    }

    /// The alarm of a client.
    fn wake(&mut self, connections: &mut Connections, index: u32) {
        let now = connections.clock.now();
        let life = &mut self.clients[index as usize];
        match life.doing {
            Doing::Staying => {
                life.doing = Doing::Leaving;
                connections.leave(index, self.coming.leave, now);
            }
            Doing::Resting => self.start(connections, index, None),
            Doing::Opening | Doing::Exchanging(_) | Doing::Leaving => {}
        }
    }

    /// Ends the connections of all that only stay.
    pub(super) fn send_home(&mut self, connections: &mut Connections, now: u64) {
        for (index, life) in (0..).zip(&mut self.clients) {
            if life.doing == Doing::Staying {
                life.doing = Doing::Leaving;
                connections.leave(index, self.coming.leave, now);
            }
        }
    }

    /// The server lets an open client go. Gives back whether a message has no answer.
    pub(super) fn let_go(&mut self, index: u32) -> bool {
        let life = &mut self.clients[index as usize];
        let doing = std::mem::replace(&mut life.doing, Doing::Leaving);
        matches!(doing, Doing::Exchanging(_))
    }

    /// A client that may come back.
    fn rest(&mut self, connections: &mut Connections, index: u32, has_failed: bool, now: u64) {
        let life = &mut self.clients[index as usize];
        (life.doing, life.rested) = (Doing::Resting, now);
        self.alarms.clear(index);
        if now >= connections.stats.window.end {
            return;
        }
        match self.coming.schedule {
            Some(_) => self.free.push_back(index),
            None if has_failed => self.alarms.set(index, now + RETRY_NANOSECONDS),
            None => self.start(connections, index, None),
        }
    }
}

impl Scenario for Churn {
    fn begin(&mut self, connections: &mut Connections, origin: u64) {
        self.begun = true;
        self.schedule = self.coming.schedule.map(|(rate, offset)| {
            Schedule::new(origin + HEAD_START_NANOSECONDS + offset, rate, None)
        });
        // Behind its own there may be clients of another scenario.
        let count = self.clients.len() as u32;
        for index in 0..count {
            if connections.is_open(index) {
                let share = u64::from(index + 1) as f64 / f64::from(count);
                let left = (self.coming.lifetime as f64 * share) as u64;
                self.clients[index as usize].doing = Doing::Staying;
                self.alarms.set(index, origin + left);
            } else if connections.may_start(index) {
                self.rest(connections, index, true, origin);
            }
        }
    }

    fn message(&mut self, stats: &mut Stats, index: u32, message: Message<'_>) {
        // A server may speak first, where nothing is exchanged.
        if self.coming.messages == 0 {
            return;
        }
        let life = &mut self.clients[index as usize];
        if !matches!(life.doing, Doing::Exchanging(_)) || life.answered {
            stats.messages.duplicate += 1;
            return;
        }
        let (sender, number) = (self.first + index, life.messages);
        let expected = Stamp { sender, number, intended: 0, sent: 0 };
        match self.payloads.read(message.kind, message.payload) {
            Ok(received) if self.payloads.is(received, expected.name(), message.payload.len()) => {}
            _ => stats.messages.corrupt += 1,
        }
        stats.answered(life.sent);
        let is_first = life.doing == Doing::Exchanging(self.coming.messages - 1);
        if is_first && stats.is_measured(life.sent) {
            let took = message.at.saturating_sub(life.sent);
            stats.histogram(names::FIRST_MESSAGE).record(took);
        }
        life.answered = true;
        life.messages = life.messages.wrapping_add(1);
    }

    fn read_done(&mut self, connections: &mut Connections, index: u32, now: u64) {
        let life = self.clients[index as usize];
        let is_over = now >= connections.stats.window.end;
        match life.doing {
            Doing::Exchanging(left) if life.answered && left > 0 && !is_over => {
                self.send(connections, index, left - 1, now);
            }
            Doing::Exchanging(_) if life.answered => self.stay(index),
            _ => {}
        }
    }

    fn turn(&mut self, connections: &mut Connections, now: u64) -> Result<Option<u64>, String> {
        let end = connections.stats.window.end;
        for _ in 0..STARTS_PER_TURN {
            let Some((index, _)) = self.alarms.next(now).filter(|_| now < end) else { break };
            self.wake(connections, index);
        }
        // The last starts may find this turn late, and are made all the same.
        let due = now.min(end.saturating_sub(1));
        for _ in 0..STARTS_PER_TURN {
            // A start that no client is free for waits for one to be gone.
            let Some(schedule) = self.schedule.as_mut().filter(|_| !self.free.is_empty()) else {
                break;
            };
            let Some(intended) = schedule.take_due(due) else { break };
            let Some(index) = self.free.pop_front() else { break };
            self.start(connections, index, Some(intended));
            let life = &self.clients[index as usize];
            if connections.stats.is_measured(intended) {
                // Waiting for a client to be free is not this program's doing.
                let could = intended.max(life.rested);
                connections.stats.lag.record(life.started.saturating_sub(could));
            }
        }
        if now >= end {
            return Ok(None);
        }
        let next_start = self.schedule.as_ref().filter(|_| !self.free.is_empty());
        let next_start = next_start.map(Schedule::next);
        Ok(next_start.into_iter().chain(self.alarms.next_at()).chain([end]).min())
    }

    fn opened(&mut self, connections: &mut Connections, index: u32, now: u64) {
        let life = &mut self.clients[index as usize];
        life.opened = now;
        if !self.begun {
            return;
        }
        let stats = &mut connections.stats;
        stats.took(life.intended, life.started, now);
        if stats.is_measured(now) {
            stats.count(names::HANDSHAKES);
        }
        match self.coming.messages.checked_sub(1) {
            Some(left) => self.send(connections, index, left, now),
            None => self.stay(index),
        }
    }

    fn gone(&mut self, connections: &mut Connections, index: u32, now: u64, cause: Cause) {
        if self.begun {
            if let Cause::Failed(stage, failure) = cause
                && stage.is_opening()
            {
                let own = Failure::OF_THIS_HOST.contains(&failure);
                let name = if own { names::WITHOUT_MEANS } else { names::NOT_ADMITTED };
                connections.stats.count(name);
            }
            self.rest(connections, index, cause != Cause::Asked, now);
        }
    }

    fn settled(&mut self) -> bool {
        let is_done = |life: &Life| matches!(life.doing, Doing::Resting | Doing::Staying);
        self.clients.iter().all(is_done)
    }

    fn finish(&mut self, stats: &mut Stats) {
        let count = |is: fn(Doing) -> bool| {
            self.clients.iter().filter(|life| is(life.doing)).count() as u64
        };
        stats.messages.missing += self.lost + count(|doing| matches!(doing, Doing::Exchanging(_)));
        // They had the time to settle, and no answer yet.
        stats.count_many(names::NOT_ADMITTED, count(|doing| doing == Doing::Opening));
        let last = stats.window.end.saturating_sub(1);
        while let Some(schedule) = &mut self.schedule
            && schedule.take_due(last).is_some()
        {
            stats.count(names::NOT_STARTED);
        }
    }

    fn lost(&mut self, index: u32, _: Failure) {
        let life = &mut self.clients[index as usize];
        self.lost += u64::from(matches!(life.doing, Doing::Exchanging(_)));
        life.doing = Doing::Leaving;
    }
}
