//! The one road between threads: bounded inboxes per shard, and one wake for whatever came.
//!
//! A shard has two, since it has two parts: it is the home of rooms, and it has members of others.
//! What goes to members waits for nothing but their own rounds; what goes to a home waits until the
//! home can tell the members. So nobody waits in a circle.

mod ask;
mod cluster;

use std::collections::hash_map::RandomState;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub use ask::{AnswerTo, Ask, ConnectionFigures, Disconnected, Farewell, Whom};
pub use cluster::ClusterRoad;

use crate::collections::{Fifo, Key};
use crate::hub::span::News;
use crate::hub::{Batch, Notice, Requests, home_of};
use crate::limits::{INBOX_BYTES_MAX, INBOX_ENVELOPES_MAX};
use crate::ring::Wake;
use crate::security::Identity;
use crate::settings::ShardSettings;

/// Which of a shard's inboxes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// What members ask of a home.
    Home,
    /// What a home tells members.
    Members,
}

/// What threads tell a shard.
#[derive(Debug)]
pub enum Envelope {
    /// To the home of the broadcast audience: frames to be put in order and passed on.
    Publish(Batch),
    /// From that home: frames in the order of all, for the members here.
    Deliver(Batch),
    /// To the home of rooms, from the shard with this number.
    Requests(usize, Requests),
    /// From the home of rooms.
    Notices(Vec<Notice>),
    /// To the shard of a connection: whose its password is, if it is right.
    PasswordChecked(Key, Option<Identity>),
    /// From an operator.
    Ask(Ask),
    /// To every shard: what it goes by from now on.
    Settings(Arc<ShardSettings>),
    /// To the home of rooms that span nodes, from the servers that nodes share.
    News(Vec<News>),
}

/// A mark that the server is past: newcomers are asked to come again later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Overload {
    /// A shard has all the connections it may have.
    Connections = 1,
    /// The process takes more memory than it should.
    Memory = 2,
}

impl Envelope {
    /// The inbox that it goes to.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Publish(_) | Self::Requests(..) | Self::News(_) => Lane::Home,
            Self::Deliver(_) | Self::Notices(_) | Self::PasswordChecked(..) | Self::Settings(_) => {
                Lane::Members
            }
            Self::Ask(ask) => ask.lane(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Publish(batch) | Self::Deliver(batch) => batch.frames.len(),
            Self::Requests(_, requests) => requests.bytes(),
            Self::Notices(notices) => notices.iter().map(Notice::bytes).sum(),
            Self::PasswordChecked(..) | Self::Settings(_) => size_of::<Self>(),
            Self::Ask(ask) => ask.bytes(),
            Self::News(news) => news.iter().map(News::bytes).sum(),
        }
    }
}

/// How a server lets everybody go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrainPlan {
    /// The time it takes.
    pub grace: Duration,
    /// Another process accepts from the listening sockets: nobody is turned away.
    pub handed_over: bool,
}

/// The inboxes of all shards.
#[derive(Debug)]
pub struct Mesh {
    shards: Box<[Inboxes]>,
    /// Set once, beside the inboxes: a full one cannot hold it up.
    drain: OnceLock<DrainPlan>,
    /// An [`Overload`], or 0.
    overload: AtomicU8,
    /// Connections may be accepted.
    is_open: AtomicBool,
    running: AtomicUsize,
    hasher: RandomState,
}

#[derive(Debug)]
struct Inboxes {
    lanes: [Inbox; 2],
    wake: Wake,
    /// Somebody found an inbox full and waits for room.
    awaited: AtomicBool,
}

#[derive(Debug)]
struct Inbox {
    queue: Mutex<Fifo<Envelope>>,
    /// Filled since the shard last looked: one wake serves all who come meanwhile.
    rung: AtomicBool,
    /// Envelopes in the queue, for those who only want to know.
    depth: AtomicUsize,
}

