//! The rooms that connections of one shard are members of, as this shard sees them: who hears what,
//! and what is asked of the homes.
//!
//! The audience of the broadcast application is a room, too: one without a name and without a home.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::time::Duration;

use bytes::Bytes;
use sha1::{Digest, Sha1};
use slab::Slab;

use super::road::{MemberTicket, Notice, Request, Requests, RoomName};
use super::{Audience, Batch, Position, RoundTimes, Seat};
use crate::collections::Key;
use crate::limits::{FANOUT_QUANTUM, REPLAY_COST, ROOMS_OF_CONNECTION_MAX, ROOMS_OF_SHARD_MAX};

/// The seat of a member that was not answered yet.
const NO_SEAT: Seat = Seat::MAX;

/// The room of the broadcast application.
const BROADCAST: usize = 0;

/// What a connection asked for is not to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoomError {
    /// It is in no such room.
    NotInRoom,
    /// It is in as many rooms as it may be, or the shard has as many as it can.
    TooMany,
}

/// The rooms of one shard.
#[derive(Debug)]
pub struct Rooms {
    names: HashMap<RoomName, usize>,
    rooms: Slab<Room>,
    /// Of each connection, by its index: the one joined last is the last.
    memberships: Vec<Vec<Membership>>,
    /// Rooms with something to send, in turn, and some that are gone or have nothing any more.
    turns: VecDeque<u32>,
    /// Rooms whose round has been handed out to its last member.
    served: Vec<u32>,
    /// Bytes that wait in all rooms for their rounds.
    gathered_bytes: usize,
    /// What is asked of each home, and what that weighs.
    requests: Box<[Requests]>,
    requested_bytes: usize,
    /// The same on all shards.
    hasher: RandomState,
    tickets: u32,
}

#[derive(Debug)]
struct Room {
    name: RoomName,
    home: usize,
    audience: Audience,
    /// Memberships, those that were not answered yet among them.
    memberships: u32,
    /// It is in `turns`.
    takes_turns: bool,
}

#[derive(Clone, Copy, Debug)]
struct Membership {
    room: u32,
    seat: Seat,
    ticket: u32,
    /// Its last join has no answer yet.
    is_asking: bool,
}

impl Rooms {
    /// Without members. `hasher` finds the home of a room among so many shards: it must be the same
    /// for all of them.
    #[must_use]
    pub fn new(shards: usize, hasher: RandomState) -> Self {
        let mut rooms = Slab::new();
        rooms.insert(Room::new(RoomName::from(""), 0));
        Self {
            names: HashMap::new(),
            rooms,
            memberships: Vec::new(),
            turns: VecDeque::new(),
            served: Vec::new(),
            gathered_bytes: 0,
            requests: (0..shards).map(|_| Requests::default()).collect(),
            requested_bytes: 0,
            hasher,
            tickets: 0,
        }
    }

    /// Bytes that wait for their rounds.
    #[must_use]
    pub const fn gathered_bytes(&self) -> usize {
        self.gathered_bytes
    }

    /// What the requests weigh, in bytes, that were not taken by
    /// [`take_requests`](Self::take_requests) yet.
    #[must_use]
    pub const fn requested_bytes(&self) -> usize {
        self.requested_bytes
    }

    /// Whether anything is asked that was not taken yet.
    #[must_use]
    pub const fn has_requests(&self) -> bool {
        self.requested_bytes > 0
    }

    /// Connections that hear broadcasts.
    #[must_use]
    pub fn broadcast_members(&self) -> usize {
        self.rooms[BROADCAST].audience.len()
    }

