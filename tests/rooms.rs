//! Rooms of the chat over sockets: who is in, who hears what, and that nothing is left of them.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use chat::{ChatClient, Joined, Said, join, leave, message, start, user_joined, user_left};
use observed::{Metrics, wait_for_value};
use raw::{End, RawClient, close_frame};
use serde_json::json;
use std::net::SocketAddr;
use std::thread;

const GAUGES: [&str; 5] =
    ["connections", "rooms", "room_members", "history_messages", "history_bytes"];

fn nothing_is_left(admin: SocketAddr) {
    GAUGES.iter().for_each(|gauge| wait_for_value(admin, gauge, 0));
}

#[test]
fn joining_and_leaving_twice_tells_nobody() {
    let server = start(&["--shards", "4", "--admin", "127.0.0.1:0"]);
    let (mut witness, first) = ChatClient::open_in(server.address(), "r");
    assert_eq!((first.user_count, first.position.offset, first.recovered), (1, 0, false));
    let (mut client, joined) = ChatClient::open_in(server.address(), "r");
    assert_eq!(joined, Joined { user_count: 2, ..first });
    witness.hears(&user_joined("r", 2));

    assert_eq!(client.join("r", None), joined);
    client.say_all(&[leave("r"), leave("r"), leave("never"), json!({"type": "leave_room"})]);
    for _ in 0..3 {
        client.hears_error("Not in room");
    }
    witness.hears(&user_left("r", 1));
    client.say(&message("r", "from outside"));
    client.hears_error("Not in room");
    assert_eq!(client.join("r", None), joined);
    witness.hears(&user_joined("r", 2));
    client.close();
    witness.hears(&user_left("r", 1));
    witness.close();

    ChatClient::open(server.address()).close();
    nothing_is_left(server.admin_address());
}

#[test]
fn a_join_and_a_close_in_one_segment_leave_nothing() {
    let server = start(&["--shards", "4", "--admin", "127.0.0.1:0"]);
    let (mut witness, _) = ChatClient::open_in(server.address(), "r");
    for _ in 0..20 {
        let mut client = ChatClient::open(server.address());
        let bytes = [chat::frames(&[join("r", None), join("s", None)]), close_frame(1000, "")];
        client.raw.send(&bytes.concat());
        witness.hears(&user_joined("r", 2));
        witness.hears(&user_left("r", 1));
        let last = loop {
            if let Err(ended) = client.try_hear() {
                break ended;
            }
        };
        assert_eq!(last.map(|frame| frame.close_code()), Ok(Some(1000)));
    }
    witness.close();
    nothing_is_left(server.admin_address());
}

#[test]
fn a_connection_is_in_64_rooms_at_most() {
    let server = start(&["--shards", "4", "--admin", "127.0.0.1:0"]);
    let mut client = ChatClient::open(server.address());
    for number in 0..64 {
        client.join(&format!("room {number}"), None);
    }
    client.say(&join("one more", None));
    client.hears_error("Too many rooms");
    client.join("room 7", None);
    client.say_all(&[leave("room 3"), join("one more", None)]);
    client.hear_joined("one more");
    client.say(&join("room 3", None));
    client.hears_error("Too many rooms");
    wait_for_value(server.admin_address(), "rooms", 64);
    wait_for_value(server.admin_address(), "room_members", 64);
    client.close();
    nothing_is_left(server.admin_address());
}

