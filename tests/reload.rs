//! SIGHUP: what a server follows while clients are here, and what it does not.

mod common;
#[path = "common/member.rs"]
mod member;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/reloading.rs"]
mod reloading;

use std::time::Duration;

use observed::{Metrics, wait_for_value, wait_until};
use raw::{CLOSE, Frame, PING, PONG, RawClient, TEXT, frame, is_served, request};
use reloading::Reloading;

use member::{Member, error, ping, upgrade_status};

/// How long a test may wait for what is known to come; a failure, never a delay.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_limit_of_messages_follows_and_nobody_is_lost() {
    let site = Reloading::start("message", "max-message = 1000\n", &["--shards", "2"]);
    let mut clients: Vec<RawClient> =
        (0..8).map(|_| RawClient::open(site.address(), "/echo")).collect();
    let mut halfway = RawClient::open(site.address(), "/echo");
    let whole = frame(TEXT, "h".repeat(900).as_bytes());
    halfway.send(&whole[..500]);
    for client in &mut clients {
        client.echo(&"a".repeat(1000));
    }
    // So the beginning has been read.
    wait_for_value(site.admin(), "messages_received_total", 8);

    site.reload_changes("max-message = 100\n", "max-message");
    for client in &mut clients {
        client.echo(&"b".repeat(100));
    }
    let mut large = clients.pop().expect("there are eight");
    large.send_frame(TEXT, "c".repeat(101).as_bytes());
    large.expect_failure(1009, "one byte too many");

    site.reload_changes("max-message = '64KiB'\n", "max-message");
    for mut client in clients {
        client.echo(&"d".repeat(65_536));
        client.close();
    }
    halfway.send(&whole[500..]);
    assert_eq!(halfway.read_frame().map(|frame| frame.payload.len()), Ok(900));
    site.reload_changes("", "max-message");
    halfway.echo(&"e".repeat(1 << 20));
}

#[test]
fn rates_follow_and_what_was_said_still_counts() {
    let rates = |messages: &str, bytes: &str| {
        format!("rate-limit = '{messages}'\nrate-bytes = '{bytes}'\n")
    };
    let site = Reloading::start("rates", &rates("2/1h", "1MiB/1h"), &["--shards", "1"]);
    let mut member = Member::come(site.address());
    member.expect_pong();
    member.expect_pong();
    assert_eq!(member.ask(&ping()), error("Rate limit exceeded"));
    site.reload_changes(&rates("4/1h", "1MiB/1h"), "rate-limit");
    member.expect_pong();
    member.expect_pong();
    assert_eq!(member.ask(&ping()), error("Rate limit exceeded"), "the first two still count");
    site.reload_changes(&rates("off", "1MiB/1h"), "rate-limit");
    for _ in 0..10 {
        member.expect_pong();
    }
    site.reload_changes(&rates("off", "20/1h"), "rate-bytes");
    assert_eq!(member.ask(&ping()), error("Rate limit exceeded"));
    site.reload_changes(&rates("off", "off"), "rate-bytes");
    member.expect_pong();
    member.leave();
}

#[test]
fn origins_follow_for_newcomers() {
    let site = Reloading::start("origins", "allow-origin = ['https://a.example']\n", &[]);
    let status = |origin: &str| {
        let line = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
        let mut client = RawClient::connect(site.address());
        client.send(&request("/echo", &line));
        client.read_head()[9..12].to_owned()
    };
    let mut client = RawClient::connect(site.address());
    client.send(&request("/echo", "Origin: https://a.example\r\n"));
    client.expect_switch();
    assert_eq!([status("https://b.example"), status("")], ["403", "101"]);
    site.reload_changes("allow-origin = ['https://b.example']\n", "allow-origin");
    assert_eq!([status("https://a.example"), status("https://b.example")], ["403", "101"]);
    let strict = "allow-origin = ['https://b.example']\nrequire-origin = true\n";
    site.reload_changes(strict, "require-origin");
    assert_eq!([status(""), status("https://b.example")], ["403", "101"]);
    site.reload_changes("", "allow-origin, require-origin");
    assert_eq!([status(""), status("https://c.example")], ["101", "101"]);
    client.echo("it came from where nobody may come from any more");
}

