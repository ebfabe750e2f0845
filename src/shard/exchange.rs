//! One exchange with a peer: its bytes to the connection and the application, the answers back.

use std::sync::Arc;

use super::slot::Slot;
use crate::app::Effects;
use crate::collections::Tick;
use crate::connection::{Message, Workshop};
use crate::limits::REPLY_BYTES_KEPT;
use crate::observe::ShardCounters;
use crate::ring::socket::{self, Sent};

/// What an exchange needs beside the slot of its connection.
pub(super) struct Exchange {
    pub(super) workshop: Workshop,
    /// Frames published in this turn, and how many.
    pub(super) publications: Vec<u8>,
    pub(super) published: u32,
    /// The one buffer that answers are put into; empty between exchanges.
    reply: Vec<u8>,
    counters: Arc<[ShardCounters]>,
    shard: usize,
}

impl Exchange {
    pub(super) const fn new(
        workshop: Workshop,
        counters: Arc<[ShardCounters]>,
        shard: usize,
    ) -> Self {
        Self {
            workshop,
            publications: Vec::new(),
            published: 0,
            reply: Vec::new(),
            counters,
            shard,
        }
    }

    pub(super) fn counters(&self) -> &ShardCounters {
        &self.counters[self.shard]
    }

    /// Hands bytes of the peer to the connection and its application, and sends the answers.
    pub(super) fn work_on(&mut self, now: Tick, slot: &mut Slot, bytes: &mut [u8]) {
        let app = slot.endpoint.app();
        let (publications, published) = (&mut self.publications, &mut self.published);
        let (mut messages, mut replies) = (0, 0);
        let deliver = |message: Message<'_>, reply: &mut Vec<u8>| {
            messages += 1;
            let mut effects = Effects { reply, replies: &mut replies, publications, published };
            app.on_message(message, &mut effects);
        };
        let received = bytes.len() as u64;
        slot.connection.on_received(now, bytes, &mut self.workshop, &mut self.reply, deliver);
        let counters = self.counters();
        counters.bytes_received.add(received);
        counters.messages_received.add(messages);
        counters.messages_sent.add(replies);
        self.send_reply(now, slot);
    }

    /// The deadline of the connection has come.
    pub(super) fn judge(
        &mut self,
        now: Tick,
        slot: &mut Slot,
        farewell: impl FnOnce(&mut Slot, &mut Vec<u8>),
    ) {
        farewell(slot, &mut self.reply);
        slot.connection.on_timer(now, &self.workshop, &mut self.reply);
        self.send_reply(now, slot);
    }

    /// Sends `bytes`, or queues what the socket does not take.
    pub(super) fn send(&mut self, now: Tick, slot: &mut Slot, bytes: &[u8]) {
        let sent = if slot.connection.backlog().is_some() {
            Sent::Bytes(0)
        } else {
            socket::send(&slot.socket, bytes)
        };
        match sent {
            Sent::Bytes(count) => {
                self.counters().bytes_sent.add(count as u64);
                if count < bytes.len() {
                    slot.connection.keep_reply(now, bytes, count, &mut self.workshop);
                }
            }
            Sent::Broken => slot.connection.on_broken(),
        }
    }

    fn send_reply(&mut self, now: Tick, slot: &mut Slot) {
        if self.reply.is_empty() {
            return;
        }
        let mut reply = std::mem::take(&mut self.reply);
        self.send(now, slot, &reply);
        reply.clear();
        if reply.capacity() > REPLY_BYTES_KEPT {
            reply.shrink_to(REPLY_BYTES_KEPT);
        }
        self.reply = reply;
    }
}
