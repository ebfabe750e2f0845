//! The messages: prebuilt, stamped with a number, and recognised when they come back.

use ringwire::protocol::{MessageKind, OpCode, header, mask};

/// Bytes of a stamp in a binary message.
const STAMP_BYTES: usize = 8;

/// Bytes of a stamp in a text message: one hexadecimal digit for every four bits.
const STAMP_DIGITS: usize = 16;

/// Bytes that are compared in the middle and at the end of a message; shorter ones are compared as
/// a whole.
const SAMPLE_BYTES: usize = 8;

/// Masks every frame of a run. RFC 6455 section 5.3 wants a fresh random key for each frame, which
/// protects proxies; the server's work is the same with this one, and the generator has none.
pub(crate) const MASKING_KEY: [u8; 4] = [0x5A, 0xC3, 0x3C, 0xA5];

/// Bytes that a whole stamp takes.
pub(crate) const fn stamp_size(text: bool) -> usize {
    if text { STAMP_DIGITS } else { STAMP_BYTES }
}

/// A message of a fixed size as a masked frame, whose first bytes are a stamp: a number that tells
/// messages apart. A message too small for a whole stamp carries its lowest bits.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    frame: Vec<u8>,
    payload_at: usize,
    /// What a receiver sees, but for the stamp.
    payload: Vec<u8>,
    stamp_bytes: usize,
    kind: MessageKind,
}

impl Template {
    /// A template for messages of `size` bytes.
    pub(crate) fn new(size: usize, text: bool) -> Self {
        let kind = if text { MessageKind::Text } else { MessageKind::Binary };
        let payload: Vec<u8> = (0..size as u64)
            .map(|position| {
                let noise = mix(position) as u8;
                if text { b'A' + noise % 26 } else { noise }
            })
            .collect();
        let (head, head_size) = header(true, OpCode::from(kind), size, Some(MASKING_KEY));
        let mut frame = head[..head_size].to_vec();
        frame.extend_from_slice(&payload);
        mask::apply(&mut frame[head_size..], MASKING_KEY);
        let stamp_bytes = stamp_size(text).min(size);
        Self { frame, payload_at: head_size, payload, stamp_bytes, kind }
    }

    /// The frame that carries `stamp`.
    #[inline]
    pub(crate) fn stamped(&mut self, stamp: u64) -> &[u8] {
        let place = &mut self.frame[self.payload_at..self.payload_at + self.stamp_bytes];
        if self.kind == MessageKind::Binary {
            place.copy_from_slice(&stamp.to_le_bytes()[..self.stamp_bytes]);
        } else {
            place.copy_from_slice(&digits(stamp)[..self.stamp_bytes]);
        }
        mask::apply(place, MASKING_KEY);
        &self.frame
    }

    /// The stamp of a received message, or `None` if the message was never sent like this. All of
    /// the length, the kind and the stamp is checked, and samples of the rest.
    #[inline]
    pub(crate) fn stamp_of(&self, kind: MessageKind, payload: &[u8]) -> Option<u64> {
        if kind != self.kind || payload.len() != self.payload.len() || !self.samples_match(payload)
        {
            return None;
        }
        let stamp = &payload[..self.stamp_bytes];
        match (kind, stamp.first_chunk()) {
            (MessageKind::Binary, Some(stamp)) => Some(u64::from_le_bytes(*stamp)),
            (MessageKind::Binary, None) => {
                Some(stamp.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
            }
            (MessageKind::Text, _) => number(stamp),
        }
    }

    /// Whether `received`, read by [`stamp_of`](Self::stamp_of), is what is left of `stamp` in a
    /// message of this size.
    #[inline]
    pub(crate) const fn is_stamp(&self, received: u64, stamp: u64) -> bool {
        let bits = match self.kind {
            MessageKind::Binary => self.stamp_bytes * 8,
            MessageKind::Text => self.stamp_bytes * 4,
        };
        bits == 0 || (received ^ stamp) << (64 - bits) == 0
    }

    #[inline]
    fn samples_match(&self, payload: &[u8]) -> bool {
        let (start, end) = (self.stamp_bytes, payload.len());
        if end - start <= 2 * SAMPLE_BYTES {
            return payload[start..] == self.payload[start..];
        }
        let middle = start + (end - start) / 2 - SAMPLE_BYTES;
        payload[middle..middle + SAMPLE_BYTES] == self.payload[middle..middle + SAMPLE_BYTES]
            && payload[end - SAMPLE_BYTES..] == self.payload[end - SAMPLE_BYTES..]
    }
}

/// Scatters the bits of a number (the finisher of splitmix64).
#[inline]
pub(crate) const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// The digits of a stamp, the lowest first.
fn digits(stamp: u64) -> [u8; STAMP_DIGITS] {
    std::array::from_fn(|digit| b"0123456789abcdef"[(stamp >> (4 * digit)) as usize & 0xF])
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().rev().try_fold(0, |number, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server that echoes would see and send back.
    fn unmasked(template: &mut Template, stamp: u64) -> Vec<u8> {
        let at = template.payload_at;
        let mut payload = template.stamped(stamp)[at..].to_vec();
        mask::apply(&mut payload, MASKING_KEY);
        payload
    }

    #[test]
    fn stamps_survive_the_round_trip() {
        for text in [false, true] {
            let kind = if text { MessageKind::Text } else { MessageKind::Binary };
            for size in [0, 1, 7, 8, 15, 16, 17, 40, 125, 126, 65_536] {
                let mut template = Template::new(size, text);
                for stamp in [0, 1, 0xFEDC_BA98_7654_3210, u64::MAX] {
                    let payload = unmasked(&mut template, stamp);
                    let received = template.stamp_of(kind, &payload).expect("a message of ours");
                    assert!(template.is_stamp(received, stamp), "size {size}");
                    if size > 0 {
                        assert!(!template.is_stamp(received, stamp ^ 1), "size {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn whatever_was_not_sent_is_refused() {
        let mut template = Template::new(100, true);
        let payload = unmasked(&mut template, 7);
        assert!(str::from_utf8(&payload).is_ok());
        assert_eq!(template.stamp_of(MessageKind::Binary, &payload), None);
        assert_eq!(template.stamp_of(MessageKind::Text, &payload[..99]), None);
        for damaged in [0, 55, 99] {
            let mut payload = payload.clone();
            payload[damaged] = b'?';
            assert_eq!(template.stamp_of(MessageKind::Text, &payload), None, "byte {damaged}");
        }
    }
}
