//! A ring of the test's own thread, and sockets to watch with it.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use ringwire::ring::{Completion, Interest, Ring, RingSizes, Token};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long something may take that is known to come; a failure, never a delay.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// How long to look before calling it quiet. What must not come would come at once.
const QUIET: Duration = Duration::from_millis(5);

/// A token that is told from others by one number.
pub(crate) const fn token(number: u32) -> Token {
    Token::new(0, 0, number)
}

/// A ring and what it has told so far.
pub(crate) struct Observer {
    pub(crate) ring: Ring,
    told: Vec<Completion>,
}

impl Observer {
    pub(crate) fn new(submissions: u32, completions: u32) -> Self {
        let ring = Ring::new(RingSizes { submissions, completions }).expect("io_uring is here");
        Self { ring, told: Vec::new() }
    }

    pub(crate) fn arm(&mut self, socket: impl AsFd, interest: Interest, token: Token) {
        self.ring.poll_multishot(socket, interest, token);
        self.ring.submit().expect("the kernel takes a poll");
    }

    /// Whatever has completed by now.
    pub(crate) fn now(&mut self) -> Vec<Completion> {
        self.ring.submit().expect("the kernel takes submissions");
        self.ring.reap(usize::MAX, &mut self.told);
        std::mem::take(&mut self.told)
    }

    /// The next completions, at least one.
    pub(crate) fn next(&mut self) -> Vec<Completion> {
        let start = Instant::now();
        loop {
            self.ring.submit_and_wait(SOON).expect("the kernel waits for us");
            let told = self.now();
            if !told.is_empty() {
                return told;
            }
            assert!(start.elapsed() < SOON, "nothing completes");
        }
    }

    /// The next completion, which comes alone.
    pub(crate) fn only(&mut self) -> Completion {
        let told = self.next();
        assert_eq!(told.len(), 1, "{told:?}");
        told[0]
    }

    /// Waits for a completion that is as `wanted`; others before it are let go.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Completion) -> bool) -> Completion {
        let start = Instant::now();
        loop {
            if let Some(found) = self.next().into_iter().find(&wanted) {
                return found;
            }
            assert!(start.elapsed() < SOON, "only others complete");
        }
    }

    /// Asserts that nothing completes.
    pub(crate) fn is_quiet(&mut self) {
        self.ring.submit_and_wait(QUIET).expect("the kernel waits for us");
        let told = self.now();
        assert!(told.is_empty(), "{told:?}");
    }
}

/// A listener on a free port.
pub(crate) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("loopback has free ports")
}

/// An accepted connection of `listener` and its peer, which waits [`SOON`] at most.
pub(crate) fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let address = listener.local_addr().expect("the listener is bound");
    let peer = TcpStream::connect(address).expect("the listener listens");
    peer.set_nodelay(true).expect("TCP has this option");
    peer.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    let (socket, _) = listener.accept().expect("a connection waits");
    socket.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    (socket, peer)
}
