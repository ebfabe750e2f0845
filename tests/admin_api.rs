//! The admin API on a real server: what it says is true, what it is told is done, once and in
//! order, and what is wrong is refused with what to do.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/http.rs"]
mod http;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use chat::{ChatClient, Position, Said, message, user_joined};
use common::Server;
use http::Api;
use observed::{Metrics, wait_for_value, wait_until};
use raw::{RawClient, close_frame};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn start(args: &[&str]) -> (Server, Api) {
    let server = chat::start(&[&["--admin", "127.0.0.1:0"], args].concat());
    let api = Api::new(server.admin_address());
    (server, api)
}

fn publish(room: &str, text: &str) -> Value {
    json!({"roomId": room, "text": text})
}

#[test]
fn rooms_are_sorted_counted_and_chosen_by_their_beginning() {
    let (server, api) = start(&["--shards", "3"]);
    assert_eq!(api.get("/api/rooms").json(), json!({"rooms": [], "total": 0}));
    let mut members = Vec::new();
    for (room, count) in [("b", 2), ("a", 2), ("ab", 3), ("caf\u{e9} & tee/1", 1)] {
        for _ in 0..count {
            members.push(ChatClient::open_in(server.address(), room));
        }
    }
    let (first, joined) = &mut members[0];
    first.hears(&user_joined("b", 2));
    first.say(&message("b", "hello"));
    assert_eq!(first.hear_message(), (1, "hello".to_owned()));

    let list = api.get("/api/rooms").json();
    let of = |list: &Value| -> Vec<(String, u64)> {
        let rooms = list["rooms"].as_array().expect("it is a list").iter();
        let text = |room: &Value| room["roomId"].as_str().expect("it is a string").to_owned();
        rooms.map(|room| (text(room), room["members"].as_u64().expect("a number"))).collect()
    };
    let all = [("ab", 3), ("a", 2), ("b", 2), ("caf\u{e9} & tee/1", 1)];
    let all = all.map(|(room, members)| (room.to_owned(), members));
    assert_eq!((of(&list), &list["total"]), (all.to_vec(), &json!(4)));
    assert_eq!(
        list["rooms"][2],
        json!({"roomId": "b", "members": 2, "historyMessages": 1, "offset": 1,
               "epoch": joined.position.epoch})
    );
    let list = api.get("/api/rooms?limit=2").json();
    assert_eq!((of(&list), &list["total"]), (all[..2].to_vec(), &json!(4)));
    let list = api.get("/api/rooms?prefix=a&limit=1").json();
    assert_eq!((of(&list), &list["total"]), (all[..1].to_vec(), &json!(2)));
    let list = api.get("/api/rooms?prefix=caf%C3%A9%20%26").json();
    assert_eq!((of(&list), &list["total"]), (all[3..].to_vec(), &json!(1)));
    assert_eq!(api.get("/api/rooms?limit=0").json(), json!({"rooms": [], "total": 4}));

    let room = api.get("/api/rooms/caf%C3%A9%20%26%20tee%2F1").json();
    assert_eq!((&room["roomId"], &room["members"]), (&json!("caf\u{e9} & tee/1"), &json!(1)));
    api.get("/api/rooms/nobody").refusal(404, "not_found");
    let long = format!("/api/rooms/{}", "x".repeat(51));
    for target in ["?limit=1001", "?limit=-1", "?limit=x", "?Prefix=a", "/%20", "/%FF"] {
        api.get(&format!("/api/rooms{target}")).refusal(400, "bad_request");
    }
    api.get(&long).refusal(400, "bad_request");
}

/// More rooms than a home looks at in one turn.
#[test]
fn many_rooms_are_listed_in_parts() {
    const CLIENTS: usize = 200;
    const ROOMS: usize = 60;
    let (server, api) = start(&["--shards", "1"]);
    let mut clients: Vec<ChatClient> =
        (0..CLIENTS).map(|_| ChatClient::open(server.address())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let names = (0..ROOMS).map(|room| format!("{number}-{room}"));
        let joins: Vec<Value> = names.map(|name| chat::join(&name, None)).collect();
        client.say_all(&joins);
    }
    for client in &mut clients {
        for _ in 0..ROOMS {
            assert!(matches!(client.hear(), Said::RoomJoined { .. }));
        }
    }
    clients[7].join("150-59", None);
    let list = api.get("/api/rooms?limit=3").json();
    assert_eq!(list["total"], CLIENTS * ROOMS);
    let names: Vec<&Value> =
        list["rooms"].as_array().expect("a list").iter().map(|room| &room["roomId"]).collect();
    assert_eq!(names, ["150-59", "0-0", "0-1"]);
    assert_eq!(api.get("/api/rooms?prefix=199-").json()["total"], ROOMS);
    let all = api.get("/api/rooms?limit=1000").json();
    assert_eq!(all["rooms"].as_array().map(Vec::len), Some(1000));
}