#[test]
fn what_comes_in_one_segment_is_done_in_order() {
    let server = start(&["--shards", "4"]);
    for number in 0..20 {
        let room = format!("room {number}");
        let (mut witness, _) = ChatClient::open_in(server.address(), &room);
        let mut client = ChatClient::open(server.address());
        let said = |text: &str, offset| Said::ChatMessage {
            room_id: room.clone(),
            username: client.guest_name(),
            text: text.into(),
            offset,
            id: None,
        };
        let (one, two, last) = (said("one", 1), said("two", 2), said("last", 3));
        client.say_all(&[
            join(&room, None),
            json!({"type": "chat_message", "text": "one"}),
            message(&room, "two"),
            leave(&room),
            message(&room, "too late"),
            join(&room, None),
            message(&room, "last"),
        ]);
        for expected in
            [user_joined(&room, 2), one, two, user_left(&room, 1), user_joined(&room, 2)]
        {
            witness.hears(&expected);
        }
        witness.hears(&last);
        // The answers of the home come when they come, those of the shard at once.
        let mut heard: Vec<Said> = (0..4).map(|_| client.hear()).collect();
        let error = Said::Error { message: "Not in room".into() };
        let place = heard.iter().position(|said| *said == error).expect("it was outside");
        heard.remove(place);
        let offsets = heard.iter().map(|said| match said {
            Said::RoomJoined { offset, user_count: 2, recovered: false, .. } => *offset,
            said if *said == last => 3,
            other => panic!("{other:?} was not to be heard"),
        });
        assert!(offsets.eq([0, 2, 3]), "{heard:?}");
        assert_eq!(client.close_and_hear(), []);
        witness.hears(&user_left(&room, 1));
        witness.close();
    }
}

#[test]
fn members_are_counted_however_they_end() {
    const MEMBERS: u64 = 24;
    let server = start(&["--shards", "4", "--admin", "127.0.0.1:0"]);
    let (mut witness, _) = ChatClient::open_in(server.address(), "r");
    let mut members = Vec::new();
    for count in 2..=MEMBERS {
        let (client, joined) = ChatClient::open_in(server.address(), "r");
        assert_eq!(joined.user_count, count);
        witness.hears(&user_joined("r", count));
        members.push(client);
    }
    for (number, mut member) in members.into_iter().enumerate() {
        match number % 5 {
            0 => drop(member.close_and_hear()),
            1 => {
                member.raw.half_close();
                assert_eq!(member.raw.read_to_end(), End::Fin);
            }
            2 => member.raw.reset(),
            3 => {
                member.raw.send(&chat::frames(&[message("r", "cut")])[..9]);
                member.raw.reset();
            }
            // As the kernel ends a process that was killed.
            _ => drop(member),
        }
        witness.hears(&user_left("r", MEMBERS - 1 - number as u64));
    }
    assert_eq!(witness.join("r", None).user_count, 1);
    witness.close();
    nothing_is_left(server.admin_address());
}

#[test]
fn a_room_that_was_empty_begins_anew() {
    let server = start(&["--shards", "4", "--admin", "127.0.0.1:0"]);
    let mut epochs = Vec::new();
    let mut since = None;
    for _ in 0..10 {
        let mut client = ChatClient::open(server.address());
        let joined = client.join("r", since.as_ref());
        assert_eq!((joined.user_count, joined.position.offset, joined.recovered), (1, 0, false));
        client.say(&message("r", "first"));
        assert_eq!(client.hear_message(), (1, "first".into()));
        epochs.push(joined.position.epoch.clone());
        since = Some(joined.position);
        // The way of both is the same: the leave comes before the join.
        client.say_all(&[leave("r"), join("r", since.as_ref())]);
        let joined = client.hear_joined("r");
        assert_eq!((joined.user_count, joined.position.offset, joined.recovered), (1, 0, false));
        epochs.push(joined.position.epoch);
        client.close();
        wait_for_value(server.admin_address(), "rooms", 0);
    }
    epochs.sort_unstable();
    let count = epochs.len();
    epochs.dedup();
    assert_eq!(epochs.len(), count, "an epoch has come twice");
}

