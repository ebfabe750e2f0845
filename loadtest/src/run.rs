//! A run as the main thread sees it: threads are started, led through the phases, and added up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::args::{Arguments, ScenarioArguments};
use crate::company::{Company, Word};
use crate::control::{Control, News, Phase, Population, Times};
use crate::crew;
use crate::measured;
use crate::plan::Plan;
use crate::probe::Sample;
use crate::progress::Progress;
use crate::results::Results;
use crate::server::Server;
use crate::timeline::Timeline;
use crate::workers;

/// How often the main thread looks around while it waits.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// Time the server has to clean up, before it is looked at for the last time.
const CLEAN_UP_TIME: Duration = Duration::from_secs(1);

/// Time that messages on their way have after the user has ended the run.
const INTERRUPTED_SETTLE: Duration = Duration::from_secs(1);

/// Nanoseconds in which every thread hears of the scenario's beginning, before it begins.
const LEAD_NANOSECONDS: u64 = 5_000_000;

/// The machine, from the first connection to after the last.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Samples {
    /// Before the first connection.
    pub(crate) before: Sample,
    /// When all were connected.
    pub(crate) connected: Sample,
    /// When measuring began and ended.
    pub(crate) measured: Option<(Sample, Sample)>,
    /// After the last connection.
    pub(crate) after: Sample,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Tells the messages of this run from those of others.
    pub(crate) run: u32,
    /// When it began, in seconds of the Unix epoch.
    pub(crate) started: f64,
    /// What was counted, in all and in each interval.
    pub(crate) timeline: Timeline,
    /// The plan that was followed.
    pub(crate) plan: Plan,
    /// The machine meanwhile.
    pub(crate) samples: Samples,
    /// What was measured.
    pub(crate) times: Times,
    /// This process's part of the schedule, in messages per second; absent in a closed loop.
    pub(crate) target: Option<f64>,
    /// Connections that were open at the end of the first phase, and seconds until they were.
    pub(crate) connected: (u64, f64),
    /// Why the run ended early, if a scenario could not go on.
    pub(crate) stopped: Option<String>,
    /// Why a thread could not do its work at all.
    pub(crate) failed: Option<String>,
    /// Whether the user, or another process, ended the run.
    pub(crate) interrupted: bool,
}

impl Outcome {
    /// Whether nothing ended the run before its time.
    pub(crate) const fn is_complete(&self) -> bool {
        !self.interrupted && self.stopped.is_none() && self.failed.is_none()
    }

    /// Seconds from the beginning of the scenario to that of the window.
    pub(crate) fn warmup_seconds(&self) -> f64 {
        self.times.window.start.saturating_sub(self.times.origin) as f64 * 1e-9
    }

    /// Seconds that were measured.
    pub(crate) fn measured_seconds(&self) -> f64 {
        (self.times.window.end - self.times.window.start) as f64 * 1e-9
    }
}

/// Runs what `arguments` ask for, or until `interrupted`: in this process or in workers.
///
/// # Errors
/// What keeps a run from beginning, and what to change.
pub(crate) fn run(arguments: &Arguments, interrupted: &AtomicBool) -> Result<Results, String> {
    if arguments.scenario.common().elsewhere.workers.is_empty() {
        run_part(arguments, Company::alone(), interrupted)
    } else {
        workers::coordinate(arguments, interrupted)
    }
}

/// Runs this process's part, which `arguments` ask for, in `company`.
///
/// # Errors
/// What keeps it from beginning, and what to change.
pub(crate) fn run_part(
    arguments: &Arguments,
    company: Company,
    interrupted: &AtomicBool,
) -> Result<Results, String> {
    let outcome = conduct(arguments, company, interrupted)?;
    Ok(measured::results(arguments, outcome))
}

/// The times of a scenario that begins at `origin`. The window begins with an interval, so that no
/// interval is measured in part.
pub(crate) fn times(scenario: &ScenarioArguments, origin: u64) -> Times {
    let common = scenario.common();
    let warmup = match scenario {
        ScenarioArguments::Idle { .. } => 0,
        _ => common.warmup.as_nanos() as u64,
    };
    let start = (origin + warmup).next_multiple_of(common.interval.as_nanos() as u64);
    Times { origin, window: start..start + common.duration.as_nanos() as u64 }
}

