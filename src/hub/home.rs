//! The home of rooms: where their members are counted, their messages get their order, and the last
//! of them are remembered.
//!
//! Every room has its home on one shard. What happens in a room is in one order there: requests as
//! they come, and for each of them what is told to the shards of the members. A shard hears of a
//! join behind everything that the new member need not hear, and before everything else.
//!
//! Where rooms span nodes, the home of a sequenced room does nothing by itself: see [`spanning`].

mod asking;
mod hearing;
mod listing;
mod outage;
mod room;
mod spanning;
mod syncing;

use std::collections::HashMap;

use bytes::Bytes;
use slab::Slab;

pub use listing::{RoomFigures, RoomsPart, RoomsQuery, rank_rooms};
pub use spanning::{SpanFigures, SpanPlan};

use self::room::Room;
use self::spanning::Nodes;
use super::history::{History, HistoryLimits};
use super::road::{MemberTicket, Notice, Request, Requests, RoomName};
use super::span::{Comer, What};
use super::{Epoch, Joined, Wording};
use crate::collections::{Tick, Wheel};
use crate::limits::{HISTORY_EXCESS_STEPS, HISTORY_EXPIRIES_PER_TURN, HISTORY_WHEEL_SLOTS};
use crate::protocol::{OpCode, encode_frame};

/// The time of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Of the shard's clock.
    pub tick: Tick,
    /// Milliseconds since 1970.
    pub unix_milliseconds: u64,
}

/// The rooms whose home this is.
#[derive(Debug)]
pub struct Home<W> {
    wording: W,
    limits: HistoryLimits,
    names: HashMap<RoomName, usize>,
    rooms: Slab<Room>,
    /// When the oldest message of a room will be too old.
    expiries: Wheel,
    /// Rooms with something that was not passed on.
    unsent: Vec<usize>,
    /// What is to be told to each shard, and the bytes of the answers among it.
    notices: Box<[Vec<Notice>]>,
    answer_bytes: usize,
    epoch: Epoch,
    /// Rooms with members here.
    populated: usize,
    members: u64,
    messages: usize,
    bytes: usize,
    /// The room that is looked at next when all remember too much.
    hand: usize,
    /// One payload.
    payload: Vec<u8>,
    /// What is known of other nodes, where rooms span them.
    nodes: Option<Box<Nodes>>,
}

impl<W: Wording> Home<W> {
    /// A home without rooms, for members on so many shards. Epochs count from `epoch`, which must
    /// be another for each home and each start of the server. With a plan rooms span nodes.
    #[must_use]
    pub fn new(
        wording: W,
        limits: HistoryLimits,
        shards: usize,
        epoch: Epoch,
        plan: Option<SpanPlan>,
    ) -> Self {
        Self {
            wording,
            limits,
            names: HashMap::new(),
            rooms: Slab::new(),
            expiries: Wheel::new(HISTORY_WHEEL_SLOTS),
            unsent: Vec::new(),
            notices: (0..shards).map(|_| Vec::new()).collect(),
            answer_bytes: 0,
            epoch,
            populated: 0,
            members: 0,
            messages: 0,
            bytes: 0,
            hand: 0,
            payload: Vec::new(),
            nodes: plan.map(|plan| Box::new(Nodes::new(plan))),
        }
    }

    /// Replaces what rooms remember: for each with its next message, or when its oldest one has
    /// been kept as long as was said before.
    pub const fn set_limits(&mut self, limits: HistoryLimits) {
        self.limits = limits;
    }

    /// Rooms that have a member on this node.
    #[must_use]
    pub const fn rooms(&self) -> usize {
        self.populated
    }

    /// Members of all rooms together, on this node.
    #[must_use]
    pub const fn members(&self) -> u64 {
        self.members
    }

    /// Messages remembered, and the bytes of their frames.
    #[must_use]
    pub const fn remembered(&self) -> (usize, usize) {
        (self.messages, self.bytes)
    }