    /// Whether nobody is in any room, and nothing of one is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rooms.len() == 1 && self.rooms[BROADCAST].audience.is_empty()
    }

    /// Lets a connection hear all broadcasts from now on.
    pub fn enter_broadcast(&mut self, key: Key) {
        let seat = self.rooms[BROADCAST].audience.join(key);
        self.rooms[BROADCAST].memberships += 1;
        let membership = Membership { room: BROADCAST as u32, seat, ticket: 0, is_asking: false };
        self.memberships_of(key).push(membership);
    }

    /// Tells all who hear broadcasts here.
    pub fn broadcast(&mut self, now: Duration, batch: Batch) {
        self.gather(now, BROADCAST, batch);
    }

    /// Makes a connection a member of a room, as soon as the home has answered. A member that joins
    /// again is answered anew, but what it missed is replayed for one join at a time: it is large.
    ///
    /// # Errors
    /// [`RoomError::TooMany`].
    pub fn join(&mut self, key: Key, name: &str, since: Option<Position>) -> Result<(), RoomError> {
        let known = self.names.get(name).copied();
        let memberships = self.memberships_of(key);
        let place = known.and_then(|room| place_of(memberships, room));
        let mut since = since;
        let (room, again, number) = match (place, known) {
            (Some(place), _) => {
                let membership = memberships.remove(place);
                memberships.push(Membership { is_asking: true, ..membership });
                since = since.filter(|_| !membership.is_asking);
                (membership.room as usize, true, membership.ticket)
            }
            (None, _) if memberships.len() >= ROOMS_OF_CONNECTION_MAX => {
                return Err(RoomError::TooMany);
            }
            (None, Some(room)) => (room, false, self.enter(key, room)),
            (None, None) => {
                let room = self.open(name)?;
                (room, false, self.enter(key, room))
            }
        };
        let Room { name, home, .. } = &self.rooms[room];
        let ticket = MemberTicket { key, number };
        self.requested_bytes += if since.is_some() { REPLAY_COST } else { size_of::<Request>() };
        let request = Request::Join { room: name.clone(), ticket, since, again };
        self.requests[*home].list.push(request);
        Ok(())
    }

    /// Takes a connection out of a room: the named one, or the one it joined last.
    ///
    /// # Errors
    /// [`RoomError::NotInRoom`].
    pub fn leave(&mut self, key: Key, name: Option<&str>) -> Result<(), RoomError> {
        let place = self.find(key, name)?;
        let membership = self.memberships_of(key).remove(place);
        self.end(key, membership);
        Ok(())
    }

    /// Takes a connection out of all rooms: it has ended, or is about to.
    pub fn leave_all(&mut self, key: Key) {
        if let Some(memberships) = self.memberships.get_mut(key.index() as usize) {
            for membership in std::mem::take(memberships) {
                self.end(key, membership);
            }
        }
    }

    /// The rooms that a connection is in, or has asked to be in: the one joined last is the last.
    pub fn rooms_of(&self, key: Key) -> impl Iterator<Item = &RoomName> {
        let memberships = self.memberships.get(key.index() as usize).into_iter().flatten();
        let numbers = memberships.map(|membership| membership.room as usize);
        numbers.filter(|number| *number != BROADCAST).map(|number| &self.rooms[number].name)
    }

    /// Publishes what `write` appends, given the name of the room: the named one, or the one that
    /// the connection joined last. What the room remembers with the same `id` is not published
    /// again: the connection alone gets it.
    ///
    /// # Errors
    /// [`RoomError::NotInRoom`].
    pub fn publish(
        &mut self,
        key: Key,
        name: Option<&str>,
        id: Option<&str>,
        write: impl FnOnce(&mut Vec<u8>, &str),
    ) -> Result<(), RoomError> {
        let place = self.find(key, name)?;
        let Membership { room, ticket: number, .. } = self.memberships_of(key)[place];
        let Room { name, home, .. } = &self.rooms[room as usize];
        let ticket = MemberTicket { key, number };
        let id = id.map_or(0, number_of_id);
        let requests = &mut self.requests[*home];
        let start = requests.heads.len();
        write(&mut requests.heads, name);
        let head = (requests.heads.len() - start) as u32;
        self.requested_bytes += head as usize + size_of::<Request>();
        requests.list.push(Request::Publish { room: name.clone(), ticket, head, id });
        Ok(())
    }

    /// What the homes are asked since this was called last.
    pub fn take_requests(&mut self, mut ask: impl FnMut(usize, Requests)) {
        self.requested_bytes = 0;
        for (home, requests) in self.requests.iter_mut().enumerate() {
            if !requests.is_empty() {
                ask(home, std::mem::take(requests));
            }
        }
    }

    /// Hears what a home tells. An answer is to be sent at once: what follows in its room comes
    /// later by itself.
    pub fn hear(&mut self, now: Duration, notice: Notice, answer: impl FnOnce(Key, Bytes, u32)) {
        match notice {
            Notice::Deliver { room, batch } => {
                // Its last member here may have left meanwhile.
                if let Some(&room) = self.names.get(&room) {
                    self.gather(now, room, batch);
                }
            }
            Notice::Refused { room, ticket, frames } => {
                self.expel(&room, ticket);
                answer(ticket.key, frames, 1);
            }
            Notice::Answer { room, ticket, frames, count, joins, recovered } => {
                let mut pending = Vec::new();
                let pending_count = self.seat(&room, ticket, joins, recovered, &mut pending);
                if pending.is_empty() {
                    answer(ticket.key, frames, count);
                } else {
                    pending.extend_from_slice(&frames);
                    answer(ticket.key, pending.into(), pending_count + count);
                }
            }
        }
    }

    /// Whether it is known at a glance that nothing is to be sent, now or later.
    #[must_use]
    pub fn has_nothing_to_send(&self) -> bool {
        self.turns.is_empty()
    }

    /// When the next send is due. `None`: there is nothing to send.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.dues().min()
    }

    /// Whether something is to be sent at `now`.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        self.dues().any(|due| due <= now)
    }

    fn dues(&self) -> impl Iterator<Item = Duration> {
        let rooms = self.turns.iter().filter_map(|&number| self.rooms.get(number as usize));
        rooms.filter_map(|room| room.audience.due())
    }

    /// Takes up to `max` sends that are due at `now`, rooms in turn, so that a large one does not
    /// hold up the others. What one connection gets of several rooms stands together. Call
    /// [`end_rounds`](Self::end_rounds) when they were made.
    pub fn take_due(&mut self, now: Duration, max: usize, sends: &mut Vec<(Key, Batch)>) {
        let mut speakers = 0;
        let mut waiting = self.turns.len();
        while waiting > 0 && sends.len() < max {
            let number = self.turns.pop_front().expect("so many wait");
            waiting -= 1;
            let Some(room) = self.rooms.get_mut(number as usize) else { continue };
            let gathered = room.audience.gathered_bytes();
            let before = sends.len();
            let quantum = FANOUT_QUANTUM.min(max - before);
            let is_served = room.audience.serve(now, quantum, sends);
            self.gathered_bytes -= gathered - room.audience.gathered_bytes();
            speakers += usize::from(sends.len() > before);
            if is_served {
                self.served.push(number);
            }
            if room.audience.due().is_some() {
                self.turns.push_back(number);
                // Whoever has more comes again, behind the others.
                waiting += usize::from(sends.len() > before && !is_served);
            } else {
                room.takes_turns = false;
            }
        }
        if speakers > 1 {
            // A stable sort: for each connection the order stays.
            sends.sort_by_key(|(key, _)| key.index());
        }
    }

    /// The sends of the last [`take_due`](Self::take_due) were made, and it is `now`: what gathers
    /// in rooms whose round has ended waits from here on.
    /// Tells what time each of these rounds took.
    pub fn end_rounds(&mut self, now: Duration, mut took: impl FnMut(RoundTimes)) {
        for number in self.served.drain(..) {
            if let Some(room) = self.rooms.get_mut(number as usize) {
                took(room.audience.end_round(now));
            }
        }
    }

    fn memberships_of(&mut self, key: Key) -> &mut Vec<Membership> {
        let index = key.index() as usize;
        if self.memberships.len() <= index {
            self.memberships.resize_with(index + 1, Vec::new);
        }
        &mut self.memberships[index]
    }

    fn find(&mut self, key: Key, name: Option<&str>) -> Result<usize, RoomError> {
        let room = match name {
            Some(name) => Some(*self.names.get(name).ok_or(RoomError::NotInRoom)?),
            None => None,
        };
        let memberships = self.memberships_of(key);
        let place = match room {
            Some(room) => place_of(memberships, room),
            None => memberships.len().checked_sub(1),
        };
        place.ok_or(RoomError::NotInRoom)
    }

    fn open(&mut self, name: &str) -> Result<usize, RoomError> {
        if self.rooms.len() > ROOMS_OF_SHARD_MAX {
            return Err(RoomError::TooMany);
        }
        let name = RoomName::from(name);
        let home = home_of(&self.hasher, &name, self.requests.len());
        let room = self.rooms.insert(Room::new(name.clone(), home));
        self.names.insert(name, room);
        Ok(room)
    }

    /// A membership without a seat yet; gives its number.
    fn enter(&mut self, key: Key, room: usize) -> u32 {
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = self.tickets;
        self.rooms[room].memberships += 1;
        let membership = Membership { room: room as u32, seat: NO_SEAT, ticket, is_asking: true };
        self.memberships_of(key).push(membership);
        ticket
    }

    /// Gives a member its seat, if it still has the membership that was answered and the answer is
    /// that to its join: one to a message may come before that. Who has a seat already hears the
    /// answer behind all that came before: appends that, unless it is replayed, and says how many
    /// frames.
    fn seat(
        &mut self,
        name: &RoomName,
        ticket: MemberTicket,
        joins: bool,
        recovered: bool,
        pending: &mut Vec<u8>,
    ) -> u32 {
        let Some(&number) = self.names.get(name) else { return 0 };
        let Self { rooms, memberships, .. } = self;
        let membership = memberships[ticket.key.index() as usize].iter_mut().find(|membership| {
            membership.room as usize == number && membership.ticket == ticket.number
        });
        let Some(membership) = membership else { return 0 };
        membership.is_asking = false;
        let audience = &mut rooms[number].audience;
        if membership.seat == NO_SEAT {
            if joins {
                membership.seat = audience.join(ticket.key);
            }
        } else if recovered {
            audience.skip_to_now(membership.seat);
        } else {
            return audience.take_pending(membership.seat, pending);
        }
        0
    }

    /// Ends a membership that its home has refused, unless its connection has.
    fn expel(&mut self, name: &RoomName, ticket: MemberTicket) {
        let Some(&number) = self.names.get(name) else { return };
        let memberships = self.memberships_of(ticket.key);
        let place = memberships.iter().position(|membership| {
            membership.room as usize == number && membership.ticket == ticket.number
        });
        if let Some(place) = place {
            let membership = memberships.remove(place);
            self.end(ticket.key, membership);
        }
    }

    /// The end of a membership that was taken from its connection.
    fn end(&mut self, key: Key, membership: Membership) {
        let number = membership.room as usize;
        let Self { rooms, memberships, requests, requested_bytes, gathered_bytes, names, .. } =
            self;
        let room = &mut rooms[number];
        room.memberships -= 1;
        if membership.seat != NO_SEAT {
            room.audience.leave(membership.seat, |moved, seat| {
                let place = place_of(&memberships[moved.index() as usize], number);
                let place = place.expect("who has a seat is a member");
                memberships[moved.index() as usize][place].seat = seat;
            });
        }
        if number == BROADCAST {
            return;
        }
        let ticket = MemberTicket { key, number: membership.ticket };
        requests[room.home].list.push(Request::Leave { room: room.name.clone(), ticket });
        *requested_bytes += size_of::<Request>();
        if room.memberships == 0 {
            *gathered_bytes -= room.audience.gathered_bytes();
            names.remove(&room.name);
            rooms.remove(number);
        }
    }

    fn gather(&mut self, now: Duration, number: usize, batch: Batch) {
        let room = &mut self.rooms[number];
        if room.audience.is_empty() {
            return;
        }
        self.gathered_bytes += batch.frames.len();
        room.audience.publish(now, batch);
        if !room.takes_turns {
            room.takes_turns = true;
            self.turns.push_back(number as u32);
        }
    }
}

impl Room {
    fn new(name: RoomName, home: usize) -> Self {
        let audience = Audience::default();
        Self { name, home, audience, memberships: 0, takes_turns: false }
    }
}

/// The home of a room, among so many shards. `hasher` must be the same for all who ask.
#[must_use]
pub fn home_of(hasher: &RandomState, name: &str, shards: usize) -> usize {
    (hasher.hash_one(name) % shards as u64) as usize
}

/// A number for what a sender calls its message, the same on all nodes: never 0.
fn number_of_id(id: &str) -> u64 {
    let digest: [u8; 20] = Sha1::digest(id).into();
    let (head, _) = digest.split_first_chunk().expect("it is longer");
    u64::from_be_bytes(*head).max(1)
}

fn place_of(memberships: &[Membership], room: usize) -> Option<usize> {
    memberships.iter().position(|membership| membership.room as usize == room)
}
