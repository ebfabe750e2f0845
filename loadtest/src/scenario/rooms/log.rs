//! A room as one thread sees it: a log for each epoch that its members are in.

use super::member::Epoch;
use super::order::{Order, Verdict};

/// Logs of a room without members that are kept, to know what comes again.
const SPARE_LOGS_MAX: usize = 4;

/// A room.
#[derive(Debug)]
pub(super) struct Room {
    /// Members of this thread that have joined, and were not lost for good.
    pub(super) present: u64,
    /// Members of all threads.
    members: u32,
    log_max: usize,
    logs: Vec<Log>,
    next: u32,
}

#[derive(Debug)]
struct Log {
    id: u32,
    epoch: Epoch,
    /// Members of this thread that read it.
    readers: u32,
    order: Order,
}

impl Room {
    /// Of `members`, who may be up to `log_max` messages apart.
    pub(super) const fn new(members: u32, log_max: usize) -> Self {
        Self { present: 0, members, log_max, logs: Vec::new(), next: 0 }
    }

    /// A member begins to read the log of this epoch, which has the offset `next` next. Gives back
    /// the number of the log.
    pub(super) fn enter(&mut self, epoch: &Epoch, next: u64) -> u32 {
        if let Some(log) = self.logs.iter_mut().find(|log| log.epoch == *epoch) {
            log.readers += 1;
            return log.id;
        }
        let is_spare = |log: &Log| log.readers == 0;
        if self.logs.iter().filter(|log| is_spare(log)).count() >= SPARE_LOGS_MAX
            && let Some(oldest) = self.logs.iter().position(is_spare)
        {
            self.logs.remove(oldest);
        }
        let id = self.next;
        self.next = id.wrapping_add(1);
        let order = Order::new(self.members, self.log_max, next);
        self.logs.push(Log { id, epoch: epoch.clone(), readers: 1, order });
        id
    }

    /// A member reads this log no more.
    pub(super) fn leave(&mut self, log: u32) {
        if let Some(log) = self.logs.iter_mut().find(|known| known.id == log) {
            log.readers -= 1;
        }
    }

    /// A reader of a log has received a message. With `one_order`, the room has it once in all
    /// logs.
    #[inline]
    pub(super) fn see(
        &mut self,
        log: u32,
        offset: u64,
        (place, name): (u32, u64),
        one_order: bool,
    ) -> Verdict {
        let Some(at) = self.logs.iter().position(|known| known.id == log) else {
            return Verdict::Unknown;
        };
        let verdict = self.logs[at].order.see(offset, place, name);
        if verdict == Verdict::First && one_order && self.logs.len() > 1 {
            let others = self.logs.iter().filter(|other| other.id != log);
            if others.map(|other| &other.order).any(|order| order.has(place, name)) {
                return Verdict::Disagreed;
            }
        }
        verdict
    }

    /// How many members have what a log has at this offset.
    #[inline]
    pub(super) fn members_at(&self, log: u32, offset: u64) -> u32 {
        let known = self.logs.iter().find(|known| known.id == log);
        known.map_or(0, |log| log.order.members_at(offset))
    }

    /// Whether a log has a message before the offset `end`.
    pub(super) fn has_before(&self, (log, end): (u32, u64), name: u64) -> bool {
        let known = self.logs.iter().find(|known| known.id == log);
        known.is_some_and(|log| log.order.has_before(end, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(node: u32, name: &str) -> Epoch {
        Epoch { node, name: name.into() }
    }

    #[test]
    fn a_message_has_one_place_in_all_epochs_of_one_order() {
        let mut room = Room::new(2, 8);
        let first = room.enter(&epoch(0, "1"), 1);
        assert_eq!(room.enter(&epoch(0, "1"), 5), first);
        let second = room.enter(&epoch(0, "2"), 1);
        assert_eq!(room.see(first, 1, (0, 7), true), Verdict::First);
        assert_eq!(room.see(second, 1, (0, 7), true), Verdict::Disagreed);
        assert_eq!(room.see(second, 2, (0, 8), true), Verdict::First);
        assert_eq!((room.members_at(first, 1), room.members_at(second, 9)), (1, 0));
        assert_eq!([1, 2].map(|end| room.has_before((first, end), 7)), [false, true]);
    }

    #[test]
    fn servers_count_on_their_own_where_orders_are_those_of_publishers() {
        let mut room = Room::new(2, 8);
        let [first, second] = [0, 1].map(|node| room.enter(&epoch(node, "1"), 1));
        assert_ne!(first, second);
        assert_eq!(room.see(first, 1, (0, 7), false), Verdict::First);
        assert_eq!(room.see(second, 3, (0, 7), false), Verdict::First);
        assert_eq!(room.see(second, 4, (0, 6), false), Verdict::Disagreed);
    }

    #[test]
    fn logs_are_kept_as_long_as_somebody_reads_them_and_a_while_more() {
        let mut room = Room::new(2, 8);
        let kept = room.enter(&epoch(0, "kept"), 1);
        let gone = room.enter(&epoch(0, "gone"), 1);
        room.leave(gone);
        for number in 0..SPARE_LOGS_MAX {
            let log = room.enter(&epoch(0, &number.to_string()), 1);
            room.leave(log);
        }
        room.enter(&epoch(0, "last"), 1);
        assert_eq!(room.see(gone, 1, (0, 0), true), Verdict::Unknown);
        assert_eq!(room.see(kept, 1, (0, 0), true), Verdict::First);
        assert_eq!(room.logs.len(), SPARE_LOGS_MAX + 1);
    }
}
