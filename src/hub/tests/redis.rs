//! The servers that nodes share, in plain Rust: what the scripts do, line by line.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::ledger::Ledger;
use crate::hub::span::{
    Act, Apply, Body, ENVELOPE_VERSION, Envelope, Event, NodeId, NodeState, Order, Reply, State,
    Sync,
};
use crate::hub::{Epoch, HistoryLimits, Position, RoomName};
use crate::limits::{CLUSTER_ROOM_TTL, TICK_MILLISECONDS};

/// Milliseconds that a lease lasts.
const LEASE: u64 = 4000;

/// Milliseconds that a node that was taken for gone is remembered.
const DAY: u64 = 86_400_000;

/// A hash, a stream, another hash, and the ids of messages.
#[derive(Clone, Default)]
struct Keys {
    meta: Option<Meta>,
    meta_until: u64,
    /// Envelopes with messages, by the offset of their last one.
    log: BTreeMap<u64, Bytes>,
    log_until: u64,
    members: BTreeMap<NodeId, u32>,
    members_until: u64,
    /// The epoch and the entry of each, and until when it is known.
    ids: BTreeMap<u64, (Epoch, u64, u64)>,
}

#[derive(Clone)]
struct Meta {
    epoch: Epoch,
    seq: u64,
    offset: u64,
    ops: BTreeMap<NodeId, u64>,
    messages: BTreeMap<NodeId, u64>,
    /// When a node was taken for gone.
    gone: BTreeMap<NodeId, u64>,
}

/// What the server keeps; a copy is an older state of it.
#[derive(Clone, Default)]
pub(super) struct Store {
    rooms: BTreeMap<RoomName, Keys>,
    leases: BTreeMap<NodeId, u64>,
}

/// One script run.
pub(super) struct Run<'a> {
    pub(super) now: u64,
    pub(super) limits: &'a HistoryLimits,
    pub(super) ledger: &'a mut Ledger,
    /// What was published, in order.
    pub(super) told: Vec<(RoomName, Bytes)>,
}

impl Store {
    /// Renews a lease and gives the nodes that have one.
    pub(super) fn lease(&mut self, now: u64, node: NodeId) -> Vec<NodeId> {
        self.leases.insert(node, now + LEASE);
        self.leases.retain(|_, until| *until >= now);
        self.leases.keys().copied().collect()
    }

    /// Nodes with members in a room, and how many.
    pub(super) fn members(&self, room: &RoomName) -> BTreeMap<NodeId, u32> {
        self.rooms.get(room).map(|keys| keys.members.clone()).unwrap_or_default()
    }

    /// Where a room stands.
    pub(super) fn position(&self, room: &RoomName) -> Option<(Epoch, u64)> {
        let meta = self.rooms.get(room)?.meta.as_ref()?;
        Some((meta.epoch, meta.offset))
    }

    /// A room's keys are gone: of itself, beside that its members, or beside that all.
    pub(super) fn forget(&mut self, room: &RoomName, what: u32) {
        let Some(keys) = self.rooms.get_mut(room) else { return };
        keys.meta = None;
        if what > 0 {
            keys.members.clear();
        }
        if what > 1 {
            *keys = Keys::default();
        }
    }

    /// Executes an order of a node, and gives the reply.
    pub(super) fn execute(
        &mut self,
        run: &mut Run<'_>,
        node: NodeId,
        order: &Order,
    ) -> Option<Reply> {
        let keys = self.rooms.entry(order.room.clone()).or_default();
        keys.expire(run.now);
        match &order.act {
            Act::Sync(sync) => Some(keys.sync(run, node, &order.room, sync)),
            Act::Apply(apply) => Some(keys.apply(run, node, &order.room, apply)),
            Act::Close => {
                if let Some(meta) = &mut keys.meta {
                    meta.ops.remove(&node);
                    meta.messages.remove(&node);
                }
                None
            }
            Act::Drop { node, body } => {
                keys.drop_node(run, *node, &order.room, body);
                None
            }
        }
    }
}

