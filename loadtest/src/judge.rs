//! The verdict: whether the figures of a run are those of the server, or of something else.

use crate::args::{Arguments, ScenarioArguments};
use crate::names;
use crate::results::{CpuShare, Gate, Percentiles, Summary, Verdict};
use crate::run::Outcome;
use crate::scenario::breaks;
use crate::stats::{Stage, Stats};

/// Share of the time in which the threads of a processor run, or want to, from which a run shows
/// what they can do and not what the server can.
const SATURATED_SHARE: f64 = 0.95;

/// Share of the time that a thread may wait for a processor that another thread has.
const WAITING_SHARE_MAX: f64 = 0.2;

/// Microseconds by which the messages of an open loop may be late at p99; and the share of the
/// latency that this may be, when the latency is long.
const LAG_US_MAX: f64 = 1_000.0;
const LAG_SHARE_MAX: f64 = 0.1;

/// Share of the schedule that must have been sent in its time.
const RATE_RATIO_MIN: f64 = 0.99;

/// What is said of a run of clients that come back, when none did.
const NOBODY_CAME_BACK: &str = "no client came back while the run was measured: the figures say \
                                nothing of the server; give a longer --duration";

/// What the judge looks at, beside the outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// How late messages were sent by the generator's own doing.
    pub(crate) lag: Percentiles,
    /// Latencies from the intended time.
    pub(crate) corrected: Percentiles,
    /// Messages sent in their time, of those that were scheduled; absent in a closed loop.
    pub(crate) ratio: Option<f64>,
    /// Whether the lag is that of every thread, reading included: one loop does both.
    pub(crate) lag_is_of_all: bool,
    /// What the threads took of each processor.
    pub(crate) cpus: &'a [CpuShare],
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// Of all verdicts that apply, those of the verdict first.
    pub(crate) reasons: Vec<String>,
    /// What the user does not want to be a verdict.
    pub(crate) notes: Vec<String>,
}

/// The verdict with the most weight, and all reasons.
pub(crate) fn judge(
    arguments: &Arguments,
    outcome: &Outcome,
    evidence: &Evidence<'_>,
) -> Judgement {
    let common = arguments.scenario.common();
    let total = &outcome.timeline.total;
    let mut found: Vec<(Verdict, String)> = Vec::new();
    if outcome.interrupted {
        let reason = "ended before its time: the figures are those until then".to_owned();
        found.push((Verdict::Interrupted, reason));
    }
    let broken =
        outcome.failed.iter().chain(refused(outcome).as_ref()).cloned().collect::<Vec<_>>();
    found.extend(broken.into_iter().map(|reason| (Verdict::CouldNotRun, reason)));
    if total.counts.contains_key(names::LOSSES_UNKNOWN) && outcome.is_complete() {
        let reason = "no message is known to be missing or not: other processes never said how \
                      many they published";
        found.push((Verdict::CouldNotRun, reason.to_owned()));
    }
    let mut bound = match arguments.scenario {
        ScenarioArguments::Idle { .. } => Vec::new(),
        _ => generator_bound(evidence),
    };
    bound.extend(without_means(total));
    let is_bound = !bound.is_empty();
    let mut notes = Vec::new();
    if !is_bound && evidence.lag.p99 > LAG_SHARE_MAX * evidence.corrected.p99 {
        notes.push(format!(
            "the generator itself sent {:.0} us late at p99, which is in the latency from the \
             intended time: part of it is not the server's",
            evidence.lag.p99
        ));
    }
    if common.allow_generator_bound {
        notes.extend(bound.into_iter().map(|reason| format!("generator-bound: {reason}")));
    } else {
        found.extend(bound.into_iter().map(|reason| (Verdict::GeneratorBound, reason)));
    }
    let counted = &total.messages;
    if arguments.scenario.message().is_some()
        && counted.scheduled == 0
        && outcome.is_complete()
        && outcome.connected.0 > 0
    {
        let reason = "not one message was due while the run was measured".to_owned();
        found.push((Verdict::GeneratorBound, reason));
    }
    let comes_back = matches!(
        arguments.scenario,
        ScenarioArguments::Churn { .. }
            | ScenarioArguments::Storm { .. }
            | ScenarioArguments::Restart { .. }
    );
    if comes_back && evidence.corrected.count == 0 {
        notes.push(NOBODY_CAME_BACK.to_owned());
    }
    let requested = u64::from(common.connections);
    let never_back = total.counts.get(names::NEVER_BACK).copied().unwrap_or_default();
    for (missing, what) in
        [(requested - total.achieved, "did not open"), (never_back, "did not come back")]
    {
        if missing > 0 {
            let reason = format!("{missing} of {requested} connections {what}");
            found.push((Verdict::ConnectionsMissing, reason));
        }
    }
    let mut errors = server_errors(outcome, is_bound);
    if matches!(arguments.scenario, ScenarioArguments::Restart { .. }) {
        let broken = breaks(total).into_iter().filter(|of| of.count > 0);
        errors.extend(broken.map(|of| format!("{} {}", of.count, of.label)));
    }
    found.extend(errors.into_iter().map(|reason| (Verdict::ServerErrors, reason)));
    let verdicts = found.iter().map(|&(verdict, _)| verdict);
    let verdict = verdicts.max_by_key(|verdict| verdict.severity()).unwrap_or(Verdict::Valid);
    found.sort_by_key(|(verdict, _)| std::cmp::Reverse(verdict.severity()));
    let reasons = found.into_iter().map(|(_, reason)| reason).collect();
    Judgement { verdict, reasons, notes }
}

