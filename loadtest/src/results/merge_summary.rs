//! The summaries of several processes as one.

use std::collections::BTreeMap;

use super::histogram::add;
use super::merge::{of_hosts, per, sum};
use super::{
    Compressed, Config, Connections, ErrorCount, Figure, Generator, Kernel, LoadModel, Merge,
    Messages, NamedHistogram, Percentiles, Rate, Server, Summary, TlsHandshakes, Verdict,
    latency_gap, new_histogram,
};

/// One of at least one; the first lends what cannot be merged.
///
/// # Errors
/// When there is none, they are of different scenarios or load models, or a histogram is damaged.
pub(super) fn merge_summaries(parts: Vec<Summary>) -> Result<Summary, String> {
    let Some(first) = parts.first() else {
        return Err("there is nothing to merge".to_owned());
    };
    for part in &parts {
        fits(first, part)?;
    }
    let connections = connections(&parts);
    let messages = messages(&parts);
    let histograms = histograms(&parts)?;
    let us = |name: &str| histograms.get(name).map_or_else(Percentiles::default, |found| found.us);
    let (latency_us, latency_uncorrected_us) = (us("latency"), us("latency_uncorrected"));
    let verdict = parts.iter().map(|part| part.verdict).max_by_key(|verdict| verdict.severity());
    let verdict = verdict.unwrap_or(Verdict::CouldNotRun);
    Ok(Summary {
        verdict,
        exit_code: verdict.exit_code(),
        reasons: reasons(&parts),
        notes: notes(&parts),
        started_unix_seconds: parts
            .iter()
            .map(|part| part.started_unix_seconds)
            .fold(first.started_unix_seconds, f64::min),
        config: config(&parts),
        rate: rate(&parts),
        latency_us,
        latency_uncorrected_us,
        latency_gap: latency_gap(model(first), &latency_us, &latency_uncorrected_us),
        figures: figures(&parts),
        steps: parts
            .iter()
            .map(|part| &part.steps)
            .find(|steps| !steps.is_empty())
            .cloned()
            .unwrap_or_default(),
        errors: errors(&parts),
        generator: generator(&parts, connections.achieved),
        server: server(&parts, connections.achieved, messages.received),
        kernel: kernel(&parts, connections.achieved),
        environment: first.environment.clone(),
        tool: first.tool.clone(),
        version: first.version.clone(),
        format: first.format,
        run_id: first.run_id.clone(),
        latency_of: first.latency_of.clone(),
        connections,
        messages,
        histograms,
    })
}

/// Figures of different things have no sum.
fn fits(first: &Summary, other: &Summary) -> Result<(), String> {
    let (this, that) = (&first.config, &other.config);
    if this.scenario != that.scenario {
        return Err(format!("a run of {} and one of {} are not one", this.scenario, that.scenario));
    }
    if model(first) != model(other) {
        return Err("a run with an open loop and one with a closed loop are not one".to_owned());
    }
    Ok(())
}

fn model(summary: &Summary) -> Option<LoadModel> {
    summary.config.load.as_ref().map(|load| load.model)
}

/// The reasons of the worst verdict first, each with its process when there are several.
fn reasons(parts: &[Summary]) -> Vec<String> {
    let mut numbered: Vec<_> = (1..).zip(parts).collect();
    numbered.sort_by_key(|(_, part)| std::cmp::Reverse(part.verdict.severity()));
    numbered
        .iter()
        .flat_map(|(number, part)| {
            let host = &part.environment.host;
            part.reasons.iter().map(move |reason| format!("process {number} on {host}: {reason}"))
        })
        .collect()
}

