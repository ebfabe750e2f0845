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
    /// An operator ended it.
    Disconnected,
}

impl CloseReason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 14] = [
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