impl Keys {
    fn expire(&mut self, now: u64) {
        if self.meta_until <= now {
            self.meta = None;
        }
        if self.members_until <= now {
            self.members.clear();
        }
        if self.log_until <= now {
            self.log.clear();
        }
        self.ids.retain(|_, (.., until)| *until > now);
    }

    fn total(&self) -> u64 {
        self.members.values().map(|count| u64::from(*count)).sum()
    }

    fn tell(&mut self, run: &mut Run<'_>, room: &RoomName, offset: u64, body: &[u8]) -> Bytes {
        let meta = self.meta.as_mut().expect("the caller has seen it");
        meta.seq += 1;
        let mut envelope = vec![ENVELOPE_VERSION];
        for number in [meta.epoch.0, meta.seq, offset, run.now] {
            envelope.extend_from_slice(&number.to_be_bytes());
        }
        envelope.extend_from_slice(body);
        let envelope = Bytes::from(envelope);
        run.told.push((room.clone(), envelope.clone()));
        envelope
    }

    fn keep(&mut self, run: &Run<'_>) {
        let age = u64::from(run.limits.age) * TICK_MILLISECONDS;
        let ttl = (CLUSTER_ROOM_TTL.as_millis() as u64).max(age);
        if self.members.is_empty() {
            self.meta_until = run.now + age;
        } else {
            self.meta_until = run.now + ttl;
            self.members_until = run.now + ttl;
        }
    }

    fn count(&mut self, node: NodeId, count: u32) {
        if self.members.is_empty() {
            // A new key.
            self.members_until = u64::MAX;
        }
        if count == 0 {
            self.members.remove(&node);
        } else {
            self.members.insert(node, count);
        }
    }

    fn sync(&mut self, run: &mut Run<'_>, node: NodeId, room: &RoomName, sync: &Sync) -> Reply {
        let was_heard_further = self.meta.as_ref().is_some_and(|meta| {
            sync.known.is_some_and(|(epoch, seq)| epoch == meta.epoch && meta.seq < seq)
        });
        if self.meta.is_none() || was_heard_further {
            self.log.clear();
            self.members.clear();
            self.meta = Some(Meta {
                epoch: sync.new_epoch,
                seq: 0,
                offset: 0,
                ops: BTreeMap::new(),
                messages: BTreeMap::new(),
                gone: BTreeMap::new(),
            });
            self.meta_until = u64::MAX;
            run.ledger.total(room, sync.new_epoch, 0, self.total());
        }
        let meta = self.meta.as_mut().expect("it was just made");
        meta.gone.remove(&node);
        let published = meta.messages.entry(node).or_default();
        *published = sync.messages.max(*published);
        if *published == 0 {
            meta.messages.remove(&node);
        }
        let (epoch, offset) = (meta.epoch, meta.offset);
        let done = meta.ops.get(&node).copied().unwrap_or(0);
        let counted = self.members.get(&node).copied().unwrap_or(0);
        if done <= sync.op && counted != sync.count {
            self.count(node, sync.count);
            run.ledger.total(room, epoch, offset, self.total());
            self.tell(run, room, offset, &sync.body);
        }
        self.keep(run);
        let log = match sync.since {
            Some((wanted, behind)) if wanted == epoch => {
                self.log.range(behind + 1..).map(|(_, envelope)| envelope.clone()).collect()
            }
            _ => Vec::new(),
        };
        Reply::Synced(self.state(log))
    }

    fn state(&self, log: Vec<Bytes>) -> State {
        let meta = self.meta.as_ref().expect("the caller has seen it");
        let known = meta.ops.keys().chain(meta.messages.keys()).chain(self.members.keys());
        let known: BTreeSet<NodeId> = known.copied().collect();
        let state = |node: NodeId| NodeState {
            node,
            count: self.members.get(&node).copied().unwrap_or(0),
            messages: meta.messages.get(&node).copied().unwrap_or(0),
            op: meta.ops.get(&node).copied().unwrap_or(0),
        };
        let nodes = known.into_iter().map(state).collect();
        State { epoch: meta.epoch, seq: meta.seq, offset: meta.offset, nodes, log }
    }

