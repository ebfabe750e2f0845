//! After known traffic every counter says what the clients know, and every gauge is 0 again.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/program.rs"]
mod program;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/truth.rs"]
mod truth;

use chat::{join, leave, message};
use common::Server;
use observed::{Metrics, descriptors, wait_for_value, wait_until};
use program::project_file;
use raw::{BINARY, CLOSE, PING, RawClient, TEXT, close_frame, frame, upgrade_request};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use truth::{Client, PATIENCE, Samples, Truth, nothing_is_left, text, types};

/// Says something in the chat; what is heard is only counted.
fn say(client: &mut Client, command: &serde_json::Value) {
    client.send(TEXT, command.to_string().as_bytes());
}

/// Messages of all lengths of a header, back to the sender, and a ping that is none.
fn echo(address: SocketAddr, truth: &mut Truth) {
    let clients = 5;
    for _ in 0..clients {
        let mut client = Client::open(address, "/echo");
        for length in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
            let payload = vec![b'x'; length];
            client.send(TEXT, &payload);
            assert_eq!(client.read(), Ok((TEXT, payload)));
        }
        client.send(PING, b"?");
        client.read().expect("a pong");
        *truth += client.close(1000);
    }
}

/// Everybody hears everybody.
fn broadcast(address: SocketAddr, truth: &mut Truth) {
    const CLIENTS: usize = 6;
    const MESSAGES: usize = 20;
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|_| Client::open(address, "/broadcast")).collect();
    for client in &mut clients {
        for number in 0..MESSAGES {
            client.send(BINARY, &number.to_be_bytes());
        }
    }
    for mut client in clients {
        for _ in 0..CLIENTS * MESSAGES {
            assert_eq!(client.read().map(|(first, _)| first), Ok(BINARY));
        }
        *truth += client.close(1001);
    }
}

/// A room with joins, leaves, answers, and `errors` messages that are answered with an error.
fn chat(address: SocketAddr, truth: &mut Truth) -> u64 {
    let mut errors = 0;
    let mut members: Vec<Client> = (0..4).map(|_| Client::open(address, "/chat")).collect();
    for member in &mut members {
        say(member, &join("room", None));
        say(member, &message("room", "hello"));
        say(member, &json!({"type": "ping"}));
        say(member, &leave("elsewhere"));
        member.send(TEXT, b"{");
        member.send(BINARY, b"?");
        errors += 3;
    }
    for mut member in members {
        // Its own hello says that it was a member; whatever else came is counted, too.
        say(&mut member, &message("room", "bye"));
        while !String::from_utf8_lossy(&member.read().expect("it stays").1).contains("bye") {}
        say(&mut member, &leave("room"));
        *truth += member.close(4999);
    }
    errors
}

/// Ends of all kinds; what is expected of `connections_closed_total`.
fn ends(address: SocketAddr, truth: &mut Truth) -> BTreeMap<String, u64> {
    let mut expected = BTreeMap::new();
    let mut expect = |reason: &str, code: &str| {
        *expected.entry(format!("reason=\"{reason}\",code=\"{code}\"")).or_insert(0) += 1;
    };
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4001]) {
        *truth += Client::open(address, "/echo").close(code);
        let label = match code {
            3000.. => format!("{}xxx", code / 1000),
            _ => code.to_string(),
        };
        expect("client_close", &label);
    }
    let mut without = Client::open(address, "/echo");
    without.send(CLOSE, b"");
    assert_eq!(without.read_to_close(), None);
    *truth += without.truth;
    expect("client_close", "none");

    let too_long = raw::header_64(BINARY, 1 << 40);
    let faults: [(&str, u16, Vec<u8>); 4] = [
        ("protocol_error", 1002, close_frame(1005, "")),
        ("protocol_error", 1002, b"\x81\x01x".to_vec()),
        ("invalid_payload", 1007, frame(TEXT, b"\xff")),
        ("too_big", 1009, too_long),
    ];
    for (reason, code, bytes) in faults {
        let mut client = Client::open(address, "/chat");
        client.read().expect("the welcome");
        client.send_bytes(&bytes);
        assert_eq!(client.read_to_close(), Some(code), "{reason}");
        *truth += client.truth;
        expect(reason, &code.to_string());
    }
    let mut gone = Client::open(address, "/echo");
    gone.raw.half_close();
    *truth += gone.truth;
    expect("peer_gone", "none");
    let reset = Client::open(address, "/echo");
    *truth += reset.truth;
    reset.raw.reset();
    expect("peer_gone", "none");
    expected
}

