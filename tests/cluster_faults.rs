//! Redis fails in every way while members of three nodes talk: it is noticed, nothing is lost or
//! doubled unless members are told, and all is well afterwards.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/fault_proxy.rs"]
mod fault_proxy;
#[path = "common/nodes.rs"]
mod nodes;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/redis.rs"]
mod redis;

use chat::ChatClient;
use fault_proxy::FaultProxy;
use nodes::{Member, Node, Outcome, judge, talk_while};
use observed::wait_until;
use redis::Redis;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

const PROBE: Duration = Duration::from_millis(200);
const ARGS: [&str; 2] = ["--redis-probe", "200ms"];
const ROOMS: usize = 4;
const PAUSE: Duration = Duration::from_millis(10);
/// A fault shows after two probes at the latest; and so much later on a machine with much to do.
const NOTICED: Duration = Duration::from_millis(2 * 200 + 3_000);

/// Members in each room on each node.
fn gather(nodes: &[Node]) -> Vec<Member> {
    gather_by(nodes, |_| Member::join)
}

fn gather_by(
    nodes: &[Node],
    join: impl Fn(usize) -> fn(SocketAddr, &str, &str) -> Member,
) -> Vec<Member> {
    let count = ROOMS * nodes.len();
    let members: Vec<Member> = (0..count)
        .map(|number| {
            let address = nodes[number / ROOMS].address();
            join(number)(address, &format!("m{number}"), &format!("room {}", number % ROOMS))
        })
        .collect();
    members.iter().for_each(|member| member.wait_for_users(nodes.len() as u64));
    members
}

/// Waits until nodes have noticed that their server is away.
fn notice<'a>(nodes: impl IntoIterator<Item = &'a Node>) {
    let since = Instant::now();
    for node in nodes {
        node.wait_for("cluster_links_up", 0);
    }
    assert!(
        since.elapsed() < NOTICED,
        "noticed after {:?}, probed each {PROBE:?}",
        since.elapsed()
    );
}

fn wait_for_breaks(node: &Node, least: u64) {
    wait_until(nodes::PATIENCE, || {
        let breaks = node.value("cluster_breaks_total");
        if breaks >= least { Ok(()) } else { Err(format!("{breaks} breaks")) }
    });
}

fn all_is_well(nodes: &[Node], members: &[Member]) {
    nodes.iter().for_each(|node| node.wait_until_in_step(1));
    members.iter().for_each(|member| member.wait_for_users(nodes.len() as u64));
}

/// Breaks something while members talk, and judges what they heard.
fn break_while_talking(redis: &mut Redis, work: impl FnOnce(&mut Redis, &[Node])) -> Outcome {
    let nodes = Node::start_many(3, &redis.url(), &ARGS);
    let members = gather(&nodes);
    talk_while(&members, PAUSE, || {
        members.iter().for_each(|member| member.wait_for_lines(10));
        work(redis, &nodes);
        all_is_well(&nodes, &members);
        let heard: Vec<usize> = members.iter().map(|member| member.log().lines.len()).collect();
        for (member, heard) in members.iter().zip(heard) {
            member.wait_for_lines(heard + 20);
        }
    });
    let outcome = judge(members);
    for node in &nodes {
        assert_eq!(node.value("cluster_strange_envelopes_total"), 0);
    }
    outcome
}

#[test]
fn a_redis_that_is_killed_comes_back_with_its_data() {
    let mut redis = Redis::start_persistent(&[]);
    let outcome = break_while_talking(&mut redis, |redis, nodes| {
        for _ in 0..2 {
            redis.kill();
            notice(nodes);
            redis.restart();
            nodes.iter().for_each(|node| node.wait_until_in_step(1));
        }
    });
    assert_eq!((outcome.gaps, outcome.refused), (0, 0), "{outcome:?}");
}

#[test]
fn a_redis_that_comes_back_empty_is_told_to_all() {
    let mut redis = Redis::start(&[]);
    let outcome = break_while_talking(&mut redis, |redis, nodes| {
        redis.kill();
        notice(nodes);
        redis.restart();
    });
    assert_eq!((outcome.gaps, outcome.refused), (3 * ROOMS, 0), "{outcome:?}");
}

/// Nobody is away long enough to notice that the server is another one.
#[test]
fn a_redis_that_is_emptied_is_told_to_all() {
    let mut redis = Redis::start(&[]);
    let outcome = break_while_talking(&mut redis, |redis, _| {
        redis.command(&["FLUSHALL"]);
    });
    assert_eq!((outcome.gaps, outcome.refused), (3 * ROOMS, 0), "{outcome:?}");
}

#[test]
fn a_redis_that_stands_still_goes_on() {
    let mut redis = Redis::start(&[]);
    let outcome = break_while_talking(&mut redis, |redis, nodes| {
        for _ in 0..2 {
            redis.stop();
            notice(nodes);
            let late = thread::scope(|scope| {
                let address = nodes[0].address();
                let late = scope.spawn(move || ChatClient::open_in(address, "room 0"));
                nodes[0].wait_for("connections", ROOMS as u64 + 1);
                thread::sleep(Duration::from_secs(2));
                redis.cont();
                late.join().expect("it is let in")
            });
            assert_eq!(late.1.user_count, 4);
            nodes.iter().for_each(|node| node.wait_until_in_step(1));
        }
    });
    assert_eq!((outcome.gaps, outcome.refused), (0, 0), "{outcome:?}");
}

