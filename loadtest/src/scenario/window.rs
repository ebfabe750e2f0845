//! Which of the messages of one sender, or of one room, have come to one place.

use crate::stats::Messages;

/// The last 64 numbers, as far as they have come: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The number after the highest.
    next: u64,
    /// Of the 64 numbers before, the highest first: whether it has come.
    seen: u64,
}

/// How a number comes after the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// It is higher than all that came.
    Ahead,
    /// It was overtaken.
    Late,
    /// It has come before.
    Again,
}

impl Window {
    /// Awaits the number `next`: those before are not to come.
    pub(super) const fn awaiting(next: u64) -> Self {
        Self { next, seen: u64::MAX }
    }

    /// The number after the highest that came.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// A number comes. One 64 numbers behind the highest is taken for one that came before.
    #[inline]
    pub(super) fn take(&mut self, number: u64) -> Arrival {
        let ahead = number.wrapping_sub(self.next);
        if ahead < 1 << 63 {
            let places = u32::try_from(ahead + 1).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(places).unwrap_or(0) | 1;
            self.next = number.wrapping_add(1);
            return Arrival::Ahead;
        }
        let behind = self.next.wrapping_sub(number) - 1;
        match u32::try_from(behind).ok().and_then(|behind| 1u64.checked_shl(behind)) {
            Some(bit) if self.seen & bit == 0 => {
                self.seen |= bit;
                Arrival::Late
            }
            _ => Arrival::Again,
        }
    }

    /// Whether a number has come of which only the lowest bits are known, and which is one of the
    /// last 64.
    pub(super) fn has_low_bits(&self, number: u32) -> bool {
        let behind = (self.next as u32).wrapping_sub(number).wrapping_sub(1);
        // All that is not awaited counts as seen, and did not come.
        let came = u64::from(behind) < self.next;
        came && 1u64.checked_shl(behind).is_some_and(|bit| self.seen & bit != 0)
    }

    /// A number comes of which only the lowest bits are known.
    #[inline]
    pub(super) fn take_low_bits(&mut self, number: u32) -> Arrival {
        let ahead = number.wrapping_sub(self.next as u32) as i32;
        self.take(self.next.wrapping_add_signed(ahead.into()))
    }
}

impl Arrival {
    /// Counts what is wrong with it. `true` when the message comes for the first time.
    #[inline]
    pub(super) const fn is_new(self, messages: &mut Messages) -> bool {
        match self {
            Self::Ahead => true,
            Self::Late => {
                messages.out_of_order += 1;
                true
            }
            Self::Again => {
                messages.duplicate += 1;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_comes_again_fills_no_hole() {
        let mut window = Window::awaiting(0);
        let mut messages = Messages::default();
        let numbers = [0, 2, 3, 2, 3, 1, 1];
        let new = numbers.map(|number| window.take(number).is_new(&mut messages));
        assert_eq!(new, [true, true, true, false, false, true, false]);
        assert_eq!((messages.out_of_order, messages.duplicate), (1, 3));
    }

    #[test]
    fn what_is_not_awaited_is_not_new() {
        let mut window = Window::awaiting(100);
        assert_eq!(window.take(99), Arrival::Again);
        assert_eq!(window.take(102), Arrival::Ahead);
        assert_eq!(window.take(99), Arrival::Again);
        assert_eq!((window.take(100), window.next()), (Arrival::Late, 103));
    }

    #[test]
    fn the_window_is_64_numbers_wide() {
        for (highest, arrival) in [(63, Arrival::Late), (64, Arrival::Again)] {
            let mut window = Window::awaiting(0);
            assert_eq!(window.take(highest), Arrival::Ahead);
            assert_eq!(window.take(0), arrival);
        }
        let mut window = Window::awaiting(0);
        assert_eq!(window.take(u64::MAX >> 1), Arrival::Ahead);
        assert_eq!(window.take(0), Arrival::Again);
    }

    #[test]
    fn what_has_come_is_known_as_long_as_it_is_among_the_last() {
        let mut window = Window::awaiting(0);
        assert!(!window.has_low_bits(0) && !window.has_low_bits(u32::MAX));
        assert_eq!([0, 2].map(|number| window.take(number)), [Arrival::Ahead; 2]);
        assert_eq!(
            [0, 1, 2, 3].map(|number| window.has_low_bits(number)),
            [true, false, true, false]
        );
        window.take(66);
        assert!(!window.has_low_bits(2) && window.has_low_bits(66));
    }

    #[test]
    fn the_lowest_bits_of_a_number_are_enough() {
        let last = u64::from(u32::MAX);
        let mut window = Window::awaiting(last - 1);
        assert_eq!(window.take_low_bits(u32::MAX), Arrival::Ahead);
        assert_eq!(window.take_low_bits(0), Arrival::Ahead);
        assert_eq!(window.take_low_bits(u32::MAX - 1), Arrival::Late);
        assert_eq!(window.take_low_bits(u32::MAX - 1), Arrival::Again);
        assert_eq!(window.next(), last + 2);
    }
}
