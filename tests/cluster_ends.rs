//! Nodes that end, one way or another: what the others see of it.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/nodes.rs"]
mod nodes;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/redis.rs"]
mod redis;

use chat::ChatClient;
use nodes::{Member, Node, judge, talk_while};
use observed::wait_until;
use raw::CLOSE;
use redis::Redis;
use rustix::process::Signal;
use std::time::{Duration, Instant};

const PROBE: [&str; 2] = ["--redis-probe", "200ms"];
/// Within which the members of a node that was killed are counted no more: its lease, and where it
/// was just met the time of a newcomer.
const SECONDS: Duration = Duration::from_secs(8);

#[test]
fn a_node_that_drains_is_gone_at_once() {
    let redis = Redis::start(&[]);
    // Leases of 40 s: nobody waits for the end of one.
    let mut nodes = Node::start_many(3, &redis.url(), &["--drain", "1s", "--redis-probe", "10s"]);
    let last = nodes.pop().expect("there are three");
    let steady: Vec<Member> = (0..2)
        .map(|number| Member::join(nodes[number].address(), &format!("m{number}"), "r"))
        .collect();
    let mut leaving: Vec<ChatClient> =
        (0..20).map(|_| ChatClient::open_in(last.address(), "r").0).collect();
    steady.iter().for_each(|member| member.wait_for_users(22));
    let mut last = last;
    let start = Instant::now();
    last.server.terminate();
    talk_while(&steady, Duration::from_millis(20), || {
        for client in &mut leaving {
            let frame = loop {
                let frame = client.raw.read_frame().expect("it is told to go");
                if frame.first == CLOSE {
                    break frame;
                }
            };
            assert_eq!(frame.close_code(), Some(1001));
            client.raw.send(&raw::close_frame(1001, ""));
        }
        assert!(last.server.wait_for_exit(Duration::from_secs(10)).success());
        let drained = start.elapsed();
        steady.iter().for_each(|member| member.wait_for_users(2));
        assert!(drained < Duration::from_secs(4), "the drain took {drained:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "others heard too late");
        assert_eq!(redis.command(&["ZCARD", "ringwire:{0}:nodes"]), "2", "leases");
    });
    judge(steady);
}

#[test]
fn a_node_that_is_killed_is_counted_no_more() {
    let redis = Redis::start(&[]);
    let mut nodes = Node::start_many(3, &redis.url(), &PROBE);
    let steady: Vec<Member> = (0..6)
        .map(|number| {
            let room = format!("r{}", number / 2);
            Member::join(nodes[number % 2].address(), &format!("m{number}"), &room)
        })
        .collect();
    let mut gone: Vec<ChatClient> = (0..9)
        .map(|number| ChatClient::open_in(nodes[2].address(), &format!("r{}", number % 3)).0)
        .collect();
    steady.iter().for_each(|member| member.wait_for_users(5));
    talk_while(&steady, Duration::from_millis(20), || {
        nodes[2].kill();
        let start = Instant::now();
        steady.iter().for_each(|member| member.wait_for_users(2));
        let took = start.elapsed();
        assert!(took < SECONDS, "the others counted its members for {took:?}");
        nodes[..2].iter().for_each(|node| node.wait_for("cluster_nodes", 2));
        gone.clear();
    });
    // Who comes now is counted right.
    let (_, joined) = ChatClient::open_in(nodes[0].address(), "r1");
    assert_eq!(joined.user_count, 3);
    assert_eq!(judge(steady).gaps, 0);
}

#[test]
fn a_node_that_stands_still_is_counted_again() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(2, &redis.url(), &PROBE);
    let members: Vec<Member> = (0..8)
        .map(|number| {
            let address = nodes[number % 2].address();
            let join = if number < 4 { Member::join } else { Member::join_nameless };
            join(address, &format!("m{number}"), &format!("r{}", number / 4))
        })
        .collect();
    // A room where nobody says anything.
    let quiet: Vec<Member> =
        nodes.iter().map(|node| Member::join(node.address(), "quiet", "quiet")).collect();
    members.iter().for_each(|member| member.wait_for_users(4));
    quiet.iter().for_each(|member| member.wait_for_users(2));
    talk_while(&members, Duration::from_millis(20), || {
        for _ in 0..2 {
            members.iter().for_each(|member| member.wait_for_lines(10));
            nodes[1].server.signal(Signal::STOP);
            members[0].wait_for_users(2);
            quiet[0].wait_for_users(1);
            nodes[1].server.signal(Signal::CONT);
            members.iter().for_each(|member| member.wait_for_users(4));
            quiet.iter().for_each(|member| member.wait_for_users(2));
        }
    });
    let outcome = judge(members);
    assert_eq!((outcome.gaps, outcome.refused), (0, 0), "{outcome:?}");
}

