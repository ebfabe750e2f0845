//! What a connection keeps for its peer while the socket has no room.

use bytes::Bytes;

use super::{Backlog, CloseReason, CodeClass, Connection, Overflow, State, Workshop};
use crate::collections::Tick;
use crate::limits::REPLIES_KEPT_BYTES_MAX;
use crate::protocol::{CloseCode, begun_frame, encode_close, unsent_messages};

impl Connection {
    /// Keeps the rest of a reply of which the socket took `sent` bytes. Bounded by what one read
    /// can cause, since none follows before it is sent, and for all connections of a shard by
    /// [`REPLIES_KEPT_BYTES_MAX`]: past that the connection is aborted. Says how many messages are
    /// lost by that.
    pub fn keep_reply(
        &mut self,
        now: Tick,
        reply: &[u8],
        sent: usize,
        workshop: &mut Workshop,
    ) -> u64 {
        // The frame that was begun is kept whole: it can be counted then.
        let begun = begun_frame(reply, sent);
        let rest = &reply[begun..];
        if workshop.replies_kept + rest.len() > REPLIES_KEPT_BYTES_MAX {
            self.abort(CloseReason::Overloaded);
            return unsent_messages(reply, sent);
        }
        workshop.replies_kept += rest.len();
        self.on_backlog(now, workshop, |backlog| {
            backlog.push_reply(Bytes::copy_from_slice(rest), sent - begun);
        });
        0
    }

    /// Keeps the rest of a publication of which the socket took `sent` bytes.
    ///
    /// # Errors
    /// When the peer owes too much: this publication and what it has not begun to receive is
    /// dropped then, and the connection is failing.
    pub fn keep_publication(
        &mut self,
        now: Tick,
        frames: Bytes,
        sent: usize,
        workshop: &mut Workshop,
    ) -> Result<(), Overflow> {
        if self.on_backlog(now, workshop, |backlog| backlog.push_bounded(frames, sent)) {
            return Ok(());
        }
        Err(Overflow { dropped: self.fail_slow(now, workshop) })
    }

    /// The socket took `sent` bytes of the backlog.
    pub fn on_backlog_sent(&mut self, now: Tick, sent: usize, workshop: &mut Workshop) {
        let is_empty = self.on_backlog(now, workshop, |backlog| {
            backlog.advance(now, sent);
            backlog.is_empty()
        });
        if is_empty {
            self.drop_backlog(workshop);
            // Nothing was read and no ping was sent meanwhile: its silence counts from here.
            self.pinged = false;
            self.on_held_back(now);
        }
    }

    /// Drops what the peer does not read, but for the frames it has begun to receive, and says
    /// why behind them. Gives the number of messages dropped that were kept before.
    fn fail_slow(&mut self, now: Tick, workshop: &mut Workshop) -> u64 {
        let mut close = Vec::new();
        encode_close(&mut close, CloseCode::POLICY.0, "slow reader");
        let (replies, dropped) = self.on_backlog(now, workshop, |backlog| {
            (backlog.take_replies(), backlog.cut(close.into()))
        });
        workshop.replies_kept -= replies;
        let code = CodeClass::of(Some(CloseCode::POLICY.0));
        self.leave_open(now, State::Failing, CloseReason::SlowReader, code);
        dropped
    }

    pub(super) fn drop_backlog(&mut self, workshop: &mut Workshop) -> u64 {
        let Some(mut backlog) = self.backlog.take() else { return 0 };
        workshop.replies_kept -= backlog.take_replies();
        workshop.backlogs -= 1;
        workshop.backlog_bytes -= backlog.bytes();
        backlog.unsent_messages()
    }

    /// Works on the backlog, a new one if need be, and keeps the account of all backlogs.
    fn on_backlog<R>(
        &mut self,
        now: Tick,
        workshop: &mut Workshop,
        work: impl FnOnce(&mut Backlog) -> R,
    ) -> R {
        let backlog = self.backlog.get_or_insert_with(|| {
            workshop.backlogs += 1;
            Box::new(Backlog::new(now))
        });
        let before = backlog.bytes();
        let result = work(backlog);
        workshop.backlog_bytes = workshop.backlog_bytes + backlog.bytes() - before;
        result
    }
}
