//! Compressed messages (RFC 7692) over real sockets: what is agreed to, what is refused, what a
//! bomb costs.

mod common;
#[path = "common/deflated.rs"]
mod deflated;
#[path = "common/member.rs"]
mod member;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/reloading.rs"]
mod reloading;

use common::Server;
use deflated::{
    Deflating, RSV1, compressed_frame, deflated, granted, noise, offer, twofold, unique, words,
};
use flate2::{Compress, Compression, FlushCompress};
use member::{KEY_FILE, auth_token, lasting_token};
use observed::{Metrics, peak_resident_bytes};
use raw::{
    BINARY, CONTINUE, CONTINUE_END, PING, PONG, RawClient, TEXT, TEXT_BEGIN, frame, request,
};
use reloading::Reloading;

const NEITHER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Comes to the echo with these lines in the request, and must be let in whatever they say.
fn come(server: &Server, lines: &str) -> (Option<String>, RawClient) {
    let mut raw = RawClient::connect(server.address());
    raw.send(&request("/echo", lines));
    let head = raw.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{lines} is answered with {head}");
    (granted(&head).map(str::to_owned), raw)
}

/// Expects this answer to the field, and that the server keeps to it.
#[track_caller]
fn grants(server: &Server, lines: &str, expected: Option<&str>) {
    let (found, mut raw) = come(server, lines);
    assert_eq!(found.as_deref(), expected, "{lines}");
    let Some(granted) = found else {
        raw.echo(&"not compressed ".repeat(50));
        return raw.close();
    };
    let mut client = Deflating::by(raw, &granted);
    let bits = client.reader.window_bits;
    for seed in [1, 2, 1] {
        // Within the smallest window of a client, or beyond that of the server.
        if granted.contains("client_max_window_bits=8") {
            assert_eq!(client.echo(&words(250, seed)), None);
            continue;
        }
        let message = twofold(bits, seed);
        let length = client.echo(&message).expect("it becomes smaller");
        assert!(length * 10 > message.len() * 6, "{lines}: {length} bytes: it looks back too far");
    }
    client.raw.close();
}

/// The rows of parameters with the answers that follow the name.
fn check(server: &Server, policy: &str, rows: &[(&str, Option<&str>)]) {
    for (parameters, expected) in rows {
        let expected = expected.map(|more| format!("{policy}{more}"));
        grants(server, &offer(parameters), expected.as_deref());
    }
}

#[test]
fn every_offer_is_answered_to_the_letter() {
    let server = Server::start(&["--shards", "1", "--compression-window", "15"]);
    check(
        &server,
        NEITHER,
        &[
            ("", Some("")),
            ("; server_no_context_takeover", Some("")),
            ("; client_no_context_takeover", Some("")),
            (";client_no_context_takeover;server_no_context_takeover", Some("")),
            ("; client_max_window_bits", Some("; client_max_window_bits=15")),
            ("; client_max_window_bits=15", Some("; client_max_window_bits=15")),
            ("; client_max_window_bits=9", Some("; client_max_window_bits=9")),
            ("; client_max_window_bits=8", Some("; client_max_window_bits=8")),
            ("; server_max_window_bits=15", Some("; server_max_window_bits=15")),
            ("; server_max_window_bits=9", Some("; server_max_window_bits=9")),
            ("; server_max_window_bits=\"10\"", Some("; server_max_window_bits=10")),
            ("; server_max_window_bits=\"1\\0\"", Some("; server_max_window_bits=10")),
            (
                "; client_max_window_bits ; server_max_window_bits = 12",
                Some("; server_max_window_bits=12; client_max_window_bits=15"),
            ),
            // What zlib cannot do, and what is none of the values.
            ("; server_max_window_bits=8", None),
            ("; server_max_window_bits", None),
            ("; server_max_window_bits=0", None),
            ("; server_max_window_bits=7", None),
            ("; server_max_window_bits=16", None),
            ("; server_max_window_bits=08", None),
            ("; server_max_window_bits=09", None),
            ("; server_max_window_bits=+9", None),
            ("; server_max_window_bits=115", None),
            ("; server_max_window_bits=\"\"", None),
            ("; server_max_window_bits=18446744073709551625", None),
            ("; client_max_window_bits=0", None),
            ("; client_max_window_bits=7", None),
            ("; client_max_window_bits=16", None),
            ("; client_max_window_bits=08", None),
            ("; server_no_context_takeover=1", None),
            ("; client_no_context_takeover=\"\"", None),
            // Twice, unknown, or no list at all.
            ("; server_max_window_bits=10; server_max_window_bits=10", None),
            ("; client_max_window_bits; client_max_window_bits=10", None),
            ("; server_no_context_takeover; server_no_context_takeover", None),
            ("; constructor", None),
            ("; __proto__=1", None),
            ("; Server_No_Context_Takeover", None),
            (";", None),
            ("; ;", None),
            ("; client_max_window_bits=\"10", None),
            (" client_max_window_bits", None),
            ("/1", None),
            // The first that can be had counts.
            (", permessage-deflate; server_max_window_bits=9", Some("")),
            ("; x, permessage-deflate", Some("")),
            (
                "; server_max_window_bits=8, x-webkit-deflate-frame, permessage-deflate; \
             client_max_window_bits=11",
                Some("; client_max_window_bits=11"),
            ),
            // Beside what breaks the grammar nothing counts: what was meant cannot be known.
            (", =", None),
        ],
    );
}

