//! Runs side by side: what was different about them, what came of it, and whether that is allowed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::metric::Metric;
use super::{Gate, Results, Summary, Verdict};

/// The rows of the table.
const METRICS: [&str; 17] = [
    "rate",
    "received",
    "p50",
    "p90",
    "p99",
    "p99_9",
    "max",
    "latency_uncorrected.p50",
    "latency_uncorrected.p90",
    "latency_uncorrected.p99",
    "latency_uncorrected.p99_9",
    "latency_uncorrected.max",
    "connections",
    "connects_per_second",
    "server_cpu",
    "server_bytes",
    "errors",
];

/// What differs between all runs, and says nothing.
const RANDOM: [&str; 1] = ["config.load.masking_key"];

/// Runs of one kind; each figure is the median of theirs.
pub(crate) struct Side {
    /// Where they are.
    pub(crate) name: String,
    /// At least one.
    pub(crate) runs: Vec<Results>,
}

/// The sides that are compared, and how.
pub(crate) struct Comparison {
    pub(crate) base: Side,
    /// Each is compared with the base.
    pub(crate) new: Vec<Side>,
    /// What must not be.
    pub(crate) gates: Vec<Gate>,
    /// Figures of the generator may pass for those of the server.
    pub(crate) allow_generator_bound: bool,
}

impl Side {
    fn summaries(&self) -> impl Iterator<Item = &Summary> {
        self.runs.iter().map(|run| &run.summary)
    }

    /// The values of those runs that have one, in order.
    fn values(&self, metric: &Metric) -> Vec<f64> {
        let mut values: Vec<_> = self.summaries().filter_map(|run| metric.of(run)).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self, metric: &Metric) -> Option<f64> {
        let values = self.values(metric);
        let middle = values.len() / 2;
        match values.len() % 2 {
            0 => Some((values.get(middle.checked_sub(1)?)? + values[middle]) / 2.0),
            _ => Some(values[middle]),
        }
    }

    /// The median, and how far the values of several runs lie apart.
    fn cell(&self, metric: &Metric) -> String {
        let (values, unit) = (self.values(metric), metric.unit());
        let Some(median) = self.median(metric) else { return "-".to_owned() };
        match &values[..] {
            [lowest, .., highest] => {
                format!("{} [{}, {}]", unit.show(median), unit.show(*lowest), unit.show(*highest))
            }
            _ => unit.show(median),
        }
    }
}

impl Comparison {
    /// The comparison for people, and what it comes to: valid, gate failed, or generator-bound.
    pub(crate) fn result(&self) -> (String, Verdict) {
        let mut out = String::new();
        self.runs(&mut out);
        self.differences(&mut out);
        self.table(&mut out);
        let verdict = self.judge(&mut out);
        (out, verdict)
    }

    /// All sides with the names of their columns.
    fn sides(&self) -> impl Iterator<Item = (String, &Side)> {
        let several = self.new.len() > 1;
        let name = move |at| if several { format!("new {at}") } else { "new".to_owned() };
        let new = (1..).zip(&self.new).map(move |(at, side)| (name(at), side));
        std::iter::once(("base".to_owned(), &self.base)).chain(new)
    }

    /// Each side, and what is to be known about its runs.
    fn runs(&self, out: &mut String) {
        for (column, side) in self.sides() {
            let runs = if side.runs.len() == 1 { "run" } else { "runs, each figure their median" };
            *out += &format!("{column:5}  {}: {} {runs}\n", side.name, side.runs.len());
            for run in side.summaries().filter(|run| run.verdict != Verdict::Valid) {
                let (name, meaning) = (run.verdict.name(), run.verdict.meaning());
                *out += &format!("       {name}: {meaning} {}\n", run.reasons.join("; "));
            }
        }
    }

