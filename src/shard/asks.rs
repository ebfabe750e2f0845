//! Answers to operators: each bounded, so that none holds a turn up.

use super::Shard;
use crate::collections::Key;
use crate::connection::CloseReason;
use crate::limits::{DISCONNECT_PLACES, DISCONNECTED_PER_PART, TICK_MILLISECONDS};
use crate::mesh::{AnswerTo, Ask, ConnectionFigures, Disconnected, Farewell, Whom};
use crate::ring::socket;

impl Shard {
    /// Does what is asked, unless who asked has given up waiting.
    pub(super) fn answer_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Rooms(query, answer) => reply(answer, || self.home.list(&query)),
            Ask::Room(name, answer) => reply(answer, || self.home.room(&name)),
            Ask::Publish(name, head, answer) => {
                reply(answer, || self.home.announce(self.clock.now(), &name, &head));
            }
            Ask::Connection(key, answer) => reply(answer, || self.connection_figures(key)),
            Ask::Disconnect(farewell, answer) => reply(answer, || self.disconnect(&farewell)),
            #[cfg(debug_assertions)]
            Ask::Panic => panic!("an operator asked shard {} to panic", self.number),
            #[cfg(debug_assertions)]
            Ask::Hang(time) => std::thread::sleep(time),
        }
    }

    fn connection_figures(&mut self, key: Key) -> Option<ConnectionFigures> {
        let now = self.clock.now();
        let client = self.exchange.clients.of(key);
        let slot = self.slots.get_mut(key).filter(|slot| !slot.ended)?;
        let age = u64::from(now.tick.wrapping_sub(slot.opened)) * TICK_MILLISECONDS;
        let queued = slot.connection.backlog();
        Some(ConnectionFigures {
            peer: client.or_else(|| socket::peer(&slot.socket).map(Into::into)),
            endpoint: slot.endpoint.path(),
            user: slot.session.as_ref().and_then(|session| session.user()).map(Into::into),
            opened: now.unix_milliseconds.saturating_sub(age),
            age,
            messages_received: slot.messages_received,
            messages_sent: slot.messages_sent,
            queued_bytes: queued.map_or(0, |backlog| backlog.segments().map(<[u8]>::len).sum()),
            rooms: self.exchange.rooms.rooms_of(key).cloned().collect(),
        })
    }

    fn disconnect(&mut self, farewell: &Farewell) -> Disconnected {
        match &farewell.whom {
            Whom::Connection(key) => {
                Disconnected { count: u64::from(self.send_away(*key, farewell)), next: None }
            }
            Whom::User(user, from) => self.disconnect_user(user, *from, farewell),
        }
    }

    fn disconnect_user(&mut self, user: &str, from: usize, farewell: &Farewell) -> Disconnected {
        let reach = self.slots.reach() as usize;
        let end = from.saturating_add(DISCONNECT_PLACES).min(reach);
        let mut count = 0;
        for index in from..end {
            let Some(key) = self.slots.key_at(index as u32) else { continue };
            let session = self.slots.get(key).and_then(|slot| slot.session.as_ref());
            let is_meant = session.and_then(|session| session.user()) == Some(user);
            if is_meant && self.send_away(key, farewell) {
                count += 1;
                if count == DISCONNECTED_PER_PART {
                    return Disconnected { count, next: Some(index + 1) };
                }
            }
        }
        Disconnected { count, next: (end < reach).then_some(end) }
    }

    /// Begins the closing handshake of a connection; says whether there was one to end.
    fn send_away(&mut self, key: Key, farewell: &Farewell) -> bool {
        let now = self.clock.now();
        let Some(slot) = self.slots.get_mut(key) else { return false };
        if slot.ended || !slot.connection.is_open() {
            return false;
        }
        let Farewell { code, reason, .. } = farewell;
        self.exchange.close(now.tick, key, slot, CloseReason::Disconnected, *code, reason);
        self.settle(key);
        true
    }
}

fn reply<T>(answer: AnswerTo<T>, find: impl FnOnce() -> T) {
    if !answer.is_closed() {
        // Who gives up while it is done gets no answer, and nothing else is amiss.
        let _ = answer.send(find());
    }
}
