//! What members hear: every message of the server is judged by what the member has heard before.

use std::sync::atomic::Ordering;

use ringwire::protocol::MessageKind;

use super::Rooms;
use super::chat::{self, Count, Said};
use super::member::Place;
use super::order::Verdict;
use crate::args::OrderBy;
use crate::names;
use crate::payload::Flaw;
use crate::scenario::Message;
use crate::stats::{Failure, Stage, Stats};

/// What the server says while it cannot reach what keeps a room: it may be asked again.
const UNAVAILABLE: &str = "Room unavailable";

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

    /// The users of a room have become more or fewer.
    fn counted(&mut self, stats: &mut Stats, index: u32, count: &Count<'_>, has_joined: bool) {
        if self.speech.room(&count.room) != Some(self.room_of(index)) {
            return fail(stats, "news of a room that the member is not in");
        }
        // A server that is lost without a word leaves members behind, until that is noticed.
        let may_linger =
            self.talk.pauses.is_some() && self.counts(index).lost.load(Ordering::Acquire) > 0;
        let most = if may_linger { u64::MAX } else { self.talk.members.into() };
        if !(1..=most).contains(&count.users) {
            return fail(stats, "a userCount that the room never has");
        }
        if has_joined {
            self.hear_count(index, count.users);
        }
    }

    /// A member hears how many there are. Where nodes count on their own, the last that it hears
    /// need not be the last that happened.
    pub(super) fn hear_count(&mut self, index: u32, users: u64) {
        let heard = &mut self.members[index as usize].heard;
        *heard = match self.talk.order {
            OrderBy::Room => users,
            OrderBy::Publisher => users.max(*heard),
        };
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
        self.heard_at = at;
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
        member.came += 1;
        let (log, members) = (member.log, self.talk.members);
        let is_past = offset <= member.past && member.past > 0;
        let is_own = sender == self.first + index;
        let named = (sender % members, received.name);
        let earlier = member.earlier.filter(|_| sent < member.adrift_since);
        let one_order = self.talk.order == OrderBy::Room;
        let verdict = self.room(index).see(log, offset, named, one_order);
        if is_own || verdict == Verdict::First {
            self.heard_of(stats, sender, received.name as u32);
        }
        if earlier.is_some_and(|earlier| self.room(index).has_before(earlier, received.name)) {
            return self.came_again(stats, index);
        }
        match verdict {
            Verdict::First | Verdict::Agreed => {}
            Verdict::Disagreed => stats.messages.out_of_order += 1,
            Verdict::Again => return stats.messages.duplicate += 1,
            Verdict::Unknown => stats.count(names::NOT_COMPARED),
        }
        self.account(index, |member| member.receive(sent));
        let is_last = self.room(index).members_at(log, offset) == members;
        if is_last && !is_past && stats.is_measured(intended) {
            stats.histogram(names::LAST_RECEIVER).record(at.saturating_sub(intended));
        }
        if is_own {
            stats.received_apart(names::OWN_MESSAGE, intended, at);
            if self.members[index as usize].own.is_last(received.name as u32) {
                self.make_due(index);
            }
        } else if is_past {
            stats.received_apart(names::RECOVERED_MESSAGE, intended, at);
        } else {
            stats.received(intended, sent, at);
            if self.talk.nodes > 1 && stats.is_measured(intended) {
                let is_same = self.lobby.node(sender) == self.members[index as usize].node;
                let name = if is_same { names::SAME_NODE } else { names::CROSS_NODE };
                stats.histogram(name).record(at.saturating_sub(intended));
            }
        }
    }

    /// A message of an earlier epoch that the member has comes in this one. Who has changed to
    /// another server may get it from both.
    fn came_again(&self, stats: &mut Stats, index: u32) {
        if self.talk.pauses.is_some() && self.counts(index).lost.load(Ordering::Acquire) > 0 {
            stats.count(names::RECOVERED_AGAIN);
        } else {
            stats.messages.duplicate += 1;
        }
    }

    /// The server has refused something: it answers to nothing but joins before the load begins.
    #[cold]
    fn refused(&mut self, stats: &mut Stats, index: u32, at: u64, text: &'static str) {
        let is_for_now = text == UNAVAILABLE;
        if is_for_now {
            stats.count(names::UNAVAILABLE);
        } else {
            stats.fail(Stage::Application, Failure::Answered(text));
        }
        let member = &mut self.members[index as usize];
        if member.place == Place::Joining {
            member.is_barred = is_for_now;
            if is_for_now {
                self.returns.postpone(index, at);
            } else {
                self.answered = at;
                self.give_up(index, Place::Outside);
            }
        } else if member.own.unheard() > 0 {
            let was_doubtful = member.own.refuse();
            let counts = self.counts(index);
            counts.published.fetch_sub(1, Ordering::AcqRel);
            counts.doubtful.fetch_sub(was_doubtful.into(), Ordering::AcqRel);
            if is_for_now {
                self.returns.postpone(index, at);
            } else {
                self.make_due(index);
            }
        }
    }
}

/// The server has broken the chat protocol.
pub(super) fn fail(stats: &mut Stats, what: &'static str) {
    stats.fail(Stage::Application, Failure::Protocol(what));
}
