//! What homes must say, written down the long way: at each request, in the order it is served.

use std::collections::{HashMap, VecDeque};

use crate::collections::Tick;
use crate::hub::{Epoch, HistoryLimits, Joined, Position, Request, Requests, RoomName, Wording};
use crate::hub::{MemberTicket, Now};
use crate::limits::HISTORY_BYTES_MAX;
use crate::protocol::{OpCode, encode_frame};

/// Bytes of the name of a room here.
pub(super) const NAME_BYTES: usize = 5;

/// The protocol of the simulation: a letter, the room, and the rest.
#[derive(Clone, Copy)]
pub(super) struct Words;

impl Wording for Words {
    fn room_joined(&self, out: &mut Vec<u8>, joined: &Joined<'_>) {
        let Joined { room, user_count, position: Position { epoch, offset }, recovered } = joined;
        out.extend_from_slice(
            format!("={room} {user_count} {epoch} {offset} {recovered}").as_bytes(),
        );
    }

    fn user_joined(&self, out: &mut Vec<u8>, room: &str, user_count: u64) {
        out.extend_from_slice(format!("+{room} {user_count}").as_bytes());
    }

    fn user_left(&self, out: &mut Vec<u8>, room: &str, user_count: u64) {
        out.extend_from_slice(format!("-{room} {user_count}").as_bytes());
    }

    fn unavailable(&self, out: &mut Vec<u8>, room: &str) {
        out.extend_from_slice(format!("?{room}").as_bytes());
    }

    /// The head begins with a letter and the room.
    fn message(&self, out: &mut Vec<u8>, head: &[u8], timestamp: u64, offset: u64) {
        out.extend_from_slice(head);
        out.extend_from_slice(format!(" {timestamp} {offset}").as_bytes());
    }
}

/// What happened in one epoch of a room, in order.
pub(super) struct Log {
    pub(super) events: Vec<Event>,
    pub(super) epoch: Epoch,
}

pub(super) struct Event {
    pub(super) frame: Vec<u8>,
    /// Of the last message up to here.
    pub(super) offset: u64,
}

/// A place in a log: all before it have happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cursor {
    pub(super) log: usize,
    pub(super) next: usize,
}

/// The answer to a join, or to a message that the room has already.
pub(super) struct Expected {
    pub(super) ticket: MemberTicket,
    pub(super) room: RoomName,
    pub(super) again: bool,
    pub(super) frames: Vec<u8>,
    pub(super) count: u32,
    pub(super) recovered: bool,
    pub(super) position: Position,
    pub(super) cursor: Cursor,
}

struct Room {
    log: usize,
    members: u64,
    offset: u64,
    /// Places in the log, ids and times of the messages that are remembered.
    kept: VecDeque<(usize, u64, Tick)>,
    kept_bytes: usize,
}

pub(super) struct Truth {
    pub(super) logs: Vec<Log>,
    limits: HistoryLimits,
    /// Of each home.
    epochs: Vec<Epoch>,
    rooms: HashMap<RoomName, (usize, Room)>,
}

impl Truth {
    pub(super) fn new(limits: HistoryLimits, epochs: Vec<Epoch>) -> Self {
        Self { logs: Vec::new(), limits, epochs, rooms: HashMap::new() }
    }

    /// Where a room stands now.
    pub(super) fn position(&self, name: &str) -> Option<Position> {
        let (_, room) = self.rooms.get(name)?;
        Some(Position { epoch: self.logs[room.log].epoch, offset: room.offset })
    }

    /// Rooms, members, messages and bytes at a home.
    pub(super) fn sums(&self, home: usize) -> (usize, u64, usize, usize) {
        let mut sums = (0, 0, 0, 0);
        for (_, room) in self.rooms.values().filter(|(at, _)| *at == home) {
            sums.0 += 1;
            sums.1 += room.members;
            sums.2 += room.kept.len();
            sums.3 += room.kept_bytes;
        }
        sums
    }

    /// Serves what a home is about to be asked, and gives the answers.
    pub(super) fn serve(&mut self, now: Now, home: usize, requests: &Requests) -> Vec<Expected> {
        let (mut answers, mut heads) = (Vec::new(), &requests.heads[..]);
        for request in &requests.list {
            match request {
                Request::Join { room, ticket, since, again } => {
                    answers.push(self.join(home, room, *ticket, *since, *again));
                }
                Request::Leave { room, .. } => self.leave(room),
                Request::Publish { room, ticket, head, id } => {
                    let (head, rest) = heads.split_at(*head as usize);
                    heads = rest;
                    match self.repeat(room, *ticket, *id) {
                        Some(answer) => answers.push(answer),
                        None => self.publish(now, room, head, *id),
                    }
                }
            }
        }
        assert!(heads.is_empty(), "every byte belongs to a message");
        answers
    }

