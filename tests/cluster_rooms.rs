//! Rooms that span nodes, over sockets and a real Redis: counts, one order, and coming back to
//! whichever node.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/http.rs"]
mod http;
#[path = "common/nodes.rs"]
mod nodes;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/redis.rs"]
mod redis;

use chat::{ChatClient, Position, Said, join, leave, message, user_joined, user_left};
use http::Api;
use nodes::{Member, Node, judge, named};
use raw::TEXT;
use redis::Redis;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::thread;
use std::time::Duration;

#[test]
fn members_are_counted_over_all_nodes() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(3, &redis.url(), &[]);
    let at = |node: usize| ChatClient::open(nodes[node].address());
    let mut members = vec![at(0), at(1), at(2), at(0)];
    let mut epochs = HashSet::new();
    for number in 0..members.len() {
        let joined = members[number].join("r", None);
        assert_eq!((joined.user_count, joined.recovered), (number as u64 + 1, false));
        epochs.insert(joined.position.epoch);
        for other in &mut members[..number] {
            other.hears(&user_joined("r", number as u64 + 1));
        }
    }
    assert_eq!(epochs.len(), 1, "all are in one room");
    // A second join is answered, and told to nobody.
    assert_eq!(members[1].join("r", None).user_count, 4);

    members[1].say(&leave("r"));
    for number in [0, 2, 3] {
        members[number].hears(&user_left("r", 3));
    }
    members.remove(1).close();
    members.remove(1).raw.reset();
    members.iter_mut().for_each(|member| member.hears(&user_left("r", 2)));
    assert_eq!(members.pop().expect("it is there").close_and_hear(), []);
    members[0].hears(&user_left("r", 1));

    // What comes in one segment is done in order, on the way of all nodes.
    let mut visitor = at(2);
    visitor.say_all(&[join("r", None), message("r", "hello"), leave("r"), message("r", "late")]);
    let mut heard: Vec<Said> = (0..2).map(|_| visitor.hear()).collect();
    let error = Said::Error { message: "Not in room".into() };
    heard.retain(|said| *said != error);
    assert!(matches!(heard[..], [Said::RoomJoined { user_count: 2, offset: 0, .. }]), "{heard:?}");
    members[0].hears(&user_joined("r", 2));
    assert_eq!(members[0].hear_message(), (1, "hello".to_owned()));
    members[0].hears(&user_left("r", 1));
    visitor.close();
    members.remove(0).close();
    for node in &nodes {
        ["connections", "rooms", "room_members"].iter().for_each(|name| node.wait_for(name, 0));
        node.wait_for("cluster_rooms_syncing", 0);
    }
}

#[test]
fn all_nodes_have_one_order() {
    const ROOMS: usize = 3;
    const MEMBERS: usize = 30;
    const EACH: usize = 100;
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(3, &redis.url(), &[]);
    let members: Vec<Member> = (0..MEMBERS)
        .map(|number| {
            // Each room has members on each node.
            let address = nodes[number / ROOMS % nodes.len()].address();
            Member::join(address, &format!("m{number}"), &format!("room {}", number % ROOMS))
        })
        .collect();
    thread::scope(|scope| {
        for member in &members {
            scope.spawn(move || (0..EACH / 10).for_each(|_| member.say_many(10)));
        }
    });
    let outcome = judge(members);
    let all = MEMBERS * EACH + ROOMS;
    assert_eq!((outcome.said, outcome.gaps, outcome.refused), (all, 0, 0));
    for node in &nodes {
        for name in ["messages_lost_total", "gaps_total", "strange_envelopes_total"] {
            assert_eq!(node.value(&format!("cluster_{name}")), 0, "{name}");
        }
    }
}

/// What a client has that comes back to `node` with `since`: whether it has all, and that.
fn come_back(node: &Node, room: &str, since: &Position) -> (ChatClient, bool, Vec<String>) {
    let mut client = ChatClient::open(node.address());
    let joined = client.join(room, Some(since));
    let missed = if joined.recovered { joined.position.offset - since.offset } else { 0 };
    let texts = (1..=missed).map(|number| {
        let (offset, text) = client.hear_message();
        assert_eq!(offset, since.offset + number);
        text
    });
    let texts = texts.collect();
    client.say(&json!({"type": "ping"}));
    client.hears(&Said::Pong);
    (client, joined.recovered, texts)
}

fn texts(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| format!("m{number}")).collect()
}

/// Says so many messages and hears them; they go on from `first`.
fn say_numbered(client: &mut ChatClient, room: &str, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        client.say(&message(room, &format!("m{number}")));
        assert_eq!(client.hear_message(), (number, format!("m{number}")));
    }
}

