//! What members hear, compared with what has happened.

use bytes::Bytes;

use super::super::ledger::{Ledger, frames_of, is_fast, payload_of, word, words};
use super::node::{Heard, Node};
use super::{Weather, World};
use crate::hub::{Epoch, Notice, Position, RoomName};

impl World {
    /// What a home tells goes on its way; answers are counted.
    pub(super) fn take_notices(&mut self, node: usize, home: usize) {
        let Node { homes, notices, accounts, .. } = self.node(node);
        homes[home].take_notices(|shard, told| {
            for notice in &told {
                if let Notice::Answer { ticket, .. } | Notice::Refused { ticket, .. } = notice {
                    let account = accounts.get_mut(&(shard, ticket.number));
                    account.expect("it has asked").answers += 1;
                }
            }
            notices[home][shard].push_back(told);
        });
    }

    /// A shard hears what a home has told.
    pub(super) fn hear(&mut self, node: usize, shard: usize) {
        let homes = self.node(node).homes.len() as u32;
        let home = self.random.below(homes) as usize;
        let told = self.node(node).notices[home][shard].pop_front();
        for notice in told.unwrap_or_default() {
            self.hear_notice(node, shard, notice);
        }
    }

    fn hear_notice(&mut self, node: usize, shard: usize, notice: Notice) {
        let (now, is_calm) = (self.now, self.weather == Weather::Calm);
        let Self { nodes, ledger, .. } = self;
        let node = nodes[node].as_mut().expect("it is alive");
        let (asked, own) = match &notice {
            Notice::Deliver { .. } => (None, 0),
            Notice::Refused { room, ticket, .. } => (Some((room.clone(), *ticket)), 0),
            Notice::Answer { room, ticket, count, .. } => {
                (Some((room.clone(), *ticket)), *count as usize)
            }
        };
        let mut answered = None;
        node.shards[shard].hear(now, notice, |key, frames, count| {
            answered = Some((key, frames, count));
        });
        let (Some((room, ticket)), Some((key, frames, count))) = (asked, answered) else { return };
        let sinces = node.account(shard, ticket, &room).sinces.clone();
        let Some(client) = node.client(shard, key) else { return };
        let frames = frames_of(&frames);
        assert_eq!(frames.len(), count as usize);
        let is_his = |membership: &super::Membership| membership.ticket == ticket.number;
        let place = client.memberships.iter().position(is_his);
        if own == 0 {
            assert_eq!(words(frames[0]), format!("?{room}"));
            assert!(!is_calm);
            if let Some(place) = place {
                let membership = client.memberships.remove(place);
                assert!(membership.heard.is_none(), "a member stays one");
            }
            return;
        }
        let (pending, own) = frames.split_at(frames.len() - own);
        let mut heard = place.and_then(|place| client.memberships[place].heard.take());
        assert!(heard.is_some() || pending.is_empty());
        for frame in pending {
            listen(ledger, is_calm, &room, heard.as_mut().expect("it is a member"), frame);
        }
        let (first, missed) = own.split_first().expect("an answer has words");
        match payload_of(first)[0] {
            b'?' => assert!(!is_calm && missed.is_empty()),
            b'!' => {
                let epoch = Epoch(0);
                let _ = (epoch, missed);
            }
            b'=' => {
                let (now_at, recovered) = joined(ledger, is_calm, &room, first);
                let position = now_at.position;
                if recovered {
                    let from =
                        Position { offset: position.offset - missed.len() as u64, ..position };
                    assert!(sinces.contains(&from), "{from:?} was not asked for");
                    for (frame, offset) in missed.iter().zip(from.offset + 1..) {
                        assert_eq!(word(payload_of(frame), 3), offset.to_string());
                        ledger.check_message(&room, position.epoch, frame);
                    }
                } else {
                    assert!(missed.is_empty());
                    if let Some(heard) = &heard {
                        assert_eq!(
                            heard.position, position,
                            "an answer is behind all that was before"
                        );
                    }
                }
                if place.is_some() {
                    assert!(!words(first).contains("  "));
                    client.known.insert(room.clone(), position);
                    heard = Some(now_at);
                } else {
                    // It has left meanwhile.
                    heard = None;
                }
            }
            _ => panic!("{} is no answer", words(first)),
        }
        if let Some(place) = place {
            client.memberships[place].heard = heard;
        }
    }

