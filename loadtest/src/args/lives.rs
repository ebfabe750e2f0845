//! The flags of the scenarios whose connections end and come back: churn, storm, restart, slow.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::rates::rate;
use super::{CONNECTIONS_MAX, Common, Leave, duration};
use crate::payload::{Sizes, bytes};

/// The flags of `churn`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ChurnArguments {
    /// Messages that every connection sends and gets back, one after the other; more than 0 needs
    /// a server that echoes
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) messages: u32,
    /// Bytes of payload: one size, a range as 16..1024, or sizes with weights as 64:80,4KiB:20
    #[arg(long, value_name = "BYTES", default_value = "64")]
    pub(crate) size: Sizes,
    /// Sends text instead of binary messages
    #[arg(long)]
    pub(crate) text: bool,
    /// Time that a connection stays open at least
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) lifetime: Duration,
    /// Connections started per second, all threads together, by a schedule that waits for nobody;
    /// default: a client comes back as soon as it has left
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) churn_rate: Option<f64>,
}

/// The flags of `storm`.
#[derive(Clone, Debug, Args)]
pub(crate) struct StormArguments {
    /// How the connections are dropped: fin is what the end of a process does, abort a reset, close
    /// a close frame
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Leave::Fin)]
    pub(crate) by: Leave,
    /// Share of the connections that is dropped
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    pub(crate) drop: f64,
    #[command(flatten)]
    pub(crate) backoff: BackoffArguments,
    /// Storms, spread evenly over --duration
    #[arg(long, value_name = "K", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) storms: u32,
    /// Handshakes of a storm at once, all threads together; default: as many as there are clients,
    /// as in a real storm (--connecting bounds only how the connections are opened before it)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) reconnecting: Option<u32>,
}

/// The flags of `restart`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RestartArguments {
    /// Messages per second that each of the clients sends and gets back; 0 is none
    #[arg(long, value_name = "R", default_value = "0.1", value_parser = rate_or_none)]
    pub(crate) send_rate: f64,
    /// Bytes of payload: one size, a range as 16..1024, or sizes with weights as 64:80,4KiB:20
    #[arg(long, value_name = "BYTES", default_value = "64")]
    pub(crate) size: Sizes,
    /// Sends text instead of binary messages
    #[arg(long)]
    pub(crate) text: bool,
    #[command(flatten)]
    pub(crate) backoff: BackoffArguments,
    /// New connections per second meanwhile, all threads together, by a schedule that waits for
    /// nobody: each sends a message, gets it back, and closes
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) churn_rate: Option<f64>,
    /// Clients that make the new connections, beside those of --connections; default: as many as
    /// --churn-rate starts in a second
    #[arg(long, value_name = "N", requires = "churn_rate")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) newcomers: Option<u32>,
    /// Time that the clients hold their connections when no more new ones come, so that those that
    /// the server has then can be looked at; part of --settle
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration)]
    pub(crate) linger: Duration,
}

/// When clients come back.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct BackoffArguments {
    /// Time before a client comes back, and between attempts that fail
    #[arg(long, value_enum, default_value_t = Backoff::Exponential)]
    pub(crate) backoff: Backoff,
    /// Upper bound of the first time of an exponential back-off; a tenth of that of jitter
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration)]
    pub(crate) backoff_base: Duration,
    /// Upper bound of the times of an exponential back-off
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) backoff_max: Duration,
}

/// How long a client waits before it connects again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Backoff {
    /// Not at all; a millisecond after an attempt that failed
    None,
    /// Any time up to ten times --backoff-base
    Jitter,
    /// Any time up to --backoff-base, which doubles with every failure up to --backoff-max
    Exponential,
}

/// The flags of `slow`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SlowArguments {
    /// Connections, of all, that read slowly
    #[arg(long, value_name = "K", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) slow: u32,
    /// SO_RCVBUF of those, in bytes or as 4KiB; the kernel doubles it
    #[arg(long, value_name = "BYTES", default_value = "4KiB", value_parser = bytes)]
    pub(crate) receive_buffer: usize,
    /// Bytes that each of those reads per second; 0 is never
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = bytes)]
    pub(crate) read_rate: usize,
    /// Messages that each of those sends per second while the load is echo; 0 is none
    #[arg(long, value_name = "R", default_value = "10", value_parser = rate_or_none)]
    pub(crate) slow_send_rate: f64,
    /// What the other connections do, and the server with them
    #[arg(long, value_enum, default_value_t = SlowLoad::Broadcast)]
    pub(crate) load: SlowLoad,
    /// Clients that publish while the load is broadcast
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "closed")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) publishers: u32,
}