#[test]
fn publications_come_in_order_with_the_words_of_members() {
    const EACH: usize = 100;
    let (server, api) = start(&["--shards", "3"]);
    let mut members: Vec<ChatClient> =
        (0..9).map(|_| ChatClient::open_in(server.address(), "r").0).collect();
    for (number, member) in members.iter_mut().enumerate() {
        for users in number + 2..=9 {
            member.hears(&user_joined("r", users as u64));
        }
    }
    let (speakers, listeners) = members.split_at_mut(2);
    let published: BTreeSet<u64> = thread::scope(|scope| {
        for speaker in speakers.iter_mut() {
            scope.spawn(move || {
                (0..EACH).for_each(|number| speaker.say(&message("r", &format!("m{number}"))));
            });
        }
        let publish = |name: &'static str| {
            let api = &api;
            move || -> Vec<u64> {
                let one = |number| {
                    let answer =
                        api.post("/api/publish", &publish("r", &format!("{name}{number}")));
                    let answer = answer.json();
                    assert_eq!((&answer["roomId"], &answer["members"]), (&json!("r"), &json!(9)));
                    answer["offset"].as_u64().expect("it was numbered")
                };
                (0..EACH).map(one).collect()
            }
        };
        let publishers = [scope.spawn(publish("a")), scope.spawn(publish("b"))];
        let offsets = publishers.map(|publisher| publisher.join().expect("it does not fail"));
        assert!(offsets.iter().all(|offsets| offsets.is_sorted()));
        offsets.into_iter().flatten().collect()
    });
    let heard: Vec<Vec<(u64, String)>> = speakers
        .iter_mut()
        .chain(listeners)
        .map(|member| (0..4 * EACH).map(|_| member.hear_message()).collect())
        .collect();
    assert!(heard.iter().all(|one| *one == heard[0]), "all members hear the same");
    assert!(heard[0].iter().map(|(offset, _)| *offset).eq(1..=4 * EACH as u64));
    let of_api = heard[0].iter().filter(|(_, text)| !text.starts_with('m'));
    assert_eq!(of_api.map(|(offset, _)| *offset).collect::<BTreeSet<u64>>(), published);
}

#[test]
fn a_publication_is_kept_and_says_who_speaks() {
    let (server, api) = start(&["--shards", "2"]);
    let nobody = json!({"roomId": "r", "members": 0, "offset": null, "epoch": null});
    assert_eq!(api.post("/api/publish", &publish("r", "lost")).json(), nobody);
    api.get("/api/rooms/r").refusal(404, "not_found");

    let (mut member, joined) = ChatClient::open_in(server.address(), "r");
    assert_eq!(joined.position.offset, 0, "nothing was kept");
    let answer = api.post("/api/publish", &publish("r", "one \"two\"\n\u{1f600}")).json();
    let epoch = &joined.position.epoch;
    assert_eq!(answer, json!({"roomId": "r", "members": 1, "offset": 1, "epoch": epoch}));
    let told = |username: &str, text: &str, offset| Said::ChatMessage {
        room_id: "r".into(),
        username: username.into(),
        text: text.into(),
        offset,
        id: None,
    };
    member.hears(&told("server", "one \"two\"\n\u{1f600}", 1));
    let named = json!({"roomId": "r", "text": "x", "username": "billing"});
    assert_eq!(api.post("/api/publish", &named).json()["offset"], 2);
    member.hears(&told("billing", "x", 2));

    let mut late = ChatClient::open(server.address());
    let since = Position { epoch: epoch.clone(), offset: 1 };
    assert!(late.join("r", Some(&since)).recovered);
    late.hears(&told("billing", "x", 2));

    let (long_room, long_text) = ("r".repeat(51), "t".repeat(1001));
    for bad in [
        json!({}),
        json!({"roomId": "r"}),
        json!({"text": "t"}),
        json!({"roomId": 1, "text": "t"}),
        json!({"roomId": "r", "text": "t", "user": "x"}),
        json!({"roomId": "r", "text": ""}),
        json!({"roomId": "r", "text": "\u{7}"}),
        json!({"roomId": "r", "text": long_text}),
        json!({"roomId": "", "text": "t"}),
        json!({"roomId": " ", "text": "t"}),
        json!({"roomId": long_room, "text": "t"}),
        json!({"roomId": "r", "text": "t", "username": ""}),
        json!([]),
        json!(null),
    ] {
        api.post("/api/publish", &bad).refusal(400, "bad_request");
    }
    assert_eq!(api.get("/api/rooms/r").json()["offset"], 2);
}

