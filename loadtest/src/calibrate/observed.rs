//! What a calibration reads from a run of the generator: nothing else here knows what a run leaves.

use crate::results::{Results, Verdict};

/// A run in which nothing went wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    /// Connections that were opened.
    pub(super) opened: f64,
    /// From the first connection's start to the last one's 101.
    pub(super) connect_seconds: f64,
    /// Processor time of this process meanwhile, the peer's included; 0 when not asked for.
    pub(super) connect_cpu_seconds: f64,
    /// Growth of this process meanwhile.
    pub(super) resident_bytes_per_connection: f64,
    /// Messages that were due while the run was measured, and were echoed and checked.
    pub(super) messages: f64,
    pub(super) measured_seconds: f64,
    /// Share of its processor that the generator's thread took meanwhile.
    pub(super) busy: f64,
    /// Round trips, from the intended time in an open loop.
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// How late messages of an open loop were sent by the generator's own doing, at p99.
    pub(super) schedule_lag_us: f64,
}

impl Observed {
    /// Reads a run. That the generator was its limit is no fault here.
    ///
    /// # Errors
    /// Why its figures mean nothing.
    pub(super) fn of(results: &Results) -> Result<Self, String> {
        let summary = &results.summary;
        if !matches!(summary.verdict, Verdict::Valid | Verdict::GeneratorBound) {
            let reasons = summary.reasons.join("; ");
            return Err(format!("a run against the null echo went wrong: {reasons}"));
        }
        let (connections, generator) = (&summary.connections, &summary.generator);
        Ok(Self {
            opened: connections.achieved as f64,
            connect_seconds: connections.connect_seconds,
            connect_cpu_seconds: summary
                .server
                .as_ref()
                .map_or(0.0, |server| server.connect_cpu_seconds),
            resident_bytes_per_connection: generator.resident_bytes_per_connection,
            messages: summary.messages.received as f64,
            measured_seconds: summary.messages.measured_seconds,
            busy: generator.threads.first().map_or(0.0, |thread| thread.busy),
            p50_us: summary.latency_us.p50,
            p99_us: summary.latency_us.p99,
            schedule_lag_us: summary.histograms.get("schedule_lag").map_or(0.0, |lag| lag.us.p99),
        })
    }
}