    fn apply(&mut self, run: &mut Run<'_>, node: NodeId, room: &RoomName, apply: &Apply) -> Reply {
        let Some(meta) = &self.meta else { return Reply::Lost };
        if meta.ops.get(&node).copied().unwrap_or(0) >= apply.op {
            return Reply::Applied;
        }
        let mut repeated = Vec::new();
        for (place, id) in apply.ids.iter().enumerate() {
            if let Some((epoch, entry, _)) = self.ids.get(id)
                && *epoch == meta.epoch
                && let Some(envelope) = self.log.get(entry)
            {
                repeated.push((place, envelope.clone()));
            }
        }
        if !repeated.is_empty() {
            return Reply::Repeated(repeated);
        }
        let before = self.members.get(&node).copied().unwrap_or(0);
        let meta = self.meta.as_mut().expect("it was looked at");
        let (epoch, offset) = (meta.epoch, meta.offset);
        let last = offset + apply.message_count;
        meta.offset = last;
        meta.ops.insert(node, apply.op);
        meta.messages.insert(node, apply.messages);
        self.count(node, apply.count);
        self.keep(run);
        let envelope = self.tell(run, room, offset, &apply.body);
        self.record(run, room, node, before, &envelope);
        let most = if apply.is_kept { run.limits.messages as u64 } else { 0 };
        if apply.message_count > 0 && most > 0 {
            self.log.insert(last, envelope);
            self.log.retain(|entry, _| *entry >= (last + 1).saturating_sub(most));
            let until = run.now + u64::from(run.limits.age) * TICK_MILLISECONDS;
            self.log_until = until;
            for id in &apply.ids {
                self.ids.insert(*id, (epoch, last, until));
            }
        }
        Reply::Applied
    }

    /// Writes down what has happened, event by event.
    fn record(
        &self,
        run: &mut Run<'_>,
        room: &RoomName,
        node: NodeId,
        before: u32,
        envelope: &Bytes,
    ) {
        let envelope = Envelope::decode(envelope.clone()).expect("it is whole");
        let Body { node: speaker, count, .. } = &envelope.body;
        assert_eq!(*speaker, node);
        let others = self.total() - u64::from(*count);
        let (mut users, mut offset) = (others + u64::from(before), envelope.offset);
        for event in &envelope.body.events {
            match event {
                Event::Joined(count) | Event::Left(count) => {
                    users = others + u64::from(*count);
                    run.ledger.total(room, envelope.epoch, offset, users);
                }
                Event::Message { head, .. } => {
                    offset += 1;
                    let time = envelope.time;
                    let position = Position { epoch: envelope.epoch, offset };
                    run.ledger.message(room, node, position, head, time, users);
                }
            }
        }
        if run.ledger.is_stormy {
            // Where members were forgotten, or taken for gone, events alone do not lead there.
            run.ledger.total(room, envelope.epoch, offset, self.total());
        } else {
            assert_eq!(users, self.total(), "the events lead to what the node counts");
        }
        assert_eq!(offset, self.meta.as_ref().expect("it is there").offset);
    }

    fn drop_node(&mut self, run: &mut Run<'_>, node: NodeId, room: &RoomName, body: &[u8]) {
        if let Some(meta) = &mut self.meta {
            meta.gone.insert(node, run.now);
            let Meta { ops, messages, gone, .. } = meta;
            gone.retain(|node, since| {
                let stays = *since + DAY >= run.now;
                if !stays {
                    ops.remove(node);
                    messages.remove(node);
                }
                stays
            });
        }
        if self.members.remove(&node).is_some()
            && let Some(meta) = &self.meta
        {
            let (epoch, offset) = (meta.epoch, meta.offset);
            run.ledger.total(room, epoch, offset, self.total());
            self.tell(run, room, offset, body);
            self.keep(run);
        }
    }
}
