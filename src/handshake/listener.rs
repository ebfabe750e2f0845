//! Accepting: in bursts, with room for others between them, and calmly when descriptors run out.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::desk::Desk;
use super::reception::receive_guest;
use crate::limits::{ACCEPT_PAUSE_MILLISECONDS, ACCEPTS_PER_TURN};
use crate::protocol::upgrade::refuse;
use crate::ring::{Interest, poll_once, socket};

/// One warning in that time: an attack must not fill the disk.
const WARN_PAUSE: Duration = Duration::from_secs(5);

/// Accepts from `listener` and starts a handshake for each connection until the desk closes.
pub async fn accept_connections(listener: OwnedFd, desk: Rc<Desk>) {
    let mut doorkeeper = Doorkeeper { reserve: reserve(), pause: Duration::ZERO, warned: None };
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
    // The poll that may still wait in the kernel would keep a socket that is only closed listening.
    socket::shut_down(&listener, Shutdown::Both);
}

struct Doorkeeper {
    /// A descriptor kept free, to tell those who come when there is no other.
    reserve: Option<File>,
    pause: Duration,
    warned: Option<Instant>,
}

impl Doorkeeper {
    fn accept_burst(&self, listener: &OwnedFd, desk: &Rc<Desk>) -> io::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(socket) = socket::accept(listener)? else { return Ok(()) };
            tokio_uring::spawn(receive_guest(socket, Rc::clone(desk)));
        }
        Ok(())
    }

    /// Descriptors are used up, or memory is. Handshakes that take long make room; where there are
    /// none, who waits is refused. Then pauses: twice as long each time in a row.
    async fn on_failure(&mut self, error: &io::Error, listener: &OwnedFd, desk: &Desk) {
        let (first, last) = ACCEPT_PAUSE_MILLISECONDS;
        if self.warned.is_none_or(|warned| warned.elapsed() > WARN_PAUSE) {
            self.warned = Some(Instant::now());
            tracing::warn!(
                "cannot accept: {error}; if it is for want of file descriptors, raise LimitNOFILE \
                 (ulimit -n) or lower --max-connections"
            );
        }
        desk.counters().accept_errors.add(1);
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
        }
        self.reserve = reserve();
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
