//! Times in a histogram that one thread fills while others read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of one octave: a bucket's borders are at most a 32nd apart.
const PER_OCTAVE: usize = 32;

/// The first bucket takes all times up to 2^10 ns, about a microsecond.
const SHORTEST_EXPONENT: u32 = 10;

/// The last bucket ends at 2^36 ns, 69 s, and takes what is longer, too.
const LONGEST_EXPONENT: u32 = 36;

const BUCKETS: usize = 1 + (LONGEST_EXPONENT - SHORTEST_EXPONENT) as usize * PER_OCTAVE;

/// Exponents of the bounds, 2^n ns, at which [`Histogram::cumulated`] tells: 4 µs to 17 s.
pub(super) const BOUNDS: std::ops::RangeInclusive<u32> = 12..=34;

/// A histogram of times with the layout of an HDR histogram: 32 buckets for each doubling. It has
/// one writer, as a [`Counter`](super::Counter) has; it takes 7 KB.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    /// Nanoseconds of all times together.
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Adds a time. Call it from the one thread that owns the histogram.
    #[inline]
    pub fn record(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        add(&self.buckets[bucket_of(nanoseconds)], 1);
        add(&self.sum, nanoseconds);
    }

    /// A copy for percentiles, in nanoseconds. Copies of several histograms can be added; an
    /// earlier copy can be subtracted from a later one of the same histogram. A time counts as the
    /// upper border of its bucket: percentiles are at most a 32nd too large, never too small.
    #[must_use]
    pub fn snapshot(&self) -> hdrhistogram::Histogram<u64> {
        let mut snapshot = empty();
        for (number, bucket) in self.buckets.iter().enumerate() {
            let count = bucket.load(Ordering::Relaxed);
            if count > 0 {
                // What ends below a border is in a cell of its own there.
                snapshot.record_n(upper_border(number) - 1, count).expect("the cells reach so far");
            }
        }
        snapshot
    }

    /// All times together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum.load(Ordering::Relaxed))
    }

    /// For each of the [`BOUNDS`] the times that were at most that long; last, all.
    pub(super) fn cumulated(&self) -> Vec<u64> {
        let mut total = 0;
        let mut counts = Vec::with_capacity(BOUNDS.count() + 1);
        for (number, bucket) in self.buckets.iter().enumerate() {
            total += bucket.load(Ordering::Relaxed);
            let border = upper_border(number);
            if border.is_power_of_two() && BOUNDS.contains(&border.ilog2()) {
                counts.push(total);
            }
        }
        counts.push(total);
        counts
    }
}

/// A copy of a histogram without any time: what copies can be added to.
#[must_use]
pub fn empty() -> hdrhistogram::Histogram<u64> {
    // Cells of 32 ns, and 128 for each doubling where these are longer: finer than the buckets.
    hdrhistogram::Histogram::new_with_bounds(1 << 5, 1 << LONGEST_EXPONENT, 2)
        .expect("the bounds are in order")
}

/// One writer: no locked instruction.
#[inline]
fn add(number: &AtomicU64, count: u64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

/// Buckets hold what is above their lower border, up to and including their upper one: so do those
/// of Prometheus.
#[inline]
fn bucket_of(nanoseconds: u64) -> usize {
    let below = nanoseconds.saturating_sub(1).min((1 << LONGEST_EXPONENT) - 1);
    let exponent = below.max(1).ilog2();
    if exponent < SHORTEST_EXPONENT {
        return 0;
    }
    let octave = (exponent - SHORTEST_EXPONENT) as usize;
    // The five bits behind the first.
    let within = (below >> (exponent - PER_OCTAVE.ilog2())) as usize - PER_OCTAVE;
    1 + octave * PER_OCTAVE + within
}

/// The longest time of a bucket, in nanoseconds.
fn upper_border(bucket: usize) -> u64 {
    let Some(above) = bucket.checked_sub(1) else { return 1 << SHORTEST_EXPONENT };
    let (octave, within) = (above / PER_OCTAVE, above % PER_OCTAVE);
    ((PER_OCTAVE + within + 1) as u64)
        << (octave + (SHORTEST_EXPONENT - PER_OCTAVE.ilog2()) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_within_the_borders_of_its_bucket() {
        let mut times = vec![0, 1, 1023, 1024, 1025, 1 << 20, (1 << 20) + 1, 60_000_000_000];
        times.extend((0..630).map(|step| (1_024.0 * 1.0287_f64.powi(step)) as u64));
        for time in times {
            let bucket = bucket_of(time);
            assert!(time <= upper_border(bucket), "{time} in {bucket}");
            if bucket > 0 {
                let lower = upper_border(bucket - 1);
                assert!(time > lower, "{time} in {bucket}");
                assert!((upper_border(bucket) - lower) * 32 <= lower, "{bucket} is too wide");
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(upper_border(BUCKETS - 1), 1 << LONGEST_EXPONENT);
    }

    #[test]
    fn a_bound_counts_what_is_at_most_as_long() {
        let histogram = Histogram::default();
        for nanoseconds in [1, 1 << 12, (1 << 12) + 1, 1 << 34, (1 << 34) + 1, u64::MAX / 4] {
            histogram.record(Duration::from_nanos(nanoseconds));
        }
        let counts = histogram.cumulated();
        assert_eq!(counts.len(), BOUNDS.count() + 1);
        assert_eq!((counts[0], counts[1], counts[22], counts[23]), (2, 3, 4, 6));
    }

    #[test]
    fn percentiles_of_a_span_of_all_shards_are_those_of_its_times() {
        let shards = [Histogram::default(), Histogram::default()];
        shards[0].record(Duration::from_secs(9));
        let earlier = shards[0].snapshot();
        for millisecond in 1..=1000 {
            shards[millisecond % 2].record(Duration::from_millis(millisecond as u64));
        }
        let mut all = empty();
        all.add(shards[0].snapshot()).expect("they have one layout");
        all.add(shards[1].snapshot()).expect("they have one layout");
        all.subtract(earlier).expect("the earlier is a part of the later");
        assert_eq!(all.len(), 1000);
        for (quantile, exact) in [(0.5, 500e6), (0.9, 900e6), (0.99, 990e6), (1.0, 1000e6)] {
            let found = all.value_at_quantile(quantile) as f64;
            assert!(found >= exact && found <= exact * 33.0 / 32.0, "{quantile}: {found}");
        }
        assert_eq!(shards[0].sum() + shards[1].sum(), Duration::from_millis(509_500));
    }
}
