//! What is due to the members, what came, and what is known of the rest.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::Rooms;
use super::hear::fail;
use super::member::{Member, Place};
use crate::names;
use crate::stats::Stats;

/// Nanoseconds without a message until those that nobody has heard, and that may be lost with a
/// connection, are not waited for.
const QUIET_NANOSECONDS: u64 = 1_000_000_000;

impl Rooms {
    /// What is accounted for of a member changes.
    #[inline]
    pub(super) fn account(&mut self, index: u32, change: impl FnOnce(&mut Member)) {
        let member = &mut self.members[index as usize];
        let before = member.accounted();
        change(member);
        let (after, others) = (member.accounted(), self.accounted.saturating_sub(before));
        self.accounted = others.saturating_add(after);
    }

    /// Somebody has a message of the client with this number.
    pub(super) fn heard_of(&mut self, stats: &mut Stats, sender: u32, number: u32) {
        let Some(index) = sender.checked_sub(self.first) else { return };
        let Some(member) = self.members.get_mut(index as usize) else { return };
        let Some(heard) = member.own.hear(number) else { return };
        let counts = self.counts(index);
        if heard.was_refused {
            counts.published.fetch_add(1, Ordering::AcqRel);
            stats.count(names::REFUSED_AND_HEARD);
        }
        counts.heard.fetch_add(1, Ordering::AcqRel);
        counts.doubtful.fetch_sub(heard.was_doubtful.into(), Ordering::AcqRel);
    }

    /// Of what a member has sent and not heard, nobody knows whether it will come.
    pub(super) fn doubt(&mut self, index: u32) {
        let more = self.members[index as usize].own.doubt();
        self.counts(index).doubtful.fetch_add(more.into(), Ordering::AcqRel);
    }

    /// Whether nobody sends any more and all members have what was sent.
    pub(super) fn has_everything(&mut self) -> bool {
        self.is_complete = self.is_complete
            || (self.is_done
                && self.joining == 0
                && self.returns.away == 0
                && self.lobby.done.load(Ordering::Acquire)
                    >= self.lobby.threads.load(Ordering::Acquire)
                && self.accounted >= self.expected()
                && self.has_no_doubt());
        self.is_complete
    }

    /// What nobody has heard may still come, as long as anything does.
    fn has_no_doubt(&self) -> bool {
        let first = (self.first / self.talk.members) as usize;
        let mut counts = self.lobby.rooms[first..].iter().take(self.rooms.len());
        self.now.saturating_sub(self.heard_at) > QUIET_NANOSECONDS
            || counts.all(|counts| counts.unconfirmed() == 0)
    }

    /// What the members of this thread should have received, or been away for.
    fn expected(&self) -> u64 {
        let counts = &self.lobby.rooms[(self.first / self.talk.members) as usize..];
        self.rooms.iter().zip(counts).map(|(room, counts)| room.present * counts.due()).sum()
    }

    /// The rooms whose first member is of this thread: each is of one thread.
    fn own_rooms(&self) -> Range<usize> {
        let (first, end) = (self.first, self.first + self.members.len() as u32);
        let room = |number: u32| number.div_ceil(self.talk.members) as usize;
        room(first)..room(end)
    }

    /// Counts what never came, and what the members were told.
    pub(super) fn close_accounts(&self, stats: &mut Stats) {
        // Also where there are none: whoever reads them finds them.
        for name in [names::GAPS_TOLD, names::TOLD_LOST, names::UNAVAILABLE, names::UNCONFIRMED] {
            stats.count_many(name, 0);
        }
        for room in self.own_rooms() {
            stats.count_many(names::UNCONFIRMED, self.lobby.rooms[room].unconfirmed());
        }
        for &index in &self.order {
            let member = &self.members[index as usize];
            let counts = self.counts(index);
            let due = counts.due();
            // When an epoch ended, what nobody ever had was taken for lost as well.
            let nobodys = member.accounted().saturating_sub(due);
            stats.count_if_any(names::NOT_DUE, member.not_due);
            stats.count_many(names::TOLD_LOST, member.told_lost.saturating_sub(nobodys));
            match member.place {
                Place::Inside | Place::Left => {}
                Place::Joining if !member.is_barred && !self.returns.is_returning(index) => {
                    fail(stats, "no room_joined for a member that came back");
                }
                Place::Joining | Place::Away => {
                    stats.count(names::NEVER_BACK);
                    continue;
                }
                Place::Outside | Place::Lost => continue,
            }
            if member.place != Place::Joining {
                stats.messages.missing += due.saturating_sub(member.accounted());
                if member.accounted() > due && !member.is_adrift {
                    fail(stats, "offsets that count more messages than were sent");
                }
            }
            if !member.welcomed {
                fail(stats, "no welcome");
            }
            let is_stable = self.talk.rejoin_rate == 0.0
                && !member.was_told
                && counts.lost.load(Ordering::Acquire) == 0;
            let joined = counts.joined.load(Ordering::Acquire);
            if is_stable && member.heard != u64::from(joined) {
                fail(stats, "a last userCount that is not the number of members");
            }
        }
    }
}
