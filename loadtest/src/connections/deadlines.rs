//! Who must have got on by when: a queue, because all in it have the same time.

use std::collections::VecDeque;

/// Entries of clients that have got on are forgotten when there are more than this and twice the
/// clients: a life that is over leaves its entry behind.
const ENTRIES_MIN: usize = 1024;

/// Clients and the times since when something is awaited of them. An entry is for one life: it
/// holds only as long as the client still waits since the same time.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// Nanoseconds that each has.
    time: u64,
    queue: VecDeque<(u32, u64)>,
}

impl Deadlines {
    /// Nobody, with `time` nanoseconds for each.
    pub(super) const fn new(time: u64) -> Self {
        Self { time, queue: VecDeque::new() }
    }

    /// Something is awaited of a client since now, which is not before the time of the last.
    /// `is_waiting` tells whether entries still hold; there are `clients` in all.
    pub(super) fn add(
        &mut self,
        (index, since): (u32, u64),
        clients: usize,
        is_waiting: impl Fn(u32, u64) -> bool,
    ) {
        if self.queue.len() >= ENTRIES_MIN.max(2 * clients) {
            self.queue.retain(|&(index, since)| is_waiting(index, since));
        }
        self.queue.push_back((index, since));
    }

    /// Takes out a client whose time is up and who is still waiting.
    pub(super) fn next(&mut self, now: u64, is_waiting: impl Fn(u32, u64) -> bool) -> Option<u32> {
        while let Some(&(index, since)) = self.queue.front() {
            let is_waiting = is_waiting(index, since);
            if is_waiting && since.saturating_add(self.time) > now {
                return None;
            }
            self.queue.pop_front();
            if is_waiting {
                return Some(index);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_for_one_life() {
        let mut deadlines = Deadlines::new(100);
        let mut since = [10, 20];
        deadlines.add((0, 10), 2, |_, _| true);
        deadlines.add((1, 20), 2, |_, _| true);
        // The first client has come back meanwhile.
        since[0] = 90;
        deadlines.add((0, 90), 2, |_, _| true);
        let is_waiting = |index: u32, entry: u64| since[index as usize] == entry;
        assert_eq!(deadlines.next(119, is_waiting), None);
        assert_eq!(deadlines.next(120, is_waiting), Some(1));
        assert_eq!(deadlines.next(189, is_waiting), None);
        assert_eq!(deadlines.next(190, is_waiting), Some(0));
        assert_eq!(deadlines.next(u64::MAX, is_waiting), None);
    }

    #[test]
    fn lives_that_are_over_do_not_pile_up() {
        let mut deadlines = Deadlines::new(u64::MAX);
        for since in 0..100_000 {
            let is_waiting = |_, entry| entry == 0 || entry == since;
            deadlines.add((0, since), 1, is_waiting);
            assert!(deadlines.queue.len() <= ENTRIES_MIN);
        }
        assert_eq!(deadlines.queue.front(), Some(&(0, 0)));
    }
}
