//! What the main thread and the threads tell each other.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use ringwire::ring::Wake;

use crate::stats::Stats;

/// Where a run is. It only ever goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Connections are opened.
    Connect,
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
    const ALL: [Self; 5] = [Self::Connect, Self::WarmUp, Self::Measure, Self::Settle, Self::Leave];
}

/// Nanoseconds since the run began, the same for all threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    /// Now.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

/// What a thread has done so far, for the line of progress.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Connections whose fate is known: open or failed.
    pub(crate) settled: AtomicU64,
    /// Messages received, measured or not.
    pub(crate) messages: AtomicU64,
}

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Control {
    /// The time of the run.
    pub(crate) clock: Clock,
    /// One for each thread.
    pub(crate) progress: Vec<Progress>,
    phase: AtomicU8,
    wakes: Vec<Wake>,
    /// See [`Population`].
    population: AtomicU64,
    roll: AtomicU64,
    leader: AtomicU64,
    populated: AtomicU64,
}

impl Control {
    /// Creates the wakes of `threads`: before any thread takes a descriptor table of its own.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        Ok(Self {
            clock: Clock::start(),
            progress: std::iter::repeat_with(Progress::default).take(threads).collect(),
            phase: AtomicU8::new(Phase::Connect as u8),
            wakes: std::iter::repeat_with(Wake::new).take(threads).collect::<Result<_, _>>()?,
            population: AtomicU64::new(0),
            roll: AtomicU64::new(0),
            leader: AtomicU64::new(u64::MAX),
            populated: AtomicU64::new(0),
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
        self.leader.fetch_min(part.leader, Ordering::AcqRel);
        self.populated.fetch_add(part.threads, Ordering::AcqRel);
    }

    /// What the scenario begins with; complete from the end of [`Phase::Connect`] on.
    pub(crate) fn population(&self) -> Population {
        Population {
            count: self.population.load(Ordering::Acquire),
            roll: self.roll.load(Ordering::Acquire),
            leader: self.leader.load(Ordering::Acquire),
            threads: self.populated.load(Ordering::Acquire),
        }
    }
}

/// Connections that are open when a scenario begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Population {
    /// How many.
    pub(crate) count: u64,
    /// The sum of [`crate::payload::mix`] over their numbers.
    pub(crate) roll: u64,
    /// The lowest of their numbers; `u64::MAX` when there is none.
    pub(crate) leader: u64,
    /// Threads that have any.
    pub(crate) threads: u64,
}

/// What a thread tells the main thread.
#[derive(Debug)]
pub(crate) enum News {
    /// The fate of all its connections is known.
    Connected,
    /// The scenario has ended what it had begun.
    Settled,
    /// The scenario cannot go on; the reason.
    Stopped(String),
    /// The thread could not do its work at all; the reason.
    Failed(String),
    /// The thread has ended.
    Finished(Box<Stats>),
}
