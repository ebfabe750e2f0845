//! The connections of one thread: opening, reading, sending and closing them.

mod receive;

use std::collections::VecDeque;
use std::sync::Arc;

use ringwire::limits::READ_BYTES;
use ringwire::protocol::{AssemblyPool, OpCode, encode_masked_frame};
use ringwire::ring::socket;
use ringwire::ring::{Completion, Interest, Ring, Token};

use crate::args::{Leave, Target};
use crate::client::{Client, State};
use crate::control::{Clock, Population};
use crate::payload::{MASKING_KEY, mix};
use crate::rotation::{Rotation, target_of};
use crate::scenario::Scenario;
use crate::sources::Sources;
use crate::stats::{Failure, Stage, Stats};
use crate::upgrade::{Upgrade, Wishes};

/// Kinds of tokens.
pub(crate) const POLL: u8 = 1;
const CANCEL: u8 = 2;

/// Bytes of all messages that are in pieces, per thread.
const PIECES_BYTES_MAX: usize = 1 << 30;

/// What all connections of a run have in common.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The servers; connections take turns.
    pub(crate) targets: Vec<Target>,
    /// What is asked of them.
    pub(crate) wishes: Wishes,
    /// Where connections come from.
    pub(crate) sources: Sources,
    /// Nanoseconds a connection may take to open.
    pub(crate) connect_timeout: u64,
    /// Nanoseconds the server may take to answer a close frame.
    pub(crate) leave_timeout: u64,
    /// The clients with a number below this publish.
    pub(crate) publishers: u32,
    /// The latency of the run is that of its handshakes: there are no messages.
    pub(crate) handshakes_only: bool,
}

/// The table of connections and everything they share.
pub(crate) struct Connections {
    /// What is counted.
    pub(crate) stats: Stats,
    /// The thread's ring.
    pub(crate) ring: Ring,
    /// The time of the run.
    pub(crate) clock: Clock,
    setup: Arc<Setup>,
    clients: Vec<Client>,
    /// The number of the first client among those of all threads.
    first: u32,
    /// One for each target.
    upgrades: Vec<Upgrade>,
    rotation: Rotation,
    buffer: Box<[u8]>,
    pool: AssemblyPool,
    /// Clients with more to read than their share.
    line: VecDeque<u32>,
    /// Clients that something is awaited of, in the order of their deadlines.
    awaited: VecDeque<(u32, u64)>,
    /// Clients that are connecting, upgrading, closing or draining.
    pub(crate) pending: usize,
    /// Clients that are open.
    pub(crate) open: u32,
    /// Connections that were opened.
    pub(crate) opened: u64,
    /// Connections that no source address had a port for.
    pub(crate) without_port: u64,
}

impl Connections {
    /// `count` clients that are not started, the first of them with the number `first`.
    pub(crate) fn new(setup: Arc<Setup>, clock: Clock, ring: Ring, first: u32, count: u32) -> Self {
        let upgrade = |target| Upgrade::new(target, &setup.wishes);
        Self {
            stats: Stats::default(),
            ring,
            upgrades: setup.targets.iter().map(upgrade).collect(),
            rotation: Rotation::new(&setup.sources, setup.targets.len()),
            setup,
            clock,
            clients: std::iter::repeat_with(Client::new).take(count as usize).collect(),
            first,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            pool: AssemblyPool::new(PIECES_BYTES_MAX),
            line: VecDeque::new(),
            awaited: VecDeque::new(),
            pending: 0,
            open: 0,
            opened: 0,
            without_port: 0,
        }
    }

    /// How many clients there are, open or not.
    pub(crate) fn count(&self) -> u32 {
        self.clients.len() as u32
    }

    /// The number of a client among those of all threads.
    #[inline]
    pub(crate) const fn number(&self, index: u32) -> u32 {
        self.first + index
    }

    /// The clients that are open.
    pub(crate) fn open_clients(&self) -> impl Iterator<Item = u32> {
        let is_open = |(_, client): &(usize, &Client)| client.state == State::Open;
        self.clients.iter().enumerate().filter(is_open).map(|(index, _)| index as u32)
    }