/// All notes once, and what of the parts is not in the sum.
fn notes(parts: &[Summary]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let mut note = |text: String| {
        if !notes.contains(&text) {
            notes.push(text);
        }
    };
    parts.iter().flat_map(|part| &part.notes).cloned().for_each(&mut note);
    let first = &parts[0];
    for part in parts {
        let (here, there) = (&first.environment, &part.environment);
        if here.host != there.host {
            note(format!(
                "host {}: {}, {} CPUs, Linux {}; the environment above is that of {}",
                there.host, there.cpu, there.cpus, there.kernel, here.host
            ));
        }
        if first.config.url != part.config.url {
            note(format!("a part of the load went to {}", part.config.url));
        }
        if first.version != part.version {
            note(format!("a part of the load came from version {}", part.version));
        }
    }
    if parts.iter().filter(|part| !part.steps.is_empty()).count() > 1 {
        note("the steps are those of the first search: steps cannot be merged".to_owned());
    }
    if parts.iter().filter(|part| part.server.is_some()).count() > 1 {
        note("the server's figures are those of the first process that watched it".to_owned());
    }
    notes
}

fn config(parts: &[Summary]) -> Config {
    let count = |of: fn(&Config) -> u64| sum(parts.iter().map(|part| of(&part.config)));
    let longest = |of: fn(&Config) -> f64| highest(parts.iter().map(|part| of(&part.config)));
    Config {
        connections: count(|config| config.connections),
        threads: count(|config| config.threads),
        cpus: parts.iter().flat_map(|part| part.config.cpus.iter().copied()).collect(),
        source_addresses: count(|config| config.source_addresses),
        duration_seconds: longest(|config| config.duration_seconds),
        warmup_seconds: longest(|config| config.warmup_seconds),
        verified: parts.iter().all(|part| part.config.verified),
        processes: count(|config| config.processes),
        ..parts[0].config.clone()
    }
}

fn connections(parts: &[Summary]) -> Connections {
    let count = |of: fn(&Connections) -> u64| sum(parts.iter().map(|part| of(&part.connections)));
    let seconds = highest(parts.iter().map(|part| part.connections.connect_seconds));
    let each = |of: &Connections| of.connects_per_second * of.connect_seconds;
    let made: f64 = parts.iter().map(|part| each(&part.connections)).sum();
    Connections {
        requested: count(|of| of.requested),
        achieved: count(|of| of.achieved),
        opened: count(|of| of.opened),
        lost: count(|of| of.lost),
        closed_cleanly: count(|of| of.closed_cleanly),
        pings_answered: count(|of| of.pings_answered),
        connect_seconds: seconds,
        connects_per_second: per(made, seconds),
        tls: tls(parts),
        compression: compression(parts),
    }
}

fn compression(parts: &[Summary]) -> Option<Compressed> {
    let all: Vec<_> = parts.iter().filter_map(|part| part.connections.compression).collect();
    let count = |of: fn(&Compressed) -> u64| sum(all.iter().map(of));
    (!all.is_empty()).then(|| Compressed {
        connections: count(|of| of.connections),
        sent_bytes: count(|of| of.sent_bytes),
        sent_wire_bytes: count(|of| of.sent_wire_bytes),
        received_bytes: count(|of| of.received_bytes),
        received_wire_bytes: count(|of| of.received_wire_bytes),
    })
}

fn tls(parts: &[Summary]) -> Option<TlsHandshakes> {
    let all: Vec<_> = parts.iter().filter_map(|part| part.connections.tls).collect();
    let count = |of: fn(&TlsHandshakes) -> u64| sum(all.iter().map(of));
    (!all.is_empty()).then(|| TlsHandshakes {
        tls_1_2: count(|of| of.tls_1_2),
        tls_1_3: count(|of| of.tls_1_3),
        resumed: count(|of| of.resumed),
    })
}

fn messages(parts: &[Summary]) -> Messages {
    let count = |of: fn(&Messages) -> u64| sum(parts.iter().map(|part| of(&part.messages)));
    Messages {
        measured_seconds: highest(parts.iter().map(|part| part.messages.measured_seconds)),
        scheduled: count(|of| of.scheduled),
        sent: count(|of| of.sent),
        received: count(|of| of.received),
        missing: count(|of| of.missing),
        duplicate: count(|of| of.duplicate),
        out_of_order: count(|of| of.out_of_order),
        corrupt: count(|of| of.corrupt),
        shed: count(|of| of.shed),
    }
}

