//! Accepting: in bursts, with room for others between them, and calmly when descriptors run out.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::reception::receive_guest;
use crate::limits::{ACCEPT_PAUSE_MILLISECONDS, ACCEPTS_PER_TURN, LAST_ACCEPTS_MAX};
use crate::observe::{AcceptError, HandshakeResult, RefusedStatus};
use crate::protocol::upgrade::refuse;
use crate::ring::{Interest, poll_once, socket};

/// Accepts from `listener`, where those who come may speak TLS, and starts a handshake for each
/// connection while the desk is open. Then those who wait are answered and it listens no more,
/// unless another process goes on with it.
pub async fn accept_connections(listener: Arc<OwnedFd>, is_tls: bool, desk: Rc<Desk>) {
    let mut doorkeeper = Doorkeeper { reserve: reserve(), pause: Duration::ZERO };
    desk.opened().await;
    tracing::debug!(is_tls, "accepting");
    while !desk.is_closed() {
        let ready = tokio::select! {
            ready = poll_once(&listener, Interest::Read) => ready,
            () = desk.closed() => break,
        };
        match ready.and_then(|()| doorkeeper.accept_burst(&listener, &desk)) {
            Ok(()) => doorkeeper.pause = Duration::ZERO,
            Err(error) => doorkeeper.on_failure(&error, &listener, &desk).await,
        }
    }
    if !desk.is_handed_over() {
        doorkeeper.accept_last(&listener, &desk);
        // Other threads and the poll that still waits in the kernel keep it open.
        socket::shut_down(&listener, Shutdown::Both);
    }
    desk.end_listening();
}

struct Doorkeeper {
    /// A descriptor kept free, to tell those who come when there is no other.
    reserve: Option<File>,
    pause: Duration,
}

impl Doorkeeper {
    fn accept_burst(&self, listener: &OwnedFd, desk: &Rc<Desk>) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            if !accept_one(listener, desk)? {
                break;
            }
        }
        Ok(())
    }

    /// Those who wait already: a socket that listens no more resets them.
    fn accept_last(&self, listener: &OwnedFd, desk: &Rc<Desk>) {
        for _ in 0..LAST_ACCEPTS_MAX {
            if !accept_one(listener, desk).is_ok_and(|is_accepted| is_accepted) {
                break;
            }
        }
    }

    /// Descriptors are used up, or memory is. Handshakes that take long make room; where there are
    /// none, who waits is refused. Then pauses: twice as long each time in a row.
    async fn on_failure(&mut self, error: &io::Error, listener: &OwnedFd, desk: &Desk) {
        let (first, last) = ACCEPT_PAUSE_MILLISECONDS;
        // Once for each series: the metric counts them all.
        if self.pause.is_zero() {
            tracing::warn!(
                %error,
                "cannot accept; if it is for want of file descriptors, raise LimitNOFILE \
                 (ulimit -n) or lower --max-connections"
            );
        }
        desk.counters().count_accept_error(AcceptError::from(error));
        if !desk.make_room() {
            self.refuse_waiting(listener, desk);
        }
        self.pause =
            (self.pause * 2).clamp(Duration::from_millis(first), Duration::from_millis(last));
        tokio::time::sleep(self.pause).await;
    }

    fn refuse_waiting(&mut self, listener: &OwnedFd, desk: &Desk) {
        let mut answer = Vec::new();
        self.reserve = None;
        for _ in 0..ACCEPTS_PER_TURN {
            let Ok(Some(socket)) = socket::accept(listener) else { break };
            answer.clear();
            refuse(&mut answer, &desk.put_off());
            // Whether it arrives is up to the peer: the connection ends either way.
            let _ = socket::send(&socket, &answer);
            desk.counters().count_refused(RefusedStatus::Unavailable);
            desk.counters().count_handshake(HandshakeResult::Refused);
        }
        self.reserve = reserve();
    }
}

/// Whether somebody waited.
fn accept_one(listener: &OwnedFd, desk: &Rc<Desk>) -> io::Result<bool> {
    let Some(socket) = socket::accept(listener)? else { return Ok(false) };
    tokio_uring::spawn(receive_guest(socket, Instant::now(), Rc::clone(desk)));
    Ok(true)
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