    pub(super) fn forget_old(&mut self, home: usize, now: Tick) {
        for (_, room) in self.rooms.values_mut().filter(|(at, _)| *at == home) {
            let age = self.limits.age;
            while room.kept.front().is_some_and(|(.., at)| now.wrapping_sub(*at) >= age) {
                room.forget_oldest(&self.logs);
            }
        }
    }

    fn join(
        &mut self,
        home: usize,
        name: &RoomName,
        ticket: MemberTicket,
        since: Option<Position>,
        again: bool,
    ) -> Expected {
        if !self.rooms.contains_key(name) {
            assert!(!again, "who joins again is a member");
            self.epochs[home].0 += 1;
            let log = Log { events: Vec::new(), epoch: self.epochs[home] };
            self.logs.push(log);
            let log = self.logs.len() - 1;
            let room = Room { log, members: 0, offset: 0, kept: VecDeque::new(), kept_bytes: 0 };
            self.rooms.insert(name.clone(), (home, room));
        }
        let (_, room) = self.rooms.get_mut(name).expect("it was just made");
        let log = &mut self.logs[room.log];
        if !again {
            room.members += 1;
            if room.members > 1 {
                log.add(room.offset, |out| Words.user_joined(out, name, room.members));
            }
        }
        let since = since.filter(|since| since.epoch == log.epoch);
        let missed = since.and_then(|since| room.missed(log, since.offset));
        let recovered = missed.is_some();
        let position = Position { epoch: log.epoch, offset: room.offset };
        let joined = Joined { room: name, user_count: room.members, position, recovered };
        let mut frames = frame(|out| Words.room_joined(out, &joined));
        let missed = missed.unwrap_or_default();
        missed.iter().for_each(|place| frames.extend(&log.events[*place].frame));
        let cursor = Cursor { log: room.log, next: log.events.len() };
        let (room, count) = (name.clone(), 1 + missed.len() as u32);
        Expected { ticket, room, again, frames, count, recovered, position, cursor }
    }

    fn leave(&mut self, name: &RoomName) {
        let (_, room) = self.rooms.get_mut(name).expect("only members leave");
        room.members -= 1;
        if room.members == 0 {
            self.rooms.remove(name);
            return;
        }
        let log = &mut self.logs[room.log];
        log.add(room.offset, |out| Words.user_left(out, name, room.members));
    }

    /// The message that the room has with this id, for its sender alone.
    fn repeat(&self, name: &RoomName, ticket: MemberTicket, id: u64) -> Option<Expected> {
        let (_, room) = self.rooms.get(name).expect("only members publish");
        let (place, ..) = room.kept.iter().find(|(_, kept, _)| id != 0 && *kept == id)?;
        let log = &self.logs[room.log];
        Some(Expected {
            ticket,
            room: name.clone(),
            again: true,
            frames: log.events[*place].frame.clone(),
            count: 1,
            recovered: false,
            position: Position { epoch: log.epoch, offset: room.offset },
            cursor: Cursor { log: room.log, next: log.events.len() },
        })
    }

    fn publish(&mut self, now: Now, name: &RoomName, head: &[u8], id: u64) {
        let (_, room) = self.rooms.get_mut(name).expect("only members publish");
        room.offset += 1;
        let log = &mut self.logs[room.log];
        log.add(room.offset, |out| {
            Words.message(out, head, now.unix_milliseconds, room.offset);
        });
        let place = log.events.len() - 1;
        room.kept_bytes += log.events[place].frame.len();
        room.kept.push_back((place, id, now.tick));
        while room.kept.len() > self.limits.messages || room.kept_bytes > HISTORY_BYTES_MAX {
            room.forget_oldest(&self.logs);
        }
    }
}

impl Room {
    /// Places of all messages behind `offset`, if all are remembered and it is not in the future.
    fn missed(&self, log: &Log, offset: u64) -> Option<Vec<usize>> {
        let places = self.kept.iter().map(|(place, ..)| *place);
        let missed: Vec<usize> =
            places.filter(|place| log.events[*place].offset > offset).collect();
        let is_whole = offset <= self.offset && missed.len() as u64 == self.offset - offset;
        is_whole.then_some(missed)
    }

    fn forget_oldest(&mut self, logs: &[Log]) {
        let (place, ..) = self.kept.pop_front().expect("the caller has seen one");
        self.kept_bytes -= logs[self.log].events[place].frame.len();
    }
}

impl Log {
    fn add(&mut self, offset: u64, write: impl FnOnce(&mut Vec<u8>)) {
        self.events.push(Event { frame: frame(write), offset });
    }
}

pub(super) fn frame(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (mut payload, mut frame) = (Vec::new(), Vec::new());
    write(&mut payload);
    encode_frame(&mut frame, OpCode::Text, &payload);
    frame
}

/// The room that the first of some frames speaks of.
pub(super) fn room_of(frames: &[u8]) -> &str {
    let header = match frames[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    std::str::from_utf8(&frames[header + 1..][..NAME_BYTES]).expect("a name")
}
