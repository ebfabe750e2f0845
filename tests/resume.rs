//! Ten thousand comebacks at random points: each gives all that was missed, in order and once, or
//! says that it does not; against what a member of each room has heard that never left.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use chat::{ChatClient, Joined, Position, Said, join, message, start};
use observed::wait_for_value;
use raw::{RawClient, TEXT, close_frame, frame};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;

const COMEBACKS: u32 = 10_000;
const THREADS: u32 = 8;
/// Of each thread: while one is here, the others miss something.
const CLIENTS: u32 = 4;
const ROOMS: [&str; 4] = ["north", "east", "south", "west"];
/// Messages that a room remembers.
const HISTORY: u64 = 1_000;
/// The last message of each room.
const END: &str = "end";

/// The xorshift64* generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32 % bound
    }
}

/// A client that is sometimes here, and all that it has heard in its room.
struct Client {
    room: &'static str,
    last: Option<Position>,
    heard: Vec<(u64, String)>,
}

#[derive(Default)]
struct Tally {
    recovered: u32,
    expired: u32,
    missed: u64,
}

#[test]
fn every_comeback_gives_all_that_was_missed_or_says_that_it_does_not() {
    let server = start(&["--shards", "4", "--admin", "127.0.0.1:0"]);
    let address = server.address();
    thread::scope(|scope| {
        let steady = ROOMS.map(|room| {
            let (client, _) = ChatClient::open_in(address, room);
            (room, scope.spawn(move || record(client)))
        });
        let crews: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || come_and_go(address, thread))).collect();
        let crews: Vec<_> =
            crews.into_iter().map(|crew| crew.join().expect("a crew is content")).collect();
        let truth: HashMap<_, _> = steady
            .into_iter()
            .map(|(room, recorder)| {
                let (mut last, _) = ChatClient::open_in(address, room);
                last.say(&message(room, END));
                (room, recorder.join().expect("a steady member hears everything"))
            })
            .collect();
        let mut sum = Tally::default();
        for (clients, tally) in crews {
            sum.recovered += tally.recovered;
            sum.expired += tally.expired;
            sum.missed += tally.missed;
            for client in clients {
                let log: &Vec<String> = &truth[client.room];
                for (offset, text) in client.heard {
                    assert_eq!(log[offset as usize - 1], text, "{}: {offset}", client.room);
                }
            }
        }
        eprintln!("{} recovered, {} expired, {} missed", sum.recovered, sum.expired, sum.missed);
        assert!(sum.recovered > COMEBACKS / 2 && sum.expired > 0, "every case has come");
        assert!(sum.missed > u64::from(COMEBACKS), "there was something to miss");
    });
    for gauge in ["connections", "rooms", "room_members", "history_messages", "history_bytes"] {
        wait_for_value(server.admin_address(), gauge, 0);
    }
}

/// Every message of a room from its first, in order.
fn record(mut steady: ChatClient) -> Vec<String> {
    let mut log = Vec::new();
    loop {
        if let Said::ChatMessage { offset, text, .. } = steady.hear() {
            assert_eq!(offset, log.len() as u64 + 1, "a steady member misses nothing");
            let is_last = text == END;
            log.push(text);
            if is_last {
                return log;
            }
        }
    }
}

fn come_and_go(address: SocketAddr, thread: u32) -> (Vec<Client>, Tally) {
    let mut random = Random(u64::from(thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|client| Client {
            room: ROOMS[((client + thread) % ROOMS.len() as u32) as usize],
            last: None,
            heard: Vec::new(),
        })
        .collect();
    let mut tally = Tally::default();
    for number in 0..COMEBACKS / THREADS {
        let client = &mut clients[random.below(CLIENTS) as usize];
        // Many connections: the ports of one address would run out.
        let raw = RawClient::connect_from([127, 0, 1, thread as u8 + 1], address);
        let mut connection = ChatClient::over(raw);
        client.come_back(&mut connection, &mut random, &mut tally);
        // Now and then more than a room remembers.
        let burst = random.below(300) == 0;
        let words = if burst { HISTORY as u32 + 10 } else { random.below(5) };
        let texts: Vec<_> = (0..words)
            .map(|word| message(client.room, &format!("{thread} {number} {word}")))
            .collect();
        connection.say_all(&texts);
        client.listen(&mut connection, random.below(words + 1));
        client.go(connection, &mut random);
    }
    (clients, tally)
}

impl Client {
    fn come_back(&mut self, connection: &mut ChatClient, random: &mut Random, tally: &mut Tally) {
        let mut since = self.last.clone();
        if let Some(since) = &mut since
            && random.below(50) == 0
        {
            since.epoch = "ffffffffffffffff".into();
        }
        connection.say(&join(self.room, since.as_ref()));
        let Joined { position, recovered, .. } = connection.hear_joined(self.room);
        let known = since.filter(|since| since.epoch == position.epoch);
        let missed = known.map(|since| position.offset - since.offset);
        assert_eq!(recovered, missed.is_some_and(|missed| missed <= HISTORY), "{missed:?}");
        tally.recovered += u32::from(recovered);
        tally.expired += u32::from(missed.is_some() && !recovered);
        if recovered {
            let missed = missed.expect("it has recovered");
            tally.missed += missed;
            // Right behind the answer, with nothing between.
            for _ in 0..missed {
                let (offset, text) = connection.hear_message();
                self.hear(offset, text);
            }
        }
        self.last = Some(position);
    }

    fn hear(&mut self, offset: u64, text: String) {
        let last = self.last.as_mut().expect("it has joined");
        assert_eq!(offset, last.offset + 1, "{}: lost, twice, or out of order", self.room);
        last.offset = offset;
        self.heard.push((offset, text));
    }

    fn listen(&mut self, connection: &mut ChatClient, messages: u32) {
        let mut left = messages;
        while left > 0 {
            if let Said::ChatMessage { offset, text, .. } = connection.hear() {
                self.hear(offset, text);
                left -= 1;
            }
        }
    }

    fn go(&mut self, mut connection: ChatClient, random: &mut Random) {
        match random.below(4) {
            0 => {
                for said in connection.close_and_hear() {
                    if let Said::ChatMessage { offset, text, .. } = said {
                        self.hear(offset, text);
                    }
                }
            }
            // The kernel says FIN, or RST when something was not read.
            1 => drop(connection),
            // What comes behind a Close is not heard: it may be missed, and is replayed.
            2 => connection.raw.send(&close_frame(1000, "")),
            _ => {
                let words = frame(TEXT, b"{\"type\":\"chat_message\",\"text\":\"never whole\"}");
                connection.raw.send(&words[..1 + random.below(words.len() as u32 - 1) as usize]);
                connection.raw.reset();
            }
        }
    }
}
