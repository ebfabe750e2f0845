//! The members of an audience on one shard, what was published to them, and when it goes out.
//!
//! Publications gather. A *round* takes all of them and hands the same shared bytes to each member
//! once. While a round is on, the members stand in three zones:
//!
//! ```text
//!   0 ……… next ……… end ……… len
//!   served │ waiting │ came after the round began
//! ```
//!
//! A member that leaves is replaced from its own zone, so that nobody is served twice or left out.
//! A member hears what was published after it came: of a round that began with older publications
//! it gets the rest.
//!
//! Pacing: sending costs a system call per member whatever the size, so where a round is expensive,
//! messages gather as long as they keep coming: for the cost of a round from the first (1 ms at
//! most), or until none came for a sixteenth of that. A message that comes after a quiet of ten
//! rounds goes out at once.

use std::collections::VecDeque;
use std::time::Duration;

use super::Batch;
use crate::collections::Key;
use crate::limits::{
    FANOUT_FREE_NANOSECONDS, FANOUT_GATHER_NANOSECONDS_MAX, FANOUT_PATIENCE_SHARE,
    FANOUT_QUIET_ROUNDS, FANOUT_SEND_NANOSECONDS, ROUND_BYTES_MAX,
};

/// A member's place; changes when others leave, and the audience tells.
pub type Seat = u32;

/// What time a round took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoundTimes {
    /// From its first send to its last.
    pub sending: Duration,
    /// From the arrival of its oldest publication on the shard to its last send.
    pub delay: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    key: Key,
    /// Bytes that had been published when it came: it hears what follows them.
    from: u64,
}

#[derive(Debug)]
struct Round {
    batch: Batch,
    /// Bytes that had been published before those of the batch.
    start: u64,
    /// The publications of the batch, bytes and frames of each.
    pieces: Vec<(usize, u32)>,
    next: usize,
    end: usize,
}

/// Members of one shard and their messages.
#[derive(Debug, Default)]
pub struct Audience {
    members: Vec<Member>,
    /// Each with the time at which it came: like the others, since the start of the shard.
    gathered: VecDeque<(Duration, Batch)>,
    gathered_bytes: usize,
    /// Bytes ever published.
    published: u64,
    round: Option<Round>,
    /// When the newest of `gathered` came, when the oldest of the last round came, and when that
    /// round began and ended.
    last: Duration,
    round_first: Duration,
    round_start: Duration,
    round_end: Duration,
}

impl Audience {
    /// Members on this shard.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a member. It hears everything that is published from now on.
    pub fn join(&mut self, key: Key) -> Seat {
        self.members.push(Member { key, from: self.published });
        (self.members.len() - 1) as Seat
    }

    /// Has the member on `seat` hear only what is published from now on.
    pub fn skip_to_now(&mut self, seat: Seat) {
        self.members[seat as usize].from = self.published;
    }

    /// Appends, out of turn, all that the member on `seat` has not been handed yet, and says how
    /// many frames. What is published from now on comes by itself.
    pub fn take_pending(&mut self, seat: Seat, out: &mut Vec<u8>) -> u32 {
        let member = self.members[seat as usize];
        let waiting = self
            .round
            .as_ref()
            .filter(|round| (round.next..round.end).contains(&(seat as usize)))
            .and_then(|round| round.share_of(member));
        let mut start = self.published - self.gathered_bytes as u64;
        let gathered = self.gathered.iter().map(|(_, batch)| batch).filter(|batch| {
            let is_new = start >= member.from;
            start += batch.frames.len() as u64;
            is_new
        });
        let mut count = 0;
        for batch in waiting.iter().chain(gathered) {
            out.extend_from_slice(&batch.frames);
            count += batch.count;
        }
        self.skip_to_now(seat);
        count
    }

    /// Removes the member on `seat` and calls `moved` for each member that changed its seat.
    pub fn leave(&mut self, seat: Seat, mut moved: impl FnMut(Key, Seat)) {
        let mut hole = seat as usize;
        if let Some(round) = &mut self.round {
            for border in [&mut round.next, &mut round.end] {
                if hole < *border {
                    *border -= 1;
                    let filler = *border;
                    hole = fill(&mut self.members, hole, filler, &mut moved);
                }
            }
        }
        let last = self.members.len() - 1;
        fill(&mut self.members, hole, last, &mut moved);
        self.members.pop();
    }

    /// Adds `batch` behind all that was published before.
    pub fn publish(&mut self, now: Duration, batch: Batch) {
        self.last = now;
        self.published += batch.frames.len() as u64;
        self.gathered_bytes += batch.frames.len();
        self.gathered.push_back((now, batch));
    }

    /// Bytes that were published and wait for a round.
    #[must_use]
    pub const fn gathered_bytes(&self) -> usize {
        self.gathered_bytes
    }

