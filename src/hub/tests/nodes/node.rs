//! One node: its shards and homes, the roads between them, its connection, and its clients.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::super::truth::Words;
use crate::collections::Key;
use crate::hub::span::{News, NodeId, Order, RoomMode, RoomModes};
use crate::hub::{
    Epoch, HistoryLimits, Home, MemberTicket, Notice, Position, Requests, RoomName, Rooms, SpanPlan,
};

/// What comes back from the servers.
pub(super) enum Said {
    Push(RoomName, Bytes),
    Reply(News),
    Living(Vec<NodeId>),
}

/// A connection to the servers.
#[derive(Default)]
pub(super) struct Connection {
    /// Orders that were not executed yet, and what was not heard yet.
    pub(super) asked: VecDeque<Order>,
    pub(super) said: VecDeque<Said>,
    /// Channels that are heard, as the servers see it and as the node does.
    pub(super) subscribed: BTreeSet<RoomName>,
    pub(super) rooms: BTreeSet<RoomName>,
    pub(super) readings: VecDeque<Vec<NodeId>>,
    pub(super) readings_count: u32,
}

/// A client: the connection it has now, and what it remembers of those before.
pub(super) struct Client {
    pub(super) shard: usize,
    pub(super) key: Key,
    /// In the order of joins.
    pub(super) memberships: Vec<Membership>,
    pub(super) known: BTreeMap<RoomName, Position>,
}

pub(super) struct Membership {
    pub(super) room: RoomName,
    pub(super) ticket: u32,
    /// Nothing before its home has answered.
    pub(super) heard: Option<Heard>,
}

/// Where a member is.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) position: Position,
    /// Where it may be among the numbers of members that the room has had there.
    pub(super) places: Vec<usize>,
    pub(super) users: u64,
}

/// What a membership has asked for, and what it was answered.
#[derive(Default)]
pub(super) struct Account {
    pub(super) room: RoomName2,
    pub(super) joins: u32,
    pub(super) sinces: Vec<Position>,
    pub(super) messages: Vec<u32>,
    pub(super) answers: u32,
}

/// A name that has a default.
pub(super) type RoomName2 = String;

/// A fast room on a node, from when it was in step first.
#[derive(Default)]
pub(super) struct Presence {
    /// Messages at the servers before, in the epoch that it was first.
    pub(super) from: usize,
    pub(super) epoch: u64,
    /// The epoch has ended: what was said at its end nobody knows.
    pub(super) is_over: bool,
    pub(super) heard: u64,
    pub(super) lost: u64,
}

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) shards: Vec<Rooms>,
    pub(super) homes: Vec<Home<Words>>,
    /// From each shard to each home, and from each home to each shard.
    pub(super) requests: Vec<Vec<VecDeque<Requests>>>,
    pub(super) notices: Vec<Vec<VecDeque<Vec<Notice>>>>,
    pub(super) outgoing: VecDeque<Order>,
    pub(super) news: Vec<VecDeque<News>>,
    pub(super) link: Option<Connection>,
    pub(super) is_given_up: bool,
    pub(super) clients: Vec<Client>,
    /// Memberships begun on each shard.
    pub(super) tickets: Vec<u32>,
    pub(super) accounts: BTreeMap<(usize, u32), Account>,
    pub(super) presences: BTreeMap<RoomName, Presence>,
}

impl Node {
    pub(super) fn new(
        id: NodeId,
        hasher: &RandomState,
        limits: HistoryLimits,
        shards: usize,
        clients: &[usize],
    ) -> Self {
        let modes = RoomModes { default: RoomMode::Sequenced, fast: vec!["f".into()] };
        let plan = SpanPlan { node: id, modes: Arc::new(modes) };
        let home = |home: usize| {
            let epoch = Epoch(id.0 << 48 | (home as u64) << 40);
            Home::new(Words, limits, shards, epoch, Some(plan.clone()))
        };
        let client = |(index, shard): (usize, &usize)| Client::new(*shard, index as u32);
        Self {
            id,
            shards: (0..shards).map(|_| Rooms::new(shards, hasher.clone())).collect(),
            homes: (0..shards).map(home).collect(),
            requests: (0..shards).map(|_| super::vec_of(shards)).collect(),
            notices: (0..shards).map(|_| super::vec_of(shards)).collect(),
            outgoing: VecDeque::new(),
            news: super::vec_of(shards),
            link: None,
            is_given_up: false,
            clients: clients.iter().enumerate().map(client).collect(),
            tickets: vec![0; shards],
            accounts: BTreeMap::new(),
            presences: BTreeMap::new(),
        }
    }

    pub(super) fn tell_homes(&mut self, news: impl Fn() -> News) {
        self.news.iter_mut().for_each(|queue| queue.push_back(news()));
    }

    pub(super) fn client(&mut self, shard: usize, key: Key) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.shard == shard && client.key == key)
    }

    pub(super) fn account(
        &mut self,
        shard: usize,
        ticket: MemberTicket,
        room: &str,
    ) -> &mut Account {
        let account = self.accounts.entry((shard, ticket.number)).or_default();
        room.clone_into(&mut account.room);
        account
    }

    /// Members of a room, as its clients see it.
    pub(super) fn members(&self, room: &RoomName) -> u32 {
        let of_client = |client: &Client| {
            client.memberships.iter().filter(|membership| membership.room == *room).count() as u32
        };
        self.clients.iter().map(of_client).sum()
    }
}

impl Client {
    pub(super) fn new(shard: usize, index: u32) -> Self {
        Self {
            shard,
            key: Key::from_parts(index, 0),
            memberships: Vec::new(),
            known: BTreeMap::new(),
        }
    }
}
