//! The scripts that run at the servers, and the commands that call them.

use redis::{Cmd, cmd};

use super::servers::Keys;
use crate::hub::HistoryLimits;
use crate::hub::span::{Act, Apply, NodeId, Order, Sync, key_name};
use crate::limits::{CLUSTER_ROOM_TTL, TICK_MILLISECONDS};

/// A script, and the name that the server gives it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Script {
    Sync,
    Apply,
    Drop,
    Lease,
}

const COMMON: &str = include_str!("scripts/common.lua");

impl Script {
    pub(super) const ALL: [Self; 4] = [Self::Sync, Self::Apply, Self::Drop, Self::Lease];

    /// The whole text.
    pub(super) fn text(self) -> String {
        let own = match self {
            Self::Sync => include_str!("scripts/sync.lua"),
            Self::Apply => include_str!("scripts/apply.lua"),
            Self::Drop => include_str!("scripts/drop.lua"),
            Self::Lease => include_str!("scripts/lease.lua"),
        };
        format!("{COMMON}{own}")
    }
}

/// What the commands of one server have in common.
#[derive(Clone, Debug)]
pub(super) struct Speech {
    pub(super) keys: Keys,
    pub(super) node: NodeId,
    pub(super) history: HistoryLimits,
    /// Channels belong to slots, as keys do: the server is one of a Redis Cluster.
    pub(super) is_sharded: bool,
    /// The names of the scripts, in the order of [`Script::ALL`].
    pub(super) hashes: [String; 4],
}

impl Speech {
    const fn publish(&self) -> &'static str {
        if self.is_sharded { "SPUBLISH" } else { "PUBLISH" }
    }

    pub(super) fn subscribe(&self, channel: &str) -> Cmd {
        let mut command = cmd(if self.is_sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" });
        command.arg(channel);
        command
    }

    pub(super) fn unsubscribe(&self, channel: &str) -> Cmd {
        let mut command = cmd(if self.is_sharded { "SUNSUBSCRIBE" } else { "UNSUBSCRIBE" });
        command.arg(channel);
        command
    }

    fn call(&self, script: Script, keys: &[&str]) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(&self.hashes[script as usize]).arg(keys.len()).arg(keys);
        command
    }

    fn times(&self) -> (u64, u64) {
        let age = u64::from(self.history.age) * TICK_MILLISECONDS;
        ((CLUSTER_ROOM_TTL.as_millis() as u64).max(age), age)
    }

    /// What an order is done with.
    pub(super) fn commands(&self, order: &Order) -> Vec<Cmd> {
        let room = self.keys.room(&key_name(&order.room));
        match &order.act {
            Act::Sync(sync) => {
                vec![self.subscribe(&room.channel), self.sync(&room, sync)]
            }
            Act::Apply(apply) => vec![self.apply(&room, apply)],
            Act::Close => {
                let mut forget = cmd("HDEL");
                forget
                    .arg(&room.meta)
                    .arg(format!("a{}", self.node))
                    .arg(format!("m{}", self.node));
                vec![self.unsubscribe(&room.channel), forget]
            }
            Act::Drop { node, body } => {
                let (ttl, age) = self.times();
                let mut command = self.call(Script::Drop, &[&room.meta, &room.members]);
                command.arg(node.to_string()).arg(ttl).arg(age);
                command.arg(self.publish()).arg(&room.channel).arg(&body[..]);
                vec![command]
            }
        }
    }

    fn sync(&self, room: &RoomKeys, sync: &Sync) -> Cmd {
        let (ttl, age) = self.times();
        let mut command = self.call(Script::Sync, &[&room.meta, &room.log, &room.members]);
        command.arg(self.node.to_string()).arg(sync.count).arg(sync.op);
        command.arg(&sync.new_epoch.0.to_be_bytes());
        for place in [sync.known, sync.since] {
            match place {
                Some((epoch, number)) => command.arg(&epoch.0.to_be_bytes()).arg(number),
                None => command.arg("").arg(0),
            };
        }
        command.arg(ttl).arg(age).arg(self.publish()).arg(&room.channel).arg(&sync.body[..]);
        command.arg(sync.messages);
        command
    }

    fn apply(&self, room: &RoomKeys, apply: &Apply) -> Cmd {
        let (ttl, age) = self.times();
        let ids: Vec<String> =
            apply.ids.iter().map(|id| format!("{}:{id:016x}", room.id)).collect();
        let mut keys: Vec<&str> = vec![&room.meta, &room.log, &room.members];
        keys.extend(ids.iter().map(String::as_str));
        let mut command = self.call(Script::Apply, &keys);
        command.arg(self.node.to_string()).arg(apply.count).arg(apply.op).arg(apply.messages);
        command.arg(apply.message_count);
        command.arg(if apply.is_kept { self.history.messages } else { 0 });
        command.arg(ttl).arg(age).arg(self.publish()).arg(&room.channel).arg(&apply.body[..]);
        command
    }

    /// Renews the lease of this node, for so many milliseconds, and says `number` on its channel.
    pub(super) fn lease(&self, tag: &str, milliseconds: u64, number: u64) -> Cmd {
        let mut command = self.call(Script::Lease, &[&self.keys.nodes(tag)]);
        command.arg(self.node.to_string()).arg(milliseconds).arg(self.publish());
        command.arg(self.keys.probe(tag, self.node)).arg(number);
        command
    }

    /// Gives the lease of this node up.
    pub(super) fn end_lease(&self, tag: &str) -> Cmd {
        let mut command = cmd("ZREM");
        command.arg(self.keys.nodes(tag)).arg(self.node.to_string());
        command
    }
}

/// The keys of a room, and its channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RoomKeys {
    pub(super) meta: String,
    pub(super) log: String,
    pub(super) members: String,
    /// What keys of message ids begin with.
    pub(super) id: String,
    pub(super) channel: String,
}
