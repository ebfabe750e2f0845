//! Shards, homes and the roads between them in any order, and what each member hears of it.

mod ledger;
mod nodes;
mod redis;
mod truth;

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::time::Duration;

use bytes::Bytes;

use self::truth::{Cursor, Expected, Truth, Words, room_of};
use super::*;
use crate::collections::random::Random;
use crate::collections::{Key, Tick};

const SEEDS: u64 = 3_000;
const OPERATIONS: u32 = 250;

/// The seed of a world that failed, for the report of the panic.
struct Seed {
    number: u64,
    has_passed: bool,
}

impl Drop for Seed {
    fn drop(&mut self) {
        if !self.has_passed {
            eprintln!("seed {}", self.number);
        }
    }
}

#[test]
fn every_member_hears_its_room_whole_in_order_and_once() {
    for number in 0..SEEDS {
        let mut seed = Seed { number, has_passed: false };
        let mut world = World::new(number);
        for _ in 0..OPERATIONS {
            world.operate();
        }
        world.end();
        seed.has_passed = true;
    }
}

/// A client: the connection it has now, and what it remembers of those before.
struct Client {
    shard: usize,
    key: Key,
    /// In the order of joins.
    memberships: Vec<Membership>,
    /// Memberships begun here, and those that their homes have begun: of each room.
    begun: HashMap<RoomName, u32>,
    begun_at_home: HashMap<RoomName, u32>,
    /// Answers under way, with the membership each is for.
    answers: HashMap<RoomName, VecDeque<(u32, Expected)>>,
    known: HashMap<RoomName, Position>,
}

struct Membership {
    room: RoomName,
    number: u32,
    /// What it hears next; nothing before its home has answered.
    cursor: Option<Cursor>,
}

