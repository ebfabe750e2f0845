//! The schedule of an open loop: when each message is to be sent, whatever the server does.

use crate::payload::mix;

/// The intended times of one thread's messages, in nanoseconds of the run's clock. They never
/// depend on when the ones before were sent.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    origin: f64,
    /// Nanoseconds from one message to the next, on average.
    period: f64,
    /// Messages given out.
    count: u64,
    /// The next one's time.
    next: u64,
    /// Draws the gaps of a Poisson process; the time after `origin` of the next message.
    random: Option<(Random, f64)>,
}

impl Schedule {
    /// `rate` messages a second from `origin` on. `seed` makes it a Poisson process.
    pub(crate) fn new(origin: u64, rate: f64, seed: Option<u64>) -> Self {
        assert!(rate > 0.0, "a schedule has messages");
        let period = 1e9 / rate;
        let mut schedule =
            Self { origin: origin as f64, period, count: 0, next: origin, random: None };
        if let Some(seed) = seed {
            let mut random = Random(seed);
            let first = random.gap(period);
            schedule.random = Some((random, first));
            schedule.next = (schedule.origin + first) as u64;
        }
        schedule
    }

    /// When the next message is to be sent.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Takes the next message off the schedule if its time has come.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<u64> {
        let intended = self.next;
        if intended > now {
            return None;
        }
        self.count += 1;
        let offset = match &mut self.random {
            // From the count and not from the last time: rounding never adds up.
            None => self.count as f64 * self.period,
            Some((random, offset)) => {
                *offset += random.gap(self.period);
                *offset
            }
        };
        self.next = (self.origin + offset) as u64;
        Some(intended)
    }
}

/// A stream of random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number from 0 to just below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (mix(self.0) >> 11) as f64 * (0.5f64).powi(53)
    }

    /// A gap of a Poisson process: exponentially distributed around its mean.
    fn gap(&mut self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_however_late_they_are_asked_for() {
        let mut schedule = Schedule::new(1_000, 3e6, None);
        assert_eq!(schedule.take_due(999), None);
        let times: Vec<u64> = std::iter::from_fn(|| schedule.take_due(3_000)).collect();
        assert_eq!(times, [1_000, 1_333, 1_666, 2_000, 2_333, 2_666, 3_000]);
        let mut long = Schedule::new(0, 3.0, None);
        let last = std::iter::from_fn(|| long.take_due(1_000_000_000_000)).last();
        assert_eq!((last, long.count), (Some(1_000_000_000_000), 3_001));
    }

    #[test]
    fn random_gaps_have_the_rate_and_the_spread_of_a_poisson_process() {
        let mut schedule = Schedule::new(0, 1e6, Some(7));
        let times: Vec<u64> = std::iter::from_fn(|| schedule.take_due(100_000_000)).collect();
        assert!((98_500..101_500).contains(&times.len()), "{}", times.len());
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((0.97..1.03).contains(&(variance.sqrt() / mean)), "{mean} {variance}");
    }
}
