//! Metrics as Prometheus text (exposition format 0.0.4).

use std::fmt::{Display, Write};
use std::time::Duration;

use super::counters::{Counter, METRICS, ShardCounters, TimeCounter};
use super::family::{Closes, Family, Label};
use super::histogram::{BOUNDS, Histogram};
use super::process::expose_process;
use crate::cluster::ClusterFigures;
use crate::connection::{CloseReason, CodeClass};
use crate::hub::span::NodeId;
use crate::mesh::Mesh;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of `/metrics`.
#[must_use]
pub fn exposition(
    shards: &[ShardCounters],
    mesh: &Mesh,
    cluster: Option<&ClusterFigures>,
) -> String {
    let mut page = Page(String::with_capacity(32 * 1024));
    for metric in METRICS {
        expose(&mut page, metric, shards);
    }
    page.gauge("ringwire_shards", "Shards.", shards.len());
    let name = "ringwire_shard_inbox_envelopes";
    page.describe(name, "gauge", "What other threads told a shard and it has yet to hear.");
    for number in 0..mesh.shards() {
        page.line(name, &label("shard", &number.to_string()), mesh.waiting(number));
    }
    page.describe("ringwire_build_info", "gauge", "The version of the server; always 1.");
    page.line("ringwire_build_info", &label("version", env!("CARGO_PKG_VERSION")), 1);
    // Without other nodes all are 0: dashboards and alerts need not know whether there are any.
    let alone = ClusterFigures::new(NodeId(0));
    for (name, kind, help, value) in cluster.unwrap_or(&alone).list() {
        page.describe(name, kind, help);
        page.line(name, "", value);
    }
    expose_process(&mut page);
    page.0
}

/// One line of the list of metrics.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) scope: Scope,
    pub(super) read: fn(&ShardCounters) -> Reading,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// Which series a metric has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The sum over all shards.
    Sum,
    /// Beside it one of each shard, named `shard_…`.
    AndShards,
}

/// What one shard says of a metric, or all of them together.
#[derive(Clone)]
pub(super) enum Reading {
    Number(u64),
    Seconds(f64),
    /// By labels; the same ones in the same order for each shard.
    Family(Vec<Series>),
    Times(Times),
}

#[derive(Clone)]
pub(super) struct Series {
    labels: String,
    value: u64,
    /// It is left out as long as it is 0.
    is_rare: bool,
}

/// Times at most as long as each of the bounds; last, all of them.
#[derive(Clone)]
pub(super) struct Times {
    cumulated: Vec<u64>,
    sum: Duration,
}

impl Reading {
    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => Self::Number(one + other),
            (Self::Seconds(one), Self::Seconds(other)) => Self::Seconds(one + other),
            (Self::Family(mut all), Self::Family(more)) => {
                for (series, more) in all.iter_mut().zip(more) {
                    series.value += more.value;
                }
                Self::Family(all)
            }
            (Self::Times(mut all), Self::Times(more)) => {
                for (count, more) in all.cumulated.iter_mut().zip(more.cumulated) {
                    *count += more;
                }
                all.sum += more.sum;
                Self::Times(all)
            }
            _ => unreachable!("all shards say the same kind of thing of a metric"),
        }
    }
}

impl From<&Counter> for Reading {
    fn from(counter: &Counter) -> Self {
        Self::Number(counter.get())
    }
}

impl From<&TimeCounter> for Reading {
    fn from(time: &TimeCounter) -> Self {
        Self::Seconds(time.get().as_secs_f64())
    }
}

impl From<&Histogram> for Reading {
    fn from(times: &Histogram) -> Self {
        Self::Times(Times { cumulated: times.cumulated(), sum: times.sum() })
    }
}

impl<L: Label> From<&Family<L>> for Reading {
    fn from(family: &Family<L>) -> Self {
        let series = |&value: &L| Series {
            labels: label(L::NAME, value.value()),
            value: family.of(value).get(),
            is_rare: false,
        };
        Self::Family(L::ALL.iter().map(series).collect())
    }
}

impl From<&Closes> for Reading {
    fn from(closes: &Closes) -> Self {
        let series = |(reason, code): (CloseReason, CodeClass)| Series {
            labels: format!("{{reason=\"{}\",code=\"{}\"}}", reason.label(), code.label()),
            value: closes.of(reason).of(code).get(),
            is_rare: code != reason.usual_code(),
        };
        let codes = |reason| CodeClass::ALL.into_iter().map(move |code| (reason, code));
        Self::Family(CloseReason::ALL.into_iter().flat_map(codes).map(series).collect())
    }
}

/// The text while it is written.
pub(super) struct Page(String);

