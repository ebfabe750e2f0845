//! What the check needs to know of a host, read once from /proc and /sys.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use rustix::process::{Resource, Rlimit, getrlimit};

use crate::ring::probe::{self, Features, ProbeError};

/// A resource limit of the process; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What holds now.
    pub soft: Option<u64>,
    /// What the process may raise it to by itself.
    pub hard: Option<u64>,
}

/// The facts of a host. What it does not tell (a sysctl of an absent module, a file a container
/// hides) is `None`.
#[derive(Debug, Clone)]
pub struct Host {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// What the kernel said about io_uring.
    pub io_uring: Result<Features, ProbeError>,
    /// CPUs that are online.
    pub cpus_online: Option<usize>,
    /// CPUs in the affinity mask of the process.
    pub cpus_allowed: usize,
    /// RLIMIT_NOFILE: open files, per file table.
    pub open_files: Limit,
    /// RLIMIT_MEMLOCK, in bytes.
    pub locked_memory: Limit,
    /// `fs.nr_open`: the highest RLIMIT_NOFILE the kernel grants.
    pub nr_open: Option<u64>,
    /// `fs.file-max`: open files of the whole host.
    pub file_max: Option<u64>,
    /// `net.core.somaxconn`: the longest accept queue.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`: half-open connections of a listener.
    pub syn_backlog: Option<u64>,
    /// `net.ipv4.ip_local_port_range`: the source ports of outgoing connections.
    pub local_ports: Option<RangeInclusive<u16>>,
    /// `net.ipv4.ip_local_reserved_ports`: ports in that range which are never picked.
    pub reserved_ports: Vec<RangeInclusive<u16>>,
    /// `net.ipv4.tcp_mem` in bytes: low, pressure, and maximum.
    pub tcp_memory: Option<[u64; 3]>,
    /// `net.netfilter.nf_conntrack_max`: connections the firewall can track.
    pub conntrack_max: Option<u64>,
    /// Memory of the host, in bytes.
    pub memory: Option<u64>,
    /// The tightest memory limit of the process's control groups, in bytes.
    pub cgroup_memory: Option<u64>,
    /// `vm.overcommit_memory`.
    pub overcommit: Option<u64>,
    /// Bytes of a memory page.
    pub page_size: u64,
}

impl Host {
    /// Reads the facts of the host this process runs on. Probes io_uring on the way.
    #[must_use]
    pub fn gather() -> Self {
        let page_size = rustix::param::page_size() as u64;
        let cpus_allowed = rustix::thread::sched_getaffinity(None)
            .map_or(1, |mask| usize::try_from(mask.count()).unwrap_or(1));
        let cpus_online = read("/sys/devices/system/cpu/online").map(|text| {
            ranges(&text).iter().map(|range: &RangeInclusive<usize>| range.clone().count()).sum()
        });
        Self {
            kernel: probe::kernel_release(),
            io_uring: probe::probe(),
            cpus_online,
            cpus_allowed,
            open_files: limit(getrlimit(Resource::Nofile)),
            locked_memory: limit(getrlimit(Resource::Memlock)),
            nr_open: number("/proc/sys/fs/nr_open"),
            file_max: number("/proc/sys/fs/file-max"),
            somaxconn: number("/proc/sys/net/core/somaxconn"),
            syn_backlog: number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
            local_ports: numbers("/proc/sys/net/ipv4/ip_local_port_range")
                .map(|[first, last]: [u16; 2]| first..=last),
            reserved_ports: read("/proc/sys/net/ipv4/ip_local_reserved_ports")
                .map_or_else(Vec::new, |text| ranges(&text)),
            tcp_memory: numbers("/proc/sys/net/ipv4/tcp_mem")
                .map(|pages: [u64; 3]| pages.map(|count| count.saturating_mul(page_size))),
            conntrack_max: number("/proc/sys/net/netfilter/nf_conntrack_max"),
            memory: read("/proc/meminfo").and_then(|text| total_memory(&text)),
            cgroup_memory: cgroup_memory(),
            overcommit: number("/proc/sys/vm/overcommit_memory"),
            page_size,
        }
    }
}

fn limit(of: Rlimit) -> Limit {
    Limit { soft: of.current, hard: of.maximum }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

fn numbers<T: FromStr, const N: usize>(path: &str) -> Option<[T; N]> {
    let text = read(path)?;
    let parsed: Option<Vec<T>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    parsed?.try_into().ok()
}

/// Reads the kernel's lists, such as `0-3,8`.
fn ranges<T: FromStr + Copy>(text: &str) -> Vec<RangeInclusive<T>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).collect()
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The tightest limit from the process's own control group up to the root, of either version.
fn cgroup_memory() -> Option<u64> {
    let membership = read("/proc/self/cgroup")?;
    let mut limits = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let group = Path::new(group.trim_start_matches('/'));
        let levels = group.ancestors().map(|level| Path::new(root).join(level).join(file));
        limits.extend(levels.filter_map(number));
    }
    // The first version says "unlimited" with the largest page-aligned i64.
    limits.into_iter().filter(|bytes| *bytes < 1 << 60).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(ranges::<u16>("0-3,8\n"), [0..=3, 8..=8]);
        assert_eq!(ranges::<u16>("\n"), []);
    }

    #[test]
    fn total_memory_is_in_bytes() {
        assert_eq!(total_memory("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2048 * 1024));
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn this_host_tells_the_facts_every_linux_has() {
        let host = Host::gather();
        assert!(host.cpus_allowed >= 1 && host.cpus_online >= Some(host.cpus_allowed));
        assert!(host.kernel.starts_with(|c: char| c.is_ascii_digit()), "{}", host.kernel);
        assert!(host.somaxconn.is_some() && host.tcp_memory.is_some() && host.memory.is_some());
        let ports = host.local_ports.expect("every network namespace has a port range");
        assert!(ports.start() < ports.end());
    }
}
