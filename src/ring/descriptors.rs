//! What a thread owns of the machine: its processor, its table of descriptors, its time.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, UnshareFlags, sched_getaffinity, sched_setaffinity, unshare_unsafe};
use rustix::time::{ClockId, clock_gettime};

/// The processors this process may run on, in order.
///
/// # Errors
/// Whatever `sched_getaffinity(2)` gives.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let mask = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).collect())
}

/// Keeps the calling thread on one processor.
///
/// # Errors
/// EINVAL when the processor is not allowed to this process.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    let mut mask = CpuSet::new();
    mask.set(cpu);
    Ok(sched_setaffinity(None, &mask)?)
}

/// Gives the calling thread a table of descriptors of its own: a copy of the process's table as it
/// is now. Each thread may then hold as many sockets as the limit allows, and opening one takes no
/// lock that other threads want.
///
/// Call it first in the thread. What the thread opens later is invisible to the others, and what
/// it inherited stays open in its table until the thread ends.
///
/// # Errors
/// ENOMEM, or EPERM under a seccomp profile without `unshare`.
pub fn own_descriptor_table() -> io::Result<()> {
    // SAFETY: the thread uses only descriptors that it opened itself after this call, or that were
    // open before every thread was started and stay open until all have ended (the wakes and the
    // standard streams), so no number means one file here and another one elsewhere.
    Ok(unsafe { unshare_unsafe(UnshareFlags::FILES) }?)
}

/// Raises the soft limit of open files to the hard limit and gives it back: the descriptors that
/// each table may hold.
#[must_use]
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current.unwrap_or(u64::MAX);
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// Processor time that the calling thread has used, kernel time included.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
