//! The server's process, seen through `/proc` of this host or through its own metrics.

use std::time::Duration;

use ureq::Agent;

use crate::args::Common;
use crate::probe::{Process, ProcessSample};

/// Time the server has to tell its metrics: the run goes on meanwhile, but is not looked at.
const FETCH_TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes of metrics that are read.
const METRICS_BYTES_MAX: u64 = 4 << 20;

/// The names that Prometheus clients give to the process they are in.
const CPU_SECONDS: &str = "process_cpu_seconds_total";
const RESIDENT_BYTES: &str = "process_resident_memory_bytes";

/// Where the server's CPU time and memory are read.
#[derive(Debug)]
pub(crate) enum Server {
    /// A process of this host.
    Process(Process),
    /// Prometheus text at a URL.
    Metrics(Agent, String),
}

impl Server {
    /// What the user named, if anything.
    ///
    /// # Errors
    /// When it cannot be read; says what to change.
    pub(crate) fn of(common: &Common) -> Result<Option<Self>, String> {
        if let Some(pid) = common.server_pid {
            return Process::new(pid).map(Self::Process).map(Some);
        }
        let Some(url) = &common.server_metrics else { return Ok(None) };
        let config = Agent::config_builder().timeout_global(Some(FETCH_TIMEOUT)).build();
        let agent = Agent::new_with_config(config);
        fetch(&agent, url).map_err(|reason| format!("--server-metrics {url}: {reason}"))?;
        Ok(Some(Self::Metrics(agent, url.clone())))
    }

    /// Now; `None` when it cannot be read.
    pub(crate) fn sample(&self) -> Option<ProcessSample> {
        match self {
            Self::Process(process) => process.sample(),
            Self::Metrics(agent, url) => fetch(agent, url).ok(),
        }
    }
}

fn fetch(agent: &Agent, url: &str) -> Result<ProcessSample, String> {
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    let body = response.body_mut().with_config().limit(METRICS_BYTES_MAX).read_to_string();
    parse(&body.map_err(|error| error.to_string())?)
}

fn parse(text: &str) -> Result<ProcessSample, String> {
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let values = lines.filter_map(|rest| match rest.split_once('}') {
            Some((labels, rest)) if labels.starts_with('{') => Some(rest),
            _ => rest.starts_with(' ').then_some(rest),
        });
        let first = values.filter_map(|rest| rest.split_ascii_whitespace().next()).next();
        first.and_then(|word| word.parse::<f64>().ok()).filter(|value| value.is_finite())
    };
    let cpu = value(CPU_SECONDS).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let cpu = cpu.ok_or_else(|| format!("there is no {CPU_SECONDS}"))?;
    let resident = value(RESIDENT_BYTES).unwrap_or(0.0) as u64;
    Ok(ProcessSample { cpu, user: None, resident })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_other_servers_are_read() {
        let text = "# TYPE process_cpu_seconds_total counter\n\
                    process_cpu_seconds_total{instance=\"a b\"} 12.5 1700000000\n\
                    process_resident_memory_bytes_peak 9\n\
                    process_resident_memory_bytes 1.5e+07\n";
        let sample = parse(text).expect("both are there");
        assert_eq!((sample.cpu, sample.resident), (Duration::from_millis(12_500), 15_000_000));
        assert!(parse("process_cpu_seconds_total NaN\n").is_err());
        assert!(parse("").is_err_and(|reason| reason.contains(CPU_SECONDS)));
    }
}
