//! The Redis servers that nodes share: who is let in, TLS, several of them, and a Redis Cluster.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/nodes.rs"]
mod nodes;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/redis.rs"]
mod redis;

use chat::ChatClient;
use common::Server;
use folder::Folder;
use nodes::{Member, Node, PATIENCE, judge, talk_while};
use observed::{Metrics, wait_for_value, wait_until};
use redis::{Redis, RedisCluster};
use std::fs;
use std::time::Duration;

const PROBE: [&str; 2] = ["--redis-probe", "200ms"];
const PAUSE: Duration = Duration::from_millis(20);
const SECRET: &str = "a-secret-of-the-tests";
/// What a node may do, and no more.
const RIGHTS: &str = "~ringwire:* &ringwire:* -@all +@scripting +@pubsub +@connection +@hash \
                      +@sortedset +@stream +@string +@keyspace +time -@dangerous +info";

/// A node says something that a member on another node hears.
fn two_nodes_talk(nodes: &[Node]) {
    let members: Vec<Member> = nodes
        .iter()
        .zip(0..)
        .map(|(node, number)| Member::join(node.address(), &format!("m{number}"), "r"))
        .collect();
    members.iter().for_each(Member::say_next);
    let outcome = judge(members);
    assert_eq!((outcome.said, outcome.gaps), (nodes.len() + 1, 0));
}

/// What is logged of a server that does not let in; the node serves all the same.
fn is_refused(server: &Server, cause: &str) {
    wait_until(PATIENCE, || {
        let output = server.output();
        let is_told = output.contains("no connection to Redis") && output.contains(cause);
        if is_told { Ok(()) } else { Err(output) }
    });
    let output = server.output();
    assert!(!output.contains(SECRET) && !output.contains("wrong-word"), "{output}");
    assert_eq!(Metrics::scrape(server.admin_address()).value("cluster_links_up"), 0);
    ChatClient::open(server.address()).close();
}

fn write_password(folder: &Folder, text: &str) -> String {
    fs::write(folder.file("password"), text).expect("a file can be written");
    format!("{}/password", folder.path())
}

#[test]
fn a_user_is_let_in_with_a_password_from_a_file_or_the_environment() {
    let mut redis = Redis::start(&[]);
    redis.let_in_only("keeper", "kept");
    redis.allow("node", SECRET, RIGHTS);
    let folder = Folder::new("cluster-passwords");
    let file = write_password(&folder, &format!("{SECRET}\n"));
    let url = redis.url();
    let by_file = ["--redis-user", "node", "--redis-password-file", &file];
    let mut all = vec![Node::start(&[&url], &by_file)];
    let with_url = format!("redis://node:{SECRET}@{}", redis.address());
    all.push(Node::start(&[&with_url], &[]));
    two_nodes_talk(&all);

    let variable = format!("RINGWIRE_REDIS_PASSWORD={SECRET}");
    let args = ["--redis", &url, "--redis-user", "node", "--admin", "127.0.0.1:0"];
    let server = Server::start_under(&["env", &variable], &args);
    wait_for_value(server.admin_address(), "cluster_links_up", 1);
    for node in &all {
        node.wait_for("cluster_nodes", 3);
        assert!(!node.server.output().contains(SECRET));
    }
    assert!(!server.output().contains(SECRET));
    assert!(!fs::read(format!("/proc/{}/cmdline", server.pid())).is_ok_and(|words| {
        words.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
    }));
}

#[test]
fn a_wrong_password_is_told_without_it() {
    let mut redis = Redis::start(&[]);
    redis.let_in_only("node", SECRET);
    let folder = Folder::new("cluster-wrong");
    let file = write_password(&folder, "wrong-word");
    let url = redis.url();
    let node = Node::launch(&[&url], &["--redis-user", "node", "--redis-password-file", &file]);
    is_refused(&node.server, "WRONGPASS");
    let with_url = format!("redis://node:wrong-word@{}", redis.address());
    is_refused(&Node::launch(&[&with_url], &[]).server, "WRONGPASS");
    is_refused(&Node::launch(&[&url], &[]).server, "NOAUTH");
    // As soon as it is let in, it serves.
    redis.command(&["ACL", "SETUSER", "node", ">wrong-word"]);
    node.wait_until_in_step(1);
}

#[test]
fn certificates_are_verified() {
    let (redis, other) = (Redis::start_tls(&[]), Redis::start_tls(&[]));
    let (url, ca) = (redis.url(), redis.ca_file());
    let ca = ca.to_str().expect("the path is text");
    let nodes: Vec<Node> = (0..2).map(|_| Node::start(&[&url], &["--redis-ca", ca])).collect();
    two_nodes_talk(&nodes);
    let wrong = other.ca_file();
    let wrong = wrong.to_str().expect("the path is text");
    is_refused(&Node::launch(&[&url], &["--redis-ca", wrong]).server, "certificate");
    // Those of the host do not vouch for it.
    is_refused(&Node::launch(&[&url], &[]).server, "certificate");
}

/// Rooms of which each server has at least three.
fn gather(nodes: &[Node], rooms: usize) -> Vec<Member> {
    let members: Vec<Member> = (0..rooms * nodes.len())
        .map(|number| {
            let address = nodes[number % nodes.len()].address();
            Member::join(address, &format!("m{number}"), &format!("room{}", number / nodes.len()))
        })
        .collect();
    members.iter().for_each(|member| member.wait_for_users(nodes.len() as u64));
    members
}

