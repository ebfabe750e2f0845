//! What the log counts of itself.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Level;

/// Where lines go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Sink {
    /// What the start says, for who waits for it.
    Stdout,
    /// All lines, for people.
    Stderr,
    /// All lines, as JSON.
    Combined,
    /// Errors, as JSON.
    Error,
}

impl Sink {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Stdout, Self::Stderr, Self::Combined, Self::Error];

    /// The value of the label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Combined => "combined",
            Self::Error => "error",
        }
    }
}

/// Why a sink did not get a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum DropReason {
    /// Too many lines wait for it.
    Full,
    /// It could not be written to: a full disk, a reader that has gone.
    Error,
}

impl DropReason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::Full, Self::Error];

    /// The value of the label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Error => "error",
        }
    }
}

const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// Counters that any thread may add to.
#[derive(Debug, Default)]
pub struct LogStatistics {
    lines: [AtomicU64; LEVELS.len()],
    suppressed: AtomicU64,
    dropped: [[AtomicU64; DropReason::ALL.len()]; Sink::ALL.len()],
}

impl LogStatistics {
    /// Lines that were given to the sinks, of one level.
    #[must_use]
    pub fn lines(&self, level: Level) -> u64 {
        self.lines_of(level).load(Ordering::Relaxed)
    }

    /// Lines that nobody got, because there were too many of their kind.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// Lines that one sink did not get, for one reason.
    #[must_use]
    pub fn dropped(&self, sink: Sink, reason: DropReason) -> u64 {
        self.dropped[sink as usize][reason as usize].load(Ordering::Relaxed)
    }

    /// Lines that one sink did not get.
    #[must_use]
    pub fn dropped_by(&self, sink: Sink) -> u64 {
        DropReason::ALL.iter().map(|reason| self.dropped(sink, *reason)).sum()
    }

    pub(super) fn count_line(&self, level: Level) {
        self.lines_of(level).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_suppressed(&self) {
        self.suppressed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self, sink: Sink, reason: DropReason) {
        self.dropped[sink as usize][reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn lines_of(&self, level: Level) -> &AtomicU64 {
        let place = LEVELS.iter().position(|other| *other == level);
        &self.lines[place.expect("there are five levels")]
    }

    /// These counters as Prometheus text (exposition format 0.0.4).
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut text = String::with_capacity(2048);
        describe(&mut text, "lines", "Lines given to the sinks of the log, by level.");
        for level in LEVELS {
            let label = level.as_str().to_ascii_lowercase();
            let value = self.lines(level);
            line(&mut text, format_args!("lines_total{{level=\"{label}\"}}"), value);
        }
        describe(&mut text, "lines_dropped", "Lines that a sink did not get, by sink and reason.");
        for sink in Sink::ALL {
            for reason in DropReason::ALL {
                let (sink_label, reason_label) = (sink.label(), reason.label());
                let series = format_args!(
                    "lines_dropped_total{{sink=\"{sink_label}\",reason=\"{reason_label}\"}}"
                );
                line(&mut text, series, self.dropped(sink, reason));
            }
        }
        describe(&mut text, "lines_suppressed", "Lines left out as too many of their kind.");
        line(&mut text, format_args!("lines_suppressed_total"), self.suppressed());
        text
    }
}

fn describe(text: &mut String, name: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# HELP ringwire_log_{name}_total {help}\n# TYPE ringwire_log_{name}_total counter"
    );
}

fn line(text: &mut String, series: std::fmt::Arguments<'_>, value: u64) {
    let _ = writeln!(text, "ringwire_log_{series} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_series_of_its_own() {
        let statistics = LogStatistics::default();
        statistics.count_line(Level::WARN);
        statistics.count_suppressed();
        statistics.count_suppressed();
        for _ in 0..3 {
            statistics.count_dropped(Sink::Combined, DropReason::Error);
        }
        let text = statistics.exposition();
        for line in [
            "ringwire_log_lines_total{level=\"warn\"} 1",
            "ringwire_log_lines_total{level=\"info\"} 0",
            "ringwire_log_lines_suppressed_total 2",
            "ringwire_log_lines_dropped_total{sink=\"combined\",reason=\"error\"} 3",
            "ringwire_log_lines_dropped_total{sink=\"combined\",reason=\"full\"} 0",
            "# TYPE ringwire_log_lines_dropped_total counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 5 + 8 + 1);
    }
}
