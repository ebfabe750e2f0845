//! Where a head ends, and the fields inside it.

use super::Refusal;
use crate::limits::HEAD_BYTES_MAX;

/// Looks for the end of a head in a buffer that grows. It remembers how far it looked, so each byte
/// is looked at once, even when bytes arrive singly.
#[derive(Clone, Copy, Default, Debug)]
pub struct HeadScanner {
    scanned: usize,
}

impl HeadScanner {
    /// A scanner that has looked at nothing.
    pub const fn new() -> Self {
        Self { scanned: 0 }
    }

    /// `received` is everything received so far. Returns how many of its bytes are the head, the
    /// empty line included, or `None` when more are needed.
    ///
    /// # Errors
    ///
    /// [`Refusal::HeadTooLarge`] once no head of at most [`HEAD_BYTES_MAX`] bytes can follow, and
    /// [`Refusal::LineEnding`] at a line that ends in a bare line feed, which proxies read in
    /// different ways (RFC 9112 section 2.2).
    pub fn end_of_head(&mut self, received: &[u8]) -> Result<Option<usize>, Refusal> {
        let received = &received[..received.len().min(HEAD_BYTES_MAX)];
        while let Some(offset) = received[self.scanned..].iter().position(|&byte| byte == b'\n') {
            let end = self.scanned + offset + 1;
            let lines = &received[..end];
            if lines.ends_with(b"\r\n\r\n") {
                return Ok(Some(end));
            }
            if !lines.ends_with(b"\r\n") {
                return Err(Refusal::LineEnding);
            }
            self.scanned = end;
        }
        self.scanned = received.len();
        if self.scanned == HEAD_BYTES_MAX { Err(Refusal::HeadTooLarge) } else { Ok(None) }
    }
}

/// The fields of a head that was parsed before: (name, value) without surrounding blanks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    lines: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of a valid head, which begins with a request or status line.
    pub(super) fn of(head: &'a [u8]) -> Self {
        let head = head.trim_ascii_start();
        let start = head.iter().position(|&byte| byte == b'\n').map_or(head.len(), |at| at + 1);
        Self { lines: &head[start..] }
    }

    /// Every field in the order of the head.
    pub(super) fn iter(self) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> {
        self.lines.split(|&byte| byte == b'\n').filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
    }

    /// The values of every field of this name.
    pub(super) fn values(self, name: &'static str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }
}

/// Whether a comma-separated list has this element, in any case.
pub(super) fn has_element(list: &[u8], element: &str) -> bool {
    elements(list).any(|found| found.eq_ignore_ascii_case(element.as_bytes()))
}

/// The elements of a comma-separated list; empty ones are allowed and left out (RFC 9110 section
/// 5.6.1).
pub(super) fn elements(list: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether this is a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
