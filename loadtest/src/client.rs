//! One connection: a slot of the table that owns no buffer while nothing is cut short.

use std::os::fd::OwnedFd;

use ringwire::protocol::{Decoder, Role};
use ringwire::tls::{self, Outcome, Outlet, Session};

use crate::press::Compression;

/// Where a connection is in its life. It goes on to `Gone`, and from there to another life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Not started.
    Idle,
    /// The TCP connection is being made.
    Connecting,
    /// The TLS handshake goes on.
    Handshaking,
    /// The request is sent, the response is not here.
    Upgrading,
    /// Messages flow.
    Open,
    /// Our close frame is sent; the server's, or the end of its stream, is not here.
    Closing,
    /// Both close frames are exchanged; the server is to end the stream (RFC 6455 section 7.1.1).
    Closed,
    /// Shut down here; the poll's last completion is not here, and the descriptor must wait for it.
    Draining,
    /// Ended, or failed; may be started again.
    Gone,
}

impl State {
    /// On its way to be open.
    pub(crate) const fn is_opening(self) -> bool {
        matches!(self, Self::Connecting | Self::Handshaking | Self::Upgrading)
    }

    /// On its way out, and the server has a part in it.
    pub(crate) const fn is_leaving(self) -> bool {
        matches!(self, Self::Closing | Self::Closed)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Where it is.
    pub(crate) state: State,
    /// The peer has sent its last byte: a short read is not the last.
    pub(crate) hung_up: bool,
    /// A send has failed, which takes the error away that a read would find.
    pub(crate) broken: bool,
    /// Its poll is armed.
    pub(crate) polling: bool,
    /// There may be more to read, and it waits in line for that.
    pub(crate) in_line: bool,
    /// It was open, in this life or an earlier one.
    pub(crate) was_open: bool,
    /// The last attempt to open it failed.
    pub(crate) has_failed: bool,
    /// Attempts to open it so far: each begins elsewhere in the list of source addresses.
    pub(crate) attempts: u32,
    /// Its socket, while there is one.
    pub(crate) socket: Option<OwnedFd>,
    /// TLS over it, if the server speaks that.
    pub(crate) session: Option<Box<Session>>,
    /// When it was started, or asked to leave: which of its lives a deadline is for.
    pub(crate) since: u64,
    /// When the TCP connection was made, or TLS over it.
    pub(crate) connected: u64,
    /// What is received.
    pub(crate) decoder: Decoder,
    /// How messages are compressed, if they are.
    pub(crate) compression: Option<Box<Compression>>,
    /// What was cut short.
    pub(crate) rest: Option<Box<Rest>>,
}

// A million of them must fit next to the server they are connected to. TLS and compression cost
// each of them 8 bytes, used or not: there is no gap to put a pointer in.
const _: () = assert!(size_of::<Client>() <= 96);

/// Bytes that wait for the other half, or for room in the socket.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// The beginning of the response head.
    pub(crate) head: Vec<u8>,
    /// What the socket did not take at first, and how much of that it has taken since. Of TLS it is
    /// the plaintext; the first bytes of what is left may be in records that the session keeps.
    unsent: Vec<u8>,
    taken: usize,
}

impl Client {
    /// One that is not started.
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Idle,
            hung_up: false,
            broken: false,
            polling: false,
            in_line: false,
            was_open: false,
            has_failed: false,
            attempts: 0,
            socket: None,
            session: None,
            since: 0,
            connected: 0,
            decoder: Decoder::new(Role::Client),
            compression: None,
            rest: None,
        }
    }

    /// Begins another life on `socket`. What outlives it: a place in the line, and its history.
    pub(crate) fn start(&mut self, socket: OwnedFd, now: u64) {
        self.state = State::Connecting;
        self.hung_up = false;
        self.broken = false;
        self.socket = Some(socket);
        self.session = None;
        self.since = now;
        self.decoder = Decoder::new(Role::Client);
        self.compression = None;
    }

    /// Sends, or keeps what the socket does not take for [`flush`](Self::flush). `false` when the
    /// connection is broken.
    #[inline]
    pub(crate) fn send(&mut self, outlet: &mut Outlet, bytes: &[u8]) -> bool {
        let Some(socket) = &self.socket else { return false };
        let mut taken = 0;
        if self.rest.is_none() {
            match outlet.send(socket, self.session.as_deref_mut(), bytes) {
                Outcome::Taken { sent, .. } if sent == bytes.len() => return true,
                Outcome::Taken { sent, .. } => taken = sent,
                Outcome::Broken => return false,
            }
        }
        let rest = self.rest.get_or_insert_default();
        if rest.taken > rest.unsent.len() / 2 {
            // Bytes are moved once for each that was taken at most.
            rest.unsent.drain(..rest.taken);
            rest.taken = 0;
        }
        rest.unsent.extend_from_slice(&bytes[taken..]);
        true
    }

    /// The head of the response has come.
    pub(crate) fn end_head(&mut self) {
        match &mut self.rest {
            Some(rest) if !rest.unsent.is_empty() => rest.head = Vec::new(),
            _ => self.rest = None,
        }
    }

    /// Tells the peer of TLS that nothing more is sent, not even what has waited until now.
    pub(crate) fn say_goodbye(&mut self) {
        if let (Some(socket), Some(session)) = (&self.socket, &mut self.session) {
            tls::say_goodbye(socket, session);
            self.rest = None;
        }
    }

    /// Bytes that wait for room in the socket.
    pub(crate) fn unsent(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.unsent.len() - rest.taken)
    }

    /// Whether something may wait for room in the socket.
    pub(crate) const fn may_wait(&self) -> bool {
        self.rest.is_some() || self.session.is_some()
    }

    /// Sends what is waiting. `false` when the connection is broken.
    pub(crate) fn flush(&mut self, outlet: &mut Outlet) -> bool {
        let Some(socket) = &self.socket else { return true };
        let records = match &mut self.session {
            Some(session) => tls::flush(socket, session),
            None => Outcome::Taken { sent: 0, sealed: 0, has_moved: false, is_starved: false },
        };
        let (gone, sealed) = match records {
            Outcome::Taken { sent, sealed, .. } => (sent, sealed),
            Outcome::Broken => return false,
        };
        let Some(rest) = &mut self.rest else { return true };
        rest.taken += gone;
        if sealed > 0 {
            return true;
        }
        while rest.taken < rest.unsent.len() {
            match outlet.send(socket, self.session.as_deref_mut(), &rest.unsent[rest.taken..]) {
                Outcome::Taken { sent, sealed, .. } => {
                    rest.taken += sent;
                    if sent == 0 || sealed > 0 {
                        return true;
                    }
                }
                Outcome::Broken => return false,
            }
        }
        if rest.head.is_empty() {
            self.rest = None;
        } else {
            (rest.unsent, rest.taken) = (Vec::new(), 0);
        }
        true
    }
}
