//! `ramp` and `capacity`: the most connections, or the highest rate, that keep a promise. Each step
//! is a run of its own.

use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Subcommand, ValueEnum};

use crate::args::{Arguments, Common, MessageArguments, RequestArguments, ScenarioArguments};
use crate::results::{ErrorCount, Figure, Gate, Merge, Results, Step, Summary, Verdict};
use crate::run;
use crate::stats::Failure;

/// Steps of a search, at most: doubling from one to a billion takes thirty.
const STEPS_MAX: usize = 64;

/// The searches and the flags of each.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SearchCommand {
    /// Searches the highest rate, or the most connections, that keep an SLO: doubles, then bisects
    Capacity {
        #[command(flatten)]
        search: SearchArguments,
        /// Ends the search when success and failure are this close, as a part of the value
        #[arg(long, value_name = "PART", default_value_t = 0.05, value_parser = part)]
        precision: f64,
    },
    /// Goes up in even steps until an SLO is not kept
    Ramp {
        #[command(flatten)]
        search: SearchArguments,
        /// From one step to the next
        #[arg(long, value_name = "N", value_parser = positive)]
        step: f64,
    },
}

/// The flags of every search.
#[derive(Clone, Debug, Args)]
pub(crate) struct SearchArguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    message: MessageArguments,
    #[command(flatten)]
    requests: RequestArguments,
    /// What is searched: the rate at --connections, or connections up to --connections
    #[arg(long, value_enum, default_value_t = Searched::Rate)]
    of: Searched,
    /// What must hold, as 'p99<50ms'; repeatable
    #[arg(long, value_name = "EXPR", default_value = "p99<50ms")]
    slo: Vec<Gate>,
    /// The first step
    #[arg(long, value_name = "N", default_value_t = 1_000.0, value_parser = positive)]
    from: f64,
    /// The last step; default: a billion messages per second, or --connections
    #[arg(long, value_name = "N", value_parser = positive)]
    to: Option<f64>,
    /// Messages per second of each connection when connections are searched; 0 only connects
    #[arg(long, value_name = "R", default_value_t = 1.0, value_parser = not_negative)]
    per_connection: f64,
}

/// What is searched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Searched {
    /// Messages per second
    Rate,
    /// Connections
    Connections,
}

impl SearchCommand {
    /// The flags that every run has.
    pub(crate) const fn common(&self) -> &Common {
        &self.arguments().common
    }

    /// The flags of every search.
    pub(crate) const fn arguments(&self) -> &SearchArguments {
        match self {
            Self::Capacity { search, .. } | Self::Ramp { search, .. } => search,
        }
    }

    /// Checks what no single flag shows; the error says what to change.
    pub(crate) fn check(&self) -> Result<(), String> {
        let search = self.arguments();
        if let Some(gate) = search.slo.iter().find(|gate| gate.is_relative()) {
            return Err(format!("--slo {gate} has nothing to compare with: give a value"));
        }
        if search.from > search.last() {
            return Err(format!("--from {} is past the last step, {}", search.from, search.last()));
        }
        search.step(search.from).check()
    }

    /// The run of the highest step that may come.
    pub(crate) fn highest(&self) -> Arguments {
        let search = self.arguments();
        search.step(search.last())
    }

    /// Searches. The results are those of the highest step that kept the SLO, with all steps.
    ///
    /// # Errors
    /// What keeps a step from beginning, and what to change.
    pub(crate) fn run(&self, interrupted: &AtomicBool) -> Result<Results, String> {
        let mut search = Search {
            arguments: self.arguments(),
            interrupted,
            steps: Vec::new(),
            best: None,
            lowest_failure: None,
            failed: None,
            limits: Vec::new(),
        };
        match self {
            Self::Capacity { precision, .. } => search.double_and_bisect(*precision)?,
            Self::Ramp { step, .. } => search.climb(*step)?,
        }
        Ok(search.results(if matches!(self, Self::Ramp { .. }) { "ramp" } else { "capacity" }))
    }
}

impl SearchArguments {
    fn last(&self) -> f64 {
        let limit = match self.of {
            Searched::Rate => 1e9,
            Searched::Connections => f64::from(self.common.connections),
        };
        self.to.unwrap_or(limit).min(limit)
    }

    /// The run of a step.
    pub(crate) fn step(&self, value: f64) -> Arguments {
        let (connections, rate) = match self.of {
            Searched::Rate => (self.common.connections, value),
            Searched::Connections => (value as u32, self.per_connection * value.floor()),
        };
        let common = Common { connections, fail_if: Vec::new(), ..self.common.clone() };
        let (message, requests) = (self.message.clone(), self.requests.clone());
        let scenario = if rate > 0.0 {
            ScenarioArguments::Rate { common, message, rate, poisson: false, requests }
        } else {
            ScenarioArguments::Idle { common }
        };
        Arguments { scenario, step: Some(value) }
    }
}

/// A search that goes on.
struct Search<'a> {
    arguments: &'a SearchArguments,
    interrupted: &'a AtomicBool,
    steps: Vec<Step>,
    /// The highest value that kept the SLO.
    best: Option<(f64, Results)>,
    /// The lowest that did not, and its verdict.
    lowest_failure: Option<(f64, Verdict)>,
    /// The first run that did not.
    failed: Option<Results>,
    /// What this host did not allow.
    limits: Vec<String>,
}

