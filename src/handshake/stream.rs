//! What a guest sends and is sent, with TLS or without.

use std::time::Duration;

use super::desk::Desk;
use super::guest::Guest;
use crate::limits::TICK_MILLISECONDS;
use crate::observe::SocketCall;
use crate::ring::{Interest, poll_once};
use crate::tls::{self, Heard, Outcome};

/// Sends an answer, and waits for the peer to have read it.
pub(super) async fn answer(guest: &mut Guest, head: Vec<u8>, body: &str) {
    let is_sent = send_all(guest, &head).await;
    drop(head);
    if is_sent && send_all(guest, body.as_bytes()).await {
        await_end(guest).await;
    }
}

/// Sends all of `bytes`; says whether the peer is still there. The desk's deadline bounds it.
async fn send_all(guest: &mut Guest, mut bytes: &[u8]) -> bool {
    let Guest { socket, tls, desk, .. } = guest;
    let socket = &**socket;
    loop {
        let session = tls.as_deref_mut();
        let outcome = match session {
            // These bytes were counted as sent when they were sealed.
            Some(session) if session.has_unsent() => match tls::flush(socket, session) {
                Outcome::Taken { has_moved, is_starved, .. } => {
                    Outcome::Taken { sent: 0, sealed: 0, has_moved, is_starved }
                }
                Outcome::Broken => return false,
            },
            _ if bytes.is_empty() => return true,
            session => desk.outlet().borrow_mut().send(socket, session, bytes),
        };
        match outcome {
            Outcome::Taken { sent, sealed, has_moved, is_starved } => {
                bytes = &bytes[sent + sealed..];
                if is_starved {
                    pause_starved(desk, SocketCall::Send).await;
                } else if !has_moved && poll_once(socket, Interest::Write).await.is_err() {
                    return false;
                }
            }
            Outcome::Broken => return false,
        }
    }
}

/// Sends what TLS has to say; says whether the peer is still there. The desk's deadline bounds it.
pub(super) async fn send_records(guest: &mut Guest) -> bool {
    send_all(guest, &[]).await
}

/// Waits for the peer to close behind an answer, so that unread bytes of its request do not reset
/// the connection under it. The desk's deadline bounds it.
pub(super) async fn await_end(guest: &mut Guest) {
    tls::shut_down_write(&guest.socket, guest.tls.as_deref_mut());
    let (socket, desk) = (&guest.socket, &guest.desk);
    loop {
        // Whatever it says is not looked into.
        let next = match desk.inlet().borrow_mut().receive(socket, None) {
            Heard::Bytes { .. } => Next::More,
            Heard::Nothing => Next::Later,
            Heard::Starved => Next::Starved,
            Heard::End | Heard::Cut | Heard::Broken | Heard::Failed(_) => return,
        };
        match next {
            Next::More => tokio::task::yield_now().await,
            Next::Starved => pause_starved(desk, SocketCall::Receive).await,
            Next::Later => {
                if poll_once(socket, Interest::Read).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// When to read on.
enum Next {
    More,
    Later,
    Starved,
}

/// The kernel has no memory: the socket would be ready at once, and as vainly.
pub(super) async fn pause_starved(desk: &Desk, call: SocketCall) {
    desk.counters().memory_shortages.of(call).add(1);
    tokio::time::sleep(Duration::from_millis(TICK_MILLISECONDS)).await;
}
