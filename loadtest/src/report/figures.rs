//! The parts of a report, each made from what came of a run.

use std::time::Duration;

use serde::Serialize;

use crate::args::{Arguments, ScenarioArguments};
use crate::payload::MASKING_KEY;
use crate::probe::{KernelSample, ProcessSample};
use crate::run::{Outcome, Sample};
use crate::stats::{Busy, Latency};

/// Share of a processor from which a thread is the bottleneck itself.
pub(super) const BOUND_SHARE: f64 = 0.9;

/// What was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Config {
    pub(super) scenario: &'static str,
    pub(super) url: String,
    pub(super) connections: u32,
    pub(super) threads: usize,
    pub(super) cpus: Vec<usize>,
    /// 0 when the kernel chose.
    pub(super) source_addresses: usize,
    pub(super) duration_seconds: f64,
    pub(super) warmup_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) load: Option<Load>,
}

/// The load of scenarios that send messages.
#[derive(Debug, Serialize)]
pub(super) struct Load {
    pub(super) model: &'static str,
    pub(super) payload_bytes: usize,
    pub(super) kind: &'static str,
    /// All frames of a run have the same masking key.
    pub(super) masking_key: [u8; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) depth: Option<u32>,
}

/// The connections of a run.
#[derive(Debug, Serialize)]
pub(super) struct Connections {
    pub(super) requested: u64,
    pub(super) opened: u64,
    /// Open connections that ended before they were asked to.
    pub(super) lost: u64,
    pub(super) closed_cleanly: u64,
    pub(super) pings_answered: u64,
    /// From the first connection's start to the last one's 101.
    pub(super) connect_seconds: f64,
    pub(super) connects_per_second: f64,
    /// From a connection's start to its 101.
    pub(super) handshake_ns: Percentiles,
}

/// The messages of a run, while it was measured.
#[derive(Debug, Serialize)]
pub(super) struct Messages {
    pub(super) measured_seconds: f64,
    pub(super) received: u64,
    pub(super) received_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rounds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rounds_per_second: Option<f64>,
    /// Lone messages left out because the one before was on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<u64>,
    pub(super) missing: u64,
    pub(super) duplicate: u64,
    pub(super) out_of_order: u64,
    pub(super) corrupt: u64,
    /// The round trip of an echo, or a delivery since its round began.
    pub(super) latency_ns: Percentiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_receiver_ns: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) median_receiver_ns: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_receiver_ns: Option<Percentiles>,
}

/// A histogram in short, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) min: u64,
    pub(super) mean: f64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    #[serde(rename = "p99.9")]
    pub(super) p99_9: u64,
    pub(super) max: u64,
}

/// How often something failed.
#[derive(Debug, Serialize)]
pub(super) struct ErrorCount {
    pub(super) stage: &'static str,
    pub(super) kind: String,
    pub(super) count: u64,
}

/// What the generator itself took.
#[derive(Debug, Serialize)]
pub(super) struct Generator {
    /// Of all threads, from their start to their end.
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    /// What connections added, when all were open.
    pub(super) resident_bytes_per_connection: f64,
    pub(super) ring_pressure: u64,
    pub(super) threads: Vec<ThreadShare>,
    /// Share of each processor that all threads on it took.
    pub(super) cpus: Vec<CpuShare>,
}

/// The share of its processor that a thread took while the run was measured.
#[derive(Debug, Serialize)]
pub(super) struct ThreadShare {
    pub(super) cpu: usize,
    pub(super) busy: f64,
}

/// The share of a processor.
#[derive(Debug, Serialize)]
pub(super) struct CpuShare {
    pub(super) cpu: usize,
    pub(super) busy: f64,
}

/// The server's process.
#[derive(Debug, Serialize)]
pub(super) struct Server {
    /// While the run was measured.
    pub(super) cpu_user_seconds: f64,
    pub(super) cpu_system_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_ns_per_message: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) system_ns_per_message: Option<f64>,
    /// While connections were opened.
    pub(super) connect_cpu_user_seconds: f64,
    pub(super) connect_cpu_system_seconds: f64,
    pub(super) resident_before_bytes: u64,
    pub(super) resident_connected_bytes: u64,
    pub(super) resident_measured_bytes: u64,
    pub(super) resident_after_bytes: u64,
    pub(super) resident_bytes_per_connection: f64,
}