    pub(super) fn fan_out(&mut self, node: usize, shard: usize) {
        let (max, mut sends) = (1 + self.random.below(6) as usize, Vec::new());
        let (now, is_calm) = (self.now, self.weather == Weather::Calm);
        let Self { nodes, ledger, .. } = self;
        let node = nodes[node].as_mut().expect("it is alive");
        node.shards[shard].take_due(now, max, &mut sends);
        for (key, batch) in &sends {
            let client = node.client(shard, *key).expect("who has gone hears nothing");
            let frames = frames_of(&batch.frames);
            assert_eq!(frames.len(), batch.count as usize);
            let name = room_of(&batch.frames);
            let mut memberships = client.memberships.iter_mut();
            let membership = memberships.find(|membership| *membership.room == *name);
            let membership = membership.expect("who has left hears nothing");
            let heard = membership.heard.as_mut().expect("nothing comes before the answer");
            for frame in frames {
                listen(ledger, is_calm, &membership.room, heard, frame);
            }
            client.known.insert(membership.room.clone(), heard.position);
        }
        node.shards[shard].end_rounds(now, drop);
    }
}

fn room_of(frames: &Bytes) -> String {
    let payload = payload_of(frames_of(frames)[0]);
    word(payload, 0)[1..].to_owned()
}

/// A member hears one frame.
fn listen(ledger: &mut Ledger, is_calm: bool, room: &RoomName, heard: &mut Heard, frame: &[u8]) {
    let payload = payload_of(frame);
    let Position { epoch, offset } = heard.position;
    match payload[0] {
        b'!' => {
            let last = ledger.totals(room, epoch, offset).len().wrapping_sub(1);
            assert_eq!(word(payload, 3), (offset + 1).to_string(), "{} is next", words(frame));
            ledger.check_message(room, epoch, frame);
            heard.position.offset += 1;
            if is_calm && !is_fast(room) {
                assert!(heard.places.contains(&last), "somebody came or went unheard");
                heard.places = vec![0];
            }
        }
        b'=' => {
            assert!(!is_calm && !is_fast(room), "nothing is missed");
            let (now_at, recovered) = joined(ledger, is_calm, room, frame);
            assert!(!recovered, "nobody has asked");
            assert!(now_at.position.epoch != epoch || now_at.position.offset >= offset);
            *heard = now_at;
        }
        b'+' | b'-' => {
            heard.users = word(payload, 1).parse().expect("a number");
            if is_calm && !is_fast(room) {
                let totals = ledger.totals(room, epoch, offset);
                let next = |place: &usize| {
                    let place = place + 1;
                    (totals.get(place) == Some(&heard.users)).then_some(place)
                };
                heard.places = heard.places.iter().filter_map(next).collect();
                assert!(
                    !heard.places.is_empty(),
                    "{} at {offset} of {totals:?} is not what happened",
                    words(frame)
                );
            }
        }
        _ => panic!("{} is for one alone", words(frame)),
    }
}

/// What somebody hears who is a member from here on, and whether it has what it missed.
fn joined(ledger: &mut Ledger, is_calm: bool, room: &RoomName, frame: &[u8]) -> (Heard, bool) {
    let payload = payload_of(frame);
    assert_eq!(&word(payload, 0)[1..], &**room);
    let users: u64 = word(payload, 1).parse().expect("a number");
    let epoch = Epoch::parse(word(payload, 2)).expect("an epoch");
    let offset = word(payload, 3).parse().expect("a number");
    let totals = ledger.totals(room, epoch, offset);
    let is_told = |place: &usize| totals[*place] == users;
    let places: Vec<usize> = (0..totals.len()).filter(is_told).collect();
    assert!(!is_calm || is_fast(room) || !places.is_empty(), "{users} members in {totals:?}");
    assert!(users > 0);
    let recovered = word(payload, 4) == "true";
    (Heard { position: Position { epoch, offset }, places, users }, recovered)
}
