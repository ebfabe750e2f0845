//! PROXY headers, good and bad, cut at every byte.

use ringwire::limits::{PROXY_HEADER_BYTES_MAX, PROXY_LINE_BYTES_MAX};
use ringwire::protocol::ProxyHeaderError::{Length, Line, Signature, TooLarge, Unsupported};
use ringwire::protocol::ProxySource::{Balancer, Client, Unknown};
use ringwire::protocol::{ProxyHeader, ProxyHeaderError, ProxySource, parse_proxy_header};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("a body is short").to_be_bytes();
    [SIGNATURE, &[command, family], &length, body].concat()
}

/// 192.0.2.1:5000 to 192.0.2.2:80.
const V4: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 0x13, 0x88, 0, 80];

/// [2001:db8::1]:5000 to [2001:db8::2]:80.
fn v6() -> Vec<u8> {
    let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [&address(1)[..], &address(2), &[0x13, 0x88, 0, 80]].concat()
}

fn client(address: &str) -> ProxySource {
    Client(address.parse().expect("an address and a port"))
}

fn good() -> Vec<(&'static str, Vec<u8>, ProxySource)> {
    let line = |text: &str| format!("{text}\r\n").into_bytes();
    let longest_address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {longest_address} {longest_address} 65535 65535");
    assert_eq!(longest.len() + 2, PROXY_LINE_BYTES_MAX);
    let [ssl, padding] = [&[0x20, 0, 3, 1, 2, 3][..], &[4, 0, 2, 0, 0]];
    let largest = vec![0xff; PROXY_HEADER_BYTES_MAX - 16 - V4.len()];
    vec![
        ("TCP4", line("PROXY TCP4 192.0.2.1 192.0.2.2 5000 80"), client("192.0.2.1:5000")),
        ("TCP6", line("PROXY TCP6 2001:db8::1 ::1 5000 80"), client("[2001:db8::1]:5000")),
        ("ports", line("PROXY TCP4 192.0.2.1 192.0.2.2 0 65535"), client("192.0.2.1:0")),
        ("UNKNOWN", line("PROXY UNKNOWN"), Unknown),
        ("UNKNOWN with more", line("PROXY UNKNOWN \0 \r\t any"), Unknown),
        ("longest line", line(&longest), Unknown),
        ("v2, IPv4", binary(0x21, 0x11, V4), client("192.0.2.1:5000")),
        ("v2, IPv6", binary(0x21, 0x21, &v6()), client("[2001:db8::1]:5000")),
        ("more", binary(0x21, 0x11, &[V4, ssl, padding].concat()), client("192.0.2.1:5000")),
        ("largest", binary(0x21, 0x11, &[V4, &largest].concat()), client("192.0.2.1:5000")),
        ("v2, UDP", binary(0x21, 0x12, V4), Unknown),
        ("v2, UDP over IPv6", binary(0x21, 0x22, &v6()), Unknown),
        ("v2, Unix", binary(0x21, 0x31, &[b'x'; 216]), Unknown),
        ("v2, Unix datagrams", binary(0x21, 0x32, &[b'x'; 216]), Unknown),
        ("v2, unspecified", binary(0x21, 0x00, b""), Unknown),
        ("v2, unspecified with more", binary(0x21, 0x00, padding), Unknown),
        ("v2, LOCAL", binary(0x20, 0x00, b""), Balancer),
        ("v2, LOCAL with addresses", binary(0x20, 0x11, V4), Balancer),
        ("v2, LOCAL of any family", binary(0x20, 0xff, b"x"), Balancer),
    ]
}

