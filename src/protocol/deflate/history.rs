//! What the next message may refer to.

use crate::limits::{DEFLATE_WINDOW_BITS_MAX, INFLATED_BYTES_MIN};

/// The last bytes of one direction with context takeover, uncompressed: the window of both ends
/// when the next message begins (RFC 7692 section 7.2.1). Memory is taken as bytes come, and never
/// more than the window.
#[derive(Debug)]
pub struct History {
    bytes: Vec<u8>,
    window_bits: u8,
}

impl History {
    /// Of a direction that has carried nothing, with a window of 2 to the power of `window_bits`
    /// (RFC 7692 section 7.1.2).
    #[must_use]
    pub const fn new(window_bits: u8) -> Self {
        debug_assert!(window_bits <= DEFLATE_WINDOW_BITS_MAX);
        Self { bytes: Vec::new(), window_bits }
    }

    /// What is remembered, the oldest first.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory that it occupies beside itself.
    #[must_use]
    pub const fn footprint(&self) -> usize {
        self.bytes.capacity()
    }

    /// A message went by.
    pub(super) fn push(&mut self, message: &[u8]) {
        let window = 1 << self.window_bits;
        let message = &message[message.len().saturating_sub(window)..];
        let excess = (self.bytes.len() + message.len()).saturating_sub(window);
        self.bytes.drain(..excess);
        let length = self.bytes.len() + message.len();
        if length > self.bytes.capacity() {
            let doubled = (self.bytes.capacity() * 2).max(INFLATED_BYTES_MIN / 16).min(window);
            self.bytes.reserve_exact(length.max(doubled) - self.bytes.len());
        }
        self.bytes.extend_from_slice(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_kept_in_no_more_memory_than_they_need() {
        for window_bits in 8..=15 {
            let window = 1_usize << window_bits;
            let mut history = History::new(window_bits);
            let mut all = Vec::new();
            for size in [0, 1, 100, window - 1, 3, window, 7, window + 1, 3 * window, 200] {
                let message: Vec<u8> = (0..size).map(|at| (at * size) as u8).collect();
                all.extend_from_slice(&message);
                history.push(&message);
                assert_eq!(history.bytes(), &all[all.len().saturating_sub(window)..]);
                assert!(history.footprint() <= window.min((2 * all.len()).max(256)), "{size}");
                assert!(!all.is_empty() || history.footprint() == 0);
            }
        }
    }
}
