//! Who does what: threads, processors, addresses and descriptors, checked before the first SYN.

use std::fs;

use ringwire::ring::{allowed_cpus, raise_descriptor_limit};

use crate::addresses::Sources;
use crate::args::Common;

/// Descriptors of a thread that are not connections: ring, wakes, standard streams, and whatever
/// the parent left open.
const DESCRIPTOR_RESERVE: u64 = 64;

/// Connections per thread: a table of descriptors may hold 20,000 on hosts with tight limits.
const PER_THREAD_COMFORTABLE: u32 = 18_000;

/// Kernel and user memory of one idle connection, both ends, as measured on loopback.
const PAIR_BYTES: u64 = 9 * 1024;

/// The share of one thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ThreadPlan {
    /// Its number.
    pub(crate) index: usize,
    /// The processor it is pinned to.
    pub(crate) cpu: usize,
    /// The number of its first connection among all.
    pub(crate) first: u32,
    /// How many connections it has.
    pub(crate) count: u32,
}

/// The shares of all threads, and what the user should know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// One for each thread.
    pub(crate) threads: Vec<ThreadPlan>,
    /// Where the connections come from.
    pub(crate) sources: Sources,
    /// Things that may spoil the run.
    pub(crate) warnings: Vec<String>,
}

/// What this host allows.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Processors, in order.
    pub(crate) cpus: Vec<usize>,
    /// Descriptors that each thread's table may hold.
    pub(crate) descriptors: u64,
    /// Ports of a source address.
    pub(crate) ports: u32,
    /// Files that may still be opened, by all processes; `None` when unknown.
    pub(crate) files: Option<u64>,
    /// Bytes of memory that are free; `None` when unknown.
    pub(crate) memory: Option<u64>,
}

impl Host {
    /// Asks this host, and raises the limits that need no privilege.
    pub(crate) fn read() -> Result<Self, String> {
        Ok(Self {
            cpus: allowed_cpus().map_err(|error| format!("sched_getaffinity: {error}"))?,
            descriptors: raise_descriptor_limit(),
            ports: ports(),
            files: numbers("/proc/sys/fs/file-nr")
                .and_then(|numbers| numbers.get(2)?.checked_sub(*numbers.first()?)),
            memory: crate::probe::memory_available(),
        })
    }
}

impl Plan {
    /// The plan for what the user asks.
    ///
    /// # Errors
    /// Says what is missing, and how to get it.
    pub(crate) fn make(common: &Common, host: &Host) -> Result<Self, String> {
        let cpus = choose_cpus(&common.cpus, &host.cpus)?;
        let connections = common.connections;
        let room = host.descriptors.saturating_sub(DESCRIPTOR_RESERVE).min(u32::MAX.into()) as u32;
        if room == 0 {
            let limit = host.descriptors;
            return Err(format!("a limit of {limit} descriptors is too low; raise it: ulimit -n"));
        }
        let count = common.threads.unwrap_or_else(|| {
            let needed = connections.div_ceil(room.min(PER_THREAD_COMFORTABLE));
            needed.max(cpus.len() as u32).min(connections)
        });
        if connections.div_ceil(count) > room {
            return Err(format!(
                "{connections} connections on {count} threads are more than the {room} that the \
                 descriptor limit allows to each; give --threads {}, or raise it: ulimit -n",
                connections.div_ceil(room)
            ));
        }
        let target = common.url.address;
        let sources = Sources::choose(&common.source, target, connections, host.ports)
            .map_err(|error| error.to_string())?;
        let on_this_host = target.ip().is_loopback();
        check_files(host.files, connections, on_this_host)?;
        let warnings = warnings(host, connections, on_this_host);
        Ok(Self { threads: share(connections, count, &cpus), sources, warnings })
    }
}

fn choose_cpus(wanted: &[usize], allowed: &[usize]) -> Result<Vec<usize>, String> {
    if wanted.is_empty() {
        return Ok(allowed.to_vec());
    }
    match wanted.iter().find(|cpu| !allowed.contains(cpu)) {
        Some(cpu) => Err(format!("--cpus {cpu} is not one of the allowed CPUs {allowed:?}")),
        None => Ok(wanted.to_vec()),
    }
}