fn bad() -> Vec<(&'static str, Vec<u8>, ProxyHeaderError)> {
    let line = |text: &str| format!("{text}\r\n").into_bytes();
    let mut cases = vec![
        ("a request", line("GET / HTTP/1.1"), Signature),
        ("lower case", line("proxy TCP4 192.0.2.1 192.0.2.2 5000 80"), Signature),
        ("a blank in front", line(" PROXY TCP4 192.0.2.1 192.0.2.2 5000 80"), Signature),
        ("PROXY alone", line("PROXY"), Signature),
        ("another signature", b"\r\n\r\n\0\r\nQUIT\r".to_vec(), Signature),
        ("empty lines", b"\r\n\r\n\r\n".to_vec(), Signature),
        ("no end", format!("PROXY UNKNOWN {}", "x".repeat(100)).into_bytes(), TooLarge),
        ("version 1", binary(0x11, 0x11, V4), Unsupported),
        ("version 3", binary(0x31, 0x11, V4), Unsupported),
        ("another command", binary(0x22, 0x11, V4), Unsupported),
        ("another family", binary(0x21, 0x41, V4), Unsupported),
        ("another protocol", binary(0x21, 0x13, V4), Unsupported),
        ("a family without protocol", binary(0x21, 0x10, V4), Unsupported),
        ("a protocol without family", binary(0x21, 0x01, V4), Unsupported),
        ("short for IPv4", binary(0x21, 0x11, &V4[..11]), Length),
        ("short for IPv6", binary(0x21, 0x21, &v6()[..35]), Length),
        ("nothing for IPv4", binary(0x21, 0x11, b""), Length),
        ("too large", binary(0x21, 0x11, &[0; PROXY_HEADER_BYTES_MAX - 15]), TooLarge),
        ("largest length", binary(0x20, 0x00, &[0; 65_535]), TooLarge),
    ];
    let lines = [
        "PROXY ",
        "PROXY TCP4",
        "PROXY TCP4 192.0.2.1 192.0.2.2 5000",
        "PROXY TCP4 192.0.2.1 192.0.2.2 5000 80 ",
        "PROXY TCP4 192.0.2.1 192.0.2.2 5000 80 1",
        "PROXY TCP4  192.0.2.1 192.0.2.2 5000 80",
        "PROXY TCP4\t192.0.2.1 192.0.2.2 5000 80",
        "PROXY TCP4 192.0.2.1 192.0.2.2 5000 65536",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 80",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 80",
        "PROXY TCP4 192.0.2.1 192.0.2.2 05000 80",
        "PROXY TCP4 192.0.2.1 192.0.2.2  80",
        "PROXY TCP4 192.0.2.01 192.0.2.2 5000 80",
        "PROXY TCP4 192.0.2.256 192.0.2.2 5000 80",
        "PROXY TCP4 192.0.2.1 nobody 5000 80",
        "PROXY TCP4 ::1 ::2 5000 80",
        "PROXY TCP6 192.0.2.1 192.0.2.2 5000 80",
        "PROXY TCP6 ::1 192.0.2.2 5000 80",
        "PROXY TCP6 ::1%1 ::1 5000 80",
        "PROXY TCP6 [::1] [::1] 5000 80",
        "PROXY UDP4 192.0.2.1 192.0.2.2 5000 80",
        "PROXY unknown",
        "PROXY UNKNOWNS",
        "PROXY TCP4 192.0.2.1 192.0.2.2 5000 80\r",
        "PROXY UNKNOWN\nx",
    ];
    cases.extend(lines.map(|text| (text, line(text), Line)));
    cases
}

/// The first verdict when bytes come singly.
fn singly(received: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    (0..=received.len())
        .map(|size| parse_proxy_header(&received[..size]))
        .find(|found| *found != Ok(None))
        .unwrap_or(Ok(None))
}

#[test]
fn good_headers_say_who_it_is_and_where_they_end() {
    for (name, header, source) in good() {
        let length = header.len();
        let whole = Ok(Some(ProxyHeader { source, length }));
        for size in 0..length {
            assert_eq!(parse_proxy_header(&header[..size]), Ok(None), "{name}, {size} bytes");
        }
        assert_eq!(parse_proxy_header(&header), whole, "{name}");
        for behind in [&b"GET / HTTP/1.1\r\n"[..], &header, b"\n", &[0; 5000]] {
            assert_eq!(parse_proxy_header(&[&header, behind].concat()), whole, "{name}");
        }
    }
}

#[test]
fn bad_headers_are_refused_however_they_arrive() {
    for (name, header, error) in bad() {
        assert_eq!(parse_proxy_header(&header), Err(error), "{name}");
        assert_eq!(singly(&header), Err(error), "{name}, byte by byte");
        assert_eq!(parse_proxy_header(&[&header, &[b'x'; 200][..]].concat()), Err(error), "{name}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn a_bad_byte_is_refused_when_it_comes() {
    for (header, place) in [
        (&b"GET / HTTP/1.1\r\n"[..], 0),
        (b"PROXIES", 4),
        (b"\r\n\r\nGET", 4),
        (&binary(0x31, 0x11, V4), 12),
        (&binary(0x21, 0x41, V4), 13),
        (&binary(0x21, 0x11, b""), 15),
        (&binary(0x21, 0x11, &[0; 5000]), 15),
    ] {
        assert_eq!(parse_proxy_header(&header[..place]), Ok(None), "{header:?}");
        assert!(parse_proxy_header(&header[..=place]).is_err(), "{header:?}");
    }
}

#[test]
fn every_byte_of_the_signature_counts() {
    for place in 0..SIGNATURE.len() {
        let mut header = binary(0x21, 0x11, V4);
        header[place] ^= 1;
        assert_eq!(parse_proxy_header(&header), Err(Signature), "byte {place}");
    }
}
