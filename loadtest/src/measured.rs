//! What came of a run, as results.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::args::{Arguments, Common, Compression, ScenarioArguments, SlowLoad};
use crate::environment;
use crate::judge::{Evidence, Judgement, judge};
use crate::names;
use crate::payload::MASKING_KEY;
use crate::probe::{ProcessSample, Sample};
use crate::results::{
    self, Compressed, Config, Connections, CpuShare, ErrorCount, FORMAT, Figure, Generator, Kernel,
    Load, LoadModel, Merge, Messages, NamedHistogram, Percentiles, Rate, Results, Server, Summary,
    ThreadShare, TlsChoice, TlsHandshakes, latency_gap,
};
use crate::run::Outcome;
use crate::scenario;
use crate::stats::{Busy, Latency, Stats};
use crate::timeline::headline;

/// Processors that other processes may take before a run on them is not to be trusted.
const FOREIGN_SHARE: f64 = 0.1;

/// The results of a run.
pub(crate) fn results(arguments: &Arguments, outcome: Outcome) -> Results {
    let stats = &outcome.timeline.total;
    let (corrected, uncorrected) = headline(stats);
    let (latency_us, latency_uncorrected_us) =
        (Percentiles::of(&corrected), Percentiles::of(&uncorrected));
    let histograms = histograms(&outcome, &corrected, &uncorrected);
    let config = config(arguments, &outcome);
    let rate = rate(&outcome);
    let generator = generator(&outcome);
    let evidence = Evidence {
        lag: histograms.get("schedule_lag").map(|lag| lag.us).unwrap_or_default(),
        corrected: latency_us,
        ratio: rate.ratio,
        lag_is_of_all: arguments.scenario.depth().is_some(),
        cpus: &generator.cpus,
    };
    let judgement = judge(arguments, &outcome, &evidence);
    let Judgement { verdict, reasons, notes: allowed } = judgement;
    let model = config.load.as_ref().map(|load| load.model);
    let summary = Summary {
        tool: "loadtest".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: FORMAT,
        verdict,
        exit_code: verdict.exit_code(),
        reasons,
        notes: [notes(arguments, &outcome, &generator), allowed].concat(),
        run_id: format!("{:08x}", outcome.run),
        started_unix_seconds: outcome.started,
        config,
        environment: environment::read(),
        connections: connections(arguments, &outcome),
        messages: messages(&outcome),
        rate,
        latency_of: latency_of(&arguments.scenario).to_owned(),
        latency_us,
        latency_uncorrected_us,
        latency_gap: latency_gap(model, &latency_us, &latency_uncorrected_us),
        figures: figures(&arguments.scenario, &outcome),
        steps: Vec::new(),
        errors: stats
            .errors
            .iter()
            .map(|(&(stage, failure), &count)| ErrorCount {
                stage: stage.name().to_owned(),
                kind: failure.to_string(),
                count,
            })
            .collect(),
        server: server(&outcome, arguments.scenario.message().is_some()),
        kernel: kernel(&outcome),
        generator,
        histograms,
    };
    Results { summary, intervals: outcome.timeline.intervals }
}

/// What the headline latency is, for people.
const fn latency_of(scenario: &ScenarioArguments) -> &'static str {
    match scenario {
        ScenarioArguments::Idle { .. } => "opening handshake",
        ScenarioArguments::Echo { .. } | ScenarioArguments::Rate { .. } => "round trip of an echo",
        ScenarioArguments::Broadcast { load, .. } if load.closed => {
            "delivery since the round began"
        }
        ScenarioArguments::Broadcast { .. } => "delivery to one receiver",
        ScenarioArguments::Churn { .. } => "opening handshake",
        ScenarioArguments::Restart { restart, .. } if restart.churn_rate.is_some() => {
            "opening handshake of a new connection"
        }
        ScenarioArguments::Storm { .. } | ScenarioArguments::Restart { .. } => {
            "opening handshake of a client that comes back"
        }
        ScenarioArguments::Slow { slow, load, .. } => match slow.load {
            SlowLoad::Echo => "round trip of an echo, of those that read",
            SlowLoad::Broadcast if load.closed => {
                "delivery since the round began, to those that read"
            }
            SlowLoad::Broadcast => "delivery to one receiver, of those that read",
        },
        ScenarioArguments::Rooms { .. } => "delivery to another member",
    }
}