/// Fails a run whose gates fail. Figures of the generator pass no gate: they are not the server's.
pub(crate) fn judge_gates(summary: &mut Summary, gates: &[Gate]) {
    let mut failures: Vec<String> =
        gates.iter().filter_map(|gate| gate.failure(summary, None)).collect();
    if summary.verdict == Verdict::GeneratorBound && !gates.is_empty() && failures.is_empty() {
        failures.push("no gate is passed with the figures of the generator".to_owned());
    }
    if !failures.is_empty() && summary.verdict.severity() < Verdict::GateFailed.severity() {
        summary.verdict = Verdict::GateFailed;
        summary.exit_code = Verdict::GateFailed.exit_code();
    }
    summary.reasons.append(&mut failures);
}

fn refused(outcome: &Outcome) -> Option<String> {
    let none = outcome.timeline.total.opened == 0 && !outcome.interrupted;
    none.then(|| "no connection was opened".to_owned())
}

/// Why the figures are those of the generator.
fn generator_bound(evidence: &Evidence<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    let lag_max = LAG_US_MAX.max(LAG_SHARE_MAX * evidence.corrected.p99);
    if evidence.lag.p99 > lag_max {
        reasons.push(format!(
            "what was due began late by the generator's own doing: {:.1} ms at p99, and {:.1} ms \
             at most",
            evidence.lag.p99 / 1e3,
            evidence.lag.max / 1e3
        ));
    }
    // A busy thread that is never late does not shape what it measures.
    let in_time = evidence.lag_is_of_all
        && evidence.ratio.is_some_and(|ratio| ratio >= RATE_RATIO_MIN)
        && evidence.lag.p99 <= LAG_US_MAX;
    for cpu in evidence.cpus {
        let is_saturated = !in_time && cpu.busy + cpu.waiting > SATURATED_SHARE;
        if is_saturated || cpu.waiting > WAITING_SHARE_MAX {
            reasons.push(format!(
                "its threads took {:.0} % of CPU {} and waited for it {:.0} % of the time: give it \
                 more or other CPUs with --cpus and --threads, or less to do",
                cpu.busy * 100.0,
                cpu.cpu,
                cpu.waiting * 100.0
            ));
        }
    }
    // A schedule that is late without a late generator waits for the server.
    if !reasons.is_empty()
        && let Some(ratio) = evidence.ratio.filter(|&ratio| ratio < RATE_RATIO_MIN)
    {
        reasons.push(format!("{:.1} % of the schedule was sent in time", ratio * 100.0));
    }
    reasons
}

/// What the server did wrong. Messages are shed for its slowness, or for that of a generator that
/// `is_bound`.
fn server_errors(outcome: &Outcome, is_bound: bool) -> Vec<String> {
    let stats = &outcome.timeline.total;
    let messages = &stats.messages;
    let mut reasons: Vec<String> = outcome.stopped.iter().cloned().collect();
    let said = stats.errors.iter().filter(|((stage, _), _)| *stage == Stage::Application);
    for (count, what) in [
        (stats.lost, "connections were lost"),
        (said.map(|(_, count)| count).sum(), "answers were errors, or none that the protocol has"),
        (messages.missing, "messages never came"),
        (messages.duplicate, "messages came again"),
        (messages.out_of_order, "messages came in another order"),
        (messages.corrupt, "messages are not what was sent"),
    ] {
        if count > 0 {
            reasons.push(format!("{count} {what}"));
        }
    }
    if messages.shed > 0 && !is_bound {
        reasons.push(format!(
            "{} messages of the schedule were not sent, because too many before them had no \
             answer or the server did not read: the percentiles leave out the worst",
            messages.shed
        ));
    }
    reasons.extend(churn_errors(stats, is_bound));
    reasons
}

