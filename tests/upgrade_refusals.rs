//! Every way a request can be wrong (RFC 6455 section 4.2.1, RFC 9112), and the status it must get.

mod heads;

use ringwire::limits::{HEAD_BYTES_MAX, HEADER_FIELDS_MAX};
use ringwire::protocol::upgrade::Request;

use heads::{
    CONNECTION, HOST, KEY_FIELD, LINE, UPGRADE, VERSION, head, parse, plus, request_line, with,
};

fn without(line: &str) -> Vec<u8> {
    let mut lines = vec![LINE, HOST, UPGRADE, CONNECTION, KEY_FIELD, VERSION];
    lines.retain(|&kept| kept != line);
    assert_eq!(lines.len(), 5);
    head(&lines)
}

/// The status of the answer, 101 and 200 included.
fn status(received: &[u8]) -> u16 {
    match parse(received) {
        Ok(Request::Upgrade(_)) => 101,
        Ok(Request::Plain { .. }) => 200,
        Err(refusal) => refusal.status().0,
    }
}

/// Bad requests and the status each must get, named by what is wrong.
fn bad_requests() -> Vec<(&'static str, u16, Vec<u8>)> {
    let mut cases = bad_request_lines();
    cases.extend(bad_lines());
    cases.extend(bad_hosts_and_bodies());
    cases.extend(bad_upgrade_fields());
    cases.extend(bad_keys());
    cases
}

fn bad_request_lines() -> Vec<(&'static str, u16, Vec<u8>)> {
    vec![
        ("HTTP/1.0", 505, request_line("GET / HTTP/1.0")),
        ("HTTP/0.9", 505, request_line("GET / HTTP/0.9")),
        ("HTTP/1.2", 505, request_line("GET / HTTP/1.2")),
        ("HTTP/2.0", 505, request_line("GET / HTTP/2.0")),
        ("no version", 400, request_line("GET /")),
        ("version in lower case", 400, request_line("GET / http/1.1")),
        ("POST", 405, request_line("POST / HTTP/1.1")),
        ("HEAD", 405, request_line("HEAD / HTTP/1.1")),
        ("CONNECT to a path", 405, request_line("CONNECT / HTTP/1.1")),
        ("method in lower case", 405, request_line("get / HTTP/1.1")),
        ("no method", 400, request_line(" / HTTP/1.1")),
        ("method is not a token", 400, request_line("G@T / HTTP/1.1")),
        ("target without slash", 400, request_line("GET chat HTTP/1.1")),
        ("absolute target", 400, request_line("GET http://example.org/ HTTP/1.1")),
        ("asterisk", 400, request_line("GET * HTTP/1.1")),
        ("fragment in the target", 400, request_line("GET /#top HTTP/1.1")),
        ("space in the target", 400, request_line("GET /a b HTTP/1.1")),
        ("NUL in the target", 400, request_line("GET /a\0b HTTP/1.1")),
        ("no target", 400, request_line("GET HTTP/1.1")),
        ("only an empty line", 400, b"\r\n\r\n".into()),
        ("TLS client hello", 400, b"\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03\r\n\r\n".into()),
    ]
}

fn bad_lines() -> Vec<(&'static str, u16, Vec<u8>)> {
    let bare = |separator: &str| {
        [LINE, HOST, UPGRADE, CONNECTION, KEY_FIELD, VERSION, "", ""].join(separator).into_bytes()
    };
    vec![
        ("bare line feeds", 400, bare("\n")),
        ("bare carriage returns", 400, [&bare("\r")[..], b"\r\n\r\n"].concat()),
        ("one bare line feed", 400, plus("A: b\nC: d")),
        ("one bare carriage return", 400, plus("A: b\rC: d")),
        ("carriage return twice", 400, plus("A: b\r")),
        ("NUL in a value", 400, plus("A: b\0c")),
        ("NUL in a name", 400, plus("A\0: b")),
        ("control character in a value", 400, plus("A: b\x01c")),
        ("space before the colon", 400, plus("A : b")),
        ("tab before the colon", 400, plus("A\t: b")),
        ("folded value", 400, plus("A: b\r\n c")),
        ("folded with a tab", 400, plus("A: b\r\n\tc")),
        ("first field folded", 400, head(&[LINE, " A: b", HOST])),
        ("no colon", 400, plus("nonsense")),
        ("empty name", 400, plus(": b")),
        ("name is not a token", 400, plus("A(b): c")),
        ("name in UTF-8", 400, plus("Größe: 1")),
    ]
}

fn bad_hosts_and_bodies() -> Vec<(&'static str, u16, Vec<u8>)> {
    vec![
        ("no host", 400, without(HOST)),
        ("no host, plain", 400, head(&["GET / HTTP/1.1"])),
        ("empty host", 400, with("Host:")),
        ("blank host", 400, with("Host: \t ")),
        ("two hosts", 400, plus("Host: example.com")),
        ("the same host twice", 400, plus(HOST)),
        ("two hosts in one", 400, with("Host: a.example, b.example")),
        ("host with a path", 400, with("Host: example.org/x")),
        ("host with a user", 400, with("Host: user@example.org")),
        ("host in UTF-8", 400, with("Host: exämple.org")),
        ("length", 400, plus("Content-Length: 5")),
        ("length with a sign", 400, plus("Content-Length: +0")),
        ("negative length", 400, plus("Content-Length: -1")),
        ("length 00", 400, plus("Content-Length: 00")),
        ("empty length", 400, plus("Content-Length:")),
        ("two lengths", 400, plus("Content-Length: 0\r\nContent-Length: 5")),
        ("list of lengths", 400, plus("Content-Length: 0, 0")),
        ("length, plain", 400, head(&["POST / HTTP/1.1", HOST, "Content-Length: 3"])),
        ("chunked", 400, plus("Transfer-Encoding: chunked")),
        ("identity", 400, plus("Transfer-Encoding: identity")),
        ("chunked, plain", 400, head(&["POST / HTTP/1.1", HOST, "transfer-encoding: chunked"])),
        ("both", 400, plus("Content-Length: 0\r\nTransfer-Encoding: chunked")),
    ]
}

