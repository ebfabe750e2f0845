//! The command line.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::addresses::SourceChoice;
use crate::calibrate::CalibrateArguments;

/// Bytes of a message at most: one that a client assembles must fit its memory.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Puts load on a WebSocket server and reports what it did.
#[derive(Clone, Debug, Parser)]
#[command(name = "loadtest", version, about)]
#[command(after_help = "Exit codes: 0 valid, 1 could not run, 2 bad arguments, 3 messages or \
    connections were lost or wrong, 5 connections missing, 130 interrupted (the report is still \
    written).")]
pub(crate) struct CommandLine {
    /// What the program does.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The scenarios, and what is not one.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// A scenario.
    #[command(flatten)]
    Load(Box<ScenarioArguments>),
    /// Measures what this generator itself can do on this host
    Calibrate(CalibrateArguments),
}

/// A run of one scenario.
#[derive(Clone, Debug, Parser)]
#[command(name = "loadtest")]
pub(crate) struct Arguments {
    /// What the clients do.
    #[command(subcommand)]
    pub(crate) scenario: ScenarioArguments,
}

/// The scenarios and the flags of each.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ScenarioArguments {
    /// Connects, holds the connections, answers pings, counts losses
    Idle {
        #[command(flatten)]
        common: Common,
    },
    /// Every client sends a message, waits for its echo, checks it and sends the next
    Echo {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        message: MessageArguments,
        /// Messages in flight per connection
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
        depth: u32,
    },
    /// Every client sends a message and all get all of them, round after round
    Broadcast {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        message: MessageArguments,
        /// Instead of rounds: one publisher sends one message, every --interval
        #[arg(long)]
        lone: bool,
        /// Time between the messages of --lone; default 10ms
        #[arg(long, value_name = "TIME", value_parser = duration, requires = "lone")]
        interval: Option<Duration>,
    },
}

/// The flags of every scenario.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The server, as `ws://HOST:PORT/PATH`; port and path may be left out
    #[arg(long, value_name = "URL")]
    pub(crate) url: Target,
    /// Connections, all threads together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub(crate) connections: u32,
    /// LoadThread threads; default: one per CPU, more when the descriptor limit asks for it
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
    /// Source addresses: auto, a network as 127.0.0.0/8, or addresses divided by commas
    #[arg(long, value_name = "WHICH", default_value = "auto")]
    pub(crate) source: SourceChoice,
    /// How the connections end
    #[arg(long, value_enum, default_value_t = Leave::Close)]
    pub(crate) leave: Leave,
    /// Process of the server, whose CPU time and memory are then part of the report
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Writes the report as JSON to a file, or to standard output (-) instead of the text
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
}

/// The flags of scenarios that send messages.
#[derive(Clone, Debug, Args)]
pub(crate) struct MessageArguments {
    /// Bytes of payload of a message
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub(crate) size: usize,
    /// Sends text instead of binary messages
    #[arg(long)]
    pub(crate) text: bool,
    /// Closed loop: a client sends when the answer to its last message has come. It is the only
    /// load model so far; scripts that depend on it say so with this flag
    #[arg(long)]
    pub(crate) closed: bool,
}

/// How the connections end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Leave {
    /// With a close frame, and the server's answer to it
    Close,
    /// With a reset
    Abort,
}

/// Connections started per second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum ConnectRate {
    /// As fast as they open.
    Max,
    /// That many, all threads together.
    PerSecond(f64),
}

impl FromStr for ConnectRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse::<f64>() {
            Ok(rate) if rate.is_finite() && rate >= 0.01 => Ok(Self::PerSecond(rate)),
            _ => Err("give a number of connections per second, at least 0.01, or max".to_owned()),
        }
    }
}

/// A server: where to connect and what to ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// Where to connect: the first address that the name has.
    pub(crate) address: SocketAddr,
    /// For the `Host` field.
    pub(crate) authority: String,
    /// Path and query, beginning with `/`.
    pub(crate) path: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let Some(rest) = url.strip_prefix("ws://") else {
            return Err("the URL must begin with ws://; TLS is not spoken".to_owned());
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if authority.is_empty() || authority.contains('@') || path.contains('#') {
            return Err("the form is ws://HOST[:PORT][/PATH], without user and fragment".to_owned());
        }
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the path has a blank or another character that must be escaped".to_owned());
        }
        let address = resolve(authority)
            .map_err(|error| format!("{authority} has no address to connect to: {error}"))?;
        Ok(Self { address, authority: authority.to_owned(), path })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ws://{}{}", self.authority, self.path)
    }
}

