//! Frames out: headers, whole frames, fragments and closes.

use bytes::BufMut;

use super::header::{self, HEADER_BYTES_MAX};
use super::{CloseCode, OpCode, mask};
use crate::limits::CONTROL_BYTES_MAX;

/// The header of a frame with `length` bytes of payload: the bytes and how many of them count.
#[inline]
pub fn header(
    fin: bool,
    opcode: OpCode,
    length: usize,
    key: Option<[u8; 4]>,
) -> ([u8; HEADER_BYTES_MAX], usize) {
    debug_assert!(!opcode.is_control() || (fin && length <= CONTROL_BYTES_MAX));
    header::encode(fin, opcode, length, key)
}

/// Appends a whole frame as a server sends it: FIN set, not masked.
#[inline]
pub fn encode_frame(out: &mut impl BufMut, opcode: OpCode, payload: &[u8]) {
    encode_fragment(out, true, opcode, payload, None);
}

/// Appends a whole frame as a client sends it: FIN set, masked with `key`, which must be
/// unpredictable (RFC 6455 section 5.3).
#[inline]
pub fn encode_masked_frame(out: &mut impl BufMut, opcode: OpCode, payload: &[u8], key: [u8; 4]) {
    encode_fragment(out, true, opcode, payload, Some(key));
}

/// Appends a close frame as a server sends it; `reason` is cut to the 123 bytes that fit, between
/// two characters. A code that may not appear on the wire is a mistake of the caller.
pub fn encode_close(out: &mut impl BufMut, code: u16, reason: &str) {
    debug_assert!(CloseCode(code).is_allowed_on_wire(), "close code {code}");
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason[..end];
    let (bytes, size) = header(true, OpCode::Close, 2 + reason.len(), None);
    out.put_slice(&bytes[..size]);
    out.put_u16(code);
    out.put_slice(reason.as_bytes());
}

/// Appends one frame with FIN, opcode and mask as given: fragments of a message begin with its
/// opcode, go on with [`OpCode::Continuation`], and only the last has FIN (RFC 6455 section 5.4).
#[inline]
pub fn encode_fragment(
    out: &mut impl BufMut,
    fin: bool,
    opcode: OpCode,
    payload: &[u8],
    key: Option<[u8; 4]>,
) {
    let (bytes, size) = header(fin, opcode, payload.len(), key);
    out.put_slice(&bytes[..size]);
    match key {
        None => out.put_slice(payload),
        Some(key) => put_masked(out, payload, key),
    }
}

/// Masks through a small block on the stack: `BufMut` takes bytes but does not show them again.
fn put_masked(out: &mut impl BufMut, payload: &[u8], key: [u8; 4]) {
    const BLOCK: usize = 256;
    const { assert!(BLOCK.is_multiple_of(4), "every block begins with the first byte of the key") };
    for bytes in payload.chunks(BLOCK) {
        let mut block = [0; BLOCK];
        let block = &mut block[..bytes.len()];
        block.copy_from_slice(bytes);
        mask::apply(block, key);
        out.put_slice(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        let cases: [(usize, &[u8]); 6] = [
            (0, &[0x82, 0]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xFF, 0xFF]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (1 << 32, &[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]),
        ];
        for (length, expected) in cases {
            let (bytes, size) = header(true, OpCode::Binary, length, None);
            assert_eq!(&bytes[..size], expected);
            let (bytes, size) = header(true, OpCode::Binary, length, Some([1, 2, 3, 4]));
            assert_eq!(bytes[1], expected[1] | 0x80);
            assert_eq!(&bytes[2..size - 4], &expected[2..]);
            assert_eq!(&bytes[size - 4..size], &[1, 2, 3, 4]);
        }
    }

    /// The examples of RFC 6455 section 5.7.
    #[test]
    fn examples_of_the_specification() {
        let mut out = Vec::new();
        encode_frame(&mut out, OpCode::Text, b"Hello");
        assert_eq!(out, b"\x81\x05Hello");

        out.clear();
        encode_masked_frame(&mut out, OpCode::Text, b"Hello", [0x37, 0xFA, 0x21, 0x3D]);
        assert_eq!(out, b"\x81\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58");

        out.clear();
        encode_fragment(&mut out, false, OpCode::Text, b"Hel", None);
        encode_fragment(&mut out, true, OpCode::Continuation, b"lo", None);
        assert_eq!(out, b"\x01\x03Hel\x80\x02lo");
    }

    #[test]
    fn long_payloads_are_masked_throughout() {
        let payload: Vec<u8> = (0..1000_u32).map(|i| i as u8).collect();
        let mut out = Vec::new();
        encode_masked_frame(&mut out, OpCode::Binary, &payload, [9, 8, 7, 6]);
        mask::apply(&mut out[8..], [9, 8, 7, 6]);
        assert_eq!(&out[8..], payload);
    }

    #[test]
    fn close_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        encode_close(&mut out, 1000, &"é".repeat(100));
        assert_eq!(&out[..4], &[0x88, 2 + 122, 0x03, 0xE8]);
        assert_eq!(str::from_utf8(&out[4..]).map(|reason| reason.chars().count()), Ok(61));
    }
}