#[test]
fn the_figures_of_a_connection_are_the_truth() {
    let (server, api) = start(&["--shards", "2"]);
    let before = unix_milliseconds();
    let mut client = ChatClient::open(server.address());
    let target = format!("/api/connections/{}", client.id);
    let local = client.raw.stream().local_addr().expect("it is connected").to_string();
    let fresh = api.get(&target).json();
    assert_eq!((&fresh["peer"], &fresh["endpoint"]), (&json!(local), &json!("/chat")));
    assert_eq!((&fresh["userId"], &fresh["rooms"]), (&json!(null), &json!([])));
    assert_eq!((&fresh["messagesReceived"], &fresh["messagesSent"]), (&json!(0), &json!(1)));
    assert_eq!(fresh["connectionId"], client.id.as_str());
    let opened = fresh["openedAt"].as_u64().expect("it is a number");
    // Within a tick of the shard's clock.
    assert!((before - 200..unix_milliseconds() + 200).contains(&opened), "{opened} {before}");

    client.say(&json!({"type": "auth", "username": "ada"}));
    client.hears(&Said::AuthSuccess { user_id: "ada".into() });
    client.join("second", None);
    client.join("first", None);
    client.say(&message("second", "x"));
    client.hear_message();
    client.say(&json!({"type": "ping"}));
    client.hears(&Said::Pong);
    let figures = api.get(&target).json();
    assert_eq!(figures["userId"], "ada");
    assert_eq!(figures["rooms"], json!(["second", "first"]));
    assert_eq!((&figures["messagesReceived"], &figures["messagesSent"]), (&json!(5), &json!(6)));
    assert_eq!(figures["queuedBytes"], 0);
    assert!(figures["durationSeconds"].as_f64().is_some_and(|seconds| seconds < 60.0));

    client.close();
    wait_for_value(api.address, "connections", 0);
    api.get(&target).refusal(404, "not_found");
    let mut next = ChatClient::open(server.address());
    next.join("first", None);
    api.get(&target).refusal(404, "not_found");
    for bad in ["x", "0-0", "0-0-0-0", "2-0-1", "99999999999999999999-0-1", "0-0-268435456"] {
        api.get(&format!("/api/connections/{bad}")).refusal(400, "bad_request");
    }
}

#[test]
fn what_a_deaf_connection_has_not_read_is_seen() {
    let (server, api) = start(&["--shards", "1"]);
    let mut deaf = ChatClient::over(RawClient::connect_narrow(server.address()));
    deaf.join("r", None);
    let (mut speaker, _) = ChatClient::open_in(server.address(), "r");
    let target = format!("/api/connections/{}", deaf.id);
    let burst = vec![message("r", &"x".repeat(1000)); 50];
    wait_until(Duration::from_secs(30), || {
        speaker.say_all(&burst);
        burst.iter().for_each(|_| drop(speaker.hear_message()));
        let queued = api.get(&target).json()["queuedBytes"].as_u64().expect("a number");
        if queued > 0 { Ok(()) } else { Err("nothing is queued".into()) }
    });
}

fn unix_milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_millis() as u64
}

#[test]
fn one_connection_is_told_to_go() {
    let (server, api) = start(&["--shards", "2"]);
    let mut clients: Vec<ChatClient> =
        (0..4).map(|_| ChatClient::open_in(server.address(), "r").0).collect();
    let mut gone = clients.remove(3);
    let by_id = json!({"connectionId": gone.id});
    assert_eq!(api.post("/api/disconnect", &by_id).json(), json!({"disconnected": 1}));
    expect_farewell(&mut gone, 1008, "disconnected by an operator");
    for (number, client) in clients.iter_mut().enumerate() {
        for users in number + 2..=4 {
            client.hears(&user_joined("r", users as u64));
        }
        client.hears(&chat::user_left("r", 3));
        client.say(&json!({"type": "ping"}));
        client.hears(&Said::Pong);
    }
    assert_eq!(api.post("/api/disconnect", &by_id).json(), json!({"disconnected": 0}));
    wait_for_value(api.address, "connections", 3);
    assert_eq!(Metrics::scrape(api.address).closed("disconnected"), 1);
}

fn expect_farewell(client: &mut ChatClient, code: u16, reason: &str) {
    loop {
        match client.try_hear() {
            Ok(Said::UserJoined { .. } | Said::UserLeft { .. }) => {}
            Ok(said) => panic!("{said:?} instead of a Close frame"),
            Err(Err(end)) => panic!("{end:?} instead of a Close frame"),
            Err(Ok(frame)) => {
                assert_eq!(frame.close_code(), Some(code));
                assert_eq!(&frame.payload[2..], reason.as_bytes());
                break client.raw.send(&close_frame(code, ""));
            }
        }
    }
    assert_eq!(client.raw.read_frame(), Err(raw::End::Fin));
}

