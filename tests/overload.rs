//! Past a mark of memory or connections: who comes is asked to come again later, who is here is
//! served, and room that comes back is used.

mod common;
#[path = "common/http.rs"]
mod http;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/reloading.rs"]
mod reloading;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use http::Api;
use observed::{resident_bytes, wait_for_value};
use raw::{BINARY, RawClient, header_64, upgrade_request};
use reloading::Reloading;

const MIB: usize = 1 << 20;

/// Comes 40 times, is refused each time, and says after how many seconds it may come again.
fn seconds_of_refusals(address: SocketAddr) -> BTreeSet<u16> {
    let refused = |_| {
        let mut client = RawClient::connect(address);
        client.send(&upgrade_request("/echo"));
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        let line = head.lines().find_map(|line| line.strip_prefix("Retry-After: "));
        line.and_then(|seconds| seconds.parse().ok()).expect("it says when to come again")
    };
    (0..40).map(refused).collect()
}

fn assert_spread(seconds: &BTreeSet<u16>) {
    assert!(seconds.iter().all(|seconds| (2..=10).contains(seconds)), "{seconds:?}");
    assert_eq!(seconds.len(), 9, "all of them are used: {seconds:?}");
}

#[test]
fn past_the_mark_of_connections_newcomers_come_again_later() {
    let site = Reloading::start("full", "max-connections = 3\n", &["--shards", "1"]);
    let (address, admin) = (site.address(), site.admin());
    wait_for_value(admin, "connections_max", 3);
    wait_for_value(admin, "overloaded", 0);
    let mut clients: Vec<RawClient> = (0..3).map(|_| RawClient::open(address, "/echo")).collect();
    wait_for_value(admin, "overloaded", 1);
    assert_spread(&seconds_of_refusals(address));
    for client in &mut clients {
        client.echo("served");
    }
    assert!(site.server.output().contains("overloaded: a shard has all the connections"));
    clients.pop().expect("there are three").close();
    wait_for_value(admin, "connections", 2);
    clients.push(RawClient::open(address, "/echo"));
    drop(clients);
    wait_for_value(admin, "overloaded", 0);
    assert!(site.server.output().contains("no longer overloaded"));
}

#[test]
fn past_the_mark_of_memory_newcomers_come_again_later() {
    const HOARD: usize = 50 * MIB;
    let site = Reloading::start("memory", "max-message = '64MiB'\n", &["--shards", "2"]);
    let (address, admin) = (site.address(), site.admin());
    let mut client = RawClient::open(address, "/echo");
    client.echo("served");
    let mark = resident_bytes(site.server.pid()) as usize + 2 * HOARD;
    let limited = format!("max-message = '64MiB'\nmax-memory = {mark}\n");
    site.reload_changes(&limited, "max-memory");
    RawClient::open(address, "/echo").echo("below the mark");

    let hoarders: Vec<RawClient> = (0..3).map(|_| hoarder(address, HOARD)).collect();
    wait_for_value(admin, "overloaded", 1);
    assert_spread(&seconds_of_refusals(address));
    client.echo("served all the same");
    let message = Api::new(admin).get("/readyz").refusal(503, "overloaded");
    assert!(message.contains("--max-memory"), "{message}");
    assert_eq!(Api::new(admin).get("/healthz").status, 200, "it needs no restart");

    site.reload_changes("max-message = '64MiB'\n", "max-memory");
    wait_for_value(admin, "overloaded", 0);
    RawClient::open(address, "/echo").echo("there is no mark");
    site.reload_changes(&limited, "max-memory");
    wait_for_value(admin, "overloaded", 1);
    assert_eq!(seconds_of_refusals(address).first(), Some(&2));

    drop(hoarders);
    wait_for_value(admin, "overloaded", 0);
    assert_eq!(Api::new(admin).get("/readyz").status, 200);
    RawClient::open(address, "/echo").echo("there is room again");
    client.echo("served to the end");
    let said = site.server.output();
    assert_eq!(said.matches("are past max-memory").count(), 2, "{said}");
    assert_eq!(said.matches("no longer overloaded").count(), 2, "{said}");
}

/// A client with so many bytes of a message that is not finished.
fn hoarder(address: SocketAddr, bytes: usize) -> RawClient {
    let mut client = RawClient::open(address, "/echo");
    client.send(&header_64(BINARY, bytes as u64 + 1));
    client.send(&vec![7; bytes]);
    client
}
