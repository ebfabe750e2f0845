//! Clients behind trusted proxies, and those who pretend to be: over real sockets, whose addresses
//! of 127.0.0.0/8 say which is which.

#[path = "common/http.rs"]
mod api;
mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/reloading.rs"]
mod reloading;

use api::Api;
use common::tls::{HOUSE, session};
use common::{Scheme, Server};
use observed::{Metrics, wait_until};
use raw::{End, RawClient, TEXT, request};
use reloading::Reloading;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// A trusted proxy, another one, and somebody else.
const PROXY: [u8; 4] = [127, 0, 0, 9];
const FRONT: [u8; 4] = [127, 0, 0, 10];
const STRANGER: [u8; 4] = [127, 0, 0, 2];

const TRUST: [&str; 4] = ["--trusted-proxy", "127.0.0.8/30", "--trusted-proxy", "2001:db8:f::/48"];

const PAGE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n";

/// A server that trusts the two.
fn start(more: &[&str]) -> Server {
    let more = [&["--shards", "2", "--admin", "127.0.0.1:0", "--drain", "1s"], more].concat();
    Server::start(&[&TRUST, &more[..]].concat())
}

/// Connects from `source`, says `bytes`, and reads the head of the answer.
fn ask(source: [u8; 4], server: SocketAddr, bytes: &[u8]) -> (u16, RawClient) {
    let mut client = RawClient::connect_from(source, server);
    client.send(bytes);
    let head = client.read_head();
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {head}")), client)
}

/// An upgrade with such a field.
fn forwarded(list: &str) -> Vec<u8> {
    request("/chat", &format!("X-Forwarded-For: {list}\r\n"))
}

/// Where the server thinks a connection of the chat comes from, by its welcome.
fn peer_of(server: &Server, client: &mut RawClient) -> String {
    let welcome = client.read_frame().expect("the chat greets");
    let welcome: Value = serde_json::from_slice(&welcome.payload).expect("the chat speaks JSON");
    let id = welcome["connectionId"].as_str().expect("a connection has a name");
    let figures = Api::new(server.admin_address()).get(&format!("/api/connections/{id}")).json();
    figures["peer"].as_str().expect("it is still there").to_owned()
}

/// Comes with this request and says where the server thinks it comes from.
fn come(source: [u8; 4], server: &Server, bytes: &[u8]) -> (String, RawClient) {
    let (status, mut client) = ask(source, server.address(), bytes);
    assert_eq!(status, 101, "{}", String::from_utf8_lossy(bytes));
    (peer_of(server, &mut client), client)
}

fn local(client: &RawClient) -> String {
    client.stream().local_addr().expect("it is connected").to_string()
}

/// Everything the server said, once it has ended.
fn last_words(mut server: Server) -> String {
    server.terminate();
    server.wait_for_exit(Duration::from_secs(20));
    server.output()
}

#[test]
fn what_strangers_say_of_themselves_changes_nothing() {
    let server = start(&["--max-connections-per-address", "2", "--handshake-rate", "4/1h"]);
    let forged = |host: u8| {
        let address = format!("203.0.113.{host}");
        let fields = format!("X-Forwarded-For: {address}\r\nX-Real-IP: {address}\r\n");
        request("/chat", &fields)
    };
    let mut here = Vec::new();
    for host in 1..=2 {
        let (peer, client) = come(STRANGER, &server, &forged(host));
        assert_eq!(peer, local(&client));
        here.push(client);
    }
    assert_eq!(ask(STRANGER, server.address(), &forged(3)).0, 429, "connections");
    assert_eq!(ask(STRANGER, server.address(), &forwarded("unknown")).0, 429);
    assert_eq!(ask(STRANGER, server.address(), &forged(4)).0, 429, "handshakes");
    assert_eq!(ask([127, 0, 0, 12], server.address(), &forged(1)).0, 101, "it is next to them");
    drop(here);
    let said = last_words(server);
    assert!(said.contains("peer=127.0.0.2:") && !said.contains("203.0.113."), "{said}");
}

