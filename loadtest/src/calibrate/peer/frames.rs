//! A client's frames into the server's that echo them, in the buffer they were read into.

use ringwire::protocol::mask;

/// Payload of a frame, at most: what `calibrate` sends, and the shortest with a length of 64 bits.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// A frame of a client, at most: header, 64-bit length, masking key, payload.
pub(super) const FRAME_BYTES_MAX: usize = 2 + 8 + KEY_BYTES + PAYLOAD_BYTES_MAX;

const KEY_BYTES: usize = 4;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What became of the bytes of a read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Turned {
    /// Bytes at the front that are to be sent.
    pub(super) written: usize,
    /// Bytes that were whole frames; what follows is the beginning of one.
    pub(super) taken: usize,
    /// Messages that are sent back.
    pub(super) messages: u64,
    /// The last frame sent answers a close frame; nothing after it counts.
    pub(super) closed: bool,
}

/// The peer does not speak as a client does, or sends more than [`PAYLOAD_BYTES_MAX`] in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unreadable;

/// Turns every whole frame into the one that answers it: messages come back fragment by fragment,
/// pings as pongs, a close frame as itself. Answers are never longer, so they fit in place.
///
/// # Errors
/// [`Unreadable`]; what was turned before is lost.
#[inline]
pub(super) fn turn_around(bytes: &mut [u8]) -> Result<Turned, Unreadable> {
    let mut turned = Turned::default();
    while !turned.closed
        && let Some(header) = Header::parse(&bytes[turned.taken..])?
        && bytes.len() - turned.taken >= header.size + header.length
    {
        let start = turned.taken;
        let payload = start + header.size..start + header.size + header.length;
        turned.taken = payload.end;
        if header.opcode == PONG {
            continue;
        }
        let answer = turned.written;
        bytes.copy_within(start..payload.start - KEY_BYTES, answer);
        bytes[answer + 1] &= LENGTH;
        let answer_payload = answer + header.size - KEY_BYTES;
        turned.written = answer_payload + header.length;
        mask::apply(&mut bytes[payload.clone()], header.key);
        bytes.copy_within(payload, answer_payload);
        match header.opcode {
            PING => bytes[answer] = FIN | PONG,
            CLOSE => turned.closed = true,
            _ => turned.messages += u64::from(header.fin),
        }
    }
    Ok(turned)
}

/// The header of a client's frame (RFC 6455 section 5.2).
struct Header {
    fin: bool,
    opcode: u8,
    /// Bytes of payload.
    length: usize,
    key: [u8; KEY_BYTES],
    /// Bytes of the header itself, key included.
    size: usize,
}

impl Header {
    /// `None` when `bytes` stop short of its end.
    #[inline]
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Unreadable> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let opcode = first & OPCODE;
        let is_known = matches!(opcode, 0..=BINARY | CLOSE..=PONG);
        if !is_known || first & RESERVED_BITS != 0 || second & MASKED == 0 {
            return Err(Unreadable);
        }
        let (length, extended) = match second & LENGTH {
            126 => (rest.first_chunk().map(|bytes| u64::from(u16::from_be_bytes(*bytes))), 2),
            127 => (rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)), 8),
            length => (Some(u64::from(length)), 0),
        };
        let Some(length) = length else { return Ok(None) };
        if length > PAYLOAD_BYTES_MAX as u64 {
            return Err(Unreadable);
        }
        let Some(&key) = rest[extended..].first_chunk() else { return Ok(None) };
        let (length, size) = (length as usize, 2 + extended + KEY_BYTES);
        Ok(Some(Self { fin: first & FIN != 0, opcode, length, key, size }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringwire::protocol::{OpCode, encode_fragment, encode_frame, encode_masked_frame};

    const KEY: [u8; 4] = [0xA1, 0x07, 0x5E, 0xF3];

    fn payload(size: usize) -> Vec<u8> {
        (0..size).map(|position| (position % 251) as u8).collect()
    }

    #[test]
    fn every_frame_has_its_answer_and_the_rest_stays() {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (sent, answered) in [
            (OpCode::Text, Some(OpCode::Text)),
            (OpCode::Pong, None),
            (OpCode::Binary, Some(OpCode::Binary)),
            (OpCode::Ping, Some(OpCode::Pong)),
        ] {
            for size in [0, 1, 125] {
                encode_masked_frame(&mut bytes, sent, &payload(size), KEY);
                answered.into_iter().for_each(|answer| {
                    encode_frame(&mut expected, answer, &payload(size));
                });
            }
        }
        for size in [126, 65_535, 65_536] {
            encode_masked_frame(&mut bytes, OpCode::Binary, &payload(size), KEY);
            encode_frame(&mut expected, OpCode::Binary, &payload(size));
        }
        let whole = bytes.len();
        encode_masked_frame(&mut bytes, OpCode::Text, b"cut short", KEY);
        bytes.pop();
        let rest = bytes[whole..].to_vec();
        let turned = turn_around(&mut bytes).expect("frames of a client");
        let Turned { written, taken, messages, closed } = turned;
        assert_eq!((written, taken, messages, closed), (expected.len(), whole, 9, false));
        assert_eq!((&bytes[..written], &bytes[taken..]), (&expected[..], &rest[..]));
    }

    #[test]
    fn fragments_come_back_as_fragments_and_count_as_one_message() {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (fin, opcode) in [(false, OpCode::Text), (true, OpCode::Continuation)] {
            encode_fragment(&mut bytes, fin, opcode, b"half", Some(KEY));
            encode_fragment(&mut expected, fin, opcode, b"half", None);
        }
        let turned = turn_around(&mut bytes).expect("frames of a client");
        assert_eq!((turned.messages, &bytes[..turned.written]), (1, &expected[..]));
    }

    #[test]
    fn nothing_is_answered_after_a_close_frame() {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        encode_masked_frame(&mut bytes, OpCode::Close, &1000u16.to_be_bytes(), KEY);
        encode_frame(&mut expected, OpCode::Close, &1000u16.to_be_bytes());
        encode_masked_frame(&mut bytes, OpCode::Text, b"too late", KEY);
        let turned = turn_around(&mut bytes).expect("frames of a client");
        assert_eq!((turned.closed, &bytes[..turned.written]), (true, &expected[..]));
    }

    #[test]
    fn what_no_client_may_send_is_refused() {
        let mut unmasked = Vec::new();
        encode_frame(&mut unmasked, OpCode::Text, b"from a server");
        let too_long = [FIN | BINARY, MASKED | 127, 0, 0, 0, 0, 0, 1, 0, 1];
        let top_bit = [FIN | BINARY, MASKED | 127, 0x80, 0, 0, 0, 0, 0, 0, 0];
        let reserved = [FIN | 0x40 | BINARY, MASKED];
        let unknown = [FIN | 3, MASKED];
        for mut bytes in
            [unmasked, too_long.into(), top_bit.into(), reserved.into(), unknown.into()]
        {
            assert_eq!(turn_around(&mut bytes), Err(Unreadable), "{bytes:?}");
        }
    }
}
