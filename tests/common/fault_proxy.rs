//! A TCP proxy between a client and a server that does to their connections what networks do.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Out of the way of clients' own ports, so that nobody gets ours while we refuse.
const PORTS: std::ops::Range<u16> = 21_000..30_000;
const PORT_ATTEMPTS: usize = 1_000;
const BACKLOG: i32 = 1_024;
/// How long an order may take, which takes a moment.
const SOON: Duration = Duration::from_secs(20);
const CHUNK_BYTES: usize = 64 * 1024;
/// What is on its way in one direction, before the proxy stops reading; a black hole takes all.
const QUEUE_BYTES: usize = 1024 * 1024;

/// A proxy on a port of 127.0.0.1; when dropped, its connections are reset.
///
/// Each order is carried out when its method returns.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    desk: Arc<Desk>,
    worker: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts one that passes everything, from and to this address.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = listen();
        let address = listener.local_addr().expect("the listener is bound");
        let wake = eventfd(0, EventfdFlags::NONBLOCK).expect("there are descriptors");
        let desk = Arc::new(Desk { state: Mutex::default(), done: Condvar::new(), wake });
        let proxy = Proxy { listener, target, pairs: Vec::new(), orders: Orders::default() };
        let worker = Some(thread::spawn({
            let desk = Arc::clone(&desk);
            move || proxy.run(&desk)
        }));
        Self { address, desk, worker }
    }

    /// Where the client is to connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections that are open now.
    pub(crate) fn connections(&self) -> usize {
        self.order(|_| {}).connections
    }

    /// The connections that were ever accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.order(|_| {}).accepted
    }

    /// Accepts and reads, and passes nothing in either direction, not even the end of a connection.
    /// What was read is passed by [`Self::heal`], as a network that is mended would.
    pub(crate) fn black_hole(&self) {
        self.order(|orders| orders.passage = Passage::Hole);
    }

    /// Stops reading, and passes nothing: whoever sends comes to a halt.
    pub(crate) fn stall(&self) {
        self.order(|orders| orders.passage = Passage::Stall);
    }

    /// What is read from now on takes this long, in each direction.
    pub(crate) fn delay(&self, latency: Duration) {
        self.order(|orders| orders.latency = latency);
    }

    /// New connections are refused; those that are open stay.
    pub(crate) fn refuse(&self) {
        self.order(|orders| orders.refuse = true);
    }

    /// Ends all connections now, with RST on both sides.
    pub(crate) fn cut(&self) {
        self.order(|orders| orders.cut = true);
    }

    /// Back to normal: passes everything at once, also what was held back, and accepts.
    pub(crate) fn heal(&self) {
        self.order(|orders| {
            *orders = Orders { end: orders.end, ..Orders::default() };
        });
    }

    /// Gives an order and waits until it is carried out.
    fn order(&self, change: impl FnOnce(&mut Orders)) -> Facts {
        let mut state = self.desk.lock();
        change(&mut state.orders);
        state.given += 1;
        let number = state.given;
        rustix::io::write(&self.desk.wake, &1_u64.to_ne_bytes()).expect("an eventfd counts");
        while state.carried_out < number {
            let waited = self.desk.done.wait_timeout(state, SOON);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            assert!(!timeout.timed_out(), "the proxy has ended");
            state = next;
        }
        state.facts
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // If it has panicked it carries nothing out, and has no connections any more.
        if self.worker.as_ref().is_some_and(|worker| !worker.is_finished()) {
            self.order(|orders| orders.end = true);
        }
        drop(self.worker.take().map(JoinHandle::join));
    }
}

/// Where orders are given.
struct Desk {
    state: Mutex<State>,
    done: Condvar,
    wake: OwnedFd,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct State {
    orders: Orders,
    given: u64,
    carried_out: u64,
    facts: Facts,
}

#[derive(Clone, Copy, Default)]
struct Orders {
    passage: Passage,
    latency: Duration,
    refuse: bool,
    /// Once: it is forgotten when it is carried out.
    cut: bool,
    end: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Passage {
    #[default]
    Open,
    Hole,
    Stall,
}

#[derive(Clone, Copy, Default)]
struct Facts {
    connections: usize,
    accepted: usize,
}

/// The one thread, which has all sockets.
struct Proxy {
    listener: TcpListener,
    target: SocketAddr,
    pairs: Vec<Pair>,
    orders: Orders,
}

impl Proxy {
    fn run(mut self, desk: &Desk) {
        let mut accepted = 0;
        while !self.orders.end {
            self.wait(&desk.wake);
            let now = Instant::now();
            accepted += self.accept();
            let (target, orders) = (self.target, self.orders);
            self.pairs.retain_mut(|pair| pair.carry(target, orders, now));
            self.obey(desk, accepted);
        }
    }