impl Page {
    /// The lines in front of a metric's series.
    pub(super) fn describe(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// One series; `labels` in braces, or nothing.
    pub(super) fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        self.write(format_args!("{name}{labels} {value}"));
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.describe(name, "gauge", help);
        self.line(name, "", value);
    }

    fn write(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a string takes all text");
    }
}

fn expose(page: &mut Page, metric: &Metric, shards: &[ShardCounters]) {
    let name = format!("ringwire_{}", metric.name);
    let kind = match metric.kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::Histogram => "histogram",
    };
    page.describe(&name, kind, metric.help);
    // Read once, so that the shards add up to their sum.
    let readings: Vec<Reading> = shards.iter().map(metric.read).collect();
    let sum = readings.iter().cloned().reduce(Reading::plus);
    expose_reading(page, &name, "", &sum.expect("a server has a shard"));
    if metric.scope == Scope::AndShards {
        let name = format!("ringwire_shard_{}", metric.name);
        page.describe(&name, kind, &format!("{} By shard.", metric.help));
        for (number, reading) in readings.iter().enumerate() {
            expose_reading(page, &name, &label("shard", &number.to_string()), reading);
        }
    }
}

/// `labels` go to a reading without labels of its own.
fn expose_reading(page: &mut Page, name: &str, labels: &str, reading: &Reading) {
    match reading {
        Reading::Number(number) => page.line(name, labels, number),
        Reading::Seconds(seconds) => page.line(name, labels, seconds),
        Reading::Family(all) => {
            for series in all.iter().filter(|series| series.value > 0 || !series.is_rare) {
                page.line(name, &series.labels, series.value);
            }
        }
        Reading::Times(times) => expose_times(page, name, times),
    }
}

fn expose_times(page: &mut Page, name: &str, times: &Times) {
    let bounds = BOUNDS.map(|exponent| ((1_u64 << exponent) as f64 / 1e9).to_string());
    let all = std::iter::once("+Inf".to_owned());
    for (bound, count) in bounds.chain(all).zip(&times.cumulated) {
        page.line(&format!("{name}_bucket"), &label("le", &bound), count);
    }
    page.line(&format!("{name}_sum"), "", times.sum.as_secs_f64());
    page.line(&format!("{name}_count"), "", times.cumulated.last().expect("the last is all"));
}

fn label(name: &str, value: &str) -> String {
    format!("{{{name}=\"{value}\"}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::HandshakeResult;

    fn text_of(shards: &[ShardCounters]) -> String {
        exposition(shards, &Mesh::new(shards.len()).expect("two doorbells can be made"), None)
    }

    #[test]
    fn shards_are_summed_and_labelled() {
        let shards = [ShardCounters::default(), ShardCounters::default()];
        shards[0].connections.add(3);
        shards[1].connections.add(4);
        shards[1].count_closed(CloseReason::SlowReader, CodeClass::of(Some(1008)));
        shards[0].count_closed(CloseReason::SlowReader, CodeClass::None);
        for shard in &shards {
            shard.count_handshake(HandshakeResult::Refused);
            shard.cpu_time.set(Duration::from_millis(250));
        }
        let text = text_of(&shards);
        for line in [
            "ringwire_connections 7",
            "ringwire_shards 2",
            "ringwire_shard_connections{shard=\"1\"} 4",
            "ringwire_connections_closed_total{reason=\"slow_reader\",code=\"1008\"} 1",
            "ringwire_connections_closed_total{reason=\"slow_reader\",code=\"none\"} 1",
            "ringwire_connections_closed_total{reason=\"peer_gone\",code=\"none\"} 0",
            "ringwire_handshakes_total{result=\"refused\"} 2",
            "ringwire_errors_total{kind=\"handshake\"} 2",
            "ringwire_cpu_seconds_total 0.5",
            "# TYPE ringwire_connections gauge",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn bounds_are_the_decimals_of_powers_of_two_of_nanoseconds() {
        let shards = [ShardCounters::default(), ShardCounters::default()];
        shards[0].turn_time.record(Duration::from_nanos(1 << 14));
        shards[1].turn_time.record(Duration::from_secs(100));
        let text = text_of(&shards);
        for line in [
            "ringwire_turn_seconds_bucket{le=\"0.000008192\"} 0",
            "ringwire_turn_seconds_bucket{le=\"0.000016384\"} 1",
            "ringwire_turn_seconds_bucket{le=\"17.179869184\"} 1",
            "ringwire_turn_seconds_bucket{le=\"+Inf\"} 2",
            "ringwire_turn_seconds_sum 100.000016384",
            "ringwire_turn_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
