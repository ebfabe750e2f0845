//! What a calibration reads from a run of the generator: nothing else here knows what a run leaves.

use crate::run::Outcome;

/// A run in which nothing went wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    /// Connections that were opened.
    pub(super) opened: f64,
    /// From the first connection's start to the last one's 101.
    pub(super) connect_seconds: f64,
    /// Processor time of this process meanwhile, the peer's included.
    pub(super) connect_cpu_seconds: f64,
    /// Growth of this process meanwhile.
    pub(super) resident_bytes_per_connection: f64,
    /// Messages that were echoed and checked while the run was measured.
    pub(super) messages: f64,
    pub(super) measured_seconds: f64,
    /// Processor time of the generator's thread meanwhile.
    pub(super) cpu_seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Observed {
    /// Reads a run.
    ///
    /// # Errors
    /// Why its figures mean nothing.
    pub(super) fn of(outcome: &Outcome) -> Result<Self, String> {
        let stats = &outcome.stats;
        if let Some(reason) = outcome.failed.as_ref().or(outcome.stopped.as_ref()) {
            return Err(reason.clone());
        }
        if let Some(((stage, failure), count)) = stats.errors.first_key_value() {
            return Err(format!("{count} × {} with the null echo: {failure}", stage.name()));
        }
        if stats.wrong.total() > 0 {
            return Err(format!("messages of the null echo were wrong: {:?}", stats.wrong));
        }
        let (before, connected) = (outcome.samples.before.own, outcome.samples.connected.own);
        let cpu = (connected.user + connected.system).saturating_sub(before.user + before.system);
        let connect = stats.last_open.unwrap_or(0).saturating_sub(stats.first_start.unwrap_or(0));
        let opened = stats.opened as f64;
        let (wall, ran) = stats.busy.iter().fold((0.0, 0.0), |(wall, ran), busy| {
            (wall + busy.wall.as_secs_f64(), ran + busy.ran.as_secs_f64())
        });
        let quantile = |quantile| stats.latency.histogram().value_at_quantile(quantile);
        Ok(Self {
            opened,
            connect_seconds: connect as f64 * 1e-9,
            connect_cpu_seconds: cpu.as_secs_f64(),
            resident_bytes_per_connection: connected.resident.saturating_sub(before.resident)
                as f64
                / opened,
            messages: stats.messages as f64,
            measured_seconds: wall,
            cpu_seconds: ran,
            p50_us: quantile(0.5) as f64 / 1e3,
            p99_us: quantile(0.99) as f64 / 1e3,
        })
    }
}
