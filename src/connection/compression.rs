//! The compressed messages of one connection (RFC 7692).

use super::Workshop;
use crate::protocol::deflate::{Agreement, History, Inflater};
use crate::protocol::{MessageKind, ProtocolError, Role};

/// Which form of a message a peer can be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hears {
    /// As it is: nothing was agreed to.
    Plain,
    /// A copy that is the same for all of its kind: no context takeover, and the window of the
    /// workshop (RFC 7692 section 7.1).
    Shared,
    /// A copy of its own: its window is smaller, or depends on what it heard before.
    Own,
}

/// What was agreed to, and what the next messages may refer to. Without context takeover that is
/// nothing.
#[derive(Debug)]
pub(super) struct Compression {
    agreement: Option<Agreement>,
    histories: Option<Box<Histories>>,
}

#[derive(Debug)]
struct Histories {
    sent: History,
    received: History,
}

impl Compression {
    pub(super) const fn new(agreement: Option<Agreement>) -> Self {
        Self { agreement, histories: None }
    }

    pub(super) const fn is_agreed(&self) -> bool {
        self.agreement.is_some()
    }

    pub(super) fn hears(&self, workshop: &Workshop) -> Hears {
        match &self.agreement {
            None => Hears::Plain,
            Some(agreement)
                if !agreement.takes_over(Role::Server)
                    && agreement.window_bits(Role::Server) == workshop.shared_window_bits =>
            {
                Hears::Shared
            }
            Some(_) => Hears::Own,
        }
    }

    /// What a message contains; text is UTF-8 then (RFC 7692 section 6.2).
    pub(super) fn inflate<'a>(
        &mut self,
        inflater: &'a mut Inflater,
        kind: MessageKind,
        compressed: &[u8],
        limit: usize,
    ) -> Result<&'a [u8], ProtocolError> {
        let history = self.history(Role::Client);
        let message = inflater.inflate(history, compressed, limit)?;
        if kind == MessageKind::Text && simdutf8::basic::from_utf8(message).is_err() {
            return Err(ProtocolError::TextInvalid);
        }
        Ok(message)
    }

    pub(super) fn deflate(
        &mut self,
        workshop: &mut Workshop,
        frames: &[u8],
        out: &mut Vec<u8>,
    ) -> u64 {
        let Some(agreement) = self.agreement else {
            out.extend_from_slice(frames);
            return 0;
        };
        let sending = workshop.sending(agreement.window_bits(Role::Server));
        let history = self.history(Role::Server);
        workshop.deflater.deflate_frames(sending, history, frames, out)
    }

    /// Bytes of memory that it occupies beside the connection.
    pub(super) fn footprint(&self) -> usize {
        self.histories.as_ref().map_or(0, |histories| {
            size_of::<Histories>() + histories.sent.footprint() + histories.received.footprint()
        })
    }

    /// Of what `sender` sends, with context takeover.
    fn history(&mut self, sender: Role) -> Option<&mut History> {
        let agreement = self.agreement.filter(|agreement| agreement.takes_over(sender))?;
        let histories = self.histories.get_or_insert_with(|| {
            Box::new(Histories {
                sent: History::new(agreement.window_bits(Role::Server)),
                received: History::new(agreement.window_bits(Role::Client)),
            })
        });
        Some(match sender {
            Role::Server => &mut histories.sent,
            Role::Client => &mut histories.received,
        })
    }
}