    /// Waits for an order, or until something can be carried on.
    fn wait(&self, wake: &OwnedFd) {
        let mut polls = vec![PollFd::new(wake, PollFlags::IN)];
        if !self.orders.refuse {
            polls.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        for pair in &self.pairs {
            pair.register(self.orders, &mut polls);
        }
        let due = self.pairs.iter().filter_map(|pair| pair.due(self.orders)).min();
        let timeout = due.map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            Timespec::try_from(left).expect("the wait is short")
        });
        poll(&mut polls, timeout.as_ref()).expect("sockets can be polled");
        // Without an order there is nothing to read.
        let _ = rustix::io::read(wake, &mut [0_u8; 8]);
    }

    fn accept(&mut self) -> usize {
        let before = self.pairs.len();
        while !self.orders.refuse
            && let Ok((client, _)) = self.listener.accept()
        {
            self.pairs.push(Pair::new(client));
        }
        self.pairs.len() - before
    }

    fn obey(&mut self, desk: &Desk, accepted: usize) {
        let mut state = desk.lock();
        if state.orders.refuse != self.orders.refuse {
            // A listener that is shut down keeps its port, and nobody is accepted.
            let done = if state.orders.refuse {
                rustix::net::shutdown(&self.listener, Shutdown::Both)
            } else {
                rustix::net::listen(&self.listener, BACKLOG)
            };
            done.expect("a listener can be closed and opened");
        }
        if std::mem::take(&mut state.orders.cut) || state.orders.end {
            self.pairs.drain(..).for_each(Pair::reset);
        }
        self.orders = state.orders;
        state.facts = Facts { connections: self.pairs.len(), accepted };
        state.carried_out = state.given;
        desk.done.notify_all();
    }
}

/// A connection through the proxy.
struct Pair {
    client: TcpStream,
    /// Not yet there while nothing is passed.
    server: Option<TcpStream>,
    is_connected: bool,
    up: Flow,
    down: Flow,
}

impl Pair {
    fn new(client: TcpStream) -> Self {
        client.set_nonblocking(true).expect("a socket can be told not to block");
        client.set_nodelay(true).expect("TCP has this option");
        Self {
            client,
            server: None,
            is_connected: false,
            up: Flow::default(),
            down: Flow::default(),
        }
    }

    /// What to wait for. A socket of which we want nothing would wake us with its faults.
    fn register<'a>(&'a self, orders: Orders, polls: &mut Vec<PollFd<'a>>) {
        let now = Instant::now();
        let mut wanted = |socket: &'a TcpStream, from: &Flow, to: &Flow, is_connected: bool| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, is_connected && from.may_read(orders));
            flags.set(PollFlags::OUT, !is_connected || to.may_write(orders, now));
            if !flags.is_empty() {
                polls.push(PollFd::new(socket, flags));
            }
        };
        // What came for a server that is not connected yet waits for that.
        let idle = Flow::default();
        let up = if self.is_connected { &self.up } else { &idle };
        wanted(&self.client, &self.up, &self.down, true);
        if let Some(server) = &self.server {
            wanted(server, &self.down, up, self.is_connected);
        }
    }

    /// When something is to be passed that waits for its time now.
    fn due(&self, orders: Orders) -> Option<Instant> {
        if orders.passage != Passage::Open {
            return None;
        }
        // Without a server, now is the time to connect.
        if self.server.is_none() {
            return Some(Instant::now());
        }
        let now = Instant::now();
        [&self.up, &self.down].into_iter().filter_map(Flow::due).filter(|&due| due > now).min()
    }

    /// Carries on what can be; gives back whether the connection is still there.
    fn carry(&mut self, target: SocketAddr, orders: Orders, now: Instant) -> bool {
        if self.try_carry(target, orders, now).is_err() {
            linger_not(&self.client);
            self.server.as_ref().map(linger_not);
            return false;
        }
        !(self.up.is_over && self.down.is_over)
    }

    /// # Errors
    /// When a side has failed: both are to be reset.
    fn try_carry(
        &mut self,
        target: SocketAddr,
        orders: Orders,
        now: Instant,
    ) -> Result<(), Failed> {
        if self.server.is_none() && orders.passage == Passage::Open {
            self.server = Some(connect(target)?);
        }
        self.up.read(&self.client, orders, now)?;
        let Some(server) = &self.server else { return Ok(()) };
        if !self.is_connected {
            if let Ok(Some(_)) | Err(_) = server.take_error() {
                return Err(Failed);
            }
            self.is_connected = server.peer_addr().is_ok();
        }
        if self.is_connected {
            self.down.read(server, orders, now)?;
            self.up.write(server, orders, now)?;
            self.down.write(&self.client, orders, now)?;
        }
        Ok(())
    }

    fn reset(self) {
        linger_not(&self.client);
        self.server.as_ref().map(linger_not);
    }
}

