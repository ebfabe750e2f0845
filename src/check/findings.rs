//! The judgement: facts of a host against what the configuration needs. Pure.

use crate::check::host::Host;
use crate::config::Config;
use crate::limits;
use crate::ring::probe::{KERNEL_NEEDED, ProbeError};

/// How much a finding matters; the worst comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// The server runs, with less capacity or less safety than planned.
    Warn,
    /// The server cannot run.
    Fail,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at, by the name an administrator knows.
    pub name: &'static str,
    /// What was found.
    pub value: String,
    /// What that means here.
    pub why: String,
    /// The command that mends it; `None` exactly when all is well.
    pub mend: Option<String>,
}

impl Finding {
    pub(super) fn ok(name: &'static str, value: impl ToString, why: impl Into<String>) -> Self {
        Self { level: Level::Ok, name, value: value.to_string(), why: why.into(), mend: None }
    }

    pub(super) fn warn(
        name: &'static str,
        value: impl ToString,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warn, mend: Some(mend.into()), ..Self::ok(name, value, why) }
    }

    pub(super) fn fail(
        name: &'static str,
        value: impl ToString,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { level: Level::Fail, ..Self::warn(name, value, why, mend) }
    }
}

/// Judges every fact that the host tells.
#[must_use]
pub fn findings(host: &Host, config: &Config) -> Vec<Finding> {
    let plan = Plan::new(host, config);
    let all = [
        Some(plan.finding(config)),
        Some(kernel(host)),
        Some(io_uring(host)),
        host.cpus_online.map(|online| cpus(online, host.cpus_allowed)),
        Some(open_files(host, &plan)),
        host.nr_open.map(|most| nr_open(most, &plan)),
        host.file_max.map(|most| file_max(most, &plan)),
        host.somaxconn.map(|length| queue("net.core.somaxconn", "accept queue", length)),
        host.syn_backlog.map(|length| queue("net.ipv4.tcp_max_syn_backlog", "SYN queue", length)),
        client_ports(host),
        listening_ports(host, config),
        tcp_memory(host, &plan),
        host.conntrack_max.map(|most| conntrack(most, &plan)),
        Some(locked_memory(host)),
        memory(host, &plan),
        host.overcommit.map(overcommit),
    ];
    all.into_iter().flatten().collect()
}

/// Connections to judge by when the configuration names no number.
const CONNECTIONS_USUAL: u64 = 100_000;

/// Kernel memory of an idle accepted connection: socket, inode, file, dentry, and the armed poll.
const KERNEL_BYTES_PER_CONNECTION: u64 = 4096;

/// The server's own memory for an idle connection, rounded up.
const SERVER_BYTES_PER_CONNECTION: u64 = 512;

/// What queues of the listeners should hold, so that a storm of reconnects is not dropped.
const QUEUE_WANTED: u64 = 65_535;

/// Source ports below which a host is a poor client: each address of a server can be reached by as
/// many connections from one source address.
const CLIENT_PORTS_WANTED: usize = 20_000;

/// The kernel's own default since Linux 5.16.
const LOCKED_MEMORY_WANTED: u64 = 8 * 1024 * 1024;

/// What the server is asked to hold.
struct Plan {
    shards: u64,
    connections: u64,
    /// Open files that one shard's table needs.
    files_per_shard: u64,
}

impl Plan {
    fn new(host: &Host, config: &Config) -> Self {
        let shards = config.shards.map_or(host.cpus_allowed, std::num::NonZeroUsize::get);
        let shards = (shards as u64).max(1);
        let connections = config.max_connections.map_or(CONNECTIONS_USUAL, |count| count as u64);
        let files_per_shard =
            connections.div_ceil(shards).saturating_add(limits::DESCRIPTOR_RESERVE);
        Self { shards, connections, files_per_shard }
    }

