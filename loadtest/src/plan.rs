//! Who does what: threads, processors, addresses and descriptors, checked before the first SYN.

use std::fmt;

use crate::args::Common;
use crate::fault::{Fault, Faults};
use crate::host::{Host, Limit};
use crate::shortage;
use crate::sources::Sources;

/// Descriptors of a thread that are not connections: ring, standard streams, and whatever the
/// parent left open. The wakes of all threads come on top.
const DESCRIPTOR_RESERVE: u64 = 64;

/// Connections per thread: a table of descriptors may hold 20,000 on hosts with tight limits.
const PER_THREAD_COMFORTABLE: u32 = 18_000;

/// The most threads of a run, as the flag `--threads` has it.
const THREADS_MAX: u32 = 4096;

/// Kernel and user memory of one idle connection, both ends, as measured on loopback.
const PAIR_BYTES: u64 = 9 * 1024;

/// The same when the server is on another host: a little more than half.
const END_BYTES: u64 = 5 * 1024;

/// User memory of a TLS session, as measured; the server's end is taken for as large as this one.
const TLS_BYTES: u64 = 8 * 1024;

/// Memory of a thread: its ring, buffers and histograms.
const THREAD_BYTES: u64 = 1024 * 1024;

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

/// What a run takes of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Needs {
    /// Connections.
    pub(crate) connections: u32,
    /// Both ends of each are on this host.
    pub(crate) both_ends: bool,
    /// Threads.
    pub(crate) threads: u32,
    /// Descriptors of the largest thread.
    pub(crate) descriptors: u64,
    /// Open files of all processes.
    pub(crate) files: u64,
    /// Bytes of memory, about.
    pub(crate) memory: u64,
    /// Bytes of messages that may be on their way at once.
    pub(crate) in_flight: u64,
}

/// The shares of all threads, and what the user should know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// One for each thread.
    pub(crate) threads: Vec<ThreadPlan>,
    /// Where the connections come from.
    pub(crate) sources: Sources,
    /// What the run takes.
    pub(crate) needs: Needs,
    /// Things that may spoil the run.
    pub(crate) warnings: Vec<String>,
}

impl Plan {
    /// The plan for what the user asks, on this host: limits that need no privilege are raised,
    /// and every source address is tried. `in_flight` is how many bytes of messages a connection
    /// may have on their way.
    ///
    /// # Errors
    /// Says everything that is missing, and how to mend it.
    pub(crate) fn for_this_host(common: &Common, in_flight: u64) -> Result<(Self, Host), String> {
        let host = Host::read(common.url[0].address)?;
        let plan = Self::make(common, in_flight, &host)?;
        Ok((plan, host))
    }

    /// The plan for `host`.
    ///
    /// # Errors
    /// Everything that is missing.
    pub(crate) fn make(common: &Common, in_flight: u64, host: &Host) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let cpus = choose_cpus(&common.cpus, &host.cpus).unwrap_or_else(|fault| {
            faults.push(fault);
            host.cpus.clone()
        });
        let threads = choose_threads(common, host, &cpus).unwrap_or_else(|fault| {
            faults.push(fault);
            common.threads.unwrap_or(1)
        });
        let needs = Needs::of(common, in_flight, host, threads);
        faults.extend(shortage::errors(&needs, host));
        let sources = Sources::choose(common, host).and_then(|sources| {
            let missing = sources.check(host.interface());
            if missing.is_empty() { Ok(sources) } else { Err(missing) }
        });
        match sources {
            Ok(sources) if faults.is_empty() => Ok(Self {
                threads: share(common.connections, threads, &cpus),
                warnings: shortage::warnings(&needs, common, &sources, host),
                sources,
                needs,
            }),
            sources => {
                faults.extend(sources.err().into_iter().flatten());
                Err(Faults(faults))
            }
        }
    }
}

impl Needs {
    fn of(common: &Common, in_flight: u64, host: &Host, threads: u32) -> Self {
        let connections = u64::from(common.connections);
        let both_ends = common.url.iter().any(|target| host.owns(target.address.ip()));
        let (ends, bytes) = if both_ends { (2, PAIR_BYTES) } else { (1, END_BYTES) };
        let speaks_tls = common.url.iter().any(|target| target.tls.is_some());
        let bytes = if speaks_tls { bytes + ends * TLS_BYTES } else { bytes };
        Self {
            connections: common.connections,
            both_ends,
            threads,
            descriptors: descriptors(common.connections, threads),
            files: connections * ends + 2 * u64::from(threads),
            memory: connections * bytes + u64::from(threads) * THREAD_BYTES,
            in_flight: connections * in_flight,
        }
    }
}

