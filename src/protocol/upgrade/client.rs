//! The client's side of the handshake (RFC 6455 section 4.1).

use std::fmt;

use super::accept_key;
use super::head::{Fields, has_element};
use crate::limits::HEADER_FIELDS_MAX;
use crate::protocol::deflate::{Agreement, DeflatePolicy};

/// Appends the request for an upgrade. `key` is 16 random bytes in base64; `path` begins with `/`
/// and may have a query; `extra` are further fields. Nothing given may contain line breaks.
pub fn write_request(
    out: &mut Vec<u8>,
    host: &str,
    path: &str,
    key: &str,
    protocols: &[&str],
    extra: &[(&str, &str)],
) {
    let mut line = |parts: &[&str]| {
        for part in parts {
            debug_assert!(!part.contains(['\r', '\n']), "a line break in {part:?}");
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    };
    line(&["GET ", path, " HTTP/1.1"]);
    line(&["Host: ", host]);
    line(&["Upgrade: websocket"]);
    line(&["Connection: Upgrade"]);
    line(&["Sec-WebSocket-Key: ", key]);
    line(&["Sec-WebSocket-Version: 13"]);
    if !protocols.is_empty() {
        line(&["Sec-WebSocket-Protocol: ", &protocols.join(", ")]);
    }
    for (name, value) in extra {
        line(&[name, ": ", value]);
    }
    line(&[]);
}

/// What the server agreed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted<'a> {
    /// The subprotocol the server chose, one of those asked for.
    pub protocol: Option<&'a str>,
    /// How messages may be compressed (RFC 7692 section 7.1), if they may.
    pub agreement: Option<Agreement>,
}

/// Why a response is not the 101 to the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ResponseError {
    /// Not a response head of HTTP/1.1.
    Malformed,
    /// Another status than 101.
    Status(u16),
    /// No `Upgrade: websocket`.
    UpgradeHeader,
    /// No `Connection: Upgrade`.
    ConnectionHeader,
    /// `Sec-WebSocket-Accept` does not answer the key.
    AcceptKey,
    /// A subprotocol that was not asked for, or several.
    Protocol,
    /// An extension, or a parameter of one, that was not asked for.
    Extension,
}

impl ResponseError {
    /// The status, if it is what was wrong.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(*status),
            _ => None,
        }
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Malformed => "the response is not valid HTTP/1.1",
            Self::Status(status) => {
                return write!(formatter, "the server answered {status} instead of 101");
            }
            Self::UpgradeHeader => "the response has no Upgrade: websocket",
            Self::ConnectionHeader => "the response has no Connection: Upgrade",
            Self::AcceptKey => "Sec-WebSocket-Accept does not answer the key",
            Self::Protocol => "the server chose a subprotocol that was not asked for",
            Self::Extension => "the server chose an extension that was not asked for",
        })
    }
}

impl std::error::Error for ResponseError {}

/// Checks a response head, its empty line included, against the `key` and the `protocols` of the
/// request (RFC 6455 section 4.1, the second list of rules), and against the policy that was
/// offered with [`Agreement::offer`], if one was.
///
/// # Errors
///
/// The first rule the response breaks; the connection must then be closed.
pub fn check_response<'a>(
    head: &'a [u8],
    key: &str,
    protocols: &[&str],
    deflate: Option<DeflatePolicy>,
) -> Result<Accepted<'a>, ResponseError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(head).map_err(|_| ResponseError::Malformed)?;
    let (true, Some(1), Some(status)) = (parsed.is_complete(), response.version, response.code)
    else {
        return Err(ResponseError::Malformed);
    };
    if status != 101 {
        return Err(ResponseError::Status(status));
    }
    let fields = Fields::of(head);
    if !fields.values("upgrade").any(|list| has_element(list, "websocket")) {
        return Err(ResponseError::UpgradeHeader);
    }
    if !fields.values("connection").any(|list| has_element(list, "upgrade")) {
        return Err(ResponseError::ConnectionHeader);
    }
    let mut accepts = fields.values("sec-websocket-accept");
    if accepts.next() != Some(&accept_key(key.as_bytes())) || accepts.next().is_some() {
        return Err(ResponseError::AcceptKey);
    }
    let agreement = chosen_extension(fields, deflate)?;
    Ok(Accepted { protocol: chosen_protocol(fields, protocols)?, agreement })
}

fn chosen_extension(
    fields: Fields<'_>,
    deflate: Option<DeflatePolicy>,
) -> Result<Option<Agreement>, ResponseError> {
    // What is not even text was not offered: it reads as a list of nothing, which is refused.
    let mut values = fields
        .values("sec-websocket-extensions")
        .map(|value| str::from_utf8(value).unwrap_or_default());
    match deflate {
        Some(policy) => {
            Agreement::of_response(policy, values).map_err(|_| ResponseError::Extension)
        }
        None if values.next().is_some() => Err(ResponseError::Extension),
        None => Ok(None),
    }
}

fn chosen_protocol<'a>(
    fields: Fields<'a>,
    protocols: &[&str],
) -> Result<Option<&'a str>, ResponseError> {
    let mut values = fields.values("sec-websocket-protocol");
    let Some(value) = values.next() else { return Ok(None) };
    match str::from_utf8(value) {
        Ok(chosen) if protocols.contains(&chosen) && values.next().is_none() => Ok(Some(chosen)),
        _ => Err(ResponseError::Protocol),
    }
}
