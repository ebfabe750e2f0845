//! The line on standard error that tells how a run goes on.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::control::Phase;
use crate::results::{Interval, Row, RowPhase};
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
        if self.is_due() {
            let phase = match phase {
                Phase::Connect => label(RowPhase::Connect),
                Phase::Prepare => "preparing",
                Phase::WarmUp => label(RowPhase::WarmUp),
                Phase::Measure => label(RowPhase::Measure),
                Phase::Settle => label(RowPhase::Settle),
                Phase::Leave => label(RowPhase::Leave),
            };
            let last = timeline.intervals.last().map(|last| &last.row);
            let errors = timeline.total.error_count();
            self.write(phase, timeline.open(), requested, last, errors);
        }
    }

    /// Shows what the workers of a run have told of their last intervals, if the time has come.
    pub(crate) fn show_workers<'a>(
        &mut self,
        intervals: impl Iterator<Item = &'a [Interval]>,
        requested: u32,
    ) {
        if !self.is_due() {
            return;
        }
        let mut errors = 0;
        let mut sum: Option<Row> = None;
        for intervals in intervals {
            let failed = intervals.iter().map(|interval| interval.row.errors);
            errors = failed.fold(errors, u64::saturating_add);
            match (&mut sum, intervals.last()) {
                (_, None) => {}
                (None, Some(Interval { row, .. })) => sum = Some(row.clone()),
                (Some(sum), Some(Interval { row, .. })) => add(sum, row),
            }
        }
        let phase = label(sum.as_ref().map_or(RowPhase::Connect, |sum| sum.phase));
        let open = sum.as_ref().map_or(0, |sum| sum.connections);
        self.write(phase, open, requested, sum.as_ref(), errors);
    }

    fn is_due(&mut self) -> bool {
        let (on_terminal, elsewhere) = TIMES;
        let time = if self.is_terminal { on_terminal } else { elsewhere };
        let is_due = self.shown.elapsed() >= time;
        if is_due {
            self.shown = Instant::now();
        }
        is_due
    }

    fn write(&self, phase: &str, open: u64, requested: u32, last: Option<&Row>, errors: u64) {
        let last = last.map(figures).unwrap_or_default();
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

const fn label(phase: RowPhase) -> &'static str {
    match phase {
        RowPhase::Connect => "connecting",
        RowPhase::WarmUp => "warming up",
        RowPhase::Measure => "measuring",
        RowPhase::Settle => "settling",
        RowPhase::Leave => "leaving",
    }
}

/// Adds what the line shows of another process. Percentiles have no sum: the worst is shown.
fn add(sum: &mut Row, row: &Row) {
    sum.phase = sum.phase.max(row.phase);
    sum.connections = sum.connections.saturating_add(row.connections);
    sum.opened = sum.opened.saturating_add(row.opened);
    sum.sent = sum.sent.saturating_add(row.sent);
    sum.received = sum.received.saturating_add(row.received);
    sum.achieved_rate += row.achieved_rate;
    sum.received_rate += row.received_rate;
    let (sum, latency) = (&mut sum.latency_us, &row.latency_us);
    sum.count = sum.count.saturating_add(latency.count);
    (sum.p50, sum.p99) = (sum.p50.max(latency.p50), sum.p99.max(latency.p99));
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
