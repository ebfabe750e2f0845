//! Bytes in and out of sockets: performs what connections decide, decides nothing.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use super::Shard;
use crate::collections::Key;
use crate::hub::Batch;
use crate::limits::PUBLICATION_BYTES_MAX;
use crate::observe::SocketCall;
use crate::ring::socket::{self, Received, Sent};
use crate::security::Identity;

/// Slices of one vectored send: the kernel copies that many without an allocation.
pub(super) const SLICES_MAX: usize = 8;

impl Shard {
    pub(super) fn mark_readable(&mut self, key: Key) {
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        if !slot.connection.wants_bytes() {
            slot.unread = true;
        } else if !slot.queued {
            slot.queued = true;
            self.readable.push_back(key);
        }
    }

    /// Reads at once from a connection that has become readable, while it is warm, unless others
    /// wait in front of it.
    pub(super) fn read_or_mark(&mut self, key: Key) {
        self.mark_readable(key);
        if self.readable.len() == 1 {
            self.read_next();
        }
    }

    /// Reads once from each connection that has bytes, in turn, so that a busy one cannot starve
    /// the others.
    pub(super) fn read_readable(&mut self) {
        while self.read_next() {}
    }

    /// Reads from the first in the line. Not while publications pile up: then TCP slows the
    /// publishers down.
    fn read_next(&mut self) -> bool {
        if self.reads_left == 0 || !self.takes_publications() {
            return false;
        }
        let Some(key) = self.readable.pop_front() else { return false };
        self.reads_left -= 1;
        // A connection may have ended while it was in the line.
        if let Some(slot) = self.slots.get_mut(key) {
            slot.queued = false;
            if !slot.connection.wants_bytes() {
                slot.unread = true;
            } else if !slot.ended {
                self.read_once(key);
            }
        }
        let published =
            self.exchange.publications.frames.len() + self.exchange.rooms.requested_bytes();
        if published >= PUBLICATION_BYTES_MAX {
            self.pass_on();
        }
        true
    }

    fn read_once(&mut self, key: Key) {
        let now = self.clock.now();
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        let mut again = false;
        match socket::receive(&slot.socket, &mut self.received) {
            Received::Bytes(count) => {
                again = count == self.received.len() || slot.hung_up;
                self.exchange.work_on(now, key, slot, &mut self.received[..count]);
            }
            Received::Nothing => {}
            Received::Starved => self.exchange.on_starved(key, SocketCall::Receive),
            Received::End => slot.connection.on_end(),
            Received::Broken => slot.connection.on_broken(),
        }
        let (calm, has_session) = (slot.connection.is_calm(), slot.session.is_some());
        if again {
            self.mark_readable(key);
        }
        if !calm {
            self.settle(key);
        } else if has_session {
            // It may have a shorter life now.
            self.hasten_deadline(key);
        }
    }

    /// After an exchange that left more to do than to wait for the heartbeat.
    pub(super) fn settle(&mut self, key: Key) {
        self.hasten_deadline(key);
        self.perform_step(key);
    }

    /// Sends a connection the answer to its join.
    pub(super) fn answer(&mut self, key: Key, frames: &[u8], count: u32) {
        let now = self.clock.tick();
        // It may have left meanwhile.
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.ended || !slot.connection.is_open() {
            return;
        }
        slot.messages_sent = slot.messages_sent.saturating_add(count);
        self.exchange.send(now, key, slot, frames);
        self.counters().messages_sent.add(u64::from(count));
        if !self.slots.get(key).is_some_and(|slot| slot.connection.is_calm()) {
            self.settle(key);
        }
    }

    /// A password of a connection was checked.
    pub(super) fn on_password_checked(&mut self, key: Key, identity: Option<Identity>) {
        let now = self.clock.now();
        // It may have left meanwhile.
        let Some(slot) = self.slots.get_mut(key) else { return };
        if !slot.ended && slot.connection.is_open() {
            self.exchange.on_password_checked(now, key, slot, identity);
            self.settle(key);
        }
    }

    /// Sends a connection what it gets of its rooms: at most [`SLICES_MAX`] batches.
    pub(super) fn transmit(&mut self, batches: &[(Key, Batch)]) {
        let key = batches[0].0;
        // It may have left since its rounds began.
        let Some(slot) = self.slots.get_mut(key) else { return };
        if !slot.connection.is_open() {
            return;
        }
        let sent = if slot.connection.backlog().is_some() {
            Sent::Bytes(0)
        } else {
            send_batches(&slot.socket, batches)
        };
        let count: u32 = batches.iter().map(|(_, batch)| batch.count).sum();
        slot.messages_sent = slot.messages_sent.saturating_add(count);
        self.exchange.counters().messages_sent.add(u64::from(count));
        let Some(sent) = self.exchange.taken(key, sent) else {
            slot.connection.on_broken();
            self.exchange.count_dropped(slot, u64::from(count));
            self.perform_step(key);
            return;
        };
        let all: usize = batches.iter().map(|(_, batch)| batch.frames.len()).sum();
        if sent < all {
            self.keep(key, batches, sent);
        }
    }

    /// Keeps what the socket did not take of `batches` but for `sent` bytes, or drops it.
    fn keep(&mut self, key: Key, batches: &[(Key, Batch)], mut sent: usize) {
        let now = self.clock.tick();
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        let mut dropped = 0;
        for (_, batch) in batches {
            let part = sent.min(batch.frames.len());
            sent -= part;
            if !slot.connection.is_open() {
                // It owed too much before this one.
                dropped += u64::from(batch.count);
            } else if part < batch.frames.len() {
                let (frames, workshop) = (batch.frames.clone(), &mut self.exchange.workshop);
                let kept = slot.connection.keep_publication(now, frames, part, workshop);
                if let Err(overflow) = kept {
                    dropped += overflow.dropped + u64::from(batch.count);
                }
            }
        }
        self.exchange.count_dropped(slot, dropped);
        self.settle(key);
    }

    /// Sends what waited for room; when all is gone, reading goes on.
    pub(super) fn flush_backlog(&mut self, key: Key) {
        let now = self.clock.tick();
        loop {
            let slot = self.slots.get_mut(key).expect("the caller holds a live key");
            let Some(backlog) = slot.connection.backlog() else { break };
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut filled = 0;
            for (slice, segment) in slices.iter_mut().zip(backlog.segments()) {
                *slice = IoSlice::new(segment);
                filled += 1;
            }
            let offered: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            let sent = socket::send_vectored(&slot.socket, &slices[..filled]);
            let Some(count) = self.exchange.taken(key, sent) else {
                slot.connection.on_broken();
                break;
            };
            slot.connection.on_backlog_sent(now, count, &mut self.exchange.workshop);
            if count < offered {
                break;
            }
        }
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        if slot.unread && slot.connection.wants_bytes() {
            slot.unread = false;
            self.mark_readable(key);
        }
        self.perform_step(key);
    }
}

/// All batches in one send: at most [`SLICES_MAX`].
fn send_batches(socket: &OwnedFd, batches: &[(Key, Batch)]) -> Sent {
    if let [(_, batch)] = batches {
        return socket::send(socket, &batch.frames);
    }
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    for (slice, (_, batch)) in slices.iter_mut().zip(batches) {
        *slice = IoSlice::new(&batch.frames);
    }
    socket::send_vectored(socket, &slices[..batches.len()])
}