    fn finding(&self, config: &Config) -> Finding {
        let why = match config.max_connections {
            Some(_) => "what the following is judged by",
            None => "what the following is judged by; name your own with --max-connections",
        };
        let value = format!("{} connections, {} shards", self.connections, self.shards);
        Finding::ok("plan", value, why)
    }
}

fn kernel(host: &Host) -> Finding {
    const NAME: &str = "kernel";
    let value = &host.kernel;
    match version(value) {
        Some(release) if release >= [6, 6, 5] => Finding::ok(NAME, value, "6.6.5 or later"),
        Some(release) if release >= [6, 1, 0] => {
            let why = "runs the server; 6.6.5 and later have mended security faults of io_uring";
            Finding::warn(NAME, value, why, KERNEL_UPGRADE)
        }
        Some(_) if host.io_uring.is_err() => {
            let why = format!("the server needs {KERNEL_NEEDED} for DEFER_TASKRUN");
            Finding::fail(NAME, value, why, KERNEL_UPGRADE)
        }
        _ => {
            let why = "not known to be 6.1 or later, though its io_uring has all that is needed";
            Finding::warn(NAME, value, why, KERNEL_UPGRADE)
        }
    }
}

const KERNEL_UPGRADE: &str = "install Linux 6.6.5 or later \
    (Debian 12: apt-get install -t bookworm-backports linux-image-amd64)";

/// Major, minor and patch number of a release such as `6.1.0-13-amd64`.
fn version(release: &str) -> Option<[u32; 3]> {
    let numeric = release.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut parts = numeric.split('.').map(|part| part.parse().unwrap_or(0));
    Some([parts.next().filter(|major| *major > 0)?, parts.next()?, parts.next().unwrap_or(0)])
}

fn io_uring(host: &Host) -> Finding {
    const NAME: &str = "io_uring";
    let error = match &host.io_uring {
        Ok(features) => return Finding::ok(NAME, "usable", features.on.join(" ")),
        Err(error) => error,
    };
    let mend = match error {
        ProbeError::SwitchedOff { .. } => "sysctl -w kernel.io_uring_disabled=0",
        ProbeError::Blocked => "docker run --security-opt seccomp=PROFILE.json …",
        ProbeError::Memory { .. } => {
            "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity, Docker: --ulimit memlock=-1)"
        }
        ProbeError::Files { limit: Some(_) } => {
            "ulimit -n 1048576 (systemd: LimitNOFILE=1048576, Docker: --ulimit nofile=1048576)"
        }
        ProbeError::Files { limit: None } => "sysctl -w fs.file-max=9223372036854775807",
        ProbeError::Absent { .. }
        | ProbeError::Lacking { .. }
        | ProbeError::Misbehaves { .. }
        | ProbeError::Other { .. } => KERNEL_UPGRADE,
    };
    Finding::fail(NAME, "refused", error.to_string(), mend)
}

fn cpus(online: usize, allowed: usize) -> Finding {
    const NAME: &str = "CPUs";
    let value = format!("{allowed} of {online}");
    if allowed >= online {
        return Finding::ok(NAME, value, "the affinity mask has every CPU");
    }
    let last = online - 1;
    let mend = format!("taskset -c 0-{last} ringwire serve (Docker: --cpuset-cpus=0-{last})");
    Finding::warn(NAME, value, "the affinity mask leaves CPUs unused", mend)
}