    /// Begins a round with the oldest publications: all of them, or as many as bring it to
    /// [`ROUND_BYTES_MAX`], since a member that is slow may keep a round's bytes alive. Says
    /// whether anybody is to be served.
    fn begin_round(&mut self, now: Duration) -> bool {
        assert!(self.round.is_none(), "one round at a time keeps the order");
        if self.members.is_empty() {
            self.gathered.clear();
            self.gathered_bytes = 0;
        }
        let start = self.published - self.gathered_bytes as u64;
        self.round_first = self.gathered.front().map_or(now, |(came, _)| *came);
        self.round_start = now;
        let mut pieces = Vec::new();
        let Some(batch) = self.take_gathered(&mut pieces) else { return false };
        self.round = Some(Round { batch, start, pieces, next: 0, end: self.members.len() });
        true
    }

    /// One publication goes out as it is, shared with other shards; several become one.
    fn take_gathered(&mut self, pieces: &mut Vec<(usize, u32)>) -> Option<Batch> {
        let mut bytes = 0;
        for (_, batch) in &self.gathered {
            if bytes >= ROUND_BYTES_MAX {
                break;
            }
            bytes += batch.frames.len();
            pieces.push((batch.frames.len(), batch.count));
        }
        self.gathered_bytes -= bytes;
        if pieces.len() < 2 {
            return self.gathered.pop_front().map(|(_, batch)| batch);
        }
        let parts = self.gathered.drain(..pieces.len()).map(|(_, batch)| batch);
        Some(Batch::join(parts, bytes))
    }

    /// When the next round may begin, or go on. `None`: there is nothing to send.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        if self.round.is_some() || self.gathered_bytes >= ROUND_BYTES_MAX {
            return Some(Duration::ZERO);
        }
        let &(first, _) = self.gathered.front()?;
        let pace = Pace::of(self.members.len() as u64);
        if first >= self.round_end + pace.quiet {
            return Some(first);
        }
        let bound = first.max(self.round_end) + pace.bound;
        let patience = self.last.max(self.round_end) + pace.patience;
        Some(bound.min(patience))
    }

    /// Hands what is due at `now` to up to `max` members; begins a round when none is on. Says
    /// whether the last of a round was served: [`end_round`](Self::end_round) is to follow when
    /// everything was sent.
    pub fn serve(&mut self, now: Duration, max: usize, sends: &mut Vec<(Key, Batch)>) -> bool {
        if self.due().is_none_or(|due| due > now)
            || (self.round.is_none() && !self.begin_round(now))
        {
            return false;
        }
        for _ in 0..max {
            match self.next_in_round() {
                Some(send) => sends.push(send),
                None => return true,
            }
        }
        false
    }

    /// The next member to serve and what it gets; ends the round behind the last.
    fn next_in_round(&mut self) -> Option<(Key, Batch)> {
        let round = self.round.as_mut()?;
        while round.next < round.end {
            let member = self.members[round.next];
            round.next += 1;
            if let Some(batch) = round.share_of(member) {
                return Some((member.key, batch));
            }
        }
        self.round = None;
        None
    }

    /// The sends of a round were made, and it is `now`.
    pub const fn end_round(&mut self, now: Duration) -> RoundTimes {
        self.round_end = now;
        RoundTimes {
            sending: now.saturating_sub(self.round_start),
            delay: now.saturating_sub(self.round_first),
        }
    }
}

impl Round {
    /// What was published after the member came.
    fn share_of(&self, member: Member) -> Option<Batch> {
        let mut start = self.start;
        if member.from <= start {
            return Some(self.batch.clone());
        }
        let (mut skipped, mut count) = (0, self.batch.count);
        for &(bytes, frames) in &self.pieces {
            if start >= member.from {
                break;
            }
            start += bytes as u64;
            skipped += bytes;
            count -= frames;
        }
        (count > 0).then(|| self.batch.behind(skipped, count))
    }
}

/// How long messages gather.
struct Pace {
    /// After the end of a round, nothing is expected any more.
    quiet: Duration,
    /// From the first that came.
    bound: Duration,
    /// From the last that came.
    patience: Duration,
}

impl Pace {
    fn of(members: u64) -> Self {
        let cost = members * FANOUT_SEND_NANOSECONDS;
        let bound = match cost {
            ..FANOUT_FREE_NANOSECONDS => 0,
            _ => cost.min(FANOUT_GATHER_NANOSECONDS_MAX),
        };
        Self {
            quiet: Duration::from_nanos(cost * FANOUT_QUIET_ROUNDS),
            bound: Duration::from_nanos(bound),
            patience: Duration::from_nanos(bound / FANOUT_PATIENCE_SHARE),
        }
    }
}

/// Moves the member at `filler` into `hole`; the hole is then where the filler was.
fn fill(
    members: &mut [Member],
    hole: usize,
    filler: usize,
    moved: &mut impl FnMut(Key, Seat),
) -> usize {
    if hole != filler {
        members[hole] = members[filler];
        moved(members[hole].key, hole as Seat);
    }
    filler
}

#[cfg(test)]
mod tests;
