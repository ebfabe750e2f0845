//! A rate limit that holds in every span of its window, wherever the span begins.

use crate::collections::Tick;
use crate::limits::RATE_PARTS;

/// At most `count` in any span of `window`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// What may be admitted: messages, bytes, handshakes.
    pub count: u32,
    /// Ticks of the span, at least one.
    pub window: Tick,
}

/// What was admitted within the last window, in at most [`RATE_PARTS`] + 2 parts.
///
/// Each part is forgotten as a whole, a window behind its last admission: never too early, and at
/// most `window / RATE_PARTS` and one tick late. 24 bytes, and 12 on the heap for each part, which
/// come back when a call finds that nothing counts any more: see [`forget`](RateWindow::forget).
#[derive(Clone, Default, Debug)]
pub struct RateWindow {
    parts: Vec<Part>,
}

const _: () = assert!(size_of::<RateWindow>() == 24 && size_of::<Part>() == 12);

#[derive(Clone, Copy, Debug)]
struct Part {
    first: Tick,
    last: Tick,
    admitted: u32,
}

impl RateWindow {
    /// A window in which nothing was admitted.
    #[must_use]
    pub const fn new() -> Self {
        Self { parts: Vec::new() }
    }

    /// Admits `cost` at `now` if the limit still holds with it; what is refused does not count.
    ///
    /// A `now` before an earlier one, as from threads that read the clock and then wait for a lock,
    /// counts as that earlier one.
    pub fn admit(&mut self, limit: &RateLimit, now: Tick, cost: u32) -> bool {
        if !self.has_room(limit, now, cost) {
            return false;
        }
        let span = limit.window.div_ceil(RATE_PARTS);
        match self.parts.last_mut() {
            Some(part) if age(part.first, now) < span => {
                part.last = part.last.wrapping_add(age(part.last, now));
                part.admitted += cost;
            }
            _ => self.parts.push(Part { first: now, last: now, admitted: cost }),
        }
        true
    }

    /// Whether `cost` would be admitted at `now`.
    pub fn has_room(&mut self, limit: &RateLimit, now: Tick, cost: u32) -> bool {
        self.forget(limit, now);
        let admitted: u32 = self.parts.iter().map(|part| part.admitted).sum();
        limit.count.saturating_sub(admitted) >= cost
    }

    /// Takes back a `cost` that was admitted at `then`, unless it is forgotten already.
    pub fn refund(&mut self, then: Tick, cost: u32) {
        let holds = |part: &&mut Part| age(then, part.first) == 0 && age(part.last, then) == 0;
        if let Some(part) = self.parts.iter_mut().find(holds) {
            part.admitted = part.admitted.saturating_sub(cost);
        }
    }

    /// Forgets what no longer counts, and gives its memory back when nothing does.
    pub fn forget(&mut self, limit: &RateLimit, now: Tick) {
        // The tick of an admission has begun up to a tick before it, so a window has passed for
        // sure only when the distance exceeds it.
        let is_past = |part: &Part| age(part.last, now) > limit.window;
        let past = self.parts.iter().take_while(|part| is_past(part)).count();
        if past == self.parts.len() {
            self.parts = Vec::new();
        } else {
            self.parts.drain(..past);
        }
    }

