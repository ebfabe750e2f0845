//! The report: one set of figures, as text for people and as JSON for scripts.

mod text;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::args::{Arguments, ScenarioArguments};
use crate::payload::MASKING_KEY;
use crate::probe::{KernelSample, ProcessSample};
use crate::run::{Outcome, Sample};
use crate::stats::{Busy, Latency};

/// The run is valid.
pub(crate) const EXIT_VALID: u8 = 0;
/// The run could not be made.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The command line is wrong.
pub(crate) const EXIT_ARGUMENTS: u8 = 2;
/// Messages or connections were lost or wrong.
pub(crate) const EXIT_GATE: u8 = 3;
/// Not all connections opened.
pub(crate) const EXIT_CONNECTIONS: u8 = 5;
/// The user ended the run.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Share of a processor from which a worker is the bottleneck itself.
const BOUND_SHARE: f64 = 0.9;

/// Everything a run showed. Fields end in their unit.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    tool: &'static str,
    version: &'static str,
    verdict: Verdict,
    exit_code: u8,
    /// What the reader should know before believing the figures.
    notes: Vec<String>,
    config: Config,
    connections: Connections,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Messages>,
    errors: Vec<ErrorCount>,
    generator: Generator,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Server>,
    kernel: Kernel,
}

/// The run in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Valid,
    CouldNotRun,
    Lost,
    ConnectionsMissing,
    Interrupted,
}

/// What was asked for.
#[derive(Debug, Serialize)]
struct Config {
    scenario: &'static str,
    url: String,
    connections: u32,
    workers: usize,
    cpus: Vec<usize>,
    /// 0 when the kernel chose.
    source_addresses: usize,
    duration_seconds: f64,
    warmup_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<Load>,
}

/// The load of scenarios that send messages.
#[derive(Debug, Serialize)]
struct Load {
    model: &'static str,
    payload_bytes: usize,
    kind: &'static str,
    /// All frames of a run have the same masking key.
    masking_key: [u8; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u32>,
}

/// The connections of a run.
#[derive(Debug, Serialize)]
struct Connections {
    requested: u64,
    opened: u64,
    /// Open connections that ended before they were asked to.
    lost: u64,
    closed_cleanly: u64,
    pings_answered: u64,
    /// From the first connection's start to the last one's 101.
    connect_seconds: f64,
    connects_per_second: f64,
    /// From a connection's start to its 101.
    handshake_ns: Percentiles,
}

/// The messages of a run, while it was measured.
#[derive(Debug, Serialize)]
struct Messages {
    measured_seconds: f64,
    received: u64,
    received_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rounds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rounds_per_second: Option<f64>,
    /// Lone messages left out because the one before was on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u64>,
    missing: u64,
    duplicate: u64,
    out_of_order: u64,
    corrupt: u64,
    /// The round trip of an echo, or a delivery since its round began.
    latency_ns: Percentiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_receiver_ns: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    median_receiver_ns: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_receiver_ns: Option<Percentiles>,
}

/// A histogram in short, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Percentiles {
    count: u64,
    min: u64,
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    #[serde(rename = "p99.9")]
    p99_9: u64,
    max: u64,
}

/// How often something failed.
#[derive(Debug, Serialize)]
struct ErrorCount {
    stage: &'static str,
    kind: String,
    count: u64,
}

/// What the generator itself took.
#[derive(Debug, Serialize)]
struct Generator {
    /// Of all workers, from their start to their end.
    cpu_seconds: f64,
    resident_bytes: u64,
    /// What connections added, when all were open.
    resident_bytes_per_connection: f64,
    ring_pressure: u64,
    workers: Vec<WorkerShare>,
    /// Share of each processor that all workers on it took.
    cpus: Vec<CpuShare>,
}

/// The share of its processor that a worker took while the run was measured.
#[derive(Debug, Serialize)]
struct WorkerShare {
    cpu: usize,
    busy: f64,
}

/// The share of a processor.
#[derive(Debug, Serialize)]
struct CpuShare {
    cpu: usize,
    busy: f64,
}

/// The server's process.
#[derive(Debug, Serialize)]
struct Server {
    /// While the run was measured.
    cpu_user_seconds: f64,
    cpu_system_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_ns_per_message: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_ns_per_message: Option<f64>,
    /// While connections were opened.
    connect_cpu_user_seconds: f64,
    connect_cpu_system_seconds: f64,
    resident_before_bytes: u64,
    resident_connected_bytes: u64,
    resident_measured_bytes: u64,
    resident_after_bytes: u64,
    resident_bytes_per_connection: f64,
}

/// The kernel's memory.
#[derive(Debug, Serialize)]
struct Kernel {
    before: KernelSample,
    connected: KernelSample,
    measured: KernelSample,
    after: KernelSample,
    /// What connections added to the kernel's objects: both ends, if both are on this host.
    slab_bytes_per_connection: f64,
}

