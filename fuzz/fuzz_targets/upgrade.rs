//! Any bytes as a request: no panic, one verdict however they arrive, and a 101 only where the
//! client's own checks agree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringwire::limits::HEAD_BYTES_MAX;
use ringwire::protocol::Role;
use ringwire::protocol::deflate::{Agreement, DeflatePolicy};
use ringwire::protocol::upgrade::{
    HeadScanner, Refusal, Request, UpgradeRequest, accept, check_response, forwarded_for,
    parse_request, refuse,
};
use ringwire::security::ClientAddress;

fuzz_target!(|received: &[u8]| {
    let end = end_of_head(received);
    // Heads that no scanner let through must not be worse.
    let _ = parse_request(received);
    let _ = check_response(received, "", &["chat"], None);
    for told in forwarded_for(received) {
        if let Ok(client) = ClientAddress::parse(told) {
            assert_eq!(ClientAddress::parse(client.to_string().as_bytes()), Ok(client));
        }
    }
    match end {
        Ok(None) => {}
        Ok(Some(end)) => match parse_request(&received[..end]) {
            Ok(Request::Upgrade(request)) => check_upgrade(&request),
            Ok(Request::Plain { path, .. }) => assert!(path.starts_with('/')),
            Err(refusal) => check_refusal(refusal),
        },
        Err(refusal) => check_refusal(refusal),
    }
});

/// The end, which must be the same when the bytes come singly.
fn end_of_head(received: &[u8]) -> Result<Option<usize>, Refusal> {
    let whole = HeadScanner::new().end_of_head(received);
    let mut scanner = HeadScanner::new();
    let singly = (0..=received.len())
        .map(|size| scanner.end_of_head(&received[..size]))
        .find(|found| *found != Ok(None))
        .unwrap_or(Ok(None));
    assert_eq!(whole, singly);
    if let Ok(Some(end)) = whole {
        assert!(end <= received.len().min(HEAD_BYTES_MAX));
        assert!(received[..end].ends_with(b"\r\n\r\n"));
    }
    whole
}

fn check_upgrade(request: &UpgradeRequest<'_>) {
    assert!(request.path.starts_with('/'));
    assert!(!request.host.is_empty());
    assert_eq!(request.header("Sec-WebSocket-Version"), Some("13"));
    let key = request.header("Sec-WebSocket-Key").expect("an upgrade has a key");
    assert_eq!(key.len(), 24);
    check_agreements(request);
    let mut out = Vec::new();
    for protocol in std::iter::once(None).chain(request.protocols().map(Some)) {
        out.clear();
        accept(&mut out, request, protocol, None);
        let offered: Vec<&str> = request.protocols().collect();
        let accepted = check_response(&out, key, &offered, None).expect("our own client agrees");
        assert_eq!(accepted.protocol, protocol);
    }
}

/// Any offer is answered within the policy.
fn check_agreements(request: &UpgradeRequest<'_>) {
    for takeover in [false, true] {
        for window_bits in [9, 12, 15] {
            let policy = DeflatePolicy { takeover, window_bits };
            let Some((agreement, value)) = Agreement::negotiate(request.extensions(), policy)
            else {
                continue;
            };
            assert!(value.starts_with("permessage-deflate"));
            assert!((9..=window_bits).contains(&agreement.window_bits(Role::Server)));
            assert!((8..=15).contains(&agreement.window_bits(Role::Client)));
            for role in [Role::Server, Role::Client] {
                assert!(takeover || !agreement.takes_over(role));
            }
            assert!(
                agreement.window_bits(Role::Client) <= window_bits
                    || !agreement.takes_over(Role::Client)
            );
        }
    }
}

fn check_refusal(refusal: Refusal) {
    let mut out = Vec::new();
    refuse(&mut out, &refusal);
    let end = HeadScanner::new().end_of_head(&out).expect("lines end well").expect("it is whole");
    assert_eq!(&out[end..], format!("{}\n", refusal.detail()).as_bytes());
}