    /// Whether nothing is counted, as of the last call.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

/// Ticks from `then` to `now`; none where `then` lies ahead.
fn age(then: Tick, now: Tick) -> Tick {
    now.wrapping_sub(then).cast_signed().max(0).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::random::Random;

    #[test]
    fn the_hundred_and_first_is_refused_until_the_first_is_a_window_old() {
        let limit = RateLimit { count: 100, window: 600 };
        let mut window = RateWindow::new();
        let start = u32::MAX - 30;
        for number in 0..100_u32 {
            assert!(window.admit(&limit, start.wrapping_add(number), 1), "{number}");
        }
        for age in 100..=600 {
            assert!(!window.admit(&limit, start.wrapping_add(age), 1), "{age}");
        }
        // The first part spans ten ticks (600 / 64, rounded up), with ten admissions.
        assert!(window.admit(&limit, start.wrapping_add(610), 10));
        assert!(!window.admit(&limit, start.wrapping_add(610), 1));
    }

    #[test]
    fn costs_add_up() {
        let limit = RateLimit { count: u32::MAX, window: 10 };
        let mut window = RateWindow::new();
        assert!(window.admit(&limit, 0, u32::MAX - 1));
        assert!(!window.admit(&limit, 5, 2));
        assert!(window.admit(&limit, 5, 1) && window.admit(&limit, 5, 0));
        assert!(!window.admit(&limit, 10, 1) && window.admit(&limit, 11, u32::MAX - 1));
        assert!(!window.admit(&RateLimit { count: 3, window: 10 }, 100, 4));
    }

    #[test]
    fn a_clock_that_is_read_late_wipes_nothing() {
        let limit = RateLimit { count: 3, window: 10 };
        for start in [1000_u32, 2, 0] {
            let mut window = RateWindow::new();
            for distance in [3, 0, 2] {
                assert!(window.admit(&limit, start + distance, 1));
            }
            assert!(!window.admit(&limit, start.wrapping_sub(5), 1));
            assert!(!window.has_room(&limit, start + 13, 1), "{start}");
            assert!(window.has_room(&limit, start + 14, 3), "{start}");
        }
    }

    #[test]
    fn a_refund_gives_back_only_what_still_counts() {
        let limit = RateLimit { count: 2, window: 100 };
        let mut window = RateWindow::new();
        assert!(window.admit(&limit, 10, 1) && window.admit(&limit, 60, 1));
        window.refund(9, 1);
        window.refund(30, 1);
        window.refund(61, 1);
        assert!(!window.admit(&limit, 70, 1), "nothing was admitted then");
        window.refund(60, 1);
        assert!(window.admit(&limit, 70, 1) && !window.admit(&limit, 70, 1));
        assert!(window.admit(&limit, 111, 1), "the first is forgotten");
        window.refund(10, 1);
        assert!(!window.has_room(&limit, 111, 1), "and cannot be given back any more");
    }

    #[test]
    fn it_agrees_with_an_exact_log() {
        for seed in 0..300 {
            agrees_with_an_exact_log(&mut Random::new(seed));
        }
    }

    fn agrees_with_an_exact_log(random: &mut Random) {
        let limit = RateLimit { count: 1 + random.below(200), window: 1 + random.below(1200) };
        let late = limit.window.div_ceil(RATE_PARTS) - 1;
        let pace = 1 + random.below(1 + limit.window / 8);
        let mut window = RateWindow::new();
        let mut now = 0_u32.wrapping_sub(random.below(5000));
        let mut log: Vec<(Tick, u32)> = Vec::new();
        for _ in 0..2000 {
            now = now.wrapping_add(random.below(pace));
            let cost_max = limit.count.min(1 + random.below(20));
            let cost = random.below(1 + cost_max);
            let within = |span: Tick| -> u32 {
                let counted = log.iter().filter(|(at, _)| now.wrapping_sub(*at) <= span);
                counted.map(|(_, cost)| cost).sum()
            };
            let admitted = window.admit(&limit, now, cost);
            if admitted {
                assert!(within(limit.window) + cost <= limit.count, "too many at {now}");
            } else {
                let most = within(limit.window + late) + cost;
                assert!(most > limit.count, "refused at {now}, though {limit:?} has room");
            }
            if admitted {
                log.push((now, cost));
            }
            assert!(window.parts.len() <= RATE_PARTS as usize + 2, "{}", window.parts.len());
        }
        window.forget(&limit, now.wrapping_add(limit.window + 1));
        assert!(window.is_empty() && window.parts.capacity() == 0);
    }
}