    /// What was asked for, where, and how, as far as it was not the same.
    fn differences(&self, out: &mut String) {
        let mut all: BTreeMap<String, Vec<BTreeSet<String>>> = BTreeMap::new();
        let sides = 1 + self.new.len();
        for (position, (_, side)) in self.sides().enumerate() {
            for run in side.summaries() {
                for (path, value) in circumstances(run) {
                    all.entry(path).or_insert_with(|| vec![BTreeSet::new(); sides])[position]
                        .insert(value);
                }
            }
        }
        let differ = |sides: &[BTreeSet<String>]| {
            sides.iter().any(|values| values.len() > 1 || *values != sides[0])
        };
        all.retain(|path, sides| differ(sides) && !RANDOM.contains(&path.as_str()));
        if all.is_empty() {
            *out += "\nconfiguration and environment are the same\n\n";
            return;
        }
        *out += "\ndifferent:\n";
        for (path, sides) in all {
            let words = |values: &BTreeSet<String>| match values.len() {
                0 => "(absent)".to_owned(),
                _ => values.iter().map(String::as_str).collect::<Vec<_>>().join(" | "),
            };
            let sides = sides.iter().map(words).collect::<Vec<_>>();
            *out += &format!("  {path}: {}\n", sides.join("  ->  "));
        }
        out.push('\n');
    }

    fn table(&self, out: &mut String) {
        let mut rows = vec![vec![String::new()]];
        for (position, (column, _)) in self.sides().enumerate() {
            rows[0].push(column);
            rows[0].extend((position > 0).then(|| "change".to_owned()));
        }
        for name in METRICS {
            let metric: Metric = name.parse().expect("the names are those of metrics");
            let base = self.base.median(&metric);
            let mut row = vec![name.to_owned(), self.base.cell(&metric)];
            for side in &self.new {
                row.extend([side.cell(&metric), change(base, side.median(&metric))]);
            }
            if row[1..].iter().any(|cell| cell != "-") {
                rows.push(row);
            }
        }
        align(out, &rows);
    }

    /// Adds a line for everything that failed.
    fn judge(&self, out: &mut String) -> Verdict {
        let mut verdict = Verdict::Valid;
        let mut fail = |reason: Verdict, line: String| {
            *out += &line;
            if reason.severity() > verdict.severity() {
                verdict = reason;
            }
        };
        for (column, side) in self.sides().skip(1) {
            for gate in &self.gates {
                let metric = gate.metric();
                if let Some(why) = gate.failure_of(side.median(metric), self.base.median(metric)) {
                    fail(Verdict::GateFailed, format!("FAILED {column}: {why}\n"));
                }
            }
        }
        for (column, side) in self.sides().filter(|_| !self.allow_generator_bound) {
            let bound = Verdict::GeneratorBound;
            if side.summaries().any(|run| run.verdict == bound) {
                let line = format!(
                    "FAILED {column}: {}, {}: give the generator more processors, or say \
                     --allow-generator-bound\n",
                    bound.name(),
                    bound.meaning()
                );
                fail(bound, line);
            }
        }
        if verdict == Verdict::Valid && !self.gates.is_empty() {
            *out += &format!("all {} gates passed\n", self.gates.len());
        }
        verdict
    }
}

/// Configuration and environment of a run, by their paths in `summary.json`.
fn circumstances(run: &Summary) -> BTreeMap<String, String> {
    let mut found = BTreeMap::from([("version".to_owned(), run.version.clone())]);
    for (name, value) in [
        ("config", serde_json::to_value(&run.config)),
        ("environment", serde_json::to_value(&run.environment)),
    ] {
        flatten(name, value.unwrap_or_default(), &mut found);
    }
    found
}

/// Objects become paths; lists, which are short, words.
fn flatten(path: &str, value: Value, found: &mut BTreeMap<String, String>) {
    let text = match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                flatten(&format!("{path}.{name}"), value, found);
            }
            return;
        }
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(" "),
        Value::String(text) => text,
        value => value.to_string(),
    };
    found.insert(path.to_owned(), text);
}

/// By how much a figure changed, in percent of the base.
fn change(base: Option<f64>, new: Option<f64>) -> String {
    match (base, new) {
        (Some(base), Some(new)) if base == new => "0 %".to_owned(),
        (Some(base), Some(new)) if base != 0.0 => {
            format!("{:+.1} %", (new - base) / base.abs() * 100.0)
        }
        (Some(_), Some(_)) => "from 0".to_owned(),
        _ => "-".to_owned(),
    }
}

