//! `rooms`: members of rooms join, talk, come and go; every message must reach every member of its
//! room once, in the order of the room.

mod chat;
mod hear;
mod lobby;
mod member;
mod order;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) use self::chat::{Speech, TEXT_CHARACTERS_MAX};
use self::hear::fail;
pub(crate) use self::lobby::Lobby;
use self::lobby::RoomCounts;
use self::member::{Member, Place};
use self::order::Order;
use super::{Message, Scenario};
use crate::connections::Connections;
use crate::names;
use crate::payload::{Payloads, Stamp, mix};
use crate::schedule::Schedule;
use crate::stats::{Failure, Stats};

/// Members of one thread that have asked to join and have no answer, at most, before the load
/// begins.
const JOINS_AT_ONCE: u32 = 64;

/// Nanoseconds in which one of them is answered: far more than any server needs.
const JOIN_NANOSECONDS_MAX: u64 = 10_000_000_000;

/// Messages, rejoins and departures of one turn each, before deliveries are read again.
const ACTS_PER_TURN: usize = 64;

/// Names of messages that a thread keeps to compare what members have received; and the bounds of
/// what a single room keeps. Members are as far apart as the bytes of a few reads.
const LOGS_MAX: usize = 1 << 22;
const LOG_MIN: usize = 256;
const LOG_MAX: usize = 1 << 16;

/// What is said in the rooms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    /// Messages per second of all members together, and whether they follow each other at random
    /// times. Without it a member sends when its last message has come back.
    pub(crate) schedule: Option<(f64, bool)>,
    /// Members of each room.
    pub(crate) members: u32,
    /// Members per second that leave and join again.
    pub(crate) rejoin_rate: f64,
    /// Whether those ask for what they missed.
    pub(crate) resume: bool,
}

/// The members of one thread.
#[derive(Debug)]
pub(crate) struct Rooms {
    payloads: Payloads,
    speech: Speech,
    talk: Talk,
    lobby: Arc<Lobby>,
    /// The number of the thread's first client.
    first: u32,
    members: Vec<Member>,
    /// The rooms from that of the first client on.
    rooms: Vec<Room>,
    /// Clients that were open at the beginning: first the first member of each room.
    order: Vec<u32>,
    is_prepared: bool,
    /// How many of them have asked to join, are to speak next, to leave for a while, and have left
    /// for good.
    asked: usize,
    speaker: usize,
    rover: usize,
    left: usize,
    /// Members that have asked to join and have no answer, and when the last was answered.
    joining: u32,
    answered: u64,
    messages: Option<Schedule>,
    rejoins: Option<Schedule>,
    /// Members that are to speak, where there is no schedule.
    due: VecDeque<u32>,
    /// What the members have received, or need not receive.
    accounted: u64,
    is_done: bool,
    is_complete: bool,
}

/// A room as this thread sees it.
#[derive(Debug)]
struct Room {
    /// Members of this thread that have joined, and were not lost.
    present: u64,
    epoch: Arc<str>,
    order: Order,
}

impl Rooms {
    /// For the `count` clients from number `first` on.
    pub(crate) fn new(
        payloads: Payloads,
        speech: Speech,
        talk: Talk,
        lobby: Arc<Lobby>,
        (first, count): (u32, u32),
    ) -> Self {
        let rooms = match count {
            0 => 0,
            _ => (first + count - 1) / talk.members - first / talk.members + 1,
        };
        let log_max = (LOGS_MAX / rooms.max(1) as usize).clamp(LOG_MIN, LOG_MAX);
        let epoch: Arc<str> = Arc::from("");
        let room =
            || Room { present: 0, epoch: epoch.clone(), order: Order::new(talk.members, log_max) };
        Self {
            payloads,
            speech,
            talk,
            lobby,
            first,
            members: vec![Member::NEW; count as usize],
            rooms: std::iter::repeat_with(room).take(rooms as usize).collect(),
            order: Vec::new(),
            is_prepared: false,
            asked: 0,
            speaker: 0,
            rover: 0,
            left: 0,
            joining: 0,
            answered: 0,
            messages: None,
            rejoins: None,
            due: VecDeque::new(),
            accounted: 0,
            is_done: false,
            is_complete: false,
        }
    }

    /// The number of a client's room.
    const fn room_of(&self, index: u32) -> u32 {
        (self.first + index) / self.talk.members
    }

    fn counts(&self, index: u32) -> &RoomCounts {
        &self.lobby.rooms[self.room_of(index) as usize]
    }

    fn room(&mut self, index: u32) -> &mut Room {
        let place = self.room_of(index) - self.first / self.talk.members;
        &mut self.rooms[place as usize]
    }

    fn ask(&mut self, connections: &mut Connections, index: u32) {
        self.speech.send(connections, index);
        let member = &mut self.members[index as usize];
        member.place = Place::Joining;
        member.asked_at = connections.clock.now();
        self.joining += 1;
    }