/// What the server did wrong to clients that come and go.
fn churn_errors(stats: &Stats, is_bound: bool) -> Vec<String> {
    let count = |name| stats.counts.get(name).copied().unwrap_or_default();
    let mut reasons = Vec::new();
    let (failed, attempts) = (count(names::NOT_ADMITTED), count(names::ATTEMPTS));
    if failed > 0 {
        reasons.push(format!(
            "{failed} of {attempts} attempts to open a connection were refused, or not answered: \
             the percentiles are those of the others"
        ));
    }
    let not_started = count(names::NOT_STARTED);
    if not_started > 0 && !is_bound {
        reasons.push(format!(
            "{not_started} connections of the schedule were not started, because no client was \
             free: the server was slow to let clients in and out, or --connections are too few"
        ));
    }
    reasons
}

/// What this host did not have for clients that come and go.
fn without_means(stats: &Stats) -> Option<String> {
    let count = stats.counts.get(names::WITHOUT_MEANS).copied().filter(|&count| count > 0);
    count.map(|count| {
        format!(
            "{count} attempts to open a connection failed for want of ports or descriptors of this \
             host: give more --source addresses or --threads, or less to do"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(lag: f64, corrected: f64, cpus: &[CpuShare]) -> Evidence<'_> {
        let p99 = |p99| Percentiles { count: 1, p99, ..Percentiles::default() };
        let (lag, corrected) = (p99(lag), p99(corrected));
        Evidence { lag, corrected, ratio: Some(0.5), lag_is_of_all: true, cpus }
    }

    fn cpu(busy: f64, waiting: f64) -> [CpuShare; 1] {
        [CpuShare { cpu: 0, busy, waiting }]
    }

    #[test]
    fn a_generator_with_time_to_spare_is_not_bound() {
        assert!(generator_bound(&evidence(900.0, 950.0, &cpu(0.7, 0.2))).is_empty());
        // Long latencies are not made of a little lag.
        assert!(generator_bound(&evidence(1_500.0, 1e6, &cpu(0.5, 0.0))).is_empty());
    }

    #[test]
    fn lag_and_crowded_processors_bind_it() {
        let late = generator_bound(&evidence(1_500.0, 2_000.0, &cpu(0.1, 0.1)));
        assert_eq!(late.len(), 2, "{late:?}");
        assert!(late[0].contains("1.5 ms at p99") && late[1].contains("50.0 %"), "{late:?}");
        let crowded = generator_bound(&evidence(0.0, 50.0, &cpu(0.5, 0.46)));
        assert!(crowded[0].contains("waited for it 46 %"), "{crowded:?}");
        // A latency that is made of waiting hides the lag, but not the waiting.
        assert!(!generator_bound(&evidence(7_700.0, 85_000.0, &cpu(0.1, 0.21))).is_empty());
    }

    #[test]
    fn churn_is_judged_by_what_did_not_come_back() {
        let mut stats = Stats::default();
        assert!(churn_errors(&stats, false).is_empty() && without_means(&stats).is_none());
        stats.count_many(names::ATTEMPTS, 1_022);
        stats.count_many(names::NOT_ADMITTED, 501);
        stats.count_many(names::NOT_STARTED, 7);
        let of_server = churn_errors(&stats, false);
        assert!(of_server[0].starts_with("501 of 1022 attempts"), "{of_server:?}");
        assert!(of_server[1].starts_with("7 connections of the schedule"), "{of_server:?}");
        // A generator that is late itself does not blame the server for its schedule.
        assert_eq!(churn_errors(&stats, true), of_server[..1]);
        stats.count(names::WITHOUT_MEANS);
        assert!(without_means(&stats).is_some_and(|reason| reason.starts_with("1 attempts")));
    }

    #[test]
    fn a_busy_thread_that_is_never_late_does_not() {
        let busy = cpu(0.97, 0.02);
        let in_time = Evidence { ratio: Some(0.995), ..evidence(60.0, 150.0, &busy) };
        assert!(generator_bound(&in_time).is_empty());
        assert!(!generator_bound(&Evidence { ratio: Some(0.9), ..in_time }).is_empty());
        assert!(!generator_bound(&Evidence { lag_is_of_all: false, ..in_time }).is_empty());
    }
}