fn resolve(authority: &str) -> Result<SocketAddr, String> {
    let port_follows = authority
        .rfind(':')
        .is_some_and(|colon| authority.rfind(']').is_none_or(|bracket| bracket < colon));
    let with_port = if port_follows { authority.to_owned() } else { format!("{authority}:80") };
    let mut addresses = with_port.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses.next().ok_or_else(|| "the name is unknown".to_owned())
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
    /// Checks what no single flag shows; the error says what to change.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (message, stamped) = match &self.scenario {
            ScenarioArguments::Idle { .. } => return Ok(()),
            ScenarioArguments::Echo { message, .. } => (message, false),
            ScenarioArguments::Broadcast { message, interval, .. } => {
                if interval.is_some_and(|interval| interval.is_zero()) {
                    return Err("--interval must be longer than nothing".to_owned());
                }
                (message, true)
            }
        };
        if message.size > MESSAGE_BYTES_MAX {
            return Err(format!("--size can be {MESSAGE_BYTES_MAX} at most"));
        }
        let stamp = crate::payload::stamp_size(message.text);
        if stamped && message.size < stamp {
            return Err(format!(
                "--size must be at least {stamp}: a broadcast message names its sender and round"
            ));
        }
        Ok(())
    }
}

impl ScenarioArguments {
    /// The flags that every scenario has.
    pub(crate) const fn common(&self) -> &Common {
        match self {
            Self::Idle { common } | Self::Echo { common, .. } | Self::Broadcast { common, .. } => {
                common
            }
        }
    }

    /// The name of the scenario on the command line.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Idle { .. } => "idle",
            Self::Echo { .. } => "echo",
            Self::Broadcast { .. } => "broadcast",
        }
    }

    /// What the messages are, if the scenario sends any.
    pub(crate) const fn message(&self) -> Option<&MessageArguments> {
        match self {
            Self::Idle { .. } => None,
            Self::Echo { message, .. } | Self::Broadcast { message, .. } => Some(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words = std::iter::once("loadtest").chain(line.split(' '));
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let arguments = parse("idle --url ws://127.0.0.1:8080/chat?x=1 --connections 7").unwrap();
        let common = arguments.scenario.common();
        assert_eq!(common.url.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(
            (common.url.authority.as_str(), &*common.url.path),
            ("127.0.0.1:8080", "/chat?x=1")
        );
        assert_eq!(
            (common.duration, common.warmup),
            (Duration::from_secs(30), Duration::from_secs(1))
        );
        assert_eq!((common.connect_rate, common.leave), (ConnectRate::Max, Leave::Close));
        assert_eq!(common.threads, None);
    }

    #[test]
    fn flags_without_effect_are_refused() {
        let server = "--url ws://127.0.0.1:1 --connections 1";
        assert!(parse(&format!("echo {server} --closed --depth 4")).is_ok());
        assert!(parse(&format!("echo {server} --rate 5")).is_err());
        assert!(parse(&format!("idle {server} --size 5")).is_err());
        assert!(parse(&format!("broadcast {server} --interval 5ms")).is_err());
        assert!(parse(&format!("echo {server} --lone")).is_err());
    }

    #[test]
    fn bad_values_are_refused() {
        for flags in ["--connections 0", "--connect-rate 0", "--duration 5parsecs", "--threads 0"] {
            let defaults = if flags.starts_with("--connections") { "" } else { " --connections 1" };
            assert!(
                parse(&format!("idle --url ws://[::1]:1{defaults} {flags}")).is_err(),
                "{flags}"
            );
        }
        for url in
            ["wss://127.0.0.1", "127.0.0.1:1", "ws://", "ws://a@127.0.0.1", "ws://127.0.0.1/#a"]
        {
            assert!(Target::from_str(url).is_err(), "{url}");
        }
    }

    #[test]
    fn broadcast_messages_have_room_for_their_stamp() {
        let line = "broadcast --url ws://127.0.0.1:1 --connections 1 --size";
        assert!(parse(&format!("{line} 7")).unwrap().check().is_err());
        assert!(parse(&format!("{line} 8")).unwrap().check().is_ok());
        assert!(parse(&format!("{line} 8 --text")).unwrap().check().is_err());
        assert!(
            parse("echo --url ws://127.0.0.1:1 --connections 1 --size 0").unwrap().check().is_ok()
        );
    }

    #[test]
    fn urls_have_defaults() {
        let target = Target::from_str("ws://[::1]").unwrap();
        assert_eq!((target.address, &*target.path), ("[::1]:80".parse().unwrap(), "/"));
        assert_eq!(Target::from_str("ws://127.0.0.1?a").unwrap().to_string(), "ws://127.0.0.1/?a");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("-1s").is_err() && duration("s").is_err() && duration("inf").is_err());
    }
}
