//! What this host allows, as the kernel tells it.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use ringwire::ring::{allowed_cpus, raise_descriptor_limit};

use crate::probe;

/// The range of ports that `sysctl` can give to connections without privileged ports.
pub(crate) const PORTS_WIDEST: (u16, u16) = (1024, 65_535);

/// How much of something there may be, and how much of it is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limit {
    /// Taken.
    pub(crate) used: u64,
    /// The most there may be.
    pub(crate) max: u64,
}

impl Limit {
    /// What is left.
    pub(crate) const fn free(self) -> u64 {
        self.max.saturating_sub(self.used)
    }
}

/// A limit of threads, and where it is set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ThreadLimit {
    /// A sysctl, or the path of a file.
    pub(crate) name: String,
    /// How many threads.
    pub(crate) limit: Limit,
}

/// Ports that `connect(2)` chooses from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ports {
    /// The first and last, of `net.ipv4.ip_local_port_range`.
    pub(crate) range: (u16, u16),
    /// Those of `net.ipv4.ip_local_reserved_ports`, as ranges.
    pub(crate) reserved: Vec<(u16, u16)>,
}

/// An address of this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OwnAddress {
    /// The interface that has it.
    pub(crate) interface: String,
    /// The address.
    pub(crate) ip: IpAddr,
}

/// What this host allows. What could not be read is `None`, and is not checked.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Processors this process may use, in order.
    pub(crate) cpus: Vec<usize>,
    /// Descriptors that each thread's table may hold: the hard limit, once it is raised.
    pub(crate) descriptors: u64,
    /// The most that root can raise that to: `fs.nr_open`.
    pub(crate) descriptors_max: Option<u64>,
    /// Open files of all processes: `fs.file-max`.
    pub(crate) files: Option<Limit>,
    /// Ports of each source address.
    pub(crate) ports: Ports,
    /// Connections that the firewall tracks.
    pub(crate) tracked: Option<Limit>,
    /// Pages of TCP's buffers until the kernel begins to spare: the second of `net.ipv4.tcp_mem`.
    pub(crate) tcp_pages: Option<Limit>,
    /// Bytes of a page.
    pub(crate) page: u64,
    /// Bytes of memory that are free.
    pub(crate) memory: Option<u64>,
    /// Connections that may wait for `accept(2)`: `net.core.somaxconn`.
    pub(crate) backlog: Option<u64>,
    /// Limits of threads.
    pub(crate) threads: Vec<ThreadLimit>,
    /// Sockets in TIME-WAIT whose ports the kernel does not use again for the first target.
    pub(crate) time_wait: u64,
    /// Addresses of all interfaces.
    pub(crate) addresses: Vec<OwnAddress>,
    /// The address the kernel would choose towards the first target, or why there is none.
    pub(crate) route: Result<IpAddr, String>,
}

impl Host {
    /// Asks this host, and raises the limits that need no privilege.
    ///
    /// # Errors
    /// When the kernel does not say which processors or addresses there are.
    pub(crate) fn read(target: SocketAddr) -> Result<Self, String> {
        let interfaces =
            if_addrs::get_if_addrs().map_err(|error| format!("getifaddrs: {error}"))?;
        let tracked = |name| number(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
        let pressure =
            numbers("/proc/sys/net/ipv4/tcp_mem").and_then(|pages| pages.get(1).copied());
        let kernel = probe::kernel();
        let page = rustix::param::page_size() as u64;
        Ok(Self {
            cpus: allowed_cpus().map_err(|error| format!("sched_getaffinity: {error}"))?,
            descriptors: raise_descriptor_limit(),
            descriptors_max: number("/proc/sys/fs/nr_open"),
            files: numbers("/proc/sys/fs/file-nr").and_then(|numbers| match numbers[..] {
                [used, _, max] => Some(Limit { used, max }),
                _ => None,
            }),
            ports: Ports::read(),
            tracked: tracked("count").zip(tracked("max")).map(|(used, max)| Limit { used, max }),
            tcp_pages: pressure.map(|max| Limit { used: kernel.tcp_buffer_bytes / page, max }),
            page,
            memory: probe::memory_available(),
            backlog: number("/proc/sys/net/core/somaxconn"),
            threads: thread_limits(),
            time_wait: if reuses_time_wait(target.ip()) { 0 } else { kernel.tcp_time_wait },
            addresses: interfaces
                .into_iter()
                .map(|interface| OwnAddress { ip: interface.ip(), interface: interface.name })
                .collect(),
            route: route(target).map_err(|error| error.to_string()),
        })
    }

    /// Whether both ends of a connection to `target` are on this host.
    pub(crate) fn owns(&self, target: IpAddr) -> bool {
        target.is_loopback() || self.interface_of(target).is_some()
    }

    /// The interface that has `address`.
    pub(crate) fn interface_of(&self, address: IpAddr) -> Option<&str> {
        let own = self.addresses.iter().find(|own| own.ip == address)?;
        Some(&own.interface)
    }

    /// The interface towards the first target.
    pub(crate) fn interface(&self) -> Option<&str> {
        self.interface_of(*self.route.as_ref().ok()?)
    }

    /// Addresses of an interface that connections to an IPv4 or IPv6 target may come from.
    pub(crate) fn addresses_of(&self, interface: &str, ipv4: bool) -> Vec<IpAddr> {
        let is_usable = |ip: &IpAddr| match ip {
            IpAddr::V4(_) => ipv4,
            // A link-local address means nothing without its interface.
            IpAddr::V6(ip) => !ipv4 && !ip.is_unicast_link_local(),
        };
        let own = self.addresses.iter().filter(|own| own.interface == interface);
        own.map(|own| own.ip).filter(is_usable).collect()
    }
}

impl Ports {
    fn read() -> Self {
        let range = numbers("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let range = match range[..] {
            [first, last] if first <= last && last <= 65_535 => (first as u16, last as u16),
            // The kernel's default.
            _ => (32_768, 60_999),
        };
        let reserved = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports");
        Self { range, reserved: reserved_ports(&reserved.unwrap_or_default()) }
    }

