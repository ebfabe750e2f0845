//! One exchange with a peer: its bytes to the connection and the application, the answers back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::clients::Clients;
use super::lines::{ConnectionId, tell_message, tell_verdict};
use super::slot::Slot;
use crate::app::{
    App, Broadcast, Chat, Echo, Effects, Endpoint, Outcome, PasswordQuestion, Peer, Publications,
    Session, Verdict,
};
use crate::collections::{Key, Tick};
use crate::config::CompressionConfig;
use crate::connection::{CloseReason, Hears, Message, Taken, Workshop};
use crate::hub::{Batch, Now, Rooms};
use crate::limits::REPLY_BYTES_KEPT;
use crate::observe::{ErrorKind, ShardCounters, SocketCall};
use crate::password_checker::PasswordChecker;
use crate::protocol::deflate::Deflater;
use crate::protocol::{CloseCode, unsent_messages};
use crate::security::Identity;
use crate::settings::ShardSettings;
use crate::tls::{self, Outcome as Sent, Outlet};

/// What an exchange needs beside the slot of its connection.
pub(super) struct Exchange {
    pub(super) workshop: Workshop,
    /// Where those are who came through proxies.
    pub(super) clients: Clients,
    pub(super) rooms: Rooms,
    chat: Chat,
    /// What was broadcast in this turn.
    pub(super) publications: Publications,
    /// Where passwords are checked, if any are.
    passwords: Option<Arc<Passwords>>,
    /// The one buffer that answers are put into; empty between exchanges.
    reply: Vec<u8>,
    /// What is compressed for one connection; empty between sends.
    deflated: Vec<u8>,
    /// The way out of all sockets.
    pub(super) outlet: Outlet,
    /// Connections that the kernel had no memory for: to be tried again, for nobody calls.
    pub(super) starved: Vec<Key>,
    counters: Arc<[ShardCounters]>,
    shard: usize,
}

impl Exchange {
    pub(super) fn new(
        workshop: Workshop,
        clients: Clients,
        rooms: Rooms,
        chat: Chat,
        passwords: Option<Arc<Passwords>>,
        counters: Arc<[ShardCounters]>,
        shard: usize,
    ) -> Self {
        let publications = Publications { frames: Vec::new(), count: 0 };
        Self {
            workshop,
            clients,
            rooms,
            chat,
            publications,
            passwords,
            reply: Vec::new(),
            deflated: Vec::new(),
            outlet: Outlet::default(),
            starved: Vec::new(),
            counters,
            shard,
        }
    }

    /// Replaces limits, heartbeat, rates and who may come.
    pub(super) fn apply(&mut self, settings: &ShardSettings) {
        self.workshop.limits = settings.limits;
        self.workshop.heartbeat = settings.heartbeat;
        let CompressionConfig { level, min_bytes, window_bits, .. } = settings.compression;
        self.workshop.deflater = Deflater::new(level.into());
        self.workshop.compression_min = min_bytes;
        self.workshop.shared_window_bits = window_bits;
        self.chat.replace(Arc::clone(&settings.access), settings.rates);
    }

    pub(super) fn counters(&self) -> &ShardCounters {
        &self.counters[self.shard]
    }

    /// Greets a connection: its 101, and what its application has to say.
    pub(super) fn open(&mut self, now: Now, key: Key, slot: &mut Slot, response: &[u8]) {
        self.reply.extend_from_slice(response);
        self.consult(now, key, slot, |chat, endpoint, peer, effects| {
            app(endpoint, chat).on_open(peer, effects);
        });
    }

    /// A password of a connection was checked.
    pub(super) fn on_password_checked(
        &mut self,
        now: Now,
        key: Key,
        slot: &mut Slot,
        identity: Option<Identity>,
    ) {
        self.consult(now, key, slot, |chat, _, peer, effects| {
            chat.on_password_checked(peer, identity, effects);
        });
    }

    /// Lets an application act without a message.
    fn consult(
        &mut self,
        now: Now,
        key: Key,
        slot: &mut Slot,
        act: impl FnOnce(&Chat, Endpoint, &mut Peer<'_>, &mut Effects<'_>),
    ) {
        let Self { rooms, chat, publications, reply, .. } = self;
        let mut outcome = Outcome::default();
        let mut effects = Effects { now, rooms, reply, publications, outcome: &mut outcome };
        let mut peer = Peer { key, session: &mut slot.session };
        act(chat, slot.endpoint, &mut peer, &mut effects);
        slot.connection.trust(is_trusted(&slot.session));
        self.end(now, key, slot, outcome);
    }