struct Failed;

/// One direction: what was read and is not yet passed, with the time when it is to be.
#[derive(Default)]
struct Flow {
    queue: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// When the end, which was read, is to be passed.
    end: Option<Instant>,
    /// The end is one by RST.
    is_broken: bool,
    /// The end was passed.
    is_over: bool,
}

impl Flow {
    fn may_read(&self, orders: Orders) -> bool {
        let is_open = match orders.passage {
            Passage::Open => self.bytes < QUEUE_BYTES,
            Passage::Hole => true,
            Passage::Stall => false,
        };
        is_open && self.end.is_none()
    }

    fn may_write(&self, orders: Orders, now: Instant) -> bool {
        orders.passage == Passage::Open && self.due().is_some_and(|due| due <= now)
    }

    /// When the next bytes are to be passed, or the end behind them.
    fn due(&self) -> Option<Instant> {
        let first = self.queue.front().map(|&(due, _)| due);
        first.or(self.end).filter(|_| !self.is_over)
    }

    fn read(&mut self, mut socket: &TcpStream, orders: Orders, now: Instant) -> Result<(), Failed> {
        while self.may_read(orders) {
            let mut chunk = vec![0; CHUNK_BYTES];
            match socket.read(&mut chunk) {
                Ok(0) => self.end = Some(now + orders.latency),
                Ok(count) => {
                    chunk.truncate(count);
                    self.bytes += count;
                    self.queue.push_back((now + orders.latency, chunk));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) if orders.passage == Passage::Open => return Err(Failed),
                Err(_) => {
                    self.is_broken = true;
                    self.end = Some(now);
                }
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        mut socket: &TcpStream,
        orders: Orders,
        now: Instant,
    ) -> Result<(), Failed> {
        while self.may_write(orders, now) {
            let Some((_, chunk)) = self.queue.front_mut() else {
                if self.is_broken {
                    return Err(Failed);
                }
                drop(socket.shutdown(std::net::Shutdown::Write));
                self.is_over = true;
                return Ok(());
            };
            match socket.write(chunk) {
                Ok(count) => {
                    self.bytes -= count;
                    chunk.drain(..count);
                    if chunk.is_empty() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Failed),
            }
        }
        Ok(())
    }
}

/// Has the end of this socket be an RST.
fn linger_not(socket: &TcpStream) {
    let set = rustix::net::sockopt::set_socket_linger(socket.as_fd(), Some(Duration::ZERO));
    set.expect("a socket has this option");
}

fn listen() -> TcpListener {
    let count = u64::from(PORTS.end - PORTS.start);
    let draw = || RandomState::new().hash_one(std::process::id()) % count;
    let ports = std::iter::repeat_with(draw).take(PORT_ATTEMPTS);
    let bind = |port| {
        let port = PORTS.start + u16::try_from(port).expect("it is in the range");
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
    };
    let listener = ports.map(bind).find_map(|listener| listener).expect("there is a free port");
    listener.set_nonblocking(true).expect("a socket can be told not to block");
    listener
}

/// A socket that is about to be connected: the server may be one that accepts nobody now.
fn connect(target: SocketAddr) -> Result<TcpStream, Failed> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)
        .expect("there are descriptors");
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(_) => return Err(Failed),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).expect("TCP has this option");
    Ok(stream)
}
