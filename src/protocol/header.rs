//! The frame header: 2 to 14 bytes (RFC 6455 section 5.2).

use super::ProtocolError;

/// Bytes of the longest header: two, a 64-bit length and a masking key.
pub(super) const HEADER_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
/// Of a first frame: the message is compressed (RFC 7692 section 6).
const COMPRESSED: u8 = 0x40;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
/// 7-bit lengths that announce a 16-bit and a 64-bit length.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// Which end of the connection this is (RFC 6455 section 5.1): a server takes masked frames and
/// sends unmasked ones, a client the other way round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Takes masked frames, sends unmasked ones.
    Server,
    /// Takes unmasked frames, sends masked ones.
    Client,
}

/// What a frame is (RFC 6455 section 11.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum OpCode {
    /// The next fragment of a message.
    Continuation = 0,
    /// UTF-8 text, or its first fragment.
    Text = 1,
    /// Bytes, or their first fragment.
    Binary = 2,
    /// The end: an optional code and reason.
    Close = 8,
    /// To be answered with a pong of the same payload.
    Ping = 9,
    /// The answer to a ping, or a heartbeat of its own.
    Pong = 10,
}

impl OpCode {
    /// Close, ping and pong: at most 125 bytes and never fragmented (RFC 6455 section 5.5).
    #[inline]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    #[inline]
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// The type of a message, given by the opcode of its first frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// Valid UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl From<MessageKind> for OpCode {
    #[inline]
    fn from(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Text => Self::Text,
            MessageKind::Binary => Self::Binary,
        }
    }
}

/// A header that obeys every rule which a frame alone can break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) opcode: OpCode,
    pub(super) fin: bool,
    /// The message that begins with this frame is compressed.
    pub(super) compressed: bool,
    /// Bytes of payload as declared: not yet compared with any limit.
    pub(super) length: u64,
    /// All zero when the frame is not masked.
    pub(super) key: [u8; 4],
    /// Bytes of the header itself.
    pub(super) size: usize,
}

impl Header {
    /// Reads the header `bytes` begin with, sent to an end with this role; `None` when `bytes` stop
    /// short of its end. Messages may be compressed if that is `negotiated`.
    #[inline]
    pub(super) fn parse(
        role: Role,
        negotiated: bool,
        bytes: &[u8],
    ) -> Result<Option<Self>, ProtocolError> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let fin = first & FIN != 0;
        let compressed = negotiated && first & COMPRESSED != 0;
        let bits = first & !FIN & if negotiated { !COMPRESSED } else { !0 };
        // One match settles the other reserved bits and the opcode.
        let Some(opcode) = OpCode::from_bits(bits) else {
            return Err(first_byte_error(first));
        };
        // Only a first frame of data has the bit (RFC 7692 section 6.1).
        if compressed && !matches!(opcode, OpCode::Text | OpCode::Binary) {
            return Err(ProtocolError::ReservedBit);
        }
        let masked = second & MASKED != 0;
        if masked != (role == Role::Server) {
            return Err(masking_error(role));
        }
        let short = second & LENGTH;
        if opcode.is_control() && (!fin || short >= LENGTH_16) {
            return Err(control_error(fin));
        }
        let (length, rest, extended) = match short {
            LENGTH_16 => match rest.split_first_chunk() {
                Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), rest, 2),
                None => return Ok(None),
            },
            LENGTH_64 => match rest.split_first_chunk() {
                Some((bytes, rest)) => (u64::from_be_bytes(*bytes), rest, 8),
                None => return Ok(None),
            },
            _ => (u64::from(short), rest, 0),
        };
        if extended != 0 {
            check_extended(short, length)?;
        }
        let key = match (masked, rest.first_chunk()) {
            (false, _) => [0; 4],
            (true, Some(key)) => *key,
            (true, None) => return Ok(None),
        };
        let size = 2 + extended + if masked { 4 } else { 0 };
        Ok(Some(Self { opcode, fin, compressed, length, key, size }))
    }

    /// Bytes of the header that begins with `bytes`, as far as they tell: a lower bound until two
    /// bytes are there.
    pub(super) fn size(bytes: &[u8]) -> usize {
        let Some(second) = bytes.get(1) else { return 2 };
        let extended = match second & LENGTH {
            LENGTH_16 => 2,
            LENGTH_64 => 8,
            _ => 0,
        };
        2 + extended + if second & MASKED != 0 { 4 } else { 0 }
    }
}