    /// Hands bytes of the peer to the connection and its application, and sends the answers.
    pub(super) fn work_on(&mut self, now: Now, key: Key, slot: &mut Slot, bytes: &mut [u8]) {
        let id = ConnectionId { shard: self.shard, key };
        let Self { workshop, rooms, chat, publications, reply, .. } = self;
        let app = app(slot.endpoint, chat);
        let Slot { connection, session, endpoint, .. } = slot;
        let (mut messages, mut outcome) = (0, Outcome::default());
        let deliver = |message: Message<'_>, reply: &mut Vec<u8>| {
            messages += 1;
            if outcome.verdict.is_none() {
                tell_message(id, *endpoint, message);
                let mut effects =
                    Effects { now, rooms, reply, publications, outcome: &mut outcome };
                app.on_message(&mut Peer { key, session }, message, &mut effects);
            }
            is_trusted(session)
        };
        let received = bytes.len() as u64;
        connection.on_received(now.tick, bytes, workshop, reply, deliver);
        slot.messages_received = slot.messages_received.saturating_add(messages as u32);
        let counters = self.counters();
        counters.bytes_received.add(received);
        counters.messages_received.add(messages);
        self.end(now, key, slot, outcome);
    }

    /// The deadline of the connection has come. `farewell` is asked first.
    pub(super) fn judge(
        &mut self,
        now: Now,
        key: Key,
        slot: &mut Slot,
        farewell: impl FnOnce(&mut Slot, &mut Vec<u8>),
    ) {
        farewell(slot, &mut self.reply);
        let session = slot.session.as_mut();
        if let Some(verdict) = session.and_then(|session| self.chat.on_timer(session, now)) {
            pass(verdict, now.tick, slot, &mut self.reply);
        }
        slot.connection.on_timer(now.tick, &self.workshop, &mut self.reply);
        self.send_reply(now.tick, key, slot);
    }

    /// Begins the closing handshake of a connection that is open.
    pub(super) fn close(
        &mut self,
        now: Tick,
        key: Key,
        slot: &mut Slot,
        reason: CloseReason,
        code: CloseCode,
        text: &str,
    ) {
        slot.connection.close(now, reason, code, text, &mut self.reply);
        self.send_reply(now, key, slot);
    }

    /// Sends whole frames, compressed where that was agreed on, or queues what the socket does not
    /// take.
    pub(super) fn send(&mut self, now: Tick, key: Key, slot: &mut Slot, frames: &[u8]) {
        if slot.connection.hears(&self.workshop) == Hears::Plain {
            return self.send_as_is(now, key, slot, frames);
        }
        let mut deflated = std::mem::take(&mut self.deflated);
        self.deflate(slot, frames, &mut deflated);
        self.send_as_is(now, key, slot, &deflated);
        deflated.clear();
        deflated.shrink_to(REPLY_BYTES_KEPT);
        self.deflated = deflated;
    }

    /// Appends frames as one connection alone takes them.
    fn deflate(&mut self, slot: &mut Slot, frames: &[u8], out: &mut Vec<u8>) {
        let before = out.len();
        let count = slot.connection.deflate(&mut self.workshop, frames, out);
        self.count_deflated(count, frames.len(), out.len() - before);
    }

    /// The frames of `batch` as a connection takes them.
    pub(super) fn frames_for(&mut self, slot: &mut Slot, batch: &Batch) -> Bytes {
        match slot.connection.hears(&self.workshop) {
            Hears::Plain => batch.frames.clone(),
            Hears::Shared => batch.compressed(&mut |frames| {
                let mut out = Vec::new();
                let count = self.workshop.deflate_shared(frames, &mut out);
                self.count_deflated(count, frames.len(), out.len());
                if count > 0 { out.into() } else { frames.clone() }
            }),
            Hears::Own => {
                let mut out = Vec::new();
                self.deflate(slot, &batch.frames, &mut out);
                out.into()
            }
        }
    }

    fn count_deflated(&self, messages: u64, before: usize, after: usize) {
        if messages > 0 {
            let counters = self.counters();
            counters.messages_compressed.add(messages);
            counters.bytes_saved.add(before.saturating_sub(after) as u64);
        }
    }

    fn send_as_is(&mut self, now: Tick, key: Key, slot: &mut Slot, bytes: &[u8]) {
        let taken = if slot.connection.backlog().is_some() {
            Some(Taken::default())
        } else {
            let sent = self.outlet.send(&slot.socket, slot.tls.as_deref_mut(), bytes);
            self.taken(key, sent)
        };
        let dropped = match taken {
            Some(taken) if taken.sent == bytes.len() => return,
            Some(taken) => slot.connection.keep_reply(now, bytes, taken, &mut self.workshop),
            None => {
                slot.connection.on_broken();
                unsent_messages(bytes, 0)
            }
        };
        self.count_dropped(slot, dropped);
    }

    /// Counts what was taken; `None`: the connection is broken.
    pub(super) fn taken(&mut self, key: Key, sent: Sent) -> Option<Taken> {
        match sent {
            Sent::Taken { sent, sealed, is_starved, .. } => {
                self.counters().bytes_sent.add(sent as u64);
                if is_starved {
                    self.on_starved(key, SocketCall::Send);
                }
                Some(Taken { sent, sealed })
            }
            Sent::Broken => None,
        }
    }

    /// After something was received: sends what TLS itself has to say, and tells the connection
    /// whether its peer owes the rest of a record. `is_new`: it has finished others.
    pub(super) fn heed_records(&mut self, now: Tick, key: Key, slot: &mut Slot, is_new: bool) {
        let Some(session) = slot.tls.as_deref_mut() else { return };
        slot.connection.on_record(now, session.in_record(), is_new);
        // With plaintext among them, they go with the backlog.
        if session.has_unsent() && session.sealed() == 0 {
            let sent = tls::flush(&slot.socket, session);
            if self.taken(key, sent).is_none() {
                slot.connection.on_broken();
            }
        }
    }

    /// The kernel had no memory for a connection.
    pub(super) fn on_starved(&mut self, key: Key, call: SocketCall) {
        self.counters().memory_shortages.of(call).add(1);
        self.starved.push(key);
    }

    /// Counts messages that were to be sent to a connection and that it did not get whole.
    pub(super) fn count_dropped(&self, slot: &Slot, messages: u64) {
        if messages > 0 {
            self.counters().messages_dropped.of(slot.connection.reason()).add(messages);
        }
    }

    /// The sends of all rounds that were due are made, and it is `now`.
    pub(super) fn end_rounds(&mut self, now: Duration) {
        let counters = &self.counters[self.shard];
        self.rooms.end_rounds(now, |times| {
            counters.fan_out_time.record(times.sending);
            counters.outbound_delay.record(times.delay);
        });
    }

    /// The end of an exchange, and of the connection if the application wants it.
    fn end(&mut self, now: Now, key: Key, slot: &mut Slot, outcome: Outcome) {
        let counters = self.counters();
        counters.messages_sent.add(outcome.replies);
        slot.messages_sent = slot.messages_sent.saturating_add(outcome.replies as u32);
        if outcome.rate_limited + outcome.errors > 0 {
            counters.rate_limited.add(outcome.rate_limited);
            counters.errors.of(ErrorKind::Message).add(outcome.errors);
        }
        let is_over = outcome.verdict.is_some() || !slot.connection.is_open();
        // Nobody waits for the answer to who has gone, and many of those would keep others out.
        let question = outcome.question.filter(|_| !is_over);
        let busy = question.and_then(|question| self.ask(key, question).err());
        if let Some(verdict) = outcome.verdict.or(busy) {
            let id = ConnectionId { shard: self.shard, key };
            tell_verdict(id, self.clients.peer(key, &slot.socket), &verdict, outcome.refused_token);
            pass(verdict, now.tick, slot, &mut self.reply);
        }
        self.send_reply(now.tick, key, slot);
    }

    fn ask(&self, key: Key, question: PasswordQuestion) -> Result<(), Verdict> {
        let passwords = self.passwords.as_ref().expect("the chat asks only where there are any");
        let PasswordQuestion { users, username, password } = question;
        passwords.submit((self.shard, key), users, username, password).map_err(|_| TOO_BUSY)
    }

    fn send_reply(&mut self, now: Tick, key: Key, slot: &mut Slot) {
        if self.reply.is_empty() {
            return;
        }
        let mut reply = std::mem::take(&mut self.reply);
        self.send(now, key, slot, &reply);
        reply.clear();
        if reply.capacity() > REPLY_BYTES_KEPT {
            reply.shrink_to(REPLY_BYTES_KEPT);
        }
        self.reply = reply;
    }
}

/// Where passwords are checked: the answer comes to this shard, for this connection.
pub type Passwords = PasswordChecker<(usize, Key)>;

const TOO_BUSY: Verdict = Verdict {
    reason: CloseReason::Overloaded,
    code: CloseCode::TRY_AGAIN,
    text: "try again later",
};

fn pass(verdict: Verdict, now: Tick, slot: &mut Slot, reply: &mut Vec<u8>) {
    let Verdict { reason, code, text } = verdict;
    slot.connection.close(now, reason, code, text, reply);
}

fn is_trusted(session: &Option<Box<Session>>) -> bool {
    session.as_ref().is_none_or(|session| !session.is_stranger())
}

fn app(endpoint: Endpoint, chat: &Chat) -> &dyn App {
    match endpoint {
        Endpoint::Echo => &Echo,
        Endpoint::Broadcast => &Broadcast,
        Endpoint::Chat => chat,
    }
}