fn bad_upgrade_fields() -> Vec<(&'static str, u16, Vec<u8>)> {
    vec![
        ("no Connection", 400, without(CONNECTION)),
        ("Connection: close", 400, with("Connection: close")),
        ("Connection is not a list of words", 400, with("Connection: not-upgrade upgraded")),
        ("no Upgrade", 400, without(UPGRADE)),
        ("Upgrade: h2c", 400, with("Upgrade: h2c")),
        ("Upgrade: websockets", 400, with("Upgrade: websockets")),
        ("only a key", 400, head(&[LINE, HOST, KEY_FIELD])),
        ("only a version", 400, head(&[LINE, HOST, VERSION])),
        ("no version", 426, without(VERSION)),
        ("version 8", 426, with("Sec-WebSocket-Version: 8")),
        ("version 0", 426, with("Sec-WebSocket-Version: 0")),
        ("version 14", 426, with("Sec-WebSocket-Version: 14")),
        ("version 013", 426, with("Sec-WebSocket-Version: 013")),
        ("version +13", 426, with("Sec-WebSocket-Version: +13")),
        ("empty version", 426, with("Sec-WebSocket-Version:")),
        ("list of versions", 426, with("Sec-WebSocket-Version: 13, 8")),
        ("two versions", 426, plus("Sec-WebSocket-Version: 13")),
        ("space in a subprotocol", 400, plus("Sec-WebSocket-Protocol: a b")),
        ("bracket in a subprotocol", 400, plus("Sec-WebSocket-Protocol: ok, a(b)")),
        ("subprotocol in UTF-8", 400, plus("Sec-WebSocket-Protocol: größe")),
        ("two origins", 400, plus("Origin: http://a\r\nOrigin: http://b")),
        ("origin in UTF-8", 400, plus("Origin: http://größe.example")),
        ("two authorizations", 400, plus("Authorization: a\r\nAuthorization: b")),
    ]
}

fn bad_keys() -> Vec<(&'static str, u16, Vec<u8>)> {
    let key = |value: &str| with(&format!("Sec-WebSocket-Key: {value}"));
    vec![
        ("no key", 400, without(KEY_FIELD)),
        ("empty key", 400, key("")),
        ("two keys", 400, plus(KEY_FIELD)),
        ("key of 15 bytes", 400, key("AAAAAAAAAAAAAAAAAAAA")),
        ("key of 17 bytes", 400, key("AAAAAAAAAAAAAAAAAAAAAAA=")),
        ("key of 18 bytes", 400, key("AAAAAAAAAAAAAAAAAAAAAAAA")),
        ("key of 32 bytes", 400, key("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
        ("key without padding", 400, key("dGhlIHNhbXBsZSBub25jZQ")),
        ("key with half the padding", 400, key("dGhlIHNhbXBsZSBub25jZQ=")),
        ("key with too much padding", 400, key("dGhlIHNhbXBsZSBub25jZQ===")),
        ("key of another alphabet", 400, key("dGhlIHNhbXBs-SBub25j_Q==")),
        ("key with a space", 400, key("dGhlIHNhbXBs ZSBub25jZQ==")),
        ("key of stray bits", 400, key("dGhlIHNhbXBsZSBub25jZR==")),
        ("key in UTF-8", 400, key("dGhlIHNhbXBsZSBub25jZé==")),
    ]
}

#[test]
fn every_bad_request_gets_its_status() {
    let cases = bad_requests();
    assert!(cases.len() >= 60);
    for (name, expected, received) in cases {
        assert_eq!(status(&received), expected, "{name}");
        let end = received.len();
        for cut in 0..end {
            // Whatever arrives first, a request is never taken for a good one before its end.
            let early = parse(&received[..cut]);
            assert!(!matches!(early, Ok(Request::Upgrade(_))), "{name} cut at {cut}");
        }
    }
}

#[test]
fn fields_are_bounded_in_number() {
    let with_fields = |count: usize| {
        let mut lines = vec![LINE, HOST, UPGRADE, CONNECTION, KEY_FIELD, VERSION];
        lines.resize(1 + count, "A: b");
        head(&lines)
    };
    assert_eq!(status(&with_fields(HEADER_FIELDS_MAX)), 101);
    assert_eq!(status(&with_fields(HEADER_FIELDS_MAX + 1)), 431);
    assert_eq!(status(&with_fields(1000)), 431);
}

#[test]
fn heads_are_bounded_in_size() {
    let with_size = |size: usize| {
        let padding = size - plus("A: ").len();
        plus(&format!("A: {}", "a".repeat(padding)))
    };
    assert_eq!(with_size(HEAD_BYTES_MAX).len(), HEAD_BYTES_MAX);
    assert_eq!(status(&with_size(HEAD_BYTES_MAX)), 101);
    assert_eq!(status(&with_size(HEAD_BYTES_MAX + 1)), 431);
    assert_eq!(status(&with_size(20 * HEAD_BYTES_MAX)), 431);
}
