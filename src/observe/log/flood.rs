//! Against floods: each place that writes lines may write so many a second, and no more.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::limits::{
    LOG_BURST_MAX, LOG_LINES_PER_SECOND, LOG_PLACES_MAX, LOG_SUPPRESSED_REPORT_NANOSECONDS,
};

/// Time that one line takes of what its place may have.
const LINE_NANOSECONDS: u64 = 1_000_000_000 / LOG_LINES_PER_SECOND;

/// The places that write, known by their descriptions and found without a lock.
#[derive(Debug)]
pub(super) struct FloodGate<T: 'static> {
    places: Box<[Place<T>]>,
}

/// One of them. When there are too many, the newcomers share the last, which nobody owns.
#[derive(Debug)]
struct Place<T: 'static> {
    /// Of its description; 0 is free.
    address: AtomicUsize,
    description: OnceLock<&'static T>,
    /// When all its lines so far are paid for, in nanoseconds.
    paid: AtomicU64,
    suppressed: AtomicU64,
    /// When the suppressed may be reported next.
    report: AtomicU64,
}

/// What becomes of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is written.
    Pass,
    /// It is written, and behind it that so many more like it were not.
    PassAndReport(u64),
    /// It is not written.
    Suppress,
}

impl<T> FloodGate<T> {
    pub(super) fn new() -> Self {
        Self { places: (0..LOG_PLACES_MAX).map(|_| Place::new()).collect() }
    }

    /// Judges one more line of the place with this description, `now` nanoseconds after the start.
    pub(super) fn judge(&self, description: &'static T, now: u64) -> Verdict {
        let place = self.place(description);
        if !place.pay(now) {
            if place.suppressed.fetch_add(1, Ordering::Relaxed) == 0 {
                let report = now + LOG_SUPPRESSED_REPORT_NANOSECONDS;
                place.report.store(report, Ordering::Relaxed);
            }
            return Verdict::Suppress;
        }
        if place.suppressed.load(Ordering::Relaxed) > 0
            && now >= place.report.load(Ordering::Relaxed)
        {
            match place.suppressed.swap(0, Ordering::Relaxed) {
                0 => {}
                suppressed => return Verdict::PassAndReport(suppressed),
            }
        }
        Verdict::Pass
    }

    /// Gives `report` what was suppressed and not reported yet: where, unless several places share
    /// the count, and how much.
    pub(super) fn take_suppressed(&self, mut report: impl FnMut(Option<&'static T>, u64)) {
        for place in &self.places {
            let suppressed = place.suppressed.swap(0, Ordering::Relaxed);
            if suppressed > 0 {
                report(place.description.get().copied(), suppressed);
            }
        }
    }

    fn place(&self, description: &'static T) -> &Place<T> {
        let address = std::ptr::from_ref(description).addr();
        let (last, own) = self.places.split_last().expect("there are places");
        // Consecutive addresses are spread evenly (Knuth, 6.4).
        let first = (address >> 3).wrapping_mul(0x9E37_79B1) % own.len();
        for place in own[first..].iter().chain(&own[..first]) {
            if place.is_of(address) {
                place.description.get_or_init(|| description);
                return place;
            }
        }
        last
    }
}

impl<T> Place<T> {
    fn new() -> Self {
        Self {
            address: AtomicUsize::new(0),
            description: OnceLock::new(),
            paid: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
            report: AtomicU64::new(0),
        }
    }

    /// Whether it has this address, or had none and takes it.
    fn is_of(&self, address: usize) -> bool {
        let order = Ordering::Relaxed;
        match self.address.load(order) {
            0 => match self.address.compare_exchange(0, address, order, order) {
                Ok(_) => true,
                Err(other) => other == address,
            },
            other => other == address,
        }
    }

    /// Takes the time of one line; says whether it was there.
    fn pay(&self, now: u64) -> bool {
        let mut paid = self.paid.load(Ordering::Relaxed);
        loop {
            let then = paid.max(now) + LINE_NANOSECONDS;
            if then - now > LOG_BURST_MAX * LINE_NANOSECONDS {
                return false;
            }
            let order = Ordering::Relaxed;
            match self.paid.compare_exchange_weak(paid, then, order, order) {
                Ok(_) => return true,
                Err(other) => paid = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    static PLACES: [u64; LOG_PLACES_MAX + 2] = [0; LOG_PLACES_MAX + 2];

    fn passed(gate: &FloodGate<u64>, place: usize, now: u64, lines: u64) -> u64 {
        let verdicts = (0..lines).map(|_| gate.judge(&PLACES[place], now));
        verdicts.filter(|verdict| *verdict != Verdict::Suppress).count() as u64
    }

    #[test]
    fn a_place_has_a_burst_and_then_its_rate() {
        let gate = FloodGate::new();
        assert_eq!(passed(&gate, 8, 0, 10_000), LOG_BURST_MAX);
        assert_eq!(passed(&gate, 16, 0, 10_000), LOG_BURST_MAX, "others have their own");
        assert_eq!(passed(&gate, 8, SECOND, 10_000), LOG_LINES_PER_SECOND);
        assert_eq!(passed(&gate, 8, 1000 * SECOND, 10_000), LOG_BURST_MAX);
    }

    #[test]
    fn what_was_suppressed_is_reported_once_it_passes_again_and_time_has_passed() {
        let gate = FloodGate::new();
        passed(&gate, 8, 0, LOG_BURST_MAX + 7);
        assert_eq!(gate.judge(&PLACES[8], SECOND), Verdict::Pass);
        let report = LOG_SUPPRESSED_REPORT_NANOSECONDS;
        assert_eq!(gate.judge(&PLACES[8], report), Verdict::PassAndReport(7));
        assert_eq!(gate.judge(&PLACES[8], report), Verdict::Pass);
        passed(&gate, 8, report, LOG_BURST_MAX);
        let mut rest = Vec::new();
        gate.take_suppressed(|place, suppressed| rest.push((place, suppressed)));
        assert!(matches!(rest[..], [(Some(_), 1..)]), "{rest:?}");
        gate.take_suppressed(|_, _| panic!("it was taken"));
    }

    #[test]
    fn more_places_than_there_are_share_the_last() {
        let gate = FloodGate::new();
        for place in &PLACES[1..LOG_PLACES_MAX] {
            assert_eq!(gate.judge(place, 0), Verdict::Pass);
        }
        assert_eq!(passed(&gate, LOG_PLACES_MAX, 0, LOG_BURST_MAX), LOG_BURST_MAX);
        assert_eq!(gate.judge(&PLACES[LOG_PLACES_MAX + 1], 0), Verdict::Suppress);
        gate.take_suppressed(|place, suppressed| assert_eq!((place, suppressed), (None, 1)));
    }

    #[test]
    fn threads_together_get_no_more() {
        let gate = FloodGate::new();
        let all: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| passed(&gate, 8, 0, 1000))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(all, LOG_BURST_MAX);
    }
}