fn histograms(
    outcome: &Outcome,
    corrected: &Histogram<u64>,
    uncorrected: &Histogram<u64>,
) -> BTreeMap<String, NamedHistogram> {
    let stats = &outcome.timeline.total;
    let mut histograms = BTreeMap::new();
    let mut add = |name: &str, of: &str, histogram: &Histogram<u64>| {
        histograms.insert(name.to_owned(), NamedHistogram::of(of, histogram));
    };
    add("latency", "latency from the intended time", corrected);
    add("latency_uncorrected", "latency from the actual time of sending", uncorrected);
    let others = [
        ("handshake", "from a connection's start to its 101", &stats.handshake),
        ("schedule_lag", "how late the generator sent a message", &stats.lag),
    ];
    let named = stats.histograms.iter().map(|(&name, found)| (name, describe(name), found));
    for (name, of, latency) in others.into_iter().chain(named) {
        if let Some(histogram) = Latency::histogram(latency) {
            add(name, of, histogram);
        }
    }
    histograms
}

/// What the histograms of single scenarios measure.
fn describe(name: &'static str) -> &'static str {
    match name {
        "first_receiver" => "until the first receiver had a message",
        "median_receiver" => "until half of the receivers had a message",
        other => names::describe(other),
    }
}

fn config(arguments: &Arguments, outcome: &Outcome) -> Config {
    let scenario = &arguments.scenario;
    let common = scenario.common();
    let mut cpus: Vec<usize> = outcome.plan.threads.iter().map(|thread| thread.cpu).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let load = scenario.message().map(|message| Load {
        model: if scenario.schedule().is_some() { LoadModel::Open } else { LoadModel::Closed },
        payload_bytes: message.size.to_string(),
        kind: if message.text { "text" } else { "binary" }.to_owned(),
        depth: scenario.depth(),
        poisson: scenario.schedule().is_some_and(|(_, poisson)| poisson),
        masking_key: MASKING_KEY,
    });
    Config {
        scenario: scenario.name().to_owned(),
        url: common.url.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        connections: common.connections.into(),
        threads: outcome.plan.threads.len() as u64,
        cpus,
        source_addresses: outcome.plan.sources.count() as u64,
        duration_seconds: common.duration.as_secs_f64(),
        warmup_seconds: outcome.warmup_seconds(),
        interval_seconds: common.interval.as_secs_f64(),
        load,
        rooms: rooms(scenario),
        tls: speaks_tls(common).then(|| TlsChoice {
            verified: !common.tls.insecure,
            version: common.tls.tls_version.map(|version| version.to_string()),
            resumes: common.tls.tls_resume,
        }),
        compression: compression_name(common),
        verified: scenario.message().is_none_or(|message| !message.no_verify),
        processes: 1,
    }
}

fn speaks_tls(common: &Common) -> bool {
    common.url.iter().any(|target| target.tls.is_some())
}

/// What was offered, if anything was.
fn compression_name(common: &Common) -> Option<String> {
    let name = match common.deflate.compression {
        Compression::Off => return None,
        Compression::Shared => "shared",
        Compression::Dedicated => "dedicated",
    };
    Some(name.to_owned())
}

/// The rooms of a scenario, if it has any.
pub(crate) fn rooms(scenario: &ScenarioArguments) -> Option<results::Rooms> {
    let ScenarioArguments::Rooms { common, rooms, .. } = scenario else { return None };
    let (count, members) = rooms.shape();
    let (nodes, of_room) = rooms.span(&common.url);
    Some(results::Rooms {
        rooms: count.into(),
        members: members.into(),
        nodes: nodes.into(),
        nodes_per_room: of_room.into(),
        order: rooms.order.name().to_owned(),
        reconnect: rooms.reconnect,
    })
}

fn connections(arguments: &Arguments, outcome: &Outcome) -> Connections {
    let stats = &outcome.timeline.total;
    let common = arguments.scenario.common();
    let (connected, connect_seconds) = outcome.connected;
    let count = |name| stats.counts.get(name).copied().unwrap_or_default();
    Connections {
        requested: common.connections.into(),
        achieved: stats.achieved,
        opened: stats.opened,
        lost: stats.lost,
        closed_cleanly: stats.closed_cleanly,
        pings_answered: stats.pings_answered,
        connect_seconds,
        connects_per_second: per(connected as f64, connect_seconds),
        tls: speaks_tls(common).then(|| TlsHandshakes {
            tls_1_2: count(names::TLS_1_2),
            tls_1_3: count(names::TLS_1_3),
            resumed: count(names::TLS_RESUMED),
        }),
        compression: compression_name(common).map(|_| Compressed {
            connections: count(names::COMPRESSED),
            sent_bytes: stats.pressed.sent.0,
            sent_wire_bytes: stats.pressed.sent.1,
            received_bytes: stats.pressed.received.0,
            received_wire_bytes: stats.pressed.received.1,
        }),
    }
}

fn messages(outcome: &Outcome) -> Messages {
    let found = &outcome.timeline.total.messages;
    Messages {
        measured_seconds: outcome.measured_seconds(),
        scheduled: found.scheduled,
        sent: found.sent,
        received: found.received,
        missing: found.missing,
        duplicate: found.duplicate,
        out_of_order: found.out_of_order,
        corrupt: found.corrupt,
        shed: found.shed,
    }
}

fn rate(outcome: &Outcome) -> Rate {
    let (sent, received) = outcome.timeline.moved;
    let seconds = outcome.measured_seconds();
    let target = outcome.target;
    let achieved = per(sent as f64, seconds);
    Rate {
        target,
        achieved,
        received: per(received as f64, seconds),
        // A process without a publisher has no part of the schedule.
        ratio: target.filter(|&target| target > 0.0).map(|target| per(achieved, target)),
    }
}

fn figures(scenario: &ScenarioArguments, outcome: &Outcome) -> Vec<Figure> {
    let stats = &outcome.timeline.total;
    let mut figures = scenario::figures(scenario, stats, outcome.measured_seconds());
    let mut add = |name: &str, value: f64, label: &str, merge| {
        let (name, label) = (name.to_owned(), label.to_owned());
        figures.push(Figure { name, value, label, merge });
    };
    if let ScenarioArguments::Broadcast { load, .. } = scenario
        && load.closed
    {
        let rounds = stats.rounds as f64;
        add("rounds", rounds, "rounds", Merge::Sum);
        let per_second = per(rounds, outcome.measured_seconds());
        add("rounds_per_second", per_second, "rounds per second", Merge::Sum);
    }
    for (&name, &count) in stats.counts.iter().filter(|(name, _)| !names::is_of_lives(name)) {
        add(name, count as f64, &name.replace('_', " "), Merge::Sum);
    }
    figures
}

fn generator(outcome: &Outcome) -> Generator {
    let stats = &outcome.timeline.total;
    let samples = &outcome.samples;
    let resident = samples.connected.own.resident;
    let grown = resident.saturating_sub(samples.before.own.resident);
    let share = |time: Duration, busy: &Busy| per(time.as_secs_f64(), busy.wall.as_secs_f64());
    let threads: Vec<ThreadShare> = stats
        .busy
        .iter()
        .map(|busy| ThreadShare {
            cpu: busy.cpu,
            busy: share(busy.ran, busy),
            waiting: share(busy.waited, busy),
        })
        .collect();
    let mut cpus: BTreeMap<usize, CpuShare> = BTreeMap::new();
    for thread in &threads {
        let cpu = thread.cpu;
        let all = cpus.entry(cpu).or_insert(CpuShare { cpu, busy: 0.0, waiting: 0.0 });
        all.busy += thread.busy;
        // Threads that wait for each other wait at the same time.
        all.waiting = all.waiting.max(thread.waiting);
    }
    Generator {
        cpu_seconds: stats.ran.as_secs_f64(),
        resident_bytes: resident,
        resident_bytes_per_connection: per(grown as f64, outcome.connected.0 as f64),
        ring_pressure: stats.ring_pressure,
        threads,
        cpus: cpus.into_values().collect(),
        foreign_cpus_busy: foreign_cpus_busy(outcome),
    }
}

fn server(outcome: &Outcome, has_messages: bool) -> Option<Server> {
    let samples = &outcome.samples;
    let of = |sample: &Sample| sample.server;
    let before = of(&samples.before)?;
    // Without one of them there are no figures, rather than wrong ones; a note says so.
    let connected = of(&samples.connected)?;
    let (begin, end) = match samples.measured {
        Some((begin, end)) => (begin.server?, end.server?),
        None => (connected, connected),
    };
    let cpu = end.cpu.saturating_sub(begin.cpu);
    let user = end.user.zip(begin.user).map(|(end, begin)| end.saturating_sub(begin));
    let system = user.map(|user| cpu.saturating_sub(user));
    // What was received in the same time, whenever it was intended.
    let messages = outcome.timeline.moved.1 as f64;
    let per_message = |time: Duration| {
        (has_messages && messages > 0.0).then(|| time.as_nanos() as f64 / messages)
    };
    let grown = connected.resident.saturating_sub(before.resident);
    Some(Server {
        cpu_seconds: cpu.as_secs_f64(),
        cpu_user_seconds: user.map(|user| user.as_secs_f64()),
        // Nanoseconds for one are milliseconds for a million.
        cpu_seconds_per_million_messages: per_message(cpu).map(|time| time / 1e3),
        user_ns_per_message: user.and_then(per_message),
        system_ns_per_message: system.and_then(per_message),
        connect_cpu_seconds: connected.cpu.saturating_sub(before.cpu).as_secs_f64(),
        resident_before_bytes: before.resident,
        resident_connected_bytes: connected.resident,
        resident_measured_bytes: end.resident,
        resident_after_bytes: of(&samples.after)?.resident,
        resident_bytes_per_connection: per(grown as f64, outcome.connected.0 as f64),
    })
}

fn kernel(outcome: &Outcome) -> Kernel {
    let samples = &outcome.samples;
    let (before, connected) = (samples.before.kernel, samples.connected.kernel);
    let grown = connected.slab_bytes.saturating_sub(before.slab_bytes);
    Kernel {
        slab_bytes_per_connection: per(grown as f64, outcome.connected.0 as f64),
        tcp_buffer_bytes_max: outcome.timeline.tcp_buffer_bytes_max,
        tcp_time_wait_after: samples.after.kernel.tcp_time_wait,
    }
}

/// Processors that were at work for neither this process nor the server's.
fn foreign_cpus_busy(outcome: &Outcome) -> Option<f64> {
    let (begin, end) = outcome.samples.measured?;
    let all = end.machine_busy?.saturating_sub(begin.machine_busy?);
    let of = |begin: &ProcessSample, end: &ProcessSample| end.cpu.saturating_sub(begin.cpu);
    // Only a process of this host tells what it took of user space.
    begin.server?.user?;
    let known = of(&begin.own, &end.own) + of(&begin.server?, &end.server?);
    Some(per(all.saturating_sub(known).as_secs_f64(), (end.at - begin.at).as_secs_f64()))
}

fn notes(arguments: &Arguments, outcome: &Outcome, generator: &Generator) -> Vec<String> {
    let mut notes = outcome.plan.warnings.clone();
    if outcome.samples.before.server.is_some() && server(outcome, false).is_none() {
        notes.push("the server's process could not be read at some time: no figures of it".into());
    }
    if let Some(foreign) = generator.foreign_cpus_busy.filter(|&foreign| foreign > FOREIGN_SHARE) {
        notes.push(format!(
            "shared machine: other processes took {foreign:.2} CPUs, which spoils rates and tails"
        ));
    }
    if arguments.scenario.message().is_some_and(|message| message.no_verify) {
        notes.push("messages were not compared with what was sent (--no-verify)".to_owned());
    }
    let foreign = outcome.timeline.total.messages.foreign;
    if foreign > 0 {
        notes.push(format!(
            "{foreign} messages that are none of this run were received and left out"
        ));
    }
    if let Some(rooms) = rooms(&arguments.scenario) {
        notes.extend(rooms_notes(&rooms, &outcome.timeline.total));
    }
    notes
}

/// What members were told, which is no error by itself, and what a run with several servers does
/// not show.
fn rooms_notes(rooms: &results::Rooms, stats: &Stats) -> Vec<String> {
    let count = |name| stats.counts.get(name).copied().unwrap_or_default();
    let (gaps, lost) = (count(names::GAPS_TOLD), count(names::TOLD_LOST));
    let mut notes = Vec::new();
    if gaps + lost > 0 {
        notes.push(format!(
            "{gaps} gaps were told unasked, and {lost} deliveries were told to be lost: they are \
             not missing"
        ));
    }
    for (count, what) in [
        (count(names::UNAVAILABLE), "messages and joins were refused: room unavailable"),
        (
            count(names::UNCONFIRMED),
            "messages came to nobody, and their senders could not know: they are not missing",
        ),
    ] {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    }
    if rooms.nodes_per_room < rooms.nodes {
        notes.push(format!(
            "some rooms have members on no more than {} of {} nodes: give more --members",
            rooms.nodes_per_room, rooms.nodes
        ));
    }
    notes
}

/// A rate, or 0 where there is nothing to divide by.
fn per(amount: f64, unit: f64) -> f64 {
    if unit > 0.0 { amount / unit } else { 0.0 }
}
