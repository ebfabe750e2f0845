//! What the main thread and the threads tell each other.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringwire::ring::Wake;
use serde::{Deserialize, Serialize};

use crate::stats::Stats;

/// Where a run is. It only ever goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Connections are opened.
    Connect,
    /// The scenario brings the clients to where the load begins.
    Prepare,
    /// The scenario runs and nothing is measured.
    WarmUp,
    /// The scenario runs and is measured.
    Measure,
    /// The scenario ends what it has begun: nothing new is sent.
    Settle,
    /// Connections are closed.
    Leave,
}

impl Phase {
    const ALL: [Self; 6] =
        [Self::Connect, Self::Prepare, Self::WarmUp, Self::Measure, Self::Settle, Self::Leave];
}

/// Not known yet.
const UNKNOWN: u64 = u64::MAX;

/// Nanoseconds since the run began, the same for all threads of all processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self::since(Instant::now())
    }

    /// A clock that started then.
    pub(crate) const fn since(epoch: Instant) -> Self {
        Self { epoch }
    }

    /// Now.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

/// The times of a run, in nanoseconds of its clock; known when all connections are.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Times {
    /// When the scenario begins.
    pub(crate) origin: u64,
    /// What is measured of it.
    pub(crate) window: Range<u64>,
}

impl Times {
    /// Whether nothing is measured before the scenario begins, and nothing ends before it began.
    pub(crate) const fn are_in_order(&self) -> bool {
        self.origin <= self.window.start && self.window.start <= self.window.end
    }
}

/// What all threads of a process share.
#[derive(Debug)]
pub(crate) struct Control {
    /// The time of the run.
    pub(crate) clock: Clock,
    /// Nanoseconds of an interval; the first begins with the clock.
    pub(crate) interval: u64,
    phase: AtomicU8,
    origin: AtomicU64,
    window: (AtomicU64, AtomicU64),
    wakes: Vec<Wake>,
    /// See [`Population`].
    population: AtomicU64,
    roll: AtomicU64,
    publishers: AtomicU64,
    populated: AtomicU64,
    published_elsewhere: AtomicU64,
}

impl Control {
    /// Creates the wakes of `threads`: before any thread takes a descriptor table of its own.
    /// `alone` when no other process takes part in the run.
    pub(crate) fn new(
        threads: usize,
        interval: Duration,
        clock: Clock,
        alone: bool,
    ) -> std::io::Result<Self> {
        Ok(Self {
            clock,
            interval: interval.as_nanos() as u64,
            phase: AtomicU8::new(Phase::Connect as u8),
            origin: AtomicU64::new(0),
            window: (AtomicU64::new(0), AtomicU64::new(0)),
            wakes: std::iter::repeat_with(Wake::new).take(threads).collect::<Result<_, _>>()?,
            population: AtomicU64::new(0),
            roll: AtomicU64::new(0),
            publishers: AtomicU64::new(0),
            populated: AtomicU64::new(0),
            published_elsewhere: AtomicU64::new(if alone { 0 } else { UNKNOWN }),
        })
    }

    /// The phase now.
    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Tells all threads to go on to `phase`.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.wakes.iter().for_each(Wake::ring);
    }

    /// Says when the scenario begins and what is measured; before the phase that needs it.
    pub(crate) fn set_times(&self, times: &Times) {
        self.origin.store(times.origin, Ordering::Release);
        self.window.0.store(times.window.start, Ordering::Release);
        self.window.1.store(times.window.end, Ordering::Release);
    }

    /// The times of the run.
    pub(crate) fn times(&self) -> Times {
        let of = |time: &AtomicU64| time.load(Ordering::Acquire);
        Times { origin: of(&self.origin), window: of(&self.window.0)..of(&self.window.1) }
    }

    /// The doorbell of a thread.
    pub(crate) fn wake(&self, thread: usize) -> &Wake {
        &self.wakes[thread]
    }

    /// Wakes all threads but one.
    pub(crate) fn wake_others(&self, thread: usize) {
        for (other, wake) in self.wakes.iter().enumerate() {
            if other != thread {
                wake.ring();
            }
        }
    }

    /// Adds what a thread has open to what the scenario begins with.
    pub(crate) fn add_population(&self, part: Population) {
        self.population.fetch_add(part.count, Ordering::AcqRel);
        self.roll.fetch_add(part.roll, Ordering::AcqRel);
        self.publishers.fetch_add(part.publishers, Ordering::AcqRel);
        self.populated.fetch_add(part.threads, Ordering::AcqRel);
    }

    /// Adds what other processes have open: `all` is what all have together. That is never less
    /// than this process has, whatever the others say.
    pub(crate) fn complete_population(&self, all: Population) {
        self.population.fetch_max(all.count, Ordering::AcqRel);
        self.publishers.fetch_max(all.publishers, Ordering::AcqRel);
        self.roll.store(all.roll, Ordering::Release);
    }

    /// Messages that other processes have published; `None` as long as they may publish more.
    pub(crate) fn published_elsewhere(&self) -> Option<u64> {
        let published = self.published_elsewhere.load(Ordering::Acquire);
        (published != UNKNOWN).then_some(published)
    }

    /// The other processes have published so many messages and publish no more.
    pub(crate) fn set_published_elsewhere(&self, messages: u64) {
        self.published_elsewhere.store(messages, Ordering::Release);
        self.wakes.iter().for_each(Wake::ring);
    }

    /// What the scenario begins with, in all processes; complete from the end of
    /// [`Phase::Connect`] on.
    pub(crate) fn population(&self) -> Population {
        Population {
            count: self.population.load(Ordering::Acquire),
            roll: self.roll.load(Ordering::Acquire),
            publishers: self.publishers.load(Ordering::Acquire),
            threads: self.populated.load(Ordering::Acquire),
        }
    }
}

/// Connections that are open when a scenario begins.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Population {
    /// How many.
    pub(crate) count: u64,
    /// The sum of [`crate::payload::mix`] over their numbers.
    pub(crate) roll: u64,
    /// How many of them publish.
    pub(crate) publishers: u64,
    /// Threads of this process that have any.
    pub(crate) threads: u64,
}

/// What one thread counted in one interval, or in a part of it.
#[derive(Debug)]
pub(crate) struct Part {
    /// The thread.
    pub(crate) thread: usize,
    /// The interval, from 0.
    pub(crate) interval: u64,
    /// Whether the window that is measured was over.
    pub(crate) settles: bool,
    /// Connections that the thread has open now.
    pub(crate) open: u32,
    /// What it counted.
    pub(crate) stats: Stats,
}

/// What a thread, or another process, tells the main thread.
#[derive(Debug)]
pub(crate) enum News {
    /// What it has counted since the last time.
    Part(Box<Part>),
    /// The fate of all its connections is known.
    Connected,
    /// Its clients are where the load begins.
    Prepared,
    /// The scenario has ended what it had begun.
    Settled,
    /// The scenario cannot go on; the reason.
    Stopped(String),
    /// The thread could not do its work at all; the reason.
    Failed(String),
    /// The threads have published so many messages and publish no more.
    Published(u64),
    /// The thread has ended.
    Ended,
    /// Of the other processes: everything is open, and the scenario has these times.
    Begin(Population, Times),
    /// The other processes have published so many messages and publish no more.
    PublishedElsewhere(u64),
    /// The other processes end the run now.
    Halt,
}