    /// Bytes of the answers that were not taken by [`take_notices`](Self::take_notices) yet.
    #[must_use]
    pub const fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Does what the members on shard `from` ask for.
    pub fn serve(&mut self, now: Now, from: usize, requests: Requests) {
        let mut heads = Bytes::from(requests.heads);
        for request in requests.list {
            match request {
                Request::Join { room, ticket, since, again } => {
                    let number = self.room_or_new(&room);
                    if !again {
                        self.count_up(number);
                    }
                    let comer = Comer { from, ticket, since, again };
                    if self.rooms[number].is_sequenced() {
                        self.defer_join(number, comer);
                    } else {
                        self.admit(number, comer);
                        if !again {
                            self.tell_nodes(number, What::Came);
                        }
                    }
                }
                Request::Leave { room, ticket } => {
                    let number = self.number_of(&room);
                    self.count_down(number);
                    if self.rooms[number].is_sequenced() {
                        self.defer_leave(number, from, ticket);
                    } else {
                        self.part(number, from);
                        self.tell_nodes(number, What::Went);
                    }
                    self.end_if_empty(number);
                }
                Request::Publish { room, ticket, head, id } => {
                    let head = heads.split_to(head as usize);
                    let number = self.number_of(&room);
                    if self.repeat(number, from, ticket, id) {
                        continue;
                    }
                    if self.rooms[number].is_sequenced() {
                        self.defer_message(number, Some((from, ticket)), id, head);
                    } else {
                        self.publish(now.tick, now.unix_milliseconds, number, id, &head);
                        self.tell_nodes(number, What::Message(None, id, head));
                    }
                }
            }
        }
    }

    /// Takes what is to be told to the shards, for each that has anything to hear.
    pub fn take_notices(&mut self, mut tell: impl FnMut(usize, Vec<Notice>)) {
        self.answer_bytes = 0;
        for number in std::mem::take(&mut self.unsent) {
            // The room may be gone, and even be another.
            if let Some(room) = self.rooms.get_mut(number)
                && room.unsent_count > 0
            {
                room.pass_on(&mut self.notices);
            }
        }
        for (shard, notices) in self.notices.iter_mut().enumerate() {
            if !notices.is_empty() {
                tell(shard, std::mem::take(notices));
            }
        }
    }

    /// Forgets messages that are too old; says whether there may be more.
    pub fn forget_old(&mut self, now: Tick) -> bool {
        for _ in 0..HISTORY_EXPIRIES_PER_TURN {
            let Some(number) = self.expiries.pop_due(now) else { return false };
            let room = &mut self.rooms[number as usize];
            let limits = self.limits;
            account(&mut self.messages, &mut self.bytes, &mut room.history, |history| {
                history.forget_old(now, &limits);
            });
            if let Some(expiry) = room.history.expiry(&limits) {
                self.expiries.arm(number, expiry);
            }
        }
        true
    }

    /// Whether any message waits to become too old.
    #[must_use]
    pub const fn remembers(&self) -> bool {
        !self.expiries.is_empty()
    }

    fn count_up(&mut self, number: usize) {
        let room = &mut self.rooms[number];
        room.members += 1;
        self.populated += usize::from(room.members == 1);
        self.members += 1;
    }

    fn count_down(&mut self, number: usize) {
        let room = &mut self.rooms[number];
        room.members -= 1;
        self.populated -= usize::from(room.members == 0);
        self.members -= 1;
    }

    /// Makes somebody a member who is counted already, tells the others, and answers.
    fn admit(&mut self, number: usize, comer: Comer) {
        let Comer { from, ticket, since, again } = comer;
        let room = &mut self.rooms[number];
        let (name, users) = (room.name.clone(), room.users());
        if !again && users > 1 {
            let wording = &self.wording;
            let append = |out: &mut Vec<u8>| wording.user_joined(out, &name, users);
            if room.append(&mut self.payload, append) {
                self.unsent.push(number);
            }
        }
        room.tell(from, &mut self.notices);
        if !again {
            room.count_in(from);
        }
        let mut missed = Vec::new();
        let missed_count = since
            .filter(|since| since.epoch == room.epoch)
            .and_then(|since| room.history.since(since.offset, &mut missed));
        let joined = Joined {
            room: &name,
            user_count: users,
            position: room.position(),
            recovered: missed_count.is_some(),
        };
        self.payload.clear();
        self.wording.room_joined(&mut self.payload, &joined);
        let mut frames = Vec::with_capacity(self.payload.len() + missed.len() + 10);
        encode_frame(&mut frames, OpCode::Text, &self.payload);
        frames.extend_from_slice(&missed);
        let (frames, count) = (Bytes::from(frames), 1 + missed_count.unwrap_or(0));
        let (recovered, room, joins) = (joined.recovered, name, true);
        self.answer_bytes += frames.len();
        self.notices[from].push(Notice::Answer { room, ticket, frames, count, joins, recovered });
    }

