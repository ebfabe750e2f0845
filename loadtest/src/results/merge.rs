//! Several processes' results as one: counts and histograms are added, percentiles never.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::histogram::add;
use super::merge_summary::merge_summaries;
use super::{Interval, Packed, Percentiles, Results, Row, RowPhase, new_histogram};

/// The most results that become one; sums of their counts stay far from overflow.
const RESULTS_MAX: usize = 1_024;

/// The place of an interval: the same for the intervals that processes made at the same time.
type Place = (RowPhase, u64);

impl Results {
    /// The results of processes that ran together, as those of one.
    ///
    /// # Errors
    /// When there is none, there are too many, they are of different scenarios or load models, or
    /// a histogram is damaged.
    pub(crate) fn merge(mut parts: Vec<Self>) -> Result<Self, String> {
        if parts.len() > RESULTS_MAX {
            return Err(format!("more than {RESULTS_MAX} results cannot be merged at once"));
        }
        if parts.len() == 1 {
            return Ok(parts.swap_remove(0));
        }
        let intervals = merge_intervals(&parts)?;
        let without_intervals = parts.iter().filter(|part| part.intervals.is_empty()).count();
        let mut summary = merge_summaries(parts.into_iter().map(|part| part.summary).collect())?;
        if without_intervals > 0 && !intervals.is_empty() {
            summary.notes.push(format!(
                "the time series leaves out {without_intervals} of the processes, which had none"
            ));
        }
        Ok(Self { summary, intervals })
    }
}

/// Intervals that begin as long after the beginning of their phase are one: phases begin together
/// in all processes, though connecting may take one longer than another.
fn merge_intervals(parts: &[Results]) -> Result<Vec<Interval>, String> {
    let processes: Vec<_> = parts.iter().map(by_place).collect();
    let mut places: Vec<Place> = processes.iter().flat_map(BTreeMap::keys).copied().collect();
    places.sort_unstable();
    places.dedup();
    // What processes held when their last interval ended; those that have none at a place hold it
    // still.
    let mut connections = vec![0; processes.len()];
    let mut merged: Vec<Interval> = Vec::with_capacity(places.len());
    for place in places {
        for (process, connections) in processes.iter().zip(&mut connections) {
            if let Some(last) = process.get(&place).and_then(|found| found.last()) {
                *connections = last.row.connections;
            }
        }
        let together: Vec<(&str, &Interval)> = processes
            .iter()
            .zip(parts)
            .filter_map(|(process, part)| {
                let host = part.summary.environment.host.as_str();
                Some(process.get(&place)?.iter().map(move |interval| (host, *interval)))
            })
            .flatten()
            .collect();
        let mut interval = merge_place(&together)?;
        interval.row.connections = sum(connections.iter().copied());
        // Time only goes on.
        interval.row.t = interval.row.t.max(merged.last().map_or(0.0, |last| last.row.t));
        merged.push(interval);
    }
    Ok(merged)
}

/// The intervals of a process by their place. Two may share one when an interval was cut short.
fn by_place(results: &Results) -> BTreeMap<Place, Vec<&Interval>> {
    let length = results.summary.config.interval_seconds;
    let mut phases = BTreeMap::new();
    let mut places: BTreeMap<Place, Vec<&Interval>> = BTreeMap::new();
    for interval in &results.intervals {
        let row = &interval.row;
        let start = row.t - row.length;
        let begun = *phases.entry(row.phase).or_insert(start);
        // A cast takes what is no number, or too small, for 0.
        let index = ((start - begun) / length).round() as u64;
        places.entry((row.phase, index)).or_default().push(interval);
    }
    places
}

/// Intervals of one place, of at least one process, with their hosts.
fn merge_place(together: &[(&str, &Interval)]) -> Result<Interval, String> {
    let histogram = |of: fn(&Interval) -> &Packed| -> Result<Histogram<u64>, String> {
        let mut sum = new_histogram();
        for (_, interval) in together {
            let packed = of(interval);
            if !packed.0.is_empty() {
                add(&mut sum, &packed.histogram()?)?;
            }
        }
        Ok(sum)
    };
    let latency = histogram(|interval| &interval.latency)?;
    let uncorrected = histogram(|interval| &interval.latency_uncorrected)?;
    let rows: Vec<&Row> = together.iter().map(|(_, interval)| &interval.row).collect();
    let count = |of: fn(&Row) -> u64| sum(rows.iter().map(|row| of(row)));
    let highest = |of: fn(&Row) -> f64| rows.iter().map(|row| of(row)).fold(0.0, f64::max);
    let length = highest(|row| row.length);
    // Rates are made again of what they stand for, since intervals may have been cut short.
    let rate = |of: fn(&Row) -> Option<f64>| {
        let amounts: Vec<f64> = rows.iter().filter_map(|row| Some(of(row)? * row.length)).collect();
        (!amounts.is_empty()).then(|| per(amounts.iter().sum(), length))
    };
    let row = Row {
        t: highest(|row| row.t),
        length,
        phase: rows[0].phase,
        connections: 0,
        opened: count(|row| row.opened),
        farewells: count(|row| row.farewells),
        returned: count(|row| row.returned),
        target_rate: rate(|row| row.target_rate),
        achieved_rate: rate(|row| Some(row.achieved_rate)).unwrap_or(0.0),
        received_rate: rate(|row| Some(row.received_rate)).unwrap_or(0.0),
        sent: count(|row| row.sent),
        received: count(|row| row.received),
        errors: count(|row| row.errors),
        shed: count(|row| row.shed),
        max_schedule_lag_us: highest(|row| row.max_schedule_lag_us),
        latency_us: Percentiles::of(&latency),
        latency_uncorrected_us: Percentiles::of(&uncorrected),
        generator_cpus: rate(|row| Some(row.generator_cpus)).unwrap_or(0.0),
        // All that know the server know the same one.
        server_cpus: rows.iter().filter_map(|row| row.server_cpus).reduce(f64::max),
        server_resident_bytes: rows.iter().filter_map(|row| row.server_resident_bytes).max(),
        tcp_buffer_bytes: of_hosts(
            together.iter().map(|(host, interval)| (*host, interval.row.tcp_buffer_bytes)),
        ),
    };
    Ok(Interval {
        row,
        latency: Packed::of(&latency),
        latency_uncorrected: Packed::of(&uncorrected),
    })
}

