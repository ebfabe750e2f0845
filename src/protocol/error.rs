//! What a peer did wrong, and how to tell it.

use std::fmt;

use super::CloseCode;

/// A reason to fail the WebSocket connection (RFC 6455 section 7.1.7): send a close frame with
/// [`close_code`](Self::close_code) and [`reason`](Self::reason), then end the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ProtocolError {
    /// RSV1, RSV2 or RSV3 is set and no extension gave it a meaning.
    ReservedBit,
    /// Opcode 3 to 7 or 11 to 15.
    ReservedOpCode,
    /// A client sent a frame without a mask.
    FrameNotMasked,
    /// A server sent a frame with a mask.
    FrameMasked,
    /// The payload length is not in its shortest form.
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length is set.
    LengthTopBit,
    /// A close, ping or pong without FIN.
    ControlFragmented,
    /// A close, ping or pong of more than 125 bytes.
    ControlTooLong,
    /// A continuation frame, but no message is open.
    ContinuationUnexpected,
    /// A text or binary frame while a fragmented message is open.
    ContinuationExpected,
    /// A close payload of one byte.
    CloseTruncated,
    /// A close code that may not appear on the wire.
    CloseCodeInvalid,
    /// A close reason that is not UTF-8.
    CloseReasonInvalid,
    /// A text message that is not UTF-8.
    TextInvalid,
    /// A compressed message that is not DEFLATE, ends inside a block, or has more than
    /// [`DEFLATE_FINAL_BLOCKS_MAX`](crate::limits::DEFLATE_FINAL_BLOCKS_MAX) final ones.
    DeflateCorrupt,
    /// A message longer than [`Limits::message_bytes_max`](super::Limits::message_bytes_max).
    MessageTooBig,
    /// A message of more frames than [`Limits::fragments_max`](super::Limits::fragments_max).
    FragmentsTooMany,
    /// The unfinished messages of all connections have used up the
    /// [`AssemblyPool`](super::AssemblyPool).
    Overloaded,
}

impl ProtocolError {
    /// The code to close with (RFC 6455 section 7.4.1).
    pub const fn close_code(self) -> CloseCode {
        self.verdict().0
    }

    /// The reason to close with: names the rule, and fits a close frame.
    pub const fn reason(self) -> &'static str {
        self.verdict().1
    }

    /// The clause that was broken.
    pub const fn clause(self) -> &'static str {
        self.verdict().2
    }

    /// The one table of failures: code, reason, clause.
    const fn verdict(self) -> (CloseCode, &'static str, &'static str) {
        const PROTOCOL: CloseCode = CloseCode::PROTOCOL_ERROR;
        const PAYLOAD: CloseCode = CloseCode::INVALID_PAYLOAD;
        match self {
            Self::ReservedBit => {
                (PROTOCOL, "reserved bit set without an extension", "RFC 6455 section 5.2")
            }
            Self::ReservedOpCode => (PROTOCOL, "reserved opcode", "RFC 6455 section 5.2"),
            Self::FrameNotMasked => {
                (PROTOCOL, "frame from a client is not masked", "RFC 6455 section 5.1")
            }
            Self::FrameMasked => {
                (PROTOCOL, "frame from a server is masked", "RFC 6455 section 5.1")
            }
            Self::LengthNotMinimal => {
                (PROTOCOL, "payload length is not in its shortest form", "RFC 6455 section 5.2")
            }
            Self::LengthTopBit => {
                (PROTOCOL, "payload length exceeds 63 bits", "RFC 6455 section 5.2")
            }
            Self::ControlFragmented => {
                (PROTOCOL, "control frame is fragmented", "RFC 6455 section 5.5")
            }
            Self::ControlTooLong => {
                (PROTOCOL, "control frame exceeds 125 bytes", "RFC 6455 section 5.5")
            }
            Self::ContinuationUnexpected => {
                (PROTOCOL, "continuation frame outside a message", "RFC 6455 section 5.4")
            }
            Self::ContinuationExpected => {
                (PROTOCOL, "new message inside a fragmented message", "RFC 6455 section 5.4")
            }
            Self::CloseTruncated => {
                (PROTOCOL, "close payload of one byte", "RFC 6455 section 5.5.1")
            }
            Self::CloseCodeInvalid => (PROTOCOL, "invalid close code", "RFC 6455 section 7.4"),
            Self::CloseReasonInvalid => {
                (PAYLOAD, "close reason is not UTF-8", "RFC 6455 section 5.5.1")
            }
            Self::TextInvalid => (PAYLOAD, "text message is not UTF-8", "RFC 6455 section 8.1"),
            Self::DeflateCorrupt => {
                (PAYLOAD, "compressed message cannot be inflated", "RFC 7692 section 7.2.2")
            }
            Self::MessageTooBig => {
                (CloseCode::TOO_BIG, "message exceeds the limit", "RFC 6455 section 10.4")
            }
            Self::FragmentsTooMany => {
                (CloseCode::POLICY, "message has too many fragments", "RFC 6455 section 10.4")
            }
            Self::Overloaded => (
                CloseCode::TRY_AGAIN,
                "server is short of memory, try again later",
                "RFC 6455 section 10.4",
            ),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.reason(), self.clause())
    }
}

impl std::error::Error for ProtocolError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CONTROL_BYTES_MAX;

    #[test]
    fn every_failure_can_be_told_in_a_close_frame() {
        use ProtocolError::*;
        for error in [
            ReservedBit,
            ReservedOpCode,
            FrameNotMasked,
            FrameMasked,
            LengthNotMinimal,
            LengthTopBit,
            ControlFragmented,
            ControlTooLong,
            ContinuationUnexpected,
            ContinuationExpected,
            CloseTruncated,
            CloseCodeInvalid,
            CloseReasonInvalid,
            TextInvalid,
            DeflateCorrupt,
            MessageTooBig,
            FragmentsTooMany,
            Overloaded,
        ] {
            assert!(error.close_code().is_allowed_on_wire(), "{error:?}");
            assert!(error.reason().len() <= CONTROL_BYTES_MAX - 2, "{error:?}");
            assert!(error.to_string().contains(error.clause()), "{error:?}");
        }
    }
}