#[test]
fn what_is_too_old_is_forgotten_and_nobody_is_told_otherwise() {
    let server = start(&["--history-age", "1s", "--admin", "127.0.0.1:0"]);
    let (mut steady, joined) = ChatClient::open_in(server.address(), "r");
    steady.say(&message("r", "old"));
    assert_eq!(steady.hear_message(), (1, "old".into()));
    wait_for_value(server.admin_address(), "history_messages", 0);
    steady.say(&message("r", "new"));
    assert_eq!(steady.hear_message(), (2, "new".into()));

    let mut late = ChatClient::open(server.address());
    let told = late.join("r", Some(&joined.position));
    assert_eq!((told.position.offset, told.recovered), (2, false));
    steady.hears(&user_joined("r", 2));
    steady.say(&message("r", "next"));
    assert_eq!(late.hear_message(), (3, "next".into()));
}

#[test]
fn gauges_tell_the_truth_and_return_to_nothing() {
    const ROOMS: usize = 10;
    let server = start(&["--shards", "4", "--admin", "127.0.0.1:0"]);
    let admin = server.admin_address();
    let mut clients: Vec<ChatClient> =
        (0..30).map(|_| ChatClient::open(server.address())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.say(&join(&format!("room {}", number % ROOMS), None));
        client.say(&json!({"type": "chat_message", "text": "hello"}));
    }
    for (gauge, value) in
        [("connections", 30), ("rooms", 10), ("room_members", 30), ("history_messages", 30)]
    {
        wait_for_value(admin, gauge, value);
    }
    assert!(Metrics::scrape(admin).value("history_bytes") > 30 * 80);
    for (number, client) in clients.into_iter().enumerate() {
        match number % 3 {
            0 => drop(client.close_and_hear()),
            1 => drop(client),
            _ => client.raw.reset(),
        }
    }
    nothing_is_left(admin);
}

#[test]
fn a_slow_member_is_closed_and_the_others_hear_all() {
    const READERS: usize = 6;
    const BATCHES: u64 = 100;
    // All that is under way at once stays far below what a member may owe.
    const BATCH: u64 = 32;
    let server = start(&["--shards", "2", "--admin", "127.0.0.1:0"]);
    let address = server.address();
    let mut slow = ChatClient::over(RawClient::connect_narrow(address));
    slow.join("r", None);
    let mut readers: Vec<ChatClient> = (0..READERS).map(|_| ChatClient::open(address)).collect();
    for reader in &mut readers {
        reader.join("r", None);
    }
    let words = "😀".repeat(990);
    let (batch_heard, next_batch) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        for mut reader in readers.drain(..) {
            let batch_heard = batch_heard.clone();
            let words = &words;
            scope.spawn(move || {
                let mut heard = 0;
                while heard < BATCHES * BATCH {
                    if let Said::ChatMessage { text, offset, .. } = reader.hear() {
                        heard += 1;
                        assert_eq!(offset, heard, "lost or out of order");
                        assert_eq!(text, format!("{heard} {words}"));
                        if heard % BATCH == 0 {
                            batch_heard.send(()).expect("the publisher waits");
                        }
                    }
                }
                reader.close_and_hear();
            });
        }
        let (mut publisher, _) = ChatClient::open_in(address, "r");
        for batch in 0..BATCHES {
            let numbers = batch * BATCH + 1..=(batch + 1) * BATCH;
            let texts: Vec<_> =
                numbers.map(|number| message("r", &format!("{number} {words}"))).collect();
            publisher.say_all(&texts);
            for _ in &texts {
                while !matches!(publisher.hear(), Said::ChatMessage { .. }) {}
            }
            for _ in 0..READERS {
                let patience = std::time::Duration::from_secs(30);
                next_batch.recv_timeout(patience).expect("every reader hears every batch");
            }
        }
        publisher.close_and_hear();
    });
    let mut heard = 0;
    let farewell = loop {
        match slow.try_hear() {
            Ok(said) => heard += u64::from(matches!(said, Said::ChatMessage { .. })),
            Err(ended) => break ended,
        }
    };
    assert_eq!(farewell.map(|frame| frame.close_code()), Ok(Some(1008)));
    assert!(heard < BATCHES * BATCH, "it was not slow");
    drop(slow);
    nothing_is_left(server.admin_address());
    assert_eq!(Metrics::scrape(server.admin_address()).closed("slow_reader"), 1);
}
