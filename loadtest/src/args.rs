//! The command line.

mod compression;
mod lives;
mod rates;
mod rooms;
mod target;
#[cfg(test)]
mod tests;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::compression::{Compression, CompressionArguments};
pub(crate) use self::lives::{
    Backoff, BackoffArguments, ChurnArguments, RestartArguments, SlowArguments, SlowLoad,
    StormArguments,
};
pub(crate) use self::rates::ConnectRate;
use self::rates::rate;
pub(crate) use self::rooms::{OrderBy, RoomArguments};
pub(crate) use self::target::{Target, nodes};
pub(crate) use self::tls::{TlsArguments, TlsVersion};
use crate::addresses::SourceChoice;
use crate::payload::{Sizes, name_size, stamp_size};
use crate::results::Gate;
use crate::scenario::Publication;
use crate::upgrade::{Header, Protocol};
use crate::workers::WorkersArguments;

/// Connections of a run, at most.
const CONNECTIONS_MAX: u32 = 16_000_000;

/// The shortest interval of a time series: each takes a look at the machine and a histogram.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// A run, as it was asked for.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Arguments {
    /// What the clients do.
    #[command(subcommand)]
    pub(crate) scenario: ScenarioArguments,
    /// The step of the search that the run is part of.
    #[arg(skip)]
    pub(crate) step: Option<f64>,
}

/// The scenarios and the flags of each.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ScenarioArguments {
    /// Connects, holds the connections, answers pings, counts losses
    Idle {
        #[command(flatten)]
        common: Common,
    },
    /// Every client sends messages, and checks the echo of each
    Echo {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        message: MessageArguments,
        #[command(flatten)]
        load: LoadArguments,
        #[command(flatten)]
        requests: RequestArguments,
    },
    /// Requests on a schedule: `echo` with a --rate
    Rate {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        message: MessageArguments,
        /// Requests per second, all connections together
        #[arg(long, value_name = "R", value_parser = rate)]
        rate: f64,
        /// Requests follow each other at random times, as independent users' do
        #[arg(long)]
        poisson: bool,
        #[command(flatten)]
        requests: RequestArguments,
    },
    /// Some clients publish on a schedule and all receive; with --closed, all publish in rounds
    Broadcast {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        message: MessageArguments,
        #[command(flatten)]
        load: LoadArguments,
        /// Clients that publish
        #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "closed")]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
        publishers: u32,
        /// The server does not send a message back to its publisher
        #[arg(long, conflicts_with = "closed")]
        not_to_sender: bool,
    },
    /// Members of chat rooms join, talk on a schedule, come and go
    #[command(mut_arg("connections", |flag| flag.required(false).default_value("0")
        .hide_default_value(true).value_parser(clap::value_parser!(u32).range(..=16_000_000))))]
    #[command(mut_arg("size", |flag| flag.help("Characters of the text of a message, 56 to 1000")))]
    #[command(mut_arg("text", |flag| flag.hide(true).default_value("true")))]
    #[command(mut_arg("backoff", |flag| flag.requires("reconnect")))]
    #[command(mut_arg("backoff_base", |flag| flag.requires("reconnect")))]
    #[command(mut_arg("backoff_max", |flag| flag.requires("reconnect")))]
    Rooms {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        message: MessageArguments,
        #[command(flatten)]
        load: LoadArguments,
        #[command(flatten)]
        rooms: RoomArguments,
    },
    /// Clients connect, exchange messages, leave and come back
    Churn {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        churn: ChurnArguments,
    },
    /// All clients are dropped at once and come back
    Storm {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        storm: StormArguments,
    },
    /// Clients come back when the server lets them go with close frame 1001, as for a restart
    Restart {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        restart: RestartArguments,
    },
    /// Some clients hardly read while the others are measured
    Slow {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        message: MessageArguments,
        #[command(flatten)]
        load: LoadArguments,
        #[command(flatten)]
        requests: RequestArguments,
        #[command(flatten)]
        slow: SlowArguments,
    },
}

