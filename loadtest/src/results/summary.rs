//! The data of `summary.json` and `timeseries.ndjson`. Names end in their unit; `docs/` holds the
//! schema. Everything can be merged with the same of another process.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that a run showed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Summary {
    /// `loadtest`.
    pub(crate) tool: String,
    /// Of the tool.
    pub(crate) version: String,
    /// Of this format; readers refuse a higher one.
    pub(crate) format: u32,
    /// The run in one word.
    pub(crate) verdict: Verdict,
    /// How the program ended: see the verdict.
    pub(crate) exit_code: u8,
    /// Why the verdict is what it is; empty when it is `VALID`.
    pub(crate) reasons: Vec<String>,
    /// What the reader should know before believing the figures.
    pub(crate) notes: Vec<String>,
    /// Tells the messages of this run from those of others; hexadecimal.
    pub(crate) run_id: String,
    /// When the first connection was started, in seconds of the Unix epoch.
    pub(crate) started_unix_seconds: f64,
    /// What was asked for.
    pub(crate) config: Config,
    /// Where it ran.
    pub(crate) environment: Environment,
    /// The connections of the run.
    pub(crate) connections: Connections,
    /// The messages of the run.
    pub(crate) messages: Messages,
    /// How many messages a second.
    pub(crate) rate: Rate,
    /// What the two headline histograms measured, as `echo round trip`.
    pub(crate) latency_of: String,
    /// Counted from the time each was intended for.
    pub(crate) latency_us: Percentiles,
    /// Counted from the time each was really sent.
    pub(crate) latency_uncorrected_us: Percentiles,
    /// What the gap between the two means, in a sentence.
    pub(crate) latency_gap: String,
    /// Figures that only this scenario has, in the order they are shown.
    pub(crate) figures: Vec<Figure>,
    /// The steps of a search; the highest that passed is its result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<Step>,
    /// What failed, and how often.
    pub(crate) errors: Vec<ErrorCount>,
    /// What the generator itself took.
    pub(crate) generator: Generator,
    /// The server's process, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Server>,
    /// The kernel of the generator's host.
    pub(crate) kernel: Kernel,
    /// Every histogram of the run without loss, by name: `latency`, `latency_uncorrected`,
    /// `connect` (TCP), `tls`, `upgrade`, `handshake` (all of these), `schedule_lag` and those of
    /// the scenario.
    pub(crate) histograms: BTreeMap<String, NamedHistogram>,
}

/// The run in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub(crate) enum Verdict {
    /// The figures are those of the server. Exit code 0.
    Valid,
    /// The run could not be made. Exit code 1.
    CouldNotRun,
    /// The server lost connections or messages, or broke the protocol. Exit code 3.
    ServerErrors,
    /// The figures passed judgement on the server, and a gate of the user's failed. Exit code 3.
    GateFailed,
    /// The figures are those of the generator. Exit code 4.
    GeneratorBound,
    /// Not all connections were opened. Exit code 5.
    ConnectionsMissing,
    /// The user ended the run. Exit code 130.
    Interrupted,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Config {
    pub(crate) scenario: String,
    pub(crate) url: String,
    pub(crate) connections: u64,
    pub(crate) threads: u64,
    /// Processors the threads were pinned to.
    pub(crate) cpus: Vec<usize>,
    /// 0 when the kernel chose.
    pub(crate) source_addresses: u64,
    pub(crate) duration_seconds: f64,
    /// Of load before the window that is measured.
    pub(crate) warmup_seconds: f64,
    /// Length of the intervals of the time series.
    pub(crate) interval_seconds: f64,
    /// Absent when the scenario sends no messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) load: Option<Load>,
    /// Absent when there are no rooms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rooms: Option<Rooms>,
    /// Absent when no server was spoken to in TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsChoice>,
    /// What was offered, `shared` or `dedicated`; absent when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compression: Option<String>,
    /// Messages were checked.
    pub(crate) verified: bool,
    /// Process count: 1, or the workers that were merged.
    pub(crate) processes: u64,
}

/// How TLS was spoken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TlsChoice {
    /// Certificates were verified.
    pub(crate) verified: bool,
    /// The only version that was offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Handshakes went on from earlier sessions where the server let them.
    pub(crate) resumes: bool,
}

