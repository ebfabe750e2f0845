//! Fast rooms: the members of a publisher's node first, whatever Redis does; nothing twice, each
//! publisher in order, and what others never got is counted.

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

use chat::{ChatClient, join};
use nodes::{Member, Node, PATIENCE, talk_while};
use observed::wait_until;
use redis::Redis;
use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::{Duration, Instant};

const FAST: [&str; 2] = ["--fast-rooms", "fast"];
const ARGS: [&str; 4] = ["--redis-probe", "200ms", "--fast-rooms", "fast"];
const ROOM: &str = "fast room";
const PAUSE: Duration = Duration::from_millis(10);

/// So many members on each node, in one room.
fn gather(nodes: &[Node], each: usize) -> Vec<Member> {
    let members: Vec<Member> = (0..each * nodes.len())
        .map(|number| Member::join(nodes[number / each].address(), &format!("m{number}"), ROOM))
        .collect();
    let all = members.len() as u64;
    members.iter().for_each(|member| member.wait_for_users(all));
    members
}

/// Waits until all have heard the last words of all, and gives what members of each node have
/// missed: the same for all of a node.
fn misses(nodes: &[Node], members: Vec<Member>, each: usize) -> Vec<usize> {
    for member in &members {
        member.say_next();
    }
    let said: Vec<String> = members.iter().flat_map(Member::names_said).collect();
    for member in &members {
        for other in &members {
            let last = other.names_said().pop().expect("each has said something");
            member.wait_until_heard(&last);
        }
    }
    let mut missed: Vec<HashSet<String>> = Vec::new();
    for (number, member) in members.into_iter().enumerate() {
        let (name, log) = (member.name.clone(), member.close());
        assert_eq!((log.gaps.len(), log.refused), (0, 0), "{name}");
        let (mut numbers, mut heard) = (HashMap::new(), HashSet::new());
        for (line, offset) in log.lines.iter().zip(log.lines[0].offset..) {
            assert!(heard.insert(line.id.clone()), "{name} heard {} twice", line.id);
            assert_eq!(line.offset, offset, "{name}");
            let (speaker, number) = line.id.rsplit_once('-').expect("a name and a number");
            let number: usize = number.parse().expect("a number");
            let before = numbers.insert(speaker, number);
            assert!(before < Some(number), "{name} heard {} after {before:?}", line.id);
        }
        let missing = said.iter().filter(|id| !heard.contains(*id)).cloned().collect();
        if number % each == 0 {
            missed.push(missing);
        } else {
            assert_eq!(missed[number / each], missing, "{name} and the others of its node");
        }
    }
    assert_eq!(missed.len(), nodes.len());
    missed.iter().map(HashSet::len).collect()
}

/// The counters of nodes are what their members know.
fn compare(nodes: &[Node], missed: &[usize]) {
    let undelivered: Vec<u64> =
        nodes.iter().map(|node| node.value("cluster_messages_undelivered_total")).collect();
    for (number, node) in nodes.iter().enumerate() {
        let lost = node.value("cluster_messages_lost_total");
        let others: u64 = undelivered.iter().sum::<u64>() - undelivered[number];
        assert_eq!(
            lost + others,
            missed[number] as u64,
            "members of node {number} have missed {}; it counts {lost} lost; undelivered are \
             {undelivered:?}",
            missed[number]
        );
        assert_eq!(node.value("cluster_strange_envelopes_total"), 0);
    }
}

#[test]
fn all_members_hear_all_and_each_publisher_in_order() {
    const EACH: usize = 4;
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(3, &redis.url(), &ARGS);
    let members = gather(&nodes, EACH);
    thread::scope(|scope| {
        for member in &members {
            scope.spawn(move || (0..20).for_each(|_| member.say_many(10)));
        }
    });
    let missed = misses(&nodes, members, EACH);
    assert_eq!(missed, [0, 0, 0]);
    compare(&nodes, &missed);
    for node in &nodes {
        node.wait_for("rooms", 0);
        node.wait_for("cluster_rooms_syncing", 0);
    }
    // Nothing of it is kept for anybody.
    assert_eq!(redis.command(&["EXISTS", "ringwire:{fast%20room}:log"]), "0");
}

