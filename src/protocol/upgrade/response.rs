//! The server's answers: 101, and refusals.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::{Refusal, UpgradeRequest};

/// Appended to the key before it is hashed (RFC 6455 section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Appends the 101 that ends the handshake (RFC 6455 section 4.2.2). `protocol` must be one of
/// those the request offers, `extensions` the answer to what it offers of these
/// ([`Agreement::negotiate`](crate::protocol::deflate::Agreement::negotiate)).
pub fn accept(
    out: &mut Vec<u8>,
    request: &UpgradeRequest<'_>,
    protocol: Option<&str>,
    extensions: Option<&str>,
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept_key(request.key()));
    if let Some(protocol) = protocol {
        debug_assert!(request.protocols().any(|offered| offered == protocol), "not offered");
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(protocol.as_bytes());
    }
    if let Some(extensions) = extensions {
        debug_assert!(request.extensions().next().is_some(), "not offered");
        out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
        out.extend_from_slice(extensions.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// Appends a whole response that refuses; the caller closes the connection after it.
pub fn refuse(out: &mut Vec<u8>, refusal: &Refusal) {
    let (code, phrase) = refusal.status();
    let lines = refusal.header_lines();
    let detail = refusal.detail();
    let length = detail.len() + 1;
    let connection = if lines.contains("Upgrade:") { "Upgrade, close" } else { "close" };
    out.extend_from_slice(
        format!(
            "HTTP/1.1 {code} {phrase}\r\n\
             Connection: {connection}\r\n\
             {lines}\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\n\
             \r\n\
             {detail}\n"
        )
        .as_bytes(),
    );
}

/// The `Sec-WebSocket-Accept` that proves a `Sec-WebSocket-Key` was read (RFC 6455 section 4.2.2).
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_SUFFIX).finalize();
    let mut text = [0; 28];
    let size = STANDARD.encode_slice(digest, &mut text);
    debug_assert_eq!(size, Ok(text.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_key_of_the_specification() {
        assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