#[test]
fn a_shorter_heartbeat_reaches_the_idle_and_asks_before_it_ends() {
    let site = Reloading::start("heartbeat", "heartbeat = '1h'\n", &["--shards", "2"]);
    let mut lively: Vec<RawClient> =
        (0..20).map(|_| RawClient::open(site.address(), "/echo")).collect();
    let mut deaf = RawClient::open(site.address(), "/echo");
    site.reload_changes("heartbeat = '1s'\n", "heartbeat");
    for client in &mut lively {
        assert_eq!(client.read_frame(), Ok(Frame::new(PING, b"")));
        client.send_frame(PONG, b"");
    }
    assert_eq!(deaf.read_frame(), Ok(Frame::new(PING, b"")));
    site.reload_changes("heartbeat = '30m'\n", "heartbeat");
    for client in &mut lively {
        client.send_frame(TEXT, b"alive");
        let mut heard = client.read_frame();
        while heard.as_ref().is_ok_and(|frame| frame.first == PING) {
            heard = client.read_frame();
        }
        assert_eq!(heard, Ok(Frame::new(TEXT, b"alive")));
    }
    assert_eq!(Metrics::scrape(site.admin()).closed("heartbeat"), 0);
    site.reload_changes("heartbeat = '1s'\n", "heartbeat");
    deaf.read_to_end();
    wait_until(PATIENCE, || {
        let closed = Metrics::scrape(site.admin()).closed("heartbeat");
        (closed > 0).then_some(()).ok_or_else(|| "the deaf one is still here".to_owned())
    });
}

#[test]
fn fewer_connections_than_are_here_close_none() {
    let site = Reloading::start("fewer", "max-connections = 4\n", &["--shards", "1"]);
    let (address, admin) = (site.address(), site.admin());
    let mut clients: Vec<RawClient> = (0..4).map(|_| RawClient::open(address, "/echo")).collect();
    assert_eq!(upgrade_status(address, "/echo"), 503);
    site.reload_changes("max-connections = 2\n", "max-connections");
    wait_for_value(admin, "connections_max", 2);
    for client in &mut clients {
        client.echo("still here");
    }
    for left in (1..=3).rev() {
        clients.pop().expect("there are enough").close();
        wait_for_value(admin, "connections", left);
        let expected = if left < 2 { 101 } else { 503 };
        let mut client = RawClient::connect(address);
        client.send(&request("/echo", ""));
        assert!(client.read_head().starts_with(&format!("HTTP/1.1 {expected}")), "{left} here");
    }
    site.reload_changes("max-connections = 300\n", "max-connections");
    clients.extend((0..200).map(|_| RawClient::open(address, "/echo")));
    site.reload_changes("", "max-connections");
    clients.extend((0..200).map(|_| RawClient::open(address, "/echo")));
    for client in &mut clients {
        client.echo("here");
    }
}

#[test]
fn limits_of_an_address_follow_both_ways() {
    let site = Reloading::start("address", "", &["--shards", "2"]);
    let address = site.address();
    let come = |host: u8| {
        let mut client = RawClient::connect_from([127, 0, 0, host], address);
        client.send(&request("/echo", ""));
        (client.read_head()[9..12].to_owned(), client)
    };
    let before: Vec<RawClient> = (0..3).map(|_| come(2).1).collect();
    site.reload_changes("max-connections-per-address = 2\n", "max-connections-per-address");
    let mut counted: Vec<RawClient> = Vec::new();
    for _ in 0..2 {
        let (status, client) = come(2);
        assert_eq!(status, "101", "who came before is not counted");
        counted.push(client);
    }
    assert_eq!(come(2).0, "429");
    site.reload_changes("", "max-connections-per-address");
    let (status, after) = come(2);
    assert_eq!(status, "101");
    // Their tickets are given back to who counts no more.
    for client in counted {
        client.close();
    }
    drop((before, after));
    wait_for_value(site.admin(), "connections", 0);
    site.reload_changes("max-connections-per-address = 1\n", "max-connections-per-address");
    let (status, client) = come(2);
    assert_eq!((status.as_str(), come(2).0.as_str()), ("101", "429"));
    drop(client);
    let rate = "max-connections-per-address = 'off'\nhandshake-rate = '1/1h'\n";
    site.reload_changes(rate, "max-connections-per-address, handshake-rate");
    assert_eq!([come(3).0, come(3).0], ["101", "429"]);
}