impl Search<'_> {
    fn climb(&mut self, step: f64) -> Result<(), String> {
        let mut value = self.arguments.from;
        while value <= self.arguments.last() && self.attempt(value)? && self.goes_on() {
            value += step;
        }
        Ok(())
    }

    fn double_and_bisect(&mut self, precision: f64) -> Result<(), String> {
        let last = self.arguments.last();
        let mut value = self.arguments.from;
        while self.attempt(value)? && value < last && self.goes_on() {
            value = (value * 2.0).min(last);
        }
        while self.goes_on()
            && let Some((failed, _)) = self.lowest_failure
        {
            let passed = self.best.as_ref().map_or(0.0, |&(value, _)| value);
            let middle = f64::midpoint(passed, failed).round();
            if failed - passed <= precision * failed || middle <= passed || middle >= failed {
                break;
            }
            self.attempt(middle)?;
        }
        Ok(())
    }

    fn goes_on(&self) -> bool {
        self.steps.len() < STEPS_MAX && !self.interrupted.load(Ordering::Relaxed)
    }

    /// Whether a value keeps the SLO.
    fn attempt(&mut self, value: f64) -> Result<bool, String> {
        let arguments = self.arguments.step(value);
        let results = match run::run(&arguments, self.interrupted) {
            // What this host does not allow ends the search where it is.
            Err(reason) if self.best.is_some() => {
                eprintln!("loadtest: {reason}");
                self.limits.push(reason);
                self.fail(value, Verdict::CouldNotRun);
                return Ok(false);
            }
            results => results?,
        };
        let reason = self.failure(&results);
        let summary = &results.summary;
        let step = Step {
            connections: summary.connections.achieved,
            rate: summary.rate.target,
            achieved: summary.rate.achieved,
            latency_us: summary.latency_us,
            passed: reason.is_none(),
            reason: reason.unwrap_or_default(),
        };
        eprint!("{}", step.line());
        let passed = step.passed;
        self.steps.push(step);
        if passed {
            self.best = Some((value, results));
        } else {
            self.limits.extend(host_limit(summary));
            self.fail(value, summary.verdict);
            self.failed.get_or_insert(results);
        }
        Ok(passed)
    }

    fn fail(&mut self, value: f64, verdict: Verdict) {
        if self.lowest_failure.is_none_or(|(failed, _)| value < failed) {
            self.lowest_failure = Some((value, verdict));
        }
    }

    /// Why a step did not keep the SLO.
    fn failure(&self, results: &Results) -> Option<String> {
        let summary = &results.summary;
        if summary.verdict != Verdict::Valid {
            let reasons = summary.reasons.join("; ");
            return Some(format!("{}: {reasons}", summary.verdict.name()));
        }
        self.arguments.slo.iter().find_map(|slo| slo.breach(summary, None))
    }

    /// The best step, as the results of the whole search.
    fn results(self, name: &str) -> Results {
        let Self { arguments, interrupted, steps, best, lowest_failure, failed, limits } = self;
        let value = best.as_ref().map_or(0.0, |&(value, _)| value);
        let (verdict, reasons) = match (lowest_failure, &best) {
            _ if interrupted.load(Ordering::Relaxed) => {
                (Verdict::Interrupted, vec!["the search was ended by a signal".to_owned()])
            }
            (_, None) => {
                let verdict = match failed.as_ref().map(|first| first.summary.verdict) {
                    Some(verdict) if verdict != Verdict::Valid => verdict,
                    _ => Verdict::GateFailed,
                };
                let reasons = steps.first().map(|step| step.reason.clone());
                (verdict, reasons.into_iter().collect())
            }
            (Some(_), _) if !limits.is_empty() => (Verdict::GeneratorBound, limits),
            (Some((_, Verdict::GeneratorBound)), _) => (
                Verdict::GeneratorBound,
                vec!["the next step was the generator's limit: the server may do more".to_owned()],
            ),
            _ => (Verdict::Valid, Vec::new()),
        };
        let best = best.map(|(_, results)| results);
        let mut results = best.or(failed).expect("the first step is always made");
        let summary = &mut results.summary;
        (summary.verdict, summary.exit_code, summary.reasons) =
            (verdict, verdict.exit_code(), reasons);
        if lowest_failure.is_none() && verdict == Verdict::Valid {
            let note = "no step failed: what was found is a lower bound".to_owned();
            summary.notes.push(note);
        }
        name.clone_into(&mut summary.config.scenario);
        summary.figures.push(figure(arguments, value));
        summary.steps = steps;
        results
    }
}

/// What this host lacked for connections that did not open.
fn host_limit(summary: &Summary) -> Option<String> {
    let is_ours = |error: &&ErrorCount| {
        Failure::OF_THIS_HOST.iter().any(|failure| failure.to_string() == error.kind)
    };
    let error = summary.errors.iter().find(is_ours)?;
    Some(format!("{} connections of a step: {}", error.count, error.kind))
}

fn figure(arguments: &SearchArguments, value: f64) -> Figure {
    let slo: Vec<String> = arguments.slo.iter().map(ToString::to_string).collect();
    let (name, what) = match arguments.of {
        Searched::Rate => ("capacity_messages_per_second", "messages per second"),
        Searched::Connections => ("capacity_connections", "connections"),
    };
    let label = format!("most {what} with {}", slo.join(", "));
    Figure { name: name.to_owned(), value, label, merge: Merge::Sum }
}

fn positive(text: &str) -> Result<f64, String> {
    not_negative(text).and_then(|number| {
        if number >= 1.0 { Ok(number) } else { Err("give a number from 1 on".to_owned()) }
    })
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=1e9).contains(&number) => Ok(number),
        _ => Err("give a number up to 1e9".to_owned()),
    }
}

fn part(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.001..=1.0).contains(&part) => Ok(part),
        _ => Err("give a number from 0.001 to 1".to_owned()),
    }
}
