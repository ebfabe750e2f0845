//! Request heads, good and nearly so: what the tests of the upgrade share.

use ringwire::protocol::upgrade::{HeadScanner, Refusal, Request, parse_request};

pub(crate) const LINE: &str = "GET /chat HTTP/1.1";
pub(crate) const HOST: &str = "Host: example.org";
pub(crate) const UPGRADE: &str = "Upgrade: websocket";
pub(crate) const CONNECTION: &str = "Connection: Upgrade";
pub(crate) const KEY_FIELD: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const VERSION: &str = "Sec-WebSocket-Version: 13";

pub(crate) fn head(lines: &[&str]) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

/// A good request of which the line that begins like `replacement`, up to the colon, is replaced.
pub(crate) fn with(replacement: &str) -> Vec<u8> {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let lines = [LINE, HOST, UPGRADE, CONNECTION, KEY_FIELD, VERSION]
        .map(|line| if name(line) == name(replacement) { replacement } else { line });
    head(&lines)
}

pub(crate) fn plus(extra: &str) -> Vec<u8> {
    head(&[LINE, HOST, UPGRADE, CONNECTION, KEY_FIELD, VERSION, extra])
}

pub(crate) fn request_line(line: &str) -> Vec<u8> {
    head(&[line, HOST, UPGRADE, CONNECTION, KEY_FIELD, VERSION])
}

pub(crate) fn parse(received: &[u8]) -> Result<Request<'_>, Refusal> {
    let end = HeadScanner::new().end_of_head(received)?.ok_or(Refusal::Timeout)?;
    parse_request(&received[..end])
}
