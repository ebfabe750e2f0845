//! Bytes in and out of sockets: performs what connections decide, decides nothing.

use std::io::IoSlice;

use super::Shard;
use super::lines::{ConnectionId, tell_tls_error};
use super::slot::Slot;
use crate::collections::Key;
use crate::connection::{Hears, Taken};
use crate::hub::Batch;
use crate::limits::PUBLICATION_BYTES_MAX;
use crate::observe::SocketCall;
use crate::security::Identity;
use crate::tls::{self, Heard, Outcome, Outlet};

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
        match self.inlet.receive(&slot.socket, slot.tls.as_deref_mut()) {
            Heard::Bytes { bytes, has_more } => {
                again = has_more || slot.hung_up;
                let is_new = !bytes.is_empty();
                if is_new {
                    self.exchange.work_on(now, key, slot, bytes);
                }
                self.exchange.heed_records(now.tick, key, slot, is_new);
            }
            Heard::Nothing => {}
            Heard::Starved => self.exchange.on_starved(key, SocketCall::Receive),
            Heard::End => slot.connection.on_end(),
            Heard::Cut => slot.connection.on_cut(),
            Heard::Broken => slot.connection.on_broken(),
            Heard::Failed(error) => {
                // What comes behind it is thrown away.
                again = slot.hung_up;
                if slot.connection.is_open() {
                    let id = ConnectionId { shard: self.number, key };
                    tell_tls_error(id, &error);
                }
                slot.connection.on_tls_error(now.tick);
                self.exchange.heed_records(now.tick, key, slot, false);
            }
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

    /// Sends a connection what it gets of its rooms, compressed where that was agreed on: at most
    /// [`SLICES_MAX`] batches.
    pub(super) fn transmit(&mut self, batches: &[(Key, Batch)]) {
        let key = batches[0].0;
        // It may have left since its rounds began.
        let Some(slot) = self.slots.get_mut(key) else { return };
        if !slot.connection.is_open() {
            return;
        }
        if slot.connection.hears(&self.exchange.workshop) == Hears::Plain {
            return self.transmit_as_is(key, batches);
        }
        let mut rewritten = std::mem::take(&mut self.rewritten);
        for (_, batch) in batches {
            let frames = self.exchange.frames_for(slot, batch);
            rewritten.push((key, Batch::new(frames, batch.count)));
        }
        self.transmit_as_is(key, &rewritten);
        rewritten.clear();
        self.rewritten = rewritten;
    }

    fn transmit_as_is(&mut self, key: Key, batches: &[(Key, Batch)]) {
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        let taken = if slot.connection.backlog().is_some() {
            Some(Taken::default())
        } else {
            let sent = send_batches(&mut self.exchange.outlet, slot, batches);
            self.exchange.taken(key, sent)
        };
        let count: u32 = batches.iter().map(|(_, batch)| batch.count).sum();
        slot.messages_sent = slot.messages_sent.saturating_add(count);
        self.exchange.counters().messages_sent.add(u64::from(count));
        let Some(taken) = taken else {
            slot.connection.on_broken();
            self.exchange.count_dropped(slot, u64::from(count));
            self.perform_step(key);
            return;
        };
        let all: usize = batches.iter().map(|(_, batch)| batch.frames.len()).sum();
        if taken.sent < all {
            self.keep(key, batches, taken);
        }
    }

    /// Keeps what was not taken of `batches`, or drops it.
    fn keep(&mut self, key: Key, batches: &[(Key, Batch)], taken: Taken) {
        let Taken { mut sent, mut sealed } = taken;
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
                let taken = Taken { sent: part, sealed: sealed.min(frames.len() - part) };
                sealed -= taken.sealed;
                let kept = slot.connection.keep_publication(now, frames, taken, workshop);
                if let Err(overflow) = kept {
                    dropped += overflow.dropped + u64::from(batch.count);
                }
            }
        }
        self.exchange.count_dropped(slot, dropped);
        self.settle(key);
    }

    /// Sends what TLS itself has to say and found no room for.
    pub(super) fn flush_records(&mut self, key: Key) {
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        let Some(session) = slot.tls.as_deref_mut() else { return };
        let sent = tls::flush(&slot.socket, session);
        if self.exchange.taken(key, sent).is_none() {
            slot.connection.on_broken();
            self.perform_step(key);
        }
    }

    /// Sends what waited for room; when all is gone, reading goes on.
    pub(super) fn flush_backlog(&mut self, key: Key) {
        let now = self.clock.tick();
        loop {
            let slot = self.slots.get_mut(key).expect("the caller holds a live key");
            let Some(backlog) = slot.connection.backlog() else { break };
            let session = slot.tls.as_deref_mut();
            let (offered, sent) = match session {
                // What is in records already goes first.
                Some(session) if session.sealed() > 0 => {
                    (session.sealed(), tls::flush(&slot.socket, session))
                }
                session => {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    let mut filled = 0;
                    for (slice, segment) in slices.iter_mut().zip(backlog.segments()) {
                        *slice = IoSlice::new(segment);
                        filled += 1;
                    }
                    let slices = &slices[..filled];
                    let offered = slices.iter().map(|slice| slice.len()).sum();
                    let outlet = &mut self.exchange.outlet;
                    (offered, outlet.send_vectored(&slot.socket, session, slices))
                }
            };
            let has_moved = matches!(sent, Outcome::Taken { has_moved: true, .. });
            let Some(taken) = self.exchange.taken(key, sent) else {
                slot.connection.on_broken();
                break;
            };
            let workshop = &mut self.exchange.workshop;
            slot.connection.on_backlog_sent(now, taken, has_moved, workshop);
            if taken.sent < offered {
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
fn send_batches(outlet: &mut Outlet, slot: &mut Slot, batches: &[(Key, Batch)]) -> Outcome {
    let (socket, session) = (&slot.socket, slot.tls.as_deref_mut());
    if let [(_, batch)] = batches {
        return outlet.send(socket, session, &batch.frames);
    }
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    for (slice, (_, batch)) in slices.iter_mut().zip(batches) {
        *slice = IoSlice::new(&batch.frames);
    }
    outlet.send_vectored(socket, session, &slices[..batches.len()])
}