#[test]
fn subscriptions_that_are_killed_are_made_again() {
    let mut redis = Redis::start(&[]);
    let outcome = break_while_talking(&mut redis, |redis, nodes| {
        for round in 1..=5 {
            let killed: u32 = redis
                .command(&["CLIENT", "KILL", "TYPE", "pubsub"])
                .parse()
                .expect("it says how many");
            assert!(killed >= 3, "{killed}");
            for node in nodes {
                wait_for_breaks(node, round);
                node.wait_until_in_step(1);
            }
        }
    });
    assert_eq!((outcome.gaps, outcome.refused), (0, 0), "{outcome:?}");
}

#[test]
fn a_redis_that_throws_slow_hearers_out_is_heard_again() {
    let mut redis = Redis::start(&[]);
    let nodes = Node::start_many(3, &redis.url(), &ARGS);
    let members = gather(&nodes);
    let limit = |redis: &mut Redis, words: &str| {
        redis.command(&["CONFIG", "SET", "client-output-buffer-limit", words]);
    };
    talk_while(&members, PAUSE, || {
        limit(&mut redis, "pubsub 16kb 0 0");
        // Too large a message, though none of ours.
        redis.command(&["PUBLISH", "ringwire:{room%201}", &"x".repeat(100_000)]);
        limit(&mut redis, "pubsub 32mb 8mb 60");
        for node in &nodes {
            wait_for_breaks(node, 1);
        }
        all_is_well(&nodes, &members);
    });
    let outcome = judge(members);
    assert_eq!((outcome.gaps, outcome.refused), (0, 0), "{outcome:?}");
}

#[test]
fn a_node_in_a_black_hole_comes_back() {
    let redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let mut nodes: Vec<Node> = (0..2).map(|_| Node::start(&[&redis.url()], &ARGS)).collect();
    nodes.push(Node::start(&[&format!("redis://{}", proxy.address())], &ARGS));
    nodes.iter().for_each(|node| node.wait_for("cluster_nodes", 3));
    // Nothing is known by its name only.
    let members = gather_by(&nodes, |number| match number % 2 {
        0 => Member::join,
        _ => Member::join_nameless,
    });
    talk_while(&members, PAUSE, || {
        members.iter().for_each(|member| member.wait_for_lines(10));
        proxy.black_hole();
        notice(&nodes[2..]);
        // To the others, its members have left.
        members[..2 * ROOMS].iter().for_each(|member| member.wait_for_users(2));
        nodes[..2].iter().for_each(|node| assert_eq!(node.value("cluster_links_up"), 1));
        // What it was sent meanwhile comes late, beside what is said again.
        proxy.heal();
        all_is_well(&nodes, &members);
        proxy.cut();
        all_is_well(&nodes, &members);
        proxy.stall();
        notice(&nodes[2..]);
        proxy.heal();
        all_is_well(&nodes, &members);
    });
    let outcome = judge(members);
    assert_eq!((outcome.gaps, outcome.refused), (0, 0), "{outcome:?}");
}

/// A node is away for longer than what rooms keep.
#[test]
fn who_missed_more_than_is_kept_is_told() {
    let redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let args = [&ARGS[..], &["--history-messages", "10"]].concat();
    let through = format!("redis://{}", proxy.address());
    let nodes = [redis.url(), through].map(|url| Node::start(&[&url], &args));
    nodes.iter().for_each(|node| node.wait_for("cluster_nodes", 2));
    let (steady, late) = nodes.split_at(1);
    let [speakers, hearers] = [steady, late].map(gather_in);
    let heard = || hearers[0].log().lines.len();
    talk_while(&speakers, PAUSE, || {
        hearers[0].wait_for_lines(10);
        proxy.black_hole();
        notice(late);
        let before = speakers[0].log().lines.len();
        speakers[0].wait_for_lines(before + 50);
        let before = heard();
        proxy.heal();
        late[0].wait_until_in_step(1);
        hearers[0].wait_for_lines(before + 20);
    });
    let lost = late[0].value("cluster_messages_lost_total");
    let said: usize = speakers.iter().map(|member| member.names_said().len()).sum();
    let missed = hearers.iter().map(|member| {
        drop(member.wait(Instant::now() + nodes::PATIENCE, |log| log.users == 2));
        assert_eq!(member.log().gaps.len(), 1, "{}", member.name);
        member.log().lines.len()
    });
    assert_eq!(missed.sum::<usize>() + lost as usize, said);
    assert_eq!(late[0].value("cluster_gaps_total"), ROOMS as u64);
    assert_eq!(steady[0].value("cluster_gaps_total"), 0);
    let outcome = judge(speakers.into_iter().chain(hearers).collect());
    assert_eq!((outcome.gaps, outcome.refused), (ROOMS, 0), "{outcome:?}");
}

/// A member in each room.
fn gather_in(nodes: &[Node]) -> Vec<Member> {
    (0..ROOMS)
        .map(|room| {
            let address = nodes[0].address();
            let name = format!("{room}x{}", address.port());
            Member::join(address, &name, &format!("room {room}"))
        })
        .collect()
}