/// The rooms that a server has.
fn rooms_of(redis: &Redis) -> Vec<String> {
    let keys = redis.command(&["KEYS", "ringwire:{room*}:meta"]);
    let names = keys.lines().filter_map(|key| key.split(['{', '}']).nth(1));
    names.map(str::to_owned).collect()
}

#[test]
fn rooms_spread_over_several_servers_that_fail_apart() {
    const ROOMS: usize = 12;
    let (mut first, second) = (Redis::start_persistent(&[]), Redis::start(&[]));
    let urls = [first.url(), second.url()];
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let nodes: Vec<Node> = (0..2).map(|_| Node::start(&urls, &PROBE)).collect();
    let members = gather(&nodes, ROOMS);
    let (on_first, on_second) = (rooms_of(&first), rooms_of(&second));
    assert_eq!(on_first.len() + on_second.len(), ROOMS);
    assert!(on_first.len() >= 3 && on_second.len() >= 3, "{on_first:?} {on_second:?}");
    talk_while(&members, PAUSE, || {
        first.kill();
        nodes.iter().for_each(|node| node.wait_for("cluster_links_up", 1));
        let hear_of_second = || {
            let heard: Vec<usize> = members.iter().map(|one| one.log().lines.len()).collect();
            for (member, heard) in members.iter().zip(&heard) {
                if on_second.contains(&member.room) {
                    member.wait_for_lines(heard + 10);
                }
            }
            members.iter().map(|one| one.log().lines.len()).collect::<Vec<usize>>()
        };
        let before = hear_of_second();
        let after = hear_of_second();
        let stands_still = members
            .iter()
            .zip(before.iter().zip(&after))
            .filter(|(member, (before, after))| on_first.contains(&member.room) && before == after);
        assert_eq!(stands_still.count(), on_first.len() * 2);
        nodes.iter().for_each(|node| {
            node.wait_for("cluster_rooms_syncing", on_first.len() as u64);
        });
        first.restart();
        nodes.iter().for_each(|node| node.wait_until_in_step(2));
    });
    let outcome = judge(members);
    assert_eq!((outcome.gaps, outcome.refused), (0, 0), "{outcome:?}");
}

#[test]
fn rooms_spread_over_a_redis_cluster_and_move_with_their_slots() {
    const ROOMS: usize = 12;
    let mut cluster = RedisCluster::start(3);
    let url = cluster.url();
    let nodes: Vec<Node> = (0..2).map(|_| Node::launch(&[&url], &PROBE)).collect();
    nodes.iter().for_each(|node| node.wait_until_linked(3));
    let members = gather(&nodes, ROOMS);
    let channel_of = |room: &str| format!("ringwire:{{{room}}}");
    let homes: Vec<usize> =
        (0..ROOMS).map(|room| cluster.index_of(&channel_of(&format!("room{room}")))).collect();
    for (number, redis) in cluster.nodes.iter().enumerate() {
        let here = homes.iter().filter(|home| **home == number).count();
        assert!(here > 0, "{homes:?}");
        assert_eq!(rooms_of(redis).len(), here);
        let channels = redis.command(&["PUBSUB", "SHARDCHANNELS", "ringwire:{room*"]);
        assert_eq!(channels.lines().count(), here, "{channels}");
        assert_eq!(redis.command(&["PUBSUB", "CHANNELS"]), "");
    }
    let gaps = talk_while(&members, PAUSE, || {
        // One slot moves, with its keys.
        let (from, to) = (homes[0], (homes[0] + 1) % 3);
        move_slot(&cluster, &channel_of("room0"), from, to);
        assert_eq!(cluster.index_of(&channel_of("room0")), to);
        goes_on(&nodes, &members);
        let gaps = members.iter().map(|member| member.log().gaps.len()).sum::<usize>();
        // One master is killed, and comes back empty.
        cluster.nodes[from].kill();
        nodes.iter().for_each(|node| node.wait_for("cluster_links_up", 2));
        cluster.nodes[from].restart();
        cluster.wait_until_ok();
        goes_on(&nodes, &members);
        gaps
    });
    assert_eq!(gaps, 0, "a slot has moved");
    let lost = homes.iter().skip(1).filter(|home| **home == homes[0]).count();
    let outcome = judge(members);
    assert_eq!(outcome.gaps, lost * nodes.len(), "{outcome:?}");
}

/// All rooms are in step, and all members hear more.
fn goes_on(nodes: &[Node], members: &[Member]) {
    nodes.iter().for_each(|node| node.wait_until_in_step(3));
    let heard: Vec<usize> = members.iter().map(|member| member.log().lines.len()).collect();
    for (member, heard) in members.iter().zip(heard) {
        member.wait_for_lines(heard + 5);
    }
}

/// Moves the slot of a key, as redis-cli does.
fn move_slot(cluster: &RedisCluster, key: &str, from: usize, to: usize) {
    let slot = cluster.nodes[from].command(&["CLUSTER", "KEYSLOT", key]);
    let [source, target] = [from, to].map(|index| &cluster.nodes[index]);
    let [source_id, target_id] = [source, target].map(|node| node.command(&["CLUSTER", "MYID"]));
    target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]);
    source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]);
    let port = target.address().port().to_string();
    loop {
        let keys = source.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
        if keys.is_empty() {
            break;
        }
        let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        source.command(&migrate.into_iter().chain(keys.lines()).collect::<Vec<_>>());
    }
    for node in [target, source] {
        node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]);
    }
}