/// Nobody was left in the room who could have seen the node end.
#[test]
fn members_of_a_node_that_was_killed_are_not_there_for_who_comes_later() {
    let redis = Redis::start(&[]);
    let mut nodes = Node::start_many(2, &redis.url(), &PROBE);
    let (_lost, _) = ChatClient::open_in(nodes[1].address(), "r");
    nodes[1].kill();
    nodes[0].wait_for("cluster_nodes", 1);
    let member = Member::join(nodes[0].address(), "m", "r");
    let start = Instant::now();
    member.wait_for_users(1);
    assert!(start.elapsed() < SECONDS, "it took {:?}", start.elapsed());
    assert_eq!(judge(vec![member]).gaps, 0);
}

#[test]
fn a_node_of_the_same_name_is_another() {
    let redis = Redis::start(&[]);
    let start = |name| {
        let args = [&["--node-id", name][..], &PROBE].concat();
        Node::start(&[&redis.url()], &args)
    };
    let (steady_node, mut node) = (start("a"), start("b"));
    let steady = Member::join(steady_node.address(), "steady", "r");
    for _ in 0..2 {
        let (mut client, joined) = ChatClient::open_in(node.address(), "r");
        assert!(joined.user_count >= 2);
        client.say(&nodes::named("r", "from the one that ends-1", &format!("{}-1", client.id)));
        steady.wait_until_heard(&format!("{}-1", client.id));
        node.kill();
        node = start("b");
        // The one that has ended and the one that has begun are told apart.
        let (_again, _) = ChatClient::open_in(node.address(), "r");
        drop(client);
        wait_until(SECONDS, || {
            let (visitor, joined) = ChatClient::open_in(steady_node.address(), "r");
            visitor.close_and_hear();
            let told = format!("{} members, not three", joined.user_count);
            (joined.user_count == 3).then_some(()).ok_or(told)
        });
    }
    drop(node);
    steady.wait_for_users(1);
    assert_eq!(steady.close().gaps.len(), 0);
}

/// More often than not at the same time, and while its members talk.
#[test]
fn nodes_come_and_go_and_those_who_stay_miss_nothing() {
    let redis = Redis::start(&[]);
    let url = redis.url();
    let nodes = Node::start_many(2, &url, &PROBE);
    let steady: Vec<Member> = (0..8)
        .map(|number| {
            let room = format!("r{}", number / 4);
            Member::join(nodes[number % 2].address(), &format!("m{number}"), &room)
        })
        .collect();
    talk_while(&steady, Duration::from_millis(10), || {
        for round in 0..6 {
            let mut node = Node::start(&[&url], &[&PROBE[..], &["--drain", "500ms"]].concat());
            let guests: Vec<Member> = (0..4)
                .map(|number| {
                    let name = format!("guest{round}x{number}");
                    Member::join(node.address(), &name, &format!("r{}", number % 2))
                })
                .collect();
            guests.iter().for_each(|guest| guest.wait_for_lines(10));
            if round % 2 == 0 {
                node.kill();
            } else {
                node.server.terminate();
                node.server.wait_for_exit(Duration::from_secs(10));
            }
        }
        steady.iter().for_each(|member| member.wait_for_users(4));
    });
    let outcome = judge(steady);
    assert_eq!((outcome.gaps, outcome.refused), (0, 0), "{outcome:?}");
}
