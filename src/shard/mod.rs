//! One core: its connections, and the turn that moves them all.
//!
//! # A turn
//!
//! ```text
//!   adopt finished handshakes → completions (bounded) → reads (bounded) → inboxes (bounded)
//!     → timers (bounded) → fan-out (bounded) → submit
//! ```
//!
//! Then the thread goes back to its host, which runs handshakes and sleeps until the shard's
//! doorbell rings; a turn that left work behind rings it itself. The clock is read when a
//! turn begins and ends, and where microseconds count: when messages gather for a round.
//!
//! A shard is two things at once: the place of its connections, members of rooms, and the home of
//! some of the rooms. What members want goes to homes, what homes say goes to members; see
//! [`crate::hub`].

mod asks;
mod clients;
mod exchange;
mod fan_out;
mod lines;
mod passing;
mod run;
mod slot;
mod terminate;
mod timers;
mod transfer;

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use exchange::Passwords;
pub use run::{ShardPlan, run};

use crate::app::Session;
use crate::app::chat::{Chat, ChatWording};
use crate::collections::{GenerationalSlab, Key, Tick, Wheel};
use crate::connection::{Connection, Workshop};
use crate::handshake::{Adoption, Desk};
use crate::hub::{Batch, Home, Notice, Now, Requests, Rooms};
use crate::limits::{
    ADOPTIONS_PER_TURN, ASSEMBLY_BYTES_MAX, COMPLETIONS_PER_TURN, COMPRESSION_BYTES_MIN,
    DEFLATE_LEVEL_DEFAULT, DEFLATE_WINDOW_BITS_MAX, READ_BYTES, READS_PER_TURN, TICK_MILLISECONDS,
    WHEEL_SLOTS,
};
use crate::mesh::{ClusterRoad, Envelope, Mesh};
use crate::observe::ShardCounters;
use crate::protocol::AssemblyPool;
use crate::protocol::deflate::{Deflater, Inflater};
use crate::ring::{Completion, Interest, Ring, Token, thread_cpu_time};
use crate::settings::ShardSettings;
use clients::Clients;
use exchange::Exchange;
use lines::{ConnectionId, tell_connected};
use passing::Outboxes;
use slot::Slot;
use timers::Drain;

/// Where the broadcast audience gets its order.
const HOME: usize = 0;

/// Kinds of the tokens of this ring.
mod kind {
    pub(super) const POLL: u8 = 0;
    pub(super) const CANCEL: u8 = 1;
    pub(super) const TICK: u8 = 2;
    pub(super) const PACE: u8 = 3;
}

struct Shard {
    number: usize,
    ring: Ring,
    slots: GenerationalSlab<Slot>,
    wheel: Wheel,
    exchange: Exchange,
    /// Reads that this turn may still do.
    reads_left: usize,
    /// Connections with bytes to read, each once, in turn.
    readable: VecDeque<Key>,
    /// The one buffer that is read into.
    received: Box<[u8]>,
    /// The rooms whose home is here.
    home: Home<ChatWording>,
    /// While something waits in them, nothing is read.
    outboxes: Outboxes,
    mesh: Arc<Mesh>,
    /// The way to the servers that nodes share.
    cluster: Option<ClusterRoad>,
    desk: Rc<Desk>,
    /// While deadlines are brought forward: the next index.
    rearming: Option<u32>,
    draining: Option<Drain>,
    /// It was said that no connection is left, and none will come.
    has_ended: bool,
    clock: Clock,
    ticking: bool,
    /// When the tick timer should fire.
    tick_due: Duration,
    /// As of which tick the time of the thread is told.
    told_cpu_at: Tick,
    pacing: bool,
    completions: Vec<Completion>,
    envelopes: Vec<Envelope>,
    adoptions: Vec<Adoption>,
    adopted: u32,
    /// What the homes here are asked, what the members here are told, and what they are sent, each
    /// while it is done.
    requests: Requests,
    notices: Vec<Notice>,
    sends: Vec<(Key, Batch)>,
}

/// Time since the shard began, read once per turn.
#[derive(Debug)]
struct Clock {
    start: Instant,
    now: Duration,
    /// Since 1970, as of the start of the turn.
    unix: Duration,
}

impl Clock {
    fn start() -> Self {
        Self { start: Instant::now(), now: Duration::ZERO, unix: Duration::ZERO }
    }

    /// Both clocks, at the start of a turn: gives the time since the start of the shard.
    fn begin_turn(&mut self) -> Duration {
        self.read();
        // A clock before 1970 gives wrong timestamps, and nothing else.
        self.unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.now
    }

    fn read(&mut self) {
        self.now = self.start.elapsed();
    }

    fn now(&self) -> Now {
        Now { tick: self.tick(), unix_milliseconds: self.unix.as_millis() as u64 }
    }

    /// Wraps after 13 years; ticks are compared by their distance.
    fn tick(&self) -> Tick {
        (self.now.as_millis() as u64 / TICK_MILLISECONDS) as Tick
    }
}