/// The rooms of a run, those of all processes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Rooms {
    pub(crate) rooms: u64,
    /// Of each room.
    pub(crate) members: u64,
    /// Servers: URLs with an address of their own.
    pub(crate) nodes: u64,
    /// Servers that every room has members on, at least, when the load begins.
    pub(crate) nodes_per_room: u64,
    /// Whose order the members must see: `room` or `publisher`.
    pub(crate) order: String,
    /// Members whose connection ends come back.
    pub(crate) reconnect: bool,
}

/// The load of scenarios that send messages.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Load {
    pub(crate) model: LoadModel,
    /// The sizes of payloads as they were given, in bytes.
    pub(crate) payload_bytes: String,
    /// `text` or `binary`.
    pub(crate) kind: String,
    /// Messages in flight per connection of a closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) depth: Option<u32>,
    /// Messages of an open loop follow each other at random times.
    pub(crate) poisson: bool,
    /// Masks every frame of the run.
    pub(crate) masking_key: [u8; 4],
}

/// What decides when a message is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LoadModel {
    /// A schedule, whatever the server does.
    Open,
    /// The answer to the last message.
    Closed,
}

/// Where a run was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Environment {
    pub(crate) host: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cpus: u64,
    pub(crate) memory_bytes: u64,
    /// Descriptors a process may have.
    pub(crate) descriptors: u64,
    /// Settings that matter, by their sysctl name or file.
    pub(crate) settings: BTreeMap<String, String>,
    /// The words of the command line.
    pub(crate) command: Vec<String>,
}

/// The connections of a run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Connections {
    pub(crate) requested: u64,
    /// Clients that were open at some time.
    pub(crate) achieved: u64,
    /// Opening handshakes that succeeded; more than the clients when they come back.
    pub(crate) opened: u64,
    /// Open connections that ended before they were asked to.
    pub(crate) lost: u64,
    /// Closed by both sides' close frames.
    pub(crate) closed_cleanly: u64,
    pub(crate) pings_answered: u64,
    /// From the first connection's start to the last one's 101, before the scenario began.
    pub(crate) connect_seconds: f64,
    pub(crate) connects_per_second: f64,
    /// Absent when no server was spoken to in TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsHandshakes>,
    /// Absent when no compression was offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compression: Option<Compressed>,
}

/// What compression came to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Compressed {
    /// Connections whose server agreed to it.
    pub(crate) connections: u64,
    /// Frames sent on them: as they would have been without, and as they were.
    pub(crate) sent_bytes: u64,
    pub(crate) sent_wire_bytes: u64,
    /// Payloads of the compressed messages received on them: what they contain, and as they came.
    pub(crate) received_bytes: u64,
    pub(crate) received_wire_bytes: u64,
}

/// The TLS handshakes that succeeded.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TlsHandshakes {
    /// By the version that was agreed on.
    pub(crate) tls_1_2: u64,
    pub(crate) tls_1_3: u64,
    /// Of both, those that went on from an earlier session.
    pub(crate) resumed: u64,
}

/// The messages that were due while the run was measured; those that were wrong at any time.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Messages {
    pub(crate) measured_seconds: f64,
    /// Of an open loop: messages whose time came. Of a closed loop: messages sent.
    pub(crate) scheduled: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Sent, and never answered or delivered.
    pub(crate) missing: u64,
    pub(crate) duplicate: u64,
    pub(crate) out_of_order: u64,
    pub(crate) corrupt: u64,
    /// Scheduled, and not sent because too many were unanswered or no connection was left.
    pub(crate) shed: u64,
}

/// Messages per second.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Rate {
    /// Of the schedule; absent in a closed loop.
    pub(crate) target: Option<f64>,
    /// Sent per second while the run was measured, whenever they were due.
    pub(crate) achieved: f64,
    /// Received per second while the run was measured, whenever they were due.
    pub(crate) received: f64,
    /// `achieved / target`; absent in a closed loop.
    pub(crate) ratio: Option<f64>,
}

/// A histogram in short, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) stdev: f64,
    pub(crate) p50: f64,
    pub(crate) p75: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
}

/// A histogram of nanoseconds without loss.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NamedHistogram {
    /// What was measured, in a few words.
    pub(crate) of: String,
    /// In short.
    pub(crate) us: Percentiles,
    /// The compressed V2 encoding of HdrHistogram in base64, which begins with `HISTF`.
    pub(crate) v2: String,
}

/// A figure that only one scenario has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Figure {
    /// In snake case with the unit at its end, as `recovered_99_seconds`.
    pub(crate) name: String,
    pub(crate) value: f64,
    /// What it is, for people.
    pub(crate) label: String,
    /// How the figures of two processes become one.
    pub(crate) merge: Merge,
}