#[test]
fn fields_that_are_no_offer_of_it_change_nothing() {
    let server = Server::start(&["--shards", "1"]);
    let field = |value: &str| format!("Sec-WebSocket-Extensions: {value}\r\n");
    for value in [
        "constructor",
        "constructor; prototype=\"__proto__\"",
        "Permessage-Deflate",
        "x-webkit-deflate-frame, permessage-bzip2",
        "\"permessage-deflate\"",
        ",",
        "",
        &",".repeat(7 * 1024),
        &"a,".repeat(3 * 1024),
        &"a;b=\"\\\"\";".repeat(700),
    ] {
        grants(&server, &field(value), None);
    }
    let long = format!("{}permessage-deflate", ",".repeat(7 * 1024));
    grants(&server, &field(&long), Some(NEITHER));
    let many = field("a").repeat(50) + &field("permessage-deflate; x") + &offer("");
    grants(&server, &many, Some(NEITHER));
    // Head and all it is more than 8 KiB: refused for that, not for the field.
    let mut raw = RawClient::connect(server.address());
    raw.send(&request("/echo", &field(&",".repeat(8 * 1024))));
    let head = raw.read_head();
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
}

#[test]
fn what_is_granted_follows_the_settings() {
    let dedicated = Server::start(&["--shards", "1", "--compression", "dedicated"]);
    check(
        &dedicated,
        "permessage-deflate",
        &[
            // Nobody can tell it to use less than 32 KiB, so it may keep none.
            ("", Some("; client_no_context_takeover")),
            ("; client_max_window_bits", Some("; client_max_window_bits=12")),
            ("; client_max_window_bits=10", Some("; client_max_window_bits=10")),
            (
                "; server_max_window_bits=15; client_max_window_bits",
                Some("; server_max_window_bits=12; client_max_window_bits=12"),
            ),
            (
                "; server_no_context_takeover; client_max_window_bits=15",
                Some("; server_no_context_takeover; client_max_window_bits=12"),
            ),
            (
                "; server_max_window_bits=9",
                Some("; client_no_context_takeover; server_max_window_bits=9"),
            ),
        ],
    );
    let args = ["--shards", "1", "--compression", "dedicated", "--compression-window", "15"];
    check(
        &Server::start(&args),
        "permessage-deflate",
        &[
            ("", Some("")),
            ("; client_max_window_bits", Some("; client_max_window_bits=15")),
            ("; client_no_context_takeover", Some("; client_no_context_takeover")),
        ],
    );
    check(
        &Server::start(&["--shards", "1", "--compression-window", "10"]),
        NEITHER,
        &[
            ("", Some("")),
            ("; server_max_window_bits=14", Some("; server_max_window_bits=10")),
            ("; client_max_window_bits", Some("; client_max_window_bits=10")),
        ],
    );
    let off = Server::start(&["--shards", "1", "--compression", "off"]);
    check(&off, NEITHER, &[("", None), ("; client_max_window_bits", None)]);
}

