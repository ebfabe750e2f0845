//! Any bytes as a PROXY header: no panic, one verdict however they arrive, and a client only where
//! the header, written anew, says the same.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use ringwire::limits::{PROXY_HEADER_BYTES_MAX, PROXY_LINE_BYTES_MAX};
use ringwire::protocol::{ProxyHeader, ProxyHeaderError, ProxySource, parse_proxy_header};
use ringwire::security::ClientAddress;

fuzz_target!(|received: &[u8]| {
    let found = parse_proxy_header(received);
    assert_eq!(found, singly(received));
    let Ok(Some(ProxyHeader { source, length })) = found else { return };
    let is_line = received.starts_with(b"PROXY ");
    assert!(length <= received.len());
    assert!(length <= if is_line { PROXY_LINE_BYTES_MAX } else { PROXY_HEADER_BYTES_MAX });
    assert!(!is_line || received[..length].ends_with(b"\r\n"));
    if let ProxySource::Client(address) = source {
        assert_eq!(
            parse_proxy_header(&line(address)).map(|header| header.map(|it| it.source)),
            Ok(Some(source))
        );
        let client = ClientAddress::from(address);
        assert_eq!(ClientAddress::parse(client.to_string().as_bytes()), Ok(client));
    }
});

/// The first verdict when the bytes come singly. None comes later than the largest header.
fn singly(received: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    (0..=received.len().min(PROXY_HEADER_BYTES_MAX))
        .map(|size| parse_proxy_header(&received[..size]))
        .find(|found| *found != Ok(None))
        .unwrap_or(Ok(None))
}

fn line(address: SocketAddr) -> Vec<u8> {
    let family = if address.is_ipv4() { 4 } else { 6 };
    let (ip, port) = (address.ip(), address.port());
    format!("PROXY TCP{family} {ip} {ip} {port} {port}\r\n").into_bytes()
}
