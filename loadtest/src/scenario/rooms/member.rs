//! One member of a room: where it is, what it has said, and how far it has read.

use std::sync::Arc;

use crate::scenario::window::{Arrival, Window};

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) place: Place,
    pub(super) welcomed: bool,
    /// The server it is connected to.
    pub(super) node: u32,
    pub(super) own: Own,
    /// Which offsets have come.
    pub(super) offsets: Window,
    /// The first offset that is due in this epoch, and how many have come, from there on.
    base: u64,
    pub(super) came: u64,
    /// When it joined again: the last offset it had when it left; the first that had not come
    /// until it was back, for some come after it has asked to leave; and the last that is history.
    pub(super) left_at: u64,
    pub(super) had: u64,
    pub(super) past: u64,
    /// It has asked for what it missed when it joined last.
    pub(super) asked_since: bool,
    /// It has left to join again, and nobody else of its room may meanwhile.
    pub(super) is_roving: bool,
    /// It is among those that are to speak, where there is no schedule.
    pub(super) is_due: bool,
    /// It was told of a gap.
    pub(super) was_told: bool,
    /// The server had no room for it when it asked to join last.
    pub(super) is_barred: bool,
    /// Messages that it has received; that were sent while it was away; and that the server told
    /// it are lost.
    pub(super) received: u64,
    pub(super) not_due: u64,
    pub(super) told_lost: u64,
    /// Offsets of earlier epochs that never came.
    holes: u64,
    /// An epoch of its room has ended, and nobody knows how far it had gone.
    pub(super) is_adrift: bool,
    /// When the present one began for it: what was sent before is accounted for until it comes.
    pub(super) adrift_since: u64,
    /// The log of the epoch before, and how far it had read that.
    pub(super) earlier: Option<(u32, u64)>,
    /// When it asked to join.
    pub(super) asked_at: u64,
    /// Users of its room when the last one joined.
    pub(super) heard: u64,
    pub(super) epoch: Option<Epoch>,
    /// The log of its epoch.
    pub(super) log: u32,
}

/// Within what offsets count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Epoch {
    /// The server whose count it is; the same for all where there is one order.
    pub(super) node: u32,
    /// Its name, as JSON.
    pub(super) name: Arc<str>,
}

/// What a member has said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    /// Messages it has sent, and the server has refused.
    pub(super) sent: u32,
    pub(super) refused: u32,
    /// Which of them came to somebody of this thread, and how many.
    known: Window,
    heard: u32,
    /// Messages below this number that had not come when the member lost its connection or was
    /// told of a gap, and have not come since.
    doubt_end: u32,
    doubtful: u32,
}

/// What is new with a message of a member that comes to somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Heard {
    /// Nobody knew whether it would come.
    pub(super) was_doubtful: bool,
    /// The server has refused it, and delivers it all the same.
    pub(super) was_refused: bool,
}

/// Where a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Outside,
    /// Has asked to join, for the first time or again.
    Joining,
    Inside,
    /// Has left for good.
    Left,
    /// Its connection was lost, and it will be back.
    Away,
    /// Its connection was lost for good.
    Lost,
}

impl Member {
    /// One that has asked for nothing.
    pub(super) const NEW: Self = Self {
        place: Place::Outside,
        welcomed: false,
        node: 0,
        own: Own::NOTHING,
        offsets: Window::awaiting(0),
        base: 0,
        came: 0,
        left_at: 0,
        had: 0,
        past: 0,
        asked_since: false,
        is_roving: false,
        is_due: false,
        was_told: false,
        is_barred: false,
        received: 0,
        not_due: 0,
        told_lost: 0,
        holes: 0,
        is_adrift: false,
        adrift_since: 0,
        earlier: None,
        asked_at: 0,
        heard: 0,
        epoch: None,
        log: 0,
    };

    /// Messages that it has, or need not have.
    pub(super) const fn accounted(&self) -> u64 {
        self.received.saturating_add(self.not_due).saturating_add(self.told_lost)
    }

    /// The first offset that it has not, but for holes.
    pub(super) fn reached(&self) -> u64 {
        self.offsets.next().max(self.had)
    }

    /// It is in a room for the first time, and `next` is the first offset that is due.
    pub(super) const fn begin(&mut self, next: u64) {
        self.offsets = Window::awaiting(next);
        self.base = next;
        self.came = 0;
    }

    /// It is back, and all since it left follows, up to the offset `past`.
    pub(super) fn resume(&mut self, past: u64) {
        self.had = self.reached();
        self.offsets = Window::awaiting(self.left_at.wrapping_add(1));
        self.past = past;
    }

    /// It goes on with the offset `next` of the same epoch; `missed` messages lie between.
    pub(super) fn skip(&mut self, next: u64, missed: u64, is_told: bool) {
        self.base = self.base.wrapping_add(missed);
        *self.missed(is_told) += missed;
        self.go_on(next);
    }

    /// It goes on with the offset `next` of another epoch. What was `published` until `now` and has
    /// not come is accounted for, but for holes that nothing was told of.
    pub(super) fn drift(&mut self, next: u64, (now, published): (u64, u64), is_told: bool) {
        let span = self.reached().wrapping_sub(self.base);
        self.holes += span.saturating_sub(self.came).min(published);
        self.earlier = Some((self.log, self.reached()));
        let missed = published.saturating_sub(self.accounted()).saturating_sub(self.holes);
        *self.missed(is_told) += missed;
        (self.is_adrift, self.adrift_since) = (true, now);
        (self.base, self.came) = (next, 0);
        self.go_on(next);
    }