    /// Starts to connect.
    pub(crate) fn start(&mut self, index: u32, now: u64) {
        self.stats.first_start.get_or_insert(now);
        match self.connect(index, now) {
            Ok(socket) => {
                let client = &mut self.clients[index as usize];
                client.state = State::Connecting;
                client.since = now;
                client.socket = Some(socket);
                self.pending += 1;
                self.awaited.push_back((index, now + self.setup.connect_timeout));
                self.arm(index);
            }
            Err(failure) => {
                self.clients[index as usize].state = State::Gone;
                self.stats.fail(Stage::Connect, failure);
                self.without_port += u64::from(failure == Failure::NO_PORT);
            }
        }
    }

    /// One completion of a poll.
    pub(crate) fn polled<S: Scenario>(&mut self, scenario: &mut S, completion: &Completion) {
        let index = completion.token.index();
        let client = &mut self.clients[index as usize];
        client.polling = completion.more;
        client.hung_up |= completion.hung_up();
        if client.state == State::Draining {
            if !completion.more {
                self.free(index);
            }
            return;
        }
        if client.state == State::Connecting {
            self.connected(index);
        } else if client.rest.is_some() && completion.writable() && !client.flush() {
            self.end(scenario, index, Failure::Broken);
        }
        if completion.readable() {
            self.read(scenario, index);
        }
        // The kernel ends a poll whose completions it has no room for.
        let client = &self.clients[index as usize];
        if !client.polling && client.socket.is_some() {
            self.arm(index);
        }
    }

    /// Reads on where there was more than a share. `true` when more is left.
    pub(crate) fn read_on<S: Scenario>(&mut self, scenario: &mut S) -> bool {
        for _ in 0..self.line.len() {
            let Some(index) = self.line.pop_front() else { break };
            self.clients[index as usize].in_line = false;
            self.read(scenario, index);
        }
        !self.line.is_empty()
    }

    /// Fails what has not come in time.
    pub(crate) fn expire<S: Scenario>(&mut self, scenario: &mut S, now: u64) {
        while let Some(&(index, deadline)) = self.awaited.front() {
            let awaited = match self.clients[index as usize].state {
                State::Connecting | State::Upgrading | State::Closing | State::Closed => true,
                State::Idle | State::Open | State::Draining | State::Gone => false,
            };
            if awaited && deadline > now {
                return;
            }
            self.awaited.pop_front();
            if awaited {
                self.end(scenario, index, Failure::TimedOut);
            }
        }
    }

    /// Sends frames to the server, if the connection is open. One that turns out to be broken ends
    /// soon, by way of a read.
    #[inline]
    pub(crate) fn send(&mut self, index: u32, frames: &[u8]) {
        let client = &mut self.clients[index as usize];
        if client.state == State::Open && !client.send(frames) {
            client.hung_up = true;
            self.wait_in_line(index);
        }
    }

    /// Resets the connections that are being opened.
    pub(crate) fn abandon(&mut self) {
        for (index, _) in std::mem::take(&mut self.awaited) {
            if matches!(self.clients[index as usize].state, State::Connecting | State::Upgrading) {
                self.abort(index);
            }
        }
    }

    /// Begins to close a connection, whatever it is doing.
    pub(crate) fn leave(&mut self, index: u32, how: Leave, now: u64) {
        let client = &mut self.clients[index as usize];
        match (client.state, how) {
            (State::Idle, _) => client.state = State::Gone,
            (State::Open, Leave::Close) => {
                let mut frame = Vec::with_capacity(8);
                encode_masked_frame(&mut frame, OpCode::Close, &1000u16.to_be_bytes(), MASKING_KEY);
                if client.send(&frame) {
                    client.state = State::Closing;
                    self.open -= 1;
                    self.pending += 1;
                    self.awaited.push_back((index, now + self.setup.leave_timeout));
                } else {
                    self.abort(index);
                }
            }
            (State::Connecting | State::Upgrading | State::Open, _) => self.abort(index),
            (State::Closing | State::Closed | State::Draining | State::Gone, _) => {}
        }
    }

    /// The open clients that publish, when those with a number below `publishers` do.
    pub(crate) fn publishers(&self, publishers: u32) -> impl Iterator<Item = u32> {
        self.open_clients().filter(move |&index| self.number(index) < publishers)
    }