    /// Tells the others that a member has left who is not counted any more.
    fn part(&mut self, number: usize, from: usize) {
        let room = &mut self.rooms[number];
        room.count_out(from);
        if room.members > 0 || room.span.is_some() {
            self.tell_left(number);
        }
    }

    fn tell_left(&mut self, number: usize) {
        let room = &mut self.rooms[number];
        let (wording, name, users) = (&self.wording, room.name.clone(), room.users());
        if room.append(&mut self.payload, |out| wording.user_left(out, &name, users)) {
            self.unsent.push(number);
        }
    }

    fn tell_joined(&mut self, number: usize) {
        let room = &mut self.rooms[number];
        let (wording, name, users) = (&self.wording, room.name.clone(), room.users());
        if room.append(&mut self.payload, |out| wording.user_joined(out, &name, users)) {
            self.unsent.push(number);
        }
    }

    /// Gives a member the message with this id, if the room remembers one: it does not know that it
    /// was published.
    fn repeat(&mut self, number: usize, from: usize, ticket: MemberTicket, id: u64) -> bool {
        let mut frame = Vec::new();
        let is_known = id != 0 && self.rooms[number].history.find(id, &mut frame);
        if is_known {
            self.answer(number, from, ticket, frame.into());
        }
        is_known
    }

    /// Tells one member something, behind all that has happened.
    fn answer(&mut self, number: usize, from: usize, ticket: MemberTicket, frames: Bytes) {
        let room = &mut self.rooms[number];
        room.tell(from, &mut self.notices);
        self.answer_bytes += frames.len();
        let (room, count, joins, recovered) = (room.name.clone(), 1, false, false);
        self.notices[from].push(Notice::Answer { room, ticket, frames, count, joins, recovered });
    }

    /// Gives a message the next place in the room. `time` is in milliseconds since 1970.
    fn publish(&mut self, now: Tick, time: u64, number: usize, id: u64, head: &[u8]) {
        let room = &mut self.rooms[number];
        let (wording, offset) = (&self.wording, room.history.offset() + 1);
        let start = room.unsent.len();
        let append = |out: &mut Vec<u8>| wording.message(out, head, time, offset);
        if room.append(&mut self.payload, append) {
            self.unsent.push(number);
        }
        let frame = &room.unsent[start..];
        let limits = &self.limits;
        account(&mut self.messages, &mut self.bytes, &mut room.history, |history| {
            history.push(now, id, frame, limits);
        });
        self.arm_expiry(number);
        self.forget_excess(number);
    }

    fn arm_expiry(&mut self, number: usize) {
        let index = number as u32;
        if !self.expiries.is_armed(index)
            && let Some(expiry) = self.rooms[number].history.expiry(&self.limits)
        {
            self.expiries.arm(index, expiry);
        }
    }

    /// When all rooms together remember too much, those with more than their share forget, room by
    /// room: so none can take from others what is theirs. What was just said, in `speaker`, stays.
    fn forget_excess(&mut self, speaker: usize) {
        for _ in 0..HISTORY_EXCESS_STEPS {
            if self.bytes <= self.limits.home_bytes {
                return;
            }
            let share = self.limits.home_bytes / self.rooms.len();
            let kept = |number| usize::from(number == speaker);
            match self.rooms.get_mut(self.hand) {
                Some(Room { history, .. })
                    if history.bytes() > share && history.len() > kept(self.hand) =>
                {
                    account(&mut self.messages, &mut self.bytes, history, History::forget_oldest);
                }
                _ => self.hand = (self.hand + 1) % self.rooms.capacity(),
            }
        }
    }