/// Writes rows with columns of one width each, the first to the left, numbers to the right.
fn align(out: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = format!("{:1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line += &format!("  {cell:>width$}");
        }
        *out += line.trim_end();
        out.push('\n');
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::examples::run;

    fn side(name: &str, slownesses: &[u64]) -> Side {
        let runs = slownesses.iter().map(|slowness| run(*slowness)).collect();
        Side { name: name.to_owned(), runs }
    }

    fn comparison(base: &[u64], new: &[u64], gates: &[&str]) -> Comparison {
        Comparison {
            base: side("base", base),
            new: vec![side("new", new)],
            gates: gates.iter().map(|gate| gate.parse().unwrap()).collect(),
            allow_generator_bound: false,
        }
    }

    #[test]
    fn a_run_equals_itself() {
        let (text, verdict) = comparison(&[1], &[1], &["p99>+0%", "rate<-0%"]).result();
        assert_eq!(verdict, Verdict::Valid, "{text}");
        assert!(text.contains("configuration and environment are the same"), "{text}");
        assert!(text.contains("all 2 gates passed"), "{text}");
        let row = text.lines().find(|line| line.starts_with("p99 ")).unwrap();
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(words, ["p99", "137.22us", "137.22us", "0", "%"]);
    }

    #[test]
    fn a_slower_run_fails_and_every_gate_is_named() {
        let gates = ["p99>+10%", "p50>+10%", "rate<-5%", "p90>1s"];
        let (text, verdict) = comparison(&[1], &[2], &gates).result();
        assert_eq!(verdict, Verdict::GateFailed, "{text}");
        let failed: Vec<_> = text.lines().filter(|line| line.starts_with("FAILED")).collect();
        assert_eq!(failed.len(), 2, "{text}");
        assert!(failed[0].starts_with("FAILED new: p99>+10%: the run has 274"), "{text}");
        assert!(text.contains("+100.0 %"), "{text}");
    }

    #[test]
    fn of_several_runs_the_median_counts_and_the_spread_is_shown() {
        let gates = ["p99>+10%"];
        assert_eq!(comparison(&[1, 1, 9], &[9, 1, 1], &gates).result().1, Verdict::Valid);
        let (text, verdict) = comparison(&[1, 2], &[1, 9, 9], &gates).result();
        assert_eq!(verdict, Verdict::GateFailed);
        assert!(text.contains("205.82us [137.22us, 274.43us]"), "{text}");
        assert!(text.contains("runs, each figure their median"), "{text}");
    }

    #[test]
    fn differences_come_first() {
        let mut comparison = comparison(&[1], &[1], &[]);
        let summary = &mut comparison.new[0].runs[0].summary;
        summary.environment.kernel = "7.0".to_owned();
        summary.environment.settings.clear();
        summary.config.load.as_mut().unwrap().masking_key = [9; 4];
        let (text, verdict) = comparison.result();
        assert_eq!(verdict, Verdict::Valid);
        let (differences, _) = text.split_once("\nrate ").expect("the table");
        assert!(differences.contains("environment.kernel: 6.18.0  ->  7.0\n"), "{text}");
        let setting = "environment.settings.net.core.somaxconn: 4096  ->  (absent)\n";
        assert!(differences.contains(setting), "{text}");
        assert!(!text.contains("masking_key"), "{text}");
    }

    #[test]
    fn figures_of_the_generator_pass_no_gate() {
        let mut comparison = comparison(&[1], &[1, 1], &["p99>+10%"]);
        comparison.new[0].runs[1].summary.verdict = Verdict::GeneratorBound;
        let (text, verdict) = comparison.result();
        assert_eq!(verdict, Verdict::GeneratorBound);
        assert!(text.contains("FAILED new: GENERATOR-BOUND"), "{text}");
        comparison.allow_generator_bound = true;
        let (text, verdict) = comparison.result();
        assert_eq!(verdict, Verdict::Valid);
        assert!(text.contains("GENERATOR-BOUND: the figures are"), "{text}");
    }
}
