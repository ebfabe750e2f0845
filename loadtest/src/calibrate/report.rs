//! What a calibration found, as a table for people and as JSON for scripts.

use std::fmt::{Display, Formatter, Result as FormatResult};
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::{CalibrateArguments, Cpus};

/// Share of a processor from which a thread is the bottleneck.
const BOUND_SHARE: f64 = 0.9;

/// Share of the ceiling up to which a rate is the server's own.
const TRUSTED_SHARE: f64 = 0.8;

/// Columns of the first two columns of the table.
const WHAT: usize = 43;
const FIGURE: usize = 46;

/// Everything a calibration found. Fields end in their unit.
#[derive(Debug, Serialize)]
pub(super) struct Calibration {
    tool: &'static str,
    version: &'static str,
    generator_cpu: usize,
    peer_cpu: usize,
    payload_bytes: u32,
    duration_seconds: f64,
    rows: Vec<Row>,
    /// What the reader should know before believing the figures.
    notes: Vec<String>,
    /// What the figures mean; absent when the user ended the calibration.
    #[serde(skip_serializing_if = "Option::is_none")]
    conclusion: Option<String>,
}

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) connections: u32,
    /// Messages in flight per connection of a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) depth: Option<u32>,
    /// Messages per second of the schedule of an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target_per_second: Option<f64>,
    /// Connections opened, or messages echoed and checked.
    pub(super) per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resident_bytes_per_connection: Option<f64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) round_trip: Option<RoundTrip>,
    /// How late the messages of an open loop were sent by the generator's own doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schedule_lag_p99_us: Option<f64>,
    /// Processor time for one connection or message, user and system together.
    pub(super) generator_cpu_ns: f64,
    pub(super) peer_cpu_ns: f64,
    /// Share of its processor that each thread took.
    pub(super) generator_busy: f64,
    pub(super) peer_busy: f64,
    pub(super) limit: Limit,
}

/// Round trips in microseconds, from the intended time in an open loop.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct RoundTrip {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// What kept a figure from being better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Limit {
    /// The generator's processor.
    Generator,
    /// The null echo's processor.
    Peer,
    /// The one processor they have.
    SharedCpu,
    /// Neither: the threads waited, for each other or for their turn.
    Waiting,
}

impl Limit {
    /// Judges by the shares of a processor that the two threads took.
    pub(super) fn of(generator_busy: f64, peer_busy: f64, one_cpu: bool) -> Self {
        if one_cpu && generator_busy + peer_busy >= BOUND_SHARE {
            Self::SharedCpu
        } else if generator_busy.max(peer_busy) < BOUND_SHARE {
            Self::Waiting
        } else if generator_busy >= peer_busy {
            Self::Generator
        } else {
            Self::Peer
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Generator => "generator",
            Self::Peer => "peer",
            Self::SharedCpu => "shared CPU",
            Self::Waiting => "waiting",
        }
    }
}

impl Calibration {
    /// All rows, with what they mean.
    pub(super) fn new(arguments: &CalibrateArguments, cpus: Cpus, rows: Vec<Row>) -> Self {
        let named = |name| rows.iter().find(|row: &&Row| row.name == name);
        let ceiling = named("ceiling");
        let round_trip = named("floor").and_then(|row| row.round_trip);
        let conclusion = ceiling
            .zip(round_trip)
            .map(|(ceiling, round_trip)| conclusion(ceiling, arguments.size, round_trip));
        Self {
            tool: "loadtest",
            version: env!("CARGO_PKG_VERSION"),
            generator_cpu: cpus.generator,
            peer_cpu: cpus.peer,
            payload_bytes: arguments.size,
            duration_seconds: arguments.duration.as_secs_f64(),
            notes: notes(cpus, ceiling),
            conclusion,
            rows,
        }
    }

    /// Writes `calibration.json` to `folder`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&self, folder: &Path) -> Result<(), String> {
        let path = folder.join("calibration.json");
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| format!("the calibration is not valid JSON: {error}"))?;
        fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }
}

fn conclusion(ceiling: &Row, size: u32, round_trip: RoundTrip) -> String {
    let at_least = if ceiling.limit == Limit::Generator { "" } else { "at least " };
    format!(
        "One thread of this generator on this host can send and check {at_least}{} echoes of \
         {size} B a second; a server that seems to reach more than {:.0} % of it per generator \
         thread is being limited by the generator. Latencies below {:.0} µs are its floor.",
        thousands(ceiling.per_second),
        TRUSTED_SHARE * 100.0,
        round_trip.p50_us
    )
}

