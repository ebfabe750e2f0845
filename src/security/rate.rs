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
/// most `window / RATE_PARTS` and one tick late. 24 bytes; it has memory on the heap (12 bytes for
/// each part) only while it counts something.
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
    /// Time does not run backwards.
    pub fn admit(&mut self, limit: &RateLimit, now: Tick, cost: u32) -> bool {
        if !self.has_room(limit, now, cost) {
            return false;
        }
        let span = limit.window.div_ceil(RATE_PARTS);
        match self.parts.last_mut() {
            Some(part) if now.wrapping_sub(part.first) < span => {
                part.last = now;
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

    /// Forgets what no longer counts, and gives its memory back when nothing does.
    pub fn forget(&mut self, limit: &RateLimit, now: Tick) {
        // The tick of an admission has begun up to a tick before it, so a window has passed for
        // sure only when the distance exceeds it.
        let is_past = |part: &Part| now.wrapping_sub(part.last) > limit.window;
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