struct World {
    random: Random,
    names: Vec<RoomName>,
    shards: Vec<Rooms>,
    homes: Vec<Home<Words>>,
    /// From each shard to each home, and from each home to each shard.
    requests: Vec<Vec<VecDeque<Requests>>>,
    notices: Vec<Vec<VecDeque<Vec<Notice>>>>,
    clients: Vec<Client>,
    truth: Truth,
    now: Duration,
    tick: Tick,
    published: u32,
    /// Bytes of the largest message.
    large: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shards = 1 + random.below(8) as usize;
        let hasher = RandomState::new();
        let names = names(&mut random, &hasher, shards as u64);
        let limits = HistoryLimits {
            messages: 1 + random.below(20) as usize,
            age: 5 + random.below(100),
            home_bytes: usize::MAX,
        };
        let epochs: Vec<Epoch> = (0..shards).map(|home| Epoch((home as u64) << 32)).collect();
        let home = |epoch: &Epoch| Home::new(Words, limits, shards, *epoch, None);
        let homes = epochs.iter().map(home).collect();
        let clients = (0..2 + random.below(10))
            .map(|index| Client::new(random.below(shards as u32) as usize, index))
            .collect();
        let large = if random.below(40) == 0 { 60_000 } else { 200 };
        Self {
            names,
            shards: (0..shards).map(|_| Rooms::new(shards, hasher.clone())).collect(),
            homes,
            requests: (0..shards).map(|_| vec_of(shards)).collect(),
            notices: (0..shards).map(|_| vec_of(shards)).collect(),
            clients,
            truth: Truth::new(limits, epochs),
            now: Duration::from_secs(1),
            tick: 0,
            published: 0,
            large,
            random,
        }
    }

    fn operate(&mut self) {
        let client = self.random.below(self.clients.len() as u32) as usize;
        let shard = self.random.below(self.shards.len() as u32) as usize;
        match self.random.below(100) {
            0..14 => self.join(client),
            14..17 => {
                self.join(client);
                self.join(client);
            }
            17..22 => self.leave(client),
            22..25 => {
                self.leave(client);
                self.join(client);
            }
            25..27 => self.disconnect(client),
            27..48 => self.publish(client),
            48..58 => self.take_requests(shard),
            58..70 => self.serve(shard),
            70..82 => self.hear(shard),
            82..94 => self.fan_out(shard),
            94..99 => self.let_pass(),
            _ => self.settle(),
        }
    }

    fn some_name(&mut self) -> RoomName {
        self.names[self.random.below(self.names.len() as u32) as usize].clone()
    }

    fn join(&mut self, client: usize) {
        let name = self.some_name();
        let since = self.some_position(client, &name);
        let Client { shard, key, memberships, begun, .. } = &mut self.clients[client];
        let done = self.shards[*shard].join(*key, &name, since);
        assert_eq!(done, Ok(()));
        match memberships.iter().position(|membership| membership.room == name) {
            Some(place) => {
                let membership = memberships.remove(place);
                memberships.push(membership);
            }
            None => {
                let number = begun.entry(name.clone()).or_default();
                *number += 1;
                memberships.push(Membership { room: name, number: *number, cursor: None });
            }
        }
    }

    /// Where the client says it has been: where it was, anywhere, or nowhere.
    fn some_position(&mut self, client: usize, name: &RoomName) -> Option<Position> {
        let here = self.truth.position(name);
        let mut since = match self.random.below(4) {
            0 => return None,
            1 | 2 => self.clients[client].known.get(name).copied(),
            _ => here.map(|position| Position {
                offset: u64::from(self.random.below(position.offset as u32 + 3)),
                ..position
            }),
        };
        if let Some(position) = &mut since
            && self.random.below(20) == 0
        {
            position.epoch.0 ^= 1;
        }
        since
    }

    fn leave(&mut self, client: usize) {
        let name = (self.random.below(3) > 0).then(|| self.some_name());
        let Client { shard, key, memberships, .. } = &mut self.clients[client];
        let place = place_of(memberships, name.as_deref());
        let done = self.shards[*shard].leave(*key, name.as_deref());
        assert_eq!(done, place.map(|_| ()).ok_or(RoomError::NotInRoom));
        place.map(|place| memberships.remove(place));
    }

    /// The client comes back at once, on the same place of the table.
    fn disconnect(&mut self, client: usize) {
        let gone = &mut self.clients[client];
        self.shards[gone.shard].leave_all(gone.key);
        let key = Key::from_parts(gone.key.index(), gone.key.generation() + 1);
        let known = std::mem::take(&mut gone.known);
        *gone = Client { key, known, ..Client::new(gone.shard, key.index()) };
    }

    fn publish(&mut self, client: usize) {
        let name = (self.random.below(2) > 0).then(|| self.some_name());
        let id = match self.random.below(3) {
            0 => Some(self.random.below(30).to_string()),
            _ => None,
        };
        self.published += 1;
        let text = format!("{:01$}", self.published, self.random.below(self.large) as usize);
        let Client { shard, key, memberships, .. } = &self.clients[client];
        let place = place_of(memberships, name.as_deref());
        let done =
            self.shards[*shard].publish(*key, name.as_deref(), id.as_deref(), |out, room| {
                let place = place.expect("only a member is asked for its words");
                assert_eq!(room, &*memberships[place].room);
                out.extend_from_slice(format!("!{room} {text}").as_bytes());
            });
        assert_eq!(done, place.map(|_| ()).ok_or(RoomError::NotInRoom));
    }

    fn take_requests(&mut self, shard: usize) {
        let Self { shards, requests, .. } = self;
        shards[shard].take_requests(|home, asked| requests[shard][home].push_back(asked));
        assert_eq!(shards[shard].requested_bytes(), 0);
    }

    /// The home takes some envelopes of some shards, and tells what came of it.
    fn serve(&mut self, home: usize) {
        for _ in 0..=self.random.below(4) {
            let from = self.random.below(self.shards.len() as u32) as usize;
            if let Some(asked) = self.requests[from][home].pop_front() {
                self.serve_one(home, from, asked);
            }
        }
        let Self { homes, notices, .. } = self;
        homes[home].take_notices(|shard, told| notices[home][shard].push_back(told));
    }

    fn serve_one(&mut self, home: usize, from: usize, asked: Requests) {
        let milliseconds = self.now.as_millis() as u64;
        let now = Now { tick: self.tick, unix_milliseconds: milliseconds };
        for answer in self.truth.serve(now, home, &asked) {
            let key = answer.ticket.key;
            let same = |client: &&mut Client| client.shard == from && client.key == key;
            // Who has gone gets no answer.
            let Some(client) = self.clients.iter_mut().find(same) else { continue };
            let number = client.begun_at_home.entry(answer.room.clone()).or_default();
            *number += u32::from(!answer.again);
            let answers = client.answers.entry(answer.room.clone()).or_default();
            answers.push_back((*number, answer));
        }
        self.homes[home].serve(now, from, asked);
        self.check_sums(home);
    }

    fn check_sums(&self, home: usize) {
        let (messages, bytes) = self.homes[home].remembered();
        let sums = (self.homes[home].rooms(), self.homes[home].members(), messages, bytes);
        assert_eq!(sums, self.truth.sums(home), "rooms, members, messages and bytes");
        assert_eq!(self.homes[home].remembers(), messages > 0, "a message waits for its end");
    }

    fn hear(&mut self, shard: usize) {
        let home = self.random.below(self.homes.len() as u32) as usize;
        let told = self.notices[home][shard].pop_front();
        for notice in told.unwrap_or_default() {
            let mut answered = None;
            self.shards[shard].hear(self.now, notice, |key, frames, count| {
                answered = Some((key, frames, count));
            });
            if let Some((key, frames, count)) = answered {
                self.check_answer(shard, key, &frames, count);
            }
        }
    }

    fn check_answer(&mut self, shard: usize, key: Key, frames: &Bytes, count: u32) {
        let same = |client: &&mut Client| client.shard == shard && client.key == key;
        let Some(client) = self.clients.iter_mut().find(same) else { return };
        let answers = client.answers.get_mut(room_of(frames)).expect("it has asked");
        let (number, expected) = answers.pop_front().expect("one answer for one question");
        client.known.insert(expected.room.clone(), expected.position);
        let mut memberships = client.memberships.iter_mut();
        let membership = memberships
            .find(|membership| membership.room == expected.room && membership.number == number);
        let cursor = membership.and_then(|membership| membership.cursor.replace(expected.cursor));
        // All that a member has not heard yet comes before its answer, unless it is replayed.
        let ahead = match cursor {
            Some(cursor) if !expected.recovered => {
                &self.truth.logs[cursor.log].events[cursor.next..expected.cursor.next]
            }
            _ => &[],
        };
        let mut whole: Vec<u8> = ahead.iter().flat_map(|event| event.frame.clone()).collect();
        whole.extend(expected.frames);
        assert!(*frames == whole, "{} instead of {}", words(frames), words(&whole));
        assert_eq!(count, expected.count + ahead.len() as u32);
    }

    fn fan_out(&mut self, shard: usize) {
        let (max, mut sends) = (1 + self.random.below(6) as usize, Vec::new());
        self.shards[shard].take_due(self.now, max, &mut sends);
        assert!(sends.len() <= max);
        let mut runs: Vec<Key> = sends.iter().map(|(key, _)| *key).collect();
        runs.dedup();
        let count = runs.len();
        runs.sort_by_key(|key| key.index());
        runs.dedup();
        assert_eq!(runs.len(), count, "what one connection gets stands together");
        for (key, batch) in &sends {
            self.check_batch(shard, *key, batch);
        }
        self.shards[shard].end_rounds(self.now, drop);
    }

    /// Each frame is the next of what happened in the room.
    fn check_batch(&mut self, shard: usize, key: Key, batch: &Batch) {
        let same = |client: &&mut Client| client.shard == shard && client.key == key;
        let client = self.clients.iter_mut().find(same).expect("who has gone hears nothing");
        let room = room_of(&batch.frames);
        let mut memberships = client.memberships.iter_mut();
        let membership = memberships.find(|membership| &*membership.room == room);
        let membership = membership.expect("who has left hears nothing");
        let cursor = membership.cursor.as_mut().expect("nothing comes before the answer");
        let log = &self.truth.logs[cursor.log];
        let (mut rest, mut count) = (&batch.frames[..], 0);
        while !rest.is_empty() {
            let event = log.events.get(cursor.next).expect("nothing is heard before it happened");
            let next = rest.strip_prefix(&event.frame[..]);
            rest = next.unwrap_or_else(|| {
                panic!("heard {} instead of {}", words(rest), words(&event.frame))
            });
            cursor.next += 1;
            count += 1;
            let position = Position { epoch: log.epoch, offset: event.offset };
            client.known.insert(membership.room.clone(), position);
        }
        assert!(count > 0 && count == batch.count, "{count} frames, {} counted", batch.count);
    }

    fn let_pass(&mut self) {
        self.now += Duration::from_micros(u64::from(self.random.below(3_000)));
        self.tick += self.random.below(20);
        for home in 0..self.homes.len() {
            while self.homes[home].forget_old(self.tick) {}
            self.truth.forget_old(home, self.tick);
            self.check_sums(home);
        }
    }

    /// Everything comes to its end: nobody has missed anything.
    fn settle(&mut self) {
        while self.is_busy() {
            self.now += Duration::from_millis(2);
            for shard in 0..self.shards.len() {
                self.take_requests(shard);
                self.serve(shard);
                self.hear(shard);
                self.fan_out(shard);
            }
        }
        for client in &self.clients {
            assert!(client.answers.values().all(VecDeque::is_empty), "a join was not answered");
            for membership in &client.memberships {
                let cursor = membership.cursor.expect("its home has answered");
                assert_eq!(cursor.next, self.truth.logs[cursor.log].events.len(), "it has all");
            }
        }
        assert!(self.shards.iter().all(|rooms| rooms.gathered_bytes() == 0));
    }

    fn is_busy(&mut self) -> bool {
        (0..self.shards.len()).for_each(|shard| self.take_requests(shard));
        let on_the_way = self.requests.iter().flatten().any(|queue| !queue.is_empty())
            || self.notices.iter().flatten().any(|queue| !queue.is_empty());
        on_the_way || self.shards.iter().any(|rooms| rooms.due().is_some())
    }

    /// All go, by leaving or by hanging up: nothing is left of anything.
    fn end(&mut self) {
        if self.random.below(2) == 0 {
            self.settle();
        }
        for client in 0..self.clients.len() {
            if self.random.below(2) == 0 {
                self.disconnect(client);
            }
            let Client { shard, key, memberships, .. } = &mut self.clients[client];
            for membership in memberships.drain(..) {
                let left = self.shards[*shard].leave(*key, Some(&membership.room));
                assert_eq!(left, Ok(()));
            }
        }
        self.settle();
        assert!(self.shards.iter().all(Rooms::is_empty));
        for home in &self.homes {
            assert_eq!((home.rooms(), home.members(), home.remembered()), (0, 0, (0, 0)));
        }
    }
}

