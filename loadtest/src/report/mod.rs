//! The report: one set of figures, as text for people and as JSON for scripts.

mod figures;
mod text;

use std::fs;
use std::path::Path;

use serde::Serialize;

use self::figures::{
    BOUND_SHARE, Config, Connections, ErrorCount, Generator, Kernel, Messages, Server,
    foreign_cpus_busy,
};
use crate::args::Arguments;
use crate::run::Outcome;

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

/// Processors that other processes may take before a run on them is not to be trusted.
const FOREIGN_SHARE: f64 = 0.1;

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
    /// Processors that were at work for neither this process nor the server's, while the run was
    /// measured. Absent when the server's process is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    foreign_cpus_busy: Option<f64>,
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

impl Report {
    /// The figures of a run.
    pub(crate) fn new(arguments: &Arguments, outcome: &Outcome) -> Self {
        let stats = &outcome.stats;
        let verdict = Verdict::of(outcome, arguments.scenario.common().connections);
        let generator = Generator::new(outcome);
        let foreign_cpus_busy = foreign_cpus_busy(outcome);
        Self {
            tool: "loadtest",
            version: env!("CARGO_PKG_VERSION"),
            verdict,
            exit_code: verdict.exit_code(),
            notes: notes(outcome, &generator, foreign_cpus_busy),
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
            foreign_cpus_busy,
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

fn notes(outcome: &Outcome, generator: &Generator, foreign: Option<f64>) -> Vec<String> {
    let mut notes = outcome.plan.warnings.clone();
    notes.extend(outcome.failed.iter().chain(&outcome.stopped).cloned());
    if generator.is_bound() {
        notes.push(format!(
            "generator-bound: its threads took more than {:.0} % of a CPU, so the rate is the \
             generator's limit and latencies hold its own queues",
            BOUND_SHARE * 100.0
        ));
    }
    if let Some(foreign) = foreign.filter(|&foreign| foreign > FOREIGN_SHARE) {
        notes.push(format!(
            "shared machine: other processes took {foreign:.2} CPUs, which spoils rates and tails"
        ));
    }
    notes
}
