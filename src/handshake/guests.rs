//! Handshakes in progress, and when their time is up.

use std::collections::VecDeque;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::collections::{GenerationalSlab, Key};
use crate::ring::socket;

/// Handshakes in progress, the oldest first.
#[derive(Debug)]
pub(super) struct Guests {
    /// What each of them has, from accept to its end.
    time: Duration,
    sockets: GenerationalSlab<Rc<OwnedFd>>,
    deadlines: VecDeque<(Instant, Key)>,
}

impl Guests {
    /// Nobody is here. There are places for so many, who have so long.
    pub(super) fn new(most: usize, time: Duration) -> Self {
        let sockets = GenerationalSlab::with_capacity(most);
        Self { time, sockets, deadlines: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Whether a guest is here, and in time.
    pub(super) fn contains(&self, key: Key) -> bool {
        self.sockets.contains(key)
    }

    /// Takes a guest in, instead of the oldest where there is no place.
    pub(super) fn arrive(&mut self, socket: &Rc<OwnedFd>, accepted: Instant) -> Key {
        let deadline = accepted + self.time;
        let key = loop {
            match self.sockets.insert(Rc::clone(socket)) {
                Ok(key) => break key,
                Err(_) => self.end_oldest(),
            }
        };
        self.deadlines.push_back((deadline, key));
        key
    }

    /// Gives everybody `time` at most from now on.
    pub(super) fn hasten(&mut self, time: Duration) {
        self.time = time.min(self.time);
        let latest = Instant::now() + self.time;
        for (deadline, _) in &mut self.deadlines {
            *deadline = latest.min(*deadline);
        }
    }

    /// Forgets a guest, and gives its socket unless its time ran out.
    pub(super) fn leave(&mut self, key: Key) -> Option<Rc<OwnedFd>> {
        let socket = self.sockets.remove(key);
        while self.deadlines.front().is_some_and(|(_, key)| !self.sockets.contains(*key)) {
            self.deadlines.pop_front();
        }
        socket
    }

    /// Ends the oldest guest.
    fn end_oldest(&mut self) {
        while let Some((_, key)) = self.deadlines.pop_front() {
            if self.end(key) {
                return;
            }
        }
    }

    /// Ends the oldest guests, those whose time is up at `latest` and `most` of them; says how many
    /// these were.
    pub(super) fn end_until(&mut self, latest: Instant, most: usize) -> usize {
        let mut ended = 0;
        while ended < most
            && let Some((deadline, key)) = self.deadlines.front().copied()
            && deadline <= latest
        {
            self.deadlines.pop_front();
            ended += usize::from(self.end(key));
        }
        ended
    }

    /// Shuts a guest down, unless it has left; its task sees the end of the stream and leaves.
    fn end(&mut self, key: Key) -> bool {
        let socket = self.sockets.remove(key);
        if let Some(socket) = &socket {
            socket::shut_down(&**socket, Shutdown::Both);
        }
        socket.is_some()
    }
}
