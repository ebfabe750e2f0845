//! One connection of the null echo: its socket, and what was cut short.

use std::os::fd::OwnedFd;

use ringwire::ring::socket::{self, Sent};

/// Where a connection is in its life; it only ever goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// The request is not whole.
    Upgrading,
    /// Messages flow.
    Open,
    /// The answer to a close frame is the last to be sent.
    Closing,
    /// Shut down; the poll's last completion is not here, and the descriptor must wait for it.
    Draining,
}

/// A connection. It owns no buffer while nothing is cut short.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) state: State,
    /// The peer has sent its last byte: a short read is not the last.
    pub(super) hung_up: bool,
    /// Its poll is armed.
    pub(super) polling: bool,
    /// There may be more to read, and it waits in line for that.
    pub(super) in_line: bool,
    /// What came of a head or a frame, [`FRAME_BYTES_MAX`](super::frames::FRAME_BYTES_MAX) at most.
    pub(super) kept: Vec<u8>,
    /// What the socket did not take, the answers to one read at most: nothing is read meanwhile.
    pub(super) unsent: Vec<u8>,
}

impl Connection {
    /// One that was accepted.
    pub(super) const fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            state: State::Upgrading,
            hung_up: false,
            polling: false,
            in_line: false,
            kept: Vec::new(),
            unsent: Vec::new(),
        }
    }

    /// Sends, or keeps what the socket does not take. `false` when the connection is broken.
    #[inline]
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        let mut taken = 0;
        if self.unsent.is_empty() {
            match socket::send(&self.socket, bytes) {
                Sent::Bytes(count) if count == bytes.len() => return true,
                Sent::Bytes(count) => taken = count,
                Sent::Starved => {}
                Sent::Broken => return false,
            }
        }
        self.unsent.extend_from_slice(&bytes[taken..]);
        true
    }

    /// Sends what is left. `false` when the connection is broken, or has nothing more to say.
    pub(super) fn flush(&mut self) -> bool {
        match socket::send(&self.socket, &self.unsent) {
            Sent::Bytes(count) if count == self.unsent.len() => {
                self.unsent = Vec::new();
                self.state != State::Closing
            }
            // The socket took what it had room for, and tells when it has more.
            Sent::Bytes(count) => {
                self.unsent.drain(..count);
                true
            }
            Sent::Starved => true,
            Sent::Broken => false,
        }
    }
}
