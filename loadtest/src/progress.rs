//! The line on standard error that tells how a run goes on.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::control::Phase;
use crate::results::Row;
use crate::timeline::Timeline;

/// Time between two lines: on a terminal, and elsewhere.
const TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// One line on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    is_terminal: bool,
    shown: Instant,
}

impl Progress {
    /// A line that is not shown yet.
    pub(crate) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), shown: Instant::now() }
    }

    /// Shows what the last complete interval was like, if the time has come.
    pub(crate) fn show(&mut self, phase: Phase, timeline: &Timeline, requested: u32) {
        let (on_terminal, elsewhere) = TIMES;
        if self.shown.elapsed() < if self.is_terminal { on_terminal } else { elsewhere } {
            return;
        }
        self.shown = Instant::now();
        let phase = match phase {
            Phase::Connect => "connecting",
            Phase::Prepare => "preparing",
            Phase::WarmUp => "warming up",
            Phase::Measure => "measuring",
            Phase::Settle => "settling",
            Phase::Leave => "leaving",
        };
        let open = timeline.open();
        let last = timeline.intervals.last().map(|last| figures(&last.row)).unwrap_or_default();
        let errors = timeline.total.error_count();
        let (start, end) = if self.is_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        eprint!("{start}{phase}: {open}/{requested} connections{last}, {errors} errors{end}");
        // What cannot be shown is not worth ending a run for.
        let _ = std::io::stderr().flush();
    }

    /// Removes the line.
    pub(crate) fn end(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

fn figures(row: &Row) -> String {
    let mut figures = String::new();
    if row.opened > 0 {
        figures += &format!(", {:.0} opened/s", row.opened as f64 / row.length);
    }
    if row.sent > 0 || row.received > 0 {
        figures +=
            &format!(", {:.0} sent/s, {:.0} received/s", row.achieved_rate, row.received_rate);
    }
    if row.latency_us.count > 0 {
        let (p50, p99) = (row.latency_us.p50 / 1e3, row.latency_us.p99 / 1e3);
        figures += &format!(", p50 {p50:.2} ms, p99 {p99:.2} ms");
    }
    figures
}
