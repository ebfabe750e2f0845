//! The log as one: filters at run time, floods, and what is kept in memory.

use std::path::PathBuf;

use super::*;
use crate::limits::{LOG_BURST_MAX, LOG_RECENT_LINES_MAX};

/// A log with a folder of its own, removed at the end.
struct Bench {
    log: LogControl,
    directory: PathBuf,
}

impl Bench {
    /// Lets `act` write to a log with this filter.
    fn run(name: &str, filter: &str, act: impl FnOnce(&Self)) {
        let name = format!("ringwire-log-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let config = LogConfig { directory: Some(directory.clone()), ..LogConfig::default() };
        let nowhere = || Stream::of(fs::OpenOptions::new().write(true).open("/dev/null")?);
        let (log, subscriber) = LogControl::build(filter, &config, nowhere).expect("it starts");
        let bench = Self { log, directory };
        tracing::subscriber::with_default(subscriber, || act(&bench));
    }

    /// What a file has, once everything was written.
    fn lines(&self, file: &str) -> Vec<serde_json::Value> {
        while !self.log.core.queues().all(Queue::is_empty) {
            thread::yield_now();
        }
        let text = fs::read_to_string(self.directory.join(file)).expect("the file is there");
        let parse = |line| serde_json::from_str(line).expect("a line is JSON");
        text.lines().map(parse).collect()
    }

    fn messages(&self, file: &str) -> Vec<String> {
        let lines = self.lines(file);
        let text = |line: &serde_json::Value| line["message"].as_str().map(str::to_owned);
        lines.iter().map(|line| text(line).expect("a line has a message")).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// One place in the program, whatever the state of the filter.
fn say_debug() {
    tracing::debug!(target: "ringwire::shard", "details");
}

#[test]
fn a_filter_takes_effect_at_once_also_where_nothing_was_written_before() {
    Bench::run("filter", "info", |bench| {
        say_debug();
        bench.log.set_filter("info,ringwire::hub=trace").expect("it parses");
        say_debug();
        bench.log.set_filter("warn,ringwire::shard=debug").expect("it parses");
        say_debug();
        tracing::info!(target: "ringwire::hub", "unwanted");
        assert!(bench.log.set_filter("").is_err_and(|error| error.contains("empty")));
        assert!(bench.log.set_filter("ringwire=loud").is_err_and(|error| error.contains("loud")));
        say_debug();
        assert!(bench.log.filter().contains("ringwire::shard=debug"));
        bench.log.set_filter("info").expect("it parses");
        say_debug();
        tracing::info!(target: "ringwire::hub", "wanted");
        assert_eq!(bench.messages("combined.log"), ["details", "details", "wanted"]);
        assert_eq!(bench.log.statistics().lines(Level::DEBUG), 2);
    });
}

#[test]
fn errors_have_a_file_of_their_own_and_warnings_are_remembered_with_them() {
    Bench::run("levels", "trace", |bench| {
        tracing::error!(shard = 3, "broken");
        tracing::warn!(user = "eve\nERROR", "refused");
        tracing::info!("ordinary");
        tracing::trace!("details");
        assert_eq!(bench.messages("error.log"), ["broken"]);
        assert_eq!(bench.messages("combined.log"), ["broken", "refused", "ordinary", "details"]);
        let recent = bench.log.recent(LOG_RECENT_LINES_MAX);
        let texts: Vec<&str> = recent.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(texts, ["refused user=\"eve\\nERROR\"", "broken shard=3"]);
        assert_eq!((recent[0].level.as_str(), recent[1].level.as_str()), ("WARN", "ERROR"));
        for number in 0..2 * LOG_RECENT_LINES_MAX {
            tracing::warn!(number, "{}", "x".repeat(1000));
        }
        let recent = bench.log.recent(LOG_RECENT_LINES_MAX);
        assert_eq!(recent.len(), LOG_RECENT_LINES_MAX);
        let (error, warnings) = recent.split_last().expect("there are lines");
        assert_eq!(error.message, "broken shard=3", "warnings push out no error");
        assert!(warnings.iter().all(|line| line.message.chars().count() == 300));
    });
}

/// Counts how often it is written.
struct Expensive<'a>(&'a std::cell::Cell<u64>);

impl fmt::Display for Expensive<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.set(self.0.get() + 1);
        formatter.write_str("expensive")
    }
}

#[test]
fn a_flood_is_cut_counted_and_costs_no_formatting() {
    Bench::run("flood", "info", |bench| {
        let formatted = std::cell::Cell::new(0);
        let many = 20 * LOG_BURST_MAX;
        for _ in 0..many {
            tracing::info!(peer = %Expensive(&formatted), "knock");
            tracing::debug!(peer = %Expensive(&formatted), "disabled");
        }
        let statistics = bench.log.statistics();
        let (written, suppressed) = (statistics.lines(Level::INFO), statistics.suppressed());
        assert_eq!(written + suppressed, many);
        assert!(suppressed > many / 2 && written >= LOG_BURST_MAX, "{written} lines were written");
        assert_eq!(formatted.get(), written);
        bench.log.report_suppressed();
        bench.log.report_suppressed();
        let lines = bench.lines("combined.log");
        let told: u64 = lines.iter().filter_map(|line| line["suppressed"].as_u64()).sum();
        assert_eq!(told, suppressed, "what was suppressed is told exactly");
    });
}

#[test]
fn thousands_are_apart() {
    for (number, text) in [(7, "7"), (123, "123"), (12_345, "12,345"), (1_000_000, "1,000,000")] {
        assert_eq!(grouped(number), text);
    }
}
