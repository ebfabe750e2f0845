//! The log of the process: which lines, where they go, and what is left out.
//!
//! ```text
//!   event → filter (level, module) → flood gate → line → queue → thread → stderr
//!                                                  ├───→ queue → thread → combined.log
//!                                                  ├───→ queue → thread → error.log
//!                                                  └───→ recent warnings and errors
//! ```
//!
//! Nobody who writes a line waits: what finds no room in a queue is dropped and counted.

mod files;
mod flood;
mod last_words;
mod line;
mod recent;
mod sink;
mod statistics;

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry, reload};

pub use last_words::EXIT_PANIC;
pub use statistics::{DropReason, LogStatistics, Sink};

use super::overview::LogLine;
use crate::config::{LogConfig, parse_filter};
use crate::limits::{LOG_FINISH_TIME, LOG_RECENT_CHARACTERS_MAX};
use files::RotatingFile;
use flood::{FloodGate, Verdict};
use last_words::LastWords;
use line::Line;
use recent::Recent;
use sink::{Queue, Stream};

/// How often the end of the process looks whether the sinks are done.
const FINISH_LOOK: Duration = Duration::from_millis(2);

/// The log, from whichever thread. Which lines are written can change while the server runs.
#[derive(Clone, Debug)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    core: Arc<Core>,
}

/// What all threads share.
#[derive(Debug)]
struct Core {
    started: Instant,
    statistics: Arc<LogStatistics>,
    gate: FloodGate<Metadata<'static>>,
    recent: Mutex<Recent>,
    with_colours: bool,
    stdout: Queue,
    stderr: Queue,
    files: Option<Files>,
}

/// The files of `--log-dir`.
#[derive(Debug)]
struct Files {
    combined: Queue,
    combined_path: PathBuf,
    error: Queue,
    error_path: PathBuf,
}

impl LogControl {
    /// Starts the log of this process, once, with a filter in the syntax of `tracing`.
    ///
    /// # Errors
    /// A sentence for the user: the folder cannot be written to, or there can be no threads.
    ///
    /// # Panics
    /// When the filter does not parse, which was checked before, or when a log has been started.
    pub fn start(filter: &str, config: &LogConfig) -> Result<Self, String> {
        let (log, subscriber) = Self::build(filter, config, || Stream::of(io::stderr()))?;
        tracing::subscriber::set_global_default(subscriber).expect("a process has one log");
        Ok(log)
    }

    fn build(
        filter: &str,
        config: &LogConfig,
        open_stderr: fn() -> io::Result<Stream>,
    ) -> Result<(Self, impl Subscriber + Send + Sync), String> {
        let core = Arc::new(Core::start(config, open_stderr)?);
        let (filter, handle) = reload::Layer::new(EnvFilter::new(filter));
        let lines = Lines(Arc::clone(&core));
        let subscriber = tracing_subscriber::registry().with(filter).with(lines);
        Ok((Self { filter: handle, core }, subscriber))
    }

    /// The filter in force.
    #[must_use]
    pub fn filter(&self) -> String {
        self.filter.with_current(ToString::to_string).expect("the log lives as long as the process")
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// `filter` does not parse or says nothing: nothing has changed.
    pub fn set_filter(&self, filter: &str) -> Result<(), String> {
        self.filter.reload(parse_filter(filter)?).expect("the log lives as long as the process");
        Ok(())
    }

    /// The newest warnings and errors, the newest first; `lines_max` at most. Half of these places
    /// errors do not lose to warnings, which any stranger can cause.
    #[must_use]
    pub fn recent(&self, lines_max: usize) -> Vec<LogLine> {
        let lines = self.core.lock_recent().newest(lines_max);
        lines.into_iter().map(|line| LogLine::clone(&line)).collect()
    }

    /// What the log counts of itself.
    #[must_use]
    pub fn statistics(&self) -> &LogStatistics {
        &self.core.statistics
    }

    /// Lines that a sink did not get, of all sinks.
    #[must_use]
    pub fn lines_dropped(&self) -> u64 {
        Sink::ALL.iter().map(|sink| self.core.statistics.dropped_by(*sink)).sum()
    }

    /// [`statistics`](Self::statistics) as Prometheus text.
    #[must_use]
    pub fn exposition(&self) -> String {
        self.core.statistics.exposition()
    }

    /// Prints a line on standard output, without waiting for its reader.
    pub fn say(&self, line: fmt::Arguments<'_>) {
        self.core.stdout.submit(format!("{line}\n"));
    }

    /// Prints why the process ends on standard error, behind the lines that wait for it.
    pub fn complain(&self, line: fmt::Arguments<'_>) {
        self.core.stderr.submit(format!("{line}\n"));
    }

    /// Reports what was suppressed and has not been reported since.
    pub fn report_suppressed(&self) {
        self.core.gate.take_suppressed(|place, lines| self.core.report(place, lines));
    }

    /// Has a thread that panics end the process at once, with [`EXIT_PANIC`] and one clear line.
    ///
    /// # Errors
    /// A sentence for the user: there can be no thread for that line.
    pub fn end_on_panic(&self) -> Result<(), String> {
        let last_words = LastWords::start(Arc::clone(&self.core)).map_err(no_thread)?;
        std::panic::set_hook(Box::new(move |panic| last_words.speak(panic)));
        Ok(())
    }

    /// Waits for the sinks to write what waits for them, [`LOG_FINISH_TIME`] at most: the last
    /// call.
    pub fn finish(&self) {
        self.report_suppressed();
        let deadline = Instant::now() + LOG_FINISH_TIME;
        while !self.core.queues().all(Queue::is_empty) && Instant::now() < deadline {
            thread::sleep(FINISH_LOOK);
        }
    }
}

impl Core {
    fn start(config: &LogConfig, open_stderr: fn() -> io::Result<Stream>) -> Result<Self, String> {
        let statistics = Arc::new(LogStatistics::default());
        let stdout = Queue::start(Sink::Stdout, &statistics, || Stream::of(io::stdout()));
        let stderr = Queue::start(Sink::Stderr, &statistics, open_stderr);
        Ok(Self {
            started: Instant::now(),
            gate: FloodGate::new(),
            recent: Mutex::default(),
            with_colours: io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            stdout: stdout.map_err(no_thread)?,
            stderr: stderr.map_err(no_thread)?,
            files: match &config.directory {
                Some(directory) => Some(Files::start(directory, config, &statistics)?),
                None => None,
            },
            statistics,
        })
    }

