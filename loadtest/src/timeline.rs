//! The intervals of a run: the threads' parts are added up, and each interval that is complete
//! becomes a line of the time series.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::control::{Part, Times};
use crate::names;
use crate::probe::Sample;
use crate::results::{Interval, Packed, Percentiles, Row, RowPhase, new_histogram};
use crate::stats::{Latency, Stats};

/// Intervals that may be incomplete: a thread that is stuck keeps none of the others' from being
/// shown.
const INCOMPLETE_MAX: usize = 8;

/// Everything that was counted, as far as it is known.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// Nanoseconds of an interval.
    interval: u64,
    /// Messages per second of the schedule.
    target: Option<f64>,
    threads: Vec<Seen>,
    /// What was counted in intervals that are not complete: before and after the window's end.
    incomplete: BTreeMap<u64, [Stats; 2]>,
    /// The first interval that is not complete.
    next: u64,
    /// The machine at the end of intervals, and at the end of the last complete one.
    samples: BTreeMap<u64, Sample>,
    sampled: Sample,
    times: Times,
    left_at: Option<u64>,
    /// The sum of all parts.
    pub(crate) total: Stats,
    /// The intervals that are complete.
    pub(crate) intervals: Vec<Interval>,
    /// Messages sent and received while the run was measured, whenever they were intended.
    pub(crate) moved: (u64, u64),
    /// The most that TCP sockets held in their buffers.
    pub(crate) tcp_buffer_bytes_max: u64,
}

/// How far a thread is.
#[derive(Clone, Default, Debug)]
struct Seen {
    interval: u64,
    /// Connections that it had open at the end of its last intervals, back to the last complete
    /// one.
    open: VecDeque<(u64, u32)>,
}

impl Seen {
    /// The thread has this open in, or at the end of, an interval.
    fn take(&mut self, interval: u64, open: u32) {
        self.interval = interval;
        self.open.push_back((interval, open));
    }

    /// What was open at the end of an interval.
    fn open_at(&self, interval: u64) -> u64 {
        let last = self.open.iter().rev().find(|(at, _)| *at <= interval);
        last.map_or(0, |&(_, open)| open.into())
    }

    /// Everything before this interval is complete.
    fn forget_before(&mut self, interval: u64) {
        while self.open.get(1).is_some_and(|(at, _)| *at < interval) {
            self.open.pop_front();
        }
    }
}

impl Timeline {
    /// Of so many threads, with intervals of so many nanoseconds. `before` is the machine before
    /// the run, and `target` the rate of the schedule.
    pub(crate) fn new(threads: usize, interval: u64, before: Sample, target: Option<f64>) -> Self {
        Self {
            interval,
            target,
            threads: vec![Seen::default(); threads],
            incomplete: BTreeMap::new(),
            next: 0,
            samples: BTreeMap::new(),
            sampled: before,
            times: Times::default(),
            left_at: None,
            total: Stats::default(),
            intervals: Vec::new(),
            moved: (0, 0),
            tcp_buffer_bytes_max: 0,
        }
    }

    /// From now on this is the rate of the schedule.
    pub(crate) fn set_target(&mut self, target: Option<f64>) {
        self.target = target;
    }

    /// From now on these are the times of the run.
    pub(crate) fn set_times(&mut self, times: Times) {
        self.times = times;
    }

    /// The connections are being closed from `now` on.
    pub(crate) fn leave(&mut self, now: u64) {
        self.left_at = Some(now);
    }

    /// Takes what a thread has counted.
    pub(crate) fn take(&mut self, part: &Part) {
        // What comes too late for its interval counts in the first that is not complete.
        let interval = part.interval.max(self.next);
        self.incomplete.entry(interval).or_default()[usize::from(part.settles)].add(&part.stats);
        self.threads[part.thread].take(part.interval, part.open);
    }

    /// Takes a look at the machine at the end of an interval.
    pub(crate) fn sample(&mut self, interval: u64, sample: Sample) {
        self.samples.insert(interval, sample);
    }

    /// Completes the intervals that every thread has left.
    pub(crate) fn complete(&mut self) {
        let reached = self.threads.iter().map(|thread| thread.interval).min().unwrap_or(0);
        let overdue = self.incomplete.len().saturating_sub(INCOMPLETE_MAX);
        let forced = self.incomplete.keys().nth(overdue).copied().filter(|_| overdue > 0);
        while self.next < reached.max(forced.unwrap_or(0)) {
            self.complete_next();
        }
    }

    /// Completes what is left.
    pub(crate) fn finish(&mut self) {
        while let Some(&last) = self.incomplete.keys().next_back()
            && self.next <= last
        {
            self.complete_next();
        }
    }

    /// How many connections were opened, and seconds from the first start to the last opening.
    pub(crate) fn connected(&self) -> (u64, f64) {
        let parts = || self.incomplete.values().flatten().chain([&self.total]);
        let first = parts().filter_map(|part| part.first_start).min();
        let last = parts().filter_map(|part| part.last_open).max();
        let nanoseconds = first.zip(last).map_or(0, |(first, last)| last.saturating_sub(first));
        (parts().map(|part| part.opened).sum(), nanoseconds as f64 * 1e-9)
    }