impl Shard {
    fn new(plan: ShardPlan, ring: Ring, desk: Rc<Desk>) -> Self {
        let shards = plan.mesh.shards();
        Self {
            number: plan.number,
            ring,
            slots: GenerationalSlab::with_capacity(plan.connections_possible),
            wheel: Wheel::new(WHEEL_SLOTS),
            exchange: Exchange::new(
                workshop(&plan.settings),
                Clients::new(plan.connections_possible),
                Rooms::new(shards, plan.mesh.hasher().clone()),
                Chat::new(
                    plan.number,
                    plan.cluster.as_ref().map(|road| road.plan().node),
                    Arc::clone(&plan.settings.access),
                    plan.settings.rates,
                ),
                plan.passwords,
                plan.counters,
                plan.number,
            ),
            reads_left: 0,
            readable: VecDeque::new(),
            received: vec![0; READ_BYTES].into(),
            home: Home::new(
                ChatWording,
                plan.settings.history,
                shards,
                plan.epoch,
                plan.cluster.as_ref().map(|road| road.plan().clone()),
            ),
            cluster: plan.cluster,
            outboxes: Outboxes::new(shards),
            mesh: plan.mesh,
            desk,
            rearming: None,
            draining: None,
            has_ended: false,
            clock: Clock::start(),
            ticking: false,
            tick_due: Duration::ZERO,
            told_cpu_at: 0,
            pacing: false,
            completions: Vec::with_capacity(COMPLETIONS_PER_TURN),
            envelopes: Vec::new(),
            adoptions: Vec::new(),
            adopted: 0,
            requests: Requests::default(),
            notices: Vec::new(),
            sends: Vec::new(),
        }
    }

    /// One turn. Says whether work was left that nobody else will wake us for.
    fn turn(&mut self) -> io::Result<bool> {
        let turn_start = self.clock.begin_turn();
        self.reads_left = READS_PER_TURN;
        self.heed_mesh();
        self.outboxes.send_waiting(&self.mesh);
        let more_adoptions = self.takes_publications() && self.adopt();
        self.ring.submit()?;
        let more_completions = self.take_completions();
        self.read_readable();
        let more_timers = self.fire_timers() | self.rearm();
        self.pass_on();
        let were_held_back = self.is_holding_back();
        let more_envelopes = self.take_envelopes();
        let more_syncs = self.ask_cluster();
        let more_sends = self.fan_out();
        self.start_timers(more_sends);
        let more_submitted = self.ring.submit_if_queued()?;
        self.end_turn(turn_start);
        self.publish_gauges();
        Ok(more_adoptions
            || more_completions
            || more_envelopes
            || more_syncs
            || more_timers
            || more_sends
            || more_submitted
            || self.exchange.rooms.has_requests()
            || (were_held_back && !self.is_holding_back())
            || (!self.readable.is_empty() && self.takes_publications()))
    }

    /// Envelopes wait where they are because what they cause would find no room.
    fn is_holding_back(&self) -> bool {
        !self.has_room_for_members() || !self.takes_requests()
    }

    fn take_envelopes(&mut self) -> bool {
        let more_told = self.has_room_for_members() && self.take_member_envelopes();
        let more_asked = self.takes_requests() && self.take_home_envelopes();
        more_told || more_asked
    }

    /// Whether everybody has left a shard that was asked to end, and all others too: until then
    /// its homes have members to tell.
    fn is_finished(&mut self) -> bool {
        if self.draining.is_some()
            && !self.has_ended
            && self.slots.is_empty()
            && self.desk.is_done()
            && !self.exchange.rooms.has_requests()
            && self.outboxes.is_empty()
            && !self.home.is_telling()
        {
            self.has_ended = true;
            self.mesh.end();
        }
        self.has_ended && self.mesh.has_ended()
    }

    /// Goes by these settings from now on.
    fn apply(&mut self, settings: &ShardSettings) {
        let is_shorter = settings.heartbeat < self.exchange.workshop.heartbeat;
        self.exchange.apply(settings);
        self.home.set_limits(settings.history);
        let connections_max =
            settings.connections_of(self.number, self.mesh.shards()).min(self.slots.capacity());
        self.desk.replace(Arc::clone(&settings.access), connections_max);
        if is_shorter {
            self.rearming = Some(0);
        }
    }

    /// Makes connections of finished handshakes; says whether there are more.
    fn adopt(&mut self) -> bool {
        let mut adoptions = std::mem::take(&mut self.adoptions);
        let more = self.desk.take_adopted(ADOPTIONS_PER_TURN, &mut adoptions);
        for adoption in adoptions.drain(..) {
            self.adopt_one(adoption);
        }
        self.adoptions = adoptions;
        more
    }

