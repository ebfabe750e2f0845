//! Frames that were encoded here, one behind the other: where they end, and how many messages.

use super::OpCode;
use super::header::{Header, Role};

/// Messages of which a part is behind the first `sent` bytes of `frames`: whole frames as a server
/// sends them, behind a 101 or not.
#[must_use]
pub fn unsent_messages(frames: &[u8], sent: usize) -> u64 {
    let unsent = |frame: &Span| frame.ends_message() && frame.end > sent;
    walk(frames, Role::Client).filter(unsent).count() as u64
}

/// Where the frame begins of which the first `sent` bytes of `frames` are only a part; `sent`, when
/// they end with a frame.
#[must_use]
pub fn begun_frame(frames: &[u8], sent: usize) -> usize {
    let begun = walk(frames, Role::Client).take_while(|frame| frame.start <= sent).last();
    begun.map_or(sent, |frame| if frame.end > sent { frame.start } else { sent })
}

/// A frame and where it lies.
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Of the 101 in front of the frames there is none.
    header: Option<Header>,
}

impl Span {
    /// Whether a message ends with it.
    fn ends_message(&self) -> bool {
        self.header.is_some_and(|header| header.fin && !header.opcode.is_control())
    }

    /// The opcode and the beginning of the payload, if it is a whole message that is not
    /// compressed.
    pub(super) fn message(&self) -> Option<(OpCode, usize)> {
        let Header { opcode, fin, compressed, size, .. } = self.header?;
        let is_message = fin && !compressed && matches!(opcode, OpCode::Text | OpCode::Binary);
        is_message.then_some((opcode, self.start + size))
    }
}

/// The frames one after the other, encoded for an end with the role `reader`; a 101 in front of
/// them counts as one.
pub(super) fn walk(frames: &[u8], reader: Role) -> impl Iterator<Item = Span> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = frames.get(start..).filter(|rest| !rest.is_empty())?;
        let (size, header) = if rest.starts_with(b"HTTP/") {
            let end = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            (end.expect("a response has an end") + 4, None)
        } else {
            let header = Header::parse(reader, true, rest);
            let header = header.ok().flatten().expect("what was encoded here is whole");
            (header.size + header.length as usize, Some(header))
        };
        let span = Span { start, end: start + size, header };
        start = span.end;
        Some(span)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{encode_close, encode_frame};

    #[test]
    fn a_message_is_unsent_until_its_last_byte() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let mut frames = head.to_vec();
        let mut borders = vec![0, frames.len()];
        let mut messages = Vec::new();
        for payload in [&[][..], &[1; 5], &[2; 300], &[3; 70_000]] {
            encode_frame(&mut frames, OpCode::Binary, payload);
            borders.push(frames.len());
            messages.push(frames.len());
            encode_frame(&mut frames, OpCode::Ping, b"?");
            borders.push(frames.len());
        }
        encode_close(&mut frames, 1000, "");
        borders.push(frames.len());
        for sent in (0..400).chain([70_000, frames.len() - 1, frames.len()]) {
            let unsent = messages.iter().filter(|end| **end > sent).count() as u64;
            assert_eq!(unsent_messages(&frames, sent), unsent, "{sent}");
            let begun = borders.iter().rev().find(|border| **border <= sent);
            assert_eq!(Some(&begun_frame(&frames, sent)), begun, "{sent}");
        }
        assert_eq!(unsent_messages(b"", 0), 0);
    }
}
