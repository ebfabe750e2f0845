//! One connection's life, without I/O: bytes, timers and progress in; replies and steps out.
//!
//! After every call that takes a `reply` buffer the caller sends what was put there, in order,
//! then asks for the next [`Connection::step`] and performs it.
//!
//! ```text
//!            close() / drain            peer's Close
//!   Open ───────────────────▶ Closing ───────────────▶ Finishing ──(all sent)──▶ end
//!    │ peer's Close (answered) ─────────────────────────▲
//!    │ violation, slow reader        ┌──────────────────┐
//!    ├──────────────────────▶ Failing ──(all sent)──▶ Lingering ──(peer's end)──▶ end
//!    │ peer's end, reset
//!    └──────────────────────────────────────────────────────────────────────────▶ end
//! ```
//!
//! Every state but `Open` ends by itself [`CLOSE_TICKS_MAX`] after `Open` was left, by reset if
//! need be: no peer can hold a connection that was asked to go.
#![forbid(unsafe_code)]

mod backlog;
mod compression;
mod owing;
mod reason;
mod workshop;

pub use backlog::{Backlog, Overflow};
pub use compression::Hears;
pub use reason::{CloseReason, CodeClass};
pub use workshop::Workshop;

use self::compression::Compression;
use crate::collections::Tick;
use crate::limits::{
    CLOSE_TICKS_MAX, MESSAGE_TICKS_MAX, STALL_TICKS_MAX, STRANGER_MESSAGE_BYTES_MAX,
};
use crate::protocol::deflate::Agreement;
use crate::protocol::{
    CloseCode, Decoder, Event, Input, Limits, MessageKind, OpCode, ProtocolError, Role,
    encode_close, encode_frame,
};

/// A whole message from the peer.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Text, which is then valid UTF-8, or binary.
    pub kind: MessageKind,
    /// The unmasked payload.
    pub payload: &'a [u8],
}

/// What the owner of the socket has to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Wait for bytes, room or time.
    Wait,
    /// End the sending direction, go on reading.
    ShutWrite,
    /// Release everything and close the socket.
    Close,
    /// As `Close`, by reset: the peer does not take what is still owed.
    Abort,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum State {
    Open,
    Closing,
    Finishing,
    Failing,
    Lingering,
    Ended,
    Aborted,
}

/// One connection. Its size is paid by every idle one.
#[derive(Debug)]
pub struct Connection {
    decoder: Decoder,
    compression: Compression,
    backlog: Option<Box<Backlog>>,
    /// When the last byte came; once it is pinged, when that was.
    heard: Tick,
    /// While open: when the unfinished message began. Later: when `Open` was left.
    since: Tick,
    state: State,
    reason: CloseReason,
    code: CodeClass,
    pinged: bool,
    in_message: bool,
    /// It may send messages of any size that is allowed at all.
    is_trusted: bool,
    /// 256ths of an eighth of the heartbeat by which this connection is pinged early.
    early: u8,
}

impl Connection {
    /// A connection whose handshake has just ended. `seed` spreads the pings of connections that
    /// fell silent at the same moment over an eighth of the heartbeat. With an `agreement` messages
    /// may be compressed (RFC 7692 section 7.1).
    #[must_use]
    pub const fn new(now: Tick, seed: u32, agreement: Option<Agreement>) -> Self {
        Self {
            decoder: Decoder::new(Role::Server),
            compression: Compression::new(agreement),
            backlog: None,
            heard: now,
            since: now,
            state: State::Open,
            reason: CloseReason::PeerGone,
            code: CodeClass::None,
            pinged: false,
            in_message: false,
            is_trusted: true,
            // The multiplier spreads consecutive seeds evenly (Knuth, 6.4).
            early: (seed.wrapping_mul(0x9E37_79B1) >> 24) as u8,
        }
    }

