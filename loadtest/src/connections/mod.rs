//! The connections of one thread: opening, reading, sending and closing them.

mod deadlines;
mod lives;
mod receive;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ringwire::limits::READ_BYTES;
use ringwire::protocol::AssemblyPool;
use ringwire::ring::{Completion, Interest, Ring, Token};
use ringwire::tls::{Inlet, Outlet};
use rustls::ClientConfig;

pub(crate) use self::lives::Cause;

use self::deadlines::Deadlines;
use self::lives::Gone;
use crate::args::{CompressionArguments, Target};
use crate::client::{Client, State};
use crate::control::{Clock, Population};
use crate::payload::mix;
use crate::plan::among;
use crate::press::Press;
use crate::rotation::{Rotation, target_of};
use crate::scenario::Scenario;
use crate::sources::Sources;
use crate::stats::{Failure, Stage, Stats};
use crate::tls;
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
    /// The number of each target's server.
    pub(crate) nodes: Vec<u32>,
    /// A client connects to another target each time: the next in turn.
    pub(crate) roams: bool,
    /// How those that speak TLS are spoken to.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// TLS goes on from earlier sessions.
    pub(crate) resumes: bool,
    /// How messages are compressed, where servers agree to it.
    pub(crate) deflate: CompressionArguments,
    /// What is asked of them.
    pub(crate) wishes: Wishes,
    /// Where connections come from.
    pub(crate) sources: Sources,
    /// Nanoseconds a connection may take to open.
    pub(crate) connect_timeout: u64,
    /// Nanoseconds the server may take to answer a close frame.
    pub(crate) leave_timeout: u64,
    /// Bytes of a connection that may wait for the server to read: who lets more come together has
    /// stopped reading.
    pub(crate) unsent_max: usize,
    /// The clients with a number below this publish.
    pub(crate) publishers: u32,
    /// The latency of the run is that of its handshakes: there are no messages.
    pub(crate) handshakes_only: bool,
    /// A close frame 1001 is a farewell: such a connection is not lost.
    pub(crate) farewells: bool,
    /// Who reads slowly.
    pub(crate) slow: SlowReaders,
}

/// Clients that are not read when there is something to read, but only when the scenario asks.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct SlowReaders {
    /// How many, of [`connections`](Self::connections).
    pub(crate) count: u32,
    /// All connections of the run, the slow ones included.
    pub(crate) connections: u32,
    /// Bytes of `SO_RCVBUF`; the kernel doubles them for its own needs.
    pub(crate) receive_buffer: usize,
}

impl SlowReaders {
    /// How many there are among `count` clients from number `first` on: every thread has its share.
    pub(crate) fn among(&self, first: u32, count: u32) -> u32 {
        among((self.count, self.connections), first, count)
    }
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
    /// The first of the clients that read slowly: those from here to the end of the table.
    first_slow: u32,
    /// The number of the first client among those of all threads.
    first: u32,
    /// One for each target.
    upgrades: Vec<Upgrade>,
    rotation: Rotation,
    /// How those that speak TLS are spoken to by this thread, which has sessions of its own.
    tls: Option<Arc<ClientConfig>>,
    inlet: Inlet,
    outlet: Outlet,
    press: Press,
    pool: AssemblyPool,
    /// Clients with more to read than their share.
    line: VecDeque<u32>,
    /// Clients that are to be open in time, and that are to be gone in time.
    opening: Deadlines,
    leaving: Deadlines,
    /// Why clients are draining, if they were not asked to leave.
    causes: HashMap<u32, (Stage, Failure)>,
    /// Clients that are gone, of which the scenario has yet to hear.
    gone: Vec<Gone>,
    /// Clients that are being opened, closing or draining.
    pub(crate) pending: usize,
    /// Clients that are open and not slow.
    pub(crate) open: u32,
    /// Connections that were opened.
    pub(crate) opened: u64,
    /// Connections that no source address had a port for.
    pub(crate) without_port: u64,
    /// The scenario is finished: what comes now was counted as missing.
    pub(crate) is_deaf: bool,
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
            opening: Deadlines::new(setup.connect_timeout),
            leaving: Deadlines::new(setup.leave_timeout),
            first_slow: count - setup.slow.among(first, count),
            tls: setup.tls.as_ref().map(|config| tls::of_thread(config, setup.resumes)),
            press: Press::new(&setup.deflate),
            setup,
            clock,
            clients: std::iter::repeat_with(Client::new).take(count as usize).collect(),
            first,
            inlet: Inlet::new(READ_BYTES),
            outlet: Outlet::default(),
            pool: AssemblyPool::new(PIECES_BYTES_MAX),
            line: VecDeque::new(),
            causes: HashMap::new(),
            gone: Vec::new(),
            pending: 0,
            open: 0,
            opened: 0,
            without_port: 0,
            is_deaf: false,
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