    /// A member whose turn it is leaves and joins again.
    fn rejoin(&mut self, connections: &mut Connections) {
        for _ in 0..self.order.len().min(ACTS_PER_TURN) {
            let index = self.order[self.rover];
            self.rover = (self.rover + 1) % self.order.len();
            let member = &self.members[index as usize];
            if member.place != Place::Inside
                || self.counts(index).is_away.swap(true, Ordering::AcqRel)
            {
                continue;
            }
            let room = self.room_of(index);
            let member = &mut self.members[index as usize];
            member.left_at = member.offsets.next().wrapping_sub(1);
            let since = member.epoch.as_deref().map(|epoch| (epoch, member.left_at));
            self.speech.leave_room(room);
            self.speech.join_room(room, since.filter(|_| self.talk.resume));
            self.ask(connections, index);
            return;
        }
        connections.stats.count(names::REJOINS_LEFT_OUT);
    }

    fn next_speaker(&mut self) -> Option<u32> {
        for _ in 0..self.order.len() {
            let index = self.order[self.speaker];
            self.speaker = (self.speaker + 1) % self.order.len();
            if self.members[index as usize].place == Place::Inside {
                return Some(index);
            }
        }
        None
    }

    fn publish(&mut self, connections: &mut Connections, index: Option<u32>, intended: u64) {
        let measured = connections.stats.is_measured(intended);
        connections.stats.messages.scheduled += u64::from(measured);
        let has_schedule = self.talk.schedule.is_some();
        // What the server does not take is not gathered here without end.
        let free = index.filter(|&index| !(has_schedule && connections.is_blocked(index)));
        let Some(index) = free else {
            connections.stats.messages.shed += u64::from(measured);
            return;
        };
        let room = self.room_of(index);
        let member = &mut self.members[index as usize];
        let number = member.sent;
        member.sent = number.wrapping_add(1);
        let sent = if has_schedule { connections.clock.now() } else { intended };
        let stamp = Stamp { sender: self.first + index, number, intended, sent };
        // Before it is sent: whoever receives it finds it counted.
        self.counts(index).published.fetch_add(1, Ordering::AcqRel);
        connections.stats.sent(intended);
        if measured && has_schedule {
            connections.stats.lag.record(sent.saturating_sub(intended));
        }
        self.speech.chat_message(room, self.payloads.payload(&stamp));
        self.speech.send(connections, index);
    }

    /// Sends what is due. Gives back when the next is.
    fn talk(&mut self, connections: &mut Connections) -> Option<u64> {
        let end = connections.stats.window.end;
        for _ in 0..ACTS_PER_TURN {
            let now = connections.clock.now();
            let intended = match &mut self.messages {
                Some(schedule) if schedule.next() < end => schedule.take_due(now),
                None if now < end && !self.order.is_empty() => {
                    let Some(index) = self.due.pop_front() else { return Some(end) };
                    if self.members[index as usize].place == Place::Inside {
                        self.publish(connections, Some(index), now);
                    }
                    continue;
                }
                _ => {
                    if !self.is_done && !self.order.is_empty() {
                        self.lobby.done.fetch_add(1, Ordering::AcqRel);
                    }
                    self.is_done = true;
                    return None;
                }
            };
            let Some(intended) = intended else {
                return self.messages.as_ref().map(Schedule::next);
            };
            let index = self.next_speaker();
            self.publish(connections, index, intended);
        }
        Some(0)
    }

    /// Lets members go and come whose time it is. Gives back when the next is to.
    fn rove(&mut self, connections: &mut Connections) -> Option<u64> {
        for _ in 0..ACTS_PER_TURN {
            let schedule = self.rejoins.as_mut()?;
            if schedule.next() >= connections.stats.window.end {
                return None;
            }
            if schedule.take_due(connections.clock.now()).is_none() {
                return Some(schedule.next());
            }
            self.rejoin(connections);
        }
        Some(0)
    }

    /// Leaves the rooms for good, when everything has come. Gives back when it wants to go on.
    fn depart(&mut self, connections: &mut Connections) -> Option<u64> {
        if !self.has_everything() {
            return None;
        }
        let last = self.order.len().min(self.left + ACTS_PER_TURN);
        for place in self.left..last {
            let index = self.order[place];
            if self.members[index as usize].place == Place::Inside {
                self.speech.leave_room(self.room_of(index));
                self.speech.send(connections, index);
                self.members[index as usize].place = Place::Left;
            }
        }
        self.left = last;
        (last < self.order.len()).then_some(0)
    }

