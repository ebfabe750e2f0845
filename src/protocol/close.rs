//! Close codes and the payload of a close frame (RFC 6455 sections 5.5.1 and 7.4).

use std::fmt;

use super::ProtocolError;

/// Why a connection ends (RFC 6455 section 7.4.1 and the IANA registry).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the page was left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A kind of data that cannot be accepted.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Data that does not fit its type: text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A policy was broken and no other code fits.
    pub const POLICY: Self = Self(1008);
    /// A message too big to process.
    pub const TOO_BIG: Self = Self(1009);
    /// The server cannot go on because of a fault of its own.
    pub const INTERNAL: Self = Self(1011);
    /// The server is overloaded: try again later.
    pub const TRY_AGAIN: Self = Self(1013);
    /// The application's code for a failed authentication.
    pub const AUTHENTICATION: Self = Self(4001);

    /// Whether the code may appear in a close frame: 1004 to 1006 and 1015 are reserved, the rest
    /// below 3000 is not assigned (RFC 6455 section 7.4.2).
    #[inline]
    pub const fn is_allowed_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Splits a close payload into code and reason.
pub(super) fn parse(payload: &[u8]) -> Result<(Option<u16>, &str), ProtocolError> {
    let (code, reason) = match payload {
        [] => return Ok((None, "")),
        [_] => return Err(ProtocolError::CloseTruncated),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !CloseCode(code).is_allowed_on_wire() {
        return Err(ProtocolError::CloseCodeInvalid);
    }
    let reason = str::from_utf8(reason).map_err(|_| ProtocolError::CloseReasonInvalid)?;
    Ok((Some(code), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_empty_or_code_and_reason() {
        assert_eq!(parse(b""), Ok((None, "")));
        assert_eq!(parse(b"\x03\xE8"), Ok((Some(1000), "")));
        assert_eq!(parse(b"\x0F\xA1caf\xC3\xA9"), Ok((Some(4001), "café")));
        assert_eq!(parse(b"\x03"), Err(ProtocolError::CloseTruncated));
        assert_eq!(parse(b"\x03\xED"), Err(ProtocolError::CloseCodeInvalid));
        assert_eq!(parse(b"\x03\xE8\xC3"), Err(ProtocolError::CloseReasonInvalid));
    }
}
