//! The request (RFC 6455 section 4.2.1), and what makes two readers disagree about where it ends.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Refusal;
use super::head::{Fields, elements, has_element, is_token};
use crate::limits::HEADER_FIELDS_MAX;

/// A request without a body.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// A valid request to speak WebSocket.
    Upgrade(UpgradeRequest<'a>),
    /// Anything else, to be answered with a page or an error.
    Plain {
        /// As sent: `GET`, `HEAD`, …
        method: &'a str,
        /// Begins with `/`, not decoded.
        path: &'a str,
        /// What follows the first `?`, not decoded.
        query: Option<&'a str>,
    },
}

/// A valid request to speak WebSocket. It borrows the head.
#[derive(Clone, Copy)]
pub struct UpgradeRequest<'a> {
    /// Begins with `/`, not decoded.
    pub path: &'a str,
    /// What follows the first `?`, not decoded.
    pub query: Option<&'a str>,
    /// The value of `Host`: never empty.
    pub host: &'a str,
    /// The origin of the page, from browsers only.
    pub origin: Option<&'a str>,
    /// The credentials, scheme included.
    pub authorization: Option<&'a str>,
    key: &'a [u8],
    fields: Fields<'a>,
}

impl<'a> UpgradeRequest<'a> {
    /// The subprotocols the client speaks, the best first.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> {
        self.fields
            .values("sec-websocket-protocol")
            .flat_map(elements)
            .filter_map(|element| str::from_utf8(element).ok())
    }

    /// The extensions the client offers: the values of the fields as sent, not checked.
    pub fn extensions(&self) -> impl Iterator<Item = &'a str> {
        self.fields
            .values("sec-websocket-extensions")
            .filter_map(|value| str::from_utf8(value).ok())
    }

    /// The value of the first field of this name, in any case; `None` when it is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut fields = self.fields.iter();
        let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))?;
        str::from_utf8(value).ok()
    }

    /// The value of `Sec-WebSocket-Key`: 16 bytes in base64.
    pub(super) fn key(&self) -> &'a [u8] {
        self.key
    }
}

/// Without the query and the fields: both may hold credentials, which no log should show.
impl fmt::Debug for UpgradeRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UpgradeRequest")
            .field("path", &self.path)
            .field("host", &self.host)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Parses a head that a [`HeadScanner`](super::HeadScanner) found, its empty line included.
///
/// # Errors
///
/// The [`Refusal`] to answer with before the connection is closed.
pub fn parse_request(head: &[u8]) -> Result<Request<'_>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(size)) if size == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::FieldsTooMany),
        Err(httparse::Error::Version) => return Err(version_refusal(head)),
        Ok(_) | Err(_) => return Err(Refusal::Malformed),
    }
    let (Some(method), Some(target), Some(1)) = (request.method, request.path, request.version)
    else {
        return Err(Refusal::HttpVersion);
    };
    let (path, query) = split_target(target)?;
    let relevant = Relevant::read(request.headers);
    let host = relevant.host()?;
    if relevant.body {
        return Err(Refusal::Body);
    }
    if !relevant.is_upgrade() {
        return Ok(Request::Plain { method, path, query });
    }
    relevant.check_upgrade(method)?;
    Ok(Request::Upgrade(UpgradeRequest {
        path,
        query,
        host,
        origin: relevant.origin.text()?,
        authorization: relevant.authorization.text()?,
        key: relevant.key()?,
        fields: Fields::of(head),
    }))
}

/// What the fields say that an upgrade depends on, read in one pass.
#[derive(Default)]
struct Relevant<'a> {
    host: Single<'a>,
    origin: Single<'a>,
    authorization: Single<'a>,
    key: Single<'a>,
    version: Single<'a>,
    /// `Connection` contains `upgrade`.
    connection: bool,
    /// `Upgrade` contains `websocket`.
    upgrade: bool,
    /// There is a body, or two readers could differ about it.
    body: bool,
    /// `Sec-WebSocket-Protocol` contains something else than tokens.
    bad_subprotocol: bool,
}

