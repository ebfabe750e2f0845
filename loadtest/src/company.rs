//! The processes that make a run together, as one of them sees the others.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::control::{Clock, News, Population};
use crate::payload::mix;
use crate::results::Interval;

/// This process's place in the run, and its way to the others.
#[derive(Debug)]
pub(crate) struct Company {
    /// The number of its first connection among those of all processes.
    pub(crate) first: u32,
    /// Tells the messages of this run from those of others.
    pub(crate) run: u32,
    /// The time of the run, the same in all processes.
    pub(crate) clock: Clock,
    /// What its threads and the other processes tell its main thread. A run has one for each
    /// message of a thread or a process, and the main thread does little else than take them.
    pub(crate) news: (Sender<News>, Receiver<News>),
    /// To the other processes; `None` when there are none.
    pub(crate) others: Option<Sender<Word>>,
}

/// What a process tells the others.
#[derive(Debug)]
pub(crate) enum Word {
    /// It has this open, and nothing more is being opened: [`News::Begin`] is the answer.
    Population(Population),
    /// An interval is complete.
    Interval(Box<Interval>),
    /// It has published so many messages and publishes no more: [`News::PublishedElsewhere`] is
    /// the answer.
    Published(u64),
}

impl Company {
    /// A run of this process only, which begins now.
    pub(crate) fn alone() -> Self {
        let news = channel();
        Self { first: 0, run: run_number(), clock: Clock::start(), news, others: None }
    }
}

/// A number that two runs hardly ever share.
pub(crate) fn run_number() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    mix(now.as_nanos() as u64 ^ u64::from(std::process::id())) as u32
}