#[test]
fn who_comes_back_to_any_node_gets_what_it_missed() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(3, &redis.url(), &[]);
    let (mut first, joined) = ChatClient::open_in(nodes[0].address(), "r");
    say_numbered(&mut first, "r", 1..=20);
    let at = |offset| Position { offset, ..joined.position.clone() };

    // To a node that has never heard of the room, from the middle and from before all.
    let (mut second, recovered, missed) = come_back(&nodes[1], "r", &at(15));
    assert_eq!((recovered, missed), (true, texts(16..=20)));
    first.hears(&user_joined("r", 2));
    // What this node has in memory does not go so far back.
    let (third, recovered, missed) = come_back(&nodes[1], "r", &at(3));
    assert_eq!((recovered, missed), (true, texts(4..=20)));
    let (fourth, recovered, missed) = come_back(&nodes[1], "r", &at(0));
    assert_eq!((recovered, missed), (true, texts(1..=20)));
    let (fifth, recovered, missed) = come_back(&nodes[1], "r", &at(20));
    assert_eq!((recovered, missed), (true, vec![]));
    // What nobody can have is not recovered.
    for since in [at(21), Position { epoch: "another".into(), offset: 3 }] {
        let (client, recovered, _) = come_back(&nodes[2], "r", &since);
        assert!(!recovered, "{since:?}");
        client.close();
    }
    // Who was there all the time hears on, and so does who came.
    say_numbered_among(&mut first, "r", 21);
    second.say(&message("r", "m22"));
    while hear_offset(&mut second) != Some(22) {}
    let (_, recovered, missed) = come_back(&nodes[2], "r", &at(18));
    assert_eq!((recovered, missed), (true, texts(19..=22)));
    drop([third, fourth, fifth]);
}

/// Says one message and hears on until it comes, whoever comes and goes meanwhile.
fn say_numbered_among(client: &mut ChatClient, room: &str, number: u64) {
    client.say(&message(room, &format!("m{number}")));
    while hear_offset(client) != Some(number) {}
}

fn hear_offset(client: &mut ChatClient) -> Option<u64> {
    match client.hear() {
        Said::ChatMessage { offset, .. } => Some(offset),
        Said::UserJoined { .. } | Said::UserLeft { .. } => None,
        other => panic!("{other:?} was not to be heard"),
    }
}

/// The next message that is one, with its bytes.
fn hear_bytes(client: &mut ChatClient) -> Vec<u8> {
    loop {
        let frame = client.raw.read_frame().expect("it is still served");
        assert_eq!(frame.first, TEXT);
        let said: Value = serde_json::from_slice(&frame.payload).expect("it is JSON");
        if said["type"] == "chat_message" {
            return frame.payload;
        }
    }
}

#[test]
fn a_message_said_again_through_another_node_is_published_once() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(2, &redis.url(), &[]);
    let (mut first, _) = ChatClient::open_in(nodes[0].address(), "r");
    let (mut second, _) = ChatClient::open_in(nodes[1].address(), "r");
    first.say(&named("r", "once", "id"));
    let published = hear_bytes(&mut first);
    assert_eq!(hear_bytes(&mut second), published);
    // Both nodes remember it.
    for client in [&mut first, &mut second] {
        client.say(&named("r", "again", "id"));
        assert_eq!(hear_bytes(client), published);
    }
    // One that does not: it came later, and asks Redis.
    second.close();
    nodes[1].wait_for("rooms", 0);
    let (mut second, joined) = ChatClient::open_in(nodes[1].address(), "r");
    assert_eq!((joined.position.offset, nodes[1].value("history_messages")), (1, 0));
    let mut others = [message("r", "two"), named("r", "again", "id"), message("r", "three")];
    second.say_all(&others);
    let heard: Vec<Vec<u8>> = (0..3).map(|_| hear_bytes(&mut second)).collect();
    assert_eq!(heard.iter().filter(|bytes| **bytes == published).count(), 1);
    // Nobody else has heard of that.
    let others_heard: Vec<Vec<u8>> = (0..2).map(|_| hear_bytes(&mut first)).collect();
    let own: Vec<Vec<u8>> = heard.into_iter().filter(|bytes| *bytes != published).collect();
    assert_eq!(own, others_heard);
    others.rotate_left(1);
    first.say(&message("r", "four"));
    let last = hear_bytes(&mut first);
    assert_eq!(hear_bytes(&mut second), last);
    let last: Value = serde_json::from_slice(&last).expect("it is JSON");
    assert_eq!((&last["offset"], &last["text"]), (&json!(4), &json!("four")));
}

/// Two nodes are told the same message at the same time.
#[test]
fn a_message_said_through_two_nodes_at_once_is_published_once() {
    const MESSAGES: u64 = 200;
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(2, &redis.url(), &[]);
    let mut clients: Vec<ChatClient> =
        nodes.iter().map(|node| ChatClient::open_in(node.address(), "r").0).collect();
    let (mut witness, _) = ChatClient::open_in(nodes[0].address(), "r");
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(move || {
                for number in 1..=MESSAGES {
                    client.say(&named("r", "same", &format!("id {number}")));
                }
            });
        }
    });
    clients[0].say(&named("r", "last", "last"));
    for number in 1..=MESSAGES {
        let said: Value = serde_json::from_slice(&hear_bytes(&mut witness)).expect("it is JSON");
        assert_eq!(said["offset"], number, "{said}");
        assert_eq!(said["id"], format!("id {number}"), "{said}");
    }
    let said: Value = serde_json::from_slice(&hear_bytes(&mut witness)).expect("it is JSON");
    assert_eq!((&said["id"], &said["offset"]), (&json!("last"), &json!(MESSAGES + 1)));
}

