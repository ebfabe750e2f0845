//! Bytes in and out of sockets: performs what connections decide, decides nothing.

use std::io::IoSlice;

use super::Shard;
use crate::collections::Key;
use crate::hub::Batch;
use crate::limits::PUBLICATION_BYTES_MAX;
use crate::ring::socket::{self, Received, Sent};

/// Slices of one vectored send: the kernel copies that many without an allocation.
const SLICES_MAX: usize = 8;

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
        if self.exchange.publications.len() >= PUBLICATION_BYTES_MAX {
            self.pass_on_publications();
        }
        true
    }

    fn read_once(&mut self, key: Key) {
        let now = self.clock.tick();
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        let mut again = false;
        match socket::receive(&slot.socket, &mut self.received) {
            Received::Bytes(count) => {
                again = count == self.received.len() || slot.hung_up;
                self.exchange.work_on(now, slot, &mut self.received[..count]);
            }
            Received::Nothing => {}
            Received::End => slot.connection.on_end(),
            Received::Broken => slot.connection.on_broken(),
        }
        let calm = slot.connection.is_calm();
        if again {
            self.mark_readable(key);
        }
        if !calm {
            self.settle(key);
        }
    }

    /// After an exchange that left more to do than to wait for the heartbeat.
    fn settle(&mut self, key: Key) {
        self.hasten_deadline(key);
        self.perform_step(key);
    }

    /// Sends a share of a publication to one member of the audience.
    pub(super) fn transmit_batch(&mut self, key: Key, batch: &Batch) {
        let now = self.clock.tick();
        let slot = self.slots.get_mut(key).expect("a member of the audience is alive");
        if !slot.connection.is_open() {
            return;
        }
        let count = if slot.connection.backlog().is_some() {
            0
        } else {
            match socket::send(&slot.socket, &batch.frames) {
                Sent::Bytes(count) => count,
                Sent::Broken => {
                    slot.connection.on_broken();
                    self.perform_step(key);
                    return;
                }
            }
        };
        let counters = self.exchange.counters();
        counters.bytes_sent.add(count as u64);
        if count == batch.frames.len() {
            counters.messages_sent.add(u64::from(batch.count));
            return;
        }
        let kept = slot.connection.keep_publication(
            now,
            batch.frames.clone(),
            count,
            &mut self.exchange.workshop,
        );
        if kept.is_ok() {
            self.counters().messages_sent.add(u64::from(batch.count));
        }
        self.hasten_deadline(key);
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
            match socket::send_vectored(&slot.socket, &slices[..filled]) {
                Sent::Bytes(count) => {
                    self.exchange.counters().bytes_sent.add(count as u64);
                    slot.connection.on_backlog_sent(now, count, &mut self.exchange.workshop);
                    if count < offered {
                        break;
                    }
                }
                Sent::Broken => {
                    slot.connection.on_broken();
                    break;
                }
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