/// Counts are far below what overflows, but for those of a damaged file.
pub(super) fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// A quotient; of nothing it is nothing.
pub(super) fn per(dividend: f64, divisor: f64) -> f64 {
    if divisor > 0.0 { dividend / divisor } else { 0.0 }
}

/// Figures of hosts, which all processes on one see alike: the highest of each host, added.
pub(super) fn of_hosts<'a>(figures: impl Iterator<Item = (&'a str, u64)>) -> u64 {
    let mut hosts: BTreeMap<&str, u64> = BTreeMap::new();
    for (host, figure) in figures {
        let highest = hosts.entry(host).or_default();
        *highest = figure.max(*highest);
    }
    sum(hosts.into_values())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::examples::{latencies, recorded, run};

    fn total(of: impl Fn(&Interval) -> &Packed, intervals: &[Interval]) -> Histogram<u64> {
        let mut sum = new_histogram();
        for interval in intervals {
            add(&mut sum, &of(interval).histogram().unwrap()).unwrap();
        }
        sum
    }

    #[test]
    fn merging_equals_recording_everything_in_one() {
        let merged = Results::merge(vec![run(1), run(2), run(7)]).unwrap();
        let everything = recorded(
            [1, 2, 7]
                .into_iter()
                .flat_map(|slowness| (2..5).flat_map(move |second| latencies(slowness, second))),
        );
        let summary = &merged.summary;
        assert_eq!(summary.histograms["latency"].histogram().unwrap(), everything);
        assert_eq!(summary.latency_us, Percentiles::of(&everything));
        assert_eq!(summary.histograms["latency"].us, summary.latency_us);
        assert_eq!(total(|interval| &interval.latency, &merged.intervals), everything);
        let uncorrected = summary.histograms["latency_uncorrected"].histogram().unwrap();
        assert_eq!(total(|of| &of.latency_uncorrected, &merged.intervals), uncorrected);
        for interval in &merged.intervals {
            let packed = interval.latency.histogram().unwrap();
            assert_eq!(Percentiles::of(&packed), interval.row.latency_us);
        }
    }

    #[test]
    fn intervals_are_those_of_the_same_time() {
        let mut late = run(1);
        let mut connecting = late.intervals[0].clone();
        connecting.row.t = 2.0;
        for interval in &mut late.intervals[1..] {
            interval.row.t += 1.0;
        }
        late.intervals.insert(1, connecting);
        let merged = Results::merge(vec![run(1), late]).unwrap();
        let rows: Vec<_> = merged.intervals.iter().map(|interval| &interval.row).collect();
        assert_eq!(
            rows.iter().map(|row| row.t).collect::<Vec<_>>(),
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        );
        assert_eq!(
            rows.iter().map(|row| row.sent).collect::<Vec<_>>(),
            [200, 100, 200, 200, 200, 200]
        );
        assert!(rows.iter().all(|row| row.connections == 20));
        assert_eq!((rows[3].target_rate, rows[0].target_rate), (Some(200.0), None));
        assert_eq!(rows[3].tcp_buffer_bytes, 4_096);
        assert_eq!(rows[3].latency_us.count, 200);
    }

    #[test]
    fn short_intervals_count_for_as_long_as_they_were() {
        let mut short = run(1);
        short.intervals[4].row.length = 0.5;
        let merged = Results::merge(vec![run(1), short]).unwrap();
        let row = &merged.intervals[4].row;
        assert_eq!((row.length, row.achieved_rate, row.generator_cpus), (1.0, 150.0, 0.375));
    }

    #[test]
    fn odd_times_lose_nothing() {
        let mut odd = run(1);
        odd.summary.config.interval_seconds = 0.0;
        for interval in &mut odd.intervals {
            interval.row.t = 1e308;
            interval.row.length = -1e308;
        }
        let merged = Results::merge(vec![run(1), odd]).unwrap();
        assert_eq!(total(|interval| &interval.latency, &merged.intervals).len(), 600);
    }

    #[test]
    fn a_process_without_intervals_is_noted() {
        let mut without = run(1);
        without.intervals.clear();
        let merged = Results::merge(vec![run(1), without]).unwrap();
        assert_eq!(merged.intervals.len(), 5);
        let note = merged.summary.notes.last().unwrap();
        assert!(note.contains("leaves out 1 of the processes"), "{note}");
    }

    #[test]
    fn only_what_belongs_together_is_merged() {
        assert!(Results::merge(Vec::new()).is_err());
        let mut other = run(1);
        other.summary.config.scenario = "idle".to_owned();
        assert!(Results::merge(vec![run(1), other]).unwrap_err().contains("idle"));
        let mut damaged = run(1);
        damaged.intervals[2].latency.0.truncate(20);
        assert!(Results::merge(vec![run(1), damaged]).is_err());
        let one = Results::merge(vec![run(3)]).unwrap();
        assert_eq!(one.summary.latency_us, run(3).summary.latency_us);
    }
}
