//! How long a client stays away before it connects again.

use crate::args::{Backoff, BackoffArguments};

/// Nanoseconds after a failure before another attempt without back-off: a refusal is a round trip
/// away, and a local failure nothing at all.
const RETRY_NANOSECONDS: u64 = 1_000_000;

/// The pauses of a back-off, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    pub(super) backoff: Backoff,
    base: u64,
    max: u64,
}

impl Pauses {
    /// Those that the user asks for.
    pub(crate) fn new(arguments: &BackoffArguments) -> Self {
        let &BackoffArguments { backoff, backoff_base, backoff_max } = arguments;
        Self { backoff, base: backoff_base.as_nanos() as u64, max: backoff_max.as_nanos() as u64 }
    }

    /// How long a client stays away that has failed to come back that many times. `random` is any
    /// number.
    pub(super) fn pause(&self, failures: u32, random: u64) -> u64 {
        let up_to = |most: u64| ((u128::from(random) * (u128::from(most) + 1)) >> 64) as u64;
        match self.backoff {
            Backoff::None if failures == 0 => 0,
            Backoff::None => RETRY_NANOSECONDS,
            Backoff::Jitter => up_to(self.base.saturating_mul(10)),
            Backoff::Exponential => {
                let factor = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
                up_to(self.base.saturating_mul(factor).min(self.max))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pauses(backoff: Backoff) -> Pauses {
        let (backoff_base, backoff_max) = (Duration::from_nanos(100), Duration::from_micros(5));
        Pauses::new(&BackoffArguments { backoff, backoff_base, backoff_max })
    }

    #[test]
    fn pauses_are_uniform_up_to_their_bound() {
        let exponential = pauses(Backoff::Exponential);
        for (failures, most) in
            [(0, 100), (1, 200), (5, 3_200), (6, 5_000), (63, 5_000), (200, 5_000)]
        {
            assert_eq!(exponential.pause(failures, 0), 0);
            assert_eq!(exponential.pause(failures, u64::MAX), most);
            assert_eq!(exponential.pause(failures, u64::MAX / 2), most / 2);
        }
        let jitter = pauses(Backoff::Jitter);
        assert_eq!((jitter.pause(0, u64::MAX), jitter.pause(9, u64::MAX)), (1_000, 1_000));
        let none = pauses(Backoff::None);
        assert_eq!((none.pause(0, u64::MAX), none.pause(9, 0)), (0, RETRY_NANOSECONDS));
    }
}
