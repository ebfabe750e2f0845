//! The coordinator: divides a run among workers, leads them, and hears what they measure.

use std::fmt;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::merged::{Circumstances, merge};
use super::protocol::{Hello, Job, Lines, Order, PATIENCE, PING_PERIOD, Pen, Report, link};
use super::{secret, share};
use crate::args::Arguments;
use crate::company::run_number;
use crate::control::{Clock, Population};
use crate::environment;
use crate::progress::Progress;
use crate::results::{Interval, Results, Summary, Verdict};
use crate::run;

/// Time that a worker has to answer the first word.
const HELLO_PATIENCE: Duration = Duration::from_secs(10);

/// How often the coordinator looks around while it waits.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// Pings by which a worker's clock is compared: the fastest counts.
const PINGS: u32 = 16;

/// Nanoseconds in which every worker and its threads hear of the scenario's beginning, before it
/// begins; the way to the farthest worker comes on top, several times.
const LEAD_NANOSECONDS: u64 = 100_000_000;
const LEAD_WAYS: u64 = 8;

/// Messages of workers that wait for the coordinator: more wait in the sockets.
const HEARD_MAX: usize = 64;

/// Has workers make the run that `arguments` ask for, or end it when `interrupted`.
///
/// # Errors
/// What keeps the run from beginning, and what to change.
pub(crate) fn coordinate(
    arguments: &Arguments,
    interrupted: &AtomicBool,
) -> Result<Results, String> {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut coordinator = Coordinator::gather(arguments)?;
    coordinator.start()?;
    while coordinator.workers.iter().any(|worker| worker.end.is_none()) {
        coordinator.wait();
        if interrupted.load(Ordering::Relaxed) {
            coordinator.stop();
        }
    }
    coordinator.progress.end();
    let clocks = coordinator.compare_again();
    let mut parts = Vec::new();
    let mut lost = Vec::new();
    for worker in std::mem::take(&mut coordinator.workers) {
        match worker.end {
            Some(Ok(summary)) => {
                parts.push(Results { summary: *summary, intervals: worker.intervals });
            }
            Some(Err(reason)) => lost.push(format!("worker {}: {reason}", worker.name)),
            None => {}
        }
    }
    let interrupted = interrupted.load(Ordering::Relaxed);
    let started = started.as_secs_f64();
    merge(arguments, parts, &Circumstances { started, lost, interrupted, clocks })
}

/// How well the clocks of the workers agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Clocks {
    workers: usize,
    /// Nanoseconds that two of them may be apart at most.
    apart: u64,
}

impl fmt::Display for Clocks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, apart } = self;
        let us = apart.div_ceil(1_000);
        write!(formatter, "the clocks of {workers} workers agree within {us} µs")
    }
}

impl Clocks {
    /// Of workers of whose clocks this is known.
    fn of(doubts: &[u64]) -> Option<Self> {
        let mut sorted = doubts.to_vec();
        sorted.sort_unstable();
        let [.., second, worst] = sorted[..] else { return None };
        Some(Self { workers: doubts.len(), apart: second.saturating_add(worst) })
    }
}

/// What a ping and its answer tell of a worker's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Reading {
    /// What it says when the run's clock says 0.
    offset: i64,
    /// Nanoseconds by which that may be wrong: half of the way there and back.
    doubt: u64,
}

impl Reading {
    /// The worker's clock was `at` at some time between `sent` and `heard`.
    fn new(sent: u64, at: u64, heard: u64) -> Self {
        let doubt = heard.saturating_sub(sent).div_ceil(2);
        Self { offset: at.wrapping_sub(sent.wrapping_add(doubt)) as i64, doubt }
    }
}

/// A worker, as the coordinator sees it.
struct Worker {
    /// As the user calls it.
    name: String,
    pen: Pen,
    place: String,
    /// Its clock before the run.
    clock: Reading,
    population: Option<Population>,
    published: Option<u64>,
    intervals: Vec<Interval>,
    /// What came of its part.
    end: Option<Result<Box<Summary>, String>>,
}

