//! Sockets with or without TLS over them: the same calls for both.
//!
//! The records of one call are made in a buffer that all connections of a thread share. A session
//! keeps only what its socket has not taken.

use std::io::IoSlice;
use std::net::Shutdown;
use std::os::fd::OwnedFd;

use rustls::Error;

use super::Session;
use crate::limits::{TLS_RECORD_BYTES, TLS_SEAL_BYTES};
use crate::ring::socket::{self, Received, Sent};

/// Where the connections of a thread receive to. The default takes nothing: it stands in for one
/// that is lent.
#[derive(Default, Debug)]
pub struct Inlet {
    wire: Box<[u8]>,
    plain: Vec<u8>,
}

/// What was received.
#[derive(Debug)]
pub enum Heard<'a> {
    /// Bytes of the peer, none where TLS was about something else. `has_more`: there may be more.
    Bytes {
        /// The plaintext.
        bytes: &'a mut [u8],
        /// Another call may give more at once.
        has_more: bool,
    },
    /// Nothing is there.
    Nothing,
    /// The kernel has no memory for it: to be tried again.
    Starved,
    /// The stream has ended, as the peer wanted.
    End,
    /// The stream has ended in the middle of a TLS session: perhaps somebody else has cut it.
    Cut,
    /// The connection is broken.
    Broken,
    /// The peer broke the rules of TLS. The alert that says so waits to be sent.
    Failed(Error),
}

impl Inlet {
    /// Takes up to `bytes` at once: several records of TLS.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        assert!(bytes >= 2 * TLS_RECORD_BYTES, "a record that is not whole leaves room for more");
        Self { wire: vec![0; bytes].into(), plain: Vec::new() }
    }

    /// Receives what is there, up to the size of the inlet.
    pub fn receive(&mut self, socket: &OwnedFd, session: Option<&mut Session>) -> Heard<'_> {
        self.receive_some(socket, session, usize::MAX)
    }

    /// Receives what is there: `most` bytes of the stream at most.
    pub fn receive_some(
        &mut self,
        socket: &OwnedFd,
        session: Option<&mut Session>,
        most: usize,
    ) -> Heard<'_> {
        let Some(session) = session else { return self.receive_plain(socket, most) };
        if session.is_closed() {
            return Heard::End;
        }
        if let Some(error) = session.take_untold() {
            return Heard::Failed(error);
        }
        if session.is_over() {
            let mut heard = self.receive_plain(socket, most);
            if let Heard::Bytes { bytes, .. } = &mut heard {
                *bytes = &mut [];
            }
            return heard;
        }
        let start = match session.begin_receive(&mut self.wire) {
            Ok(start) => start,
            Err(error) => return Heard::Failed(error),
        };
        let room = most.saturating_add(start).min(self.wire.len());
        let end = match socket::receive(socket, &mut self.wire[start..room]) {
            Received::Bytes(count) => start + count,
            Received::Nothing => return Heard::Nothing,
            Received::Starved => return Heard::Starved,
            Received::End => return Heard::Cut,
            Received::Broken => return Heard::Broken,
        };
        self.plain.clear();
        match session.open(&mut self.wire[..end], &mut self.plain) {
            Ok(()) => {
                let has_more = end == room || session.is_closed();
                Heard::Bytes { bytes: &mut self.plain, has_more }
            }
            // These bytes came before it.
            Err(_) if !self.plain.is_empty() => {
                session.tell_later();
                Heard::Bytes { bytes: &mut self.plain, has_more: true }
            }
            Err(error) => Heard::Failed(error),
        }
    }

    fn receive_plain(&mut self, socket: &OwnedFd, most: usize) -> Heard<'_> {
        let room = most.min(self.wire.len());
        match socket::receive(socket, &mut self.wire[..room]) {
            Received::Bytes(count) => {
                Heard::Bytes { bytes: &mut self.wire[..count], has_more: count == room }
            }
            Received::Nothing => Heard::Nothing,
            Received::Starved => Heard::Starved,
            Received::End => Heard::End,
            Received::Broken => Heard::Broken,
        }
    }
}

/// Where the connections of a thread make their records.
#[derive(Debug, Default)]
pub struct Outlet {
    records: Vec<u8>,
    gathered: Vec<u8>,
}

/// What became of bytes that were to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// So many were taken. Of those behind them, so many are sealed in records that the session
    /// keeps: they are on their way, and must not be given to it again.
    Taken {
        /// Bytes that have gone.
        sent: usize,
        /// Bytes behind them that will go before anything else.
        sealed: usize,
        /// The socket took something, be it a part of a record.
        has_moved: bool,
        /// The kernel had no memory for the rest: to be tried again, for nobody calls.
        is_starved: bool,
    },
    /// The connection is broken.
    Broken,
}