/// How the figures of two processes become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Merge {
    Sum,
    Max,
    Min,
}

/// One step of a search.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Step {
    pub(crate) connections: u64,
    /// Absent in a closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) achieved: f64,
    pub(crate) latency_us: Percentiles,
    pub(crate) passed: bool,
    /// Why not.
    pub(crate) reason: String,
}

/// How often something failed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ErrorCount {
    /// `connect`, `tls`, `upgrade`, `open`, `application` or `leave`.
    pub(crate) stage: String,
    pub(crate) kind: String,
    pub(crate) count: u64,
}

/// What the generator itself took.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Generator {
    /// Of all threads, from their start to their end.
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    /// What connections added, when all were open.
    pub(crate) resident_bytes_per_connection: f64,
    /// Times the kernel had more completions than a ring holds.
    pub(crate) ring_pressure: u64,
    pub(crate) threads: Vec<ThreadShare>,
    /// Share of each processor that all threads on it took.
    pub(crate) cpus: Vec<CpuShare>,
    /// Processors that were at work for neither this process nor the server's; absent when the
    /// server's process is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) foreign_cpus_busy: Option<f64>,
}

/// The share of its processor that a thread took while the run was measured.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ThreadShare {
    pub(crate) cpu: usize,
    /// Share of the time in which it ran.
    pub(crate) busy: f64,
    /// Share of the time in which it was ready to run, and another ran.
    pub(crate) waiting: f64,
}

/// The share of a processor.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CpuShare {
    pub(crate) cpu: usize,
    pub(crate) busy: f64,
    pub(crate) waiting: f64,
}

/// The server's process.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Server {
    /// User and system CPU time while the run was measured.
    pub(crate) cpu_seconds: f64,
    /// The user part, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_user_seconds: Option<f64>,
    /// CPU time per message received, and its parts where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_seconds_per_million_messages: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_ns_per_message: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) system_ns_per_message: Option<f64>,
    /// While connections were opened.
    pub(crate) connect_cpu_seconds: f64,
    pub(crate) resident_before_bytes: u64,
    pub(crate) resident_connected_bytes: u64,
    pub(crate) resident_measured_bytes: u64,
    pub(crate) resident_after_bytes: u64,
    pub(crate) resident_bytes_per_connection: f64,
}

/// The kernel's memory on the generator's host.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Kernel {
    /// What connections added to the kernel's objects: both ends, if both are on this host.
    pub(crate) slab_bytes_per_connection: f64,
    /// The most that TCP sockets held in their buffers.
    pub(crate) tcp_buffer_bytes_max: u64,
    pub(crate) tcp_time_wait_after: u64,
}

/// A line of `timeseries.ndjson`: one interval.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Row {
    /// The end of the interval, in seconds since the first connection was started.
    pub(crate) t: f64,
    /// Its length in seconds.
    pub(crate) length: f64,
    /// Where the run was when it began.
    pub(crate) phase: RowPhase,
    /// Connections open at its end.
    pub(crate) connections: u64,
    /// Connections opened in it.
    pub(crate) opened: u64,
    /// Clients that the server let go with close frame 1001 in it, and clients that came back.
    #[serde(default)]
    pub(crate) farewells: u64,
    #[serde(default)]
    pub(crate) returned: u64,
    /// Of the schedule; absent in a closed loop and while nothing is scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target_rate: Option<f64>,
    /// Messages sent and received per second of it, whenever they were due.
    pub(crate) achieved_rate: f64,
    pub(crate) received_rate: f64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Failures of connections, and messages that were not as they should be.
    pub(crate) errors: u64,
    /// Messages that were scheduled and not sent.
    pub(crate) shed: u64,
    /// The most that a message was sent late by the generator's own doing.
    pub(crate) max_schedule_lag_us: f64,
    /// What ended in it; the intervals of the phases `measure` and `settle` add up to the run.
    pub(crate) latency_us: Percentiles,
    pub(crate) latency_uncorrected_us: Percentiles,
    /// Processors the generator's process kept busy.
    pub(crate) generator_cpus: f64,
    /// Processors the server's process kept busy, and its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpus: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_resident_bytes: Option<u64>,
    /// What TCP sockets of the generator's host held in their buffers.
    pub(crate) tcp_buffer_bytes: u64,
}

/// Where the run was when an interval began.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RowPhase {
    Connect,
    WarmUp,
    Measure,
    Settle,
    Leave,
}