impl Worker {
    /// Says hello to the worker that listens there.
    fn meet(name: &str, secret: &str) -> Result<(Self, Lines), String> {
        let unreachable = |reason: String| {
            format!("worker {name}: {reason}; start it there: loadtest worker --listen {name}")
        };
        let mut addresses =
            name.to_socket_addrs().map_err(|error| unreachable(error.to_string()))?;
        let address = addresses.next().ok_or_else(|| unreachable("the name is unknown".into()))?;
        let stream = TcpStream::connect_timeout(&address, HELLO_PATIENCE)
            .map_err(|error| unreachable(error.to_string()))?;
        let hello = |(mut lines, pen): (Lines, Pen)| -> Result<_, String> {
            lines.be_patient(HELLO_PATIENCE)?;
            pen.write(&Order::Hello(Hello::new(secret, String::new())))?;
            let place = match lines.next()? {
                Report::Hello(hello) => {
                    hello.check()?;
                    hello.place
                }
                Report::Refused(reason) => return Err(reason),
                _ => return Err("it did not say hello".to_owned()),
            };
            lines.be_patient(PATIENCE)?;
            lines.trust();
            Ok((lines, pen, place))
        };
        let (lines, pen, place) = link(stream, PATIENCE).and_then(hello).map_err(|reason| {
            format!("worker {name}: {reason} (a worker makes one run at a time)")
        })?;
        let worker = Self {
            name: name.to_owned(),
            pen,
            place,
            clock: Reading { offset: 0, doubt: u64::MAX },
            population: None,
            published: None,
            intervals: Vec::new(),
            end: None,
        };
        Ok((worker, lines))
    }

    fn order(&mut self, order: &Order) {
        if self.end.is_none()
            && let Err(reason) = self.pen.write(order)
        {
            self.end = Some(Err(reason));
        }
    }
}

/// What a worker said, and when by the clock of the run.
struct Heard {
    worker: usize,
    at: u64,
    report: Result<Report, String>,
}

struct Coordinator<'a> {
    arguments: &'a Arguments,
    clock: Clock,
    workers: Vec<Worker>,
    heard: Receiver<Heard>,
    pinged: Instant,
    /// When what is measured ends; 0 before that is known.
    window_end: u64,
    begun: bool,
    told_published: bool,
    stopped: bool,
    progress: Progress,
}

impl<'a> Coordinator<'a> {
    /// Meets all workers, and compares their clocks.
    fn gather(arguments: &'a Arguments) -> Result<Self, String> {
        let common = arguments.scenario.common();
        let names = &common.elsewhere.workers;
        let secret = secret(common.elsewhere.secret.as_deref())?;
        let met = names.iter().map(|name| Worker::meet(name, &secret));
        let met = met.collect::<Result<Vec<_>, _>>()?;
        let clock = Clock::start();
        let (sender, heard) = sync_channel(HEARD_MAX);
        let mut workers = Vec::new();
        for (index, (worker, lines)) in met.into_iter().enumerate() {
            let sender = sender.clone();
            // Ends with the connection, which ends with the worker in the list.
            thread::spawn(move || listen(index, lines, clock, &sender));
            workers.push(worker);
        }
        let mut coordinator = Self {
            arguments,
            clock,
            workers,
            heard,
            pinged: Instant::now(),
            window_end: 0,
            begun: false,
            told_published: false,
            stopped: false,
            progress: Progress::new(),
        };
        for index in 0..coordinator.workers.len() {
            coordinator.workers[index].clock = coordinator.compare(index)?;
        }
        Ok(coordinator)
    }

