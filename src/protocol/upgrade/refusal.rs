//! Why a request gets no 101: status, and words that tell the client what to mend.

use std::borrow::Cow;
use std::fmt;

use crate::limits::{HEAD_BYTES_MAX, HEADER_FIELDS_MAX};

const _: () = assert!(HEAD_BYTES_MAX == 8192 && HEADER_FIELDS_MAX == 64, "as the details tell");

/// A reason not to upgrade, written by [`refuse`](super::refuse).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Not a request head of HTTP/1.1.
    Malformed,
    /// A line feed without the carriage return in front of it.
    LineEnding,
    /// The target is not a path.
    Target,
    /// No `Host`, an invalid one, or several.
    Host,
    /// The request has, or may have, a body.
    Body,
    /// A field whose value matters here is not ASCII.
    FieldValue,
    /// A proxy whose word counts tells something else than the address of its client.
    Forwarded,
    /// `Connection` does not contain `Upgrade`.
    ConnectionHeader,
    /// `Upgrade` does not contain `websocket`.
    UpgradeHeader,
    /// No `Sec-WebSocket-Key`, several, or not 16 bytes in base64.
    Key,
    /// `Sec-WebSocket-Protocol` is not a list of tokens.
    Subprotocol,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// Pages of this origin may not connect.
    Origin,
    /// Nothing is served at this path.
    NotFound,
    /// An upgrade must be a GET.
    Method,
    /// The request did not arrive in time.
    Timeout,
    /// The version of WebSocket is not 13.
    WebSocketVersion,
    /// Too many requests or connections of this client.
    TooMany,
    /// The head exceeds [`HEAD_BYTES_MAX`].
    HeadTooLarge,
    /// More fields than [`HEADER_FIELDS_MAX`].
    FieldsTooMany,
    /// The server is full, short of memory or about to stop.
    Unavailable {
        /// Seconds after which to come again.
        retry_after: u16,
    },
    /// The version of HTTP is not 1.1.
    HttpVersion,
}

impl Refusal {
    /// The status code and its phrase.
    pub const fn status(&self) -> (u16, &'static str) {
        match self {
            Self::Malformed
            | Self::LineEnding
            | Self::Target
            | Self::Host
            | Self::Body
            | Self::FieldValue
            | Self::Forwarded
            | Self::ConnectionHeader
            | Self::UpgradeHeader
            | Self::Key
            | Self::Subprotocol => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Origin => (403, "Forbidden"),
            Self::NotFound => (404, "Not Found"),
            Self::Method => (405, "Method Not Allowed"),
            Self::Timeout => (408, "Request Timeout"),
            Self::WebSocketVersion => (426, "Upgrade Required"),
            Self::TooMany => (429, "Too Many Requests"),
            Self::HeadTooLarge | Self::FieldsTooMany => (431, "Request Header Fields Too Large"),
            Self::Unavailable { .. } => (503, "Service Unavailable"),
            Self::HttpVersion => (505, "HTTP Version Not Supported"),
        }
    }

    /// What is wrong and what to do, in one sentence: the body of the response.
    pub const fn detail(&self) -> &'static str {
        match self {
            Self::Malformed => "The request head is not valid HTTP/1.1.",
            Self::LineEnding => "Every line of the request head must end with CR LF.",
            Self::Target => "The request target must be a path that begins with '/'.",
            Self::Host => "The request must have exactly one valid Host header.",
            Self::Body => {
                "The request must not have a body: send no Content-Length and no Transfer-Encoding."
            }
            Self::FieldValue => {
                "The values of Origin and Authorization must be ASCII, and sent once."
            }
            Self::Forwarded => {
                "The proxy in front of the server must send addresses in X-Forwarded-For, \
                 or in X-Real-IP."
            }
            Self::ConnectionHeader => {
                "The Connection header must contain \"Upgrade\": \
                 does a proxy in front of the server drop it?"
            }
            Self::UpgradeHeader => {
                "The Upgrade header must contain \"websocket\": \
                 does a proxy in front of the server drop it?"
            }
            Self::Key => "The request must have exactly one Sec-WebSocket-Key: 16 bytes in base64.",
            Self::Subprotocol => "Sec-WebSocket-Protocol must be a comma-separated list of tokens.",
            Self::Unauthorized => {
                "Valid credentials are needed: send ?token=... or an Authorization: Bearer header."
            }
            Self::Origin => "Pages of this origin may not connect to this server.",
            Self::NotFound => "Nothing is served at this path.",
            Self::Method => "A WebSocket upgrade must be a GET request.",
            Self::Timeout => "The request did not arrive in time.",
            Self::WebSocketVersion => "The Sec-WebSocket-Version header must be 13.",
            Self::TooMany => "Too many requests or connections: try again later.",
            Self::HeadTooLarge => {
                "The request head exceeds 8192 bytes: send fewer cookies or a shorter URL."
            }
            Self::FieldsTooMany => "The request head has more than 64 fields.",
            Self::Unavailable { .. } => "The server takes no new connections now: try again later.",
            Self::HttpVersion => "The request must be HTTP/1.1.",
        }
    }

    /// The header lines this status calls for, each with its line ending.
    pub(super) fn header_lines(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Unauthorized => "WWW-Authenticate: Bearer\r\n",
            Self::Method => "Allow: GET\r\n",
            Self::WebSocketVersion => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            Self::TooMany => "Retry-After: 5\r\n",
            Self::Unavailable { retry_after } => {
                return Cow::Owned(format!("Retry-After: {retry_after}\r\n"));
            }
            _ => "",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.detail())
    }
}

impl std::error::Error for Refusal {}
