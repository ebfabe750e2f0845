//! What a peer has not taken yet: shared and own bytes in order, bounded, and at most one pong.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::collections::Tick;
use crate::limits::{BACKLOG_BYTES_MAX, BACKLOG_SEGMENT_COST};
use crate::protocol::{OpCode, encode_frame, unsent_messages};

/// The peer owes the reading of more than [`BACKLOG_BYTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overflow {
    /// Messages that waited and are dropped.
    pub dropped: u64,
}

/// What became of bytes that were to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Taken {
    /// Bytes that have gone.
    pub sent: usize,
    /// Bytes behind them that are in TLS records: their place cannot be given to others.
    pub sealed: usize,
}

impl Taken {
    /// Where there is no TLS.
    #[must_use]
    pub const fn of(sent: usize) -> Self {
        Self { sent, sealed: 0 }
    }
}

/// Bytes that wait for room in the socket. Exists only while there are any.
#[derive(Debug)]
pub struct Backlog {
    segments: VecDeque<Segment>,
    /// Of the publications: replies are what the peer has asked for, and are bounded for all of a
    /// shard.
    cost: usize,
    /// Bytes of replies that were ever added: copies of our own, unlike the shared publications.
    replies: usize,
    /// Bytes that wait.
    bytes: usize,
    /// The first of them, which are in TLS records already: they must go before anything else.
    sealed: usize,
    progress: Tick,
    /// Section 5.5.3: only the newest ping need be answered.
    pong: Option<Box<[u8]>>,
}

/// Whole frames.
#[derive(Debug)]
struct Segment {
    frames: Bytes,
    /// Bytes that the socket took.
    sent: usize,
    is_reply: bool,
}

impl Segment {
    fn rest(&self) -> &[u8] {
        &self.frames[self.sent..]
    }

    /// What it takes of the bound.
    fn cost(&self) -> usize {
        if self.is_reply { 0 } else { self.rest().len() + BACKLOG_SEGMENT_COST }
    }
}

impl Backlog {
    pub(super) const fn new(now: Tick) -> Self {
        Self {
            segments: VecDeque::new(),
            cost: 0,
            replies: 0,
            bytes: 0,
            sealed: 0,
            progress: now,
            pong: None,
        }
    }

