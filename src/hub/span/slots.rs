//! Hash slots: which Redis server a room is on.

use std::fmt;

use crc16::{State, XMODEM};

/// Slots that keys are spread over, as a Redis Cluster does (its specification, "Key distribution
/// model").
pub const SLOTS: u16 = 16_384;

const WORDS: usize = SLOTS as usize / 64;

/// The part of a room's keys that stands for its name, and decides on their slot: braces, blanks
/// and whatever is no plain letter are escaped as in URLs.
#[must_use]
pub fn key_name(room: &str) -> String {
    use fmt::Write;
    let mut key = String::with_capacity(room.len());
    for byte in room.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:@".contains(&byte) {
            key.push(byte.into());
        } else {
            write!(key, "%{byte:02X}").expect("a string takes everything");
        }
    }
    key
}

/// The slot of a key with this hash tag.
#[must_use]
pub fn slot_of(tag: &str) -> u16 {
    State::<XMODEM>::calculate(tag.as_bytes()) % SLOTS
}

/// A set of slots.
#[derive(Clone, PartialEq, Eq)]
pub struct Slots(Box<[u64; WORDS]>);

impl Slots {
    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self(Box::new([0; WORDS]))
    }

    /// Those from `first` to `last`, both included.
    #[must_use]
    pub fn range(first: u16, last: u16) -> Self {
        let mut slots = Self::none();
        for slot in first..=last.min(SLOTS - 1) {
            slots.0[usize::from(slot) / 64] |= 1 << (slot % 64);
        }
        slots
    }

    /// Whether this slot is one of them.
    #[must_use]
    pub fn contains(&self, slot: u16) -> bool {
        self.0[usize::from(slot) / 64] >> (slot % 64) & 1 == 1
    }

    /// The lowest of them.
    #[must_use]
    pub fn first(&self) -> Option<u16> {
        (0..SLOTS).find(|slot| self.contains(*slot))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Whether some are in `other`, too.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).any(|(word, more)| word & more != 0)
    }

    /// Adds those of `other`.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(word, more)| *word |= more);
    }

    /// Takes those of `other` out.
    pub fn remove(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0.iter()).for_each(|(word, less)| *word &= !less);
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        write!(formatter, "Slots({count})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // CLUSTER KEYSLOT of Redis 7.
        for (tag, slot) in [("123456789", 12_739), ("foo", 12_182), ("lobby", 10_294), ("", 0)] {
            assert_eq!(slot_of(tag), slot, "{tag}");
        }
    }

    #[test]
    fn names_of_keys_have_no_braces_and_are_all_different() {
        let names = ["a", "a b", "a%20b", "{a}", "}", "ä", "a\u{e9}", "A:b@c-d_e.f~g"];
        let mut keys: Vec<String> = names.iter().map(|name| key_name(name)).collect();
        assert_eq!(keys[1], "a%20b");
        assert_eq!(keys[7], names[7]);
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), names.len());
        assert!(keys.iter().all(|key| !key.contains(['{', '}'])));
    }

    #[test]
    fn sets_hold_what_was_added() {
        let mut slots = Slots::range(5, 70);
        assert_eq!(slots.first(), Some(5));
        slots.remove(&Slots::range(0, 63));
        slots.add(&Slots::range(SLOTS - 1, u16::MAX));
        let all: Vec<u16> = (0..SLOTS).filter(|slot| slots.contains(*slot)).collect();
        assert_eq!(all, [64, 65, 66, 67, 68, 69, 70, SLOTS - 1]);
        assert!(slots.overlaps(&Slots::range(70, 71)) && !slots.overlaps(&Slots::range(0, 63)));
        slots.remove(&Slots::range(0, SLOTS));
        assert!(slots.is_empty() && slots == Slots::none() && slots.first().is_none());
    }
}