#[test]
fn the_log_of_an_empty_room_is_kept_for_its_age() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(2, &redis.url(), &["--history-age", "2s"]);
    let (mut client, joined) = ChatClient::open_in(nodes[0].address(), "r");
    say_numbered(&mut client, "r", 1..=5);
    client.close();
    nodes.iter().for_each(|node| node.wait_for("rooms", 0));
    for node in [1, 0] {
        let since = Position { offset: 2, ..joined.position.clone() };
        let (client, recovered, missed) = come_back(&nodes[node], "r", &since);
        assert_eq!((recovered, missed), (true, texts(3..=5)));
        client.close();
        nodes[node].wait_for("rooms", 0);
    }
    observed::wait_until(Duration::from_secs(10), || {
        let kept = redis.command(&["KEYS", "ringwire:{r}:*"]);
        if kept.is_empty() { Ok(()) } else { Err(kept) }
    });
    let mut client = ChatClient::open(nodes[0].address());
    let late = client.join("r", Some(&joined.position));
    assert_eq!((late.position.offset, late.recovered, late.user_count), (0, false, 1));
    assert_ne!(late.position.epoch, joined.position.epoch);
}

#[test]
fn without_a_history_there_is_none() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(2, &redis.url(), &["--history-messages", "0"]);
    let (mut first, joined) = ChatClient::open_in(nodes[0].address(), "r");
    let (mut second, _) = ChatClient::open_in(nodes[1].address(), "r");
    first.hears(&user_joined("r", 2));
    for number in 1..=3 {
        first.say(&named("r", "text", "the same id"));
        assert_eq!(first.hear_message().0, number);
        assert_eq!(second.hear_message().0, number);
    }
    assert_eq!(redis.command(&["EXISTS", "ringwire:{r}:log"]), "0");
    let at = |offset| Position { offset, ..joined.position.clone() };
    let (client, recovered, missed) = come_back(&nodes[1], "r", &at(3));
    assert_eq!((recovered, missed), (true, vec![]));
    client.close();
    let (_, recovered, _) = come_back(&nodes[1], "r", &at(2));
    assert!(!recovered);
}

#[test]
fn a_log_keeps_as_much_as_it_may() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(2, &redis.url(), &["--history-messages", "10"]);
    let (mut first, joined) = ChatClient::open_in(nodes[0].address(), "r");
    say_numbered(&mut first, "r", 1..=30);
    let at = |offset| Position { offset, ..joined.position.clone() };
    let (client, recovered, missed) = come_back(&nodes[1], "r", &at(20));
    assert_eq!((recovered, missed), (true, texts(21..=30)));
    client.close();
    let (_, recovered, _) = come_back(&nodes[1], "r", &at(19));
    assert!(!recovered);
}

#[test]
fn guests_are_named_apart_and_operators_are_heard_everywhere() {
    let redis = Redis::start(&[]);
    let nodes = Node::start_many(3, &redis.url(), &[]);
    let mut clients: Vec<ChatClient> =
        (0..12).map(|number| ChatClient::open_in(nodes[number % 3].address(), "r").0).collect();
    let names: HashSet<String> = clients.iter().map(ChatClient::guest_name).collect();
    assert_eq!(names.len(), clients.len());
    for client in &mut clients {
        client.say(&message("r", "who I am"));
    }
    let mut speakers = HashSet::new();
    while speakers.len() < clients.len() {
        if let Said::ChatMessage { username, .. } = clients[0].hear() {
            assert!(speakers.insert(username));
        }
    }
    assert_eq!(speakers, names);

    let apis: Vec<Api> = nodes.iter().map(|node| Api::new(node.admin)).collect();
    for api in &apis {
        let room = &api.get("/api/rooms").json()["rooms"][0];
        assert_eq!((&room["roomId"], &room["members"]), (&json!("r"), &json!(12)), "{room}");
    }
    for (number, api) in apis.iter().enumerate() {
        let text = format!("from {number}");
        api.post("/api/publish", &json!({"roomId": "r", "text": text})).json();
        for client in &mut clients {
            while !matches!(client.hear(), Said::ChatMessage { text: said, .. } if said == text) {}
        }
    }
    // A room without members on this node, and one without any.
    let (mut lonely, _) = ChatClient::open_in(nodes[0].address(), "s");
    apis[1].post("/api/publish", &json!({"roomId": "s", "text": "to afar"})).json();
    assert_eq!(lonely.hear_message(), (1, "to afar".to_owned()));
    apis[2].post("/api/publish", &json!({"roomId": "nobody", "text": "to nobody"})).json();
    let mut late = ChatClient::open(nodes[1].address());
    assert_eq!(late.join("nobody", None).position.offset, 1);
}
