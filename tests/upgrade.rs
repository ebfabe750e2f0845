//! The opening handshake (RFC 6455 section 4) between honest ends, and the scanner of heads.

mod heads;

use ringwire::limits::HEAD_BYTES_MAX;
use ringwire::protocol::upgrade::{
    HeadScanner, Refusal, Request, ResponseError, UpgradeRequest, accept, check_response, refuse,
    write_request,
};

use heads::{
    CONNECTION, HOST, KEY_FIELD, LINE, UPGRADE, VERSION, head, parse, plus, request_line, with,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const UNAVAILABLE: Refusal = Refusal::Unavailable { retry_after: 7 };

fn upgrade(received: &[u8]) -> UpgradeRequest<'_> {
    match parse(received) {
        Ok(Request::Upgrade(request)) => request,
        other => panic!("{:?} got {other:?}", String::from_utf8_lossy(received)),
    }
}

#[test]
fn the_example_of_the_specification() {
    let received = head(&[
        "GET /chat?room=7&x=? HTTP/1.1",
        "Host: server.example.com:8080",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Origin: http://example.com",
        "Sec-WebSocket-Protocol: chat, superchat",
        "Sec-WebSocket-Version: 13",
    ]);
    let request = upgrade(&received);
    assert_eq!((request.path, request.query), ("/chat", Some("room=7&x=?")));
    assert_eq!(request.host, "server.example.com:8080");
    assert_eq!(request.origin, Some("http://example.com"));
    assert_eq!(request.authorization, None);
    assert_eq!(request.protocols().collect::<Vec<_>>(), ["chat", "superchat"]);

    let mut out = Vec::new();
    accept(&mut out, &request, Some("chat"), None);
    let expected = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        &format!("Sec-WebSocket-Accept: {ACCEPT}"),
        "Sec-WebSocket-Protocol: chat",
    ];
    assert_eq!(out, head(&expected));
}