    /// Gives a line to all sinks that it is for.
    fn write(&self, line: &Line) {
        self.statistics.count_line(line.level());
        if line.level() <= Level::WARN {
            self.remember(line);
        }
        if let Some(Files { combined, error, .. }) = &self.files {
            let json = line.as_json();
            if line.level() == Level::ERROR {
                error.submit(json.clone());
            }
            combined.submit(json);
        }
        self.stderr.submit(line.for_people(self.with_colours));
    }

    fn report(&self, place: Option<&Metadata<'_>>, lines: u64) {
        let level = place.map_or(Level::INFO, |place| *place.level());
        let target = place.map_or("ringwire", |place| place.target());
        let mut line = Line::new(level, target);
        line.add("message", format_args!("… and {} more like this", grouped(lines)));
        line.add_literal("suppressed", lines);
        if let Some(source_line) = place.and_then(Metadata::line) {
            line.add_literal("source_line", source_line);
        }
        self.write(&line);
    }

    fn remember(&self, line: &Line) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let level = line.level();
        let line = LogLine {
            timestamp: now.as_millis() as u64,
            level: level.to_string(),
            target: line.target().to_owned(),
            message: line.text(LOG_RECENT_CHARACTERS_MAX),
        };
        self.lock_recent().keep(level, line);
    }

    fn lock_recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queues(&self) -> impl Iterator<Item = &Queue> {
        let files = self.files.iter().flat_map(|files| [&files.combined, &files.error]);
        [&self.stdout, &self.stderr].into_iter().chain(files)
    }
}

impl Files {
    fn start(
        directory: &Path,
        config: &LogConfig,
        statistics: &Arc<LogStatistics>,
    ) -> Result<Self, String> {
        let explain = |error: io::Error| {
            let directory = directory.display();
            format!(
                "--log-dir {directory}: {error}: name a folder that this user may write to, with \
                 room for the files"
            )
        };
        fs::create_dir_all(directory).map_err(explain)?;
        let start = |sink, path: &Path| {
            let (path, bytes, files) = (path.to_owned(), config.file_bytes, config.files);
            Queue::start(sink, statistics, move || RotatingFile::open(path, bytes, files))
                .map_err(explain)
        };
        let combined_path = directory.join("combined.log");
        let error_path = directory.join("error.log");
        Ok(Self {
            combined: start(Sink::Combined, &combined_path)?,
            combined_path,
            error: start(Sink::Error, &error_path)?,
            error_path,
        })
    }
}

/// The layer that makes lines of events. Nothing is formatted before it is sure that the line is
/// written.
struct Lines(Arc<Core>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Self(core) = self;
        let now = core.started.elapsed().as_nanos() as u64;
        let suppressed = match core.gate.judge(event.metadata(), now) {
            Verdict::Pass => 0,
            Verdict::PassAndReport(suppressed) => suppressed,
            Verdict::Suppress => return core.statistics.count_suppressed(),
        };
        core.write(&Line::of(event));
        if suppressed > 0 {
            core.report(Some(event.metadata()), suppressed);
        }
    }
}

fn no_thread(error: io::Error) -> String {
    format!("cannot start the log: {error}")
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
