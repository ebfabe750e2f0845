//! What goes into a decoder and what comes out of it.

use std::ops::Range;

use super::MessageKind;
use crate::limits::DEFLATE_EXCESS;

/// What a connection may send at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a message, all fragments together: more is
    /// [`ProtocolError::MessageTooBig`](super::ProtocolError::MessageTooBig).
    pub message_bytes_max: usize,
    /// Frames of a message, empty ones included: more is
    /// [`ProtocolError::FragmentsTooMany`](super::ProtocolError::FragmentsTooMany).
    pub fragments_max: u16,
    /// Messages may be compressed, which was negotiated (RFC 7692 section 6): without, they are
    /// [`ProtocolError::ReservedBit`](super::ProtocolError::ReservedBit). The limits hold for what
    /// they contain; on the wire they may be longer by [`DEFLATE_EXCESS`].
    pub compressed: bool,
}

impl Limits {
    /// Bytes of a message on the wire.
    #[inline]
    pub(super) const fn wire_bytes_max(&self, compressed: bool) -> usize {
        let bytes = self.message_bytes_max;
        if !compressed {
            return bytes;
        }
        let (part, more) = DEFLATE_EXCESS;
        bytes.saturating_add(bytes / part).saturating_add(more)
    }
}

/// What the peer said. It borrows the received chunk or the decoder until the next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A whole message; the payload of a [`MessageKind::Text`] is valid UTF-8, unless it is
    /// compressed.
    Message {
        /// Text or binary.
        kind: MessageKind,
        /// The payload is to be inflated, and its text to be checked then (RFC 7692 section 6.2).
        compressed: bool,
        /// The bytes of all its frames.
        payload: &'a [u8],
    },
    /// To be answered with a pong of the same payload (RFC 6455 section 5.5.2).
    Ping(&'a [u8]),
    /// The answer to a ping, or unsolicited.
    Pong(&'a [u8]),
    /// The peer's last frame: answer with a close, unless one was sent before, and end the
    /// connection (RFC 6455 section 5.5.1).
    Close {
        /// The peer's reason as a number; `None` when the frame was empty.
        code: Option<u16>,
        /// The peer's reason in words, at most 123 bytes.
        reason: &'a str,
    },
}

/// A received chunk and how much of it was used. Payloads are unmasked in place.
#[derive(Debug)]
pub struct Input<'a> {
    pub(super) bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Input<'a> {
    /// Wraps bytes as they came from the peer.
    #[inline]
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether all bytes were used.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Bytes not used yet.
    #[inline]
    pub const fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Range<usize> {
        let start = self.at;
        self.at += count;
        start..self.at
    }
}