impl Outlet {
    /// Sends `bytes`. Nothing may be [sealed](Session::sealed) already.
    pub fn send(
        &mut self,
        socket: &OwnedFd,
        session: Option<&mut Session>,
        bytes: &[u8],
    ) -> Outcome {
        match session {
            None => plain(socket::send(socket, bytes)),
            Some(session) => send_sealed(&mut self.records, socket, session, bytes),
        }
    }

    /// Sends the bytes of `slices` as one.
    pub fn send_vectored(
        &mut self,
        socket: &OwnedFd,
        session: Option<&mut Session>,
        slices: &[IoSlice<'_>],
    ) -> Outcome {
        let Some(session) = session else { return plain(socket::send_vectored(socket, slices)) };
        if let [one] = slices {
            return send_sealed(&mut self.records, socket, session, one);
        }
        let (mut all, mut has_moved) = (0, false);
        let mut slices = slices.iter().map(|slice| &**slice);
        let mut rest = slices.next();
        while rest.is_some() {
            self.gathered.clear();
            while let Some(slice) = rest {
                let part = slice.len().min(TLS_SEAL_BYTES - self.gathered.len());
                self.gathered.extend_from_slice(&slice[..part]);
                if part < slice.len() {
                    rest = Some(&slice[part..]);
                    break;
                }
                rest = slices.next();
            }
            match send_sealed(&mut self.records, socket, session, &self.gathered) {
                Outcome::Taken { sent, sealed, has_moved: moved, is_starved } => {
                    all += sent;
                    has_moved |= moved;
                    if sent < self.gathered.len() {
                        return Outcome::Taken { sent: all, sealed, has_moved, is_starved };
                    }
                }
                Outcome::Broken => return Outcome::Broken,
            }
        }
        Outcome::Taken { sent: all, sealed: 0, has_moved, is_starved: false }
    }
}

/// Sends the records that wait. Says how many bytes of plaintext have gone by that: all that were
/// sealed, or none.
pub fn flush(socket: &OwnedFd, session: &mut Session) -> Outcome {
    let (mut sent, mut has_moved, mut is_starved) = (0, false, false);
    while !session.unsent().is_empty() && !is_starved {
        match socket::send(socket, session.unsent()) {
            Sent::Bytes(0) => break,
            Sent::Bytes(count) => {
                has_moved = true;
                sent = session.advance(count);
            }
            Sent::Starved => is_starved = true,
            Sent::Broken => return Outcome::Broken,
        }
    }
    Outcome::Taken { sent, sealed: session.sealed(), has_moved, is_starved }
}

/// Ends the sending direction. A session says so first, if its socket has room for that: who takes
/// nothing is not waited for.
pub fn shut_down_write(socket: &OwnedFd, session: Option<&mut Session>) {
    if let Some(session) = session {
        say_goodbye(socket, session);
    }
    socket::shut_down(socket, Shutdown::Write);
}

/// Says that nothing more is sent, before the socket is closed. What was sealed goes with it if
/// there is room, and must not be given to the session again.
pub fn say_goodbye(socket: &OwnedFd, session: &mut Session) {
    session.close();
    // Whatever becomes of it, nothing more is done for this peer.
    let _ = flush(socket, session);
}

const fn plain(sent: Sent) -> Outcome {
    match sent {
        Sent::Bytes(sent) => {
            Outcome::Taken { sent, sealed: 0, has_moved: sent > 0, is_starved: false }
        }
        Sent::Starved => Outcome::Taken { sent: 0, sealed: 0, has_moved: false, is_starved: true },
        Sent::Broken => Outcome::Broken,
    }
}

fn send_sealed(
    records: &mut Vec<u8>,
    socket: &OwnedFd,
    session: &mut Session,
    bytes: &[u8],
) -> Outcome {
    debug_assert_eq!(session.sealed(), 0, "what was sealed before goes first");
    let mut has_moved = false;
    if !session.unsent().is_empty() {
        match flush(socket, session) {
            Outcome::Taken { has_moved: moved, .. } if session.unsent().is_empty() => {
                has_moved = moved;
            }
            other => return other,
        }
    }
    let mut sent = 0;
    for chunk in bytes.chunks(TLS_SEAL_BYTES) {
        records.clear();
        session.seal(chunk, records);
        if records.is_empty() {
            // The session has failed.
            return Outcome::Broken;
        }
        let (taken, is_starved) = match socket::send(socket, &*records) {
            Sent::Bytes(taken) => (taken, false),
            Sent::Starved => (0, true),
            Sent::Broken => return Outcome::Broken,
        };
        has_moved |= taken > 0;
        if taken < records.len() {
            session.keep(&records[taken..], chunk.len());
            return Outcome::Taken { sent, sealed: chunk.len(), has_moved, is_starved };
        }
        sent += chunk.len();
    }
    Outcome::Taken { sent, sealed: 0, has_moved, is_starved: false }
}
