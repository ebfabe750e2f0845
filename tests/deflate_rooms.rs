//! Rooms whose members take messages in every form: as they are, in the one compressed copy that
//! all shards share, and each in a copy of its own.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/deflated.rs"]
mod deflated;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use chat::{join, message, start};
use deflated::{Deflating, words};
use observed::{Metrics, wait_for_value};
use raw::{PING, RawClient, TEXT};
use serde_json::{Value, json};
use std::net::SocketAddr;

const MEMBERS: usize = 20;
/// Of a smaller window than the others: a copy of its own.
const OWN: &str = "; server_max_window_bits=10";

/// A member that takes messages in one of the forms.
enum Member {
    Plain(RawClient),
    Deflating(Box<Deflating>),
}

impl Member {
    /// Comes with these parameters; `None` without an offer.
    fn open(address: SocketAddr, path: &str, parameters: Option<&str>) -> Self {
        match parameters {
            None => Self::Plain(RawClient::open(address, path)),
            Some(parameters) => {
                Self::Deflating(Box::new(Deflating::open(address, path, parameters)))
            }
        }
    }

    /// Half take the shared copy, a quarter what is plain, a quarter a copy of their own.
    fn all(address: SocketAddr, path: &str) -> Vec<Self> {
        let kinds = [Some(""), None, Some("; client_max_window_bits"), Some(OWN)];
        kinds.iter().cycle().take(MEMBERS).map(|kind| Self::open(address, path, *kind)).collect()
    }

    /// Says something as its kind does.
    fn say(&mut self, text: &[u8]) {
        match self {
            Self::Plain(raw) => raw.send_frame(TEXT, text),
            Self::Deflating(client) => client.send(TEXT, text),
        }
    }

    /// The next message, and whether it came compressed.
    fn hear(&mut self) -> (bool, Vec<u8>) {
        let raw = match self {
            Self::Plain(raw) => raw,
            Self::Deflating(client) => &mut client.raw,
        };
        let mut frame = raw.read_frame().expect("a member stays");
        while frame.first == PING {
            frame = raw.read_frame().expect("a member stays");
        }
        match self {
            Self::Plain(_) => {
                assert_eq!(frame.first, TEXT, "nothing was agreed to");
                (false, frame.payload)
            }
            Self::Deflating(client) => {
                let (length, text) = client.read(&frame);
                (length.is_some(), text)
            }
        }
    }

    /// The next message that is a chat message, or of another kind.
    fn hear_kind(&mut self, kind: &str) -> (bool, Value) {
        loop {
            let (compressed, text) = self.hear();
            let said: Value = serde_json::from_slice(&text).expect("the chat speaks JSON");
            if said["type"] == kind {
                return (compressed, said);
            }
        }
    }

    fn close(self) {
        match self {
            Self::Plain(raw) => raw.close(),
            Self::Deflating(client) => client.raw.close(),
        }
    }