    /// Whether a client reads slowly.
    #[inline]
    pub(crate) const fn is_slow(&self, index: u32) -> bool {
        index >= self.first_slow
    }

    /// Whether a client is open, slow or not.
    #[inline]
    pub(crate) fn is_open(&self, index: u32) -> bool {
        self.clients[index as usize].state == State::Open
    }

    /// Whether a client is not started, or gone.
    pub(crate) fn may_start(&self, index: u32) -> bool {
        matches!(self.clients[index as usize].state, State::Idle | State::Gone)
    }

    /// Whether bytes of a client wait for room in its socket.
    pub(crate) fn is_blocked(&self, index: u32) -> bool {
        self.clients[index as usize].rest.is_some()
    }

    /// The clients that are open and not slow.
    pub(crate) fn open_clients(&self) -> impl Iterator<Item = u32> {
        let is_open = |(_, client): &(usize, &Client)| client.state == State::Open;
        let healthy = &self.clients[..self.first_slow as usize];
        healthy.iter().enumerate().filter(is_open).map(|(index, _)| index as u32)
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
        } else if client.may_wait() && completion.writable() && !client.flush(&mut self.outlet) {
            self.end(scenario, index, Failure::Broken);
        }
        if completion.readable() && self.reads_when_ready(index) {
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
            let client = &mut self.clients[index as usize];
            client.in_line = false;
            // The entry may be of an earlier life.
            if !matches!(client.state, State::Idle | State::Connecting | State::Gone) {
                self.read(scenario, index);
            }
        }
        !self.line.is_empty()
    }

    /// Sends frames to the server, if the connection is open. One that turns out to be broken, or
    /// not to be read, ends soon, by way of a read.
    #[inline]
    pub(crate) fn send(&mut self, index: u32, frames: &[u8]) {
        let client = &mut self.clients[index as usize];
        if client.state != State::Open {
            return;
        }
        let frames = match &mut client.compression {
            None => frames,
            Some(agreed) => self.press.deflate(agreed, frames, &mut self.stats.pressed),
        };
        if !client.send(&mut self.outlet, frames) {
            client.hung_up = true;
            client.broken = true;
            self.wait_in_line(index);
        } else if self.is_unread(index) {
            self.wait_in_line(index);
        }
    }

    /// Whether more waits for the server to read than is kept for it.
    pub(crate) fn is_unread(&self, index: u32) -> bool {
        self.clients[index as usize].unsent() > self.setup.unsent_max
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

    /// Which of the targets, and of the handshakes, is that of a client.
    fn target_of(&self, index: u32) -> usize {
        target_of(self.turn(index), self.upgrades.len())
    }

    /// The number of the server that a client is connected to, or was last.
    pub(crate) fn node(&self, index: u32) -> u32 {
        self.setup.nodes[self.target_of(index)]
    }

    /// The place that a client's last attempt has in the turns of targets and of sources: every
    /// attempt takes another source.
    fn turn(&self, index: u32) -> u32 {
        let earlier = self.clients[index as usize].attempts.saturating_sub(1);
        let round = self.setup.targets.len() as u32 + u32::from(self.setup.roams);
        self.number(index).wrapping_add(earlier.wrapping_mul(round))
    }

    /// A slow reader reads by the clock as long as the server keeps it.
    fn reads_when_ready(&self, index: u32) -> bool {
        let client = &self.clients[index as usize];
        !self.is_slow(index) || client.state != State::Open || client.hung_up
    }

    fn arm(&mut self, index: u32) {
        let client = &mut self.clients[index as usize];
        let Some(socket) = &client.socket else { return };
        self.ring.poll_multishot(socket, Interest::ReadWrite, Token::new(POLL, 0, index));
        client.polling = true;
    }

    fn wait_in_line(&mut self, index: u32) {
        let client = &mut self.clients[index as usize];
        if !client.in_line {
            client.in_line = true;
            self.line.push_back(index);
        }
    }
}
