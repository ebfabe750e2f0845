//! What the handshakes of a shard share: who is here, how many may come, who may be adopted.

use std::cell::{Cell, Ref, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::sync::Notify;

use super::cipher::CipherTurns;
use super::guests::Guests;
use crate::app::Endpoint;
use crate::collections::Key;
use crate::limits::{
    ACCEPTS_PER_TURN, HANDSHAKE_SECONDS, HANDSHAKES_MAX, READ_BYTES, REFUSED_HANDSHAKE_SECONDS,
    REFUSED_HANDSHAKES_MAX, RETRY_AFTER_SECONDS, TLS_HANDSHAKES_MAX,
};
use crate::mesh::{Mesh, Overload};
use crate::observe::{HandshakeResult, ShardCounters};
use crate::protocol::deflate::{Agreement, DeflatePolicy};
use crate::protocol::upgrade::Refusal;
use crate::ring::thread_cpu_time;
use crate::security::{Access, ClientAddress, Identity, Networks, Ticket};
use crate::tls::{Inlet, Outlet, Session};

/// How often deadlines are looked at: they are kept to within this.
const SWEEP: Duration = Duration::from_millis(250);

const HANDSHAKE_TIME: Duration = Duration::from_secs(HANDSHAKE_SECONDS);

const REFUSED_TIME: Duration = Duration::from_secs(REFUSED_HANDSHAKE_SECONDS);

/// The time that every guest has, even when others need its descriptor.
const ROOM_AFTER: Duration = Duration::from_secs(1);

/// A connection that was granted its upgrade.
#[derive(Debug)]
pub struct Adoption {
    /// The socket; nothing in the kernel waits on it.
    pub socket: OwnedFd,
    /// TLS over it, whose handshake is over.
    pub tls: Option<Box<Session>>,
    /// The application it asked for.
    pub endpoint: Endpoint,
    /// How messages may be compressed.
    pub agreement: Option<Agreement>,
    /// The 101, to be sent first.
    pub response: Vec<u8>,
    /// What the peer sent behind its request.
    pub leftover: Vec<u8>,
    /// Who it is, where it said so in its request.
    pub identity: Option<Identity>,
    /// To be released when the connection has ended.
    pub ticket: Option<Ticket>,
    /// Where the client is, if it came through a proxy.
    pub client: Option<ClientAddress>,
}

/// Where guests wait: each bench has its own bound, so that none takes the places of others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bench {
    Plain,
    /// A handshake of TLS takes more memory.
    Tls,
    /// Those past the rate of their network have less time, and are the first to go.
    Refused,
}

/// Where a guest is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    key: Key,
    bench: Bench,
    accepted: Instant,
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
    /// How to speak TLS, where anybody comes so.
    pub tls: Option<Arc<ServerConfig>>,
    /// How messages are compressed, if they are.
    pub deflate: Option<DeflatePolicy>,
    /// How much each network has.
    pub networks: Arc<Networks>,
}

/// The reception of one shard.
#[derive(Debug)]
pub struct Desk {
    shard: usize,
    root: Endpoint,
    counters: Arc<[ShardCounters]>,
    mesh: Arc<Mesh>,
    access: RefCell<Arc<Access>>,
    tls: RefCell<Option<Arc<ServerConfig>>>,
    deflate: Cell<Option<DeflatePolicy>>,
    networks: Arc<Networks>,
    connections_max: Cell<usize>,
    /// In the order of [`Bench`].
    guests: [RefCell<Guests>; 3],
    cipher: CipherTurns,
    adopted: RefCell<Vec<Adoption>>,
    /// Established connections, as of the shard's last turn.
    connections: Cell<usize>,
    is_open: Cell<bool>,
    opening: Notify,
    closed: Cell<Option<Closed>>,
    /// Listeners that accept.
    listeners: Cell<usize>,
    /// Who was asked to come again later: spreads when.
    put_off: Cell<u32>,
    /// Somebody came to an empty desk: the sweeper may wake up.
    arrived: Notify,
    closing: Notify,
    /// Where every task reads to; its bytes are used up before the task waits.
    inlet: RefCell<Inlet>,
    /// Where every task makes its records.
    outlet: RefCell<Outlet>,
}

/// That a desk accepts nobody any more.
#[derive(Clone, Copy, Debug)]
struct Closed {
    handed_over: bool,
}

