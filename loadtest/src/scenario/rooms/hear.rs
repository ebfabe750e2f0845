//! What members hear: every message of the server is judged by what the member has heard before.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringwire::protocol::MessageKind;

use super::Rooms;
use super::chat::{self, Count, Joined, Said};
use super::member::Place;
use super::order::Verdict;
use crate::names;
use crate::payload::Flaw;
use crate::scenario::Message;
use crate::scenario::window::Window;
use crate::stats::{Failure, Stage, Stats};

impl Rooms {
    /// A message of the server came.
    #[inline]
    pub(super) fn hear(&mut self, stats: &mut Stats, index: u32, message: &Message<'_>) {
        let said = match chat::read(message) {
            Ok(said) => said,
            Err(what) => return fail(stats, what),
        };
        match said {
            Said::ChatMessage { room, text, offset } => match self.speech.room(&room) {
                None => stats.messages.foreign += 1,
                Some(room) if room != self.room_of(index) => stats.messages.corrupt += 1,
                Some(_) => self.delivered(stats, index, (&text, offset), message.at),
            },
            Said::RoomJoined(joined) => {
                self.counted(stats, index, &joined.count, false);
                self.joined(stats, index, message.at, &joined);
            }
            Said::UserJoined(count) => self.counted(stats, index, &count, true),
            Said::UserLeft(count) => self.counted(stats, index, &count, false),
            Said::Welcome => self.members[index as usize].welcomed = true,
            Said::Error(text) => self.refused(stats, index, message.at, text),
            Said::Other => {}
        }
    }

    fn joined(&mut self, stats: &mut Stats, index: u32, at: u64, joined: &Joined<'_>) {
        if self.members[index as usize].place != Place::Joining {
            return fail(stats, "a room_joined that was not asked for");
        }
        self.joining -= 1;
        self.answered = at;
        let room = self.room(index);
        let is_known = &*room.epoch == joined.epoch;
        if !is_known {
            room.epoch = Arc::from(joined.epoch);
            room.order.restart(joined.offset.wrapping_add(1));
        }
        let epoch = room.epoch.clone();
        let member = &mut self.members[index as usize];
        stats.histogram(names::JOIN).record(at.saturating_sub(member.asked_at));
        member.place = Place::Inside;
        member.heard = joined.count.users;
        let earlier = member.epoch.replace(epoch.clone());
        match earlier {
            Some(earlier) => self.rejoined(stats, index, joined, earlier == epoch),
            None => {
                member.offsets = Window::awaiting(joined.offset.wrapping_add(1));
                stats.count(names::JOINS);
                self.room(index).present += 1;
                self.counts(index).joined.fetch_add(1, Ordering::AcqRel);
                self.lobby.joined.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    fn rejoined(&mut self, stats: &mut Stats, index: u32, joined: &Joined<'_>, same_epoch: bool) {
        self.counts(index).is_away.store(false, Ordering::Release);
        stats.count(names::REJOINS);
        if self.talk.resume {
            stats.count(if joined.recovered { names::RECOVERED } else { names::NOT_RECOVERED });
        }
        let published = self.counts(index).published.load(Ordering::Acquire);
        let member = &mut self.members[index as usize];
        if same_epoch && joined.recovered && self.talk.resume {
            member.had = member.offsets.next();
            member.offsets = Window::awaiting(member.left_at.wrapping_add(1));
            member.past = joined.offset;
            return;
        }
        let next = joined.offset.wrapping_add(1);
        let absent = if same_epoch {
            let absent = next.wrapping_sub(member.offsets.next());
            if absent >= 1 << 63 {
                fail(stats, "a room_joined with an offset that the member had before");
                return;
            }
            absent
        } else {
            member.is_adrift = true;
            stats.count(names::EPOCHS_ENDED);
            published.saturating_sub(member.accounted())
        };
        // Whatever the offsets say, it has not missed more than was sent.
        let absent = absent.min(published);
        member.offsets = Window::awaiting(next);
        member.absent = member.absent.saturating_add(absent);
        self.accounted = self.accounted.saturating_add(absent);
        stats.count_many(names::NOT_DUE, absent);
    }

    /// The users of a room have become more or fewer.
    fn counted(&mut self, stats: &mut Stats, index: u32, count: &Count<'_>, has_joined: bool) {
        if self.speech.room(&count.room) != Some(self.room_of(index)) {
            return fail(stats, "news of a room that the member is not in");
        }
        if !(1..=u64::from(self.talk.members)).contains(&count.users) {
            return fail(stats, "a userCount that the room never has");
        }
        if has_joined {
            self.members[index as usize].heard = count.users;
        }
    }

    fn delivered(&mut self, stats: &mut Stats, index: u32, (text, offset): (&str, u64), at: u64) {
        let received = match self.payloads.read(MessageKind::Text, text.as_bytes()) {
            Ok(received) => received,
            Err(Flaw::Corrupt) => return stats.messages.corrupt += 1,
            Err(Flaw::Foreign) => return stats.messages.foreign += 1,
        };
        let Some((intended, sent)) = received.times else { return };
        let sender = (received.name >> 32) as u32;
        if sender / self.talk.members != self.room_of(index) {
            stats.messages.corrupt += 1;
            return;
        }
        let member = &mut self.members[index as usize];
        if member.epoch.is_none() {
            return fail(stats, "a chat_message before the room_joined");
        }
        if !member.offsets.take(offset).is_new(&mut stats.messages) {
            return;
        }
        if offset < member.had {
            return stats.count(names::RECOVERED_AGAIN);
        }
        let is_past = offset <= member.past && member.past > 0;
        let place = sender % self.talk.members;
        match self.room(index).order.see(offset, place, received.name) {
            Verdict::Agreed => {}
            Verdict::Disagreed => stats.messages.out_of_order += 1,
            Verdict::Again => return stats.messages.duplicate += 1,
            Verdict::Unknown => stats.count(names::NOT_COMPARED),
        }
        self.members[index as usize].received += 1;
        self.accounted = self.accounted.saturating_add(1);
        let members = self.talk.members;
        let is_last = self.room(index).order.members_at(offset) == members;
        if is_last && !is_past && stats.is_measured(intended) {
            stats.histogram(names::LAST_RECEIVER).record(at.saturating_sub(intended));
        }
        if sender == self.first + index {
            stats.received_apart(names::OWN_MESSAGE, intended, at);
            if self.talk.schedule.is_none() {
                self.due.push_back(index);
            }
        } else if is_past {
            stats.received_apart(names::RECOVERED_MESSAGE, intended, at);
        } else {
            stats.received(intended, sent, at);
        }
    }

    /// The server has refused something: it answers to nothing but joins before the load begins.
    #[cold]
    fn refused(&mut self, stats: &mut Stats, index: u32, at: u64, text: &'static str) {
        stats.fail(Stage::Application, Failure::Answered(text));
        let member = &mut self.members[index as usize];
        if member.place == Place::Joining {
            self.answered = at;
            self.give_up(index, Place::Outside);
        } else if member.refused < member.sent {
            member.refused += 1;
            self.counts(index).published.fetch_sub(1, Ordering::AcqRel);
            if self.talk.schedule.is_none() {
                self.due.push_back(index);
            }
        }
    }
}

/// The server has broken the chat protocol.
pub(super) fn fail(stats: &mut Stats, what: &'static str) {
    stats.fail(Stage::Application, Failure::Protocol(what));
}
