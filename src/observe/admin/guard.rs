//! Who may ask: operators with the token, where there is one; and no page of another site that a
//! browser on this host has open.
//!
//! Such a page can send a form or a simple request anywhere, without seeing the answer; that is
//! kept out by the origin that browsers add, and by a content type that no form has. And it can
//! give its own name the address of this host (DNS rebinding); then only `Host` tells.

use std::net::Ipv6Addr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::timeout;

use super::AdminToken;
use super::error::ApiError;
use crate::limits::ADMIN_REQUEST_TIME;
use crate::web;

/// What every request must pass.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) token: Option<AdminToken>,
}

/// Judges a request, and gives its answer a bounded time: the body must have come in it, too.
pub(super) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match guard.admit(&request) {
        Ok(()) => {
            let answered = timeout(ADMIN_REQUEST_TIME, next.run(request)).await;
            answered.unwrap_or_else(|_| ApiError::request_timeout().into_response())
        }
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

impl Guard {
    fn admit(&self, request: &Request) -> Result<(), ApiError> {
        let path = request.uri().path();
        // Probes come by whatever name, or none, and move nothing.
        if is_probe(path) {
            return Ok(());
        }
        let headers = request.headers();
        let host = host(request)?;
        if self.token.is_none() && !is_own_name(name_of(host)) {
            return Err(ApiError::misdirected(format!(
                "this server does not go by the name {host:?}: use an IP address or localhost, or \
                 give it --admin-token-file"
            )));
        }
        if let Some(origin) = text(headers, &ORIGIN)?
            && origin_host(origin).is_none_or(|own| !own.eq_ignore_ascii_case(host))
        {
            return Err(ApiError::forbidden(format!("a page of {origin:?} may not ask")));
        }
        if let Some(token) = &self.token
            && !is_open(path)
            && !bearer(headers).is_some_and(|given| token.is(&given))
        {
            return Err(ApiError::unauthorized());
        }
        let has_body = [Method::POST, Method::PUT].contains(request.method());
        if has_body && !is_json(text(headers, &CONTENT_TYPE)?.unwrap_or_default()) {
            return Err(ApiError::unsupported_media_type());
        }
        Ok(())
    }
}

fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// What needs no token: a browser asks for the page before its user can show one.
fn is_open(path: &str) -> bool {
    web::dashboard_asset(path).is_some()
}

/// Whom a request is for: in its target, or in its one `Host` (RFC 9112 section 3.2).
fn host(request: &Request) -> Result<&str, ApiError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (request.uri().authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => None,
        (Some(authority), ..) => Some(authority.as_str()),
        (None, host, None) => host.and_then(|host| host.to_str().ok()),
    };
    host.ok_or_else(|| ApiError::bad_request("send one header `Host`"))
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    let port = host.rfind(':').filter(|at| !host[*at..].contains(']'));
    &host[..port.unwrap_or(host.len())]
}

/// Whether no stranger can make this name: an address, or a name that is not in the public DNS
/// (RFC 6761, RFC 6762; `internal` is reserved by ICANN). One without a dot is of the own network.
fn is_own_name(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.rsplit_once('.') {
        None => !name.is_empty(),
        Some((_, last)) => {
            let is_address = name.parse::<std::net::Ipv4Addr>().is_ok();
            let private = ["localhost", "local", "internal"];
            is_address || private.iter().any(|end| last.eq_ignore_ascii_case(end))
        }
    }
}

fn origin_host(origin: &str) -> Option<&str> {
    origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// The token of a request: in the header that is for it or, since browsers cannot send that with
/// the opening of a WebSocket, as the subprotocol `bearer.` and the token in base64url.
fn bearer(headers: &HeaderMap) -> Option<Vec<u8>> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into());
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    let token = offered.filter_map(|offer| offer.trim().strip_prefix("bearer.")).next()?;
    URL_SAFE_NO_PAD.decode(token).ok()
}

/// The value of a header that may be sent once at most.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| unreadable(name)),
        (Some(_), Some(_)) => Err(unreadable(name)),
    }
}

fn unreadable(name: &HeaderName) -> ApiError {
    ApiError::bad_request(format!("send one header `{name}` of printable ASCII"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_stranger_can_make_are_not_ours() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9090",
            "10.1.2.3:1",
            "[::1]",
            "[::1]:9090",
            "localhost",
            "LocalHost:9090",
            "localhost.",
            "a.localhost:1",
            "ringwire:9090",
            "chat.default.svc.cluster.local:9090",
            "vm.zone.internal",
        ] {
            assert!(is_own_name(name_of(host)), "{host}");
        }
        for host in [
            "",
            ":9090",
            "evil.example",
            "evil.example:9090",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "[evil.example]",
            "[::1].evil.example",
            "1.2.3",
            "evil.example.",
        ] {
            assert!(!is_own_name(name_of(host)), "{host}");
        }
    }

    #[test]
    fn a_token_comes_in_its_header_or_as_a_subprotocol() {
        let bearer_of = |name: HeaderName, value: &str| {
            let value = HeaderValue::from_str(value).expect("it is printable");
            bearer(&HeaderMap::from_iter([(name, value)]))
        };
        for value in ["Bearer abc", "bearer  abc"] {
            assert_eq!(bearer_of(AUTHORIZATION, value), Some(b"abc".to_vec()), "{value}");
        }
        for value in ["abc", "Basic abc", "Bearerabc", ""] {
            assert_eq!(bearer_of(AUTHORIZATION, value), None, "{value}");
        }
        let offers = "ringwire.overview.v1, bearer.YWJj";
        assert_eq!(bearer_of(SEC_WEBSOCKET_PROTOCOL, offers), Some(b"abc".to_vec()));
        assert_eq!(bearer_of(SEC_WEBSOCKET_PROTOCOL, "bearer.*"), None);
    }
}