#[test]
fn behind_a_proxy_the_client_is_the_first_address_that_is_no_proxys() {
    let server = start(&[]);
    for (list, expected) in [
        ("203.0.113.1", "203.0.113.1"),
        ("203.0.113.1:4711", "203.0.113.1:4711"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "[2001:db8::1]:4711"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("198.51.100.1, 203.0.113.1", "203.0.113.1"),
        ("forged, 203.0.113.1", "203.0.113.1"),
        ("198.51.100.1\r\nX-Forwarded-For: 203.0.113.1, 127.0.0.10", "203.0.113.1"),
        ("203.0.113.1, 2001:db8:f::9, [2001:db8:f::8]:80, 127.0.0.11:80", "203.0.113.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("127.0.0.10, 127.0.0.11", "127.0.0.10"),
        ("\r\nX-Real-IP: 203.0.113.1", "203.0.113.1"),
        ("203.0.113.1\r\nX-Real-IP: 198.51.100.1", "203.0.113.1"),
    ] {
        let (peer, _) = come(PROXY, &server, &forwarded(list));
        assert_eq!(peer, expected, "{list}");
    }
    let (peer, client) = come(PROXY, &server, &request("/chat", ""));
    assert_eq!(peer, local(&client), "the proxy itself");
    for list in ["unknown", "203.0.113.1, unknown", "198.51.100.1, 127.0.0.300", "127.0.0.10:x"] {
        let (status, mut client) = ask(PROXY, server.address(), &forwarded(list));
        assert_eq!(status, 400, "{list}");
        assert!(client.read_rest().0.contains("X-Forwarded-For"), "it says what to mend");
    }
    let said = last_words(server);
    assert!(said.contains("peer=203.0.113.1 endpoint=chat"), "{said}");
    assert!(said.contains("peer=127.0.0.9:") && said.contains("status=400"), "{said}");
    assert!(!said.contains("peer=198.51.100.1"), "{said}");
}

#[test]
fn connections_are_counted_for_the_client_behind_the_proxy() {
    let server = start(&["--max-connections-per-address", "2"]);
    let come = |source, list: &str| ask(source, server.address(), &forwarded(list));
    let mut here = Vec::new();
    for list in [
        "203.0.113.1",
        "203.0.113.1:7",
        "198.51.100.1, 203.0.113.2, 127.0.0.10",
        "203.0.113.2",
        "2001:db8::1",
        "2001:db8::ffff",
        "",
        "127.0.0.9",
    ] {
        let (status, client) = come(PROXY, list);
        assert_eq!(status, 101, "{list}");
        here.push(client);
    }
    for list in ["203.0.113.1", "203.0.113.2", "[2001:db8::2]:7", ""] {
        assert_eq!(come(PROXY, list).0, 429, "{list}");
        assert_eq!(come(FRONT, list).0, if list.is_empty() { 101 } else { 429 }, "{list}");
    }
    // It has places of its own, wherever it comes from.
    here.push(come(PROXY, "127.0.0.2").1);
    here.push(ask(STRANGER, server.address(), &request("/chat", "")).1);
    assert_eq!(ask(STRANGER, server.address(), &request("/chat", "")).0, 429);
    assert_eq!(come(PROXY, "127.0.0.2").0, 429);
    // One leaves, and one may come.
    drop(here.remove(0));
    let came = (0..1000).any(|_| come(PROXY, "203.0.113.1").0 == 101);
    assert!(came, "no place comes back");
}

#[test]
fn handshakes_are_counted_for_the_client_behind_the_proxy() {
    let server = start(&["--handshake-rate", "3/1h"]);
    let status = |bytes: &[u8]| ask(PROXY, server.address(), bytes).0;
    for host in 1..=3 {
        for _ in 0..3 {
            assert_eq!(status(&forwarded(&format!("203.0.113.{host}"))), 101);
        }
        assert_eq!(status(&forwarded(&format!("203.0.113.{host}"))), 429);
    }
    let page = [PAGE, b"X-Forwarded-For: 203.0.113.4\r\n\r\n"].concat();
    let keyless = String::from_utf8(forwarded("203.0.113.4")).expect("it is ASCII");
    let keyless = keyless.replace("Sec-WebSocket-Key", "Nothing");
    for _ in 0..3 {
        for _ in 0..5 {
            assert_eq!(status(&page), 200, "pages are not counted");
        }
        assert_eq!(status(keyless.as_bytes()), 400, "a bad request is");
    }
    assert_eq!(status(&forwarded("203.0.113.4")), 429);
    assert_eq!(status(&page), 200, "pages are not refused");
    // What names nobody counts for nobody.
    for _ in 0..10 {
        assert_eq!(status(&forwarded("unknown")), 400);
    }
    for _ in 0..3 {
        assert_eq!(status(&request("/chat", "")), 101, "the proxy's own");
    }
    assert_eq!(status(&request("/chat", "")), 429);
}

#[test]
fn who_fails_to_authenticate_is_told_by_its_own_address() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/hs256.secret");
    let server = start(&["--auth", "message", "--auth-key", key]);
    let fields = "X-Forwarded-For: 203.0.113.1\r\n";
    assert_eq!(ask(PROXY, server.address(), &request("/echo?token=x", fields)).0, 401);
    let (_, mut client) = come(PROXY, &server, &forwarded("203.0.113.2"));
    client.send_frame(TEXT, br#"{"type":"auth","token":"x"}"#);
    assert_eq!(client.read_close(), Some(4001));
    drop(client);
    let said = last_words(server);
    for host in 1..=2 {
        let mut failures = said.lines().filter(|line| line.contains("authentication failed"));
        let peer = format!("peer=203.0.113.{host} ");
        assert!(failures.any(|line| line.contains(&peer)), "{said}");
    }
}

#[test]
fn what_a_proxy_says_is_bounded_like_all_fields() {
    let server = start(&[]);
    let long = "127.0.0.10, ".repeat(700);
    assert_eq!(ask(PROXY, server.address(), &forwarded(&long)).0, 431);
    let fields = "X-Forwarded-For: 203.0.113.1\r\n".repeat(60);
    assert_eq!(ask(PROXY, server.address(), &request("/chat", &fields)).0, 431);
    let many = format!("203.0.113.1, {}", "127.0.0.10,".repeat(700));
    assert_eq!(come(PROXY, &server, &forwarded(&many)).0, "203.0.113.1");
}

#[test]
fn who_is_trusted_can_change_while_the_server_runs() {
    let site = Reloading::start("proxies", "", &["--shards", "2"]);
    let stranger = |site: &Reloading| {
        let (peer, client) = come(PROXY, &site.server, &forwarded("203.0.113.1"));
        (peer == local(&client), peer)
    };
    assert!(stranger(&site).0);
    site.reload_changes("trusted-proxy = ['127.0.0.9']\n", "trusted-proxy");
    let (mut peer, here) = come(PROXY, &site.server, &forwarded("203.0.113.1"));
    assert_eq!(peer, "203.0.113.1");
    let both = "trusted-proxy = ['127.0.0.9']\nproxy-protocol = true\n";
    site.reload_changes(both, "proxy-protocol");
    let line = b"PROXY TCP4 203.0.113.2 203.0.113.3 7 8\r\n";
    (peer, _) = come(PROXY, &site.server, &[line, &request("/chat", "")[..]].concat());
    assert_eq!(peer, "203.0.113.2:7");
    site.reload_changes("", "trusted-proxy, proxy-protocol");
    assert!(stranger(&site).0);
    here.close();
}

// The PROXY protocol.

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// 203.0.113.1:7 to 203.0.113.2:8.
const V4: &[u8] = &[203, 0, 113, 1, 203, 0, 113, 2, 0, 7, 0, 8];

fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("a body is short").to_be_bytes();
    [SIGNATURE, &[command, family], &length, body].concat()
}

fn line(text: &str) -> Vec<u8> {
    format!("PROXY {text}\r\n").into_bytes()
}

fn start_announced(more: &[&str]) -> Server {
    start(&[&["--proxy-protocol"], more].concat())
}

#[test]
fn a_proxy_header_says_who_the_client_is() {
    let server = start_announced(&[]);
    let plain = request("/chat", "");
    let named = forwarded("198.51.100.7");
    let v6 = [&[0x20, 1, 0xd, 0xb8], &[0; 11][..], &[1], &[0; 16], &[0, 7, 0, 8]].concat();
    let more = [V4, &[1, 0, 2, b'h', b'2'], &[4, 3, 0], &[0; 768]].concat();
    let front = "TCP4 127.0.0.10 127.0.0.9 7 8";
    for (header, request, expected) in [
        (line("TCP4 203.0.113.1 203.0.113.2 7 8"), &plain, "203.0.113.1:7"),
        (line("TCP6 2001:db8::1 2001:db8::2 7 8"), &plain, "[2001:db8::1]:7"),
        (binary(0x21, 0x11, V4), &plain, "203.0.113.1:7"),
        (binary(0x21, 0x21, &v6), &plain, "[2001:db8::1]:7"),
        (binary(0x21, 0x11, &more), &plain, "203.0.113.1:7"),
        // A client cannot forge fields through a balancer that only passes bytes on.
        (line("TCP4 203.0.113.1 203.0.113.2 7 8"), &named, "203.0.113.1:7"),
        (binary(0x21, 0x11, V4), &named, "203.0.113.1:7"),
        (line("UNKNOWN"), &named, "127.0.0.9:"),
        (binary(0x21, 0x00, b""), &named, "127.0.0.9:"),
        (binary(0x21, 0x31, &[b'x'; 216]), &named, "127.0.0.9:"),
        // A proxy behind the balancer, and the balancer itself, can say whom they speak for.
        (line(front), &named, "198.51.100.7"),
        (line(front), &plain, "127.0.0.10:7"),
        (binary(0x20, 0x00, b""), &named, "198.51.100.7"),
        (binary(0x20, 0x11, V4), &plain, "127.0.0.9:"),
    ] {
        let (peer, client) = come(PROXY, &server, &[&header[..], request].concat());
        let expected = if expected.ends_with(':') { local(&client) } else { expected.to_owned() };
        assert_eq!(peer, expected, "{}", String::from_utf8_lossy(&header));
    }
    let probe = [&binary(0x20, 0x00, b"")[..], PAGE, b"\r\n"].concat();
    assert_eq!(ask(PROXY, server.address(), &probe).0, 200);
    let said = last_words(server);
    assert!(said.contains("peer=203.0.113.1:7 endpoint=chat"), "{said}");
}

#[test]
fn a_proxy_header_may_be_cut_anywhere() {
    let server = start_announced(&[]);
    for header in [line("TCP4 203.0.113.1 203.0.113.2 7 8"), binary(0x21, 0x11, V4)] {
        let bytes = [&header[..], &request("/chat", "")].concat();
        for place in 1..header.len() + 4 {
            let mut client = RawClient::connect_from(PROXY, server.address());
            client.send(&bytes[..place]);
            client.send(&bytes[place..]);
            client.expect_switch();
            assert_eq!(peer_of(&server, &mut client), "203.0.113.1:7", "cut at {place}");
        }
        let mut client = RawClient::connect_from(PROXY, server.address());
        for byte in &bytes {
            client.send(&[*byte]);
        }
        client.expect_switch();
        assert_eq!(peer_of(&server, &mut client), "203.0.113.1:7", "byte by byte");
    }
}

#[test]
fn a_proxy_that_does_not_announce_is_hung_up_on() {
    let server = start_announced(&[]);
    let bad = [
        request("/chat", ""),
        [PAGE, b"\r\n"].concat(),
        line("TCP4 203.0.113.1 203.0.113.2 7"),
        line("TCP4 203.0.113.1 203.0.113.2 7 65536"),
        [b"PROXY UNKNOWN ", &[b'x'; 107][..]].concat(),
        b"PROXY UNKNOWN\n".to_vec(),
        binary(0x22, 0x11, V4),
        binary(0x11, 0x11, V4),
        binary(0x21, 0x41, V4),
        binary(0x21, 0x11, &V4[1..]),
        binary(0x21, 0x11, &[0; 5000]),
        b"\r\n\r\n".iter().chain(&request("/chat", "")).copied().collect(),
    ];
    for bytes in &bad {
        let mut client = RawClient::connect_from(PROXY, server.address());
        client.send(bytes);
        assert_eq!(client.read_rest().0, "", "{}", String::from_utf8_lossy(bytes));
    }
    let metrics = Metrics::scrape(server.admin_address());
    assert_eq!(metrics.handshakes("bad_proxy_header"), bad.len() as u64);
    assert_eq!(metrics.handshakes("refused"), 0);
    let said = last_words(server);
    assert_eq!(said.matches("no PROXY header").count(), bad.len(), "{said}");
    assert!(said.contains("proxy=127.0.0.9:"), "{said}");
}

#[test]
fn a_header_of_a_stranger_is_a_bad_request() {
    let server = start_announced(&[]);
    for header in [line("TCP4 203.0.113.1 203.0.113.2 7 8"), binary(0x21, 0x11, V4)] {
        let bytes = [&header[..], &request("/chat", "")].concat();
        assert_eq!(ask(STRANGER, server.address(), &bytes).0, 400);
    }
    let (peer, client) = come(STRANGER, &server, &request("/chat", ""));
    assert_eq!(peer, local(&client));
    drop((client, server));

    let server = start(&[]);
    let bytes = [&line("TCP4 203.0.113.1 203.0.113.2 7 8")[..], &request("/chat", "")].concat();
    assert_eq!(ask(PROXY, server.address(), &bytes).0, 400, "it was not agreed");
}

#[test]
fn who_is_past_its_rate_is_set_apart_as_soon_as_it_is_known() {
    let server = start_announced(&["--handshake-rate", "1/1h"]);
    let header = |host: u8| line(&format!("TCP4 203.0.113.{host} 203.0.113.9 7 8"));
    let upgrade = |host| [header(host), request("/chat", "")].concat();
    let mut slow = RawClient::connect_from(PROXY, server.address());
    slow.send(&header(3));
    assert_eq!(ask(PROXY, server.address(), &upgrade(2)).0, 101);
    assert_eq!(ask(PROXY, server.address(), &upgrade(2)).0, 429);
    let silent = (0..3).map(|_| {
        let mut client = RawClient::connect_from(PROXY, server.address());
        client.send(&header(2));
        client
    });
    for mut client in silent.collect::<Vec<_>>() {
        assert_eq!(client.read_rest(), (String::new(), End::Fin), "past the rate, and silent");
    }
    slow.send(&request("/chat", ""));
    slow.expect_switch();
    assert_eq!(peer_of(&server, &mut slow), "203.0.113.3:7", "it came before those");
}

/// A server that trusts the two and has TLS.
fn start_tls(more: &[&str]) -> Server {
    let args = [&["--shards", "2", "--admin", "127.0.0.1:0", "--drain", "1s"], more].concat();
    Server::start_for(Scheme::Tls, &[&TRUST, &args[..]].concat())
}

#[test]
fn fields_of_a_request_count_over_tls_too() {
    let server = start_tls(&[]);
    for (source, list, expected) in [
        (PROXY, "203.0.113.1", Some("203.0.113.1")),
        (FRONT, "198.51.100.1, 203.0.113.1:7", Some("203.0.113.1:7")),
        (STRANGER, "203.0.113.1", None),
    ] {
        let mut client = RawClient::connect_from(source, server.place());
        client.send(&forwarded(list));
        client.expect_switch();
        let expected = expected.map_or_else(|| local(&client), str::to_owned);
        assert_eq!(peer_of(&server, &mut client), expected);
    }
}

#[test]
fn a_proxy_header_comes_in_front_of_tls() {
    let server = start_tls(&["--proxy-protocol"]);
    let header = line("TCP4 203.0.113.1 203.0.113.9 7 8");
    // Apart from the hello, cut, and in one piece with it.
    for place in [header.len(), 1, header.len() + 40, usize::MAX] {
        let mut client = RawClient::connect_from(PROXY, server.address());
        let mut session = session(&HOUSE.client, "localhost");
        let mut bytes = header.clone();
        session.write_tls(&mut bytes).expect("memory takes all");
        let (first, second) = bytes.split_at(place.min(bytes.len()));
        client.send(first);
        client.send(second);
        client.secure(session).unwrap_or_else(|error| panic!("cut at {place}: {error}"));
        client.upgrade("/chat");
        assert_eq!(peer_of(&server, &mut client), "203.0.113.1:7", "cut at {place}");
    }
    // A stranger has nothing to announce, and a proxy that does not is hung up on.
    let mut stranger = RawClient::connect_from(STRANGER, server.place());
    stranger.upgrade("/chat");
    assert_eq!(peer_of(&server, &mut stranger), local(&stranger));
    let mut silent = RawClient::connect_from(PROXY, server.address());
    let mut hello = Vec::new();
    session(&HOUSE.client, "localhost").write_tls(&mut hello).expect("memory takes all");
    silent.send(&hello);
    assert_eq!(silent.read_rest().0, "");
    assert_eq!(Metrics::scrape(server.admin_address()).handshakes("bad_proxy_header"), 1);
    // More behind the header than anybody keeps of a hello.
    let mut endless = RawClient::connect_from(PROXY, server.address());
    endless.send(&header[..20]);
    let beginning = [22, 3, 1, 0, 4, 1, 0, 0xff, 0xff];
    let records = [22, 3, 1, 0, 1, 1].repeat(64 * 1024 / 6 + 1);
    drop(endless.try_send(&[&header[20..], &beginning, &records].concat()));
    endless.read_rest();
    drop(endless);
    wait_until(Duration::from_secs(20), || {
        let failed = Metrics::scrape(server.admin_address()).handshakes("tls_failed");
        (failed == 1).then_some(()).ok_or_else(|| format!("{failed} failed"))
    });
}