/// The server raises its soft limit to the hard one, so the hard one is judged.
fn open_files(host: &Host, plan: &Plan) -> Finding {
    const NAME: &str = "RLIMIT_NOFILE";
    let (soft, hard) = (host.open_files.soft, host.open_files.hard);
    let value = format!("{} soft, {} hard", or_unlimited(soft), or_unlimited(hard));
    let usable = hard.unwrap_or(u64::MAX).saturating_sub(limits::DESCRIPTOR_RESERVE);
    let ceiling = usable.saturating_mul(plan.shards);
    if ceiling >= plan.connections {
        let held = if hard.is_some() { ceiling.to_string() } else { "any number of".to_owned() };
        return Finding::ok(NAME, value, format!("each shard has a table: {held} connections"));
    }
    let why = format!("each shard has a table: only {ceiling} connections");
    let needed = plan.files_per_shard;
    let mut mend = format!(
        "ulimit -n {needed} (systemd: LimitNOFILE={needed}, Docker: --ulimit nofile={needed})"
    );
    let shards = plan.connections.checked_div(usable).map(|_| plan.connections.div_ceil(usable));
    if let Some(shards) = shards.filter(|count| *count <= limits::SHARDS_MAX as u64) {
        mend.push_str(&format!(", or ringwire --shards {shards}"));
    }
    Finding::warn(NAME, value, why, mend)
}

fn nr_open(most: u64, plan: &Plan) -> Finding {
    const NAME: &str = "fs.nr_open";
    let needed = plan.files_per_shard;
    if most >= needed {
        return Finding::ok(
            NAME,
            most,
            format!("RLIMIT_NOFILE can be raised to the {needed} needed"),
        );
    }
    let why = format!("RLIMIT_NOFILE cannot be raised to the {needed} that a shard needs");
    Finding::warn(NAME, most, why, format!("sysctl -w fs.nr_open={needed}"))
}

fn file_max(most: u64, plan: &Plan) -> Finding {
    const NAME: &str = "fs.file-max";
    let needed = plan.files_per_shard.saturating_mul(plan.shards);
    // Kernels since 5.x set the largest i64, which reads as noise.
    let value = or_unlimited(Some(most).filter(|most| *most < i64::MAX as u64));
    if most >= needed {
        return Finding::ok(NAME, value, "open files of the whole host");
    }
    let why = format!("open files of the whole host; the plan needs {needed}");
    Finding::warn(NAME, value, why, format!("sysctl -w fs.file-max={}", needed.saturating_mul(2)))
}

fn queue(name: &'static str, what: &str, length: u64) -> Finding {
    if length >= QUEUE_WANTED {
        return Finding::ok(name, length, format!("the {what} holds a storm of reconnects"));
    }
    let why = format!("the {what} drops connections in a storm of reconnects");
    Finding::warn(name, length, why, format!("sysctl -w {name}={QUEUE_WANTED}"))
}

fn client_ports(host: &Host) -> Option<Finding> {
    const NAME: &str = "net.ipv4.ip_local_port_range";
    let range = host.local_ports.as_ref()?;
    let value = format!("{}-{}", range.start(), range.end());
    let count = range.len();
    if count >= CLIENT_PORTS_WANTED {
        let why = format!("{count} connections from each source address of a client here");
        return Some(Finding::ok(NAME, value, why));
    }
    let why = format!("only {count} connections from each source address of a client here");
    Some(Finding::warn(NAME, value, why, format!("sysctl -w {NAME}=\"32768 60999\"")))
}