    /// How many a source address has for one target. `listening` is a port that a server on this
    /// host has bound: `connect(2)` never chooses it.
    pub(crate) fn count(&self, listening: Option<u16>) -> u32 {
        let (first, last) = self.range;
        let is_free = |port: &u16| {
            listening != Some(*port)
                && !self.reserved.iter().any(|&(first, last)| (first..=last).contains(port))
        };
        (first..=last).filter(is_free).count() as u32
    }

    /// The same when the range is the widest.
    pub(crate) fn widest(&self) -> Self {
        Self { range: PORTS_WIDEST, reserved: self.reserved.clone() }
    }
}

/// A list as `8080,9000-9010`.
fn reserved_ports(list: &str) -> Vec<(u16, u16)> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    list.trim().split(',').filter_map(part).collect()
}

/// The kernel chooses a source when a UDP socket is connected, and sends nothing.
fn route(target: SocketAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

/// `net.ipv4.tcp_tw_reuse`: 0 is never, 1 always, 2 for loopback.
fn reuses_time_wait(target: IpAddr) -> bool {
    match number("/proc/sys/net/ipv4/tcp_tw_reuse") {
        Some(1) => true,
        Some(2) => target.is_loopback(),
        _ => false,
    }
}

fn thread_limits() -> Vec<ThreadLimit> {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let used = threads_of_all(&load).unwrap_or(0);
    let kernel = ["kernel.threads-max", "kernel.pid_max"].into_iter().filter_map(|name| {
        let max = number(&format!("/proc/sys/{}", name.replace('.', "/")))?;
        Some(ThreadLimit { name: name.to_owned(), limit: Limit { used, max } })
    });
    kernel.chain(group_limits()).collect()
}

/// The fourth word of `/proc/loadavg` is `RUNNING/ALL`.
fn threads_of_all(load: &str) -> Option<u64> {
    let word = load.split_ascii_whitespace().nth(3)?;
    word.split_once('/')?.1.parse().ok()
}

/// The limits of the process's control group (version 2) and of those above it.
fn group_limits() -> Vec<ThreadLimit> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = groups.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Vec::new();
    };
    let folders = std::path::Path::new(path).ancestors();
    folders
        .filter_map(|folder| {
            let folder = format!("/sys/fs/cgroup{}", folder.display());
            let folder = folder.trim_end_matches('/');
            // `max` is no number: no limit.
            let max = number(&format!("{folder}/pids.max"))?;
            let used = number(&format!("{folder}/pids.current"))?;
            Some(ThreadLimit { name: format!("{folder}/pids.max"), limit: Limit { used, max } })
        })
        .collect()
}

fn number(path: &str) -> Option<u64> {
    numbers(path)?.first().copied()
}

fn numbers(path: &str) -> Option<Vec<u64>> {
    let text = fs::read_to_string(path).ok()?;
    text.split_ascii_whitespace().map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_and_bound_ports_are_not_counted() {
        let reserved = reserved_ports("40000,50000-50009,70000,\n");
        assert_eq!(reserved, [(40_000, 40_000), (50_000, 50_009)]);
        let ports = Ports { range: (39_000, 50_004), reserved };
        assert_eq!(ports.count(None), 11_005 - 1 - 5);
        assert_eq!(ports.count(Some(45_000)), 11_005 - 1 - 5 - 1);
        assert_eq!(ports.count(Some(80)), 11_005 - 1 - 5);
        assert_eq!(ports.widest().count(None), 64_512 - 11);
    }

    #[test]
    fn loopback_is_this_host() {
        let target = "127.0.0.1:80".parse().expect("an address");
        let host = Host::read(target).expect("a host");
        assert_eq!(host.route, Ok([127, 0, 0, 1].into()));
        assert!(host.owns([127, 7, 7, 7].into()) && !host.owns([192, 0, 2, 77].into()));
        let interface = host.interface().expect("an interface");
        assert!(host.addresses_of(interface, true).contains(&[127, 0, 0, 1].into()));
        assert!(!host.addresses_of(interface, false).contains(&[127, 0, 0, 1].into()));
        assert!(!host.cpus.is_empty() && host.descriptors > 0 && host.ports.count(None) > 0);
    }

    #[test]
    fn threads_of_all_processes_are_counted() {
        assert_eq!(threads_of_all("0.1 0.2 0.3 2/345 6789\n"), Some(345));
        assert_eq!(threads_of_all("0.1"), None);
    }
}