/// The flags of every scenario.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The server, as `ws://HOST:PORT/PATH`, or `wss://` for TLS; port and path may be left out.
    /// Several, divided by commas or in flags of their own, get the connections in turn (a comma of
    /// a path is %2C)
    #[arg(long, value_name = "URL", required = true, value_delimiter = ',')]
    pub(crate) url: Vec<Target>,
    #[command(flatten)]
    pub(crate) tls: TlsArguments,
    #[command(flatten)]
    pub(crate) deflate: CompressionArguments,
    /// Adds a field to the request, as `Name: value`; may be repeated
    #[arg(long, value_name = "FIELD")]
    pub(crate) header: Vec<Header>,
    /// Offers a subprotocol; may be repeated, the best first
    #[arg(long, value_name = "NAME")]
    pub(crate) protocol: Vec<Protocol>,
    /// Connections, all threads together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub(crate) connections: u32,
    /// Threads; default: one per CPU, more when the descriptor limit asks for it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) threads: Option<u32>,
    /// CPUs the threads are pinned to in turn, as 0,1; default: all that are allowed
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) cpus: Vec<usize>,
    /// Time that is measured, after the connections are open and warm
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Time of load that is not measured, in front of --duration
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Time that messages on their way have after --duration, before they count as missing
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) settle: Duration,
    /// Connections started per second, all threads together, or max
    #[arg(long, value_name = "R", default_value = "max")]
    pub(crate) connect_rate: ConnectRate,
    /// Connections being opened at once, all threads together; keep it below the listen backlog
    #[arg(long, value_name = "N", default_value_t = 512)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connecting: u32,
    /// Time a connection may take from its start to the server's 101
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) connect_timeout: Duration,
    #[command(flatten)]
    pub(crate) elsewhere: WorkersArguments,
    /// Source addresses, divided by commas: 10.0.0.5, 10.0.0.5-40, as many as needed of 10.0.0.0/24
    /// or fd00::/120, all of an interface as eth0; auto spreads when one has not enough ports
    #[arg(long, value_name = "WHICH", default_value = "auto")]
    pub(crate) source: SourceChoice,
    /// How the connections end
    #[arg(long, value_enum, default_value_t = Leave::Close)]
    pub(crate) leave: Leave,
    /// Process of the server, whose CPU time and memory are then part of the report
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// The same from the server's own metrics, as http://HOST:PORT/metrics: Prometheus text with
    /// process_cpu_seconds_total and process_resident_memory_bytes
    #[arg(long, value_name = "URL", conflicts_with = "server_pid")]
    pub(crate) server_metrics: Option<String>,
    /// Length of the intervals of the time series
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) interval: Duration,
    /// Folder for the results: summary.json, latency.hgrm, latency.hlog, timeseries.ndjson,
    /// report.html
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Shows the plan of the run, or everything that is missing for it, and connects nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Fails the run when this holds, as 'p99>50ms' or 'missing>0'; repeatable
    #[arg(long, value_name = "EXPR")]
    pub(crate) fail_if: Vec<Gate>,
    /// Notes that the generator was the limit, instead of making that the verdict
    #[arg(long)]
    pub(crate) allow_generator_bound: bool,
    /// Adds the whole spectrum of percentiles to the text
    #[arg(long)]
    pub(crate) detailed: bool,
    /// Writes the report as JSON to a file, or to standard output (-) instead of the text
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
}

/// The flags of scenarios that send messages.
#[derive(Clone, Debug, Args)]
pub(crate) struct MessageArguments {
    /// Bytes of payload: one size, a range as 16..1024, or sizes with weights as 64:80,4KiB:20
    #[arg(long, value_name = "BYTES", default_value = "64")]
    pub(crate) size: Sizes,
    /// Sends text, records like JSON behind the stamp, instead of binary messages, which are noise
    #[arg(long)]
    pub(crate) text: bool,
    /// Does not compare what comes back with what was sent; the report says so
    #[arg(long)]
    pub(crate) no_verify: bool,
}