/// Descriptors of the largest of so many threads: each has its share and all wakes.
fn descriptors(connections: u32, threads: u32) -> u64 {
    u64::from(connections.div_ceil(threads)) + u64::from(threads) + DESCRIPTOR_RESERVE
}

fn choose_cpus(wanted: &[usize], allowed: &[usize]) -> Result<Vec<usize>, Fault> {
    if wanted.is_empty() {
        return Ok(allowed.to_vec());
    }
    match wanted.iter().find(|cpu| !allowed.contains(cpu)) {
        None => Ok(wanted.to_vec()),
        Some(cpu) => {
            let what = format!("CPU {cpu} is not one of those this process may use, {allowed:?}");
            let list: Vec<String> = allowed.iter().map(usize::to_string).collect();
            Err(Fault::new(what).mend(format!("--cpus {}", list.join(","))))
        }
    }
}

fn choose_threads(common: &Common, host: &Host, cpus: &[usize]) -> Result<u32, Fault> {
    let connections = common.connections;
    let comfortable = connections.div_ceil(PER_THREAD_COMFORTABLE);
    let at_least = comfortable.max(cpus.len() as u32).min(connections);
    let fits = |threads: &u32| descriptors(connections, *threads) <= host.descriptors;
    let enough = (at_least..=THREADS_MAX.min(connections)).find(fits);
    let wanted = common.threads.or(enough).unwrap_or(at_least);
    if fits(&wanted) {
        return Ok(wanted);
    }
    let needed = descriptors(connections, wanted);
    let what = format!(
        "{connections} connections on {wanted} threads need {needed} descriptors in each, and the \
         hard limit is {}",
        host.descriptors
    );
    let beyond = host.descriptors_max.is_some_and(|max| max < needed);
    let raise = if beyond { format!("sysctl -w fs.nr_open={needed} && ") } else { String::new() };
    let threads = |threads| format!("--threads {threads}");
    let fault = Fault::new(what).mend_if(enough.is_some(), || threads(enough.unwrap_or(wanted)));
    Err(fault.mend(format!("{raise}ulimit -n {needed} (as root, in the shell of the run)")))
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

/// How many of a part of the whole are among `count` clients from number `first` on, when every
/// thread has its share: over all threads they add up to the part.
pub(crate) fn among((part, whole): (u32, u32), first: u32, count: u32) -> u32 {
    let before = |number: u32| {
        let parts = u64::from(number) * u64::from(part);
        parts.checked_div(whole.into()).unwrap_or_default() as u32
    };
    before(first + count) - before(first)
}

impl Plan {
    /// The plan in lines for people, with what `host` has.
    pub(crate) fn describe<'a>(&'a self, host: &'a Host) -> impl fmt::Display + 'a {
        Description { plan: self, host }
    }
}

struct Description<'a> {
    plan: &'a Plan,
    host: &'a Host,
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { threads, sources, needs, .. } = self.plan;
        let host = self.host;
        let largest = threads.first().map_or(0, |thread| thread.count);
        let mut cpus: Vec<usize> = threads.iter().map(|thread| thread.cpu).collect();
        cpus.sort_unstable();
        cpus.dedup();
        let ends = if needs.both_ends { "both ends" } else { "one end" };
        let addresses = sources.count().max(1) as u64;
        writeln!(formatter, "connections  {}, {ends} on this host", needs.connections)?;
        writeln!(formatter, "threads      {}, of {largest} connections at most", threads.len())?;
        writeln!(formatter, "CPUs         {cpus:?}")?;
        match sources.ends() {
            None => writeln!(formatter, "addresses    the one the kernel chooses")?,
            Some((first, last)) => {
                writeln!(formatter, "addresses    {addresses}, from {first} to {last}")?;
            }
        }
        let (first, last) = host.ports.range;
        let tuples = addresses * u64::from(sources.ports);
        writeln!(
            formatter,
            "ports        {} of each address ({first} to {last}): {tuples} for each target",
            sources.ports
        )?;
        let (needed, limit) = (needs.descriptors, host.descriptors);
        writeln!(formatter, "descriptors  {needed} of {limit} in each thread")?;
        let shown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
        writeln!(
            formatter,
            "files        {} of {} that are free",
            needs.files,
            shown(host.files.map(Limit::free))
        )?;
        let mib = |bytes: u64| bytes >> 20;
        let memory = shown(host.memory.map(mib));
        write!(formatter, "memory       about {} MiB of {memory} free", mib(needs.memory))
    }
}

/// A host and flags for tests.
#[cfg(test)]
pub(crate) mod synthetic {
    use super::*;
    use crate::args::Arguments;
    use crate::host::{OwnAddress, Ports, ThreadLimit};
    use clap::Parser;
    use std::net::IpAddr;

