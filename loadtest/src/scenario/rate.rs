//! `rate`: requests on a schedule. Each connection has a number of requests in flight; one whose
//! time comes while all of them are unanswered waits, and its latency counts the waiting.

use std::sync::Arc;

use super::{Message, Scenario};
use crate::connections::Connections;
use crate::control::Control;
use crate::payload::{Answer, Payloads, Stamp, mix};
use crate::schedule::Schedule;
use crate::stats::{Failure, Stats};

/// Requests sent in one turn, before answers are read again.
const REQUESTS_PER_TURN: usize = 256;

/// No entry.
const NONE: u32 = u32::MAX;

/// How the requests of a run are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// Requests per second, all threads together.
    pub(crate) rate: f64,
    /// Whether they follow each other at random times.
    pub(crate) poisson: bool,
    /// Requests in flight per connection.
    pub(crate) depth: u32,
    /// Requests that may wait for a connection to become free, per thread.
    pub(crate) waiting_max: u32,
}

/// The open loop of one thread.
#[derive(Debug)]
pub(crate) struct Rate {
    payloads: Payloads,
    demand: Demand,
    control: Arc<Control>,
    /// The number of the thread's first client.
    first: u32,
    schedule: Option<Schedule>,
    /// The clients that take turns, and whose turn it is.
    order: Vec<u32>,
    turn: usize,
    lines: Vec<Line>,
    requests: Requests,
    waiting: u32,
    /// Requests of this thread that are not answered, by clients that are there.
    unanswered: u64,
    exhausted: bool,
}

/// The requests of one client, from the oldest that is not answered to the youngest that waits.
#[derive(Clone, Copy, Debug)]
struct Line {
    sent: u32,
    answered: u32,
    oldest: u32,
    /// The first that waits.
    next: u32,
    youngest: u32,
    lost: bool,
}

/// A request.
#[derive(Clone, Copy, Debug)]
struct Request {
    intended: u64,
    sent: u64,
    /// The next of the same client.
    after: u32,
}

/// Storage of all requests: lines are linked through it.
#[derive(Debug)]
struct Requests {
    all: Vec<Request>,
    free: Vec<u32>,
}

impl Requests {
    fn insert(&mut self, intended: u64) -> u32 {
        let request = Request { intended, sent: 0, after: NONE };
        if let Some(place) = self.free.pop() {
            self.all[place as usize] = request;
            return place;
        }
        self.all.push(request);
        self.all.len() as u32 - 1
    }
}

impl Requests {
    /// Takes the request of a line that is answered.
    fn take_oldest(&mut self, line: &mut Line) -> Request {
        let request = self.all[line.oldest as usize];
        self.free.push(line.oldest);
        line.oldest = request.after;
        if line.oldest == NONE {
            line.youngest = NONE;
        }
        line.answered = line.answered.wrapping_add(1);
        request
    }
}

impl Line {
    const EMPTY: Self =
        Self { sent: 0, answered: 0, oldest: NONE, next: NONE, youngest: NONE, lost: false };

    const fn in_flight(&self) -> u32 {
        self.sent.wrapping_sub(self.answered)
    }
}

impl Rate {
    /// For the `count` clients from number `first` on.
    pub(crate) fn new(
        payloads: Payloads,
        demand: Demand,
        control: Arc<Control>,
        first: u32,
        count: u32,
    ) -> Self {
        Self {
            payloads,
            demand,
            control,
            first,
            schedule: None,
            order: Vec::new(),
            turn: 0,
            lines: vec![Line::EMPTY; count as usize],
            requests: Requests { all: Vec::new(), free: Vec::new() },
            waiting: 0,
            unanswered: 0,
            exhausted: false,
        }
    }

    /// Gives a request to the next client, which sends it when it can.
    fn dispatch(&mut self, connections: &mut Connections, intended: u64) {
        let measured = connections.stats.is_measured(intended);
        connections.stats.messages.scheduled += u64::from(measured);
        let Some(index) = self.next_client() else {
            connections.stats.messages.shed += u64::from(measured);
            return;
        };
        let is_free = self.lines[index as usize].in_flight() < self.demand.depth;
        if !is_free && self.waiting >= self.demand.waiting_max {
            connections.stats.messages.shed += u64::from(measured);
            return;
        }
        let place = self.requests.insert(intended);
        let line = &mut self.lines[index as usize];
        match line.youngest {
            NONE => line.oldest = place,
            youngest => self.requests.all[youngest as usize].after = place,
        }
        line.youngest = place;
        if line.next == NONE {
            line.next = place;
        }
        self.waiting += 1;
        if is_free {
            let sent = self.send(connections, index);
            if measured {
                connections.stats.lag.record(sent.saturating_sub(intended));
            }
        }
    }

