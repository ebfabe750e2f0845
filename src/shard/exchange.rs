//! One exchange with a peer: its bytes to the connection and the application, the answers back.

use std::sync::Arc;

use super::slot::Slot;
use crate::app::{App, Broadcast, Chat, Echo, Effects, Endpoint, Peer, Verdict};
use crate::collections::{Key, Tick};
use crate::connection::{Message, Workshop};
use crate::hub::{Now, Rooms};
use crate::limits::REPLY_BYTES_KEPT;
use crate::observe::ShardCounters;
use crate::ring::socket::{self, Sent};

/// What an exchange needs beside the slot of its connection.
pub(super) struct Exchange {
    pub(super) workshop: Workshop,
    pub(super) rooms: Rooms,
    chat: Chat,
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
        rooms: Rooms,
        counters: Arc<[ShardCounters]>,
        shard: usize,
    ) -> Self {
        Self {
            workshop,
            rooms,
            chat: Chat::new(shard),
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

    /// Greets a connection: its 101, and what its application has to say.
    pub(super) fn open(&mut self, now: Now, key: Key, slot: &mut Slot, response: &[u8]) {
        self.reply.extend_from_slice(response);
        let Self { rooms, chat, publications, published, reply, .. } = self;
        let (mut replies, mut verdict) = (0, None);
        let mut effects = Effects {
            now,
            rooms,
            reply,
            replies: &mut replies,
            publications,
            published,
            verdict: &mut verdict,
        };
        let session = &mut slot.session;
        app(slot.endpoint, chat).on_open(&mut Peer { key, session }, &mut effects);
        self.counters().messages_sent.add(replies);
        self.end(now.tick, slot, verdict);
    }

    /// Hands bytes of the peer to the connection and its application, and sends the answers.
    pub(super) fn work_on(&mut self, now: Now, key: Key, slot: &mut Slot, bytes: &mut [u8]) {
        let Self { workshop, rooms, chat, publications, published, reply, .. } = self;
        let app = app(slot.endpoint, chat);
        let Slot { connection, session, .. } = slot;
        let (mut messages, mut replies, mut verdict) = (0, 0, None);
        let deliver = |message: Message<'_>, reply: &mut Vec<u8>| {
            if verdict.is_some() {
                return;
            }
            messages += 1;
            let mut effects = Effects {
                now,
                rooms,
                reply,
                replies: &mut replies,
                publications,
                published,
                verdict: &mut verdict,
            };
            app.on_message(&mut Peer { key, session }, message, &mut effects);
        };
        let received = bytes.len() as u64;
        connection.on_received(now.tick, bytes, workshop, reply, deliver);
        let counters = self.counters();
        counters.bytes_received.add(received);
        counters.messages_received.add(messages);
        counters.messages_sent.add(replies);
        self.end(now.tick, slot, verdict);
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

    /// The end of an exchange, and of the connection if the application wants it.
    fn end(&mut self, now: Tick, slot: &mut Slot, verdict: Option<Verdict>) {
        if let Some(Verdict { reason, code, text }) = verdict {
            slot.connection.close(now, reason, code, text, &mut self.reply);
        }
        self.send_reply(now, slot);
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

fn app(endpoint: Endpoint, chat: &Chat) -> &dyn App {
    match endpoint {
        Endpoint::Echo => &Echo,
        Endpoint::Broadcast => &Broadcast,
        Endpoint::Chat => chat,
    }
}
