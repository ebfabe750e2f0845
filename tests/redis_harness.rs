//! The Redis servers of the tests do what the tests that need them rely on.

#[path = "common/redis.rs"]
mod redis;

use redis::{Redis, RedisCluster};
use std::net::TcpStream;

#[test]
fn a_killed_server_comes_back_empty_on_its_port() {
    let mut redis = Redis::start(&["--maxmemory", "64mb"]);
    let address = redis.address();
    assert_eq!(redis.command(&["CONFIG", "GET", "maxmemory"]), "maxmemory\n67108864");
    assert_eq!(redis.command(&["SET", "key", "two words"]), "OK");
    assert_eq!(redis.command(&["GET", "key"]), "two words");
    redis.kill();
    assert!(TcpStream::connect(address).is_err());
    redis.restart();
    assert_eq!(redis.address(), address);
    assert_eq!(redis.command(&["GET", "key"]), "");
    assert!(redis.try_command(&["GET"]).is_err_and(|error| error.contains("wrong number")));
}

#[test]
fn a_persistent_server_has_all_it_confirmed_when_it_comes_back() {
    let mut redis = Redis::start_persistent(&[]);
    for count in 1..=20 {
        assert_eq!(redis.command(&["INCR", "key"]), count.to_string());
    }
    redis.restart();
    assert_eq!(redis.command(&["GET", "key"]), "20");
}

#[test]
fn a_stopped_server_goes_on() {
    let redis = Redis::start(&[]);
    redis.stop();
    TcpStream::connect(redis.address()).expect("the kernel accepts for it");
    redis.cont();
    assert_eq!(redis.command(&["PING"]), "PONG");
}

#[test]
fn users_stay_over_a_restart() {
    let mut redis = Redis::start(&[]);
    redis.allow("reader", "secret", "~public:* &* +get");
    redis.let_in_only("node", "word");
    redis.restart();
    assert_eq!(redis.command(&["ACL", "WHOAMI"]), "node");
    let try_as = |name, password, key| {
        let words = ["--user", name, "--pass", password, "--no-auth-warning", "GET", key];
        redis.try_command(&words)
    };
    assert_eq!(try_as("reader", "secret", "public:1"), Ok(String::new()));
    assert!(try_as("reader", "secret", "key").is_err_and(|error| error.contains("NOPERM")));
    assert!(try_as("reader", "guess", "public:1").is_err());
    assert!(try_as("default", "guess", "public:1").is_err());
}

#[test]
fn a_server_with_tls_shows_a_certificate_of_its_authority() {
    let mut redis = Redis::start_tls(&[]);
    assert!(redis.url().starts_with("rediss://127.0.0.1:"));
    assert!(redis.ca_file().exists());
    redis.restart();
    assert_eq!(redis.command(&["PING"]), "PONG");
}

#[test]
fn a_cluster_serves_all_slots_and_a_master_comes_back() {
    let mut cluster = RedisCluster::start(3);
    for key in ["a", "{room}1", "b"] {
        assert_eq!(cluster.node_of(key).command(&["SET", key, "1"]), "OK");
    }
    let channel = "{room}:channel";
    assert_eq!(cluster.node_of(channel).command(&["SPUBLISH", channel, "x"]), "0");
    let index = cluster.index_of("a");
    let other = (index + 1) % cluster.nodes.len();
    let moved = cluster.nodes[other].try_command(&["GET", "a"]);
    assert!(moved.is_err_and(|error| error.starts_with("MOVED ")));
    cluster.nodes[index].kill();
    cluster.nodes[index].restart();
    cluster.wait_until_ok();
    assert_eq!(cluster.index_of("a"), index);
}