    /// A client is in no room any more, or never was, and gets nothing: where it is instead.
    fn give_up(&mut self, index: u32, instead: Place) {
        let member = &mut self.members[index as usize];
        let place = std::mem::replace(&mut member.place, instead);
        let accounted = member.accounted();
        let was_member = member.epoch.take().is_some();
        if place == Place::Joining {
            self.joining -= 1;
            if was_member {
                self.counts(index).is_away.store(false, Ordering::Release);
            }
        }
        if was_member {
            self.accounted -= accounted.min(self.accounted);
            self.room(index).present -= 1;
            self.counts(index).lost.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whether nobody sends any more and all members have what was sent.
    fn has_everything(&mut self) -> bool {
        self.is_complete = self.is_complete
            || (self.is_done
                && self.joining == 0
                && self.lobby.done.load(Ordering::Acquire)
                    >= self.lobby.threads.load(Ordering::Acquire)
                && self.accounted >= self.expected());
        self.is_complete
    }

    /// What the members of this thread should have received, or been away for.
    fn expected(&self) -> u64 {
        let counts = &self.lobby.rooms[(self.first / self.talk.members) as usize..];
        let published = counts.iter().map(|counts| counts.published.load(Ordering::Acquire));
        self.rooms.iter().zip(published).map(|(room, published)| room.present * published).sum()
    }
}

impl Scenario for Rooms {
    fn prepare(&mut self, connections: &mut Connections) -> Result<bool, String> {
        let now = connections.clock.now();
        if !self.is_prepared {
            self.is_prepared = true;
            self.answered = now;
            self.order = connections.open_clients().collect();
            // Rooms take turns, and within each the members.
            let members = self.talk.members;
            let first = self.first;
            self.order.sort_unstable_by_key(|&index| {
                let number = first + index;
                (number % members, number)
            });
        }
        while self.asked < self.order.len() && self.joining < JOINS_AT_ONCE {
            let index = self.order[self.asked];
            self.asked += 1;
            if self.members[index as usize].place == Place::Outside {
                self.speech.join_room(self.room_of(index), None);
                self.ask(connections, index);
            }
        }
        if self.joining > 0 && now.saturating_sub(self.answered) > JOIN_NANOSECONDS_MAX {
            return Err(format!(
                "{} clients have asked to join their rooms, and none got an answer in 10 s",
                self.joining
            ));
        }
        if self.asked < self.order.len() || self.joining > 0 {
            return Ok(false);
        }
        self.order.retain(|&index| self.members[index as usize].place == Place::Inside);
        let has_members = u64::from(!self.order.is_empty());
        self.lobby.threads.fetch_add(has_members, Ordering::AcqRel);
        Ok(true)
    }

    fn begin(&mut self, _: &mut Connections, origin: u64) {
        if self.order.is_empty() {
            return;
        }
        let all = self.lobby.joined.load(Ordering::Acquire) as f64;
        let share = self.order.len() as f64 / all;
        let seed = mix(u64::from(self.first));
        // Threads take turns as their clients do.
        let schedule = |rate: f64, seed| {
            let offset = 1e9 / rate * f64::from(self.first) / all;
            Schedule::new(origin + offset as u64, rate * share, seed)
        };
        match self.talk.schedule {
            Some((rate, poisson)) => {
                self.messages = Some(schedule(rate, poisson.then_some(seed)));
            }
            None => self.due = self.order.iter().copied().collect(),
        }
        if self.talk.rejoin_rate > 0.0 {
            // At random times: in step with the messages, always the same would be missed.
            self.rejoins = Some(schedule(self.talk.rejoin_rate, Some(mix(seed))));
        }
    }

    #[inline]
    fn message(&mut self, stats: &mut Stats, index: u32, message: Message<'_>) {
        self.hear(stats, index, &message);
    }

    fn read_done(&mut self, _: &mut Connections, _: u32, _: u64) {}

    fn turn(&mut self, connections: &mut Connections, _: u64) -> Result<Option<u64>, String> {
        if self.lobby.joined.load(Ordering::Acquire) == 0 {
            return Err("no client has become a member of its room".to_owned());
        }
        let wanted = [self.talk(connections), self.rove(connections)];
        Ok(wanted.into_iter().chain([self.depart(connections)]).flatten().min())
    }

    fn settled(&mut self) -> bool {
        self.order.is_empty() || (self.has_everything() && self.left == self.order.len())
    }

    fn finish(&mut self, stats: &mut Stats) {
        for &index in &self.order {
            let member = &self.members[index as usize];
            let counts = self.counts(index);
            match member.place {
                Place::Inside | Place::Left => {}
                Place::Joining => fail(stats, "no room_joined for a member that came back"),
                Place::Outside | Place::Lost => continue,
            }
            if member.place != Place::Joining {
                let published = counts.published.load(Ordering::Acquire);
                stats.messages.missing += published.saturating_sub(member.accounted());
                if member.accounted() > published && !member.is_adrift {
                    fail(stats, "offsets that count more messages than were sent");
                }
            }
            if !member.welcomed {
                fail(stats, "no welcome");
            }
            let is_stable =
                self.talk.rejoin_rate == 0.0 && counts.lost.load(Ordering::Acquire) == 0;
            let joined = counts.joined.load(Ordering::Acquire);
            if is_stable && member.heard != u64::from(joined) {
                fail(stats, "a last userCount that is not the number of members");
            }
        }
    }

    fn lost(&mut self, index: u32, _: Failure) {
        self.give_up(index, Place::Lost);
    }
}