impl Mesh {
    /// Inboxes for so many shards. Create it before their threads: see [`Wake`].
    ///
    /// # Errors
    /// EMFILE when there are not even descriptors for the wakes.
    pub fn new(shards: usize) -> io::Result<Self> {
        let running = AtomicUsize::new(shards);
        let shards = (0..shards).map(|_| Inboxes::new()).collect::<io::Result<_>>()?;
        let (drain, overload) = (OnceLock::new(), AtomicU8::new(0));
        let is_open = AtomicBool::new(false);
        Ok(Self { shards, drain, overload, is_open, running, hasher: RandomState::new() })
    }

    /// Shards it connects.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// What finds the home of a room, for all shards.
    #[must_use]
    pub const fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// The home of a room.
    #[must_use]
    pub fn home_of(&self, room: &str) -> usize {
        home_of(&self.hasher, room, self.shards())
    }

    /// The doorbell of a shard.
    #[must_use]
    pub fn wake(&self, shard: usize) -> &Wake {
        &self.shards[shard].wake
    }

    /// Tells every shard to accept connections from now on: all are ready to.
    pub fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Whether connections may be accepted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Tells every shard to stop accepting and to let everybody go.
    pub fn begin_drain(&self, plan: DrainPlan) {
        // The first word counts.
        let _ = self.drain.set(plan);
        self.wake_all();
    }

    /// How everybody has to go, once they have to.
    #[must_use]
    pub fn drain(&self) -> Option<DrainPlan> {
        self.drain.get().copied()
    }

    /// Tells every shard whether the server is past a mark.
    pub fn set_overload(&self, overload: Option<Overload>) {
        self.overload.store(overload.map_or(0, |mark| mark as u8), Ordering::Relaxed);
        self.wake_all();
    }

    /// The mark that the server is past, as of the last second.
    #[must_use]
    pub fn overload(&self) -> Option<Overload> {
        let mark = self.overload.load(Ordering::Relaxed);
        [Overload::Connections, Overload::Memory].into_iter().find(|known| *known as u8 == mark)
    }

    /// Whether the server is past a mark, as of the last second.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.overload().is_some()
    }

    /// A shard has no connections any more and will have none.
    pub fn end(&self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        self.wake_all();
    }

    /// Whether that is so for all shards: no home has anybody left to tell.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.running.load(Ordering::Acquire) == 0
    }

    /// Puts `envelope` behind all that were sent to that inbox before.
    ///
    /// # Errors
    /// Gives the envelope back when the inbox is full. The shard that drains it wakes all others,
    /// who then try again.
    pub fn send(&self, shard: usize, envelope: Envelope) -> Result<(), Envelope> {
        let inboxes = &self.shards[shard];
        let inbox = &inboxes.lanes[envelope.lane() as usize];
        let bytes = envelope.bytes();
        {
            let mut queue = inbox.lock();
            if let Err(envelope) = queue.push(envelope, bytes) {
                inboxes.awaited.store(true, Ordering::Relaxed);
                return Err(envelope);
            }
            inbox.depth.store(queue.len(), Ordering::Relaxed);
        }
        if !inbox.rung.swap(true, Ordering::AcqRel) {
            inboxes.wake.ring();
        }
        Ok(())
    }

    /// Envelopes in both inboxes of a shard.
    #[must_use]
    pub fn waiting(&self, shard: usize) -> usize {
        self.shards[shard].lanes.iter().map(|inbox| inbox.depth.load(Ordering::Relaxed)).sum()
    }

    /// Whether something waits for a shard that it has not looked at.
    #[must_use]
    pub fn waits(&self, shard: usize) -> bool {
        self.shards[shard].lanes.iter().any(|inbox| inbox.rung.load(Ordering::Relaxed))
    }

    /// Moves up to `max` envelopes of an inbox to `envelopes`; says whether there are more.
    pub fn take(
        &self,
        shard: usize,
        lane: Lane,
        max: usize,
        envelopes: &mut Vec<Envelope>,
    ) -> bool {
        let inboxes = &self.shards[shard];
        let inbox = &inboxes.lanes[lane as usize];
        if !inbox.rung.load(Ordering::Relaxed) || !inbox.rung.swap(false, Ordering::AcqRel) {
            return false;
        }
        let mut queue = inbox.lock();
        envelopes.extend(std::iter::from_fn(|| queue.pop()).take(max));
        let more = !queue.is_empty();
        inbox.depth.store(queue.len(), Ordering::Relaxed);
        let awaited = inboxes.awaited.swap(false, Ordering::Relaxed);
        drop(queue);
        if more {
            inbox.rung.store(true, Ordering::Release);
        }
        if awaited {
            self.wake_all();
        }
        more
    }

    fn wake_all(&self) {
        for inboxes in &self.shards {
            inboxes.wake.ring();
        }
    }
}