#[test]
fn variations_that_are_valid() {
    let cases = [
        with("connection: keep-alive, UPGRADE"),
        with("CONNECTION:Upgrade"),
        with("Connection:\t upgrade\t , close"),
        with("Upgrade: WebSocket"),
        with("Upgrade: h2c, websocket"),
        with("Host: [::1]:8080"),
        with("Host: EXAMPLE.org."),
        plus("Connection: keep-alive"),
        plus("Content-Length: 0"),
        plus("Sec-WebSocket-Extensions: constructor; x=\"y, z\", ,, ;"),
        plus("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
        plus("Sec-WebSocket-Protocol: ,a, ,b,"),
        plus("Authorization: Bearer a.b.c"),
        plus("Origin: null"),
        plus("Cookie: caf\u{e9}"),
        plus("X-Empty:"),
        request_line("GET / HTTP/1.1"),
        request_line("GET /?token=a.b.c HTTP/1.1"),
        request_line("GET //double/./..;v=1/%2e HTTP/1.1"),
        [b"\r\n", &request_line(LINE)[..]].concat(),
        [&request_line(LINE)[..], b"\x81\x80abcd"].concat(),
    ];
    for received in cases {
        upgrade(&received);
    }
}

#[test]
fn fields_are_found_in_any_case_and_number() {
    let received = head(&[
        LINE,
        HOST,
        "UPGRADE: websocket",
        "connection: close",
        "connection: Upgrade",
        KEY_FIELD,
        VERSION,
        "Sec-WebSocket-Protocol: one , two",
        "X-Token:  \t spaced out \t ",
        "sec-websocket-protocol: three",
        "Sec-WebSocket-Extensions: a; b=1",
        "Sec-WebSocket-Extensions: c",
        "X-Token: second",
        "Authorization: Bearer x",
    ]);
    let request = upgrade(&received);
    assert_eq!(request.protocols().collect::<Vec<_>>(), ["one", "two", "three"]);
    assert_eq!(request.extensions().collect::<Vec<_>>(), ["a; b=1", "c"]);
    assert_eq!(request.header("x-TOKEN"), Some("spaced out"));
    assert_eq!(request.header("x-missing"), None);
    assert_eq!(request.authorization, Some("Bearer x"));
}

#[test]
fn requests_without_an_upgrade_are_plain() {
    let cases = [
        (head(&["GET / HTTP/1.1", HOST]), "GET", "/", None),
        (head(&["HEAD /healthz HTTP/1.1", HOST, "Connection: close"]), "HEAD", "/healthz", None),
        (head(&["POST /a?b HTTP/1.1", HOST, "Content-Length: 0"]), "POST", "/a", Some("b")),
        (
            head(&["GET / HTTP/1.1", HOST, "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings"]),
            "GET",
            "/",
            None,
        ),
        (head(&["GET /? HTTP/1.1", HOST, "Connection: upgrade"]), "GET", "/", Some("")),
    ];
    for (received, expected_method, expected_path, expected_query) in cases {
        match parse(&received) {
            Ok(Request::Plain { method, path, query }) => {
                assert_eq!((method, path, query), (expected_method, expected_path, expected_query));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_scanner_finds_the_same_end_byte_by_byte() {
    let received = [&plus("A: b")[..], b"\x81\x80abcd\r\n\r\n"].concat();
    let end = plus("A: b").len();
    assert_eq!(HeadScanner::new().end_of_head(&received), Ok(Some(end)));
    let mut scanner = HeadScanner::new();
    for size in 0..end {
        assert_eq!(scanner.end_of_head(&received[..size]), Ok(None), "{size} bytes");
    }
    assert_eq!(scanner.end_of_head(&received[..end]), Ok(Some(end)));
}

#[test]
fn a_scanner_refuses_an_endless_head_at_its_bound() {
    let endless = vec![b'a'; HEAD_BYTES_MAX + 1];
    let mut scanner = HeadScanner::new();
    for size in 0..HEAD_BYTES_MAX {
        assert_eq!(scanner.end_of_head(&endless[..size]), Ok(None));
    }
    let refused = Err(Refusal::HeadTooLarge);
    assert_eq!(scanner.end_of_head(&endless[..HEAD_BYTES_MAX]), refused);
    assert_eq!(scanner.end_of_head(&endless), refused, "again");
}

#[test]
fn a_scanner_refuses_a_bare_line_feed_as_it_comes() {
    let mut scanner = HeadScanner::new();
    assert_eq!(scanner.end_of_head(b"GET / HTTP/1.1"), Ok(None));
    assert_eq!(scanner.end_of_head(b"GET / HTTP/1.1\n"), Err(Refusal::LineEnding));
    assert_eq!(scanner.end_of_head(b"GET / HTTP/1.1\nHost: a\r\n\r\n"), Err(Refusal::LineEnding));
}

#[test]
fn refusals_are_whole_responses() {
    let response = |refusal: Refusal| {
        let mut out = Vec::new();
        refuse(&mut out, &refusal);
        String::from_utf8(out).expect("ASCII")
    };
    for (refusal, line, field) in [
        (Refusal::Host, "HTTP/1.1 400 Bad Request", "Connection: close"),
        (Refusal::Unauthorized, "HTTP/1.1 401 Unauthorized", "WWW-Authenticate: Bearer"),
        (Refusal::NotFound, "HTTP/1.1 404 Not Found", "Connection: close"),
        (Refusal::Method, "HTTP/1.1 405 Method Not Allowed", "Allow: GET"),
        (Refusal::WebSocketVersion, "HTTP/1.1 426 Upgrade Required", "Sec-WebSocket-Version: 13"),
        (UNAVAILABLE, "HTTP/1.1 503 Service Unavailable", "Retry-After: 7"),
    ] {
        let response = response(refusal);
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        let lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!(lines[0], line);
        assert!(lines.contains(&field), "{head}");
        assert!(lines.contains(&format!("Content-Length: {}", body.len()).as_str()), "{head}");
        assert!(
            lines.iter().any(|line| line.starts_with("Connection: ") && line.ends_with("close"))
        );
        assert_eq!(body.trim_end(), refusal.detail());
    }
}

fn answer(request: &[u8], protocol: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    accept(&mut out, &upgrade(request), protocol, None);
    out
}

#[test]
fn a_client_and_a_server_agree() {
    let mut request = Vec::new();
    let extra = [("Origin", "http://a.example"), ("Authorization", "Bearer t")];
    write_request(&mut request, "a.example:81", "/x?y", KEY, &["v2", "v1"], &extra);
    let seen = upgrade(&request);
    assert_eq!((seen.host, seen.path, seen.query), ("a.example:81", "/x", Some("y")));
    assert_eq!((seen.origin, seen.authorization), (Some("http://a.example"), Some("Bearer t")));
    assert_eq!(seen.protocols().collect::<Vec<_>>(), ["v2", "v1"]);
    for protocol in [None, Some("v1"), Some("v2")] {
        let response = answer(&request, protocol);
        assert_eq!(HeadScanner::new().end_of_head(&response), Ok(Some(response.len())));
        let accepted =
            check_response(&response, KEY, &["v2", "v1"], None).expect("a good response");
        assert_eq!(accepted.protocol, protocol);
    }
}

#[test]
fn a_client_refuses_every_bad_response() {
    const OK: &str = "HTTP/1.1 101 Switching Protocols";
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}");
    let good = [OK, UPGRADE, CONNECTION, &accept];
    assert!(check_response(&head(&good), KEY, &[], None).is_ok());

    let replaced = |index: usize, line: &str| {
        let mut lines = good;
        lines[index] = line;
        check_response(&head(&lines), KEY, &["v1"], None).expect_err(line)
    };
    let added = |line: &str| {
        let lines = [&good[..], &[line]].concat();
        check_response(&head(&lines), KEY, &["v1"], None).expect_err(line)
    };
    assert_eq!(replaced(0, "HTTP/1.0 101 Switching Protocols"), ResponseError::Malformed);
    assert_eq!(replaced(0, "nonsense"), ResponseError::Malformed);
    assert_eq!(replaced(0, "HTTP/1.1 200 OK").status(), Some(200));
    assert_eq!(replaced(0, "HTTP/1.1 503 Service Unavailable"), ResponseError::Status(503));
    assert_eq!(replaced(1, "Upgrade: h2c"), ResponseError::UpgradeHeader);
    assert_eq!(replaced(2, "Connection: close"), ResponseError::ConnectionHeader);
    assert_eq!(replaced(3, "A: b"), ResponseError::AcceptKey);
    assert_eq!(replaced(3, &accept.to_uppercase()), ResponseError::AcceptKey);
    assert_eq!(added(&accept), ResponseError::AcceptKey);
    assert_eq!(added("Sec-WebSocket-Protocol: v2"), ResponseError::Protocol);
    assert_eq!(added("Sec-WebSocket-Protocol: v1, v1"), ResponseError::Protocol);
    assert_eq!(added("Sec-WebSocket-Extensions: permessage-deflate"), ResponseError::Extension);
    let unfinished = &head(&good)[..60];
    assert_eq!(check_response(unfinished, KEY, &[], None), Err(ResponseError::Malformed));
}