#[test]
fn the_bit_has_its_meaning_where_it_was_agreed_to_alone() {
    let server = Server::start(&["--shards", "1"]);
    let message = deflated(b"Hello");
    let mut plain = RawClient::open(server.address(), "/echo");
    plain.send_frame(TEXT | RSV1, &message);
    plain.expect_failure(1002, "no agreement");
    let fragment = frame(TEXT_BEGIN | RSV1, &message[..3]);
    for (case, bytes) in [
        ("a ping", frame(PING | RSV1, b"")),
        ("a pong", frame(PONG | RSV1, b"")),
        ("a close", frame(0x88 | RSV1, b"")),
        ("a continuation", [&fragment[..], &frame(CONTINUE | RSV1, b"")].concat()),
        ("the last one", [&fragment[..], &frame(CONTINUE_END | RSV1, &message[3..])].concat()),
        ("RSV2", frame(TEXT | 0x20, b"")),
        ("RSV3 beside it", frame(TEXT | RSV1 | 0x10, &message)),
    ] {
        let mut client = Deflating::open(server.address(), "/echo", "");
        client.raw.send(&bytes);
        client.raw.expect_failure(1002, case);
    }
}

#[test]
fn messages_come_in_fragments_with_pings_between_them() {
    let server = Server::start(&["--shards", "1", "--compression", "dedicated"]);
    let mut client = Deflating::open(server.address(), "/echo", "; client_max_window_bits");
    for (seed, size) in [(1, 1), (2, 7), (3, 500), (3, 100_000)] {
        let text = words(3000, seed);
        let message = client.sender.deflate(&text);
        let pieces: Vec<&[u8]> = message.chunks(size).collect();
        client.raw.send_frame(TEXT_BEGIN | RSV1, pieces[0]);
        for piece in &pieces[1..] {
            client.raw.send(&[frame(PING, b"?"), frame(CONTINUE, piece)].concat());
            assert_eq!(client.raw.read_frame().map(|frame| frame.first), Ok(PONG));
        }
        client.raw.send_frame(CONTINUE_END, b"");
        let (length, heard) = client.hear();
        assert!(length.is_some() && heard == text, "in pieces of {size}");
    }
    client.raw.close();
}

#[test]
fn what_does_not_inflate_is_1007() {
    let server = Server::start(&["--shards", "1"]);
    let good = deflated(&words(600, 1));
    let no_text = deflated(b"Gr\xFC\xDFe");
    let mut stray = good.clone();
    stray.extend_from_slice(b"\xFF\xFF\xFF\xFF");
    for (case, first, payload) in [
        ("a reserved block", TEXT, &b"\x07"[..]),
        ("noise", BINARY, &[0xFF; 40]),
        ("nothing at all", BINARY, b""),
        ("cut", BINARY, &good[..good.len() - 5]),
        ("something behind it", BINARY, &stray),
        ("a reference to before the beginning", BINARY, b"\x02\x04\x00"),
        ("no UTF-8", TEXT, &no_text),
    ] {
        let mut client = Deflating::open(server.address(), "/echo", "");
        client.raw.send_frame(first | RSV1, payload);
        client.raw.expect_failure(1007, case);
    }
    // It is UTF-8 that text must be, not what is on the wire.
    let mut client = Deflating::open(server.address(), "/echo", "");
    client.raw.send_frame(BINARY | RSV1, &no_text);
    assert_eq!(client.hear(), (None, b"Gr\xFC\xDFe".to_vec()));
    client.send(TEXT, "Grüße 😀".as_bytes());
    assert_eq!(client.hear().1, "Grüße 😀".as_bytes());
    client.raw.close();
}

#[test]
fn the_limit_is_of_what_was_inflated() {
    const LIMIT: usize = 5000;
    let server = Server::start(&["--shards", "1", "--max-message", "5000"]);
    for make in [words, noise, |length, _| vec![0; length]] {
        let mut client = Deflating::open(server.address(), "/echo", "");
        for length in [LIMIT - 1, LIMIT] {
            client.echo(&make(length, 3));
        }
        client.send(BINARY, &make(LIMIT + 1, 3));
        client.raw.expect_failure(1009, "more than the limit");
    }
    let mut client = Deflating::open(server.address(), "/echo", "");
    client.raw.send_frame(0x02 | RSV1, &deflated(&words(LIMIT + 1, 3))[..100]);
    client.raw.send_frame(CONTINUE_END, &deflated(&words(LIMIT + 1, 3))[100..]);
    client.raw.expect_failure(1009, "in fragments");
}

