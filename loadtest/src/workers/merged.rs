//! What the workers of a run measured, as the results of one run.

use super::coordinator::Clocks;
use crate::args::Arguments;
use crate::environment;
use crate::results::{Results, Summary, Verdict};

/// What only the coordinator knows of a run.
#[derive(Debug)]
pub(super) struct Circumstances {
    /// When it began, in seconds of the Unix epoch.
    pub(super) started: f64,
    /// Workers that did not make their part to the end, and why.
    pub(super) lost: Vec<String>,
    /// Whether the user ended it.
    pub(super) interrupted: bool,
    /// How well the workers' clocks agree; `None` when there is one clock only.
    pub(super) clocks: Option<Clocks>,
}

/// Makes one of the workers' parts.
///
/// # Errors
/// When no part is left, or the parts do not fit together.
pub(super) fn merge(
    arguments: &Arguments,
    parts: Vec<Results>,
    circumstances: &Circumstances,
) -> Result<Results, String> {
    if parts.is_empty() {
        return Err(circumstances.lost.join("; "));
    }
    let processes = parts.len();
    let mut results = Results::merge(parts)?;
    let summary = &mut results.summary;
    let scenario = &arguments.scenario;
    // The parts that were lost were asked for as well.
    summary.config.connections = scenario.common().connections.into();
    summary.connections.requested = summary.config.connections;
    if let Some((target, _)) = scenario.schedule() {
        summary.rate.target = Some(target);
        summary.rate.ratio = Some(summary.rate.achieved / target);
    }
    summary.started_unix_seconds = circumstances.started;
    summary.environment.command = environment::read().command;
    if let Some(clocks) = &circumstances.clocks {
        summary.notes.push(clocks.to_string());
    }
    if processes > 1 && scenario.publishers() > 0 {
        summary.notes.push(
            "the first, median and last receiver of a message are not told: its receivers are \
             those of several processes"
                .to_owned(),
        );
    }
    judge(summary, circumstances);
    Ok(results)
}

/// A run that is not whole could not be made, whatever its parts are worth.
fn judge(summary: &mut Summary, circumstances: &Circumstances) {
    let mut raise = |verdict: Verdict| {
        if verdict.severity() > summary.verdict.severity() {
            summary.verdict = verdict;
            summary.exit_code = verdict.exit_code();
        }
    };
    if circumstances.interrupted {
        raise(Verdict::Interrupted);
    }
    if !circumstances.lost.is_empty() {
        raise(Verdict::CouldNotRun);
        summary.reasons.splice(0..0, circumstances.lost.iter().cloned());
    }
}