impl Desk {
    /// A desk without guests.
    #[must_use]
    pub fn new(plan: DeskPlan) -> Self {
        Self {
            shard: plan.shard,
            root: plan.root,
            counters: plan.counters,
            mesh: plan.mesh,
            access: RefCell::new(plan.access),
            tls: RefCell::new(plan.tls),
            deflate: Cell::new(plan.deflate),
            networks: plan.networks,
            connections_max: Cell::new(plan.connections_max),
            guests: [
                Guests::new(HANDSHAKES_MAX, HANDSHAKE_TIME),
                Guests::new(TLS_HANDSHAKES_MAX, HANDSHAKE_TIME),
                Guests::new(REFUSED_HANDSHAKES_MAX, REFUSED_TIME),
            ]
            .map(RefCell::new),
            cipher: CipherTurns::new(),
            adopted: RefCell::default(),
            connections: Cell::new(0),
            is_open: Cell::new(false),
            opening: Notify::new(),
            closed: Cell::new(None),
            listeners: Cell::new(0),
            put_off: Cell::new(0),
            arrived: Notify::new(),
            closing: Notify::new(),
            inlet: RefCell::new(Inlet::new(READ_BYTES)),
            outlet: RefCell::default(),
        }
    }

    /// Replaces who may come, with which certificates, how messages are compressed, and how many
    /// connections the shard takes. Who is here may stay.
    pub fn replace(
        &self,
        access: Arc<Access>,
        tls: Option<Arc<ServerConfig>>,
        deflate: Option<DeflatePolicy>,
        connections_max: usize,
    ) {
        self.deflate.set(deflate);
        self.access.replace(access);
        self.tls.replace(tls);
        self.connections_max.set(connections_max);
    }

    /// Connections that the shard takes.
    #[must_use]
    pub const fn connections_max(&self) -> usize {
        self.connections_max.get()
    }