#[test]
fn a_user_is_told_to_go_on_all_shards() {
    let (server, api) = start(&["--shards", "3"]);
    let come = |user: &str| {
        let mut client = ChatClient::open(server.address());
        client.say(&json!({"type": "auth", "username": user}));
        client.hears(&Said::AuthSuccess { user_id: user.into() });
        client
    };
    // More than a shard sends away in one turn.
    let adas: Vec<ChatClient> = (0..500).map(|_| come("ada")).collect();
    let mut others = [come("eve"), come("Ada"), ChatClient::open(server.address())];
    let shards: HashSet<&str> = adas.iter().filter_map(|ada| ada.id.split('-').next()).collect();
    assert_eq!(shards.len(), 3, "they are on all shards");
    let request = json!({"userId": "ada", "code": 4000, "reason": "caf\u{e9} closed"});
    assert_eq!(api.post("/api/disconnect", &request).json(), json!({"disconnected": 500}));
    for mut ada in adas {
        expect_farewell(&mut ada, 4000, "caf\u{e9} closed");
    }
    for other in &mut others {
        other.say(&json!({"type": "ping"}));
        other.hears(&Said::Pong);
    }
    assert_eq!(api.post("/api/disconnect", &request).json(), json!({"disconnected": 0}));
    wait_for_value(api.address, "connections", 3);
    assert_eq!(Metrics::scrape(api.address).closed("disconnected"), 500);
}

#[test]
fn a_shard_that_hangs_keeps_nobody_else_from_being_sent_away() {
    let (server, api) = start(&["--shards", "2"]);
    let hanging = "1-";
    let adas: Vec<ChatClient> = (0..40)
        .map(|_| {
            let mut client = ChatClient::open(server.address());
            client.say(&json!({"type": "auth", "username": "ada"}));
            client.hears(&Said::AuthSuccess { user_id: "ada".into() });
            client
        })
        .collect();
    let hang = json!({"shard": 1, "milliseconds": 6000});
    assert_eq!(api.post("/api/debug/hang", &hang).status, 202);
    let (later, now): (Vec<_>, Vec<_>) =
        adas.into_iter().partition(|ada| ada.id.starts_with(hanging));
    assert!(!later.is_empty() && !now.is_empty(), "they are on both shards");
    let by_user = json!({"userId": "ada"});
    let message = api.post("/api/disconnect", &by_user).refusal(503, "shard_unavailable");
    assert!(message.contains(&format!("At least {} connections", now.len())), "{message}");
    for mut ada in now {
        expect_farewell(&mut ada, 1008, "disconnected by an operator");
    }
    wait_until(Duration::from_secs(20), || match api.get("/healthz").status {
        200 => Ok(()),
        status => Err(format!("{status}")),
    });
    let rest = api.post("/api/disconnect", &by_user).json();
    assert_eq!(rest, json!({"disconnected": later.len()}));
}

#[test]
fn farewells_use_codes_that_accuse_nobody() {
    let (server, api) = start(&["--shards", "1"]);
    for code in [1000, 1001, 1008, 1011, 1012, 1013, 3000, 4001, 4999] {
        let mut client = ChatClient::open(server.address());
        let request = json!({"connectionId": client.id, "code": code, "reason": ""});
        assert_eq!(api.post("/api/disconnect", &request).json()["disconnected"], 1, "{code}");
        expect_farewell(&mut client, code, "");
    }
    let mut client = ChatClient::open(server.address());
    let id = client.id.clone();
    for code in [0, 999, 1002, 1003, 1004, 1005, 1006, 1007, 1009, 1010, 1014, 2999, 5000, 65_535] {
        let request = json!({"connectionId": id, "code": code});
        api.post("/api/disconnect", &request).refusal(400, "bad_request");
    }
    for bad in [
        json!({}),
        json!({"connectionId": id, "userId": "ada"}),
        json!({"connectionId": id, "code": 70_000}),
        json!({"connectionId": id, "reason": "\u{e9}".repeat(62)}),
        json!({"connectionId": id, "Code": 1000}),
        json!({"connectionId": "0-0"}),
        json!({"connectionId": "7-0-1"}),
        json!({"userId": ""}),
    ] {
        api.post("/api/disconnect", &bad).refusal(400, "bad_request");
    }
    client.say(&json!({"type": "ping"}));
    client.hears(&Said::Pong);
}