#[test]
fn the_level_of_the_log_follows() {
    let key = member::KEY_FILE;
    let toml =
        |level: &str| format!("auth = 'token'\nauth-key = ['{key}']\nlog-level = '{level}'\n");
    const QUIET: &str = "info,ringwire::handshake=off";
    let site = Reloading::start("log", &toml(QUIET), &[]);
    let refusals = || site.server.output().matches(" refused").count();
    assert_eq!(upgrade_status(site.address(), "/echo"), 401);
    site.reload_changes(&toml("debug"), "log-level");
    assert_eq!(refusals(), 0, "what came before this line was not logged");
    assert_eq!(upgrade_status(site.address(), "/echo"), 401);
    wait_until(PATIENCE, || (refusals() == 1).then_some(()).ok_or_else(|| site.server.output()));
    site.reload_changes(&toml(QUIET), "log-level");
    assert_eq!(upgrade_status(site.address(), "/echo"), 401);
    site.reload_changes(&toml("error"), "log-level");
    site.reload_changes(&toml("info"), "log-level");
    assert_eq!(refusals(), 1);
}

#[test]
fn histories_follow() {
    let site = Reloading::start("history", "history-messages = 100\n", &["--shards", "1"]);
    let mut member = Member::come(site.address());
    member.join("room");
    let mut say = |text: &str| assert_eq!(member.ask(&member::chat(text))["text"], text);
    for number in 0..5 {
        say(&number.to_string());
    }
    wait_for_value(site.admin(), "history_messages", 5);
    site.reload_changes(
        "history-messages = 2\nhistory-age = '1h'\n",
        "history-messages, history-age",
    );
    say("the newest");
    wait_for_value(site.admin(), "history_messages", 2);
    site.reload_changes("history-messages = 0\n", "history-messages, history-age");
    say("is not kept");
    wait_for_value(site.admin(), "history_messages", 0);
}

#[test]
fn the_time_of_a_drain_follows() {
    let mut site = Reloading::start("drain", "drain = '1h'\n", &["--shards", "2"]);
    let mut deaf = RawClient::open(site.address(), "/echo");
    site.reload_changes("drain = '1s'\n", "drain");
    site.server.terminate();
    assert_eq!(deaf.read_frame().map(|frame| frame.first), Ok(CLOSE));
    assert!(site.server.wait_for_exit(PATIENCE).success());
}

#[test]
fn flags_win_and_what_needs_a_restart_stays() {
    let args = ["--shards", "1", "--max-message", "10"];
    let site = Reloading::start("kept", "app = 'echo'\n", &args);
    let said = site.reload("app = 'broadcast'\nmax-message = 20\nshards = 3\n");
    let expected = "reload: app needs a restart and stays as it is";
    assert!(said.contains(expected) && said.contains("reload: nothing has changed"), "{said}");
    let mut client = RawClient::open(site.address(), "/");
    client.echo("ten bytes!");
    client.send_frame(TEXT, b"eleven byte");
    client.expect_failure(1009, "the flag wins");

    let key = format!("auth-key = ['{}']\n", member::KEY_FILE);
    let toml = format!("app = 'echo'\nauth = 'token'\n{key}drain = '5s'\nallow-origin = ['*']\n");
    let said = site.reload(&toml);
    let expected = "reload: auth, auth-key need a restart and stay as they are";
    assert!(said.contains(expected), "{said}");
    assert!(said.ends_with("reload: changed drain, allow-origin"), "{said}");
    assert_eq!(upgrade_status(site.address(), "/"), 101, "nobody is asked for a token");
    assert_eq!(Metrics::scrape(site.admin()).value("shards"), 1);
    assert!(is_served(site.address()));
}