impl<'a> Relevant<'a> {
    fn read(headers: &[httparse::Header<'a>]) -> Self {
        let mut found = Self::default();
        for &httparse::Header { name, value } in headers {
            let value = value.trim_ascii();
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            if is("host") {
                found.host.add(value);
            } else if is("connection") {
                found.connection |= has_element(value, "upgrade");
            } else if is("upgrade") {
                found.upgrade |= has_element(value, "websocket");
            } else if is("sec-websocket-key") {
                found.key.add(value);
            } else if is("sec-websocket-version") {
                found.version.add(value);
            } else if is("sec-websocket-protocol") {
                found.bad_subprotocol |= !elements(value).all(is_token);
            } else if is("origin") {
                found.origin.add(value);
            } else if is("authorization") {
                found.authorization.add(value);
            } else if is("content-length") {
                found.body |= value != b"0";
            } else if is("transfer-encoding") {
                found.body = true;
            }
        }
        found
    }

    /// Exactly one, not empty (RFC 9112 section 3.2), of the characters of a host and a port.
    fn host(&self) -> Result<&'a str, Refusal> {
        let is_valid =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte);
        match self.host.text() {
            Ok(Some(host)) if !host.is_empty() && host.bytes().all(is_valid) => Ok(host),
            _ => Err(Refusal::Host),
        }
    }

    /// Whether the client means WebSocket, were it only by one field: an incomplete upgrade is
    /// better told what it lacks than shown a page. An upgrade to something else is not ours.
    fn is_upgrade(&self) -> bool {
        self.upgrade || self.key.is_present() || self.version.is_present()
    }

    /// RFC 6455 section 4.2.1, items 1 to 6 in the order that tells most.
    fn check_upgrade(&self, method: &str) -> Result<(), Refusal> {
        if method != "GET" {
            return Err(Refusal::Method);
        }
        if !self.upgrade {
            return Err(Refusal::UpgradeHeader);
        }
        if !self.connection {
            return Err(Refusal::ConnectionHeader);
        }
        if self.version.text() != Ok(Some("13")) {
            return Err(Refusal::WebSocketVersion);
        }
        if self.bad_subprotocol {
            return Err(Refusal::Subprotocol);
        }
        Ok(())
    }

    /// Base64 of 16 bytes, sent once.
    fn key(&self) -> Result<&'a [u8], Refusal> {
        let Ok(Some(key)) = self.key.text() else { return Err(Refusal::Key) };
        let mut nonce = [0; 18];
        match STANDARD.decode_slice(key, &mut nonce) {
            Ok(16) => Ok(key.as_bytes()),
            _ => Err(Refusal::Key),
        }
    }
}

/// A field that may be sent once.
#[derive(Default)]
enum Single<'a> {
    #[default]
    Absent,
    Present(&'a [u8]),
    Repeated,
}

impl<'a> Single<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::Present(value),
            Self::Present(_) | Self::Repeated => Self::Repeated,
        };
    }

    fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The value; an error when it was repeated or is not ASCII.
    fn text(&self) -> Result<Option<&'a str>, Refusal> {
        match self {
            Self::Absent => Ok(None),
            Self::Present(value) if value.is_ascii() => Ok(str::from_utf8(value).ok()),
            Self::Present(_) | Self::Repeated => Err(Refusal::FieldValue),
        }
    }
}

/// Only the origin form: a path, and no fragment (RFC 6455 section 3).
fn split_target(target: &str) -> Result<(&str, Option<&str>), Refusal> {
    if !target.starts_with('/') || target.contains('#') {
        return Err(Refusal::Target);
    }
    Ok(match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    })
}

/// Another version of HTTP, or something else where the version should be.
fn version_refusal(head: &[u8]) -> Refusal {
    let third_word = head.trim_ascii_start().split(|&byte| byte == b' ').nth(2);
    match third_word {
        Some(word) if word.starts_with(b"HTTP/") => Refusal::HttpVersion,
        _ => Refusal::Malformed,
    }
}