fn rate(parts: &[Summary]) -> Rate {
    let total = |of: fn(&Rate) -> f64| parts.iter().map(|part| of(&part.rate)).sum::<f64>();
    let targets: Vec<f64> = parts.iter().filter_map(|part| part.rate.target).collect();
    let target = (!targets.is_empty()).then(|| targets.iter().sum::<f64>());
    let achieved = total(|rate| rate.achieved);
    Rate {
        target,
        achieved,
        received: total(|rate| rate.received),
        ratio: target.map(|target| per(achieved, target)),
    }
}

fn histograms(parts: &[Summary]) -> Result<BTreeMap<String, NamedHistogram>, String> {
    let mut sums = BTreeMap::new();
    for (name, histogram) in parts.iter().flat_map(|part| &part.histograms) {
        let damaged = |reason| format!("the histogram {name}: {reason}");
        let (_, sum) =
            sums.entry(name.as_str()).or_insert_with(|| (histogram.of.as_str(), new_histogram()));
        let found = histogram.histogram().map_err(damaged)?;
        add(sum, &found).map_err(damaged)?;
    }
    let named =
        sums.into_iter().map(|(name, (of, sum))| (name.to_owned(), NamedHistogram::of(of, &sum)));
    Ok(named.collect())
}

fn figures(parts: &[Summary]) -> Vec<Figure> {
    let mut merged: Vec<Figure> = Vec::new();
    for figure in parts.iter().flat_map(|part| &part.figures) {
        match merged.iter_mut().find(|found| found.name == figure.name) {
            None => merged.push(figure.clone()),
            Some(found) => {
                found.value = match figure.merge {
                    Merge::Sum => found.value + figure.value,
                    Merge::Max => found.value.max(figure.value),
                    Merge::Min => found.value.min(figure.value),
                }
            }
        }
    }
    merged
}

fn errors(parts: &[Summary]) -> Vec<ErrorCount> {
    let mut merged: Vec<ErrorCount> = Vec::new();
    for error in parts.iter().flat_map(|part| &part.errors) {
        let same =
            |found: &&mut ErrorCount| (&found.stage, &found.kind) == (&error.stage, &error.kind);
        match merged.iter_mut().find(same) {
            None => merged.push(error.clone()),
            Some(found) => found.count = found.count.saturating_add(error.count),
        }
    }
    merged
}

fn generator(parts: &[Summary], connections: u64) -> Generator {
    let all = || parts.iter().map(|part| &part.generator);
    let added = parts
        .iter()
        .map(|part| part.generator.resident_bytes_per_connection * part.connections.achieved as f64)
        .sum::<f64>();
    Generator {
        cpu_seconds: all().map(|part| part.cpu_seconds).sum(),
        resident_bytes: sum(all().map(|part| part.resident_bytes)),
        resident_bytes_per_connection: per(added, connections as f64),
        ring_pressure: sum(all().map(|part| part.ring_pressure)),
        threads: all().flat_map(|part| part.threads.iter().copied()).collect(),
        cpus: all().flat_map(|part| part.cpus.iter().copied()).collect(),
        foreign_cpus_busy: all().filter_map(|part| part.foreign_cpus_busy).reduce(f64::max),
    }
}

/// The server as one process saw it, whose share of the messages and connections was a part only.
fn server(parts: &[Summary], connections: u64, received: u64) -> Option<Server> {
    let seen = parts.iter().find_map(|part| part.server.clone())?;
    let each = |seconds: f64, unit: f64| (received > 0).then(|| seconds * unit / received as f64);
    let user = seen.cpu_user_seconds;
    let system = user.map(|user| seen.cpu_seconds - user);
    let added = seen.resident_connected_bytes.saturating_sub(seen.resident_before_bytes);
    Some(Server {
        cpu_seconds_per_million_messages: each(seen.cpu_seconds, 1e6),
        user_ns_per_message: user.and_then(|user| each(user, 1e9)),
        system_ns_per_message: system.and_then(|system| each(system, 1e9)),
        resident_bytes_per_connection: per(added as f64, connections as f64),
        ..seen
    })
}