    /// The segments to send, in order.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().map(Segment::rest)
    }

    /// When the peer last took a byte.
    pub(super) const fn progress(&self) -> Tick {
        self.progress
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that wait, or of which a part does.
    pub(super) fn unsent_messages(&self) -> u64 {
        unsent(self.segments.iter())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Appends frames, of which a part may be `sent` already if nothing waits in front of them.
    fn push(&mut self, segment: Segment) {
        assert!(segment.sent == 0 || self.is_empty(), "a rest goes out before anything else");
        self.cost += segment.cost();
        self.bytes += segment.rest().len();
        self.segments.push_back(segment);
    }

    /// Appends a reply of which a part may be taken, if nothing waits in front of it.
    pub(super) fn push_reply(&mut self, frames: Bytes, taken: Taken) {
        self.replies += frames.len();
        self.push(Segment { frames, sent: taken.sent, is_reply: true });
        self.sealed += taken.sealed;
    }

    /// Bytes of replies that were added since this was asked last.
    pub(super) fn take_replies(&mut self) -> usize {
        std::mem::take(&mut self.replies)
    }

    /// Appends a publication; `false`, and nothing done, if the peer owes too much already.
    pub(super) fn push_bounded(&mut self, frames: Bytes, taken: Taken) -> bool {
        let has_room = self.cost <= BACKLOG_BYTES_MAX;
        if has_room {
            self.push(Segment { frames, sent: taken.sent, is_reply: false });
            self.sealed += taken.sealed;
        }
        has_room
    }

    pub(super) fn owe_pong(&mut self, payload: &[u8]) {
        self.pong = Some(payload.into());
    }

    pub(super) fn forget_pong(&mut self) {
        self.pong = None;
    }

    /// The peer takes bytes, be they a part of a record only.
    pub(super) const fn touch(&mut self, now: Tick) {
        self.progress = now;
    }

    /// The first bytes are `taken`, as [`Taken`] says.
    pub(super) fn advance(&mut self, taken: Taken) {
        let Taken { mut sent, sealed } = taken;
        self.bytes -= sent;
        self.sealed = sealed;
        while sent > 0 {
            let first = self.segments.front_mut().expect("no more was sent than was queued");
            let part = sent.min(first.rest().len());
            sent -= part;
            let cost = first.cost();
            first.sent += part;
            if first.rest().is_empty() {
                self.cost -= cost;
                self.segments.pop_front();
            } else {
                self.cost -= cost - first.cost();
            }
        }
        if self.is_empty()
            && let Some(payload) = self.pong.take()
        {
            let mut frame = Vec::with_capacity(payload.len() + 2);
            encode_frame(&mut frame, OpCode::Pong, &payload);
            self.push(Segment { frames: frame.into(), sent: 0, is_reply: true });
        }
    }

    /// Keeps only what the peer has begun to receive, or what is sealed, up to the end of a
    /// segment, which is that of a frame; appends `last`. Says how many messages are dropped.
    pub(super) fn cut(&mut self, last: Bytes) -> u64 {
        let mut sealed = self.sealed;
        let mut is_begun = |segment: &Segment| {
            let is_begun = segment.sent > 0 || sealed > 0;
            sealed = sealed.saturating_sub(segment.rest().len());
            is_begun
        };
        let begun = self.segments.iter().take_while(|segment| is_begun(segment)).count();
        let dropped = self.segments.split_off(begun);
        self.cost = self.segments.iter().map(Segment::cost).sum();
        self.bytes = self.segments.iter().map(|segment| segment.rest().len()).sum();
        self.push(Segment { frames: last, sent: 0, is_reply: true });
        unsent(dropped.iter())
    }
}

fn unsent<'a>(segments: impl Iterator<Item = &'a Segment>) -> u64 {
    segments.map(|segment| unsent_messages(&segment.frames, segment.sent)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(backlog: &Backlog) -> Vec<u8> {
        backlog.segments().flatten().copied().collect()
    }

    #[test]
    fn bytes_leave_in_order_whatever_the_socket_takes() {
        let all: Vec<u8> = (0..=255).collect();
        for step in 1..=40 {
            let mut backlog = Backlog::new(0);
            for part in all.chunks(17) {
                assert!(backlog.push_bounded(Bytes::copy_from_slice(part), Taken::default()));
            }
            let mut sent = Vec::new();
            while !backlog.is_empty() {
                let rest = flat(&backlog);
                let taken = step.min(rest.len());
                sent.extend_from_slice(&rest[..taken]);
                backlog.advance(Taken::of(taken));
            }
            assert_eq!(sent, all);
            assert_eq!(backlog.cost, 0);
        }
    }

    #[test]
    fn the_bound_holds_but_never_blocks_an_empty_backlog() {
        let mut backlog = Backlog::new(0);
        let large = Bytes::from(vec![0; BACKLOG_BYTES_MAX + 1]);
        assert!(backlog.push_bounded(large.clone(), Taken::default()));
        assert!(!backlog.push_bounded(Bytes::from_static(b"x"), Taken::default()));
        backlog.advance(Taken::of(large.len()));
        assert!(backlog.is_empty());
        assert_eq!(backlog.cost, 0);
    }

    #[test]
    fn what_a_peer_has_asked_for_does_not_make_it_slow() {
        let mut backlog = Backlog::new(0);
        let large = Bytes::from(vec![0; BACKLOG_BYTES_MAX + 1]);
        backlog.push_reply(large.clone(), Taken::default());
        assert!(backlog.push_bounded(Bytes::from_static(b"x"), Taken::default()));
        assert!(backlog.push_bounded(large.clone(), Taken::default()));
        assert!(!backlog.push_bounded(Bytes::from_static(b"x"), Taken::default()));
        backlog.advance(Taken::of(large.len() + 1));
        assert_eq!(backlog.cost, large.len() + BACKLOG_SEGMENT_COST);
        backlog.advance(Taken::of(5));
        assert_eq!(backlog.cost, large.len() - 5 + BACKLOG_SEGMENT_COST);
        backlog.advance(Taken::of(large.len() - 5));
        assert!(backlog.is_empty());
        assert_eq!(backlog.cost, 0);
    }

    fn message(text: &str) -> Bytes {
        let mut frame = Vec::new();
        encode_frame(&mut frame, OpCode::Text, text.as_bytes());
        frame.into()
    }

    #[test]
    fn a_cut_keeps_the_begun_segment_and_ends_with_the_last_word() {
        let mut backlog = Backlog::new(0);
        for text in ["first", "second", "third"] {
            backlog.push_reply(message(text), Taken::default());
        }
        backlog.advance(Taken::of(4));
        assert_eq!(backlog.unsent_messages(), 3);
        assert_eq!(backlog.cut(Bytes::from_static(b"!")), 2);
        assert_eq!((flat(&backlog).as_slice(), backlog.bytes()), (&b"rst!"[..], 4));

        let mut rest = Backlog::new(0);
        rest.push_reply(message("first"), Taken::of(4));
        assert!(
            rest.push_bounded(
                [message("second"), message("third")].concat().into(),
                Taken::default()
            )
        );
        assert_eq!(rest.bytes(), 3 + 8 + 7);
        assert_eq!(rest.cut(Bytes::from_static(b"!")), 2);
        assert_eq!(flat(&rest), b"rst!");

        let mut untouched = Backlog::new(0);
        untouched.push_reply(message("first"), Taken::default());
        assert_eq!(untouched.cut(Bytes::from_static(b"!")), 1);
        assert_eq!(flat(&untouched), b"!");
    }

    #[test]
    fn only_the_newest_pong_is_owed_and_it_comes_last() {
        let mut backlog = Backlog::new(0);
        backlog.push_reply(Bytes::from_static(b"data"), Taken::default());
        backlog.owe_pong(b"old");
        backlog.owe_pong(b"new");
        backlog.advance(Taken::of(4));
        assert_eq!(flat(&backlog), b"\x8a\x03new");
        backlog.advance(Taken::of(5));
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_cut_keeps_what_is_sealed() {
        for (sealed, kept) in [(0, "!"), (1, "first!"), (7, "first!"), (8, "firstsecond!")] {
            let mut backlog = Backlog::new(0);
            backlog.push_reply(message("first"), Taken { sent: 0, sealed });
            backlog.push_reply(message("second"), Taken::default());
            backlog.push_reply(message("third"), Taken::default());
            backlog.cut(Bytes::from_static(b"!"));
            let text = flat(&backlog).into_iter().filter(|byte| byte.is_ascii_graphic());
            assert_eq!(String::from_utf8(text.collect()).as_deref(), Ok(kept), "{sealed}");
            backlog.advance(Taken::of(backlog.bytes() - 1));
            assert_eq!((flat(&backlog).as_slice(), backlog.sealed), (&b"!"[..], 0));
        }
    }
}