    /// A message comes for the first time that was sent at `sent`.
    pub(super) const fn receive(&mut self, sent: u64) {
        self.received += 1;
        if sent >= self.adrift_since {
            return;
        }
        // It was taken for lost with the epoch.
        if self.told_lost > 0 {
            self.told_lost -= 1;
        } else if self.not_due > 0 {
            self.not_due -= 1;
        }
    }

    const fn go_on(&mut self, next: u64) {
        self.offsets = Window::awaiting(next);
        (self.had, self.past) = (0, 0);
    }

    const fn missed(&mut self, is_told: bool) -> &mut u64 {
        if is_told { &mut self.told_lost } else { &mut self.not_due }
    }
}

impl Own {
    const NOTHING: Self = Self {
        sent: 0,
        refused: 0,
        known: Window::awaiting(0),
        heard: 0,
        doubt_end: 0,
        doubtful: 0,
    };

    /// Messages that have come to nobody of this thread, and were not refused.
    pub(super) const fn unheard(&self) -> u32 {
        self.sent.wrapping_sub(self.refused).wrapping_sub(self.heard)
    }

    /// A message came to somebody. Gives back what that changes, if it is the first time.
    pub(super) fn hear(&mut self, number: u32) -> Option<Heard> {
        if self.known.take_low_bits(number) == Arrival::Again {
            return None;
        }
        // More than were sent have come or were refused: one of them was both.
        let was_refused = self.unheard() == 0 && self.refused > 0;
        if was_refused {
            self.refused -= 1;
        }
        self.heard = self.heard.wrapping_add(1);
        let is_before = (number.wrapping_sub(self.doubt_end) as i32) < 0;
        let was_doubtful = is_before && self.doubtful > 0;
        self.doubtful -= u32::from(was_doubtful);
        Some(Heard { was_doubtful, was_refused })
    }

    /// The server has refused a message, nobody knows which of those that have not come. Gives
    /// back whether it was in doubt.
    pub(super) const fn refuse(&mut self) -> bool {
        self.refused = self.refused.wrapping_add(1);
        let was_doubtful = self.doubtful > self.unheard();
        self.doubtful -= was_doubtful as u32;
        was_doubtful
    }

    /// All that has not come is in doubt. Gives back how much more that is.
    pub(super) const fn doubt(&mut self) -> u32 {
        let unheard = self.unheard();
        let more = unheard.saturating_sub(self.doubtful);
        (self.doubtful, self.doubt_end) = (unheard, self.sent);
        more
    }

    /// Whether this is the number of the last message.
    pub(super) const fn is_last(&self, number: u32) -> bool {
        number == self.sent.wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        let mut member = Member::NEW;
        member.begin(1);
        member
    }

    fn take(member: &mut Member, offset: u64, sent: u64) {
        assert_ne!(member.offsets.take(offset), Arrival::Again);
        member.came += 1;
        member.receive(sent);
    }

    #[test]
    fn a_gap_is_accounted_for_and_a_hole_is_not() {
        let mut member = member();
        // 2 never comes; 4 to 6 are told.
        [1, 3].into_iter().for_each(|offset| take(&mut member, offset, 0));
        member.skip(7, 3, true);
        take(&mut member, 7, 0);
        assert_eq!((member.accounted(), member.told_lost), (6, 3));
        // The epoch ends, when 9 were published: one of them is the hole.
        member.drift(1, (50, 9), true);
        assert_eq!((member.accounted(), member.told_lost, member.holes), (8, 5, 1));
        assert_eq!(member.earlier, Some((0, 8)));
    }

    #[test]
    fn what_was_on_its_way_when_an_epoch_began_is_not_lost() {
        let mut member = member();
        take(&mut member, 1, 10);
        member.drift(1, (50, 4), true);
        assert_eq!((member.accounted(), member.told_lost), (4, 3));
        take(&mut member, 1, 40);
        take(&mut member, 2, 60);
        assert_eq!((member.accounted(), member.told_lost), (5, 2));
    }

    #[test]
    fn a_replay_may_be_cut_short() {
        let mut member = member();
        (1..=5).for_each(|offset| take(&mut member, offset, 0));
        member.left_at = 3;
        member.resume(9);
        assert_eq!((member.had, member.reached()), (6, 6));
        take(&mut member, 4, 0);
        assert_eq!(member.reached(), 6);
    }

    #[test]
    fn doubts_are_settled_by_what_comes() {
        let heard = |was_doubtful| Some(Heard { was_doubtful, was_refused: false });
        let mut own = Own { sent: 4, refused: 1, ..Own::NOTHING };
        assert_eq!(own.hear(0), heard(false));
        assert_eq!((own.unheard(), own.doubt()), (2, 2));
        own.sent += 1;
        // The last was sent after the doubt.
        assert_eq!((own.hear(4), own.hear(4)), (heard(false), None));
        assert_eq!((own.hear(1), own.doubtful), (heard(true), 1));
        assert_eq!((own.doubt(), own.doubtful), (0, 1));
        assert!(own.is_last(4) && !own.is_last(3));
        // What is refused is in doubt no more; what comes was not refused.
        assert!(own.refuse());
        assert_eq!((own.unheard(), own.doubtful, own.refused), (0, 0, 2));
        assert_eq!(own.hear(2), Some(Heard { was_doubtful: false, was_refused: true }));
        assert_eq!((own.unheard(), own.refused), (0, 1));
    }
}