/// The kernels of all hosts. What connections added was seen by every process on a host.
fn kernel(parts: &[Summary], connections: u64) -> Kernel {
    let hosts = |of: fn(&Summary) -> u64| {
        of_hosts(parts.iter().map(|part| (part.environment.host.as_str(), of(part))))
    };
    let slab = hosts(|part| {
        (part.kernel.slab_bytes_per_connection * part.connections.achieved as f64) as u64
    });
    Kernel {
        slab_bytes_per_connection: per(slab as f64, connections as f64),
        tcp_buffer_bytes_max: hosts(|part| part.kernel.tcp_buffer_bytes_max),
        tcp_time_wait_after: hosts(|part| part.kernel.tcp_time_wait_after),
    }
}

fn highest(figures: impl Iterator<Item = f64>) -> f64 {
    figures.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::examples::run;

    fn merged(change: impl FnOnce(&mut Summary)) -> Summary {
        let mut other = run(2).summary;
        change(&mut other);
        merge_summaries(vec![run(1).summary, other]).unwrap()
    }

    #[test]
    fn counts_are_added_and_quotients_made_again() {
        let summary = merged(|other| other.environment.host = "beta".to_owned());
        assert_eq!((summary.config.connections, summary.config.processes), (20, 2));
        assert_eq!((summary.connections.achieved, summary.connections.connect_seconds), (20, 0.5));
        assert_eq!(summary.connections.connects_per_second, 40.0);
        assert_eq!((summary.messages.received, summary.messages.measured_seconds), (600, 3.0));
        assert_eq!((summary.rate.target, summary.rate.achieved), (Some(200.0), 196.0));
        assert_eq!(summary.rate.ratio, Some(0.98));
        assert_eq!(summary.generator.resident_bytes_per_connection, 500.0);
        assert_eq!((summary.generator.threads.len(), summary.generator.cpus.len()), (2, 2));
        assert_eq!(summary.kernel.tcp_buffer_bytes_max, 16_384);
        assert_eq!(summary.kernel.slab_bytes_per_connection, 3_000.0);
        assert_eq!((summary.errors.len(), summary.errors[0].count), (1, 4));
        let server = summary.server.unwrap();
        assert!((server.cpu_seconds_per_million_messages.unwrap() - 1_500.0).abs() < 1e-6);
        assert_eq!(server.resident_bytes_per_connection, 200.0);
    }

    #[test]
    fn processes_of_one_host_share_its_kernel() {
        let summary = merged(|_| ());
        assert_eq!(summary.kernel.tcp_buffer_bytes_max, 8_192);
        assert_eq!(summary.kernel.slab_bytes_per_connection, 1_500.0);
    }

    #[test]
    fn figures_merge_as_they_say() {
        let summary = merged(|other| other.figures.iter_mut().for_each(|f| f.value = 1.0));
        let values: Vec<_> = summary.figures.iter().map(|figure| figure.value).collect();
        assert_eq!(values, [6.0, 2.0, 0.5]);
    }

    #[test]
    fn the_worst_verdict_holds() {
        let mut bad = run(1).summary;
        (bad.verdict, bad.reasons) = (Verdict::GeneratorBound, vec!["busy".to_owned()]);
        let mut worse = bad.clone();
        (worse.verdict, worse.reasons) = (Verdict::ServerErrors, vec!["lost".to_owned()]);
        let summary = merge_summaries(vec![run(1).summary, bad, worse]).unwrap();
        assert_eq!((summary.verdict, summary.exit_code), (Verdict::ServerErrors, 3));
        assert_eq!(summary.reasons, ["process 3 on alpha: lost", "process 2 on alpha: busy"]);
    }

    #[test]
    fn notes_are_united_and_other_hosts_named() {
        let summary = merged(|other| {
            other.environment.host = "beta".to_owned();
            other.notes.push("another".to_owned());
        });
        assert_eq!(summary.environment.host, "alpha");
        assert_eq!(summary.notes[..2], ["a note", "another"]);
        assert!(summary.notes[2].starts_with("host beta: "), "{:?}", summary.notes);
    }

    #[test]
    fn open_and_closed_loops_do_not_mix() {
        let mut closed = run(1).summary;
        closed.config.load.as_mut().unwrap().model = LoadModel::Closed;
        assert!(merge_summaries(vec![run(1).summary, closed]).is_err());
    }
}
