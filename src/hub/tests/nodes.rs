//! Several nodes and the servers that they share, in any order: what each member hears of it.

mod hearing;
mod node;
mod settling;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use self::node::{Client, Connection, Membership, Node, Presence, Said};
use super::ledger::{Ledger, is_fast};
use super::redis::{Run, Store};
use super::truth::{Words, frame};
use super::{Seed, vec_of};
use crate::collections::Key;
use crate::collections::random::Random;
use crate::hub::span::{Act, News, NodeId, Reply, SLOTS, Slots};
use crate::hub::{
    HistoryLimits, Now, Position, Request, Requests, RoomError, RoomName, Rooms, Wording,
};
use crate::limits::{CLUSTER_READINGS_MIN, TICK_MILLISECONDS};

const SEEDS: u64 = 3_000;
const OPERATIONS: u32 = 250;

#[test]
fn members_on_several_nodes_hear_their_room_whole_in_order_and_once() {
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

/// What may go wrong in a world; whatever is below may, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Weather {
    Calm,
    /// Connections to the servers break.
    Breaks,
    /// Nodes end.
    Ends,
    /// The servers forget.
    Losses,
}

struct World {
    random: Random,
    weather: Weather,
    names: Vec<RoomName>,
    hashers: Vec<RandomState>,
    shards: Vec<usize>,
    limits: HistoryLimits,
    /// Some have ended.
    nodes: Vec<Option<Node>>,
    store: Store,
    /// An older state of the servers.
    older: Option<Store>,
    ledger: Ledger,
    slots: Arc<Slots>,
    /// Nodes so far.
    started: u64,
    now: Duration,
    /// When the nodes speak with the servers next, to show that they live.
    probe: Duration,
    published: u32,
    /// What a node has caused itself comes behind the reply.
    replies_come_first: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let weather = match random.below(8) {
            0..2 => Weather::Calm,
            2..4 => Weather::Breaks,
            4..6 => Weather::Ends,
            _ => Weather::Losses,
        };
        let count = 2 + random.below(3) as usize;
        let hashers: Vec<RandomState> = (0..count).map(|_| RandomState::new()).collect();
        let shards: Vec<usize> = (0..count).map(|_| 1 + random.below(3) as usize).collect();
        let names = names(&mut random, &hashers, &shards);
        let limits = HistoryLimits {
            messages: random.below(20) as usize,
            // Where nothing goes wrong, no room's time is over while somebody asks to come in.
            age: if weather == Weather::Calm { 10_000 } else { 5 + random.below(100) },
            home_bytes: usize::MAX,
        };
        let mut world = Self {
            weather,
            names,
            hashers,
            shards,
            limits,
            nodes: Vec::new(),
            store: Store::default(),
            older: None,
            ledger: Ledger::default(),
            slots: Arc::new(Slots::range(0, SLOTS - 1)),
            started: 0,
            now: Duration::from_secs(1000),
            probe: Duration::from_secs(1001),
            published: 0,
            replies_come_first: random.below(2) == 0,
            random,
        };
        for place in 0..count {
            let node = world.start(place);
            world.nodes.push(Some(node));
        }
        if world.weather == Weather::Calm || world.random.below(2) == 0 {
            (0..count).for_each(|place| world.connect(place));
        }
        world.ledger.is_stormy = world.weather > Weather::Calm;
        world
    }

    fn start(&mut self, place: usize) -> Node {
        let shards = self.shards[place];
        self.started += 1;
        let count = 1 + self.random.below(4);
        let clients: Vec<usize> =
            (0..count).map(|_| self.random.below(shards as u32) as usize).collect();
        Node::new(NodeId(self.started), &self.hashers[place], self.limits, shards, &clients)
    }

    fn operate(&mut self) {
        let node = self.random.below(self.nodes.len() as u32) as usize;
        let Some(alive) = &self.nodes[node] else {
            if self.random.below(10) == 0 {
                self.nodes[node] = Some(self.start(node));
            }
            return;
        };
        let client = self.random.below(alive.clients.len() as u32) as usize;
        let shard = self.random.below(alive.shards.len() as u32) as usize;
        match self.random.below(120) {
            0..10 => self.join(node, client),
            10..12 => {
                self.join(node, client);
                self.join(node, client);
            }
            12..15 => self.leave(node, client),
            15..17 => {
                self.leave(node, client);
                self.join(node, client);
            }
            17 => self.disconnect(node, client),
            18..34 => self.publish(node, client),
            34 => self.announce(node),
            35..42 => self.take_requests(node, shard),
            42..50 => self.serve(node, shard),
            50..56 => self.ask(node, shard),
            56..62 => self.forward(node),
            62..72 => self.execute(node),
            72..84 => self.deliver(node),
            84..93 => self.hear_news(node, shard),
            93..98 => self.hear(node, shard),
            98..103 => self.fan_out(node, shard),
            103..106 => self.let_pass(),
            106..109 => self.hurry(node),
            109 => {
                let parts = 1 + self.random.below(3);
                self.node(node).tell_homes(|| News::Check(parts));
            }
            110..119 => self.trouble(node),
            _ if self.random.below(3) == 0 => self.settle(),
            _ => {}
        }
    }

    fn trouble(&mut self, node: usize) {
        let what = self.random.below(20);
        if what < 8 && self.weather >= Weather::Breaks {
            let Node { link, is_given_up, .. } = self.node(node);
            match (&link, &is_given_up) {
                (Some(_), _) if what < 2 => self.cut(node),
                (None, false) if what < 2 => {
                    *is_given_up = true;
                    let slots = Arc::clone(&self.slots);
                    self.node(node).tell_homes(|| News::GivenUp(Arc::clone(&slots)));
                }
                (None, _) if what < 5 => self.connect(node),
                _ => {}
            }
        } else if what == 8 && self.weather >= Weather::Ends {
            self.cut(node);
            self.nodes[node] = None;
        } else if what >= 17 && self.weather >= Weather::Losses {
            let what = self.random.below(6);
            self.lose(what);
        }
    }

    /// The servers forget: a room, or all, or what was last.
    fn lose(&mut self, what: u32) {
        if what < 4 {
            let name = self.some_name();
            self.store.forget(&name, what);
            self.ledger.has_lost = true;
            return;
        }
        if self.random.below(2) == 0 {
            self.older = Some(self.store.clone());
            return;
        }
        (0..self.nodes.len()).for_each(|node| self.cut(node));
        self.store = match &self.older {
            Some(older) if what == 4 => {
                self.ledger.went_back = true;
                older.clone()
            }
            _ => Store::default(),
        };
        self.ledger.has_lost = true;
    }

    fn node(&mut self, node: usize) -> &mut Node {
        self.nodes[node].as_mut().expect("it is alive")
    }

    fn some_name(&mut self) -> RoomName {
        self.names[self.random.below(self.names.len() as u32) as usize].clone()
    }

    fn clock(&self) -> Now {
        let unix_milliseconds = self.now.as_millis() as u64;
        Now { tick: (unix_milliseconds / TICK_MILLISECONDS) as u32, unix_milliseconds }
    }

    fn join(&mut self, node: usize, client: usize) {
        let name = self.some_name();
        let since = self.some_position(node, client, &name);
        let node = self.node(node);
        let Client { shard, key, memberships, .. } = &mut node.clients[client];
        assert_eq!(node.shards[*shard].join(*key, &name, since), Ok(()));
        match memberships.iter().position(|membership| membership.room == name) {
            Some(place) => {
                let membership = memberships.remove(place);
                memberships.push(membership);
            }
            None => {
                node.tickets[*shard] += 1;
                let ticket = node.tickets[*shard];
                memberships.push(Membership { room: name, ticket, heard: None });
            }
        }
    }

    /// Where a client says it has been: where it or another was, anywhere, or nowhere.
    fn some_position(&mut self, node: usize, client: usize, name: &RoomName) -> Option<Position> {
        let kind = self.random.below(5);
        let mut since = match kind {
            0 => return None,
            1 | 2 => self.node(node).clients[client].known.get(name).copied(),
            3 => {
                let mut all = self.nodes.iter().flatten().flat_map(|node| &node.clients);
                all.find_map(|client| client.known.get(name).copied())
            }
            _ => self.store.position(name).map(|(epoch, offset)| Position { epoch, offset }),
        };
        if let Some(position) = &mut since {
            match self.random.below(20) {
                0 => position.epoch.0 ^= 1,
                1..6 => {
                    position.offset = u64::from(self.random.below(position.offset as u32 + 3));
                }
                _ => {}
            }
        }
        since
    }

    fn leave(&mut self, node: usize, client: usize) {
        let name = (self.random.below(3) > 0).then(|| self.some_name());
        let node = self.node(node);
        let Client { shard, key, memberships, .. } = &mut node.clients[client];
        let place = place_of(memberships, name.as_deref());
        let done = node.shards[*shard].leave(*key, name.as_deref());
        assert_eq!(done, place.map(|_| ()).ok_or(RoomError::NotInRoom));
        place.map(|place| memberships.remove(place));
    }

    /// The client comes back at once, on the same place of the table.
    fn disconnect(&mut self, node: usize, client: usize) {
        let node = self.node(node);
        let gone = &mut node.clients[client];
        node.shards[gone.shard].leave_all(gone.key);
        let key = Key::from_parts(gone.key.index(), gone.key.generation() + 1);
        let known = std::mem::take(&mut gone.known);
        *gone = Client { key, known, ..Client::new(gone.shard, key.index()) };
    }

    fn publish(&mut self, node: usize, client: usize) {
        let name = (self.random.below(2) > 0).then(|| self.some_name());
        let id = (self.random.below(3) == 0).then(|| self.random.below(12).to_string());
        self.published += 1;
        let number = self.published;
        let node = self.node(node);
        let Client { shard, key, memberships, .. } = &node.clients[client];
        let place = place_of(memberships, name.as_deref());
        let (rooms, name) = (&mut node.shards[*shard], name.as_deref());
        let done = rooms.publish(*key, name, id.as_deref(), |out, room| {
            out.extend_from_slice(format!("!{room} {number}").as_bytes());
        });
        assert_eq!(done, place.map(|_| ()).ok_or(RoomError::NotInRoom));
    }

    fn announce(&mut self, node: usize) {
        let (name, now) = (self.some_name(), self.clock());
        self.published += 1;
        let head = format!("!{name} {}", self.published);
        let Self { nodes, hashers, ledger, .. } = self;
        let (hasher, node) = (&hashers[node], nodes[node].as_mut().expect("it is alive"));
        let home = (hasher.hash_one(&*name) % node.homes.len() as u64) as usize;
        let figures = node.homes[home].announce(now, &name, head.as_bytes());
        if is_fast(&name) {
            let figures = figures.expect("rooms span nodes");
            let said = frame(|out| {
                Words.message(out, head.as_bytes(), now.unix_milliseconds, figures.offset);
            });
            ledger.spoke(&name, node.id, figures.epoch, said);
        }
    }

    fn take_requests(&mut self, node: usize, shard: usize) {
        let Node { shards, requests, .. } = self.node(node);
        shards[shard].take_requests(|home, asked| requests[shard][home].push_back(asked));
    }

    /// The home takes some envelopes of some shards, and tells what came of it.
    fn serve(&mut self, node: usize, home: usize) {
        for _ in 0..=self.random.below(4) {
            let shards = self.node(node).shards.len();
            let from = self.random.below(shards as u32) as usize;
            if let Some(asked) = self.node(node).requests[from][home].pop_front() {
                self.serve_one_by_one(node, home, from, asked);
            }
        }
        self.take_notices(node, home);
    }

    fn serve_one_by_one(&mut self, node: usize, home: usize, from: usize, asked: Requests) {
        let now = self.clock();
        let Self { nodes, ledger, .. } = self;
        let node = nodes[node].as_mut().expect("it is alive");
        let mut heads = &asked.heads[..];
        for request in asked.list {
            let (mut said, mut room) = (Vec::new(), None);
            match &request {
                Request::Join { room, ticket, since, .. } => {
                    let account = node.account(from, *ticket, room);
                    account.joins += 1;
                    account.sinces.extend(*since);
                }
                Request::Publish { room: name, ticket, head, .. } => {
                    let (head, rest) = heads.split_at(*head as usize);
                    (heads, said) = (rest, head.to_vec());
                    let number = super::ledger::number_of(head);
                    node.account(from, *ticket, name).messages.push(number);
                    room = is_fast(name).then(|| name.clone());
                }
                Request::Leave { .. } => {}
            }
            let offset =
                |room: &RoomName| node.homes[home].room(room).map_or(0, |room| room.offset);
            let before = room.as_ref().map_or(0, offset);
            let requests = Requests { list: vec![request], heads: said.clone() };
            node.homes[home].serve(now, from, requests);
            if let Some(name) = room {
                let figures = node.homes[home].room(&name).expect("who speaks is a member");
                if figures.offset > before {
                    let said = frame(|out| {
                        Words.message(out, &said, now.unix_milliseconds, figures.offset);
                    });
                    ledger.spoke(&name, node.id, figures.epoch, said);
                }
            }
        }
        node.presences.retain(|name, _| node.homes.iter().any(|home| home.room(name).is_some()));
    }

    fn ask(&mut self, node: usize, home: usize) {
        let Node { homes, outgoing, .. } = self.node(node);
        while homes[home].sync_some() {}
        outgoing.extend(homes[home].take_orders());
    }

    /// The connection takes what the homes have ordered.
    fn forward(&mut self, node: usize) {
        let Node { outgoing, link: Some(link), .. } = self.node(node) else { return };
        for order in outgoing.drain(..) {
            match order.act {
                Act::Sync(_) => drop(link.rooms.insert(order.room.clone())),
                Act::Close => drop(link.rooms.remove(&order.room)),
                _ => {}
            }
            link.asked.push_back(order);
        }
    }

    /// The servers execute some orders of a node.
    fn execute(&mut self, node: usize) {
        for _ in 0..=self.random.below(3) {
            self.execute_one(node);
        }
    }

    fn execute_one(&mut self, place: usize) {
        let now = self.clock().unix_milliseconds;
        let Node { id, link: Some(link), .. } = self.node(place) else { return };
        let (id, Some(order)) = (*id, link.asked.pop_front()) else { return };
        match order.act {
            Act::Sync(_) => drop(link.subscribed.insert(order.room.clone())),
            Act::Close => drop(link.subscribed.remove(&order.room)),
            _ => {}
        }
        let (limits, ledger) = (&self.limits, &mut self.ledger);
        let mut run = Run { now, limits, ledger, told: Vec::new() };
        let reply = self.store.execute(&mut run, id, &order);
        let told = run.told;
        let reply = reply.map(|reply| Said::Reply(News::Replied(order.room, order.serial, reply)));
        let links = self
            .nodes
            .iter_mut()
            .enumerate()
            .filter_map(|(at, node)| Some((at, node.as_mut()?.link.as_mut()?)));
        let mut reply = reply;
        for (at, link) in links {
            if at == place && self.replies_come_first {
                link.said.extend(reply.take());
            }
            for (room, bytes) in &told {
                if link.subscribed.contains(room) {
                    link.said.push_back(Said::Push(room.clone(), bytes.clone()));
                }
            }
            if at == place {
                link.said.extend(reply.take());
            }
        }
    }

    /// Some of what the servers have said comes to the node, what they told before what they
    /// replied where both are there.
    fn deliver(&mut self, node: usize) {
        for _ in 0..=self.random.below(3) {
            let pushes_first = self.random.below(4) == 0;
            let Node { link: Some(link), .. } = self.node(node) else { return };
            let is_push = |said: &Said| matches!(said, Said::Push(..));
            let push = link.said.iter().position(is_push).filter(|_| pushes_first);
            let Some(said) = link.said.remove(push.unwrap_or(0)) else { return };
            self.tell(node, said);
        }
    }

    fn tell(&mut self, place: usize, said: Said) {
        let hasher = self.hashers[place].clone();
        let slots = Arc::clone(&self.slots);
        let node = self.node(place);
        let homes = node.homes.len() as u64;
        let home_of = |room: &RoomName| (hasher.hash_one(&**room) % homes) as usize;
        let Some(link) = &mut node.link else { return };
        match said {
            Said::Push(room, bytes) if link.rooms.contains(&room) => {
                node.news[home_of(&room)].push_back(News::Heard(room, bytes));
            }
            Said::Push(..) => {}
            Said::Reply(news) => {
                let News::Replied(room, ..) = &news else { unreachable!("it is a reply") };
                node.news[home_of(room)].push_back(news);
            }
            Said::Living(living) => {
                link.readings.push_back(living);
                link.readings_count += 1;
                if link.readings.len() > 2 {
                    link.readings.pop_front();
                }
                if link.readings_count >= CLUSTER_READINGS_MIN {
                    let mut all: Vec<NodeId> = link.readings.iter().flatten().copied().collect();
                    all.sort_unstable();
                    all.dedup();
                    let all: Arc<[NodeId]> = all.into();
                    node.tell_homes(|| News::Living(Arc::clone(&slots), Arc::clone(&all)));
                }
            }
        }
    }

    /// The home hears some news.
    fn hear_news(&mut self, node: usize, home: usize) {
        for _ in 0..=self.random.below(4) {
            let Some(news) = self.node(node).news[home].pop_front() else { break };
            self.hear_one(node, home, news);
        }
        self.take_notices(node, home);
    }

    fn hear_one(&mut self, place: usize, home: usize, news: News) {
        let now = self.clock();
        let name = match &news {
            News::Heard(room, _) | News::Replied(room, ..) => Some(room.clone()),
            _ => None,
        };
        let synced = match &news {
            News::Replied(_, _, Reply::Synced(state)) => Some((state.epoch, state.offset)),
            _ => None,
        };
        let node = self.nodes[place].as_mut().expect("it is alive");
        let home = &mut node.homes[home];
        let syncing = home.rooms_syncing();
        let before = (home.span_figures(), name.as_ref().and_then(|name| home.room(name)));
        home.hear_news(now, news);
        let after = (home.span_figures(), name.as_ref().and_then(|name| home.room(name)));
        let is_answered = home.rooms_syncing() < syncing;
        assert_eq!(after.0.strange, 0);
        let (Some(name), Some(before_it)) = (name, before.1) else { return };
        let Some(after_it) = after.1 else {
            node.presences.remove(&name);
            return;
        };
        let lost = after.0.lost - before.0.lost;
        let heard = after_it.offset.saturating_sub(before_it.offset);
        if !is_fast(&name) {
            if after.0.gaps > before.0.gaps && before_it.epoch == after_it.epoch {
                assert!((1..=heard).contains(&lost), "a gap is as large as what is missing");
            }
            return;
        }
        if let Some((epoch, offset)) = synced
            && !node.presences.contains_key(&name)
        {
            // The answer to a question of before an outage counts for nothing, and one that led to
            // another question says nothing for certain.
            let is_over = !is_answered;
            if is_answered || after.0.syncs > before.0.syncs {
                let from = self.ledger.relayed_at(&name, epoch, offset);
                let presence = Presence { from, epoch: epoch.0, is_over, heard, lost };
                node.presences.insert(name, presence);
            }
        } else if let Some(presence) = node.presences.get_mut(&name) {
            presence.heard += heard;
            presence.lost += lost;
            presence.is_over |= synced.is_some_and(|(epoch, _)| epoch.0 != presence.epoch);
        }
    }

    fn let_pass(&mut self) {
        let longest = if self.random.below(4) == 0 { 3_000_000 } else { 300_000 };
        let later = self.now + Duration::from_micros(u64::from(self.random.below(longest)));
        self.pass_until(later);
    }

    /// Nodes that can show all the while that they live.
    fn pass_until(&mut self, later: Duration) {
        while self.probe <= later {
            self.now = self.probe;
            self.probe += Duration::from_secs(1);
            let now = self.clock().unix_milliseconds;
            for node in self.nodes.iter_mut().flatten() {
                if let Some(link) = &mut node.link {
                    let living = self.store.lease(now, node.id);
                    link.said.push_back(Said::Living(living));
                }
            }
        }
        self.now = later;
        let tick = self.clock().tick;
        for home in self.nodes.iter_mut().flatten().flat_map(|node| &mut node.homes) {
            while home.forget_old(tick) {}
        }
    }

    /// The connection breaks: some of what is on its way is done all the same.
    fn cut(&mut self, node: usize) {
        let Some(Node { link: Some(link), .. }) = &self.nodes[node] else { return };
        for _ in 0..self.random.below(link.asked.len() as u32 + 1) {
            self.execute_one(node);
        }
        let slots = Arc::clone(&self.slots);
        let node = self.node(node);
        node.link = None;
        node.tell_homes(|| News::Down(Arc::clone(&slots)));
    }

    /// What was ordered while there was no connection is void.
    fn connect(&mut self, node: usize) {
        let (now, slots) = (self.clock().unix_milliseconds, Arc::clone(&self.slots));
        let Some(node) = &mut self.nodes[node] else { return };
        if node.link.is_none() {
            self.store.lease(now, node.id);
            node.link = Some(Connection::default());
            node.is_given_up = false;
            node.outgoing.clear();
            node.tell_homes(|| News::Up(Arc::clone(&slots)));
        }
    }
}

/// Names of a few rooms, such that the seed decides where their homes are on each node.
fn names(random: &mut Random, hashers: &[RandomState], shards: &[usize]) -> Vec<RoomName> {
    let mut candidates = 1_000..;
    (0..1 + random.below(3))
        .map(|_| {
            let mode = if random.below(3) == 0 { 'f' } else { 's' };
            let homes: Vec<u64> =
                shards.iter().map(|shards| u64::from(random.below(*shards as u32))).collect();
            let is_at_home = |name: &String| {
                hashers.iter().zip(shards).zip(&homes).all(|((hasher, shards), home)| {
                    hasher.hash_one(&**name) % *shards as u64 == *home
                })
            };
            let named = candidates.by_ref().map(|number: u32| format!("{mode}{number}"));
            RoomName::from(named.into_iter().find(is_at_home).expect("there are numbers enough"))
        })
        .collect()
}

/// The membership of a room, or the last.
fn place_of(memberships: &[Membership], name: Option<&str>) -> Option<usize> {
    match name {
        Some(name) => memberships.iter().position(|membership| &*membership.room == name),
        None => memberships.len().checked_sub(1),
    }
}
