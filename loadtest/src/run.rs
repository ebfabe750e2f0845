//! A run as the main thread sees it: threads are started, led through the phases, and added up.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::args::{Arguments, ScenarioArguments};
use crate::control::{Control, News, Phase};
use crate::crew;
use crate::plan::Plan;
use crate::probe::{self, KernelSample, Process, ProcessSample};
use crate::stats::Stats;

/// How often the main thread looks around while it waits.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// Time the server has to clean up, before it is looked at for the last time.
const CLEAN_UP_TIME: Duration = Duration::from_secs(1);

/// Time between two lines of progress: on a terminal, and elsewhere.
const PROGRESS_TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The machine at one moment of a run.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Sample {
    /// The server's process, if its id was given and it is alive.
    pub(crate) server: Option<ProcessSample>,
    /// This process.
    pub(crate) own: ProcessSample,
    /// The kernel.
    pub(crate) kernel: KernelSample,
    /// Time that all processors have worked, for whatever process.
    pub(crate) machine_busy: Option<Duration>,
}

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
    /// What the threads counted, together.
    pub(crate) stats: Stats,
    /// The plan that was followed.
    pub(crate) plan: Plan,
    /// The machine meanwhile.
    pub(crate) samples: Samples,
    /// How long was measured.
    pub(crate) measured: Duration,
    /// Why the run ended early, if a scenario could not go on.
    pub(crate) stopped: Option<String>,
    /// Why a thread could not do its work at all.
    pub(crate) failed: Option<String>,
    /// Whether the user ended the run.
    pub(crate) interrupted: bool,
}

/// Runs what `arguments` ask for, or until `interrupted`.
///
/// # Errors
/// What keeps a run from beginning, and what to change.
pub(crate) fn run(arguments: &Arguments, interrupted: &AtomicBool) -> Result<Outcome, String> {
    let common = arguments.scenario.common();
    let (plan, _) = Plan::for_this_host(common, arguments.scenario.bytes_in_flight())?;
    plan.warnings.iter().for_each(|warning| eprintln!("loadtest: warning: {warning}"));
    let server = common.server_pid.map(Process::new).transpose()?;
    let threads = plan.threads.len();
    let control = Control::new(threads)
        .map_err(|error| format!("cannot create {threads} eventfds: {error}"))?;
    let control = Arc::new(control);
    let (sender, news) = channel();
    let before = sample(server.as_ref());
    crew::start(&arguments.scenario, &plan, &control, &sender)?;
    drop(sender);
    let mut lead = Lead {
        control,
        news,
        interrupted,
        server,
        threads,
        requested: common.connections,
        connected: 0,
        settled: 0,
        ended: 0,
        stats: Stats::default(),
        stopped: None,
        failed: None,
        progress: ProgressLine::new(),
    };
    let (samples, measured) = lead.through(&arguments.scenario, before);
    Ok(Outcome {
        stats: lead.stats,
        plan,
        samples,
        measured,
        stopped: lead.stopped,
        failed: lead.failed,
        interrupted: interrupted.load(Ordering::Relaxed),
    })
}

/// The main thread while the threads work.
struct Lead<'a> {
    control: Arc<Control>,
    news: Receiver<News>,
    interrupted: &'a AtomicBool,
    server: Option<Process>,
    threads: usize,
    requested: u32,
    /// Threads that are connected, settled, and at their end.
    connected: usize,
    settled: usize,
    ended: usize,
    stats: Stats,
    stopped: Option<String>,
    failed: Option<String>,
    progress: ProgressLine,
}

impl Lead<'_> {
    fn through(&mut self, scenario: &ScenarioArguments, before: Sample) -> (Samples, Duration) {
        let mut samples = Samples { before, ..Samples::default() };
        let mut measured = Duration::ZERO;
        self.wait(None, |lead| lead.connected == lead.threads || lead.is_over());
        samples.connected = self.sample();
        let any_open = self.control.population().count > 0;
        if any_open && !self.is_over() {
            let common = scenario.common();
            if !matches!(scenario, ScenarioArguments::Idle { .. }) {
                self.enter(Phase::WarmUp);
                self.wait(Some(common.warmup), Self::is_over);
            }
            let begin = self.sample();
            let began = Instant::now();
            self.enter(Phase::Measure);
            self.wait(Some(common.duration), Self::is_over);
            measured = began.elapsed();
            samples.measured = Some((begin, self.sample()));
            self.enter(Phase::Settle);
            self.wait(Some(common.settle), |lead| lead.settled == lead.threads || lead.is_over());
        }
        self.enter(Phase::Leave);
        self.wait(None, |lead| lead.ended == lead.threads);
        self.progress.end();
        if self.server.is_some() {
            thread::sleep(CLEAN_UP_TIME);
        }
        samples.after = self.sample();
        (samples, measured)
    }

    fn enter(&self, phase: Phase) {
        self.control.enter(phase);
    }

    fn is_over(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || self.stopped.is_some() || self.failed.is_some()
    }

    /// Listens to the threads until `done`, or until `time` has passed.
    fn wait(&mut self, time: Option<Duration>, done: impl Fn(&Self) -> bool) {
        let until = time.map(|time| Instant::now() + time);
        while !done(self) {
            let left = until.map_or(LOOK_AROUND, |until| until - Instant::now());
            if left.is_zero() {
                return;
            }
            match self.news.recv_timeout(left.min(LOOK_AROUND)) {
                Ok(news) => self.hear(news),
                Err(RecvTimeoutError::Timeout) => {}
                // Every thread has had its last word.
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.progress.show(&self.control, self.requested);
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Connected => self.connected += 1,
            News::Settled => self.settled += 1,
            News::Stopped(reason) => drop(self.stopped.get_or_insert(reason)),
            News::Failed(reason) => {
                self.ended += 1;
                self.failed.get_or_insert(reason);
            }
            News::Finished(stats) => {
                self.ended += 1;
                self.stats.add(&stats);
            }
        }
    }

    fn sample(&self) -> Sample {
        sample(self.server.as_ref())
    }
}

fn sample(server: Option<&Process>) -> Sample {
    Sample {
        server: server.and_then(Process::sample),
        own: Process::own().sample().unwrap_or_default(),
        kernel: probe::kernel(),
        machine_busy: probe::machine_busy(),
    }
}

/// One line on standard error that tells that the run goes on.
struct ProgressLine {
    is_terminal: bool,
    shown: Instant,
}

impl ProgressLine {
    fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), shown: Instant::now() }
    }

    fn show(&mut self, control: &Control, requested: u32) {
        let (on_terminal, elsewhere) = PROGRESS_TIMES;
        if self.shown.elapsed() < if self.is_terminal { on_terminal } else { elsewhere } {
            return;
        }
        self.shown = Instant::now();
        let sum = |of: fn(&crate::control::Progress) -> u64| control.progress.iter().map(of).sum();
        let settled: u64 = sum(|progress| progress.settled.load(Ordering::Relaxed));
        let messages: u64 = sum(|progress| progress.messages.load(Ordering::Relaxed));
        let phase = match control.phase() {
            Phase::Connect => "connecting",
            Phase::WarmUp => "warming up",
            Phase::Measure => "measuring",
            Phase::Settle => "settling",
            Phase::Leave => "leaving",
        };
        let (start, end) = if self.is_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        eprint!("{start}{phase}: {settled}/{requested} connections, {messages} messages{end}");
        // What cannot be shown is not worth ending a run for.
        let _ = std::io::stderr().flush();
    }

    fn end(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}