/// Writes a header: the bytes and how many of them count.
#[inline]
pub(super) fn encode(
    fin: bool,
    opcode: OpCode,
    length: usize,
    key: Option<[u8; 4]>,
) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let masked = if key.is_some() { MASKED } else { 0 };
    bytes[0] = opcode as u8 | if fin { FIN } else { 0 };
    let mut size = if length < usize::from(LENGTH_16) {
        bytes[1] = masked | length as u8;
        2
    } else if let Ok(length) = u16::try_from(length) {
        bytes[1] = masked | LENGTH_16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        4
    } else {
        bytes[1] = masked | LENGTH_64;
        bytes[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        10
    };
    if let Some(key) = key {
        bytes[size..size + 4].copy_from_slice(&key);
        size += 4;
    }
    (bytes, size)
}

/// Writes the header of a compressed message in one frame (RFC 7692 section 6.1).
pub(super) fn encode_compressed(
    opcode: OpCode,
    length: usize,
    key: Option<[u8; 4]>,
) -> ([u8; HEADER_BYTES_MAX], usize) {
    let (mut bytes, size) = encode(true, opcode, length, key);
    bytes[0] |= COMPRESSED;
    (bytes, size)
}

/// RFC 6455 section 5.2: the shortest form, and no more than 63 bits.
#[inline]
fn check_extended(short: u8, length: u64) -> Result<(), ProtocolError> {
    let length_min = if short == LENGTH_16 { u64::from(LENGTH_16) } else { 1 << 16 };
    if length < length_min {
        return Err(ProtocolError::LengthNotMinimal);
    }
    if length >> 63 != 0 {
        return Err(ProtocolError::LengthTopBit);
    }
    Ok(())
}

#[cold]
fn first_byte_error(first: u8) -> ProtocolError {
    if first & RESERVED_BITS != 0 {
        ProtocolError::ReservedBit
    } else {
        debug_assert!(OpCode::from_bits(first & OPCODE).is_none());
        ProtocolError::ReservedOpCode
    }
}

#[cold]
fn masking_error(role: Role) -> ProtocolError {
    match role {
        Role::Server => ProtocolError::FrameNotMasked,
        Role::Client => ProtocolError::FrameMasked,
    }
}

#[cold]
fn control_error(fin: bool) -> ProtocolError {
    if fin { ProtocolError::ControlTooLong } else { ProtocolError::ControlFragmented }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_parsed_as_soon_as_it_is_whole() {
        for opcode in [OpCode::Continuation, OpCode::Text, OpCode::Binary] {
            for length in [0, 125, 126, 127, 65_535, 65_536, 1 << 31, 1 << 32, (1 << 63) - 1] {
                for (role, key) in [(Role::Server, Some([1, 2, 3, 4])), (Role::Client, None)] {
                    for fin in [false, true] {
                        let (bytes, size) = encode(fin, opcode, length, key);
                        for end in 0..size {
                            assert_eq!(Header::parse(role, false, &bytes[..end]), Ok(None));
                            assert!(Header::size(&bytes[..end]) > end);
                        }
                        let header = Header {
                            opcode,
                            fin,
                            compressed: false,
                            length: length as u64,
                            key: key.unwrap_or_default(),
                            size,
                        };
                        assert_eq!(Header::parse(role, false, &bytes), Ok(Some(header)));
                        assert_eq!(Header::parse(role, true, &bytes), Ok(Some(header)));
                        assert_eq!(Header::size(&bytes), size);
                    }
                }
            }
        }
    }
    #[test]
    fn only_the_first_frame_of_negotiated_data_is_compressed() {
        for opcode in 0..16 {
            for fin in [0, FIN] {
                for reserved in (0x10..0x80).step_by(0x10) {
                    let bytes = [fin | reserved | opcode, 0];
                    let header = Header::parse(Role::Client, true, &bytes);
                    if reserved == COMPRESSED && matches!(opcode, 1 | 2) {
                        assert!(matches!(header, Ok(Some(Header { compressed: true, .. }))));
                    } else {
                        assert_eq!(header, Err(ProtocolError::ReservedBit), "{bytes:?}");
                    }
                    let header = Header::parse(Role::Client, false, &bytes);
                    assert_eq!(header, Err(ProtocolError::ReservedBit), "{bytes:?}");
                }
            }
        }
    }
}