impl Inboxes {
    fn new() -> io::Result<Self> {
        let lanes = std::array::from_fn(|_| Inbox {
            queue: Mutex::new(Fifo::new(INBOX_ENVELOPES_MAX, INBOX_BYTES_MAX)),
            rung: AtomicBool::new(false),
            depth: AtomicUsize::new(0),
        });
        Ok(Self { lanes, wake: Wake::new()?, awaited: AtomicBool::new(false) })
    }
}

impl Inbox {
    /// A thread that panicked here has ended the process.
    fn lock(&self) -> MutexGuard<'_, Fifo<Envelope>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(text: &'static str) -> Envelope {
        Envelope::Publish(Batch::new(bytes::Bytes::from_static(text.as_bytes()), 1))
    }

    fn texts(envelopes: &[Envelope]) -> Vec<String> {
        let text = |envelope: &Envelope| match envelope {
            Envelope::Publish(batch) => String::from_utf8_lossy(&batch.frames).into_owned(),
            other => unreachable!("{other:?} was not sent"),
        };
        envelopes.iter().map(text).collect()
    }

    #[test]
    fn envelopes_keep_their_order_and_the_bound_of_a_take() -> io::Result<()> {
        let mesh = Mesh::new(2)?;
        for text in ["a", "b", "c"] {
            assert!(mesh.send(1, publication(text)).is_ok());
        }
        let mut taken = Vec::new();
        assert!(!mesh.take(0, Lane::Home, 10, &mut taken));
        assert_eq!((mesh.waiting(0), mesh.waiting(1)), (0, 3));
        assert!(mesh.take(1, Lane::Home, 2, &mut taken));
        assert_eq!(mesh.waiting(1), 1);
        assert!(!mesh.take(1, Lane::Home, 2, &mut taken));
        assert_eq!(mesh.waiting(1), 0);
        assert_eq!(texts(&taken), ["a", "b", "c"]);
        Ok(())
    }

    #[test]
    fn a_full_home_does_not_hold_up_members() -> io::Result<()> {
        let mesh = Mesh::new(1)?;
        while mesh.send(0, publication("x")).is_ok() {}
        assert!(mesh.send(0, Envelope::Notices(Vec::new())).is_ok());
        let mut taken = Vec::new();
        assert!(!mesh.take(0, Lane::Members, 10, &mut taken));
        assert!(matches!(taken[..], [Envelope::Notices(_)]));
        Ok(())
    }

    #[test]
    fn a_full_inbox_gives_the_envelope_back() -> io::Result<()> {
        let mesh = Mesh::new(1)?;
        for _ in 0..INBOX_ENVELOPES_MAX {
            assert!(mesh.send(0, publication("x")).is_ok());
        }
        let refused = mesh.send(0, publication("last"));
        assert_eq!(texts(&refused.err().into_iter().collect::<Vec<_>>()), ["last"]);
        let mut taken = Vec::new();
        assert!(mesh.take(0, Lane::Home, 1, &mut taken));
        assert!(mesh.send(0, publication("last")).is_ok());
        Ok(())
    }
}
