//! Redis is away for longer than anybody waits: who is refused is told so, and nothing hangs.

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

use chat::{ChatClient, join, leave, message};
use fault_proxy::FaultProxy;
use nodes::{Member, Node, judge, talk_while};
use raw::{CLOSE, End, TEXT};
use redis::Redis;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ARGS: [&str; 2] = ["--redis-probe", "200ms"];
/// How long joins and messages wait for a server that is away.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(10);

fn hear_value(client: &mut ChatClient) -> Value {
    let frame = client.raw.read_frame().expect("it is still served");
    assert_eq!(frame.first, TEXT);
    serde_json::from_slice(&frame.payload).expect("it is JSON")
}

fn unavailable(room: &str) -> Value {
    json!({"type": "error", "message": "Room unavailable", "roomId": room})
}

#[test]
fn after_its_patience_a_node_refuses_and_afterwards_all_is_well() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(2, &redis.url(), &ARGS);
    let members: Vec<Member> = (0..8)
        .map(|number| {
            let room = format!("r{}", number / 4);
            Member::join(nodes[number % 2].address(), &format!("m{number}"), &room)
        })
        .collect();
    members.iter().for_each(|member| member.wait_for_users(4));
    talk_while(&members, Duration::from_millis(20), || {
        members.iter().for_each(|member| member.wait_for_lines(10));
        let mut patient = ChatClient::open(nodes[0].address());
        let mut waiting = ChatClient::open(nodes[1].address());
        waiting.join("r1", None);
        redis.stop();
        let since = Instant::now();
        nodes.iter().for_each(|node| node.wait_for("cluster_links_up", 0));
        // Who comes at the beginning waits, for as long as anybody does.
        patient.say(&join("r0", None));
        waiting.say(&join("r2", None));
        waiting.say(&message("r2", "said while the join waits"));
        assert_eq!(hear_value(&mut patient), unavailable("r0"));
        let waited = since.elapsed();
        assert!(
            (CLUSTER_PATIENCE..CLUSTER_PATIENCE + Duration::from_secs(5)).contains(&waited),
            "refused after {waited:?}"
        );
        // Who comes now is told at once; so is who says something, and whoever leaves may.
        for (node, room) in nodes.iter().zip(["r0", "new"]) {
            let mut late = ChatClient::open(node.address());
            for _ in 0..2 {
                late.say(&join(room, None));
                assert_eq!(hear_value(&mut late), unavailable(room));
            }
            late.say(&message(room, "from outside"));
            late.hears_error("Not in room");
            late.close();
        }
        patient.say(&json!({"type": "ping"}));
        patient.hears(&chat::Said::Pong);
        loop {
            let said = hear_value(&mut waiting);
            if said["type"] == "error" && said["roomId"] == "r2" {
                break;
            }
        }
        waiting.say(&leave("r1"));
        // What was under way nobody knows the fate of: its speakers are told with the next.
        for member in &members {
            member.say("one too many", "one too many");
            drop(member.wait(Instant::now() + nodes::PATIENCE, |log| log.refused > 0));
        }
        redis.cont();
        nodes.iter().for_each(|node| node.wait_until_in_step(1));
        members.iter().for_each(|member| member.wait_for_users(4));
        let joined = patient.join("r0", None);
        assert_eq!(joined.user_count, 5);
        patient.close_and_hear();
        waiting.close_and_hear();
    });
    let outcome = judge(members);
    assert_eq!(outcome.gaps, 0, "{outcome:?}");
    assert!(outcome.refused >= 8, "{outcome:?}");
    let left = |node: &Node| node.value("rooms");
    assert!(nodes.iter().map(left).sum::<u64>() <= 4);
    nodes.iter().for_each(|node| {
        node.wait_for("room_members", 0);
        node.wait_for("cluster_rooms_syncing", 0);
    });
}

#[test]
fn in_a_black_hole_connections_and_processes_end_on_time() {
    const CONNECTIONS: u64 = 200;
    let redis = Redis::start(&[]);
    let proxy = FaultProxy::start(redis.address());
    let steady = Node::start(&[&redis.url()], &ARGS);
    let args = [&ARGS[..], &["--drain", "2s"]].concat();
    let mut node = Node::start(&[&format!("redis://{}", proxy.address())], &args);
    let witness = Member::join(steady.address(), "witness", "r");
    let mut clients: Vec<ChatClient> =
        (0..CONNECTIONS).map(|_| ChatClient::open_in(node.address(), "r").0).collect();
    witness.wait_for_users(CONNECTIONS + 1);
    proxy.black_hole();
    node.wait_for("cluster_links_up", 0);

    let since = Instant::now();
    for (number, mut client) in clients.drain(..CONNECTIONS as usize / 2).enumerate() {
        match number % 3 {
            0 => drop(client.close_and_hear()),
            1 => {
                client.raw.half_close();
                assert_eq!(client.raw.read_to_end(), End::Fin);
            }
            _ => client.raw.reset(),
        }
    }
    node.wait_for("connections", CONNECTIONS / 2);
    node.wait_for("room_members", CONNECTIONS / 2);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());

    let since = Instant::now();
    node.server.terminate();
    for client in &mut clients {
        while client.raw.read_frame().expect("it is told to go").first != CLOSE {}
        client.raw.send(&raw::close_frame(1001, ""));
    }
    assert!(node.server.wait_for_exit(Duration::from_secs(10)).success());
    // The drain, and as long as a node waits for Redis to hear that it goes.
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    witness.wait_for_users(1);
    judge(vec![witness]);
}

/// A node that has never reached its servers.
#[test]
fn a_node_that_begins_without_redis_waits_and_refuses_and_serves() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let node = Node::launch(&[&redis.url()], &ARGS);
    let since = Instant::now();
    let mut client = ChatClient::open(node.address());
    client.say(&join("r", None));
    assert_eq!(hear_value(&mut client), unavailable("r"));
    assert!(since.elapsed() > CLUSTER_PATIENCE - Duration::from_secs(2), "{:?}", since.elapsed());
    redis.restart();
    node.wait_until_in_step(1);
    assert_eq!(client.join("r", None).user_count, 1);
    client.say(&message("r", "hello"));
    assert_eq!(client.hear_message(), (1, "hello".to_owned()));
}