    /// Connections that are open, as far as is known.
    pub(crate) fn open(&self) -> u64 {
        self.open_at(u64::MAX)
    }

    fn open_at(&self, interval: u64) -> u64 {
        self.threads.iter().map(|thread| thread.open_at(interval)).sum()
    }

    fn complete_next(&mut self) {
        let number = self.next;
        self.next += 1;
        let [mut stats, settled] = self.incomplete.remove(&number).unwrap_or_default();
        let sample = self.samples.remove(&number);
        self.samples.retain(|&sampled, _| sampled > number);
        let (start, end) = (number * self.interval, (number + 1) * self.interval);
        let window_end = self.times.window.end;
        if (start + 1..end).contains(&window_end) {
            // What comes after the window does not count for its rates.
            self.add_line(start..window_end, number, &stats, sample);
            self.add_line(window_end..end, number, &settled, sample);
            stats.add(&settled);
        } else {
            stats.add(&settled);
            self.add_line(start..end, number, &stats, sample);
        }
        self.total.add(&stats);
        self.sampled = sample.unwrap_or(self.sampled);
        let next = self.next;
        self.threads.iter_mut().for_each(|thread| thread.forget_before(next));
    }

    fn add_line(&mut self, time: Range<u64>, number: u64, stats: &Stats, sample: Option<Sample>) {
        let interval = self.line(time, number, stats, sample);
        if interval.row.phase == RowPhase::Measure {
            self.moved.0 += stats.messages.sent + stats.unmeasured.0;
            self.moved.1 += stats.messages.received + stats.unmeasured.1;
        }
        self.tcp_buffer_bytes_max = self.tcp_buffer_bytes_max.max(interval.row.tcp_buffer_bytes);
        self.intervals.push(interval);
    }

    fn line(
        &self,
        time: Range<u64>,
        number: u64,
        stats: &Stats,
        sample: Option<Sample>,
    ) -> Interval {
        let phase = self.phase(time.start);
        let length = (time.end - time.start) as f64 * 1e-9;
        let measured = matches!(phase, RowPhase::Measure | RowPhase::Settle);
        let of_run = |of_window: u64, other: u64| if measured { of_window } else { other };
        let sent = of_run(stats.messages.sent, stats.unmeasured.0);
        let received = of_run(stats.messages.received, stats.unmeasured.1);
        // Rates are of all that moved, whenever it was intended.
        let achieved = stats.messages.sent + stats.unmeasured.0;
        let came = stats.messages.received + stats.unmeasured.1;
        let sample = sample.unwrap_or(self.sampled);
        let cpus = |now: Duration, before: Duration| {
            let passed = sample.at.saturating_sub(self.sampled.at).as_secs_f64();
            if passed > 0.0 { now.saturating_sub(before).as_secs_f64() / passed } else { 0.0 }
        };
        let count = |name| stats.counts.get(name).copied().unwrap_or_default();
        let (latency, uncorrected) = headline(stats);
        let scheduled = matches!(phase, RowPhase::WarmUp | RowPhase::Measure);
        let row = Row {
            t: time.end as f64 * 1e-9,
            length,
            phase,
            connections: self.open_at(number),
            opened: stats.opened,
            farewells: count(names::FAREWELLS),
            returned: count(names::RETURNED),
            target_rate: self.target.filter(|_| scheduled),
            achieved_rate: achieved as f64 / length,
            received_rate: came as f64 / length,
            sent,
            received,
            errors: stats.error_count(),
            shed: stats.messages.shed,
            max_schedule_lag_us: stats.lag.histogram().map_or(0.0, |lag| lag.max() as f64 / 1e3),
            latency_us: Percentiles::of(&latency),
            latency_uncorrected_us: Percentiles::of(&uncorrected),
            generator_cpus: cpus(sample.own.cpu, self.sampled.own.cpu),
            server_cpus: sample
                .server
                .zip(self.sampled.server)
                .map(|(now, before)| cpus(now.cpu, before.cpu)),
            server_resident_bytes: sample.server.map(|server| server.resident),
            tcp_buffer_bytes: sample.kernel.tcp_buffer_bytes,
        };
        Interval {
            row,
            latency: Packed::of(&latency),
            latency_uncorrected: Packed::of(&uncorrected),
        }
    }

    /// Where the run was when an interval began.
    fn phase(&self, start: u64) -> RowPhase {
        let Times { origin, window } = &self.times;
        if self.left_at.is_some_and(|left_at| start >= left_at) {
            RowPhase::Leave
        } else if window.end == 0 || start < (*origin).min(window.start) {
            RowPhase::Connect
        } else if start < window.start {
            RowPhase::WarmUp
        } else if start < window.end {
            RowPhase::Measure
        } else {
            RowPhase::Settle
        }
    }
}

/// The two histograms that a run is known by: from the intended, and from the actual time.
pub(crate) fn headline(stats: &Stats) -> (Histogram<u64>, Histogram<u64>) {
    let sum = |parts: [&Latency; 2]| {
        let mut sum = new_histogram();
        for part in parts.into_iter().filter_map(Latency::histogram) {
            sum.add(part).expect("all histograms have the same bounds");
        }
        sum
    };
    let corrected = sum([&stats.corrected, &stats.punctual]);
    (corrected, sum([&stats.uncorrected, &stats.punctual]))
}