fn conduct(
    arguments: &Arguments,
    company: Company,
    interrupted: &AtomicBool,
) -> Result<Outcome, String> {
    let common = arguments.scenario.common();
    let (mut plan, _) = Plan::for_this_host(common, arguments.scenario.bytes_in_flight())?;
    let Company { first, run, clock, news: (sender, news), others } = company;
    plan.threads.iter_mut().for_each(|thread| thread.first += first);
    plan.warnings.iter().for_each(|warning| eprintln!("loadtest: warning: {warning}"));
    let server = Server::of(common)?;
    let threads = plan.threads.len();
    let control = Control::new(threads, common.interval, clock, others.is_none())
        .map_err(|error| format!("cannot create {threads} eventfds: {error}"))?;
    let control = Arc::new(control);
    let before = Sample::take(Duration::from_nanos(clock.now()), server.as_ref());
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let crew = crew::start(&arguments.scenario, &plan, &control, &sender, run)?;
    drop(sender);
    let target = arguments.scenario.schedule().map(|(rate, _)| rate);
    let mut lead = Lead {
        timeline: Timeline::new(threads, control.interval, before, target),
        control,
        crew,
        news,
        others,
        interrupted,
        server,
        target,
        threads,
        requested: common.connections,
        connected: 0,
        prepared: 0,
        settled: 0,
        ended: 0,
        interval: 0,
        told: 0,
        begin: None,
        halted: false,
        stopped: None,
        failed: None,
        progress: Progress::new(),
    };
    let mut samples = Samples { before, ..Samples::default() };
    let connected = lead.connect(&mut samples);
    let times = lead.scenario(&arguments.scenario, &mut samples);
    lead.leave(&mut samples);
    let interrupted = lead.is_interrupted();
    Ok(Outcome {
        run,
        started: started.as_secs_f64(),
        timeline: lead.timeline,
        plan,
        samples,
        times,
        target: lead.target,
        connected,
        interrupted,
        stopped: lead.stopped,
        failed: lead.failed,
    })
}

/// The main thread while the others work.
struct Lead<'a> {
    control: Arc<Control>,
    crew: Vec<JoinHandle<()>>,
    news: Receiver<News>,
    others: Option<Sender<Word>>,
    interrupted: &'a AtomicBool,
    server: Option<Server>,
    /// Messages per second of this process's part of the schedule.
    target: Option<f64>,
    threads: usize,
    requested: u32,
    /// Threads that are connected, prepared, settled, and at their end.
    connected: usize,
    prepared: usize,
    settled: usize,
    ended: usize,
    /// The interval now.
    interval: u64,
    timeline: Timeline,
    /// Intervals that the other processes were told.
    told: usize,
    /// What all processes begin with, and when.
    begin: Option<(Population, Times)>,
    /// Another process ended the run.
    halted: bool,
    stopped: Option<String>,
    failed: Option<String>,
    progress: Progress,
}

