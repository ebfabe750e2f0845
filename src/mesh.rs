//! The one road between threads: a bounded inbox per shard, and one wake for whatever came.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::collections::Fifo;
use crate::hub::Batch;
use crate::limits::{INBOX_BYTES_MAX, INBOX_ENVELOPES_MAX};
use crate::ring::Wake;

/// What threads tell a shard.
#[derive(Debug)]
pub enum Envelope {
    /// To the home of the broadcast audience: frames to be put in order and passed on.
    Publish(Batch),
    /// From the home: frames in the order of all, for the members here.
    Deliver(Batch),
}

impl Envelope {
    fn bytes(&self) -> usize {
        match self {
            Self::Publish(batch) | Self::Deliver(batch) => batch.frames.len(),
        }
    }
}

/// The inboxes of all shards.
#[derive(Debug)]
pub struct Mesh {
    inboxes: Box<[Inbox]>,
    /// Set once, beside the inboxes: a full one cannot hold it up.
    drain: OnceLock<Duration>,
    running: AtomicUsize,
}

#[derive(Debug)]
struct Inbox {
    queue: Mutex<Fifo<Envelope>>,
    wake: Wake,
    /// Rung since the shard last looked: one wake serves all who come meanwhile.
    rung: AtomicBool,
    /// Somebody found the inbox full and waits for room.
    awaited: AtomicBool,
}

impl Mesh {
    /// Inboxes for so many shards. Create it before their threads: see [`Wake`].
    ///
    /// # Errors
    /// EMFILE when there are not even descriptors for the wakes.
    pub fn new(shards: usize) -> io::Result<Self> {
        let inboxes = (0..shards).map(|_| Inbox::new()).collect::<io::Result<_>>()?;
        Ok(Self { inboxes, drain: OnceLock::new(), running: AtomicUsize::new(shards) })
    }

    /// Shards it connects.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.inboxes.len()
    }

    /// The doorbell of a shard.
    #[must_use]
    pub fn wake(&self, shard: usize) -> &Wake {
        &self.inboxes[shard].wake
    }

    /// Tells every shard to stop accepting and let everybody go within `grace`.
    pub fn begin_drain(&self, grace: Duration) {
        // The first word counts.
        let _ = self.drain.set(grace);
        self.wake_all();
    }

    /// How long everybody has to go, once they have to.
    #[must_use]
    pub fn drain(&self) -> Option<Duration> {
        self.drain.get().copied()
    }

    /// A shard has ended.
    pub fn end(&self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        self.wake_all();
    }

    /// Whether all shards have ended but the one that asks.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.running.load(Ordering::Acquire) == 1
    }

    /// Puts `envelope` behind all that were sent to that shard before.
    ///
    /// # Errors
    /// Gives the envelope back when the inbox is full. The shard that drains it wakes all others,
    /// who then try again.
    pub fn send(&self, shard: usize, envelope: Envelope) -> Result<(), Envelope> {
        let inbox = &self.inboxes[shard];
        let bytes = envelope.bytes();
        {
            let mut queue = inbox.lock();
            if let Err(envelope) = queue.push(envelope, bytes) {
                inbox.awaited.store(true, Ordering::Relaxed);
                return Err(envelope);
            }
        }
        if !inbox.rung.swap(true, Ordering::AcqRel) {
            inbox.wake.ring();
        }
        Ok(())
    }

    /// Moves up to `max` envelopes of a shard to `envelopes`; says whether there are more.
    pub fn take(&self, shard: usize, max: usize, envelopes: &mut Vec<Envelope>) -> bool {
        let inbox = &self.inboxes[shard];
        if !inbox.rung.load(Ordering::Relaxed) || !inbox.rung.swap(false, Ordering::AcqRel) {
            return false;
        }
        let mut queue = inbox.lock();
        envelopes.extend(std::iter::from_fn(|| queue.pop()).take(max));
        let more = !queue.is_empty();
        let awaited = inbox.awaited.swap(false, Ordering::Relaxed);
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
        for inbox in &self.inboxes {
            inbox.wake.ring();
        }
    }
}

impl Inbox {
    fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::new(Fifo::new(INBOX_ENVELOPES_MAX, INBOX_BYTES_MAX)),
            wake: Wake::new()?,
            rung: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
        })
    }

    /// A thread that panicked here has ended the process.
    fn lock(&self) -> MutexGuard<'_, Fifo<Envelope>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(text: &'static str) -> Envelope {
        Envelope::Publish(Batch { frames: bytes::Bytes::from_static(text.as_bytes()), count: 1 })
    }

    fn texts(envelopes: &[Envelope]) -> Vec<String> {
        let text = |envelope: &Envelope| match envelope {
            Envelope::Publish(batch) | Envelope::Deliver(batch) => {
                String::from_utf8_lossy(&batch.frames).into_owned()
            }
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
        assert!(!mesh.take(0, 10, &mut taken));
        assert!(mesh.take(1, 2, &mut taken));
        assert!(!mesh.take(1, 2, &mut taken));
        assert_eq!(texts(&taken), ["a", "b", "c"]);
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
        assert!(mesh.take(0, 1, &mut taken));
        assert!(mesh.send(0, publication("last")).is_ok());
        Ok(())
    }
}
