//! The one way out of a connection: release, cancel the poll, wait for its last word, close.

use super::lines::{ConnectionId, tell_disconnected};
use super::{Shard, kind, poll_token};
use crate::collections::Key;
use crate::connection::Step;
use crate::ring::{Token, socket};
use crate::tls;

impl Shard {
    /// Does what the connection asks for; says whether it is still there.
    pub(super) fn perform_step(&mut self, key: Key) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        if slot.ended {
            return false;
        }
        if !slot.connection.is_open() {
            // Others need not wait for the end of the closing handshake.
            self.exchange.rooms.leave_all(key);
        }
        match slot.connection.step() {
            Step::Wait => return true,
            Step::ShutWrite => {
                tls::shut_down_write(&slot.socket, slot.tls.as_deref_mut());
                self.mark_readable(key);
                return true;
            }
            Step::Close => {
                if let Some(session) = slot.tls.as_deref_mut() {
                    tls::say_goodbye(&slot.socket, session);
                }
            }
            Step::Abort => socket::abort_on_close(&slot.socket),
        }
        self.terminate(key);
        false
    }

    fn terminate(&mut self, key: Key) {
        let slot = self.slots.get_mut(key).expect("the caller holds a live key");
        slot.ended = true;
        self.secured -= u64::from(slot.tls.take().is_some());
        let dropped = slot.connection.release(&mut self.exchange.workshop);
        self.exchange.count_dropped(slot, dropped);
        let polled = slot.polled;
        self.wheel.disarm(key.index());
        if polled {
            self.ring.cancel(poll_token(key), Token::new(kind::CANCEL, 0, 0));
        } else {
            self.free(key);
        }
    }

    /// Closes the socket, which nothing in the kernel refers to any more.
    pub(super) fn free(&mut self, key: Key) {
        let slot = self.slots.remove(key).expect("the caller holds a live key");
        assert!(slot.ended && !slot.polled, "close comes after the last completion");
        let id = ConnectionId { shard: self.number, key };
        tell_disconnected(id, &slot, self.clock.tick());
        self.desk.release(slot.ticket);
        self.counters().count_closed(slot.connection.reason(), slot.connection.code());
    }
}
