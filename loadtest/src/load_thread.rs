//! One thread: a processor, a table of descriptors, a ring, and the turns.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use ringwire::ring::{
    Completion, Interest, Ring, RingSizes, Token, own_descriptor_table, pin_to_cpu, thread_cpu_time,
};

use crate::args::{ConnectRate, Leave};
use crate::connections::{Connections, POLL, Setup};
use crate::control::{Control, News, Part, Phase};
use crate::plan::ThreadPlan;
use crate::probe;
use crate::scenario::Scenario;
use crate::stats::{Busy, Failure, Stage};

const WAKE: u8 = 3;

/// Operations gathered for one system call.
const SUBMISSIONS: u32 = 512;

/// Completions that wait for a thread, at most; one for each connection if it has fewer.
const COMPLETIONS_MAX: u32 = 16 * 1024;

/// Completions taken in one turn.
const COMPLETIONS_PER_TURN: usize = 1024;

/// Connections started or closed in one turn.
const STARTS_PER_TURN: u32 = 64;

/// Nanoseconds after which a thread that waits looks around.
const WAIT_NANOSECONDS_MAX: u64 = 100_000_000;

/// Connections that fail, while none opens, until the rest is not tried.
const FUTILE_STARTS: u32 = 64;

/// Nanoseconds in which all connections of a thread are closed; then the rest is reset.
const LEAVE_NANOSECONDS_MAX: u64 = 60_000_000_000;

/// How a thread opens its connections, and ends them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Connections that are being opened, or closed, at once.
    pub(crate) at_once: usize,
    /// Connections started per second by this thread.
    pub(crate) rate: ConnectRate,
    /// How they end.
    pub(crate) leave: Leave,
}

/// What a thread begins with.
#[derive(Debug)]
pub(crate) struct LoadThread {
    /// Its share.
    pub(crate) plan: ThreadPlan,
    /// What all connections have in common.
    pub(crate) setup: Arc<Setup>,
    /// Shared with the main thread.
    pub(crate) control: Arc<Control>,
    /// To the main thread.
    pub(crate) news: Sender<News>,
    /// How it opens and ends its connections.
    pub(crate) pace: Pace,
}

impl LoadThread {
    /// The thread's life.
    pub(crate) fn run<S: Scenario>(self, scenario: S) {
        let news = self.news.clone();
        let end = match self.prepare(scenario).and_then(Turns::run) {
            Ok(()) => return,
            Err(reason) => News::Failed(reason),
        };
        // The main thread may have given up; nobody is left to tell then.
        let _ = news.send(end);
    }

    fn prepare<S: Scenario>(self, scenario: S) -> Result<Turns<S>, String> {
        let ThreadPlan { cpu, first, count, .. } = self.plan;
        own_descriptor_table()
            .map_err(|error| format!("unshare(CLONE_FILES): {error}; is seccomp in the way?"))?;
        pin_to_cpu(cpu).map_err(|error| format!("cannot run on CPU {cpu}: {error}"))?;
        let completions = count.next_power_of_two().clamp(SUBMISSIONS, COMPLETIONS_MAX);
        let sizes = RingSizes { submissions: SUBMISSIONS, completions };
        let mut ring = Ring::new(sizes).map_err(|error| {
            format!("io_uring_setup: {error}; `ringwire check` says what this host lacks")
        })?;
        let wake = self.control.wake(self.plan.index);
        ring.poll_multishot(wake, Interest::Read, Token::new(WAKE, 0, 0));
        let clock = self.control.clock;
        let connections = Connections::new(self.setup.clone(), clock, ring, first, count);
        Ok(Turns {
            connections,
            scenario,
            phase: Phase::Connect,
            began: clock.now(),
            started: 0,
            left: 0,
            begun: false,
            told_connected: false,
            told_prepared: false,
            told_published: false,
            told_settled: false,
            measured_from: None,
            interval: 0,
            completions: Vec::with_capacity(COMPLETIONS_PER_TURN),
            thread: self,
        })
    }
}