/// Handshakes that fail, and what is expected of `handshakes_refused_total`.
fn refusals(address: SocketAddr) -> BTreeMap<&'static str, u64> {
    let request = String::from_utf8(upgrade_request("/echo")).expect("it is ASCII");
    let cookie = format!("Cookie: {}\r\n\r\n", "x".repeat(9000));
    let requests = [
        ("404", request.replace("/echo", "/nowhere")),
        ("404", request.replace("/echo", "/nothing")),
        ("405", request.replace("GET", "POST")),
        ("426", request.replace("Version: 13", "Version: 12")),
        ("431", request.trim_end().to_owned() + "\r\n" + &cookie),
        ("505", request.replace("HTTP/1.1", "HTTP/1.0")),
        ("400", request.replace("Host: ", "Nohost: ")),
    ];
    let mut expected = BTreeMap::new();
    for (status, request) in requests {
        let mut client = RawClient::connect(address);
        client.send(request.as_bytes());
        let head = client.read_head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {head}");
        *expected.entry(status).or_insert(0) += 1;
    }
    expected
}

#[test]
fn after_known_traffic_every_counter_tells_the_truth() {
    let server = chat::start(&["--shards", "3", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    let mut truth = Truth::default();
    echo(address, &mut truth);
    broadcast(address, &mut truth);
    let errors = chat(address, &mut truth);
    let mut closed = ends(address, &mut truth);
    let refused = refusals(address);
    let mut page = RawClient::connect(address);
    page.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(page.read_rest().0.starts_with("HTTP/1.1 200 "));
    drop(page);
    drop(RawClient::connect(address));
    wait_until(PATIENCE, || {
        let failed = Metrics::scrape(admin).handshakes("failed");
        (failed == 1).then_some(()).ok_or_else(|| format!("{failed} handshakes failed"))
    });
    nothing_is_left(admin);

    *closed.entry("reason=\"client_close\",code=\"1000\"".to_owned()).or_insert(0) += 5;
    *closed.entry("reason=\"client_close\",code=\"1001\"".to_owned()).or_insert(0) += 6;
    *closed.entry("reason=\"client_close\",code=\"4xxx\"".to_owned()).or_insert(0) += 4;
    let opened: u64 = closed.values().sum();
    let refusals: u64 = refused.values().sum();
    let samples = Samples::of(admin);
    assert_eq!(samples.traffic(), truth);
    assert_eq!(samples.value("connections_opened_total"), opened);
    let owned = |family: BTreeMap<&str, u64>| -> BTreeMap<String, u64> {
        family.into_iter().map(|(labels, value)| (labels.to_owned(), value)).collect()
    };
    assert_eq!(owned(samples.of_family("connections_closed_total")), closed);
    let by_status: BTreeMap<String, u64> =
        refused.iter().map(|(status, count)| (format!("status=\"{status}\""), *count)).collect();
    assert_eq!(owned(samples.of_family("handshakes_refused_total")), by_status);
    let results = [
        ("result=\"accepted\"", opened),
        ("result=\"failed\"", 1),
        ("result=\"refused\"", refusals),
        ("result=\"static\"", 1),
    ];
    assert_eq!(samples.of_family("handshakes_total"), BTreeMap::from(results));
    let kinds = [
        ("kind=\"handshake\"", refusals + 1),
        ("kind=\"message\"", errors),
        ("kind=\"protocol\"", 4),
    ];
    assert_eq!(samples.of_family("errors_total"), BTreeMap::from(kinds));
    for nothing in ["messages_dropped_total", "accept_errors_total", "memory_shortages_total"] {
        assert_eq!(samples.of_family(nothing), BTreeMap::new(), "{nothing}");
    }
    shards_and_times_add_up(&samples, opened);
}

fn shards_and_times_add_up(samples: &Samples, opened: u64) {
    for name in ["messages_received_total", "messages_sent_total", "turns_total"] {
        let of_shards = samples.of_family(&format!("shard_{name}"));
        assert_eq!(of_shards.values().sum::<u64>(), samples.value(name), "{name}");
    }
    assert_eq!(samples.value("handshake_seconds_count"), opened);
    let rounds = samples.value("fan_out_seconds_count");
    assert!(rounds > 0, "rooms had rounds");
    assert_eq!(samples.value("outbound_delay_seconds_count"), rounds);
    assert!(samples.value("completions_total") > opened, "each connection was polled");
    let delay = samples.0["ringwire_outbound_delay_seconds_sum"];
    assert!(delay >= samples.0["ringwire_fan_out_seconds_sum"], "a delay ends with the sends");
}

#[test]
fn turns_and_ticks_are_measured() {
    let server = Server::start(&["--shards", "2", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    // Its heartbeat makes a shard tick.
    let client = RawClient::open(address, "/echo");
    wait_until(PATIENCE, || {
        let samples = Samples::of(admin);
        let ticks = samples.value("timer_lateness_seconds_count");
        let told = ticks > 2 && samples.0["ringwire_cpu_seconds_total"] > 0.0;
        told.then_some(()).ok_or_else(|| format!("{ticks} ticks, or no processor time"))
    });
    client.close();
    nothing_is_left(admin);
    // The last tick may be under way.
    wait_until(PATIENCE, || {
        let samples = Samples::of(admin);
        let (turns, times) = (samples.value("turns_total"), samples.value("turn_seconds_count"));
        (turns == times).then_some(()).ok_or_else(|| format!("{turns} turns, {times} times"))
    });
}

#[test]
fn what_a_slow_reader_does_not_get_is_counted_as_dropped() {
    let server = Server::start(&["--shards", "2", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    let mut slow = Client::over(RawClient::connect_narrow(address), "/broadcast");
    let mut publisher = Client::open(address, "/broadcast");
    let mut published = 0;
    while Samples::of(admin).of_family("messages_dropped_total").is_empty() {
        for _ in 0..16 {
            publisher.send(BINARY, &[b'.'; 16 * 1024]);
            published += 1;
        }
        for _ in 0..16 {
            publisher.read().expect("the publisher keeps up");
        }
        assert!(published < 10_000, "the kernel takes whatever is sent");
    }
    assert_eq!(slow.read_to_close(), Some(1008));
    let got = slow.truth.messages_out;
    let mut truth = slow.truth;
    truth += publisher.close(1000);
    nothing_is_left(admin);

    let samples = Samples::of(admin);
    assert_eq!(samples.traffic(), truth);
    let closed = samples.of_family("connections_closed_total");
    assert_eq!(closed.get("reason=\"slow_reader\",code=\"1008\""), Some(&1), "{closed:?}");
    let dropped = samples.of_family("messages_dropped_total");
    let reasons: Vec<&&str> = dropped.keys().collect();
    assert_eq!(reasons, [&"reason=\"slow_reader\""]);
    let lost: u64 = dropped.values().sum();
    // What was published behind its end was not for it any more.
    assert!(lost > 32 && got + lost <= published, "{got} got, {lost} lost of {published}");
}

#[test]
fn what_waits_for_a_peer_that_hangs_up_is_counted_as_dropped() {
    let server = Server::start(&["--shards", "1", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    let mut client = Client::over(RawClient::connect_narrow(address), "/echo");
    let mut sent: u64 = 0;
    while Samples::of(admin).value("slow_readers") == 0 {
        for _ in 0..4 {
            client.send(BINARY, &[b'.'; 60_000]);
            sent += 1;
        }
        assert!(sent < 1_000, "the kernel takes whatever is sent");
    }
    wait_until(PATIENCE, || {
        let samples = Samples::of(admin);
        let (waiting, kept) = (samples.value("backlog_bytes"), samples.value("replies_kept_bytes"));
        // The frame that was begun is kept whole.
        let holds = waiting > 0 && waiting <= kept && samples.value("slow_readers") == 1;
        holds.then_some(()).ok_or_else(|| format!("{waiting} wait, {kept} are kept"))
    });
    let head = client.truth.bytes_out;
    client.raw.reset();
    nothing_is_left(admin);
    let samples = Samples::of(admin);
    let dropped = samples.of_family("messages_dropped_total");
    assert_eq!(dropped.keys().collect::<Vec<_>>(), [&"reason=\"peer_gone\""], "{dropped:?}");
    let (received, sent) =
        (samples.value("messages_received_total"), samples.value("messages_sent_total"));
    assert_eq!(received, sent, "an echo for each");
    // Each message that the kernel took whole is 60,004 bytes behind the 101.
    let whole = (samples.value("bytes_sent_total") - head) / 60_004;
    assert_eq!(dropped.values().sum::<u64>(), sent - whole);
}

#[test]
fn what_the_kernel_had_no_memory_for_is_sent_again() {
    const PAYLOAD: usize = 1234;
    let program = project_file("tests/clients/python_starve.py");
    let size = (PAYLOAD + 4).to_string();
    let starved = ["python3", program.to_str().expect("the path is UTF-8"), &size];
    let server = Server::start_under(&starved, &["--shards", "1", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    let mut client = Client::open(address, "/echo");
    for (length, shortages) in [(PAYLOAD - 1, None), (PAYLOAD, Some(&1))] {
        let payload = vec![b'x'; length];
        client.send(TEXT, &payload);
        assert_eq!(client.read(), Ok((TEXT, payload)));
        let samples = Samples::of(admin);
        let told = samples.of_family("memory_shortages_total");
        assert_eq!(told.get("call=\"send\""), shortages, "{length} bytes");
    }
    let truth = client.close(1000);
    nothing_is_left(admin);
    assert_eq!(Samples::of(admin).traffic(), truth);
}

#[test]
fn refusals_for_who_comes_are_counted() {
    let arguments = ["--shards", "1", "--admin", "127.0.0.1:0", "--max-connections", "1"];
    let server =
        Server::start(&[&arguments[..], &["--allow-origin", "https://here.example"]].concat());
    let (address, admin) = (server.address(), server.admin_address());
    let first = RawClient::open(address, "/echo");
    let foreign = raw::request("/echo", "Origin: https://elsewhere.example\r\n");
    for (status, request) in [(503, upgrade_request("/echo")), (403, foreign)] {
        let mut client = RawClient::connect(address);
        client.send(&request);
        assert!(client.read_head().starts_with(&format!("HTTP/1.1 {status} ")));
    }
    first.close();
    nothing_is_left(admin);
    let expected = [("status=\"403\"", 1), ("status=\"503\"", 1)];
    let samples = Samples::of(admin);
    assert_eq!(samples.of_family("handshakes_refused_total"), BTreeMap::from(expected));
}

#[test]
fn a_parser_that_is_not_ours_accepts_the_text() {
    let server = Server::start(&["--shards", "2", "--admin", "127.0.0.1:0"]);
    let mut client = RawClient::open(server.address(), "/echo");
    client.echo("something to count");
    let python = project_file(".deps/venv/bin/python");
    let admin = server.admin_address().to_string();
    assert_eq!(program::run(&python, "python_metrics.py", &[&admin]), 7);
    client.close();
}

#[test]
fn the_process_is_told_as_the_kernel_knows_it() {
    let server = Server::start(&["--shards", "2", "--admin", "127.0.0.1:0"]);
    let admin = server.admin_address();
    let clients: Vec<RawClient> =
        (0..20).map(|_| RawClient::open(server.address(), "/echo")).collect();
    wait_for_value(admin, "connections", 20);
    wait_until(PATIENCE, || {
        let told = Samples::of(admin).0["process_open_fds"] as usize;
        // The scrape itself is a connection.
        let counted = descriptors(server.pid()) + 1;
        (told == counted).then_some(()).ok_or_else(|| format!("{told} told, {counted} counted"))
    });
    let samples = Samples::of(admin);
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    assert_eq!(samples.0["process_threads"] as usize, threads.count());
    assert!(samples.0["process_max_fds"] >= samples.0["process_open_fds"]);
    let version = format!("ringwire_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(samples.0[&version], 1.0);
    drop(clients);
}

#[test]
fn the_table_for_operators_lists_exactly_what_is_exposed() {
    let server = Server::start(&["--shards", "1", "--admin", "127.0.0.1:0"]);
    let exposed = text(server.admin_address());
    let manual = std::fs::read_to_string(project_file("docs/OPERATIONS.md")).expect("it is there");
    let (_, section) = manual.split_once("\n## Metrics\n").expect("it has a section on metrics");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut listed = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [name, kind, unit, meaning, advice] = cells[..] else { panic!("five cells: {row}") };
        let name = name.split(['`', '{']).next().unwrap_or_default();
        assert!(!meaning.is_empty() && !advice.is_empty(), "{row}");
        let is_named = match unit {
            "seconds" | "bytes" => name.contains(unit),
            _ => !name.contains("_seconds") && !name.contains("_bytes"),
        };
        assert!(is_named, "{name} is not in {unit}");
        assert!(listed.insert((name, kind)), "{name} is listed twice");
    }
    assert_eq!(listed, types(&exposed));
}