/// 1 GiB of zeros: a mebibyte of them, which refers to nothing before it, 1024 times.
fn bomb() -> Vec<u8> {
    let mebibyte = vec![0; 1 << 20];
    let mut part = Vec::with_capacity(1 << 16);
    let mut stream = Compress::new(Compression::new(9), false);
    stream.compress_vec(&mebibyte, &mut part, FlushCompress::Full).expect("zeros compress");
    assert!(part.len() < 1100 && part.ends_with(&[0, 0, 0xFF, 0xFF]), "{} bytes", part.len());
    part.repeat(1024)
}

#[test]
fn a_bomb_costs_no_more_than_a_message_of_the_limit() {
    const LIMIT: u64 = 1 << 20;
    for mode in ["shared", "dedicated"] {
        let server = Server::start(&["--shards", "1", "--compression", mode]);
        let bomb = frame(BINARY | RSV1, &bomb());
        assert!((1 << 20) - (1 << 17) < bomb.len() && bomb.len() < (1 << 20) + (1 << 17));
        // What any message of that size takes, compressed or not.
        let mut client = Deflating::open(server.address(), "/echo", "; client_max_window_bits");
        client.echo(&noise(1 << 20, 1));
        client.echo(&words(1 << 20, 1));
        let before = peak_resident_bytes(server.pid());
        for _ in 0..5 {
            let mut bomber = Deflating::open(server.address(), "/echo", "");
            bomber.raw.send(&bomb);
            bomber.raw.expect_failure(1009, "a bomb");
        }
        // The kernel counts by the thread and adds up now and then: later may be a little less.
        let grown = peak_resident_bytes(server.pid()).saturating_sub(before);
        assert!(grown < 3 * LIMIT, "bombs took {grown} bytes");
        client.echo(&words(1000, 2));
        client.raw.close();
    }
}

