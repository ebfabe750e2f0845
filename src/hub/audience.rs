//! The members of an audience on one shard, what was published to them, and when it goes out.
//!
//! Messages gather in one buffer of encoded frames. A *round* takes all of it and hands the same
//! shared bytes to each member once. While a round is on, the members stand in three zones:
//!
//! ```text
//!   0 ……… next ……… end ……… len
//!   served │ waiting │ came after the round began
//! ```
//!
//! A member that leaves is replaced from its own zone, so that nobody is served twice or left out.
//!
//! Pacing: sending costs a system call per member whatever the size, so where a round is expensive,
//! messages gather as long as they keep coming: for the cost of a round from the first (1 ms at
//! most), or until none came for a sixteenth of that. A message that comes after a quiet of ten
//! rounds goes out at once.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::collections::Key;
use crate::limits::{
    FANOUT_FREE_NANOSECONDS, FANOUT_GATHER_NANOSECONDS_MAX, FANOUT_PATIENCE_SHARE,
    FANOUT_QUIET_ROUNDS, FANOUT_SEND_NANOSECONDS, ROUND_BYTES_MAX,
};

/// A member's place; changes when others leave, and the audience tells.
pub type Seat = u32;

/// Encoded frames that go to every member in one piece.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Whole frames, one after the other.
    pub frames: Bytes,
    /// How many.
    pub count: u32,
}

#[derive(Debug)]
struct Round {
    batch: Batch,
    next: usize,
    end: usize,
}

/// Members of one shard and their messages.
#[derive(Debug, Default)]
pub struct Audience {
    members: Vec<Key>,
    gathered: BytesMut,
    /// What each publication added to `gathered`: bytes and frames.
    pieces: VecDeque<(usize, u32)>,
    round: Option<Round>,
    /// When the oldest and the newest of `gathered` came, and when the last round ended: all since
    /// the start of the shard.
    first: Duration,
    last: Duration,
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

    /// Adds a member. It hears every round that begins from now on.
    pub fn join(&mut self, member: Key) -> Seat {
        self.members.push(member);
        (self.members.len() - 1) as Seat
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

    /// Adds `count` encoded frames behind all that were published before.
    pub fn publish(&mut self, now: Duration, frames: &[u8], count: u32) {
        if self.pieces.is_empty() {
            self.first = now;
        }
        self.last = now;
        self.gathered.extend_from_slice(frames);
        self.pieces.push_back((frames.len(), count));
    }

    /// Bytes that were published and wait for a round.
    #[must_use]
    pub fn gathered_bytes(&self) -> usize {
        self.gathered.len()
    }

    /// Takes the oldest publications for a round: all of them, or as many as bring it to
    /// [`ROUND_BYTES_MAX`], since a member that is slow may keep a round's bytes alive.
    pub fn take_gathered(&mut self) -> Option<Batch> {
        let (mut bytes, mut count) = (0, 0);
        while bytes < ROUND_BYTES_MAX
            && let Some((more_bytes, more_count)) = self.pieces.pop_front()
        {
            bytes += more_bytes;
            count += more_count;
        }
        // A copy: a share of the buffer would keep all of it alive for as long as one slow member.
        let frames = Bytes::copy_from_slice(&self.gathered[..bytes]);
        self.gathered.advance(bytes);
        (count > 0).then_some(Batch { frames, count })
    }

    /// When the next round may begin, or go on. `None`: there is nothing to send.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        if self.round.is_some() || self.gathered.len() >= ROUND_BYTES_MAX {
            return Some(Duration::ZERO);
        }
        if self.pieces.is_empty() {
            return None;
        }
        let pace = Pace::of(self.members.len() as u64);
        if self.first >= self.round_end + pace.quiet {
            return Some(self.first);
        }
        let bound = self.first.max(self.round_end) + pace.bound;
        let patience = self.last.max(self.round_end) + pace.patience;
        Some(bound.min(patience))
    }

    /// Begins a round with `batch`. One that is still on must have ended.
    pub fn begin_round(&mut self, batch: Batch) {
        assert!(self.round.is_none(), "one round at a time keeps the order");
        if !self.members.is_empty() {
            self.round = Some(Round { batch, next: 0, end: self.members.len() });
        }
    }

    /// Whether a round is on.
    #[must_use]
    pub const fn in_round(&self) -> bool {
        self.round.is_some()
    }

    /// The next member to serve and what it gets; ends the round behind the last.
    pub fn next_in_round(&mut self) -> Option<(Key, Batch)> {
        let round = self.round.as_mut()?;
        if round.next == round.end {
            self.round = None;
            return None;
        }
        let member = self.members[round.next];
        round.next += 1;
        Some((member, round.batch.clone()))
    }

    /// A round has ended at `now`.
    pub const fn end_round(&mut self, now: Duration) {
        self.round_end = now;
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
    members: &mut [Key],
    hole: usize,
    filler: usize,
    moved: &mut impl FnMut(Key, Seat),
) -> usize {
    if hole != filler {
        members[hole] = members[filler];
        moved(members[hole], hole as Seat);
    }
    filler
}

#[cfg(test)]
mod tests;
