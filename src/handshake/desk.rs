//! What the handshakes of a shard share: who is here, how many may come, who may be adopted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::clock::host_tick;
use crate::app::Endpoint;
use crate::collections::{GenerationalSlab, Key};
use crate::limits::{ACCEPTS_PER_TURN, HANDSHAKE_SECONDS, HANDSHAKES_MAX, READ_BYTES};
use crate::mesh::Mesh;
use crate::observe::{HandshakeResult, ShardCounters};
use crate::ring::socket;
use crate::security::{Access, Identity, Network, Refused, Ticket};

/// How often deadlines are looked at: they are kept to within this.
const SWEEP: Duration = Duration::from_millis(250);

const HANDSHAKE_TIME: Duration = Duration::from_secs(HANDSHAKE_SECONDS);

/// The time that every guest has, even when others need its descriptor.
const ROOM_AFTER: Duration = Duration::from_secs(1);

/// A connection that was granted its upgrade.
#[derive(Debug)]
pub struct Adoption {
    /// The socket; nothing in the kernel waits on it.
    pub socket: OwnedFd,
    /// The application it asked for.
    pub endpoint: Endpoint,
    /// The 101, to be sent first.
    pub response: Vec<u8>,
    /// What the peer sent behind its request.
    pub leftover: Vec<u8>,
    /// Who it is, where it said so in its request.
    pub identity: Option<Identity>,
    /// To be released when the connection has ended.
    pub ticket: Option<Ticket>,
}

/// How admission stands to a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing {
    /// Nobody is counted.
    Uncounted,
    /// Its handshake is one that its network may have.
    Counted(Network),
    /// Its network had its share of handshakes, or is not known.
    Refused,
}

/// What a desk needs to know.
#[derive(Debug)]
pub struct DeskPlan {
    /// The shard it works for.
    pub shard: usize,
    /// What an upgrade on `/` gets.
    pub root: Endpoint,
    /// Established connections that the shard takes.
    pub connections_max: usize,
    /// Its counters are those of the shard.
    pub counters: Arc<[ShardCounters]>,
    /// Where the shard's doorbell is.
    pub mesh: Arc<Mesh>,
    /// Who may come.
    pub access: Arc<Access>,
}

/// The reception of one shard.
#[derive(Debug)]
pub struct Desk {
    plan: DeskPlan,
    guests: RefCell<Guests>,
    adopted: RefCell<Vec<Adoption>>,
    /// Established connections, as of the shard's last turn.
    connections: Cell<usize>,
    closed: Cell<bool>,
    /// Somebody came to an empty desk: the sweeper may wake up.
    arrived: Notify,
    closing: Notify,
    /// Where every task reads to; its bytes are used up before the task waits.
    received: RefCell<Box<[u8]>>,
}

/// Handshakes in progress, the oldest first.
#[derive(Debug)]
struct Guests {
    sockets: GenerationalSlab<Rc<OwnedFd>>,
    deadlines: VecDeque<(Instant, Key)>,
}

impl Desk {
    /// A desk without guests.
    #[must_use]
    pub fn new(plan: DeskPlan) -> Self {
        Self {
            plan,
            guests: RefCell::new(Guests {
                sockets: GenerationalSlab::with_capacity(HANDSHAKES_MAX),
                deadlines: VecDeque::new(),
            }),
            adopted: RefCell::default(),
            connections: Cell::new(0),
            closed: Cell::new(false),
            arrived: Notify::new(),
            closing: Notify::new(),
            received: RefCell::new(vec![0; READ_BYTES].into()),
        }
    }