impl Lead<'_> {
    /// Waits until all connections are open, or failed. Gives back how many are, and how many
    /// seconds that took.
    fn connect(&mut self, samples: &mut Samples) -> (u64, f64) {
        self.wait(None, |lead| lead.connected == lead.threads || lead.is_over());
        samples.connected = self.sample();
        self.timeline.connected()
    }

    /// Waits until all clients are where the load begins. Gives back whether the run goes on.
    fn prepare(&mut self) -> bool {
        self.control.enter(Phase::Prepare);
        self.wait(None, |lead| lead.prepared == lead.threads || lead.is_over());
        !self.is_over()
    }

    /// Leads through the phases of the scenario. Gives back what was measured.
    fn scenario(&mut self, scenario: &ScenarioArguments, samples: &mut Samples) -> Times {
        let is_alone = self.others.is_none();
        let count = self.control.population().count;
        if (count == 0 && is_alone) || (count > 0 && !self.prepare()) {
            return Times::default();
        }
        let Some(mut times) = self.meet(scenario) else { return Times::default() };
        let common = scenario.common();
        self.set_times(&times);
        // Everyone is there, and knows what is measured, before the first message comes.
        self.control.enter(Phase::WarmUp);
        self.wait(Some(times.window.start), Self::is_over);
        let begin = self.sample();
        self.control.enter(Phase::Measure);
        self.wait(Some(times.window.end), Self::is_over);
        samples.measured = Some((begin, self.sample()));
        // A run that is ended early was measured until now, or not at all.
        let now = self.control.clock.now();
        times.window.start = times.window.start.min(now);
        times.window.end = times.window.end.min(now);
        self.set_times(&times);
        self.control.enter(Phase::Settle);
        // Whoever ended the run does not wait long, but what is on its way is not missing.
        let patience = if self.is_interrupted() {
            common.settle.min(INTERRUPTED_SETTLE)
        } else {
            common.settle
        };
        let settled = now + patience.as_nanos() as u64;
        self.wait(Some(settled), |lead| lead.settled == lead.threads || lead.is_broken());
        times
    }

    /// Waits until all processes are connected. Gives back the times they agree on, if there is
    /// anything to begin with.
    fn meet(&mut self, scenario: &ScenarioArguments) -> Option<Times> {
        let here = self.control.population();
        if self.others.is_some() && !self.is_over() {
            self.tell(Word::Population(here));
            self.wait(None, |lead| lead.begin.is_some() || lead.is_over());
        } else {
            self.begin = Some((here, times(scenario, self.control.clock.now() + LEAD_NANOSECONDS)));
        }
        if self.is_over() {
            return None;
        }
        let (all, times) = self.begin.take()?;
        self.control.complete_population(all);
        let all = self.control.population();
        let (part, whole) = match (scenario, scenario.publishers()) {
            // Those who talk in rooms have their part of the rate already.
            (ScenarioArguments::Rooms { .. }, _) => (1, 1),
            (_, 0) => (here.count, all.count),
            _ => (here.publishers, all.publishers),
        };
        self.target = self.target.map(|target| target * part as f64 / whole.max(1) as f64);
        self.timeline.set_target(self.target);
        (all.count > 0).then_some(times)
    }

    fn tell(&self, word: Word) {
        if let Some(others) = &self.others {
            // When they are gone, the news that the run ends is on its way.
            let _ = others.send(word);
        }
    }

    fn set_times(&mut self, times: &Times) {
        self.control.set_times(times);
        self.timeline.set_times(times.clone());
    }

    fn leave(&mut self, samples: &mut Samples) {
        self.timeline.leave(self.control.clock.now());
        self.control.enter(Phase::Leave);
        self.wait(None, |lead| lead.ended == lead.threads);
        for thread in self.crew.drain(..) {
            // What it holds is gone before another run begins; a panic was noticed.
            let _ = thread.join();
        }
        self.timeline.finish();
        self.tell_intervals();
        self.progress.end();
        if self.server.is_some() {
            thread::sleep(CLEAN_UP_TIME);
        }
        samples.after = self.sample();
    }

    fn is_over(&self) -> bool {
        self.is_interrupted() || self.is_broken()
    }

    fn is_broken(&self) -> bool {
        self.stopped.is_some() || self.failed.is_some()
    }

    fn is_interrupted(&self) -> bool {
        self.halted || self.interrupted.load(Ordering::Relaxed)
    }

    /// Listens to the threads until `done`, or until a time of the run's clock.
    fn wait(&mut self, until: Option<u64>, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let now = self.control.clock.now();
            let left =
                until.map_or(LOOK_AROUND, |until| Duration::from_nanos(until.saturating_sub(now)));
            if left.is_zero() {
                return;
            }
            match self.news.recv_timeout(left.min(LOOK_AROUND)) {
                Ok(news) => self.hear(news),
                Err(RecvTimeoutError::Timeout) => self.look_at_crew(),
                // Every thread has had its last word.
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look_at_machine();
            self.timeline.complete();
            self.tell_intervals();
            self.progress.show(self.control.phase(), &self.timeline, self.requested);
        }
    }

    /// A thread that has ended without its last word has panicked.
    fn look_at_crew(&mut self) {
        let ended = self.crew.iter().filter(|thread| thread.is_finished()).count();
        if ended > self.ended {
            // The word may have come just now.
            match self.news.try_recv() {
                Ok(news) => self.hear(news),
                Err(_) => self.hear(News::Failed("a thread has panicked".to_owned())),
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Part(part) => self.timeline.take(&part),
            News::Connected => self.connected += 1,
            News::Prepared => self.prepared += 1,
            News::Settled => self.settled += 1,
            News::Published(messages) => self.tell(Word::Published(messages)),
            News::Begin(all, times) => self.begin = Some((all, times)),
            News::PublishedElsewhere(messages) => self.control.set_published_elsewhere(messages),
            News::Halt => self.halted = true,
            News::Stopped(reason) => drop(self.stopped.get_or_insert(reason)),
            News::Failed(reason) => {
                self.end_one();
                self.failed.get_or_insert(reason);
            }
            News::Ended => self.end_one(),
        }
    }

    fn end_one(&mut self) {
        self.ended += 1;
        if self.ended == self.threads {
            self.timeline.finish();
        }
    }

    /// Tells the other processes of the intervals that are complete.
    fn tell_intervals(&mut self) {
        if self.others.is_some() {
            let intervals = &self.timeline.intervals[self.told..];
            intervals.iter().for_each(|interval| {
                self.tell(Word::Interval(Box::new(interval.clone())));
            });
            self.told = self.timeline.intervals.len();
        }
    }

    /// Samples the machine when an interval has ended.
    fn look_at_machine(&mut self) {
        let interval = self.control.clock.now() / self.control.interval;
        if interval > self.interval {
            let sample = self.sample();
            self.timeline.sample(interval - 1, sample);
            self.interval = interval;
        }
    }

    fn sample(&self) -> Sample {
        let at = Duration::from_nanos(self.control.clock.now());
        Sample::take(at, self.server.as_ref())
    }
}