    /// Reads a worker's clock, as well as the fastest of some pings can.
    fn compare(&self, index: usize) -> Result<Reading, String> {
        let worker = &self.workers[index];
        let named = |reason: String| format!("worker {}: {reason}", worker.name);
        let mut best: Option<Reading> = None;
        for _ in 0..PINGS {
            let ping = self.clock.now();
            worker.pen.write(&Order::Ping(ping)).map_err(named)?;
            let reading = loop {
                let heard = self.heard.recv_timeout(PATIENCE);
                let heard = heard.map_err(|_| named("it answers no ping".to_owned()))?;
                match heard.report {
                    Ok(Report::Pong { sent, at }) if heard.worker == index && sent == ping => {
                        break Reading::new(sent, at, heard.at);
                    }
                    Err(reason) if heard.worker == index => return Err(named(reason)),
                    // Others are heard of again when it is their turn.
                    _ => {}
                }
            };
            best = Some(best.map_or(reading, |best| std::cmp::min_by_key(best, reading, doubt)));
        }
        best.ok_or_else(|| named("it was not pinged".to_owned()))
    }

    /// How well the clocks agree now and agreed at the beginning.
    fn compare_again(&self) -> Option<Clocks> {
        let is_whole = |worker: &Worker| matches!(worker.end, Some(Ok(_)));
        let doubts = self.workers.iter().enumerate().filter(|(_, worker)| is_whole(worker));
        let doubts = doubts.map(|(index, worker)| {
            // A worker that is gone by now drifted as far as anybody knows.
            let now = self.compare(index).unwrap_or(worker.clock);
            let drift = now.offset.abs_diff(worker.clock.offset);
            worker.clock.doubt.max(drift.saturating_add(now.doubt))
        });
        Clocks::of(&doubts.collect::<Vec<_>>())
    }

    /// Gives each worker its part.
    fn start(&mut self) -> Result<(), String> {
        let common = self.arguments.scenario.common();
        let words = std::env::args_os().skip(1).map(std::ffi::OsString::into_string);
        let words = words
            .collect::<Result<Vec<_>, _>>()
            .map_err(|word| format!("{} is not UTF-8, and workers need it", word.display()))?;
        let here = environment::place();
        let watcher = self.workers.iter().position(|worker| worker.place == here);
        if common.server_pid.is_some() && watcher.is_none() {
            return Err(
                "--server-pid is a process of this host, and none of the workers is on it: \
                        start one here, or leave the flag out"
                    .to_owned(),
            );
        }
        let issuers = common.tls.read_issuers()?;
        let run = run_number();
        let step = self.arguments.step;
        let shares = share::shares(&self.arguments.scenario, self.workers.len() as u32)?;
        for (index, (worker, connections)) in self.workers.iter_mut().zip(shares).enumerate() {
            let (words, epoch) = (words.clone(), worker.clock.offset);
            let watch_server = watcher == Some(index);
            let issuers = issuers.as_deref().map(str::to_owned);
            let job = Job { words, issuers, step, run, connections, epoch, watch_server };
            worker.order(&Order::Job(job));
        }
        Ok(())
    }

    /// Hears what comes next, if something comes soon.
    fn wait(&mut self) {
        match self.heard.recv_timeout(LOOK_AROUND) {
            Ok(heard) => self.hear(heard),
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody can be heard any more.
            Err(RecvTimeoutError::Disconnected) => self.give_up(),
        }
        if self.pinged.elapsed() >= PING_PERIOD {
            self.pinged = Instant::now();
            self.order_all(&Order::Ping(self.clock.now()));
        }
        // A write may have failed, and with it the run.
        if self.workers.iter().any(|worker| matches!(worker.end, Some(Err(_)))) {
            self.stop();
        }
        let requested = self.arguments.scenario.common().connections;
        let intervals = self.workers.iter().map(|worker| &worker.intervals[..]);
        self.progress.show_workers(intervals, requested);
    }