    /// Whether no handshake is in progress and none waits for adoption.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.guests.borrow().sockets.is_empty() && self.adopted.borrow().is_empty()
    }

    /// Tells how many connections are established.
    pub fn set_connections(&self, count: usize) {
        self.connections.set(count);
    }

    /// Moves the `max` oldest adoptions to `adoptions`; says whether there are more.
    pub fn take_adopted(&self, max: usize, adoptions: &mut Vec<Adoption>) -> bool {
        let mut adopted = self.adopted.borrow_mut();
        let count = adopted.len().min(max);
        adoptions.extend(adopted.drain(..count));
        !adopted.is_empty()
    }

    /// Lets nobody in any more, and ends the handshakes in progress.
    pub fn close(&self) {
        self.closed.set(true);
        self.closing.notify_waiters();
        for (_, socket) in self.guests.borrow().sockets.iter() {
            socket::shut_down(&**socket, Shutdown::Both);
        }
    }

    /// Ends handshakes whose time is up, for as long as the shard lives.
    pub async fn sweep(self: Rc<Self>) {
        loop {
            if self.guests.borrow().deadlines.is_empty() {
                self.arrived.notified().await;
            }
            tokio::time::sleep(SWEEP).await;
            let mut guests = self.guests.borrow_mut();
            let now = Instant::now();
            while let Some((deadline, key)) = guests.deadlines.front().copied()
                && deadline <= now
            {
                guests.deadlines.pop_front();
                guests.end(key);
            }
        }
    }

    /// Waits until the desk is closed.
    pub(super) async fn closed(&self) {
        if !self.closed.get() {
            self.closing.notified().await;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(super) fn is_full(&self) -> bool {
        let waiting = self.adopted.borrow().len();
        self.connections.get() + waiting >= self.plan.connections_max
    }

    pub(super) fn counters(&self) -> &ShardCounters {
        &self.plan.counters[self.plan.shard]
    }

    pub(super) const fn root(&self) -> Endpoint {
        self.plan.root
    }

    pub(super) fn access(&self) -> &Access {
        &self.plan.access
    }

    /// Counts the handshake of a client that was just accepted.
    pub(super) fn begin_handshake(&self, socket: &OwnedFd) -> Standing {
        if !self.access().counts_networks() {
            return Standing::Uncounted;
        }
        let Some(address) = socket::peer_address(socket) else { return Standing::Refused };
        let network = Network::from(address);
        match self.access().begin_handshake(network, host_tick()) {
            Ok(()) => Standing::Counted(network),
            Err(_) => Standing::Refused,
        }
    }

    /// Counts the connection that a client is to get. Its ticket goes with the adoption, or back to
    /// [`release`](Self::release).
    pub(super) fn admit(&self, standing: Standing) -> Result<Option<Ticket>, Refused> {
        match standing {
            Standing::Uncounted => Ok(None),
            Standing::Counted(network) => self.access().admit(network, host_tick()),
            Standing::Refused => Err(Refused::Handshakes),
        }
    }

    pub(super) fn release(&self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.access().release(ticket);
        }
    }

    pub(super) const fn received(&self) -> &RefCell<Box<[u8]>> {
        &self.received
    }

    /// Registers a socket that was just accepted. When too many are here, the oldest has had its
    /// time.
    pub(super) fn arrive(&self, socket: OwnedFd) -> (Key, Rc<OwnedFd>) {
        let socket = Rc::new(socket);
        let mut guests = self.guests.borrow_mut();
        if guests.deadlines.is_empty() {
            self.arrived.notify_one();
        }
        let deadline = Instant::now() + HANDSHAKE_TIME;
        let key = loop {
            match guests.sockets.insert(Rc::clone(&socket)) {
                Ok(key) => break key,
                Err(_) => guests.end_oldest(),
            }
        };
        guests.deadlines.push_back((deadline, key));
        self.counters().handshakes_in_progress.set(guests.sockets.len() as u64);
        (key, socket)
    }

    /// Ends guests that had a second, to make room for newcomers; says whether there were any.
    pub(super) fn make_room(&self) -> bool {
        let mut guests = self.guests.borrow_mut();
        let latest = Instant::now() + HANDSHAKE_TIME - ROOM_AFTER;
        let mut ended = 0;
        while ended < ACCEPTS_PER_TURN
            && let Some((deadline, key)) = guests.deadlines.front().copied()
            && deadline <= latest
        {
            guests.deadlines.pop_front();
            ended += usize::from(guests.end(key));
        }
        ended > 0
    }

    /// Whether the guest's time ran out.
    pub(super) fn is_late(&self, key: Key) -> bool {
        !self.guests.borrow().sockets.contains(key)
    }

    /// Counts the end of a handshake and forgets the guest.
    pub(super) fn leave(&self, key: Key, result: HandshakeResult) {
        let mut guests = self.guests.borrow_mut();
        guests.sockets.remove(key);
        while guests.deadlines.front().is_some_and(|(_, key)| !guests.sockets.contains(*key)) {
            guests.deadlines.pop_front();
        }
        self.counters().handshakes_in_progress.set(guests.sockets.len() as u64);
        self.counters().count_handshake(result);
        if self.closed.get() {
            // The shard may be waiting for the last guest to leave.
            self.plan.mesh.wake(self.plan.shard).ring();
        }
    }

    pub(super) fn adopt(&self, adoption: Adoption) {
        let mut adopted = self.adopted.borrow_mut();
        if adopted.is_empty() {
            self.plan.mesh.wake(self.plan.shard).ring();
        }
        adopted.push(adoption);
    }
}

impl Guests {
    /// Ends the guest that has been here longest.
    fn end_oldest(&mut self) {
        while let Some((_, key)) = self.deadlines.pop_front() {
            if self.end(key) {
                return;
            }
        }
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