fn notes(cpus: Cpus, ceiling: Option<&Row>) -> Vec<String> {
    let mut notes = Vec::new();
    if cpus.are_one() {
        notes.push(format!(
            "generator and null echo share CPU {}: the rates are pessimistic, and the floor is \
             optimistic: a server on another CPU has to be woken",
            cpus.generator
        ));
    } else if cpus.share_a_core() {
        notes.push(format!(
            "CPUs {} and {} are two threads of one core and slow each other down: all figures are \
             pessimistic; give two cores with --cpus",
            cpus.generator, cpus.peer
        ));
    }
    let Some(ceiling) = ceiling else { return notes };
    let by_cpu_time = thousands(1e9 / ceiling.generator_cpu_ns);
    match ceiling.limit {
        Limit::Generator => {}
        Limit::SharedCpu => notes.push(format!(
            "by the CPU time of a message, a generator with a CPU of its own would reach about \
             {by_cpu_time} a second"
        )),
        Limit::Peer => notes.push(format!(
            "the null echo was the limit: by the CPU time of a message the generator's own ceiling \
             is about {by_cpu_time} a second"
        )),
        Limit::Waiting => notes.push(format!(
            "neither thread was busy at the ceiling: other work took their CPUs, or there are too \
             few connections; by the CPU time of a message it would be about {by_cpu_time} a second"
        )),
    }
    notes
}

/// What stands above the rows.
pub(super) fn heading(arguments: &CalibrateArguments, cpus: Cpus) -> String {
    format!(
        "calibration: generator on CPU {}, null echo on CPU {}, {} B, {} s each\n  \
         {:WHAT$}{:FIGURE$}limited by (CPU, and CPU time for each)",
        cpus.generator,
        cpus.peer,
        arguments.size,
        arguments.duration.as_secs_f64(),
        "what",
        "figure"
    )
}

/// A line of the table.
impl Display for Row {
    fn fmt(&self, out: &mut Formatter<'_>) -> FormatResult {
        let Self { generator_cpu_ns, peer_cpu_ns, generator_busy, peer_busy, .. } = self;
        let (what, figure, limit) = (self.what(), self.figure(), self.limit.text());
        write!(
            out,
            "  {what:WHAT$}{figure:FIGURE$}{limit:11}generator {:.0} %, {generator_cpu_ns:.0} ns; \
             peer {:.0} %, {peer_cpu_ns:.0} ns",
            generator_busy * 100.0,
            peer_busy * 100.0
        )
    }
}

/// What stands below the rows.
impl Display for Calibration {
    fn fmt(&self, out: &mut Formatter<'_>) -> FormatResult {
        self.notes.iter().try_for_each(|note| writeln!(out, "  note: {note}"))?;
        self.conclusion.iter().try_for_each(|conclusion| writeln!(out, "{conclusion}"))
    }
}

impl Row {
    fn what(&self) -> String {
        let Self { name, connections, .. } = self;
        let plural = if *connections == 1 { "" } else { "s" };
        match (self.depth, self.target_per_second) {
            (Some(depth), _) => {
                format!("{name}: {connections} connection{plural}, {depth} in flight")
            }
            (None, Some(rate)) => {
                format!("{name}: {connections} connection{plural}, {} due/s", thousands(rate))
            }
            (None, None) => format!("{name}: {connections} idle connections"),
        }
    }

    fn figure(&self) -> String {
        let rate = thousands(self.per_second);
        let Some(RoundTrip { p50_us, p99_us }) = self.round_trip else {
            return match self.resident_bytes_per_connection {
                Some(bytes) => format!("{rate} connects/s, {bytes:.0} B each"),
                None => format!("{rate} messages/s"),
            };
        };
        let lag = self.schedule_lag_p99_us.map(|lag| format!(", lag p99 {lag:.0} µs"));
        format!("p50 {p50_us:.0} µs, p99 {p99_us:.0} µs{}", lag.unwrap_or_default())
    }
}

/// A whole number with a comma after every third digit from the right.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busier_thread_is_the_limit() {
        assert_eq!(Limit::of(0.99, 0.95, false), Limit::Generator);
        assert_eq!(Limit::of(0.5, 0.95, false), Limit::Peer);
        assert_eq!(Limit::of(0.5, 0.5, false), Limit::Waiting);
        assert_eq!(Limit::of(0.5, 0.5, true), Limit::SharedCpu);
    }

    #[test]
    fn what_spoils_the_figures_is_said() {
        let ceiling = Row {
            name: "ceiling".to_owned(),
            connections: 500,
            depth: Some(1),
            target_per_second: None,
            per_second: 90_000.0,
            resident_bytes_per_connection: None,
            round_trip: None,
            schedule_lag_p99_us: None,
            generator_cpu_ns: 4_000.0,
            peer_cpu_ns: 3_000.0,
            generator_busy: 0.36,
            peer_busy: 0.27,
            limit: Limit::Waiting,
        };
        let round_trip = RoundTrip { p50_us: 51.4, p99_us: 80.0 };
        let text = conclusion(&ceiling, 512, round_trip);
        assert!(text.contains("at least 90,000 echoes of 512 B"), "{text}");
        assert!(text.contains("more than 80 %") && text.contains("below 51 µs"), "{text}");
        let notes = notes(Cpus { generator: 3, peer: 3 }, Some(&ceiling));
        assert!(notes[0].contains("share CPU 3") && notes[1].contains("250,000"), "{notes:?}");
    }

    #[test]
    fn large_numbers_are_readable() {
        let texts = [0.4, 999.0, 1_000.0, 1_234_567.8].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,568"]);
    }
}