    /// A host that lacks little: interfaces `lo`, `eth0` (three addresses) and `wg0` (IPv6 only).
    pub(crate) fn host() -> Host {
        let own = |interface: &str, ip: &str| OwnAddress {
            interface: interface.to_owned(),
            ip: ip.parse().expect("an address"),
        };
        Host {
            cpus: vec![2, 5],
            descriptors: 20_000,
            descriptors_max: Some(1 << 20),
            files: Some(Limit { used: 1_000, max: 2_401_000 }),
            ports: Ports { range: (32_768, 60_999), reserved: Vec::new() },
            tracked: None,
            tcp_pages: Some(Limit { used: 100, max: 1 << 30 }),
            page: 4096,
            memory: Some(64 << 30),
            backlog: Some(4096),
            threads: vec![ThreadLimit {
                name: "kernel.threads-max".to_owned(),
                limit: Limit { used: 500, max: 60_000 },
            }],
            time_wait: 0,
            addresses: vec![
                own("lo", "127.0.0.1"),
                own("lo", "::1"),
                own("eth0", "10.0.0.5"),
                own("eth0", "10.0.0.6"),
                own("eth0", "10.0.0.7"),
                own("eth0", "fd00::5"),
                own("eth0", "fe80::5"),
                own("wg0", "fd01::5"),
            ],
            route: Ok(IpAddr::from([127, 0, 0, 1])),
        }
    }

    /// The flags of `loadtest idle` that all scenarios have.
    pub(crate) fn common(flags: &str) -> Common {
        let line = format!("loadtest idle {flags}");
        let arguments = Arguments::try_parse_from(line.split_ascii_whitespace());
        arguments.unwrap_or_else(|error| panic!("{error}")).scenario.common().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::synthetic::{common, host};
    use super::*;

    fn make(flags: &str, host: &Host) -> Result<Plan, String> {
        let common = common(&format!("--url ws://127.0.0.1:1 {flags}"));
        Plan::make(&common, 0, host).map_err(String::from)
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
            let plan = make(flags, &host()).expect(flags);
            assert_eq!(plan.threads.len(), threads, "{flags}");
            let mut next = 0;
            for thread in &plan.threads {
                assert_eq!(thread.first, next);
                assert!(thread.count <= PER_THREAD_COMFORTABLE);
                assert_eq!(thread.cpu, [2, 5][thread.index % 2]);
                next += thread.count;
            }
            assert!(flags.contains(&format!("--connections {next}")));
            assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
        }
    }

    #[test]
    fn tight_descriptor_limits_take_more_threads() {
        let host = Host { descriptors: 1024, ..host() };
        let plan = make("--connections 100000", &host).expect("a plan");
        assert!(plan.needs.descriptors <= 1024);
        assert_eq!(plan.threads.iter().map(|thread| thread.count).sum::<u32>(), 100_000);
        let error = make("--connections 1000000", &host).expect_err("no number of threads");
        assert!(error.contains("ulimit -n 17978"), "{error}");
        assert!(!error.contains("--threads"), "{error}");
    }

    #[test]
    fn too_few_threads_are_told_how_many_there_must_be() {
        let error = make("--connections 100000 --threads 4", &host()).expect_err("25,000 each");
        assert!(error.contains("mend: --threads 6"), "{error}");
        assert!(error.contains("  or: ulimit -n 25068"), "{error}");
        let host = Host { descriptors_max: Some(20_000), ..host() };
        let error = make("--connections 100000 --threads 4", &host).expect_err("25,000 each");
        assert!(error.contains("sysctl -w fs.nr_open=25068 && ulimit -n 25068"), "{error}");
    }

    #[test]
    fn a_host_without_a_route_is_told_so() {
        let host = Host { route: Err("Network is unreachable".to_owned()), ..host() };
        let error = make("--connections 1", &host).expect_err("no route");
        assert!(error.contains("ip link set lo up"), "{error}");
    }

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let host = Host { files: Some(Limit { used: 900, max: 1_000 }), ..host() };
        let flags = "--connections 60000 --threads 2 --cpus 3 --source 127.0.0.1";
        let error = make(flags, &host).expect_err("much is missing");
        for part in ["--cpus 2,5", "--threads 4", "fs.file-max=", "ip_local_port_range='1024"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert_eq!(error.matches("\n  - ").count(), 4, "{error}");
    }

    #[test]
    fn a_description_names_what_is_taken() {
        let plan = make("--connections 100000", &host()).expect("a plan");
        let text = plan.describe(&host()).to_string();
        for part in
            ["100000, both ends", "6, of 16667", "13, from 127.0.0.1 to 127.0.0.13", "28232"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
