//! When clients want to be looked at again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// At most one alarm that counts for each client: the one set last.
#[derive(Debug)]
pub(super) struct Alarms {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// When each client's alarm is; 0 when it has none.
    at: Vec<u64>,
}

impl Alarms {
    /// No alarm for any of `count` clients.
    pub(super) fn new(count: u32) -> Self {
        Self { heap: BinaryHeap::new(), at: vec![0; count as usize] }
    }

    /// Sets the alarm of a client instead of the one it has.
    pub(super) fn set(&mut self, index: u32, at: u64) {
        // 0 says that there is none.
        let at = at.max(1);
        self.at[index as usize] = at;
        self.heap.push(Reverse((at, index)));
    }

    /// Takes the alarm back; its place in the heap is found stale when its time comes.
    pub(super) fn clear(&mut self, index: u32) {
        self.at[index as usize] = 0;
    }

    /// Takes an alarm whose time has come: the client, and when it was set for.
    pub(super) fn next(&mut self, now: u64) -> Option<(u32, u64)> {
        while let Some((at, index)) = self.first().filter(|&(at, _)| at <= now) {
            self.heap.pop();
            let set = &mut self.at[index as usize];
            if *set == at {
                *set = 0;
                return Some((index, at));
            }
        }
        None
    }

    /// When the next alarm is.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.first().map(|(at, _)| at)
    }

    fn first(&self) -> Option<(u64, u32)> {
        self.heap.peek().map(|&Reverse(first)| first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_come_in_their_order_and_once() {
        let mut alarms = Alarms::new(3);
        alarms.set(2, 30);
        alarms.set(0, 10);
        alarms.set(1, 20);
        assert_eq!((alarms.next_at(), alarms.next(9)), (Some(10), None));
        alarms.clear(1);
        alarms.set(2, 40);
        assert_eq!(alarms.next(39), Some((0, 10)));
        assert_eq!(alarms.next(39), None);
        assert_eq!(alarms.next(40), Some((2, 40)));
        assert_eq!((alarms.next(u64::MAX), alarms.next_at()), (None, None));
    }
}
