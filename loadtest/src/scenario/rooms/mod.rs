//! `rooms`: members of rooms join, talk, come and go; every message must reach every member of its
//! room once, in the order of the room.

mod account;
mod arrive;
mod chat;
mod hear;
mod lobby;
mod log;
mod member;
mod order;
mod returns;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) use self::chat::{Speech, TEXT_CHARACTERS_MAX};
pub(crate) use self::lobby::Lobby;
use self::lobby::RoomCounts;
use self::log::Room;
use self::member::{Member, Place};
use self::returns::Returns;
use super::pauses::Pauses;
use super::{Message, Scenario};
use crate::args::OrderBy;
use crate::connections::{Cause, Connections};
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
    /// Whose order they must see.
    pub(crate) order: OrderBy,
    /// Servers.
    pub(crate) nodes: u32,
    /// Time before members come back whose connection has ended, if they do.
    pub(crate) pauses: Option<Pauses>,
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
    /// Members whose connection is lost, and what was refused for now.
    returns: Returns,
    messages: Option<Schedule>,
    rejoins: Option<Schedule>,
    /// Members that are to speak, where there is no schedule.
    due: VecDeque<u32>,
    /// What the members have received, or need not receive.
    accounted: u64,
    /// When the last message came, and the time of this turn.
    heard_at: u64,
    now: u64,
    has_begun: bool,
    is_done: bool,
    is_complete: bool,
}

impl Talk {
    /// Logs that a room has at once.
    const fn logs(&self) -> u32 {
        match self.order {
            OrderBy::Room => 1,
            OrderBy::Publisher => self.nodes,
        }
    }
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
        let log_max = (log_max / talk.logs() as usize).max(LOG_MIN);
        let room = || Room::new(talk.members, log_max);
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
            returns: Returns::new(talk.pauses, count),
            messages: None,
            rejoins: None,
            due: VecDeque::new(),
            accounted: 0,
            heard_at: 0,
            now: 0,
            has_begun: false,
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

    /// Asks for a client to be let into its room; with `resume`, after what it missed.
    fn ask(&mut self, connections: &mut Connections, index: u32, resume: bool) {
        let room = self.room_of(index);
        let member = &mut self.members[index as usize];
        let epoch = member.epoch.as_ref().filter(|_| resume);
        let since = epoch.map(|epoch| (&*epoch.name, member.left_at));
        self.speech.join_room(room, since);
        member.asked_since = since.is_some();
        member.place = Place::Joining;
        member.asked_at = connections.clock.now();
        self.speech.send(connections, index);
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
            let member = &mut self.members[index as usize];
            member.left_at = member.reached().wrapping_sub(1);
            member.is_roving = true;
            self.speech.leave_room(self.room_of(index));
            self.ask(connections, index, self.talk.resume);
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
        let number = member.own.sent;
        member.own.sent = number.wrapping_add(1);
        // Before it is sent: whoever receives it, or is told that what was sent until now is lost,
        // finds it counted.
        self.counts(index).published.fetch_add(1, Ordering::AcqRel);
        let sent = if has_schedule { connections.clock.now() } else { intended };
        let stamp = Stamp { sender: self.first + index, number, intended, sent };
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
                    self.members[index as usize].is_due = false;
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
        self.interrupt(index, instead);
        let member = &mut self.members[index as usize];
        let (accounted, log) = (member.accounted(), member.log);
        if member.epoch.take().is_some() {
            self.accounted -= accounted.min(self.accounted);
            let room = self.room(index);
            room.present -= 1;
            room.leave(log);
            self.counts(index).lost.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// A client waits for no answer any more, and is not there to hear of what it has said: where
    /// it is instead.
    fn interrupt(&mut self, index: u32, instead: Place) {
        let member = &mut self.members[index as usize];
        let place = std::mem::replace(&mut member.place, instead);
        self.joining -= u32::from(place == Place::Joining);
        if std::mem::take(&mut self.members[index as usize].is_roving) {
            self.counts(index).is_away.store(false, Ordering::Release);
        }
        self.doubt(index);
    }

    /// A member is to send its next message, where there is no schedule.
    fn make_due(&mut self, index: u32) {
        if self.talk.schedule.is_none()
            && !std::mem::replace(&mut self.members[index as usize].is_due, true)
        {
            self.due.push_back(index);
        }
    }
}

impl Scenario for Rooms {
    fn prepare(&mut self, connections: &mut Connections) -> Result<bool, String> {
        let now = connections.clock.now();
        if !self.is_prepared {
            self.is_prepared = true;
            self.answered = now;
            self.order = connections.open_clients().collect();
            // Rooms take turns, and within each the members: in every room another begins, since
            // the first of all may be connected to one server.
            let members = u64::from(self.talk.members);
            let first = self.first;
            self.order.sort_unstable_by_key(|&index| {
                let number = u64::from(first + index);
                ((number + number / members) % members, number)
            });
        }
        self.try_again(connections, now);
        while self.asked < self.order.len() && self.joining < JOINS_AT_ONCE {
            let index = self.order[self.asked];
            self.asked += 1;
            if self.members[index as usize].place == Place::Outside {
                self.ask(connections, index, false);
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
        self.has_begun = true;
        if self.order.is_empty() {
            return;
        }
        let all = self.lobby.joined.load(Ordering::Acquire) as f64;
        let share = self.order.len() as f64 / all;
        let seed = mix(u64::from(self.first));
        // Threads take turns as their clients do.
        let first = f64::from(self.first);
        let schedule = |rate: f64, seed| {
            let offset = 1e9 / rate * first / all;
            Schedule::new(origin + offset as u64, rate * share, seed)
        };
        match self.talk.schedule {
            Some((rate, poisson)) => {
                self.messages = Some(schedule(rate, poisson.then_some(seed)));
            }
            None => (0..self.order.len()).for_each(|place| self.make_due(self.order[place])),
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

    fn turn(&mut self, connections: &mut Connections, now: u64) -> Result<Option<u64>, String> {
        self.now = now;
        if self.lobby.joined.load(Ordering::Acquire) == 0 {
            return Err("no client has become a member of its room".to_owned());
        }
        let again = self.try_again(connections, now);
        let wanted = [self.talk(connections), self.rove(connections), again];
        Ok(wanted.into_iter().chain([self.depart(connections)]).flatten().min())
    }

    fn settled(&mut self) -> bool {
        self.order.is_empty() || (self.has_everything() && self.left == self.order.len())
    }

    fn finish(&mut self, stats: &mut Stats) {
        self.close_accounts(stats);
    }

    fn lost(&mut self, index: u32, _: Failure) {
        let is_member = self.members[index as usize].epoch.is_some();
        let has_left = self.members[index as usize].place == Place::Left;
        if self.talk.pauses.is_some() && self.has_begun && is_member && !has_left {
            self.go_away(index);
        } else {
            self.give_up(index, Place::Lost);
        }
    }

    fn opened(&mut self, connections: &mut Connections, index: u32, _: u64) {
        let node = connections.node(index);
        self.members[index as usize].node = node;
        self.lobby.set_node(self.first + index, node);
        if self.members[index as usize].place == Place::Away {
            self.come_back(connections, index);
        }
    }

    fn gone(&mut self, connections: &mut Connections, index: u32, now: u64, cause: Cause) {
        if self.members[index as usize].place == Place::Away {
            self.returns.gone(connections, (self.first, index), now, cause);
        }
    }
}