    /// Whether nobody comes any more, no handshake is in progress and none waits for adoption.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.listeners.get() == 0 && self.guests_here() == 0 && self.adopted.borrow().is_empty()
    }

    /// The shard had its turn, and so many connections are established.
    pub fn end_turn(&self, connections: usize) {
        self.connections.set(connections);
        self.cipher.renew();
    }

    /// Moves the `max` oldest adoptions to `adoptions`; says whether there are more.
    pub fn take_adopted(&self, max: usize, adoptions: &mut Vec<Adoption>) -> bool {
        let mut adopted = self.adopted.borrow_mut();
        let count = adopted.len().min(max);
        adoptions.extend(adopted.drain(..count));
        !adopted.is_empty()
    }

    /// Accepts connections from now on.
    pub fn open(&self) {
        if !self.is_open.replace(true) {
            self.opening.notify_waiters();
        }
    }

    /// Accepts nobody any more. Handshakes in progress go on for `time`: who asks for an upgrade is
    /// told that the server ends, or gets it where another process goes on with the listeners.
    pub fn close(&self, handed_over: bool, time: Duration) {
        self.closed.set(Some(Closed { handed_over }));
        self.closing.notify_waiters();
        for guests in &self.guests {
            guests.borrow_mut().hasten(time);
        }
    }

    /// A listener accepts for this desk from now on.
    pub fn begin_listening(&self) {
        self.listeners.set(self.listeners.get() + 1);
    }

    /// It accepts no more.
    pub(super) fn end_listening(&self) {
        self.listeners.set(self.listeners.get() - 1);
        self.ring();
    }

    /// Ends handshakes whose time is up, for as long as the shard lives.
    pub async fn sweep(self: Rc<Self>) {
        loop {
            if self.guests.iter().all(|guests| guests.borrow().is_empty()) {
                self.arrived.notified().await;
            }
            tokio::time::sleep(SWEEP).await;
            // Handshakes alone do not make the shard turn, which else tells its time.
            self.counters().cpu_time.set(thread_cpu_time());
            for guests in &self.guests {
                guests.borrow_mut().end_until(Instant::now(), usize::MAX);
            }
        }
    }

    /// Waits until the desk is open, or closed for good.
    pub(super) async fn opened(&self) {
        if !self.is_open.get() && !self.is_closed() {
            tokio::select! {
                () = self.opening.notified() => {}
                () = self.closing.notified() => {}
            }
        }
    }

    /// Waits until the desk is closed.
    pub(super) async fn closed(&self) {
        if !self.is_closed() {
            self.closing.notified().await;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// Whether another process goes on with the listening sockets.
    pub(super) fn is_handed_over(&self) -> bool {
        self.closed.get().is_some_and(|closed| closed.handed_over)
    }

    /// Whether upgrades are granted.
    pub(super) fn takes_connections(&self) -> bool {
        let here = self.connections.get() + self.adopted.borrow().len();
        here < self.connections_max.get()
            && (!self.is_closed() || self.is_handed_over())
            && self.mesh.overload() != Some(Overload::Memory)
    }

    /// Asks to come again later, each at another time.
    pub(super) fn put_off(&self) -> Refusal {
        let (least, most) = RETRY_AFTER_SECONDS;
        let number = self.put_off.get();
        self.put_off.set(number.wrapping_add(1));
        // Consecutive numbers are spread evenly (Knuth, 6.4).
        let spread = u64::from(number.wrapping_mul(0x9E37_79B1)) * u64::from(most - least + 1);
        Refusal::Unavailable { retry_after: least + (spread >> 32) as u16 }
    }

    pub(super) fn counters(&self) -> &ShardCounters {
        &self.counters[self.shard]
    }

    pub(super) const fn root(&self) -> Endpoint {
        self.root
    }

    /// Who may come now. Not to be kept while a task waits.
    pub(super) fn access(&self) -> Ref<'_, Arc<Access>> {
        self.access.borrow()
    }

    /// How much each network has.
    pub(super) fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Takes back the place of a connection that has ended, if it had one.
    pub fn release(&self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            self.networks.release(ticket);
        }
    }

    pub(super) const fn inlet(&self) -> &RefCell<Inlet> {
        &self.inlet
    }

    pub(super) const fn outlet(&self) -> &RefCell<Outlet> {
        &self.outlet
    }

    /// The certificates of now.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.borrow().clone()
    }

    /// How messages are compressed, if they are.
    pub(super) const fn deflate(&self) -> Option<DeflatePolicy> {
        self.deflate.get()
    }

    pub(super) const fn cipher(&self) -> &CipherTurns {
        &self.cipher
    }

    /// Registers a socket that was `accepted` just now. When too many of its kind are here, the
    /// oldest of them is ended.
    pub(super) fn arrive(
        &self,
        socket: OwnedFd,
        accepted: Instant,
        bench: Bench,
    ) -> (Place, Rc<OwnedFd>) {
        let socket = Rc::new(socket);
        let key = self.seat(&socket, accepted, bench);
        (Place { key, bench, accepted }, socket)
    }

    /// Puts a guest apart whose network turned out to have had its share, as if it came now. One
    /// whose time ran out stays where it was.
    pub(super) fn set_apart(&self, place: Place) -> Place {
        let left = self.guests_of(place.bench).borrow_mut().leave(place.key);
        let Some(socket) = left else { return place };
        let key = self.seat(&socket, Instant::now(), Bench::Refused);
        Place { key, bench: Bench::Refused, ..place }
    }

    fn seat(&self, socket: &Rc<OwnedFd>, now: Instant, bench: Bench) -> Key {
        let key = {
            let mut guests = self.guests_of(bench).borrow_mut();
            if guests.is_empty() {
                self.arrived.notify_one();
            }
            guests.arrive(socket, now)
        };
        self.counters().handshakes_in_progress.set(self.guests_here());
        key
    }

    /// Ends guests to make room for newcomers: the refused, then those that had a second. Says
    /// whether there were any.
    pub(super) fn make_room(&self) -> bool {
        let now = Instant::now();
        let slow = now + HANDSHAKE_TIME - ROOM_AFTER;
        let mut ended = 0;
        for (bench, latest) in
            [(Bench::Refused, now + REFUSED_TIME), (Bench::Tls, slow), (Bench::Plain, slow)]
        {
            let most = ACCEPTS_PER_TURN - ended;
            ended += self.guests_of(bench).borrow_mut().end_until(latest, most);
        }
        ended > 0
    }

    /// Whether the guest's time ran out.
    pub(super) fn is_late(&self, place: Place) -> bool {
        !self.guests_of(place.bench).borrow().contains(place.key)
    }

    /// Counts the end of a handshake and forgets the guest.
    pub(super) fn leave(&self, place: Place, result: HandshakeResult) {
        self.guests_of(place.bench).borrow_mut().leave(place.key);
        self.counters().handshakes_in_progress.set(self.guests_here());
        self.counters().count_handshake(result);
        if self.is_closed() {
            // The shard may be waiting for the last guest to leave.
            self.ring();
        }
    }

    const fn guests_of(&self, bench: Bench) -> &RefCell<Guests> {
        &self.guests[bench as usize]
    }

    fn guests_here(&self) -> u64 {
        self.guests.iter().map(|guests| guests.borrow().len() as u64).sum()
    }

    /// A guest is granted its upgrade.
    pub(super) fn measure(&self, place: Place) {
        self.counters().handshake_time.record(place.accepted.elapsed());
    }

    pub(super) fn adopt(&self, adoption: Adoption) {
        let mut adopted = self.adopted.borrow_mut();
        if adopted.is_empty() {
            self.ring();
        }
        adopted.push(adoption);
    }

    /// Wakes the shard.
    fn ring(&self) {
        self.mesh.wake(self.shard).ring();
    }
}
