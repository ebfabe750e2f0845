//! Everything comes to its end: all know the same.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::ledger::is_fast;
use super::node::Node;
use super::{Weather, World};
use crate::hub::RoomName;
use crate::hub::span::{News, NodeId};

impl World {
    /// What is on its way on one node goes on, in order.
    pub(super) fn hurry(&mut self, node: usize) {
        let shards = self.node(node).shards.len();
        for shard in 0..shards {
            self.take_requests(node, shard);
            for from in 0..shards {
                while let Some(asked) = self.node(node).requests[from][shard].pop_front() {
                    self.serve_one_by_one(node, shard, from, asked);
                }
            }
            while let Some(news) = self.node(node).news[shard].pop_front() {
                self.hear_one(node, shard, news);
            }
            self.take_notices(node, shard);
            self.ask(node, shard);
        }
        self.forward(node);
        while self.node(node).link.as_ref().is_some_and(|link| !link.asked.is_empty()) {
            self.execute_one(node);
        }
        while let Some(said) = self.node(node).link.as_mut().and_then(|link| link.said.pop_front())
        {
            self.tell(node, said);
        }
        for shard in 0..shards {
            while self.node(node).notices.iter().any(|home| !home[shard].is_empty()) {
                self.hear(node, shard);
            }
            let now = self.now;
            while self.node(node).shards[shard].is_due(now) {
                self.fan_out(node, shard);
            }
        }
    }

    fn is_busy(&mut self, node: usize) -> bool {
        let shards = self.node(node).shards.len();
        (0..shards).for_each(|shard| self.take_requests(node, shard));
        (0..shards).for_each(|home| self.ask(node, home));
        let Node { shards, requests, notices, outgoing, news, link, .. } = self.node(node);
        let is_heard = |link: &super::Connection| link.asked.is_empty() && link.said.is_empty();
        requests.iter().flatten().any(|queue| !queue.is_empty())
            || notices.iter().flatten().any(|queue| !queue.is_empty())
            || news.iter().any(|queue| !queue.is_empty())
            || !outgoing.is_empty()
            || !link.as_ref().is_some_and(is_heard)
            || shards.iter().any(|rooms| rooms.due().is_some())
    }

    fn living(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_some()).collect()
    }

    /// Until nothing is on its way.
    fn calm_down(&mut self) {
        let mut turns = 0;
        let living = self.living();
        loop {
            let busy: Vec<usize> =
                living.iter().copied().filter(|node| self.is_busy(*node)).collect();
            if busy.is_empty() {
                return;
            }
            turns += 1;
            assert!(turns < 500, "it does not come to an end");
            self.now += Duration::from_millis(2);
            busy.into_iter().for_each(|node| self.hurry(node));
        }
    }

    /// All links are up, all is delivered, and nodes that have ended are known to have.
    pub(super) fn settle(&mut self) {
        self.living().into_iter().for_each(|node| self.connect(node));
        self.calm_down();
        if self.weather >= Weather::Ends {
            for _ in 0..13 {
                self.pass_until(self.now + Duration::from_secs(1));
                self.calm_down();
            }
        }
        if self.weather >= Weather::Losses {
            for node in self.living() {
                self.node(node).tell_homes(|| News::Check(1));
            }
            self.calm_down();
        }
        for name in self.names.clone() {
            self.check_room(&name);
        }
        self.check_answers();
        self.ledger.check_orders(self.ledger.has_lost);
        for node in self.living() {
            for home in &self.node(node).homes {
                assert_eq!(home.rooms_syncing(), 0, "all rooms are in step");
                assert!(!home.is_telling(), "nothing waits");
            }
        }
    }

    fn check_room(&self, name: &RoomName) {
        let living = self.nodes.iter().flatten();
        let members: BTreeMap<NodeId, u32> = living
            .map(|node| (node.id, node.members(name)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let users: u64 = members.values().map(|count| u64::from(*count)).sum();
        let mut counted = self.store.members(name);
        if members.is_empty() {
            // Nobody is there to notice that a node has ended.
            counted.retain(|node, _| self.nodes.iter().flatten().any(|alive| alive.id == *node));
        }
        assert_eq!(counted, members, "members of {name} at the servers");
        let position = self.store.position(name);
        for node in self.nodes.iter().flatten() {
            for figures in node.homes.iter().filter_map(|home| home.room(name)) {
                assert_eq!(figures.members, users, "members of {name} as {} has it", node.id);
            }
            for client in &node.clients {
                let mut all = client.memberships.iter();
                let Some(member) = all.find(|membership| membership.room == *name) else {
                    continue;
                };
                let heard = member.heard.as_ref().expect("its home has answered");
                assert_eq!(heard.users, users, "members of {name} as one of {} was told", node.id);
                if !is_fast(name) {
                    let here = (heard.position.epoch, heard.position.offset);
                    assert_eq!(Some(here), position, "it has all");
                }
            }
            if let Some(presence) = node.presences.get(name)
                && self.weather < Weather::Losses
                && !presence.is_over
            {
                let relayed =
                    self.ledger.relayed.get(name).map_or(&[][..], |all| &all[presence.from..]);
                let foreign = relayed.iter().filter(|(.., who)| *who != node.id).count() as u64;
                let known = presence.heard + presence.lost;
                assert_eq!(foreign, known, "{} of {name} were lost on {}", presence.lost, node.id);
            }
        }
    }

    /// Each question has one answer, unless it is a message that was published.
    fn check_answers(&self) {
        for node in self.nodes.iter().flatten() {
            for account in node.accounts.values() {
                let is_unheard = |number: &&u32| !self.ledger.is_published(**number);
                let unheard = account.messages.iter().filter(is_unheard).count();
                let least = account.joins + unheard as u32;
                // What the servers have forgotten is said again, and may be answered then.
                let all = account.joins + account.messages.len() as u32;
                let most = if self.ledger.has_lost { all } else { least };
                let (room, id, count) = (&account.room, node.id, account.answers);
                assert!((least..=most).contains(&count), "{count} answers in {room} on {id}");
            }
        }
    }

    /// All go, by leaving or by hanging up: nothing is left of anything.
    pub(super) fn end(&mut self) {
        if self.random.below(2) == 0 {
            self.settle();
        }
        for node in self.living() {
            for client in 0..self.node(node).clients.len() {
                if self.random.below(2) == 0 {
                    self.disconnect(node, client);
                }
                let Node { clients, shards, .. } = self.node(node);
                let client = &mut clients[client];
                for membership in client.memberships.drain(..) {
                    let left = shards[client.shard].leave(client.key, Some(&membership.room));
                    assert_eq!(left, Ok(()));
                }
            }
        }
        self.settle();
        for node in self.living() {
            let node = self.node(node);
            assert!(node.shards.iter().all(super::Rooms::is_empty));
            for home in &node.homes {
                assert_eq!((home.rooms(), home.members(), home.remembered()), (0, 0, (0, 0)));
            }
        }
    }
}
