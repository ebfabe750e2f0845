//! Where a member goes on in its room: when it has joined, when it is back, and when it is told
//! of a gap.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Rooms;
use super::chat::Joined;
use super::hear::fail;
use super::member::{Epoch, Place};
use crate::args::OrderBy;
use crate::names;
use crate::stats::Stats;

impl Rooms {
    /// A `room_joined` came: the answer to a join, or news of a gap.
    pub(super) fn joined(&mut self, stats: &mut Stats, index: u32, at: u64, joined: &Joined<'_>) {
        let member = &self.members[index as usize];
        let is_answer = member.place == Place::Joining;
        match member.place {
            Place::Joining => {}
            Place::Inside if !joined.recovered => {}
            // It crosses the `leave_room`: nobody waits for what it is about.
            Place::Left if !joined.recovered => return,
            _ => return fail(stats, "a room_joined that was not asked for"),
        }
        let node = match self.talk.order {
            OrderBy::Room => 0,
            OrderBy::Publisher => member.node,
        };
        let earlier = member.epoch.clone().map(|epoch| (epoch, member.log));
        let epoch = Epoch { node, name: Arc::from(joined.epoch) };
        let next = joined.offset.wrapping_add(1);
        let room = self.room(index);
        let log = room.enter(&epoch, next);
        if let Some((_, earlier)) = earlier {
            room.leave(earlier);
        }
        let is_same = earlier.as_ref().map(|(earlier, _)| *earlier == epoch);
        if is_answer {
            self.let_in(stats, index, at);
        }
        match is_same {
            None => self.begin_to_read(stats, index, next),
            Some(is_same) if is_answer => self.rejoined(stats, index, at, joined, is_same),
            Some(is_same) => self.told(stats, index, at, joined, is_same),
        }
        let member = &mut self.members[index as usize];
        (member.epoch, member.log) = (Some(epoch), log);
        self.hear_count(index, joined.count.users);
    }

    /// The answer to a join came.
    fn let_in(&mut self, stats: &mut Stats, index: u32, at: u64) {
        self.joining -= 1;
        self.answered = at;
        let member = &mut self.members[index as usize];
        stats.histogram(names::JOIN).record(at.saturating_sub(member.asked_at));
        (member.place, member.is_barred) = (Place::Inside, false);
    }

    fn begin_to_read(&mut self, stats: &mut Stats, index: u32, next: u64) {
        self.members[index as usize].begin(next);
        stats.count(names::JOINS);
        self.room(index).present += 1;
        self.counts(index).joined.fetch_add(1, Ordering::AcqRel);
        self.lobby.joined.fetch_add(1, Ordering::AcqRel);
    }

    fn rejoined(
        &mut self,
        stats: &mut Stats,
        index: u32,
        at: u64,
        joined: &Joined<'_>,
        is_same: bool,
    ) {
        if std::mem::take(&mut self.members[index as usize].is_roving) {
            self.counts(index).is_away.store(false, Ordering::Release);
        }
        if let Some(lost_at) = self.returns.is_back(index) {
            stats.count_at(names::RETURNED, at);
            stats.histogram(names::BACK_IN_ROOM).record(at.saturating_sub(lost_at));
            // The last message may have gone with the connection.
            self.make_due(index);
        } else {
            stats.count(names::REJOINS);
        }
        let asked_since = self.members[index as usize].asked_since;
        if asked_since {
            stats.count(if joined.recovered { names::RECOVERED } else { names::NOT_RECOVERED });
        }
        if is_same && joined.recovered && asked_since {
            self.members[index as usize].resume(joined.offset);
        } else {
            self.go_on(stats, index, at, joined, (is_same, asked_since));
        }
    }

    /// A member is told that it has not got all, and where its room goes on.
    fn told(&mut self, stats: &mut Stats, index: u32, at: u64, joined: &Joined<'_>, is_same: bool) {
        stats.count(names::GAPS_TOLD);
        self.members[index as usize].was_told = true;
        self.doubt(index);
        if self.members[index as usize].own.unheard() > 0 {
            self.make_due(index);
        }
        self.go_on(stats, index, at, joined, (is_same, true));
    }

    /// A member goes on behind messages that it does not get: because the server `is_told` to have
    /// lost them, or because it was away.
    fn go_on(
        &mut self,
        stats: &mut Stats,
        index: u32,
        at: u64,
        joined: &Joined<'_>,
        (is_same, is_told): (bool, bool),
    ) {
        let next = joined.offset.wrapping_add(1);
        let published = self.counts(index).published.load(Ordering::Acquire);
        if !is_same {
            stats.count(names::EPOCHS_ENDED);
            return self.account(index, |member| member.drift(next, (at, published), is_told));
        }
        let missed = next.wrapping_sub(self.members[index as usize].reached());
        if missed >= 1 << 63 {
            return fail(stats, "a room_joined with an offset that the member had before");
        }
        // Whatever the offsets say, it has not missed more than was sent.
        let missed = missed.min(published);
        self.account(index, |member| member.skip(next, missed, is_told));
    }
}