impl Report {
    /// The figures of a run.
    pub(crate) fn new(arguments: &Arguments, outcome: &Outcome) -> Self {
        let stats = &outcome.stats;
        let verdict = Verdict::of(outcome, arguments.scenario.common().connections);
        let generator = Generator::new(outcome);
        Self {
            tool: "loadtest",
            version: env!("CARGO_PKG_VERSION"),
            verdict,
            exit_code: verdict.exit_code(),
            notes: notes(outcome, &generator),
            config: Config::new(arguments, outcome),
            connections: Connections::new(arguments, outcome),
            messages: arguments.scenario.message().map(|_| Messages::new(arguments, outcome)),
            errors: stats
                .errors
                .iter()
                .map(|(&(stage, failure), &count)| ErrorCount {
                    stage: stage.name(),
                    kind: failure.to_string(),
                    count,
                })
                .collect(),
            generator,
            server: Server::new(outcome, arguments.scenario.message().is_some()),
            kernel: Kernel::new(outcome),
        }
    }

    /// How the program ends.
    pub(crate) const fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Writes the text to standard output, and the JSON to `json`; `-` is standard output, and the
    /// text is then left out.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, json: Option<&Path>) -> Result<(), String> {
        let as_json = || {
            serde_json::to_string_pretty(self)
                .map_err(|error| format!("the report is not valid JSON: {error}"))
        };
        match json {
            Some(path) if path.as_os_str() == "-" => println!("{}", as_json()?),
            None => print!("{self}"),
            Some(path) => {
                print!("{self}");
                fs::write(path, as_json()? + "\n")
                    .map_err(|error| format!("--json {}: {error}", path.display()))?;
            }
        }
        Ok(())
    }
}

impl Verdict {
    fn of(outcome: &Outcome, requested: u32) -> Self {
        let stats = &outcome.stats;
        if outcome.interrupted {
            Self::Interrupted
        } else if outcome.failed.is_some() || stats.opened == 0 {
            Self::CouldNotRun
        } else if stats.lost > 0 || stats.wrong.total() > 0 || outcome.stopped.is_some() {
            Self::Lost
        } else if stats.opened < u64::from(requested) {
            Self::ConnectionsMissing
        } else {
            Self::Valid
        }
    }

    const fn exit_code(self) -> u8 {
        match self {
            Self::Valid => EXIT_VALID,
            Self::CouldNotRun => EXIT_FAILED,
            Self::Lost => EXIT_GATE,
            Self::ConnectionsMissing => EXIT_CONNECTIONS,
            Self::Interrupted => EXIT_INTERRUPTED,
        }
    }
}

impl Config {
    fn new(arguments: &Arguments, outcome: &Outcome) -> Self {
        let common = arguments.scenario.common();
        let mut cpus: Vec<usize> = outcome.plan.workers.iter().map(|worker| worker.cpu).collect();
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
            url: common.url.to_string(),
            connections: common.connections,
            workers: outcome.plan.workers.len(),
            cpus,
            source_addresses: outcome.plan.sources.count(),
            duration_seconds: common.duration.as_secs_f64(),
            warmup_seconds: common.warmup.as_secs_f64(),
            load,
        }
    }
}

impl Connections {
    fn new(arguments: &Arguments, outcome: &Outcome) -> Self {
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
    fn new(arguments: &Arguments, outcome: &Outcome) -> Self {
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
    fn of(latency: &Latency) -> Self {
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
    fn new(outcome: &Outcome) -> Self {
        let stats = &outcome.stats;
        let samples = &outcome.samples;
        let resident = samples.connected.own.resident;
        let grown = resident.saturating_sub(samples.before.own.resident);
        let share = |busy: &Busy| per(busy.ran.as_secs_f64(), busy.wall.as_secs_f64());
        let mut cpus: Vec<CpuShare> = Vec::new();
        for worker in &stats.busy {
            match cpus.iter_mut().find(|cpu| cpu.cpu == worker.cpu) {
                Some(cpu) => cpu.busy += share(worker),
                None => cpus.push(CpuShare { cpu: worker.cpu, busy: share(worker) }),
            }
        }
        cpus.sort_unstable_by_key(|cpu| cpu.cpu);
        let workers = stats.busy.iter();
        Self {
            cpu_seconds: stats.ran.as_secs_f64(),
            resident_bytes: resident,
            resident_bytes_per_connection: per(grown as f64, stats.opened as f64),
            ring_pressure: stats.ring_pressure,
            workers: workers.map(|busy| WorkerShare { cpu: busy.cpu, busy: share(busy) }).collect(),
            cpus,
        }
    }

    fn is_bound(&self) -> bool {
        self.cpus.iter().any(|cpu| cpu.busy > BOUND_SHARE)
    }
}

impl Server {
    fn new(outcome: &Outcome, has_messages: bool) -> Option<Self> {
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
    fn new(outcome: &Outcome) -> Self {
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

fn notes(outcome: &Outcome, generator: &Generator) -> Vec<String> {
    let mut notes = outcome.plan.warnings.clone();
    notes.extend(outcome.failed.iter().chain(&outcome.stopped).cloned());
    if generator.is_bound() {
        notes.push(format!(
            "generator-bound: its workers took more than {:.0} % of a CPU, so the rate is the \
             generator's limit and latencies hold its own queues",
            BOUND_SHARE * 100.0
        ));
    }
    notes
}

fn per(amount: f64, unit: f64) -> f64 {
    if unit > 0.0 { amount / unit } else { 0.0 }
}