/// The load next to slow readers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum SlowLoad {
    /// As the scenario echo
    Echo,
    /// As the scenario broadcast: the server sends every message to the slow readers too
    Broadcast,
}

impl ChurnArguments {
    /// Checks what no single flag shows.
    pub(super) fn check(&self, common: &Common) -> Result<(), String> {
        let &Common { connections, warmup, duration, .. } = common;
        // The first lives end one after the other over a lifetime; those of each thread do.
        if self.lifetime / connections >= warmup + duration {
            return Err(format!(
                "nobody leaves and comes back in the {:?} of the run with a --lifetime of {:?}: \
                 give a shorter one, or a longer --duration",
                warmup + duration,
                self.lifetime
            ));
        }
        let Some(rate) = self.churn_rate else { return Ok(()) };
        let alive = (rate * self.lifetime.as_secs_f64()).ceil();
        if alive > connections.into() {
            return Err(format!(
                "--churn-rate {rate} with a --lifetime of {:?} needs {alive} connections at least: \
                 give more with --connections",
                self.lifetime
            ));
        }
        Ok(())
    }
}

impl StormArguments {
    /// Checks what no single flag shows.
    pub(super) fn check(&self, connections: u32) -> Result<(), String> {
        if f64::from(connections) * self.drop < 1.0 {
            return Err(format!(
                "--drop {} of {connections} connections is nobody: give a share above {}, or more \
                 --connections",
                self.drop,
                1.0 / f64::from(connections)
            ));
        }
        Ok(())
    }
}

impl RestartArguments {
    /// Finds how many clients make new connections, and adds them to `connections`.
    pub(super) fn complete(&mut self, connections: &mut u32) -> Result<(), String> {
        let of_a_second = self.churn_rate.map_or(0.0, f64::ceil) as u32;
        let newcomers = self.newcomers.unwrap_or(of_a_second);
        let sum = connections.checked_add(newcomers).filter(|&sum| sum <= CONNECTIONS_MAX);
        let Some(sum) = sum else {
            return Err(format!(
                "{connections} connections and {newcomers} for new ones are more than \
                 {CONNECTIONS_MAX}: give fewer --newcomers"
            ));
        };
        *connections = sum;
        self.newcomers = Some(newcomers);
        Ok(())
    }

    /// Checks what no single flag shows.
    pub(super) fn check(&self, common: &Common) -> Result<(), String> {
        if self.linger > common.settle {
            let (linger, settle) = (self.linger, common.settle);
            return Err(format!("--linger {linger:?} is longer than --settle {settle:?}"));
        }
        Ok(())
    }

    /// Clients that make new connections.
    pub(crate) fn newcomers(&self) -> u32 {
        self.newcomers.unwrap_or_default()
    }
}

impl SlowArguments {
    /// Checks what no single flag shows.
    pub(super) fn check(&self, connections: u32) -> Result<(), String> {
        if self.slow >= connections {
            return Err(format!(
                "--slow {} leaves none of {connections} connections to measure; give more with \
                 --connections",
                self.slow
            ));
        }
        Ok(())
    }
}

fn rate_or_none(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(0.0) => Ok(0.0),
        _ => rate(text).map_err(|bounds| format!("{bounds}, or 0")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("give a share above 0, up to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_bounds() {
        assert_eq!((share("0.5"), share("1")), (Ok(0.5), Ok(1.0)));
        assert!(share("0").is_err() && share("1.1").is_err() && share("NaN").is_err());
        assert!(rate_or_none("inf").is_err() && rate_or_none("-1").is_err());
        // Intervals are sums of nanoseconds: they must not be years.
        assert!(rate_or_none("1e-9").is_err() && rate_or_none("NaN").is_err());
        assert_eq!((rate_or_none("0"), rate_or_none("0.001")), (Ok(0.0), Ok(0.001)));
    }
}
