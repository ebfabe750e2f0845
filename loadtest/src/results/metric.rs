//! What runs are judged and compared by: a figure of the summary under a short name.

use std::fmt;
use std::str::FromStr;

use super::units;
use super::{Percentiles, Summary};

/// A figure of the summary.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Metric {
    /// One of [`QUANTITIES`], by its position.
    Quantity(usize),
    /// A field of a histogram, as `latency` and `p99`.
    Latency { histogram: String, field: &'static str },
    /// A figure of the scenario.
    Figure(String),
}

/// What the numbers of a metric count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Microseconds,
    Seconds,
    Bytes,
    /// Messages, connections, shares: a bare number.
    Plain,
}

struct Quantity {
    name: &'static str,
    unit: Unit,
    of: fn(&Summary) -> Option<f64>,
}

const fn quantity(name: &'static str, unit: Unit, of: fn(&Summary) -> Option<f64>) -> Quantity {
    Quantity { name, unit, of }
}

/// Figures that are no latencies.
const QUANTITIES: [Quantity; 15] = [
    quantity("rate", Unit::Plain, |of| Some(of.rate.achieved)),
    quantity("received", Unit::Plain, |of| Some(of.rate.received)),
    quantity("ratio", Unit::Plain, |of| of.rate.ratio),
    quantity("missing", Unit::Plain, |of| Some(of.messages.missing as f64)),
    quantity("duplicate", Unit::Plain, |of| Some(of.messages.duplicate as f64)),
    quantity("out_of_order", Unit::Plain, |of| Some(of.messages.out_of_order as f64)),
    quantity("corrupt", Unit::Plain, |of| Some(of.messages.corrupt as f64)),
    quantity("shed", Unit::Plain, |of| Some(of.messages.shed as f64)),
    quantity("errors", Unit::Plain, |of| Some(errors(of))),
    quantity("lost", Unit::Plain, |of| Some(of.connections.lost as f64)),
    quantity("connections", Unit::Plain, |of| Some(of.connections.achieved as f64)),
    quantity("connect_seconds", Unit::Seconds, |of| Some(of.connections.connect_seconds)),
    quantity("connects_per_second", Unit::Plain, |of| Some(of.connections.connects_per_second)),
    quantity("server_cpu", Unit::Seconds, |of| {
        of.server.as_ref()?.cpu_seconds_per_million_messages
    }),
    quantity("server_bytes", Unit::Bytes, |of| {
        Some(of.server.as_ref()?.resident_bytes_per_connection)
    }),
];

/// Failures of connections, and messages that were not as they should be.
fn errors(summary: &Summary) -> f64 {
    let messages = &summary.messages;
    let failures: f64 = summary.errors.iter().map(|error| error.count as f64).sum();
    let wrong = [messages.missing, messages.duplicate, messages.out_of_order, messages.corrupt];
    failures + wrong.iter().map(|&count| count as f64).sum::<f64>()
}

impl Metric {
    /// Its value in a run; absent when the run has no such figure, or nothing was measured.
    pub(crate) fn of(&self, summary: &Summary) -> Option<f64> {
        match self {
            Self::Quantity(position) => (QUANTITIES[*position].of)(summary),
            Self::Figure(name) => {
                Some(summary.figures.iter().find(|figure| figure.name == *name)?.value)
            }
            Self::Latency { histogram, field } => {
                let us = match histogram.as_str() {
                    "latency" => &summary.latency_us,
                    "latency_uncorrected" => &summary.latency_uncorrected_us,
                    name => &summary.histograms.get(name)?.us,
                };
                let found = us.fields().into_iter().find(|(name, _)| name == field);
                found.filter(|_| us.count > 0 || *field == "count").map(|(_, value)| value)
            }
        }
    }

    /// What its numbers count.
    pub(crate) fn unit(&self) -> Unit {
        match self {
            Self::Quantity(position) => QUANTITIES[*position].unit,
            Self::Latency { field: "count", .. } | Self::Figure(_) => Unit::Plain,
            Self::Latency { .. } => Unit::Microseconds,
        }
    }
}

impl Unit {
    /// A value with its unit, for people.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Microseconds => units::time(value),
            Self::Seconds => format!("{} s", units::number(value)),
            Self::Bytes => units::bytes(value),
            Self::Plain => units::number(value),
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(position) = QUANTITIES.iter().position(|quantity| quantity.name == text) {
            return Ok(Self::Quantity(position));
        }
        let field = |name: &str| {
            let name = name.replace('.', "_");
            Percentiles::default().fields().into_iter().map(|(field, _)| field).find(|f| *f == name)
        };
        if let Some(field) = field(text) {
            return Ok(Self::Latency { histogram: "latency".to_owned(), field });
        }
        match text.split_once('.') {
            Some(("figure", name)) if !name.is_empty() => Ok(Self::Figure(name.to_owned())),
            Some((histogram, name)) if !histogram.is_empty() && field(name).is_some() => {
                let histogram = histogram.to_owned();
                Ok(Self::Latency { histogram, field: field(name).unwrap_or("count") })
            }
            _ => Err(unknown(text)),
        }
    }
}

fn unknown(text: &str) -> String {
    let fields = Percentiles::default().fields().map(|(field, _)| field).join(", ");
    let quantities = QUANTITIES.each_ref().map(|quantity| quantity.name).join(", ");
    format!(
        "{text:?} is no metric; there are {fields} of the latency, HISTOGRAM.p99 and so on of \
         others, as latency_uncorrected.p99, {quantities} and figure.NAME"
    )
}

impl fmt::Display for Metric {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(position) => out.write_str(QUANTITIES[*position].name),
            Self::Latency { histogram, field } if histogram == "latency" => out.write_str(field),
            Self::Latency { histogram, field } => write!(out, "{histogram}.{field}"),
            Self::Figure(name) => write!(out, "figure.{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::examples;

    #[test]
    fn every_name_finds_its_figure() {
        let summary = examples::run(1).summary;
        let value = |name: &str| Metric::from_str(name).unwrap().of(&summary);
        for (name, expected) in [
            ("p99", summary.latency_us.p99),
            ("p99.9", summary.latency_us.p99_9),
            ("latency_uncorrected.p99_9", summary.latency_uncorrected_us.p99_9),
            ("connect.count", 2.0),
            ("churn.count", 0.0),
            ("rate", 98.0),
            ("errors", 6.0),
            ("server_cpu", 3_000.0),
            ("figure.deliveries", 5.0),
        ] {
            assert_eq!(value(name), Some(expected), "{name}");
        }
        for name in ["churn.p99", "other.p99", "figure.other"] {
            assert_eq!(value(name), None, "{name}");
        }
    }

    #[test]
    fn names_are_written_as_they_are_read() {
        for name in ["p99_9", "connect.p50", "rate", "figure.x"] {
            assert_eq!(Metric::from_str(name).unwrap().to_string(), name);
        }
        for name in ["", "p98", "latency", "figure.", ".p99", "connect."] {
            assert!(Metric::from_str(name).unwrap_err().contains("is no metric"), "{name}");
        }
    }
}