/// A thread at work.
struct Turns<S> {
    thread: LoadThread,
    connections: Connections,
    scenario: S,
    phase: Phase,
    /// When the phase began.
    began: u64,
    /// Clients that were started, and asked to leave, in the order of the table.
    started: u32,
    left: u32,
    /// The scenario has begun.
    begun: bool,
    told_connected: bool,
    told_prepared: bool,
    told_published: bool,
    told_settled: bool,
    /// Wall time, time that ran and time that waited when measuring began.
    measured_from: Option<(u64, Duration, Duration)>,
    /// The interval that is counted.
    interval: u64,
    completions: Vec<Completion>,
}

impl<S: Scenario> Turns<S> {
    fn run(mut self) -> Result<(), String> {
        loop {
            let now = self.connections.clock.now();
            let interval = now / self.thread.control.interval;
            if interval != self.interval {
                self.tell_part();
                self.interval = interval;
            }
            let phase = self.thread.control.phase();
            if phase != self.phase {
                self.enter(phase, now);
            }
            let wanted = match phase {
                Phase::Connect => self.open(now),
                Phase::Prepare => {
                    self.prepare_clients();
                    None
                }
                Phase::Leave => self.close(now),
                _ => None,
            };
            self.connections.expire(&mut self.scenario, now);
            if phase == Phase::Leave {
                self.connections.forget_gone();
            } else {
                self.connections.tell(&mut self.scenario);
            }
            let scenario_wants = self.scenario_turn(now);
            if phase == Phase::Leave && self.has_left() {
                break;
            }
            self.wait(now, wanted.into_iter().chain(scenario_wants).min())
                .map_err(|error| format!("io_uring_enter: {error}"))?;
        }
        let stats = &mut self.connections.stats;
        stats.ring_pressure = self.connections.ring.pressure();
        stats.ran = thread_cpu_time();
        self.tell_part();
        self.tell(News::Ended);
        Ok(())
    }

    fn enter(&mut self, phase: Phase, now: u64) {
        if phase == Phase::Settle {
            self.tell_part();
        }
        let times = self.thread.control.times();
        self.connections.stats.window = times.window;
        if !self.begun && matches!(phase, Phase::WarmUp | Phase::Measure | Phase::Settle) {
            self.begun = true;
            // What went on before it is no news to the scenario afterwards.
            self.connections.tell(&mut self.scenario);
            self.scenario.begin(&mut self.connections, times.origin);
        }
        if phase == Phase::Measure {
            self.measured_from = Some((now, thread_cpu_time(), probe::thread_waited()));
        } else if let Some((from, ran, waited)) = self.measured_from.take() {
            self.connections.stats.busy.push(Busy {
                cpu: self.thread.plan.cpu,
                wall: Duration::from_nanos(now - from),
                ran: thread_cpu_time().saturating_sub(ran),
                waited: probe::thread_waited().saturating_sub(waited),
            });
        }
        if phase == Phase::Leave {
            self.connections.abandon();
            self.connections.is_deaf = true;
            if self.begun {
                self.scenario.finish(&mut self.connections.stats);
            }
        }
        self.phase = phase;
        self.began = now;
    }

    /// Starts connections. Gives back when it wants to go on at the latest.
    fn open(&mut self, now: u64) -> Option<u64> {
        let count = self.connections.count();
        let allowed = match self.thread.pace.rate {
            ConnectRate::Max => count,
            ConnectRate::PerSecond(rate) => {
                let due = (now - self.began) as f64 * 1e-9 * rate;
                (due as u32).saturating_add(1).min(count)
            }
        };
        let last = allowed.min(self.started.saturating_add(STARTS_PER_TURN));
        while self.started < last && self.connections.pending < self.thread.pace.at_once {
            self.connections.start(self.started, self.connections.clock.now());
            self.started += 1;
        }
        self.give_up_if_futile();
        if self.started == count && self.connections.pending == 0 {
            if !self.told_connected {
                self.told_connected = true;
                self.thread.control.add_population(self.connections.population());
                self.tell_part();
                self.tell(News::Connected);
            }
            return None;
        }
        if self.started == count || self.connections.pending >= self.thread.pace.at_once {
            return None;
        }
        match self.thread.pace.rate {
            ConnectRate::PerSecond(rate) if self.started == allowed => {
                Some(self.began + (f64::from(self.started) / rate * 1e9) as u64)
            }
            _ => Some(now),
        }
    }