#[test]
fn members_of_the_publishers_node_do_not_wait_for_redis() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(2, &redis.url(), &FAST);
    let members = gather(&nodes, 2);
    let (near, far) = members.split_at(2);
    redis.stop();
    for _ in 0..50 {
        near[0].say_next();
        near[1].say_next();
    }
    near.iter().for_each(|member| member.wait_for_lines(100));
    // Who comes is let in, and counted here.
    let (_comer, joined) = ChatClient::open_in(nodes[0].address(), ROOM);
    assert_eq!(joined.user_count, 5);
    near[0].wait_for_users(5);
    assert_eq!(far[0].log().lines.len(), 0);
    let mut client = ChatClient::open(nodes[0].address());
    client.say(&join("sequenced", None));
    redis.cont();
    client.hear_joined("sequenced");
    let missed = misses(&nodes, members, 2);
    compare(&nodes, &missed);
    assert_eq!(missed[0], 0);
}

#[test]
fn what_is_lost_with_connections_is_counted() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(3, &redis.url(), &ARGS);
    let members = gather(&nodes, 2);
    talk_while(&members, PAUSE, || {
        for round in 1..=5 {
            members.iter().for_each(|member| member.wait_for_lines(round * 20));
            redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            for node in &nodes {
                wait_until(PATIENCE, || {
                    let breaks = node.value("cluster_breaks_total");
                    if breaks >= round as u64 { Ok(()) } else { Err(format!("{breaks} breaks")) }
                });
                node.wait_until_in_step(1);
            }
        }
    });
    let missed = misses(&nodes, members, 2);
    compare(&nodes, &missed);
}

#[test]
fn an_empty_redis_doubles_nothing_and_nothing_is_counted_that_was_not_lost() {
    let mut redis = Redis::start(&[]);
    let nodes = Node::start_many(3, &redis.url(), &ARGS);
    let members = gather(&nodes, 2);
    talk_while(&members, PAUSE, || {
        members.iter().for_each(|member| member.wait_for_lines(20));
        for round in 0..3 {
            if round < 2 {
                redis.restart();
            } else {
                redis.command(&["FLUSHALL"]);
            }
            nodes.iter().for_each(|node| node.wait_until_in_step(1));
            members.iter().for_each(|member| member.wait_for_users(6));
            let heard: Vec<usize> = members.iter().map(|one| one.log().lines.len()).collect();
            for (member, heard) in members.iter().zip(heard) {
                member.wait_for_lines(heard + 20);
            }
        }
    });
    // What fell between two epochs is known to nobody.
    let missed = misses(&nodes, members, 2);
    for (node, missed) in nodes.iter().zip(missed) {
        let lost = node.value("cluster_messages_lost_total");
        assert!(lost <= missed as u64, "{lost} counted, {missed} missed");
        assert_eq!(node.value("cluster_messages_undelivered_total"), 0);
    }
}

#[test]
fn an_outage_is_survived_and_what_it_cost_is_counted() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(2, &redis.url(), &ARGS);
    let members = gather(&nodes, 2);
    let (mut leaver, _) = ChatClient::open_in(nodes[1].address(), ROOM);
    members.iter().for_each(|member| member.wait_for_users(5));
    let comer = talk_while(&members, 10 * PAUSE, || {
        members.iter().for_each(|member| member.wait_for_lines(10));
        redis.stop();
        nodes.iter().for_each(|node| node.wait_for("cluster_links_up", 0));
        for node in &nodes {
            wait_until(PATIENCE, || {
                let count = node.value("cluster_messages_undelivered_total");
                if count >= 10 { Ok(()) } else { Err(format!("{count} undelivered")) }
            });
        }
        // Those who come and go meanwhile are counted here now, elsewhere later.
        let start = Instant::now();
        let comer = Member::join(nodes[0].address(), "comer", ROOM);
        assert!(start.elapsed() < Duration::from_secs(2));
        leaver.say(&chat::leave(ROOM));
        members[2].wait_for_users(4);
        redis.cont();
        nodes.iter().for_each(|node| node.wait_until_in_step(1));
        members.iter().for_each(|member| member.wait_for_users(5));
        comer
    });
    comer.close();
    members.iter().for_each(|member| member.wait_for_users(4));
    let missed = misses(&nodes, members, 2);
    assert!(missed.iter().all(|missed| *missed >= 10), "{missed:?}");
    compare(&nodes, &missed);
}
