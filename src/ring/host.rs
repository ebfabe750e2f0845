//! The tokio-uring runtime that hosts a thread, and the one operation asked of it: readiness.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use tokio::io::unix::AsyncFd;
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use super::{Interest, Wake};

/// Entries of the queues of the runtime's own ring, powers of two.
#[derive(Clone, Copy, Debug)]
pub struct HostSizes {
    /// Submissions gathered for one system call.
    pub submissions: u32,
    /// Completions that wait for the thread.
    pub completions: u32,
}

/// Runs `main` on a tokio-uring runtime of the calling thread until it ends; tasks that are still
/// there then are dropped.
///
/// # Errors
/// When the runtime cannot be built: as `io_uring_setup(2)` and `epoll_create1(2)`.
pub fn run_hosted<F: Future>(sizes: HostSizes, main: F) -> io::Result<F::Output> {
    // No DEFER_TASKRUN here: this runtime looks for completions without entering the kernel.
    let mut uring = tokio_uring::uring_builder();
    uring.dontfork().setup_cqsize(sizes.completions).setup_clamp();
    let mut builder = tokio_uring::builder();
    builder.entries(sizes.submissions).uring_builder(&uring);
    let runtime = tokio_uring::Runtime::new(&builder)?;
    Ok(runtime.block_on(main))
}

/// Waits on the runtime's ring until `socket` is ready. Works on readiness alone, so that nothing
/// is lost when the future is dropped; a drop leaves the poll in the kernel until the socket is
/// shut down or closed by its peer.
///
/// # Errors
/// As a poll operation: EBADF, ENOMEM.
pub async fn poll_once(socket: impl AsFd, interest: Interest) -> io::Result<()> {
    let poll = opcode::PollAdd::new(Fd(socket.as_fd().as_raw_fd()), interest.flags()).build();
    UnsubmittedOneshot::new((), Readiness, poll).submit().await
}

/// Waits for the rings of a [`Wake`] on the calling thread's runtime.
#[derive(Debug)]
pub struct Doorbell<'a>(AsyncFd<Bell<'a>>);

impl<'a> Doorbell<'a> {
    /// Listens for `wake` from now on.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    pub fn new(wake: &'a Wake) -> io::Result<Self> {
        // SAFETY: the borrow keeps the wake, and with it the descriptor, open and the same for as
        // long as the runtime looks at it.
        let bell =
            unsafe { AsyncFd::register_with_interest(Bell(wake), tokio::io::Interest::READABLE) };
        Ok(Self(bell.map_err(|refused| refused.into_parts().1)?))
    }

    /// Waits until it was rung since the last time; rings that come later count for the next.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn rung(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

#[derive(Debug)]
struct Bell<'a>(&'a Wake);

impl AsRawFd for Bell<'_> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

struct Readiness;

impl OneshotOutputTransform for Readiness {
    type Output = io::Result<()>;
    type StoredData = ();

    fn transform_oneshot_output(self, (): (), entry: cqueue::Entry) -> io::Result<()> {
        match entry.result() {
            error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
            _ => Ok(()),
        }
    }
}
