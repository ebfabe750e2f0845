//! The null echo: the cheapest peer that speaks WebSocket, on a thread and a processor of its own.

mod connection;
mod echo;
mod frames;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use ringwire::ring::Wake;

pub(super) use self::echo::CONNECTIONS_MAX;
use self::echo::Echo;
pub(super) use self::frames::PAYLOAD_BYTES_MAX;

/// A null echo at work. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct NullPeer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Processor time of the peer's thread, by what it was spent on, since its start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Spent {
    /// Connections that were opened.
    pub(crate) opened: u64,
    /// Nanoseconds of the turns that opened connections.
    pub(crate) opening: u64,
    /// Messages that were sent back.
    pub(crate) echoed: u64,
    /// Nanoseconds of the turns that sent messages back.
    pub(crate) echoing: u64,
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Shared {
    wake: Wake,
    stop: AtomicBool,
    /// Written once in every turn, read between runs: nobody waits.
    spent: Mutex<Spent>,
}

impl NullPeer {
    /// Starts one on `cpu`, at a free port of 127.0.0.1.
    ///
    /// # Errors
    /// What this host lacks for it.
    pub(crate) fn start(cpu: usize) -> Result<Self, String> {
        let wake = Wake::new().map_err(|error| format!("cannot create an eventfd: {error}"))?;
        let shared =
            Arc::new(Shared { wake, stop: AtomicBool::new(false), spent: Mutex::default() });
        let (sender, started) = channel();
        let with_thread = shared.clone();
        let thread = thread::Builder::new()
            .name("null-echo".to_owned())
            .spawn(move || live(cpu, with_thread, &sender))
            .map_err(|error| format!("cannot start the thread of the null echo: {error}"))?;
        let address = started
            .recv()
            .unwrap_or_else(|_| Err("the null echo has ended before it began".to_owned()))?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far, but for the turn it is in.
    pub(crate) fn spent(&self) -> Spent {
        *self.shared.spent()
    }
}

impl Spent {
    /// What came after `earlier`.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            opened: self.opened - earlier.opened,
            opening: self.opening - earlier.opening,
            echoed: self.echoed - earlier.echoed,
            echoing: self.echoing - earlier.echoing,
        }
    }
}

impl Shared {
    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().expect("nothing panics with this lock held")
    }
}

impl Drop for NullPeer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake.ring();
        // A thread that has panicked has said so itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The thread's life.
fn live(cpu: usize, shared: Arc<Shared>, started: &Sender<Result<SocketAddr, String>>) {
    let prepared = Echo::prepare(cpu, shared).and_then(|echo| {
        let address = echo.address().map_err(|error| format!("getsockname: {error}"))?;
        Ok((echo, address))
    });
    // The owner waits for this one word and for the thread's end, so somebody always listens.
    match prepared {
        Ok((echo, address)) => {
            let _ = started.send(Ok(address));
            if let Err(error) = echo.run() {
                eprintln!("loadtest: the null echo has ended: io_uring_enter: {error}");
            }
        }
        Err(reason) => drop(started.send(Err(reason))),
    }
}