impl Client {
    fn new(shard: usize, index: u32) -> Self {
        Self {
            shard,
            key: Key::from_parts(index, 0),
            memberships: Vec::new(),
            begun: HashMap::new(),
            begun_at_home: HashMap::new(),
            answers: HashMap::new(),
            known: HashMap::new(),
        }
    }
}

/// Names of a few rooms, such that the seed decides where their homes are.
fn names(random: &mut Random, hasher: &RandomState, shards: u64) -> Vec<RoomName> {
    let mut candidates = 10_000..;
    (0..1 + random.below(4))
        .map(|_| {
            let home = u64::from(random.below(shards as u32));
            let named = candidates.by_ref().map(|number: u32| number.to_string());
            let mut at_home = named.filter(|name| hasher.hash_one(&**name) % shards == home);
            RoomName::from(at_home.next().expect("there are numbers enough"))
        })
        .collect()
}

fn vec_of<T: Default>(length: usize) -> Vec<T> {
    (0..length).map(|_| T::default()).collect()
}

/// The membership of a room, or the last.
fn place_of(memberships: &[Membership], name: Option<&str>) -> Option<usize> {
    match name {
        Some(name) => memberships.iter().position(|membership| &*membership.room == name),
        None => memberships.len().checked_sub(1),
    }
}

fn words(frames: &[u8]) -> String {
    String::from_utf8_lossy(&frames[..frames.len().min(200)]).into_owned()
}