/// The kernel's memory.
#[derive(Debug, Serialize)]
pub(super) struct Kernel {
    pub(super) before: KernelSample,
    pub(super) connected: KernelSample,
    pub(super) measured: KernelSample,
    pub(super) after: KernelSample,
    /// What connections added to the kernel's objects: both ends, if both are on this host.
    pub(super) slab_bytes_per_connection: f64,
}

impl Config {
    pub(super) fn new(arguments: &Arguments, outcome: &Outcome) -> Self {
        let common = arguments.scenario.common();
        let mut cpus: Vec<usize> = outcome.plan.threads.iter().map(|thread| thread.cpu).collect();
        cpus.sort_unstable();
        cpus.dedup();
        let depth = match arguments.scenario {
            ScenarioArguments::Echo { depth, .. } => Some(depth),
            _ => None,
        };
        let model = match arguments.scenario {
            ScenarioArguments::Broadcast { lone: true, .. } => "paced",
            _ => "closed",
        };
        let load = arguments.scenario.message().map(|message| Load {
            model,
            payload_bytes: message.size,
            kind: if message.text { "text" } else { "binary" },
            masking_key: MASKING_KEY,
            depth,
        });
        Self {
            scenario: arguments.scenario.name(),
            url: common.url.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            connections: common.connections,
            threads: outcome.plan.threads.len(),
            cpus,
            source_addresses: outcome.plan.sources.count(),
            duration_seconds: common.duration.as_secs_f64(),
            warmup_seconds: common.warmup.as_secs_f64(),
            load,
        }
    }
}

impl Connections {
    pub(super) fn new(arguments: &Arguments, outcome: &Outcome) -> Self {
        let stats = &outcome.stats;
        let nanoseconds = match (stats.first_start, stats.last_open) {
            (Some(first), Some(last)) => last.saturating_sub(first),
            _ => 0,
        };
        let connect_seconds = nanoseconds as f64 * 1e-9;
        Self {
            requested: arguments.scenario.common().connections.into(),
            opened: stats.opened,
            lost: stats.lost,
            closed_cleanly: stats.closed_cleanly,
            pings_answered: stats.pings_answered,
            connect_seconds,
            connects_per_second: per(stats.opened as f64, connect_seconds),
            handshake_ns: Percentiles::of(&stats.handshake),
        }
    }
}

impl Messages {
    pub(super) fn new(arguments: &Arguments, outcome: &Outcome) -> Self {
        let stats = &outcome.stats;
        let seconds = outcome.measured.as_secs_f64();
        let (in_rounds, lone) = match arguments.scenario {
            ScenarioArguments::Broadcast { lone, .. } => (true, lone),
            _ => (false, false),
        };
        let spread = |latency| lone.then(|| Percentiles::of(latency));
        Self {
            measured_seconds: seconds,
            received: stats.messages,
            received_per_second: per(stats.messages as f64, seconds),
            rounds: in_rounds.then_some(stats.rounds),
            rounds_per_second: in_rounds.then(|| per(stats.rounds as f64, seconds)),
            skipped: lone.then_some(stats.skipped),
            missing: stats.wrong.missing,
            duplicate: stats.wrong.duplicate,
            out_of_order: stats.wrong.out_of_order,
            corrupt: stats.wrong.corrupt,
            latency_ns: Percentiles::of(&stats.latency),
            first_receiver_ns: spread(&stats.spread.first),
            median_receiver_ns: spread(&stats.spread.median),
            last_receiver_ns: spread(&stats.spread.last),
        }
    }
}