    /// What this thread adds to the population.
    pub(crate) fn population(&self) -> Population {
        let numbers = self.open_clients().map(|index| u64::from(self.number(index)));
        Population {
            count: self.open.into(),
            roll: numbers.map(mix).fold(0, u64::wrapping_add),
            publishers: self.publishers(self.setup.publishers).count() as u64,
            threads: u64::from(self.open > 0),
        }
    }

    fn connect(&mut self, index: u32, now: u64) -> Result<std::os::fd::OwnedFd, Failure> {
        let number = self.number(index);
        let target = self.setup.targets[self.target_of(index)].address;
        self.rotation.connect(&self.setup.sources, number, now, |source| {
            socket::connect(source, target).map_err(Failure::from)
        })
    }

    /// Which of the targets, and of the handshakes, is that of a client.
    const fn target_of(&self, index: u32) -> usize {
        target_of(self.number(index), self.upgrades.len())
    }

    fn arm(&mut self, index: u32) {
        let client = &mut self.clients[index as usize];
        let Some(socket) = &client.socket else { return };
        self.ring.poll_multishot(socket, Interest::ReadWrite, Token::new(POLL, 0, index));
        client.polling = true;
    }

    fn connected(&mut self, index: u32) {
        let target = self.target_of(index);
        let client = &mut self.clients[index as usize];
        let Some(socket) = &client.socket else { return };
        let sent = socket::connect_outcome(socket).map_err(Failure::from).and_then(|()| {
            client.state = State::Upgrading;
            if client.send(self.upgrades[target].request()) { Ok(()) } else { Err(Failure::Broken) }
        });
        if let Err(failure) = sent {
            let stage =
                if client.state == State::Connecting { Stage::Connect } else { Stage::Upgrade };
            self.stats.fail(stage, failure);
            self.drain(index);
        }
    }

    fn wait_in_line(&mut self, index: u32) {
        let client = &mut self.clients[index as usize];
        if !client.in_line {
            client.in_line = true;
            self.line.push_back(index);
        }
    }

    fn opened(&mut self, index: u32, now: u64) {
        let client = &mut self.clients[index as usize];
        client.state = State::Open;
        let handshake = now - client.since;
        self.stats.handshake.record(handshake);
        if self.setup.handshakes_only {
            self.stats.punctual.record(handshake);
        }
        self.stats.last_open = Some(now);
        self.stats.opened += 1;
        self.opened += 1;
        self.pending -= 1;
        self.open += 1;
    }

    /// A connection ends by the server's doing, or ours because of the server.
    #[cold]
    fn end<S: Scenario>(&mut self, scenario: &mut S, index: u32, failure: Failure) {
        let state = self.clients[index as usize].state;
        match state {
            State::Connecting => self.stats.fail(Stage::Connect, failure),
            State::Upgrading => self.stats.fail(Stage::Upgrade, failure),
            State::Open => {
                self.stats.lost += 1;
                self.stats.fail(Stage::Open, failure);
            }
            State::Closing => self.stats.fail(Stage::Leave, failure),
            State::Closed if failure == Failure::TimedOut => self.stats.fail(Stage::Leave, failure),
            // The end of the stream is the server's duty here.
            State::Closed => {}
            State::Idle | State::Draining | State::Gone => return,
        }
        if failure == Failure::TimedOut {
            self.abort(index);
        } else {
            self.drain(index);
        }
        if state == State::Open {
            scenario.lost(index, failure);
        }
    }

    fn abort(&mut self, index: u32) {
        if let Some(socket) = &self.clients[index as usize].socket {
            socket::abort_on_close(socket);
        }
        self.drain(index);
    }

    /// Ends the poll, whose last completion lets the descriptor go.
    fn drain(&mut self, index: u32) {
        let client = &mut self.clients[index as usize];
        match client.state {
            State::Open => {
                self.open -= 1;
                self.pending += 1;
            }
            State::Idle | State::Draining | State::Gone => return,
            State::Connecting | State::Upgrading | State::Closing | State::Closed => {}
        }
        client.state = State::Draining;
        client.decoder.release(&mut self.pool);
        client.rest = None;
        if client.polling {
            let token = Token::new(POLL, 0, index);
            self.ring.cancel(token, Token::new(CANCEL, 0, index));
        } else {
            self.free(index);
        }
    }

    fn free(&mut self, index: u32) {
        let client = &mut self.clients[index as usize];
        client.socket = None;
        client.state = State::Gone;
        self.pending -= 1;
    }
}
