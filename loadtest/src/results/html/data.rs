//! What the page draws: the curve of every histogram, and the intervals as columns.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::super::{
    Interval, NamedHistogram, Percentiles, Results, Row, RowPhase, Summary, new_histogram,
};

/// Points that a chart over time has at most: no screen shows more.
const POINTS_MAX: usize = 2_000;

/// Shares of the slowest at which a curve has a point, in each decade. They belong to percentiles
/// with few digits: 90, 90.5 … 98.75, 99, 99.05 and so on.
const TAILS: [f64; 17] =
    [10.0, 9.5, 9.0, 8.5, 8.0, 7.5, 7.0, 6.5, 6.0, 5.5, 5.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.25];

/// Everything the page shows.
#[derive(Debug, Serialize)]
pub(super) struct Page<'a> {
    runs: Vec<Run<'a>>,
}

#[derive(Debug, Serialize)]
struct Run<'a> {
    name: &'a str,
    /// `summary.json`, but for its histograms.
    summary: Summary,
    histograms: Vec<Shape<'a>>,
    series: Series,
}

/// A histogram as the page shows it.
#[derive(Debug, Serialize)]
struct Shape<'a> {
    name: &'a str,
    of: &'a str,
    us: Percentiles,
    curve: Vec<Point>,
}

/// A point of a percentile curve: the share of samples that were slower, as 0.01 at the 99th
/// percentile, and the microseconds that the others took at most.
pub(super) type Point = (f64, f64);

/// The intervals of a run as columns, all of the same length.
#[derive(Debug, Default, Serialize)]
pub(super) struct Series {
    pub(super) t: Vec<f64>,
    pub(super) length: Vec<f64>,
    pub(super) phase: Vec<RowPhase>,
    connections: Vec<u64>,
    opened_rate: Vec<f64>,
    target_rate: Vec<Option<f64>>,
    pub(super) achieved_rate: Vec<f64>,
    received_rate: Vec<f64>,
    errors: Vec<u64>,
    shed: Vec<u64>,
    schedule_lag_us: Vec<f64>,
    p50_us: Vec<Option<f64>>,
    pub(super) p99_us: Vec<Option<f64>>,
    pub(super) max_us: Vec<Option<f64>>,
    generator_cpus: Vec<f64>,
    server_cpus: Vec<Option<f64>>,
    server_resident_bytes: Vec<Option<u64>>,
    tcp_buffer_bytes: Vec<u64>,
}

impl<'a> Page<'a> {
    pub(super) fn new(runs: &[(&'a str, &'a Results)]) -> Self {
        Self { runs: runs.iter().map(|(name, results)| Run::new(name, results)).collect() }
    }
}

impl<'a> Run<'a> {
    fn new(name: &'a str, results: &'a Results) -> Self {
        let histograms = results.summary.histograms.iter();
        let histograms = histograms.map(|(name, histogram)| Shape::new(name, histogram)).collect();
        let mut summary = results.summary.clone();
        // Curves stand for them: the whole is in `summary.json` beside the page.
        summary.histograms.clear();
        Self { name, summary, histograms, series: Series::new(&results.intervals, POINTS_MAX) }
    }
}

impl<'a> Shape<'a> {
    fn new(name: &'a str, named: &'a NamedHistogram) -> Self {
        let curve = named.histogram().map_or_else(|_| Vec::new(), |found| curve(&found));
        Self { name, of: &named.of, us: named.us, curve }
    }
}

impl Series {
    /// The columns of these intervals, with neighbours of one phase put together as far as
    /// needed. What is put together is not smoothed: latencies are those of all its messages,
    /// maxima stay.
    pub(super) fn new(intervals: &[Interval], points_max: usize) -> Self {
        let size = intervals.len().div_ceil(points_max).max(1);
        let mut series = Self::default();
        for phase in intervals.chunk_by(|a, b| a.row.phase == b.row.phase) {
            for group in phase.chunks(size) {
                series.push(group);
            }
        }
        series
    }

