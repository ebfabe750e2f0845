//! The report as text for people.

use std::fmt::{Display, Formatter, Result};

use super::figures::{Connections, Generator, Kernel, Messages, Percentiles, Server};
use super::{Report, Verdict};

/// Columns of a label.
const LABEL: usize = 14;

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let config = &self.config;
        writeln!(out, "{} {}", config.scenario, config.url)?;
        let (threads, cpus) = (config.threads, &config.cpus);
        let mut load =
            format!("{} connections, {threads} threads on CPUs {cpus:?}", config.connections);
        if config.source_addresses > 0 {
            load += &format!(", {} source addresses", config.source_addresses);
        }
        if let Some(messages) = &config.load {
            let (size, kind, model) = (messages.payload_bytes, messages.kind, messages.model);
            load += &format!(", {size} B {kind}, {model} loop");
            if let Some(depth) = messages.depth {
                load += &format!(", depth {depth}");
            }
        }
        line(out, "load", &load)?;
        connections(out, &self.connections)?;
        if let Some(found) = &self.messages {
            messages(out, found)?;
        }
        for error in &self.errors {
            line(out, "error", &format!("{} × {}: {}", error.count, error.stage, error.kind))?;
        }
        generator(out, &self.generator)?;
        if let Some(found) = &self.server {
            server(out, found)?;
        }
        kernel(out, &self.kernel)?;
        for note in &self.notes {
            line(out, "note", note)?;
        }
        line(out, "verdict", self.verdict.text())
    }
}

impl Verdict {
    const fn text(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::CouldNotRun => "COULD NOT RUN",
            Self::Lost => "LOST: connections or messages were lost or wrong",
            Self::ConnectionsMissing => "CONNECTIONS MISSING",
            Self::Interrupted => "INTERRUPTED: the figures are those until then",
        }
    }
}

fn connections(out: &mut Formatter<'_>, found: &Connections) -> Result {
    let Connections { requested, opened, lost, closed_cleanly, pings_answered, .. } = found;
    line(
        out,
        "connections",
        &format!(
            "{opened} of {requested} opened in {:.2} s ({:.0}/s), {lost} lost, {closed_cleanly} \
             closed cleanly, {pings_answered} pings answered",
            found.connect_seconds, found.connects_per_second
        ),
    )?;
    percentiles(out, "handshake", &found.handshake_ns)
}

fn messages(out: &mut Formatter<'_>, found: &Messages) -> Result {
    let mut rate = format!(
        "{} in {:.2} s, {:.0}/s",
        found.received, found.measured_seconds, found.received_per_second
    );
    if let (Some(rounds), Some(per_second)) = (found.rounds, found.rounds_per_second) {
        rate += &format!("; {rounds} rounds, {per_second:.1}/s");
    }
    if let Some(skipped) = found.skipped {
        rate += &format!("; {skipped} skipped");
    }
    line(out, "messages", &rate)?;
    percentiles(out, "latency", &found.latency_ns)?;
    for (label, spread) in [
        ("first", &found.first_receiver_ns),
        ("median", &found.median_receiver_ns),
        ("last", &found.last_receiver_ns),
    ] {
        if let Some(spread) = spread {
            percentiles(out, label, spread)?;
        }
    }
    let Messages { missing, duplicate, out_of_order, corrupt, .. } = found;
    line(
        out,
        "wrong",
        &format!(
            "{missing} missing, {duplicate} duplicate, {out_of_order} out of order, {corrupt} \
             corrupt"
        ),
    )
}

fn generator(out: &mut Formatter<'_>, found: &Generator) -> Result {
    let mut text = format!(
        "CPU {:.2} s, RSS {}, {:.0} B per connection",
        found.cpu_seconds,
        mebibytes(found.resident_bytes),
        found.resident_bytes_per_connection
    );
    for share in &found.cpus {
        text += &format!(", CPU {} {:.0} % busy", share.cpu, share.busy * 100.0);
    }
    line(out, "generator", &text)
}

fn server(out: &mut Formatter<'_>, found: &Server) -> Result {
    let mut text = format!(
        "CPU user {:.2} s, system {:.2} s",
        found.cpu_user_seconds, found.cpu_system_seconds
    );
    if let (Some(user), Some(system)) = (found.user_ns_per_message, found.system_ns_per_message) {
        let total = user + system;
        text += &format!("; per message {total:.0} ns = {user:.0} user + {system:.0} system");
    }
    line(out, "server", &text)?;
    let Server { connect_cpu_user_seconds: user, connect_cpu_system_seconds: system, .. } = found;
    line(out, "server", &format!("while connecting CPU user {user:.2} s, system {system:.2} s"))?;
    line(
        out,
        "server",
        &format!(
            "RSS {} before, {} connected, {} measured, {} after; {:.0} B per connection",
            mebibytes(found.resident_before_bytes),
            mebibytes(found.resident_connected_bytes),
            mebibytes(found.resident_measured_bytes),
            mebibytes(found.resident_after_bytes),
            found.resident_bytes_per_connection
        ),
    )
}

fn kernel(out: &mut Formatter<'_>, found: &Kernel) -> Result {
    let Kernel { before, connected, measured, after, .. } = found;
    let row =
        |of: fn(&crate::probe::KernelSample) -> u64| [before, connected, measured, after].map(of);
    let sockets = row(|sample| sample.tcp_in_use);
    let slab = row(|sample| sample.slab_bytes >> 20);
    line(
        out,
        "kernel",
        &format!(
            "TCP sockets {sockets:?}, slab MiB {slab:?} (before, connected, measured, after); \
             slab {:.0} B per connection",
            found.slab_bytes_per_connection
        ),
    )
}

fn percentiles(out: &mut Formatter<'_>, label: &str, found: &Percentiles) -> Result {
    let text = if found.count == 0 {
        "none".to_owned()
    } else {
        format!(
            "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            time(found.p50),
            time(found.p90),
            time(found.p99),
            time(found.p99_9),
            time(found.max)
        )
    };
    line(out, label, &text)
}

fn line(out: &mut Formatter<'_>, label: &str, text: &str) -> Result {
    writeln!(out, "  {label:LABEL$}{text}")
}

/// Nanoseconds in the unit that people read.
fn time(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    match nanoseconds {
        0..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{:.1}us", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2}ms", value / 1e6),
        _ => format!("{:.2}s", value / 1e9),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(time(999), "999ns");
        assert_eq!(time(1_500), "1.5us");
        assert_eq!(time(12_340_000), "12.34ms");
        assert_eq!(time(2_000_000_000), "2.00s");
    }
}