/// What decides when a message is sent.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArguments {
    /// Open loop: messages per second, all connections together, whatever the server does
    #[arg(long, value_name = "R", value_parser = rate, required_unless_present = "closed")]
    pub(crate) rate: Option<f64>,
    /// Closed loop: a client sends when the answer to its last message has come
    #[arg(long, conflicts_with = "rate")]
    pub(crate) closed: bool,
    /// Messages of the open loop follow each other at random times, as independent users' do
    #[arg(long, conflicts_with = "closed")]
    pub(crate) poisson: bool,
}

/// The flags of scenarios whose messages are answered.
#[derive(Clone, Debug, Args)]
pub(crate) struct RequestArguments {
    /// Messages in flight per connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) depth: u32,
    /// Messages of the open loop that may wait for a connection to become free, all together;
    /// more are shed, and counted
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100_000_000))]
    pub(crate) waiting: u32,
}

/// How the connections end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Leave {
    /// With a close frame, and the server's answer to it
    Close,
    /// With the end of the TCP connection, but no close frame, as that of a process that is killed
    Fin,
    /// With a reset
    Abort,
}

/// A time as `10ms`, `1.5s`, `2m`, `1h`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("the unit {other} is none of us, ms, s, m, h")),
    };
    digits
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * unit).ok())
        .filter(|duration| duration.as_secs() < 1_000_000)
        .ok_or_else(|| "give a time as 10ms, 1.5s or 2m".to_owned())
}

impl Arguments {
    /// Fills in what follows from other flags; the error says what to give.
    pub(crate) fn complete(&mut self) -> Result<(), String> {
        match &mut self.scenario {
            ScenarioArguments::Rooms { common, message, rooms, .. } => {
                RoomArguments::check_sizes(&message.size)?;
                rooms.complete(&mut common.connections)
            }
            ScenarioArguments::Restart { common, restart } => {
                restart.complete(&mut common.connections)
            }
            _ => Ok(()),
        }
    }

    /// Checks what no single flag shows; the error says what to change.
    pub(crate) fn check(&self) -> Result<(), String> {
        let common = self.scenario.common();
        common.check()?;
        if common.interval < INTERVAL_MIN {
            return Err("--interval must be 10ms at least".to_owned());
        }
        if let Some(gate) = common.fail_if.iter().find(|gate| gate.is_relative()) {
            return Err(format!(
                "--fail-if {gate} compares with another run: loadtest compare does that"
            ));
        }
        let (message, load, publishers) = match &self.scenario {
            ScenarioArguments::Broadcast { message, load, publishers, .. } => {
                (message, load, publishers)
            }
            ScenarioArguments::Slow { message, load, slow, .. } => {
                slow.check(common.connections)?;
                if slow.load == SlowLoad::Echo {
                    return Ok(());
                }
                (message, load, &slow.publishers)
            }
            ScenarioArguments::Churn { churn, .. } => return churn.check(common),
            ScenarioArguments::Storm { storm, .. } => return storm.check(common.connections),
            ScenarioArguments::Restart { restart, .. } => return restart.check(common),
            _ => return Ok(()),
        };
        if load.closed && !common.elsewhere.workers.is_empty() {
            return Err("the rounds of broadcast --closed need all clients in one process: leave \
                        out --workers, or give a --rate"
                .to_owned());
        }
        Publication::check(*publishers, common.connections)?;
        let least = if load.closed { name_size(message.text) } else { stamp_size(message.text) };
        if message.size.bounds().0 < least {
            return Err(format!(
                "--size must be {least} at least: a message names its sender, its number and, in \
                 an open loop, its run and times"
            ));
        }
        Ok(())
    }
}