    fn next_client(&mut self) -> Option<u32> {
        for _ in 0..self.order.len() {
            let index = self.order[self.turn];
            self.turn = (self.turn + 1) % self.order.len();
            if !self.lines[index as usize].lost {
                return Some(index);
            }
        }
        None
    }

    /// Sends the first request that waits. Gives back when.
    fn send(&mut self, connections: &mut Connections, index: u32) -> u64 {
        let line = &mut self.lines[index as usize];
        let request = &mut self.requests.all[line.next as usize];
        request.sent = connections.clock.now();
        line.next = request.after;
        let (number, Request { intended, sent, .. }) = (line.sent, *request);
        line.sent = number.wrapping_add(1);
        self.waiting -= 1;
        self.unanswered += 1;
        let stamp = Stamp { sender: self.first + index, number, intended, sent };
        connections.stats.sent(intended);
        connections.send(index, self.payloads.frame(&stamp));
        sent
    }

    /// The requests of a line, and whether each was sent.
    fn requests_of(&self, line: &Line) -> impl Iterator<Item = (u64, bool)> {
        let (mut place, mut unsent) = (line.oldest, line.next);
        std::iter::from_fn(move || {
            let request = self.requests.all.get(place as usize)?;
            let was_sent = place != unsent;
            if !was_sent {
                // Whatever follows waits as well.
                unsent = request.after;
            }
            place = request.after;
            Some((request.intended, was_sent))
        })
    }
}

impl Scenario for Rate {
    fn begin(&mut self, connections: &mut Connections, origin: u64) {
        self.order = connections.open_clients().collect();
        let population = self.control.population().count as f64;
        if self.order.is_empty() {
            self.exhausted = true;
            return;
        }
        let rate = self.demand.rate * self.order.len() as f64 / population;
        // Threads take turns as their clients do.
        let offset = 1e9 / rate * f64::from(self.first) / population;
        let seed = self.demand.poisson.then(|| mix(u64::from(self.first)));
        self.schedule = Some(Schedule::new(origin + offset as u64, rate, seed));
    }

    #[inline]
    fn message(&mut self, stats: &mut Stats, index: u32, message: Message<'_>) {
        let line = &mut self.lines[index as usize];
        let number = line.answered;
        let awaited = Stamp { sender: self.first + index, number, intended: 0, sent: 0 };
        let answer = self.payloads.answer(message.kind, message.payload, &awaited);
        let Some(skipped) = stats.messages.skipped(answer, line.in_flight()) else { return };
        for _ in 0..skipped {
            self.requests.take_oldest(line);
        }
        let request = self.requests.take_oldest(line);
        self.unanswered -= u64::from(skipped) + 1;
        if answer.is_ok_and(|answer| answer != Answer::Unknown) {
            stats.received(request.intended, request.sent, message.at);
        }
    }

    #[inline]
    fn read_done(&mut self, connections: &mut Connections, index: u32, _: u64) {
        loop {
            let line = &self.lines[index as usize];
            if line.next == NONE || line.in_flight() >= self.demand.depth {
                return;
            }
            self.send(connections, index);
        }
    }

    fn turn(&mut self, connections: &mut Connections, _: u64) -> Result<Option<u64>, String> {
        for _ in 0..REQUESTS_PER_TURN {
            let Some(schedule) = &mut self.schedule else { return Ok(None) };
            let end = connections.stats.window.end;
            self.exhausted = schedule.next() >= end;
            if self.exhausted {
                return Ok(None);
            }
            match schedule.take_due(connections.clock.now()) {
                Some(intended) => self.dispatch(connections, intended),
                None => return Ok(Some(schedule.next())),
            }
        }
        Ok(Some(0))
    }

    fn settled(&mut self) -> bool {
        self.exhausted && self.unanswered == 0 && self.waiting == 0
    }

    fn finish(&mut self, stats: &mut Stats) {
        for line in &self.lines {
            for (intended, was_sent) in self.requests_of(line) {
                if was_sent {
                    stats.messages.missing += 1;
                } else if stats.is_measured(intended) {
                    stats.messages.shed += 1;
                }
            }
        }
        // What was due before the end of the window, and never got as far.
        while let Some(schedule) = &mut self.schedule
            && let Some(intended) = schedule.take_due(stats.window.end.saturating_sub(1))
        {
            if stats.is_measured(intended) {
                stats.messages.scheduled += 1;
                stats.messages.shed += 1;
            }
        }
    }

    fn lost(&mut self, index: u32, _: Failure) {
        let line = &mut self.lines[index as usize];
        line.lost = true;
        self.unanswered -= u64::from(line.in_flight());
        let line = self.lines[index as usize];
        self.waiting -= self.requests_of(&line).filter(|&(_, sent)| !sent).count() as u32;
    }
}
