//! The completion ring: polls, timers and cancellations in, completions out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::PollFlags;

use super::{Token, Wake};

/// `IORING_ENTER_GETEVENTS`: run the deferred work of this ring and post its completions.
const ENTER_GETEVENTS: u32 = 1;

/// System calls of one [`Ring::submit`]: recent kernels post 20 completions in each, so that this
/// makes for some thousands and well below a millisecond.
const ENTERS_MAX: usize = 256;

/// Timers that may run at once on one ring.
const TIMERS: usize = 4;

/// Entries of the two queues, powers of two.
#[derive(Clone, Copy, Debug)]
pub struct RingSizes {
    /// Submissions gathered for one system call.
    pub submissions: u32,
    /// Completions that wait for the thread, at least as many as submissions; more are kept by the
    /// kernel and cost it an allocation each, none is lost.
    pub completions: u32,
}

/// What a poll waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Bytes to read, or the end of the stream.
    Read,
    /// Room to write.
    Write,
    /// Both.
    ReadWrite,
}

impl Interest {
    pub(super) fn flags(self) -> u32 {
        let read = PollFlags::IN | PollFlags::RDHUP;
        let flags = match self {
            Self::Read => read,
            Self::Write => PollFlags::OUT,
            Self::ReadWrite => read | PollFlags::OUT,
        };
        u32::from(flags.bits())
    }
}

/// Which of the ring's timers: one of each runs at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerSlot(pub u8);

/// One completion.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// The operation it belongs to.
    pub token: Token,
    /// Events of a poll, or a negative errno.
    pub result: i32,
    /// Whether the operation goes on; `false` is the last word of an operation.
    pub more: bool,
}

impl Completion {
    /// The poll found bytes, the end of the stream, or an error that a read will tell.
    #[must_use]
    pub fn readable(&self) -> bool {
        self.has(PollFlags::IN | PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    /// The poll found room to write, or an error that a write will tell.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.has(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR)
    }

    /// The peer has sent its last byte: read until the end, a short read is not the last.
    #[must_use]
    pub fn hung_up(&self) -> bool {
        self.has(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    fn has(&self, flags: PollFlags) -> bool {
        self.result > 0 && self.result as u32 & u32::from(flags.bits()) != 0
    }
}

/// A completion ring of one thread (`SINGLE_ISSUER | DEFER_TASKRUN`: the kernel posts completions
/// only while that thread asks for them, never by interrupting it).
pub struct Ring {
    uring: IoUring,
    /// Read by the kernel while a timer is submitted, so they must not move; boxed for that.
    timespecs: Box<[Timespec; TIMERS]>,
    /// Submissions that found the queue full while the kernel refused to take it.
    overflow: VecDeque<squeue::Entry>,
    /// Completions taken from the ring to make room for the kernel, not yet handed out.
    early: VecDeque<Completion>,
    pressure: u64,
}

impl Ring {
    /// A ring for the calling thread, and only for it.
    ///
    /// # Errors
    /// As `io_uring_setup(2)`: [`crate::ring`]'s probe puts them into words.
    pub fn new(sizes: RingSizes) -> io::Result<Self> {
        let uring = IoUring::builder()
            .dontfork()
            .setup_cqsize(sizes.completions)
            .setup_clamp()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(sizes.submissions)?;
        Ok(Self {
            uring,
            timespecs: Box::new([Timespec::new(); TIMERS]),
            overflow: VecDeque::new(),
            early: VecDeque::new(),
            pressure: 0,
        })
    }

    /// Has `wake` rung whenever there is something to [`reap`](Self::reap).
    ///
    /// # Errors
    /// As `io_uring_register(2)`.
    pub fn ring_on_completion(&self, wake: &Wake) -> io::Result<()> {
        self.uring.submitter().register_eventfd(wake.as_raw_fd())
    }

    /// Polls until cancelled: a completion each time the socket *becomes* ready (edge-triggered),
    /// and one at once if it is ready now.
    pub fn poll_multishot(&mut self, socket: impl AsFd, interest: Interest, token: Token) {
        let poll = opcode::PollAdd::new(Fd(socket.as_fd().as_raw_fd()), interest.flags());
        self.push(poll.multi(true).build().user_data(token.bits()));
    }

    /// Ends the operation `target`; its last completion follows, and one for `token`.
    pub fn cancel(&mut self, target: Token, token: Token) {
        self.push(opcode::AsyncCancel::new(target.bits()).build().user_data(token.bits()));
    }

    /// One completion for `token` after `delay`. The slot must not have a timer running.
    pub fn timer(&mut self, slot: TimerSlot, delay: Duration, token: Token) {
        let timespec = &mut self.timespecs[usize::from(slot.0)];
        *timespec = delay.into();
        let timeout = opcode::Timeout::new(std::ptr::from_ref(timespec));
        self.push(timeout.build().user_data(token.bits()));
    }

    /// Hands all submissions to the kernel and lets it post what has completed. Does not wait.
    ///
    /// # Errors
    /// What `io_uring_enter(2)` gives, but for pressure on the completion queue, which is relieved
    /// here.
    pub fn submit(&mut self) -> io::Result<()> {
        let mut enters = 0;
        loop {
            self.refill();
            let queued = self.uring.submission().len() as u32;
            let submitter = self.uring.submitter();
            // SAFETY: no argument is passed, and every queued entry refers to memory that lives as
            // long as the ring (`timespecs`) or to none.
            let entered =
                unsafe { submitter.enter::<libc::sigset_t>(queued, 0, ENTER_GETEVENTS, None) };
            enters += 1;
            let taken = self.settled(entered)? && self.overflow.is_empty();
            if (taken && !self.has_unposted()) || enters >= ENTERS_MAX {
                break;
            }
        }
        self.pressure += u64::from(self.uring.submission().cq_overflow());
        Ok(())
    }

    /// As [`submit`](Self::submit), if anything is queued; says whether there is something to
    /// [`reap`](Self::reap), now or after another submit.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_if_queued(&mut self) -> io::Result<bool> {
        if !self.uring.submission().is_empty() || !self.overflow.is_empty() {
            self.submit()?;
        }
        let has_kept = !self.uring.submission().is_empty() || !self.overflow.is_empty();
        Ok(has_kept || self.has_news())
    }

    /// Whether there is something to [`reap`](Self::reap), now or after a submit: a look at shared
    /// memory.
    pub fn has_news(&mut self) -> bool {
        let queue = self.uring.submission();
        let is_put_off = queue.taskrun() || queue.cq_overflow();
        drop(queue);
        is_put_off || !self.early.is_empty() || !self.uring.completion().is_empty()
    }

    /// As [`submit`](Self::submit), then waits until something completes or `timeout` passes.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_and_wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.submit()?;
        if !self.early.is_empty() || !self.uring.completion().is_empty() {
            return Ok(());
        }
        let timespec = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&timespec);
        let entered = self.uring.submitter().submit_with_args(1, &args);
        match entered {
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => Ok(()),
            other => self.settled(other).map(drop),
        }
    }

