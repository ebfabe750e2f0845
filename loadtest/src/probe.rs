//! What the kernel tells about processes and about itself.

use std::fs;
use std::time::Duration;

use crate::server::Server;

/// Processor time and memory of a process.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct ProcessSample {
    /// Time in user space and in the kernel.
    pub(crate) cpu: Duration,
    /// The part in user space, where it is known.
    pub(crate) user: Option<Duration>,
    /// Bytes of memory that are resident.
    pub(crate) resident: u64,
}

/// The machine at one moment of a run.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Sample {
    /// When, by the run's clock.
    pub(crate) at: Duration,
    /// The server's process, if it is known and alive.
    pub(crate) server: Option<ProcessSample>,
    /// This process.
    pub(crate) own: ProcessSample,
    /// The kernel.
    pub(crate) kernel: KernelSample,
    /// Time that all processors have worked, for whatever process.
    pub(crate) machine_busy: Option<Duration>,
}

impl Sample {
    /// The machine now, which is `at` by the run's clock.
    pub(crate) fn take(at: Duration, server: Option<&Server>) -> Self {
        Self {
            at,
            server: server.and_then(Server::sample),
            own: Process::own().sample().unwrap_or_default(),
            kernel: kernel(),
            machine_busy: machine_busy(),
        }
    }
}

/// Memory of the kernel and its sockets.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct KernelSample {
    /// Sockets in TIME-WAIT.
    pub(crate) tcp_time_wait: u64,
    /// Bytes in the buffers of TCP sockets.
    pub(crate) tcp_buffer_bytes: u64,
    /// Bytes of kernel objects.
    pub(crate) slab_bytes: u64,
}

/// A process of this host.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    folder: String,
}

impl Process {
    /// The process with this id.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn new(pid: u32) -> Result<Self, String> {
        let process = Self { folder: format!("/proc/{pid}") };
        match process.sample() {
            Some(_) => Ok(process),
            None => Err(format!("--server-pid {pid}: there is no such process on this host")),
        }
    }

    /// This process.
    pub(crate) fn own() -> Self {
        Self { folder: "/proc/self".to_owned() }
    }

    /// Now; `None` when the process is gone.
    pub(crate) fn sample(&self) -> Option<ProcessSample> {
        let stat = fs::read_to_string(format!("{}/stat", self.folder)).ok()?;
        let (user, system) = processor_ticks(&stat)?;
        let tick = 1.0 / rustix::param::clock_ticks_per_second() as f64;
        let status = fs::read_to_string(format!("{}/status", self.folder)).ok()?;
        Some(ProcessSample {
            cpu: Duration::from_secs_f64((user + system) as f64 * tick),
            user: Some(Duration::from_secs_f64(user as f64 * tick)),
            resident: kibibytes(&status, "VmRSS:").unwrap_or(0),
        })
    }
}

/// The kernel now; what cannot be read is 0.
pub(crate) fn kernel() -> KernelSample {
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let page = rustix::param::page_size() as u64;
    KernelSample {
        tcp_time_wait: socket_count(&sockets, "tw"),
        tcp_buffer_bytes: socket_count(&sockets, "mem") * page,
        slab_bytes: kibibytes(&memory, "Slab:").unwrap_or(0),
    }
}

/// Time that all processors together have worked since they started, for whatever process; `None`
/// when it cannot be read. What a hypervisor took away counts as well.
fn machine_busy() -> Option<Duration> {
    let ticks = busy_ticks(&fs::read_to_string("/proc/stat").ok()?)?;
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// The first line of `/proc/stat` is `cpu user nice system idle iowait irq softirq steal guest…`,
/// and `user` includes `guest`.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Option<Vec<u64>> =
        line.split_ascii_whitespace().take(8).map(|word| word.parse().ok()).collect();
    match ticks?[..] {
        [user, nice, system, _, _, irq, softirq, steal] => {
            Some(user + nice + system + irq + softirq + steal)
        }
        _ => None,
    }
}

/// Time that the calling thread was ready to run, and another ran: the second number of its
/// `schedstat`. 0 when it cannot be read.
pub(crate) fn thread_waited() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// Bytes of memory that are free for new work.
pub(crate) fn memory_available() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Bytes of memory that this host has.
pub(crate) fn memory_total() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The fields 14 and 15 of `/proc/PID/stat`. The second field, the name, may hold anything.
fn processor_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The bytes of a line as `VmRSS:     1234 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// A number of the line `TCP: inuse 5 orphan 0 …`.
fn socket_count(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    words.find(|&word| word == name);
    words.next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_and_brackets_are_skipped() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 1234 567 0 0 20";
        assert_eq!(processor_ticks(stat), Some((1234, 567)));
        assert_eq!(processor_ticks("42 (a) S 1"), None);
    }

    #[test]
    fn sockets_and_memory_are_read() {
        let sockets = "sockets: used 27\nTCP: inuse 12 orphan 0 tw 3 alloc 1 mem 269\nUDP: mem 0";
        assert_eq!(socket_count(sockets, "inuse"), 12);
        assert_eq!(socket_count(sockets, "mem"), 269);
        assert_eq!(kibibytes("MemTotal: 5 kB\nSlab:   10 kB\n", "Slab:"), Some(10 * 1024));
    }

    #[test]
    fn idle_processors_are_not_busy() {
        assert_eq!(
            busy_ticks("cpu  1 20 300 999 999 4000 50000 600000 7 7\ncpu0 1"),
            Some(654_321)
        );
        assert_eq!(busy_ticks("cpu 1 2 3"), None);
    }

    #[test]
    fn this_process_is_resident() {
        let sample = Process::own().sample().expect("this process exists");
        assert!(sample.resident > 100 * 1024);
        assert!(Process::new(u32::MAX).is_err());
    }
}