    fn adopt_one(&mut self, adoption: Adoption) {
        let Adoption { socket, endpoint, response, mut leftover, identity, ticket, client } =
            adoption;
        let now = self.clock.now();
        self.adopted = self.adopted.wrapping_add(1);
        let connection = Connection::new(now.tick, self.adopted, None);
        let session = identity.map(|identity| Box::new(Session::of(identity)));
        let slot = Slot::new(now.tick, socket, connection, endpoint, session, ticket);
        let Ok(key) = self.slots.insert(slot) else {
            unreachable!("the desk admits no more connections than there are slots");
        };
        self.counters().opened.add(1);
        let slot = self.slots.get_mut(key).expect("it was inserted just now");
        self.ring.poll_multishot(&slot.socket, Interest::ReadWrite, poll_token(key));
        self.exchange.clients.note(key, client);
        let peer = self.exchange.clients.peer(key, &slot.socket);
        tell_connected(ConnectionId { shard: self.number, key }, slot, peer);
        self.exchange.open(now, key, slot, &response);
        if !leftover.is_empty() {
            self.exchange.work_on(now, key, slot, &mut leftover);
        }
        self.arm_deadline(key);
        self.perform_step(key);
    }

    fn take_completions(&mut self) -> bool {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.reap(COMPLETIONS_PER_TURN, &mut completions);
        let full = completions.len() == COMPLETIONS_PER_TURN;
        let counters = self.counters();
        counters.completions.add(completions.len() as u64);
        counters.completion_queue_depth.set(completions.len() as u64);
        for completion in completions.drain(..) {
            match completion.token.kind() {
                kind::POLL => self.on_poll(&completion),
                kind::TICK => self.on_tick(),
                kind::PACE => self.pacing = false,
                // The cancelled poll has a last completion of its own.
                _ => {}
            }
        }
        self.completions = completions;
        full
    }

    fn on_poll(&mut self, completion: &Completion) {
        let token = completion.token;
        let key = Key::from_parts(token.index(), token.generation());
        let Some(slot) = self.slots.get_mut(key) else {
            unreachable!("a slot is free only after the last completion of its poll");
        };
        slot.polled = completion.more;
        if slot.ended {
            if !completion.more {
                self.free(key);
            }
            return;
        }
        if !completion.more {
            // The kernel ended the poll, for want of room in the completion queue.
            self.ring.poll_multishot(&slot.socket, Interest::ReadWrite, token);
            slot.polled = true;
        }
        slot.hung_up |= completion.hung_up();
        if completion.writable() && slot.connection.backlog().is_some() {
            self.flush_backlog(key);
        }
        if completion.readable() {
            self.read_or_mark(key);
        }
    }

    /// The time of the thread is asked for by a system call: once per tick is enough.
    fn end_turn(&mut self, start: Duration) {
        self.clock.read();
        let counters = self.counters();
        counters.turns.add(1);
        counters.turn_time.record(self.clock.now.saturating_sub(start));
        let now = self.clock.tick();
        if now != self.told_cpu_at {
            counters.cpu_time.set(thread_cpu_time());
            self.told_cpu_at = now;
        }
    }

    fn publish_gauges(&self) {
        let counters = self.counters();
        counters.connections.set(self.slots.len() as u64);
        counters.connections_max.set(self.desk.connections_max() as u64);
        if self.number == HOME {
            counters.overloaded.set(self.mesh.is_overloaded().into());
        }
        counters.audience.set(self.exchange.rooms.broadcast_members() as u64);
        counters.rooms.set(self.home.rooms() as u64);
        counters.room_members.set(self.home.members());
        let (messages, bytes) = self.home.remembered();
        counters.history_messages.set(messages as u64);
        counters.history_bytes.set(bytes as u64);
        if self.cluster.is_some() {
            self.publish_span_figures();
        }
        counters.assembly_bytes.set(self.exchange.workshop.pool.bytes_in_use() as u64);
        counters.replies_kept_bytes.set(self.exchange.workshop.replies_kept as u64);
        counters.slow_readers.set(self.exchange.workshop.backlogs as u64);
        counters.backlog_bytes.set(self.exchange.workshop.backlog_bytes as u64);
        counters.completion_pressure.set(self.ring.pressure());
        self.desk.set_connections(self.slots.len());
    }

    fn publish_span_figures(&self) {
        let (counters, figures) = (self.counters(), self.home.span_figures());
        counters.rooms_syncing.set(self.home.rooms_syncing() as u64);
        counters.span_lost.set(figures.lost);
        counters.span_undelivered.set(figures.undelivered);
        counters.span_refused.set(figures.refused);
        counters.span_gaps.set(figures.gaps);
        counters.span_syncs.set(figures.syncs);
        counters.span_strange.set(figures.strange);
    }

    fn counters(&self) -> &ShardCounters {
        self.exchange.counters()
    }
}

fn workshop(settings: &ShardSettings) -> Workshop {
    Workshop {
        pool: AssemblyPool::new(ASSEMBLY_BYTES_MAX),
        limits: settings.limits,
        inflater: Inflater::new(),
        deflater: Deflater::new(DEFLATE_LEVEL_DEFAULT),
        compression_min: COMPRESSION_BYTES_MIN,
        shared_window_bits: DEFLATE_WINDOW_BITS_MAX,
        heartbeat: settings.heartbeat,
        replies_kept: 0,
        backlogs: 0,
        backlog_bytes: 0,
    }
}

fn poll_token(key: Key) -> Token {
    Token::new(kind::POLL, key.generation(), key.index())
}