fn listening_ports(host: &Host, config: &Config) -> Option<Finding> {
    const NAME: &str = "listening ports";
    let range = host.local_ports.as_ref()?;
    let mut ports: Vec<u16> =
        config.addresses().chain(config.admin).map(|address| address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    let clash: Vec<u16> = ports
        .iter()
        .copied()
        .filter(|port| range.contains(port))
        .filter(|port| !host.reserved_ports.iter().any(|reserved| reserved.contains(port)))
        .collect();
    if clash.is_empty() {
        let why = "no outgoing connection can take them";
        return Some(Finding::ok(NAME, list(ports.iter()), why));
    }
    let why = "inside ip_local_port_range: an outgoing connection may take them before a start";
    // The sysctl replaces the whole list, so what is reserved already has to be said again.
    let kept = host.reserved_ports.iter().map(|ports| match (ports.start(), ports.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    });
    let reserved = list(kept.chain(clash.iter().map(u16::to_string)));
    let mend = format!("sysctl -w net.ipv4.ip_local_reserved_ports={reserved}");
    Some(Finding::warn(NAME, list(clash.iter()), why, mend))
}

fn tcp_memory(host: &Host, plan: &Plan) -> Option<Finding> {
    const NAME: &str = "net.ipv4.tcp_mem";
    let [_, pressure, most] = host.tcp_memory?;
    let value = format!("{} pressure, {} most", size(pressure), size(most));
    let needed = plan.connections.saturating_mul(KERNEL_BYTES_PER_CONNECTION);
    if pressure >= needed {
        let why = format!("covers the plan at 4 KiB each ({})", size(needed));
        return Some(Finding::ok(NAME, value, why));
    }
    let why = format!("buffers shrink below the plan's 4 KiB each ({})", size(needed));
    let pages = needed.div_ceil(host.page_size);
    let mend =
        format!("sysctl -w {NAME}=\"{} {pages} {}\"", pages / 4 * 3, pages.saturating_mul(2));
    Some(Finding::warn(NAME, value, why, mend))
}

fn conntrack(most: u64, plan: &Plan) -> Finding {
    const NAME: &str = "net.netfilter.nf_conntrack_max";
    if most > plan.connections {
        return Finding::ok(NAME, most, "the firewall can track the plan");
    }
    let why = "the firewall drops what it cannot track";
    let mend = format!("sysctl -w {NAME}={}", plan.connections.saturating_mul(2));
    Finding::warn(NAME, most, why, mend)
}

fn locked_memory(host: &Host) -> Finding {
    const NAME: &str = "RLIMIT_MEMLOCK";
    let limit = host.locked_memory.soft;
    let value = limit.map_or_else(|| "unlimited".to_owned(), size);
    if limit.is_none_or(|bytes| bytes >= LOCKED_MEMORY_WANTED) {
        return Finding::ok(NAME, value, "enough for the rings");
    }
    let mend = "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity, Docker: --ulimit memlock=-1)";
    Finding::warn(NAME, value, "the rings may not fit beside other locked memory", mend)
}

fn memory(host: &Host, plan: &Plan) -> Option<Finding> {
    const EACH: u64 = KERNEL_BYTES_PER_CONNECTION + SERVER_BYTES_PER_CONNECTION;
    let total = host.memory.unwrap_or(u64::MAX);
    let (name, most) = match host.cgroup_memory.filter(|limit| *limit < total) {
        Some(limit) => ("cgroup memory", limit),
        None => ("memory", host.memory?),
    };
    let needed = plan.connections.saturating_mul(EACH);
    if most >= needed {
        let why = format!("the plan takes about {} when all are idle", size(needed));
        return Some(Finding::ok(name, size(most), why));
    }
    let why = format!("the plan takes about {} even when all are idle", size(needed));
    let fewer = format!("ringwire --max-connections {}", (most / EACH).max(1));
    let mend = if name == "memory" {
        fewer
    } else {
        let wanted = needed.saturating_mul(2).div_ceil(1 << 20);
        format!(
            "systemctl set-property UNIT MemoryMax={wanted}M \
                 (Docker: --memory={wanted}m), or {fewer}"
        )
    };
    Some(Finding::warn(name, size(most), why, mend))
}

fn overcommit(mode: u64) -> Finding {
    const NAME: &str = "vm.overcommit_memory";
    if mode != 2 {
        return Finding::ok(NAME, mode, "reserved address space costs nothing");
    }
    let why = "reserved address space counts as used memory: allocations may fail early";
    Finding::warn(NAME, mode, why, format!("sysctl -w {NAME}=0"))
}

fn or_unlimited(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

/// Bytes in the largest unit that leaves two digits, rounded down.
fn size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20)];
    let (unit, scale) =
        units.into_iter().find(|(_, scale)| bytes / scale >= 10).unwrap_or(("KiB", 1 << 10));
    format!("{} {unit}", bytes / scale)
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