    /// A server that refuses everyone is not asked a million times. A lack of ports is not the
    /// server's answer, and may end before the last connection is tried.
    fn give_up_if_futile(&mut self) {
        let opened = self.connections.opened;
        let without_port = self.connections.without_port;
        let settled = (self.started as usize - self.connections.pending) as u64;
        let count = self.connections.count();
        let answered = settled.saturating_sub(without_port);
        if opened == 0 && answered >= FUTILE_STARTS.into() && self.started < count {
            let rest = count - self.started;
            self.connections.stats.fail_many(Stage::Connect, Failure::NotTried, rest.into());
            self.started = count;
        }
    }

    /// Closes connections. Gives back when it wants to go on at the latest.
    fn close(&mut self, now: u64) -> Option<u64> {
        let count = self.connections.count();
        let late = now - self.began > LEAVE_NANOSECONDS_MAX;
        let how = if late { Leave::Abort } else { self.thread.pace.leave };
        if late {
            self.connections.expire(&mut self.scenario, u64::MAX);
        }
        let last = count.min(self.left.saturating_add(STARTS_PER_TURN));
        while self.left < last && self.connections.pending < self.thread.pace.at_once {
            self.connections.leave(self.left, how, now);
            self.left += 1;
        }
        let may_go_on = self.left < count && self.connections.pending < self.thread.pace.at_once;
        may_go_on.then_some(now)
    }

    /// Lets the scenario prepare its clients, until they are.
    fn prepare_clients(&mut self) {
        if self.told_prepared {
            return;
        }
        match self.scenario.prepare(&mut self.connections) {
            Ok(false) => {}
            Ok(true) => {
                self.told_prepared = true;
                self.tell(News::Prepared);
            }
            Err(reason) => self.tell(News::Stopped(reason)),
        }
    }

    fn has_left(&self) -> bool {
        self.left == self.connections.count() && self.connections.pending == 0
    }

    fn scenario_turn(&mut self, now: u64) -> Option<u64> {
        if !self.begun || self.phase == Phase::Leave {
            return None;
        }
        let outcome = self.scenario.turn(&mut self.connections, now);
        if self.phase == Phase::Settle {
            self.tell_progress();
        }
        outcome.unwrap_or_else(|reason| {
            self.tell(News::Stopped(reason));
            None
        })
    }

    /// Tells, once each, that nothing more is published and that nothing more is awaited.
    fn tell_progress(&mut self) {
        if !self.told_published
            && let Some(messages) = self.scenario.published()
        {
            self.told_published = true;
            self.tell(News::Published(messages));
        }
        if !self.told_settled && self.scenario.settled() {
            self.told_settled = true;
            self.tell(News::Settled);
        }
    }

    /// Tells what was counted since the last time.
    fn tell_part(&mut self) {
        let stats = self.connections.stats.take();
        let (thread, interval) = (self.thread.plan.index, self.interval);
        let (open, settles) = (self.connections.open, self.phase >= Phase::Settle);
        let part = Part { thread, interval, settles, open, stats };
        self.tell(News::Part(Box::new(part)));
    }

    fn tell(&self, news: News) {
        // The main thread may have given up; nobody is left to tell then.
        let _ = self.thread.news.send(news);
    }

    /// Waits for completions, but not past `wanted`, and deals with them.
    fn wait(&mut self, now: u64, wanted: Option<u64>) -> std::io::Result<()> {
        let more = self.connections.read_on(&mut self.scenario);
        let more = more || self.connections.has_gone();
        let until = wanted.unwrap_or(u64::MAX).saturating_sub(now).min(WAIT_NANOSECONDS_MAX);
        if more || until == 0 {
            self.connections.ring.submit()?;
        } else {
            self.connections.ring.submit_and_wait(Duration::from_nanos(until))?;
        }
        let mut completions = std::mem::take(&mut self.completions);
        self.connections.ring.reap(COMPLETIONS_PER_TURN, &mut completions);
        for completion in completions.drain(..) {
            match completion.token.kind() {
                POLL => self.connections.polled(&mut self.scenario, &completion),
                WAKE if !completion.more => {
                    let wake = self.thread.control.wake(self.thread.plan.index);
                    let token = Token::new(WAKE, 0, 0);
                    self.connections.ring.poll_multishot(wake, Interest::Read, token);
                }
                _ => {}
            }
        }
        self.completions = completions;
        Ok(())
    }
}
