//! Bytes in and out of sockets: performs what connections decide, decides nothing.

use std::io::IoSlice;

use super::Shard;
use crate::app::Effects;
use crate::collections::Key;
use crate::connection::Message;
use crate::hub::Batch;
use crate::limits::{PUBLICATION_BYTES_MAX, READS_PER_TURN, REPLY_BYTES_KEPT};
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

    /// Reads once from each connection that has bytes, in turn, so that a busy one cannot starve
    /// the others. Not while publications pile up: then TCP slows the publishers down.
    pub(super) fn read_readable(&mut self) {
        for _ in 0..READS_PER_TURN {
            if !self.takes_publications() {
                return;
            }
            let Some(key) = self.readable.pop_front() else { return };
            // A connection may have ended while it was in the queue.
            if let Some(slot) = self.slots.get_mut(key) {
                slot.queued = false;
                if !slot.connection.wants_bytes() {
                    slot.unread = true;
                } else if !slot.ended {
                    self.read_once(key);
                }
            }
            if self.publications.len() >= PUBLICATION_BYTES_MAX {
                self.pass_on_publications();
            }
        }
    }

    fn read_once(&mut self, key: Key) {
        let mut received = std::mem::take(&mut self.received);
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        match socket::receive(&slot.socket, &mut received) {
            Received::Bytes(count) => {
                let again = count == received.len() || slot.hung_up;
                self.work_on(key, &mut received[..count]);
                if again && !self.slots.get(key).is_none_or(|slot| slot.ended) {
                    self.mark_readable(key);
                }
            }
            Received::Nothing => {}
            Received::End => slot.connection.on_end(),
            Received::Broken => slot.connection.on_broken(),
        }
        self.received = received;
        self.perform_step(key);
    }

    /// Hands bytes of the peer to the connection and its application, and sends the answers.
    pub(super) fn work_on(&mut self, key: Key, bytes: &mut [u8]) {
        let now = self.clock.tick();
        let counters = &self.counters[self.number];
        counters.bytes_received.add(bytes.len() as u64);
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        let app = slot.endpoint.app();
        let (publications, published) = (&mut self.publications, &mut self.published);
        let (mut messages, mut replies) = (0, 0);
        let deliver = |message: Message<'_>, reply: &mut Vec<u8>| {
            messages += 1;
            let mut effects = Effects { reply, replies: &mut replies, publications, published };
            app.on_message(message, &mut effects);
        };
        let mut reply = std::mem::take(&mut self.reply);
        slot.connection.on_received(now, bytes, &mut self.workshop, &mut reply, deliver);
        counters.messages_received.add(messages);
        self.transmit_reply(key, &reply, replies);
        reply.clear();
        reply.shrink_to(REPLY_BYTES_KEPT);
        self.reply = reply;
        if !self.slots.get(key).is_some_and(|slot| slot.connection.is_calm()) {
            self.hasten_deadline(key);
        }
    }

    /// Sends `reply`, or queues what the socket does not take. It holds `messages` messages.
    pub(super) fn transmit_reply(&mut self, key: Key, reply: &[u8], messages: u64) {
        if reply.is_empty() {
            return;
        }
        let now = self.clock.tick();
        let counters = &self.counters[self.number];
        counters.messages_sent.add(messages);
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        if slot.connection.backlog().is_some() {
            slot.connection.keep_reply(now, reply, 0, &mut self.workshop);
            return;
        }
        match socket::send(&slot.socket, reply) {
            Sent::Bytes(count) => {
                counters.bytes_sent.add(count as u64);
                if count < reply.len() {
                    slot.connection.keep_reply(now, reply, count, &mut self.workshop);
                    self.hasten_deadline(key);
                }
            }
            Sent::Broken => slot.connection.on_broken(),
        }
    }

    /// Sends a share of a publication to one member of the audience.
    pub(super) fn transmit_batch(&mut self, key: Key, batch: &Batch) {
        let now = self.clock.tick();
        let counters = &self.counters[self.number];
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
        counters.bytes_sent.add(count as u64);
        if count == batch.frames.len() {
            counters.messages_sent.add(u64::from(batch.count));
            return;
        }
        let kept =
            slot.connection.keep_publication(now, batch.frames.clone(), count, &mut self.workshop);
        if kept.is_ok() {
            counters.messages_sent.add(u64::from(batch.count));
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
                    self.counters[self.number].bytes_sent.add(count as u64);
                    slot.connection.on_backlog_sent(now, count, &mut self.workshop);
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
