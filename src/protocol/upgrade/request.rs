//! The request (RFC 6455 section 4.2.1), and what makes two readers disagree about where it ends.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Refusal;
use super::head::{Fields, elements, is_token};
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
#[derive(Clone, Copy, Debug)]
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
        Ok(_) => return Err(Refusal::Malformed),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::FieldsTooMany),
        Err(httparse::Error::Version) => return Err(Refusal::HttpVersion),
        Err(_) => return Err(Refusal::Malformed),
    }
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Refusal::Malformed);
    };
    if version != 1 {
        return Err(Refusal::HttpVersion);
    }
    let fields = Fields::of(head);
    let (path, query) = split_target(target)?;
    let host = host(fields)?;
    check_no_body(fields)?;
    if !is_upgrade(fields) {
        return Ok(Request::Plain { method, path, query });
    }
    check_upgrade(method, fields)?;
    Ok(Request::Upgrade(UpgradeRequest {
        path,
        query,
        host,
        origin: optional(fields, "origin")?,
        authorization: optional(fields, "authorization")?,
        key: key(fields)?,
        fields,
    }))
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

/// Exactly one, not empty (RFC 9112 section 3.2), of the characters of a host and a port.
fn host(fields: Fields<'_>) -> Result<&str, Refusal> {
    let host = single(fields, "host").map_err(|_| Refusal::Host)?.ok_or(Refusal::Host)?;
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte);
    if host.is_empty() || !host.as_bytes().iter().all(is_valid) {
        return Err(Refusal::Host);
    }
    Ok(host)
}

/// A body would be read as frames here and as a body by a proxy, or the other way round.
fn check_no_body(fields: Fields<'_>) -> Result<(), Refusal> {
    let has_encoding = fields.values("transfer-encoding").next().is_some();
    let has_length = fields.values("content-length").any(|value| value != b"0");
    if has_encoding || has_length { Err(Refusal::Body) } else { Ok(()) }
}

/// Whether the client means WebSocket, were it only by one header: an incomplete upgrade is better
/// told what it lacks than shown a page. An upgrade to something else, as `h2c`, is not ours.
fn is_upgrade(fields: Fields<'_>) -> bool {
    fields.list_has("upgrade", "websocket")
        || fields.values("sec-websocket-key").next().is_some()
        || fields.values("sec-websocket-version").next().is_some()
}

/// RFC 6455 section 4.2.1, items 1 to 6 in the order that tells most.
fn check_upgrade(method: &str, fields: Fields<'_>) -> Result<(), Refusal> {
    if method != "GET" {
        return Err(Refusal::Method);
    }
    if !fields.list_has("upgrade", "websocket") {
        return Err(Refusal::UpgradeHeader);
    }
    if !fields.list_has("connection", "upgrade") {
        return Err(Refusal::ConnectionHeader);
    }
    if single(fields, "sec-websocket-version") != Ok(Some("13")) {
        return Err(Refusal::WebSocketVersion);
    }
    if !fields.values("sec-websocket-protocol").flat_map(elements).all(is_token) {
        return Err(Refusal::Subprotocol);
    }
    Ok(())
}

/// Base64 of 16 bytes, sent once.
fn key(fields: Fields<'_>) -> Result<&[u8], Refusal> {
    let key = single(fields, "sec-websocket-key").ok().flatten().ok_or(Refusal::Key)?;
    let mut nonce = [0; 18];
    match STANDARD.decode_slice(key, &mut nonce) {
        Ok(16) => Ok(key.as_bytes()),
        _ => Err(Refusal::Key),
    }
}

fn optional<'a>(fields: Fields<'a>, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    single(fields, name).map_err(|()| Refusal::FieldValue)
}

/// The value of a field that may be sent once; an error when it is not, or not ASCII.
fn single<'a>(fields: Fields<'a>, name: &'static str) -> Result<Option<&'a str>, ()> {
    let mut values = fields.values(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.is_ascii() => Ok(str::from_utf8(value).ok()),
        _ => Err(()),
    }
}