    fn push(&mut self, group: &[Interval]) {
        let Some(Interval { row: last, .. }) = group.last() else { return };
        let rows = || group.iter().map(|interval| &interval.row);
        let length: f64 = rows().map(|row| row.length).sum();
        let per_second = |count: u64| if length > 0.0 { count as f64 / length } else { 0.0 };
        let mean = |value: fn(&Row) -> Option<f64>| mean(rows(), value);
        let latency = latency(group);
        let shown = |microseconds: f64| (latency.count > 0).then_some(microseconds);
        self.t.push(last.t);
        self.length.push(length);
        self.phase.push(last.phase);
        self.connections.push(last.connections);
        self.opened_rate.push(per_second(rows().map(|row| row.opened).sum()));
        self.target_rate.push(mean(|row| row.target_rate));
        self.achieved_rate.push(mean(|row| Some(row.achieved_rate)).unwrap_or_default());
        self.received_rate.push(mean(|row| Some(row.received_rate)).unwrap_or_default());
        self.errors.push(rows().map(|row| row.errors).sum());
        self.shed.push(rows().map(|row| row.shed).sum());
        self.schedule_lag_us.push(rows().map(|row| row.max_schedule_lag_us).fold(0.0, f64::max));
        self.p50_us.push(shown(latency.p50));
        self.p99_us.push(shown(latency.p99));
        self.max_us.push(shown(latency.max));
        self.generator_cpus.push(mean(|row| Some(row.generator_cpus)).unwrap_or_default());
        self.server_cpus.push(mean(|row| row.server_cpus));
        self.server_resident_bytes.push(rows().filter_map(|row| row.server_resident_bytes).max());
        self.tcp_buffer_bytes.push(rows().map(|row| row.tcp_buffer_bytes).max().unwrap_or(0));
    }
}

/// The mean over time of a value that some rows have, or nothing when none has.
fn mean<'a>(rows: impl Iterator<Item = &'a Row>, value: fn(&Row) -> Option<f64>) -> Option<f64> {
    let values: Vec<(f64, f64)> = rows.filter_map(|row| Some((value(row)?, row.length))).collect();
    let seconds: f64 = values.iter().map(|(_, length)| length).sum();
    if seconds > 0.0 {
        return Some(values.iter().map(|(value, length)| value * length).sum::<f64>() / seconds);
    }
    values.last().map(|(value, _)| *value)
}

/// The percentiles of all latencies of a group, from their histograms; when one of these is
/// missing, each percentile is the worst of the group's.
fn latency(group: &[Interval]) -> Percentiles {
    let worst = group.iter().fold(Percentiles::default(), |worst, interval| {
        let latency = &interval.row.latency_us;
        Percentiles {
            count: worst.count.saturating_add(latency.count),
            p50: worst.p50.max(latency.p50),
            p99: worst.p99.max(latency.p99),
            max: worst.max.max(latency.max),
            ..worst
        }
    });
    if group.len() == 1 {
        return worst;
    }
    let mut whole = new_histogram();
    for part in group.iter().filter_map(|interval| interval.latency.histogram().ok()) {
        if whole.add(part).is_err() {
            return worst;
        }
    }
    if whole.is_empty() || whole.len() != worst.count {
        return worst;
    }
    let us = |quantile| microseconds(whole.value_at_quantile(quantile));
    Percentiles { p50: us(0.5), p99: us(0.99), ..worst }
}

/// The curve of a histogram, up to its maximum at `1 / count`: nothing is known beyond.
pub(super) fn curve(histogram: &Histogram<u64>) -> Vec<Point> {
    let count = histogram.len();
    if count == 0 {
        return Vec::new();
    }
    let smallest = 1.0 / count as f64;
    let decades = (0..20).map(|decade| 10_f64.powi(-decade));
    let tails = decades.flat_map(|scale| TAILS.map(|tail| tail / 10.0 * scale));
    let mut points: Vec<Point> = tails
        .take_while(|tail| *tail > smallest)
        .map(|tail| (tail, microseconds(histogram.value_at_quantile(1.0 - tail))))
        .collect();
    points.push((smallest, microseconds(histogram.max())));
    points
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1_000.0
}
