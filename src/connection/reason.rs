//! Why connections end, in the words of the metrics.

use crate::protocol::{CloseCode, ProtocolError};

/// Why a connection ended, as counted in `connections_closed_total{reason}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CloseReason {
    /// The peer began the closing handshake.
    ClientClose,
    /// The server is going away (1001).
    GoingAway,
    /// A violation of the framing rules (1002).
    ProtocolError,
    /// Text that is not UTF-8 (1007).
    InvalidPayload,
    /// Too many fragments (1008).
    Policy,
    /// A message over the limit (1009).
    TooBig,
    /// More was queued for the peer than it may owe, or it took nothing for too long (1008).
    SlowReader,
    /// No byte came for two heartbeats.
    Heartbeat,
    /// A message was not finished in time (1008).
    MessageDeadline,
    /// The peer's end of stream or a reset, without a Close frame.
    PeerGone,
    /// The shard's memory for unfinished messages was used up (1013).
    Overloaded,
    /// It did not say who it is, said it wrong, or its token has expired (4001).
    Authentication,
    /// It went on after many of its messages were refused for their rate (1008).
    RateLimited,
    /// An operator ended it (1008).
    Disconnected,
    /// The stream ended in the middle of a TLS session, without a Close frame.
    Truncated,
    /// A violation of the rules of TLS.
    TlsError,
}

impl CloseReason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 16] = [
        Self::ClientClose,
        Self::GoingAway,
        Self::ProtocolError,
        Self::InvalidPayload,
        Self::Policy,
        Self::TooBig,
        Self::SlowReader,
        Self::Heartbeat,
        Self::MessageDeadline,
        Self::PeerGone,
        Self::Overloaded,
        Self::Authentication,
        Self::RateLimited,
        Self::Disconnected,
        Self::Truncated,
        Self::TlsError,
    ];

    /// The value of the label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientClose => "client_close",
            Self::GoingAway => "going_away",
            Self::ProtocolError => "protocol_error",
            Self::InvalidPayload => "invalid_payload",
            Self::Policy => "policy",
            Self::TooBig => "too_big",
            Self::SlowReader => "slow_reader",
            Self::Heartbeat => "heartbeat",
            Self::MessageDeadline => "message_deadline",
            Self::PeerGone => "peer_gone",
            Self::Overloaded => "overloaded",
            Self::Authentication => "authentication",
            Self::RateLimited => "rate_limited",
            Self::Disconnected => "disconnected",
            Self::Truncated => "truncated",
            Self::TlsError => "tls_error",
        }
    }

    /// The code that goes with it most often.
    #[must_use]
    pub const fn usual_code(self) -> CodeClass {
        match self {
            Self::ClientClose => CodeClass::Code1000,
            Self::GoingAway => CodeClass::Code1001,
            Self::ProtocolError => CodeClass::Code1002,
            Self::InvalidPayload => CodeClass::Code1007,
            Self::TooBig => CodeClass::Code1009,
            Self::Policy
            | Self::SlowReader
            | Self::MessageDeadline
            | Self::RateLimited
            | Self::Disconnected => CodeClass::Code1008,
            Self::Overloaded => CodeClass::Code1013,
            Self::Authentication => CodeClass::Private,
            Self::Heartbeat | Self::PeerGone | Self::Truncated | Self::TlsError => CodeClass::None,
        }
    }
}

/// The code of the Close frame that began the end of a connection, the peer's or ours, as counted
/// in `connections_closed_total{code}`: a peer cannot make more of them than these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CodeClass {
    /// There was no Close frame, or one without a code.
    None,
    /// Normal closure.
    Code1000,
    /// Going away.
    Code1001,
    /// Protocol error.
    Code1002,
    /// Unsupported data.
    Code1003,
    /// Invalid payload.
    Code1007,
    /// Policy violation.
    Code1008,
    /// Message too big.
    Code1009,
    /// Mandatory extension.
    Code1010,
    /// Internal error.
    Code1011,
    /// Service restart.
    Code1012,
    /// Try again later.
    Code1013,
    /// Bad gateway.
    Code1014,
    /// Of libraries and frameworks (RFC 6455 section 7.4.2).
    Registered,
    /// Of applications.
    Private,
    /// Any other.
    Other,
}

impl CodeClass {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 16] = [
        Self::None,
        Self::Code1000,
        Self::Code1001,
        Self::Code1002,
        Self::Code1003,
        Self::Code1007,
        Self::Code1008,
        Self::Code1009,
        Self::Code1010,
        Self::Code1011,
        Self::Code1012,
        Self::Code1013,
        Self::Code1014,
        Self::Registered,
        Self::Private,
        Self::Other,
    ];

    /// That of a Close frame with this code.
    #[must_use]
    pub const fn of(code: Option<u16>) -> Self {
        match code {
            None => Self::None,
            Some(1000) => Self::Code1000,
            Some(1001) => Self::Code1001,
            Some(1002) => Self::Code1002,
            Some(1003) => Self::Code1003,
            Some(1007) => Self::Code1007,
            Some(1008) => Self::Code1008,
            Some(1009) => Self::Code1009,
            Some(1010) => Self::Code1010,
            Some(1011) => Self::Code1011,
            Some(1012) => Self::Code1012,
            Some(1013) => Self::Code1013,
            Some(1014) => Self::Code1014,
            Some(3000..=3999) => Self::Registered,
            Some(4000..=4999) => Self::Private,
            Some(_) => Self::Other,
        }
    }

    /// The value of the label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Code1000 => "1000",
            Self::Code1001 => "1001",
            Self::Code1002 => "1002",
            Self::Code1003 => "1003",
            Self::Code1007 => "1007",
            Self::Code1008 => "1008",
            Self::Code1009 => "1009",
            Self::Code1010 => "1010",
            Self::Code1011 => "1011",
            Self::Code1012 => "1012",
            Self::Code1013 => "1013",
            Self::Code1014 => "1014",
            Self::Registered => "3xxx",
            Self::Private => "4xxx",
            Self::Other => "other",
        }
    }
}

impl From<ProtocolError> for CloseReason {
    fn from(error: ProtocolError) -> Self {
        match error.close_code() {
            CloseCode::INVALID_PAYLOAD => Self::InvalidPayload,
            CloseCode::POLICY => Self::Policy,
            CloseCode::TOO_BIG => Self::TooBig,
            CloseCode::TRY_AGAIN => Self::Overloaded,
            _ => Self::ProtocolError,
        }
    }
}