impl Percentiles {
    pub(super) fn of(latency: &Latency) -> Self {
        let histogram = latency.histogram();
        Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p99_9: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

impl Generator {
    pub(super) fn new(outcome: &Outcome) -> Self {
        let stats = &outcome.stats;
        let samples = &outcome.samples;
        let resident = samples.connected.own.resident;
        let grown = resident.saturating_sub(samples.before.own.resident);
        let share = |busy: &Busy| per(busy.ran.as_secs_f64(), busy.wall.as_secs_f64());
        let mut cpus: Vec<CpuShare> = Vec::new();
        for thread in &stats.busy {
            match cpus.iter_mut().find(|cpu| cpu.cpu == thread.cpu) {
                Some(cpu) => cpu.busy += share(thread),
                None => cpus.push(CpuShare { cpu: thread.cpu, busy: share(thread) }),
            }
        }
        cpus.sort_unstable_by_key(|cpu| cpu.cpu);
        let threads = stats.busy.iter();
        Self {
            cpu_seconds: stats.ran.as_secs_f64(),
            resident_bytes: resident,
            resident_bytes_per_connection: per(grown as f64, stats.opened as f64),
            ring_pressure: stats.ring_pressure,
            threads: threads.map(|busy| ThreadShare { cpu: busy.cpu, busy: share(busy) }).collect(),
            cpus,
        }
    }

    pub(super) fn is_bound(&self) -> bool {
        self.cpus.iter().any(|cpu| cpu.busy > BOUND_SHARE)
    }
}

impl Server {
    pub(super) fn new(outcome: &Outcome, has_messages: bool) -> Option<Self> {
        let samples = &outcome.samples;
        let stats = &outcome.stats;
        let server = |sample: &Sample| sample.server;
        let before = server(&samples.before)?;
        let connected = server(&samples.connected).unwrap_or_default();
        let (begin, end) = samples
            .measured
            .and_then(|(begin, end)| Some((begin.server?, end.server?)))
            .unwrap_or_default();
        let user = end.user.saturating_sub(begin.user);
        let system = end.system.saturating_sub(begin.system);
        let messages = stats.messages as f64;
        let per_message = |time: Duration| {
            (has_messages && stats.messages > 0).then(|| time.as_nanos() as f64 / messages)
        };
        let resident = |sample: Option<ProcessSample>| sample.map_or(0, |sample| sample.resident);
        let grown = connected.resident.saturating_sub(before.resident);
        Some(Self {
            cpu_user_seconds: user.as_secs_f64(),
            cpu_system_seconds: system.as_secs_f64(),
            user_ns_per_message: per_message(user),
            system_ns_per_message: per_message(system),
            connect_cpu_user_seconds: connected.user.saturating_sub(before.user).as_secs_f64(),
            connect_cpu_system_seconds: connected
                .system
                .saturating_sub(before.system)
                .as_secs_f64(),
            resident_before_bytes: before.resident,
            resident_connected_bytes: connected.resident,
            resident_measured_bytes: end.resident,
            resident_after_bytes: resident(server(&samples.after)),
            resident_bytes_per_connection: per(grown as f64, stats.opened as f64),
        })
    }
}

impl Kernel {
    pub(super) fn new(outcome: &Outcome) -> Self {
        let samples = &outcome.samples;
        let (before, connected) = (samples.before.kernel, samples.connected.kernel);
        let grown = connected.slab_bytes.saturating_sub(before.slab_bytes);
        Self {
            before,
            connected,
            measured: samples.measured.map_or(connected, |(_, end)| end.kernel),
            after: samples.after.kernel,
            slab_bytes_per_connection: per(grown as f64, outcome.stats.opened as f64),
        }
    }
}

/// Processors that were at work for neither this process nor the server's.
pub(super) fn foreign_cpus_busy(outcome: &Outcome) -> Option<f64> {
    let (begin, end) = outcome.samples.measured?;
    let all = end.machine_busy?.saturating_sub(begin.machine_busy?);
    let of = |begin: &ProcessSample, end: &ProcessSample| {
        (end.user + end.system).saturating_sub(begin.user + begin.system)
    };
    let known = of(&begin.own, &end.own) + of(&begin.server?, &end.server?);
    let seconds = outcome.measured.as_secs_f64();
    Some(per(all.saturating_sub(known).as_secs_f64(), seconds))
}

/// A rate, or 0 where there is nothing to divide by.
pub(super) fn per(amount: f64, unit: f64) -> f64 {
    if unit > 0.0 { amount / unit } else { 0.0 }
}