    fn room_or_new(&mut self, name: &RoomName) -> usize {
        if let Some(&number) = self.names.get(name) {
            return number;
        }
        let epoch = self.next_epoch();
        let span = self.nodes.as_mut().map(|nodes| Box::new(nodes.span(name)));
        let number = self.rooms.insert(Room::new(name.clone(), epoch, span));
        self.names.insert(name.clone(), number);
        number
    }

    const fn next_epoch(&mut self) -> Epoch {
        self.epoch.0 = self.epoch.0.wrapping_add(1);
        self.epoch
    }

    fn number_of(&self, name: &RoomName) -> usize {
        *self.names.get(name).expect("a shard speaks of rooms that it has joined")
    }

    /// A room without members is gone, unless other nodes have yet to hear that it has none.
    fn end_if_empty(&mut self, number: usize) {
        let room = &self.rooms[number];
        if room.members > 0 || !self.may_end(number) {
            return;
        }
        let mut room = self.rooms.remove(number);
        self.names.remove(&room.name);
        self.expiries.disarm(number as u32);
        account(&mut self.messages, &mut self.bytes, &mut room.history, |history| {
            *history = History::default();
        });
        self.close_span(room);
    }
}

/// Changes a history and keeps the sums of all.
fn account(
    messages: &mut usize,
    bytes: &mut usize,
    history: &mut History,
    change: impl FnOnce(&mut History),
) {
    *messages -= history.len();
    *bytes -= history.bytes();
    change(history);
    *messages += history.len();
    *bytes += history.bytes();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::Key;

    pub(super) struct Plain;

    impl Wording for Plain {
        fn room_joined(&self, _: &mut Vec<u8>, _: &Joined<'_>) {}
        fn user_joined(&self, _: &mut Vec<u8>, _: &str, _: u64) {}
        fn user_left(&self, _: &mut Vec<u8>, _: &str, _: u64) {}
        fn unavailable(&self, _: &mut Vec<u8>, _: &str) {}

        fn message(&self, out: &mut Vec<u8>, head: &[u8], _: u64, _: u64) {
            out.extend_from_slice(head);
        }
    }

    const TICKET: MemberTicket = MemberTicket { key: Key::from_parts(0, 0), number: 0 };

    fn request(home: &mut Home<Plain>, request: Request, heads: &[u8]) {
        let requests = Requests { list: vec![request], heads: heads.to_vec() };
        home.serve(Now { tick: 0, unix_milliseconds: 0 }, 0, requests);
        home.take_notices(|_, _| {});
    }

    pub(super) fn join(home: &mut Home<Plain>, room: &RoomName) {
        let room = room.clone();
        request(home, Request::Join { room, ticket: TICKET, since: None, again: false }, b"");
    }

    pub(super) fn publish(home: &mut Home<Plain>, room: &RoomName, bytes: usize) {
        let head = bytes as u32;
        let message = Request::Publish { room: room.clone(), ticket: TICKET, head, id: 0 };
        request(home, message, &vec![b'x'; bytes]);
    }

    fn kept(home: &Home<Plain>, room: &RoomName) -> usize {
        home.rooms[home.names[room]].history.len()
    }

    #[test]
    fn rooms_that_talk_much_do_not_take_the_history_of_a_quiet_one() {
        let limits = HistoryLimits { messages: 1000, age: 100, home_bytes: 64 * 1024 };
        let mut home = Home::new(Plain, limits, 1, Epoch(0), None);
        let names: Vec<RoomName> = (0..16).map(|number: u32| number.to_string().into()).collect();
        let (quiet, loud) = names.split_first().expect("there are 16");
        names.iter().for_each(|name| join(&mut home, name));
        for _ in 0..3 {
            publish(&mut home, quiet, 1000);
        }
        for number in 0..2000 {
            publish(&mut home, &loud[number * 7 % loud.len()], 1000);
            assert!(home.bytes <= limits.home_bytes + 1100, "{}", home.bytes);
        }
        assert_eq!(kept(&home, quiet), 3);
        assert!(loud.iter().all(|name| (3..=5).contains(&kept(&home, name))));
        // What was just said stays, however large it is.
        publish(&mut home, quiet, limits.home_bytes);
        assert_eq!(kept(&home, quiet), 1);
    }
}