    fn hear(&mut self, Heard { worker: index, at, report }: Heard) {
        let worker = &mut self.workers[index];
        if worker.end.is_some() {
            return;
        }
        match report {
            Ok(Report::Pong { .. }) => {}
            Ok(Report::Population(here)) => {
                worker.population = Some(here);
                self.begin();
            }
            Ok(Report::Interval(packed)) => match packed.unpacked() {
                Ok(interval) => worker.intervals.push(interval),
                Err(reason) => worker.end = Some(Err(reason)),
            },
            Ok(Report::Published(messages)) => {
                worker.published = Some(messages);
                self.tell_published();
            }
            Ok(Report::Ended(summary)) => {
                let gave_up =
                    matches!(summary.verdict, Verdict::Interrupted | Verdict::CouldNotRun);
                worker.end = Some(Ok(summary));
                if !self.begun || (gave_up && at < self.window_end) {
                    self.stop();
                }
            }
            Ok(Report::Failed(reason)) | Err(reason) => worker.end = Some(Err(reason)),
            Ok(Report::Hello(_) | Report::Refused(_)) => {
                worker.end = Some(Err("it said hello again".to_owned()));
            }
        }
    }

    /// Begins the scenario when all are connected.
    fn begin(&mut self) {
        let populations = self.workers.iter().map(|worker| worker.population);
        let Some(parts) = populations.collect::<Option<Vec<_>>>() else { return };
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let all = parts.iter().fold(Population::default(), |all, part| Population {
            count: all.count.saturating_add(part.count),
            roll: all.roll.wrapping_add(part.roll),
            publishers: all.publishers.saturating_add(part.publishers),
            threads: all.threads.saturating_add(part.threads),
        });
        let ways = self.workers.iter().map(|worker| worker.clock.doubt).max().unwrap_or(0);
        let lead = LEAD_NANOSECONDS + LEAD_WAYS * ways.min(LEAD_NANOSECONDS);
        let times = run::times(&self.arguments.scenario, self.clock.now() + lead);
        if all.count > 0 {
            self.window_end = times.window.end;
        }
        self.order_all(&Order::Begin(all, times));
    }

    /// Tells each what the others have published, when all are done.
    fn tell_published(&mut self) {
        let published = self.workers.iter().map(|worker| worker.published);
        let Some(parts) = published.collect::<Option<Vec<_>>>() else { return };
        if std::mem::replace(&mut self.told_published, true) {
            return;
        }
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let others = parts.iter().enumerate().filter(|&(other, _)| other != index);
            let messages = others.fold(0, |sum: u64, (_, &part)| sum.saturating_add(part));
            worker.order(&Order::PublishedElsewhere(messages));
        }
    }

    /// Has all workers end the run now and tell what they have.
    fn stop(&mut self) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.order_all(&Order::Stop);
        }
    }

    fn order_all(&mut self, order: &Order) {
        self.workers.iter_mut().for_each(|worker| worker.order(order));
    }

    fn give_up(&mut self) {
        for worker in &mut self.workers {
            worker.end.get_or_insert_with(|| Err("it is gone".to_owned()));
        }
    }
}

const fn doubt(reading: &Reading) -> u64 {
    reading.doubt
}

/// Hears a worker until the connection ends.
fn listen(worker: usize, mut lines: Lines, clock: Clock, heard: &SyncSender<Heard>) {
    loop {
        let report = lines.next();
        let is_last = report.is_err();
        let sent = heard.send(Heard { worker, at: clock.now(), report });
        if is_last || sent.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_known_to_half_of_the_way() {
        assert_eq!(Reading::new(100, 1_150, 200), Reading { offset: 1_000, doubt: 50 });
        assert_eq!(Reading::new(1_000, 50, 1_000), Reading { offset: -950, doubt: 0 });
        // What a worker says is not believed, but it harms nobody.
        assert_eq!(Reading::new(5, u64::MAX, 5).doubt, 0);
    }

    #[test]
    fn two_clocks_are_as_far_apart_as_their_doubts() {
        assert_eq!(Clocks::of(&[7]), None);
        let clocks = Clocks::of(&[2_000, 500, 9_000]).expect("several clocks");
        assert_eq!(clocks.to_string(), "the clocks of 3 workers agree within 11 µs");
    }
}