fn share(connections: u32, count: u32, cpus: &[usize]) -> Vec<ThreadPlan> {
    let (each, more) = (connections / count, connections % count);
    (0..count)
        .map(|index| ThreadPlan {
            index: index as usize,
            cpu: cpus[index as usize % cpus.len()],
            first: index * each + index.min(more),
            count: each + u32::from(index < more),
        })
        .collect()
}

fn check_files(files: Option<u64>, connections: u32, on_this_host: bool) -> Result<(), String> {
    let needed = u64::from(connections) * if on_this_host { 2 } else { 1 };
    match files {
        Some(files) if files < needed => Err(format!(
            "{connections} connections need {needed} open files on this host, and {files} are \
             left; raise the limit: sysctl -w fs.file-max={}",
            needed * 2
        )),
        _ => Ok(()),
    }
}

fn warnings(host: &Host, connections: u32, on_this_host: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let needed = u64::from(connections) * PAIR_BYTES;
    if let Some(memory) = host.memory.filter(|&memory| on_this_host && memory < needed) {
        warnings.push(format!(
            "{connections} connections with both ends on this host take about {} MiB, and {} MiB \
             are free",
            needed >> 20,
            memory >> 20
        ));
    }
    warnings
}

/// Ports of `net.ipv4.ip_local_port_range`, or the kernel's default.
fn ports() -> u32 {
    let range = numbers("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    match range[..] {
        [first, last] if first <= last && last <= 65_535 => (last - first + 1) as u32,
        _ => 28_232,
    }
}

fn numbers(path: &str) -> Option<Vec<u64>> {
    let text = fs::read_to_string(path).ok()?;
    text.split_ascii_whitespace().map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;
    use clap::Parser;

    const HOST: Host = Host {
        cpus: Vec::new(),
        descriptors: 20_000,
        ports: 28_232,
        files: Some(2_400_000),
        memory: Some(16 << 30),
    };

    fn make(flags: &str) -> Result<Plan, String> {
        let line = format!("loadtest idle --url ws://127.0.0.1:1 {flags}");
        let arguments = Arguments::try_parse_from(line.split(' ')).expect("a valid line");
        Plan::make(arguments.scenario.common(), &Host { cpus: vec![2, 5], ..HOST })
    }

    #[test]
    fn every_connection_has_one_thread() {
        for (flags, threads) in [
            ("--connections 1", 1),
            ("--connections 100", 2),
            ("--connections 1000000", 56),
            ("--connections 7 --threads 3", 3),
            ("--connections 2 --threads 3", 3),
        ] {
            let plan = make(flags).expect(flags);
            assert_eq!(plan.threads.len(), threads, "{flags}");
            let mut next = 0;
            for thread in &plan.threads {
                assert_eq!(thread.first, next);
                assert!(thread.count <= PER_THREAD_COMFORTABLE);
                assert_eq!(thread.cpu, [2, 5][thread.index % 2]);
                next += thread.count;
            }
            assert!(flags.contains(&format!("--connections {next}")));
        }
    }

    #[test]
    fn errors_say_what_to_change() {
        let too_few = make("--connections 100000 --threads 4").unwrap_err();
        assert!(too_few.contains("--threads 6"), "{too_few}");
        assert!(make("--connections 1 --cpus 3").unwrap_err().contains("[2, 5]"));
        let files = make("--connections 1300000").unwrap_err();
        assert!(files.contains("fs.file-max=5200000"), "{files}");
        assert!(make("--connections 100000 --source 127.0.0.1").unwrap_err().contains("--source"));
    }

    #[test]
    fn scarce_memory_is_a_warning() {
        assert!(make("--connections 1000000").expect("a plan").warnings.is_empty());
        let host = Host { cpus: vec![0], memory: Some(1 << 30), ..HOST };
        let line = "loadtest idle --connections 1000000 --url ws://127.0.0.1:1";
        let arguments = Arguments::try_parse_from(line.split(' ')).expect("a valid line");
        let plan = Plan::make(arguments.scenario.common(), &host).expect("a plan");
        assert_eq!(plan.warnings.len(), 1);
    }
}