impl Common {
    fn check(&self) -> Result<(), String> {
        let first = &self.url[0];
        let is_other = |url: &&Target| url.address.is_ipv4() != first.address.is_ipv4();
        if let Some(other) = self.url.iter().find(is_other) {
            return Err(format!("--url {first} and {other} differ in their IP version"));
        }
        self.tls.check(&self.url)?;
        self.deflate.check()?;
        let is_repeated = |(index, name)| self.protocol[..index].contains(name);
        match self.protocol.iter().enumerate().find(|&offer| is_repeated(offer)) {
            Some((_, name)) => Err(format!("--protocol {name} is given twice")),
            None => Ok(()),
        }
    }
}

impl ScenarioArguments {
    /// The flags that every scenario has.
    pub(crate) const fn common(&self) -> &Common {
        match self {
            Self::Idle { common }
            | Self::Echo { common, .. }
            | Self::Rate { common, .. }
            | Self::Broadcast { common, .. }
            | Self::Churn { common, .. }
            | Self::Storm { common, .. }
            | Self::Restart { common, .. }
            | Self::Slow { common, .. }
            | Self::Rooms { common, .. } => common,
        }
    }

    /// The name of the scenario on the command line.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Idle { .. } => "idle",
            Self::Echo { .. } => "echo",
            Self::Rate { .. } => "rate",
            Self::Broadcast { .. } => "broadcast",
            Self::Churn { .. } => "churn",
            Self::Storm { .. } => "storm",
            Self::Restart { .. } => "restart",
            Self::Slow { .. } => "slow",
            Self::Rooms { .. } => "rooms",
        }
    }

    /// Bytes of messages that a connection may have on their way; 0 without messages.
    pub(crate) fn bytes_in_flight(&self) -> u64 {
        let depth = self.depth().unwrap_or(1);
        self.message().map_or(0, |message| message.size.bounds().1 as u64 * u64::from(depth))
    }

    /// What the messages are, if the scenario sends any.
    pub(crate) const fn message(&self) -> Option<&MessageArguments> {
        match self {
            Self::Idle { .. } | Self::Churn { .. } | Self::Storm { .. } | Self::Restart { .. } => {
                None
            }
            Self::Echo { message, .. }
            | Self::Rate { message, .. }
            | Self::Broadcast { message, .. }
            | Self::Slow { message, .. }
            | Self::Rooms { message, .. } => Some(message),
        }
    }

    /// Messages per second and whether at random times, if the scenario has a schedule.
    pub(crate) const fn schedule(&self) -> Option<(f64, bool)> {
        match self {
            Self::Rate { rate, poisson, .. } => Some((*rate, *poisson)),
            Self::Echo { load, .. }
            | Self::Broadcast { load, .. }
            | Self::Slow { load, .. }
            | Self::Rooms { load, .. } => match load.rate {
                Some(rate) => Some((rate, load.poisson)),
                None => None,
            },
            Self::Idle { .. } | Self::Churn { .. } | Self::Storm { .. } | Self::Restart { .. } => {
                None
            }
        }
    }

    /// Messages in flight per connection, where that is a setting.
    pub(crate) const fn depth(&self) -> Option<u32> {
        match self {
            Self::Echo { requests, .. } | Self::Rate { requests, .. } => Some(requests.depth),
            Self::Slow { requests, slow, .. } => match slow.load {
                SlowLoad::Echo => Some(requests.depth),
                SlowLoad::Broadcast => None,
            },
            _ => None,
        }
    }

    /// Rooms that the clients join, and members of each.
    pub(crate) fn rooms(&self) -> (u32, u32) {
        match self {
            Self::Rooms { rooms, .. } => rooms.shape(),
            _ => (0, 0),
        }
    }

    /// Whether clients come back to another target when their connection ends.
    pub(crate) const fn reconnects(&self) -> bool {
        matches!(self, Self::Rooms { rooms: RoomArguments { reconnect: true, .. }, .. })
    }

    /// The clients with a number below this publish.
    pub(crate) const fn publishers(&self) -> u32 {
        match self {
            Self::Broadcast { publishers, .. } => *publishers,
            Self::Slow { slow, .. } => match slow.load {
                SlowLoad::Broadcast => slow.publishers,
                SlowLoad::Echo => 0,
            },
            _ => 0,
        }
    }
}