    const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

fn compressed_so_far(admin: SocketAddr) -> u64 {
    Metrics::scrape(admin).value("messages_compressed_total")
}

/// What is said on /broadcast, in JSON, of at least 4 KiB.
fn article(author: usize, number: usize) -> Vec<u8> {
    let body = words(4096, (author * 100 + number + 1) as u64);
    let body = String::from_utf8(body).expect("words are ASCII");
    json!({ "author": author, "number": number, "body": body }).to_string().into_bytes()
}

/// Has each of the authors say `count` articles at once, and all members hear the same of them.
fn publish(members: &mut [Member], authors: &[usize], count: usize) {
    for &author in authors {
        for number in 0..count {
            members[author].say(&article(author, number));
        }
    }
    let mut order: Option<Vec<Vec<u8>>> = None;
    for member in members.iter_mut() {
        let plain = member.is_plain();
        let heard = (0..authors.len() * count).map(|_| {
            let (compressed, text) = member.hear();
            assert_eq!(compressed, !plain, "each in its form");
            text
        });
        let heard = heard.collect();
        assert!(order.get_or_insert_with(|| Vec::clone(&heard)) == &heard, "one order for all");
    }
    let order = order.expect("there are members");
    for &author in authors {
        let start = format!("{{\"author\":{author},");
        let own = order.iter().filter(|text| text.starts_with(start.as_bytes()));
        assert!(own.eq(&(0..count).map(|number| article(author, number)).collect::<Vec<_>>()));
    }
}

/// All are members: each has heard all of the others' greetings from its own on.
fn greet(members: &mut [Member]) {
    for number in 0..members.len() {
        let greeting = format!("member {number}").into_bytes();
        members[number].say(&greeting);
        for member in &mut members[..] {
            while member.hear().1 != greeting {}
        }
    }
}

#[test]
fn a_broadcast_is_compressed_once_for_all_who_take_the_shared_copy() {
    const ARTICLES: usize = 10;
    let server = start(&["--shards", "2", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    let mut members = Member::all(address, "/broadcast");
    greet(&mut members);
    assert_eq!(compressed_so_far(admin), 0, "greetings are short");

    // One after the other and several at once, by members of every kind.
    let mut expected = 0;
    for authors in [&[0][..], &[1], &[3], &[0, 1, 2, 3, 4, 5]] {
        publish(&mut members, authors, ARTICLES);
        // A copy for half of the members, and one for each of the quarter that has its own.
        expected += (authors.len() * ARTICLES * (1 + MEMBERS / 4)) as u64;
        assert_eq!(compressed_so_far(admin), expected);
    }
    assert_eq!(Metrics::scrape(admin).value("compression_bytes"), 0);

    // Without those who want their own, one compression is for all: for one member as for ten.
    let mut index = 0;
    members.retain(|_| {
        index += 1;
        index % 4 != 0
    });
    wait_for_value(admin, "connections", members.len() as u64);
    for left in [15, 7, 1] {
        while members.len() > left {
            members.pop().expect("there are more").close();
        }
        wait_for_value(admin, "connections", left as u64);
        publish(&mut members, &[0], ARTICLES);
        expected += ARTICLES as u64;
        assert_eq!(compressed_so_far(admin), expected, "for {left} members");
    }
}

#[test]
fn a_dedicated_server_keeps_what_may_be_referred_to_until_its_member_leaves() {
    let args = ["--compression", "dedicated", "--shards", "2", "--admin", "127.0.0.1:0"];
    let server = start(&args);
    let admin = server.admin_address();
    let mut members = Member::all(server.address(), "/broadcast");
    greet(&mut members);
    publish(&mut members, &[0, 1, 2], 10);
    let all = (MEMBERS - MEMBERS / 4) as u64;
    assert_eq!(compressed_so_far(admin), 30 * all, "each has its own");
    // Written once for each turn.
    let kept = || Metrics::scrape(admin).value("compression_bytes");
    observed::wait_until(std::time::Duration::from_secs(20), || {
        let kept = kept();
        // At least the window of what was sent: 1 KiB is the smallest here, 4 KiB the largest.
        let few = format!("{kept} bytes for {all} members");
        (kept >= all * 1024 && kept < all * 12 * 1024).then_some(()).ok_or(few)
    });
    while let Some(member) = members.pop() {
        member.close();
    }
    wait_for_value(admin, "connections", 0);
    wait_for_value(admin, "compression_bytes", 0);
}

#[test]
fn a_room_is_told_once_and_its_history_to_those_who_come_back() {
    const LINES: usize = 12;
    for mode in ["shared", "dedicated"] {
        let args = ["--compression", mode, "--shards", "2", "--admin", "127.0.0.1:0"];
        let server = start(&args);
        let (address, admin) = (server.address(), server.admin_address());
        let line = |number: usize| {
            String::from_utf8(words(300 + 50 * number, number as u64 + 1)).expect("ASCII")
        };
        let mut members = Member::all(address, "/chat");
        let mut places = Vec::new();
        for member in &mut members {
            member.say(join("harbour", None).to_string().as_bytes());
            let place = member.hear_kind("room_joined").1;
            places.push(json!({ "epoch": place["epoch"], "offset": place["offset"] }));
        }
        let before = compressed_so_far(admin);
        for number in 0..LINES {
            let said = message("harbour", &line(number)).to_string();
            // Members of every kind say something.
            members[number].say(said.as_bytes());
            let mut offset = Value::Null;
            for member in &mut members {
                let (compressed, said) = member.hear_kind("chat_message");
                assert_eq!(compressed, !member.is_plain(), "each in its form");
                assert_eq!(said["text"], *line(number));
                assert!(offset.is_null() || offset == said["offset"], "one place for all");
                offset = said["offset"].clone();
            }
        }
        let copies = if mode == "shared" { 1 + MEMBERS / 4 } else { MEMBERS - MEMBERS / 4 };
        assert_eq!(compressed_so_far(admin) - before, (LINES * copies) as u64);

        // All that was said since, in order, whatever the form.
        for (index, kind) in [None, Some(""), Some(OWN)].into_iter().enumerate() {
            let mut late = Member::open(address, "/chat", kind);
            let since = &places[MEMBERS - 1 - index];
            let back = json!({ "type": "join_room", "roomId": "harbour", "since": since });
            late.say(back.to_string().as_bytes());
            assert_eq!(late.hear_kind("room_joined").1["recovered"], true);
            for number in 0..LINES {
                let (compressed, said) = late.hear_kind("chat_message");
                assert_eq!((compressed, &said["text"]), (kind.is_some(), &json!(line(number))));
            }
            late.close();
        }
    }
}