#[test]
fn strangers_are_offered_nothing() {
    let args = ["--auth", "message", "--auth-key", KEY_FILE, "--shards", "1"];
    let server = Server::start(&[&args[..], &["--compression-min", "0"]].concat());
    let upgrade = |path: &str| {
        let mut raw = RawClient::connect(server.address());
        raw.send(&request(path, &offer("; client_max_window_bits")));
        let head = raw.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (granted(&head).map(str::to_owned), raw)
    };
    let auth = auth_token(&lasting_token("ada")).to_string();

    let (found, mut raw) = upgrade("/chat");
    assert_eq!(found, None);
    assert_eq!(raw.read_frame().map(|welcome| welcome.first), Ok(TEXT));
    raw.send(&compressed_frame(TEXT, auth.as_bytes()));
    raw.expect_failure(1002, "compressed, from a stranger");

    // Known or not, what was not agreed to in the handshake is not agreed to.
    let (_, mut raw) = upgrade("/chat");
    raw.read_frame().expect("a welcome");
    raw.send_frame(TEXT, auth.as_bytes());
    let answer = raw.read_frame().expect("an answer");
    assert_eq!(answer.first, TEXT);
    assert!(String::from_utf8_lossy(&answer.payload).contains("auth_success"));
    raw.send(&compressed_frame(TEXT, br#"{"type":"ping"}"#));
    raw.expect_failure(1002, "compressed, from one who was a stranger");

    let (found, raw) = upgrade(&format!("/chat?token={}", lasting_token("ada")));
    let granted = found.expect("who has shown a token is no stranger");
    assert_eq!(granted, format!("{NEITHER}; client_max_window_bits=12"));
    let mut client = Deflating::by(raw, &granted);
    let (length, welcome) = client.hear();
    assert!(length.is_some(), "the welcome comes compressed");
    assert!(welcome.starts_with(br#"{"type":"welcome""#));
    client.send(TEXT, br#"{"type":"ping"}"#);
    assert_eq!(client.hear().1, br#"{"type":"pong"}"#);
    client.raw.close();
}

#[test]
fn only_what_becomes_smaller_is_compressed() {
    let server = Server::start(&["--shards", "1", "--admin", "127.0.0.1:0"]);
    let mut client = Deflating::open(server.address(), "/echo", "");
    for length in [0, 1, 125, 126, 255] {
        assert_eq!(client.echo(&words(length, 1)), None, "{length} bytes");
    }
    assert_eq!(client.echo(&noise(4096, 1)), None);
    assert!(client.echo(&words(256, 1)).is_some_and(|length| length < 256));
    let long = client.echo(&words(70_000, 1)).expect("it becomes smaller");
    // Sent plain, a message comes back compressed all the same, and the other way about.
    let text = words(1000, 2);
    client.raw.send_frame(TEXT, &text);
    let (length, heard) = client.hear();
    assert!(heard == text);
    let length = length.expect("it becomes smaller");
    let metrics = Metrics::scrape(server.admin_address());
    assert_eq!(metrics.value("messages_compressed_total"), 3);
    let saved = metrics.value("compression_saved_bytes_total");
    // Headers are saved, too: of 10 bytes one of 4 is left, if the message is that small.
    let payloads = (70_000 - long + 1000 - length) as u64;
    assert!((payloads..payloads + 256).contains(&saved), "{saved} for {payloads}");
    assert_eq!(metrics.value("compression_bytes"), 0);
    client.raw.close();

    let server = Server::start(&["--shards", "1", "--compression-min", "2000"]);
    let mut client = Deflating::open(server.address(), "/echo", "");
    assert_eq!(client.echo(&words(1999, 1)), None);
    assert!(client.echo(&words(2000, 1)).is_some());
    client.raw.close();
}

#[test]
fn what_was_said_before_is_referred_to_where_that_was_agreed_to() {
    let text = unique(1);
    let dedicated = Server::start(&["--shards", "1", "--compression", "dedicated"]);
    let bits = "; client_max_window_bits";
    let mut client = Deflating::open(dedicated.address(), "/echo", bits);
    let first = client.echo(&text).expect("compressed");
    let again = client.echo(&text).expect("compressed");
    assert!(again * 10 < first, "{first} bytes, then {again}");
    // What does not go compressed is not referred to: the other end does not know it.
    assert_eq!(client.echo(&noise(3000, 1)), None);
    assert_eq!(client.echo(&words(100, 1)), None);
    assert_eq!(client.echo(&noise(3000, 1)), None);
    let again = client.echo(&text).expect("compressed");
    assert!(again * 10 < first, "{first} bytes, later {again}");
    for seed in 1..40 {
        client.echo(&words(150 * seed as usize, seed));
    }
    client.raw.close();
    for parameters in
        ["; server_no_context_takeover", "; server_no_context_takeover; client_max_window_bits"]
    {
        let mut client = Deflating::open(dedicated.address(), "/echo", parameters);
        assert_eq!([(); 3].map(|()| client.echo(&text)), [Some(first); 3], "{parameters}");
    }
    let shared = Server::start(&["--shards", "1"]);
    let mut client = Deflating::open(shared.address(), "/echo", bits);
    let [one, two, three] = [(); 3].map(|()| client.echo(&text).expect("compressed"));
    assert!(one == two && two == three && one > again * 10, "{one}, {two}, {three}");
}

#[test]
fn a_reload_to_off_is_for_those_who_come_later() {
    let dedicated = "compression = 'dedicated'\n";
    let site = Reloading::start("deflate-off", dedicated, &["--shards", "1"]);
    let mut early = Deflating::open(site.address(), "/echo", "; client_max_window_bits");
    let first = early.echo(&unique(1)).expect("compressed");
    site.reload_changes("compression = 'off'\n", "compression");
    grants(&site.server, &offer("; client_max_window_bits"), None);
    let again = early.echo(&unique(1)).expect("still compressed");
    assert!(again * 10 < first, "{first} bytes, then {again}: it still looks back");
    site.reload_changes("compression = 'shared'\n", "compression");
    grants(&site.server, &offer(""), Some(NEITHER));
    assert_eq!(early.echo(&unique(1)), Some(again), "as was agreed to");
    early.raw.close();
}