    /// Moves up to `max` completions to the end of `completions`.
    pub fn reap(&mut self, max: usize, completions: &mut Vec<Completion>) {
        let early = self.early.len().min(max);
        completions.extend(self.early.drain(..early));
        let queue = self.uring.completion();
        completions.extend(queue.take(max - early).map(|entry| completion(&entry)));
    }

    /// Calls of [`submit`](Self::submit) after which the kernel had more completions than the
    /// queue holds. None was lost.
    #[must_use]
    pub const fn pressure(&self) -> u64 {
        self.pressure
    }

    /// Whether the kernel has put off work of ours whose completions would find room.
    fn has_unposted(&mut self) -> bool {
        self.uring.submission().taskrun() && !self.uring.completion().is_full()
    }

    fn push(&mut self, entry: squeue::Entry) {
        if !self.overflow.is_empty() || !self.try_push(&entry) {
            self.overflow.push_back(entry);
            if self.uring.submit().is_ok() {
                self.refill();
            }
        }
    }

    fn refill(&mut self) {
        while let Some(entry) = self.overflow.pop_front() {
            if !self.try_push(&entry) {
                self.overflow.push_front(entry);
                return;
            }
        }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: an entry refers to memory of ours only as a timer's timespec, which lives in a
        // box of this ring; the kernel copies it when it takes the entry.
        unsafe { self.uring.submission().push(entry) }.is_ok()
    }

    /// Whether the kernel took the call; makes room in the completion queue if it could not.
    fn settled(&mut self, entered: io::Result<usize>) -> io::Result<bool> {
        match entered {
            Ok(_) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => Ok(false),
                Some(libc::EBUSY | libc::EAGAIN) => {
                    self.pressure += 1;
                    self.early.extend(self.uring.completion().map(|entry| completion(&entry)));
                    Ok(false)
                }
                _ => Err(error),
            },
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ring").field("pressure", &self.pressure).finish_non_exhaustive()
    }
}

fn completion(entry: &cqueue::Entry) -> Completion {
    Completion {
        token: Token::from_bits(entry.user_data()),
        result: entry.result(),
        more: cqueue::more(entry.flags()),
    }
}
