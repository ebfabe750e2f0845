//! The order of messages in a room, as the members of one thread see it.

use std::collections::VecDeque;

use crate::scenario::window::{Arrival, Window};

/// A place of the log whose message nobody here has received.
const UNSEEN: Seen = Seen { name: u64::MAX, members: 0 };

/// A message as the members of this thread have it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    name: u64,
    /// How many have it.
    members: u32,
}

/// Marks a message that the room had before. No sender's number reaches this bit of a name.
const AGAIN: u64 = 1 << 63;

/// What is behind a message that a member has received for the first time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nobody had it before.
    First,
    /// All members that have it have the same.
    Agreed,
    /// Another member has another at this offset, or a sender's messages were not numbered in the
    /// order they were sent in.
    Disagreed,
    /// The room has it at another offset as well.
    Again,
    /// The others have gone too far to tell.
    Unknown,
}

/// The messages of a room by their offsets, as far as members are apart, and the senders.
#[derive(Debug)]
pub(crate) struct Order {
    /// The offset of the first message in the log.
    start: u64,
    log: VecDeque<Seen>,
    log_max: usize,
    /// Which messages of each sender the room has.
    senders: Box<[Window]>,
}

impl Order {
    /// Of a room with `members`, who may be up to `log_max` messages apart. The offset `start` is
    /// the first that counts.
    pub(crate) fn new(members: u32, log_max: usize, start: u64) -> Self {
        Self {
            start,
            log: VecDeque::new(),
            log_max,
            senders: vec![Window::awaiting(0); members as usize].into_boxed_slice(),
        }
    }

    /// Whether the message of this name is one of the last of its sender that somebody has, whose
    /// place in the room this is.
    pub(crate) fn has(&self, place: u32, name: u64) -> bool {
        self.senders[place as usize].has_low_bits(name as u32)
    }

    /// Whether the message of this name is in the log before the offset `end`.
    pub(crate) fn has_before(&self, end: u64, name: u64) -> bool {
        let count = usize::try_from(end.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.log.iter().take(count).any(|seen| seen.name & !AGAIN == name)
    }

    /// A member has received the message of this name, whose sender has this place in the room,
    /// at this offset.
    #[inline]
    pub(crate) fn see(&mut self, offset: u64, place: u32, name: u64) -> Verdict {
        let Some(at) = offset.checked_sub(self.start) else { return Verdict::Unknown };
        let at = if at >= self.log_max as u64 { self.forget(at) } else { at as usize };
        let is_latest = at >= self.log.len();
        if is_latest {
            self.log.resize(at + 1, UNSEEN);
        }
        let seen = &mut self.log[at];
        seen.members += 1;
        let known = &mut seen.name;
        if *known != UNSEEN.name {
            return match (*known & !AGAIN == name, *known & AGAIN != 0) {
                (true, false) => Verdict::Agreed,
                (true, true) => Verdict::Again,
                (false, _) => Verdict::Disagreed,
            };
        }
        *known = name;
        match self.senders[place as usize].take_low_bits(name as u32) {
            Arrival::Late if is_latest => Verdict::Disagreed,
            Arrival::Ahead | Arrival::Late => Verdict::First,
            Arrival::Again => {
                *known |= AGAIN;
                Verdict::Again
            }
        }
    }

    /// How many members here have the message at this offset.
    #[inline]
    pub(crate) fn members_at(&self, offset: u64) -> u32 {
        let at = offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.log.get(at)).map_or(0, |seen| seen.members)
    }

    /// Makes the place `at` the last that the log may have. Gives back where it is then.
    fn forget(&mut self, at: u64) -> usize {
        let last = self.log_max - 1;
        let too_many = at - last as u64;
        self.start += too_many;
        let forgotten = self.log.len().min(usize::try_from(too_many).unwrap_or(usize::MAX));
        self.log.drain(..forgotten);
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sender: u32, number: u32) -> u64 {
        u64::from(sender) << 32 | u64::from(number)
    }

    fn order() -> Order {
        Order::new(2, 4, 10)
    }

    #[test]
    fn members_agree_however_far_one_is_ahead() {
        let mut order = order();
        for offset in 10..14 {
            let name = name(0, offset as u32 - 10);
            assert_eq!(order.see(offset, 0, name), Verdict::First);
        }
        for offset in 10..14 {
            let name = name(0, offset as u32 - 10);
            assert_eq!(order.see(offset, 0, name), Verdict::Agreed);
        }
        assert_eq!(order.see(13, 1, name(1, 0)), Verdict::Disagreed);
        assert_eq!([13, 12, 9, u64::MAX].map(|offset| order.members_at(offset)), [3, 2, 0, 0]);
        assert_eq!(order.see(14, 1, name(1, 0)), Verdict::First);
        assert_eq!(order.see(10, 0, name(0, 0)), Verdict::Unknown);
        assert_eq!(order.see(9, 0, name(0, 0)), Verdict::Unknown);
    }

    #[test]
    fn a_message_with_two_offsets_comes_again_for_every_member() {
        let mut order = order();
        for offset in [10, 11] {
            assert_eq!(order.see(offset, 0, name(0, offset as u32 - 10)), Verdict::First);
        }
        for _ in 0..3 {
            assert_eq!(order.see(12, 0, name(0, 0)), Verdict::Again);
        }
    }

    #[test]
    fn a_hole_that_is_filled_is_no_fault_and_a_late_number_is() {
        let mut order = order();
        assert_eq!(order.see(11, 0, name(0, 1)), Verdict::First);
        assert_eq!(order.see(10, 0, name(0, 0)), Verdict::First);
        assert_eq!(order.see(12, 1, name(1, 5)), Verdict::First);
        assert_eq!(order.see(13, 1, name(1, 4)), Verdict::Disagreed);
    }

    #[test]
    fn no_offset_takes_more_memory_than_the_log_has() {
        let mut order = order();
        assert_eq!(order.see(12, 0, name(0, 0)), Verdict::First);
        assert_eq!(order.see(u64::MAX, 0, name(0, 1)), Verdict::First);
        assert_eq!((order.log.len(), order.start), (4, u64::MAX - 3));
        assert_eq!(order.see(12, 0, name(0, 0)), Verdict::Unknown);
        let far = order.see(u64::MAX, 1, name(1, u32::MAX / 3));
        assert_eq!(far, Verdict::Disagreed);
    }
}