    /// Works on bytes from the peer: every whole message goes to `deliver` together with `reply`,
    /// which says whether the peer may send larger messages than a stranger; control frames are
    /// answered here.
    pub fn on_received(
        &mut self,
        now: Tick,
        bytes: &mut [u8],
        workshop: &mut Workshop,
        reply: &mut Vec<u8>,
        mut deliver: impl FnMut(Message<'_>, &mut Vec<u8>) -> bool,
    ) {
        self.heard = now;
        self.pinged = false;
        let mut input = Input::new(bytes);
        while matches!(self.state, State::Open | State::Closing) {
            let limits = self.limits(&workshop.limits);
            match self.decoder.next(&mut input, &mut workshop.pool, &limits) {
                Ok(Some(Event::Message { kind, compressed, payload })) => {
                    // Section 5.5.1: after our Close no more data is sent, so none is asked for.
                    if self.state == State::Open {
                        let content = if compressed {
                            let (inflater, most) =
                                (&mut workshop.inflater, limits.message_bytes_max);
                            self.compression.inflate(inflater, kind, payload, most)
                        } else {
                            Ok(payload)
                        };
                        match content {
                            Ok(payload) => {
                                self.is_trusted = deliver(Message { kind, payload }, reply);
                            }
                            Err(error) => self.violated(now, error, reply),
                        }
                        workshop.inflater.trim();
                    }
                }
                Ok(Some(Event::Ping(payload))) if self.state == State::Open => {
                    match &mut self.backlog {
                        Some(backlog) => backlog.owe_pong(payload),
                        None => encode_frame(reply, OpCode::Pong, payload),
                    }
                }
                // A Close is the last frame we send, so a later ping has no answer.
                Ok(Some(Event::Ping(_) | Event::Pong(_))) => {}
                Ok(Some(Event::Close { code, reason })) => {
                    if self.state == State::Open {
                        answer_close(code, reason, reply);
                        let reason = CloseReason::ClientClose;
                        self.leave_open(now, State::Finishing, reason, CodeClass::of(code));
                    }
                    self.state = State::Finishing;
                }
                Ok(None) => break,
                Err(error) => self.violated(now, error, reply),
            }
            // What begins behind a finished message has its own time. A control frame between
            // fragments does not end theirs.
            self.in_message &= self.decoder.in_message();
        }
        self.note_message(now);
    }

    /// Whether the peer may send larger messages than a stranger from now on.
    pub const fn trust(&mut self, is_trusted: bool) {
        self.is_trusted = is_trusted;
    }

    /// Which form of a message this peer can be sent.
    #[must_use]
    pub fn hears(&self, workshop: &Workshop) -> Hears {
        self.compression.hears(workshop)
    }

    /// Appends `frames`, whole and as they are sent without compression, rewritten for this peer
    /// alone; says how many messages were compressed (RFC 7692 section 7.2.1). With context
    /// takeover they must then be sent, and in this order.
    pub fn deflate(&mut self, workshop: &mut Workshop, frames: &[u8], out: &mut Vec<u8>) -> u64 {
        self.compression.deflate(workshop, frames, out)
    }

    /// Bytes of memory for what compressed messages may refer to.
    #[must_use]
    pub fn compression_bytes(&self) -> usize {
        self.compression.footprint()
    }

    /// The peer will send no more.
    pub fn on_end(&mut self) {
        self.state = State::Ended;
    }

    /// The connection is broken.
    pub fn on_broken(&mut self) {
        self.state = State::Aborted;
    }

    /// Begins the closing handshake, if none has begun.
    pub fn close(
        &mut self,
        now: Tick,
        reason: CloseReason,
        code: CloseCode,
        text: &str,
        reply: &mut Vec<u8>,
    ) {
        if self.state == State::Open {
            encode_close(reply, code.0, text);
            self.leave_open(now, State::Closing, reason, CodeClass::of(Some(code.0)));
        }
    }

    /// Ends the connection without a word.
    pub fn abort(&mut self, reason: CloseReason) {
        if self.state == State::Open {
            self.reason = reason;
        }
        self.state = State::Aborted;
    }

    /// The deadline came, or an earlier one of the clamped wheel: judges what is due.
    pub fn on_timer(&mut self, now: Tick, workshop: &Workshop, reply: &mut Vec<u8>) {
        if self.state != State::Open {
            if elapsed(now, self.since) >= CLOSE_TICKS_MAX {
                self.state = State::Aborted;
            }
            return;
        }
        if let Some(backlog) = &self.backlog {
            // What it did not take for so long it will not take with a Close frame behind it.
            if elapsed(now, backlog.progress()) >= STALL_TICKS_MAX {
                self.abort(CloseReason::SlowReader);
            }
        } else if self.in_message && elapsed(now, self.since) >= MESSAGE_TICKS_MAX {
            let reason = CloseReason::MessageDeadline;
            self.fail(now, reason, CloseCode::POLICY, "message not finished in time", reply);
        } else if elapsed(now, self.heard) >= self.patience(workshop) {
            if self.pinged {
                self.reason = CloseReason::Heartbeat;
                self.state = State::Aborted;
                return;
            }
            // Who is asked late, by a shard held up or for a heartbeat that has become shorter, has
            // as long to answer as all others.
            self.pinged = true;
            self.heard = now;
            encode_frame(reply, OpCode::Ping, b"");
        }
    }

    /// When [`on_timer`](Self::on_timer) has something to judge.
    #[must_use]
    pub fn deadline(&self, workshop: &Workshop) -> Tick {
        if self.state != State::Open {
            return self.since.wrapping_add(CLOSE_TICKS_MAX);
        }
        if let Some(backlog) = &self.backlog {
            return backlog.progress().wrapping_add(STALL_TICKS_MAX);
        }
        let heartbeat = self.heard.wrapping_add(self.patience(workshop));
        let message = self.since.wrapping_add(MESSAGE_TICKS_MAX);
        if self.in_message && message.wrapping_sub(heartbeat).cast_signed() < 0 {
            message
        } else {
            heartbeat
        }
    }

    /// The next thing to do for the owner of the socket.
    pub fn step(&mut self) -> Step {
        match self.state {
            State::Finishing if self.backlog.is_none() => {
                self.state = State::Ended;
                Step::Close
            }
            State::Failing if self.backlog.is_none() => {
                self.state = State::Lingering;
                Step::ShutWrite
            }
            State::Ended => Step::Close,
            State::Aborted => Step::Abort,
            _ => Step::Wait,
        }
    }

    /// Whether bytes of the peer are wanted. Not while it owes us the reading of earlier replies:
    /// TCP then slows it down, and what we keep for it stays bounded.
    #[must_use]
    pub const fn wants_bytes(&self) -> bool {
        self.backlog.is_none()
    }

    /// Whether messages may still be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether it has only its heartbeat to think of.
    #[must_use]
    pub const fn is_calm(&self) -> bool {
        matches!(self.state, State::Open) && self.backlog.is_none() && !self.in_message
    }

    /// Why it ended, or would.
    #[must_use]
    pub const fn reason(&self) -> CloseReason {
        self.reason
    }

    /// The code of the Close frame that began its end.
    #[must_use]
    pub const fn code(&self) -> CodeClass {
        self.code
    }

    /// What waits for room in the socket.
    pub fn backlog(&mut self) -> Option<&mut Backlog> {
        self.backlog.as_deref_mut()
    }

    /// The shard did not read what this peer has sent: its silence is not its own.
    pub const fn on_held_back(&mut self, now: Tick) {
        self.heard = now;
        if matches!(self.state, State::Open) {
            self.since = now;
        }
    }

    /// Gives the buffers back; the last call. Says how many messages the peer did not get whole.
    pub fn release(&mut self, workshop: &mut Workshop) -> u64 {
        self.decoder.release(&mut workshop.pool);
        self.drop_backlog(workshop)
    }

    fn violated(&mut self, now: Tick, error: ProtocolError, reply: &mut Vec<u8>) {
        self.fail(now, error.into(), error.close_code(), error.reason(), reply);
    }

    fn fail(
        &mut self,
        now: Tick,
        reason: CloseReason,
        code: CloseCode,
        text: &str,
        reply: &mut Vec<u8>,
    ) {
        if self.state == State::Open {
            encode_close(reply, code.0, text);
            self.leave_open(now, State::Failing, reason, CodeClass::of(Some(code.0)));
        } else {
            self.state = State::Failing;
        }
    }

    fn leave_open(&mut self, now: Tick, state: State, reason: CloseReason, code: CodeClass) {
        self.state = state;
        self.reason = reason;
        self.code = code;
        self.since = now;
        if let Some(backlog) = &mut self.backlog {
            // It would go out behind the Close.
            backlog.forget_pong();
        }
    }

    fn note_message(&mut self, now: Tick) {
        let in_message = self.decoder.in_message();
        if in_message && !self.in_message && self.state == State::Open {
            self.since = now;
        }
        self.in_message = in_message;
    }

    fn limits(&self, limits: &Limits) -> Limits {
        let bytes = limits.message_bytes_max;
        let most = if self.is_trusted { bytes } else { bytes.min(STRANGER_MESSAGE_BYTES_MAX) };
        // A stranger was offered no compression: its few bytes are to stay few.
        let compressed = self.is_trusted && self.compression.is_agreed();
        Limits { message_bytes_max: most, compressed, ..*limits }
    }

    /// How long it may be silent: until it is pinged, and from there to twice the heartbeat.
    fn patience(&self, workshop: &Workshop) -> Tick {
        let heartbeat = workshop.heartbeat;
        let early = (u64::from(heartbeat) * u64::from(self.early) / (8 * 256)) as Tick;
        if self.pinged { heartbeat + early } else { heartbeat - early }
    }
}

/// Section 5.5.1: the answer echoes the code and the reason; without a code it is empty.
fn answer_close(code: Option<u16>, reason: &str, reply: &mut Vec<u8>) {
    match code {
        Some(code) => encode_close(reply, code, reason),
        None => encode_frame(reply, OpCode::Close, b""),
    }
}

/// Ticks from `earlier` to `now`; 0 if the clock of the turn lags behind.
fn elapsed(now: Tick, earlier: Tick) -> Tick {
    let ticks = now.wrapping_sub(earlier);
    if ticks.cast_signed() < 0 { 0 } else { ticks }
}

#[cfg(test)]
mod tests;
