//! The last messages of a room, as the frames that its members got.

use std::collections::VecDeque;

use crate::collections::Tick;
use crate::limits::HISTORY_BYTES_MAX;

/// Bytes below which it does not pay to give memory back.
const SMALL: usize = 1024;

/// How much a room remembers, beside [`HISTORY_BYTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryLimits {
    /// Messages.
    pub messages: usize,
    /// Ticks from the publication of a message.
    pub age: Tick,
    /// Bytes of all rooms of a home together.
    pub home_bytes: usize,
}

/// The newest messages of one epoch of a room, without a gap.
#[derive(Debug, Default)]
pub struct History {
    /// The frames of `messages`, one after the other.
    frames: VecDeque<u8>,
    messages: VecDeque<Entry>,
    /// That of the newest message; 0 before the first.
    offset: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    bytes: u32,
    published: Tick,
    /// What its sender called it, hashed; 0: nothing.
    id: u64,
}

impl History {
    /// Without messages; the first one has the offset behind this one.
    #[must_use]
    pub fn behind(offset: u64) -> Self {
        Self { offset, ..Self::default() }
    }

    /// The offset of the newest message.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Messages kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of the frames kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.frames.len()
    }

    /// Adds a message behind all others; it has the next offset. What exceeds the limits is gone.
    pub fn push(&mut self, now: Tick, id: u64, frame: &[u8], limits: &HistoryLimits) {
        self.offset += 1;
        let bytes = u32::try_from(frame.len()).expect("a message is shorter than 4 GiB");
        while !self.is_empty()
            && (self.len() >= limits.messages || self.bytes() + frame.len() > HISTORY_BYTES_MAX)
        {
            self.forget_oldest();
        }
        if limits.messages > 0 {
            self.frames.extend(frame);
            self.messages.push_back(Entry { bytes, published: now, id });
        }
    }

    /// Forgets the oldest message, if there is any.
    pub fn forget_oldest(&mut self) {
        if let Some(entry) = self.messages.pop_front() {
            self.frames.drain(..entry.bytes as usize);
        }
        // What was a long history does not keep its memory as a short one.
        if self.frames.capacity() / 4 > self.frames.len().max(SMALL) {
            self.frames.shrink_to(2 * self.frames.len());
            self.messages.shrink_to(2 * self.messages.len());
        }
    }

    /// Forgets what is older than the limits say.
    pub fn forget_old(&mut self, now: Tick, limits: &HistoryLimits) {
        while let Some(expiry) = self.expiry(limits)
            && now.wrapping_sub(expiry).cast_signed() >= 0
        {
            self.forget_oldest();
        }
        if self.messages.is_empty() {
            self.frames = VecDeque::new();
            self.messages = VecDeque::new();
        }
    }

    /// When the oldest message will be too old.
    #[must_use]
    pub fn expiry(&self, limits: &HistoryLimits) -> Option<Tick> {
        self.messages.front().map(|entry| entry.published.wrapping_add(limits.age))
    }

    /// Appends the frame of the message with this id, and says whether there is one.
    pub fn find(&self, id: u64, out: &mut Vec<u8>) -> bool {
        let mut end = self.frames.len();
        for entry in self.messages.iter().rev() {
            let start = end - entry.bytes as usize;
            if entry.id == id {
                out.extend(self.frames.range(start..end));
                return true;
            }
            end = start;
        }
        false
    }

    /// Appends the frames of all messages behind `offset` and says how many they are. `None`: not
    /// all of them are kept, or there never was such an offset.
    pub fn since(&self, offset: u64, out: &mut Vec<u8>) -> Option<u32> {
        let missed = self.offset.checked_sub(offset)?;
        let missed = usize::try_from(missed).ok().filter(|&missed| missed <= self.len())?;
        let newest = self.messages.iter().rev().take(missed);
        let bytes: usize = newest.map(|entry| entry.bytes as usize).sum();
        let (front, back) = self.frames.as_slices();
        let start = self.frames.len() - bytes;
        out.extend_from_slice(front.get(start..).unwrap_or_default());
        out.extend_from_slice(&back[start.saturating_sub(front.len())..]);
        Some(missed as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::random::Random;

    const LIMITS: HistoryLimits = HistoryLimits { messages: 10, age: 50, home_bytes: 0 };

    fn frame(number: u64, size: usize) -> Vec<u8> {
        number.to_be_bytes().into_iter().cycle().take(size).collect()
    }

    #[test]
    fn a_history_gives_all_that_was_missed_or_nothing() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut history = History::default();
            let mut model: VecDeque<(u64, Vec<u8>, Tick)> = VecDeque::new();
            let mut now: Tick = 0u32.wrapping_sub(random.below(300));
            for _ in 0..100 {
                now = now.wrapping_add(random.below(10));
                if random.below(4) > 0 {
                    let frame = frame(history.offset() + 1, 1 + random.below(300) as usize);
                    history.push(now, 0, &frame, &LIMITS);
                    model.push_back((history.offset(), frame, now));
                    while model.len() > LIMITS.messages {
                        model.pop_front();
                    }
                }
                history.forget_old(now, &LIMITS);
                model.retain(|(.., at)| now.wrapping_sub(*at) < LIMITS.age);
                assert_eq!(history.len(), model.len());
                let offset = u64::from(random.below(history.offset() as u32 + 3));
                let missed: Vec<_> =
                    model.iter().filter(|(number, ..)| *number > offset).cloned().collect();
                let is_whole = history.offset().checked_sub(offset) == Some(missed.len() as u64);
                let mut out = Vec::new();
                let given = history.since(offset, &mut out);
                assert_eq!(given, is_whole.then_some(missed.len() as u32), "seed {seed}");
                let frames = missed.iter().flat_map(|(_, frame, _)| frame.clone());
                assert!(!is_whole || out.iter().copied().eq(frames), "seed {seed}");
            }
        }
    }

    #[test]
    fn bytes_are_bounded_whatever_the_number() {
        let mut history = History::default();
        let limits = HistoryLimits { messages: usize::MAX, age: 50, home_bytes: 0 };
        for number in 0..20 {
            history.push(0, 0, &frame(number, HISTORY_BYTES_MAX / 8), &limits);
            assert!(history.bytes() <= HISTORY_BYTES_MAX);
        }
        assert_eq!(history.len(), 8);
        history.forget_old(50, &limits);
        assert_eq!((history.len(), history.bytes(), history.offset()), (0, 0, 20));
    }

    #[test]
    fn a_history_that_has_become_short_keeps_little_memory() {
        let mut history = History::default();
        let limits = HistoryLimits { messages: usize::MAX, age: 50, home_bytes: 0 };
        for number in 0..400 {
            history.push(0, 0, &frame(number, 1000), &limits);
        }
        history.push(40, 0, b"last", &limits);
        history.forget_old(50, &limits);
        assert_eq!((history.len(), history.bytes()), (1, 4));
        assert!(history.frames.capacity() <= 4 * SMALL, "{}", history.frames.capacity());
    }

    #[test]
    fn an_id_is_known_as_long_as_its_message() {
        let mut history = History::default();
        let found = |history: &History, id| {
            let mut frame = Vec::new();
            history.find(id, &mut frame).then_some(frame)
        };
        history.push(0, 0, b"zero", &LIMITS);
        history.push(0, 7, b"seven", &LIMITS);
        for _ in 2..=LIMITS.messages {
            assert_eq!((found(&history, 7), found(&history, 8)), (Some(b"seven".to_vec()), None));
            history.push(0, 0, b"other", &LIMITS);
        }
        history.push(0, 0, b"last", &LIMITS);
        assert_eq!(found(&history, 7), None);
    }
}
