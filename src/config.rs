//! The settings of the server: flags, the configuration file, their defaults and bounds.
//!
//! Flags and file share one shape, `Settings`, where everything is optional. A flag wins over the
//! file, the file over the default; [`Config`] is what comes out, complete and within bounds.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Deserializer, de};
use tracing_subscriber::EnvFilter;

use crate::limits;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start the server.
    Serve(Config),
    /// Judge whether this host can run the server as configured.
    Check(Config),
}

/// The settings of one server, every value present and within its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to accept connections; never empty.
    pub listen: Vec<SocketAddr>,
    /// Shards to run; `None` is one per CPU of the affinity mask.
    pub shards: Option<NonZeroUsize>,
    /// What an upgrade on `/` gets.
    pub app: DefaultApp,
    /// Where the admin listener stands; `None` is off.
    pub admin: Option<SocketAddr>,
    /// Silence after which a connection is pinged; it is closed after twice that without a byte.
    pub heartbeat: Duration,
    /// Bytes of one message, all its fragments together.
    pub max_message: usize,
    /// Connections of the whole process; `None` is what its limits allow.
    pub max_connections: Option<usize>,
    /// How long a drain takes to let every connection go.
    pub drain: Duration,
    /// A filter in the syntax of `tracing`, such as `info` or `ringwire=debug`; known to parse.
    pub log_level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080))],
            shards: None,
            app: DefaultApp::Chat,
            admin: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9090))),
            heartbeat: Duration::from_secs(30),
            max_message: limits::MESSAGE_BYTES_DEFAULT,
            max_connections: None,
            drain: Duration::from_secs(10),
            log_level: "info".to_owned(),
        }
    }
}

/// The application behind `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DefaultApp {
    /// Rooms, with a protocol of JSON messages.
    Chat,
    /// Every message goes back to its sender.
    Echo,
    /// Every message goes to every connection.
    Broadcast,
}

/// The command of this process. Help, version and errors are printed and end the process, errors
/// with exit code 2.
#[must_use]
pub fn from_args() -> Command {
    parse(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// Parses a command line, program name first, and the configuration file it names.
///
/// # Errors
///
/// An unknown flag or key, a value that does not parse or is out of bounds, a file that cannot be
/// read. The message names the flag or key and, where it came from there, the file. Requests for
/// help and the version are errors too, of clap's own kinds.
pub fn parse<I, T>(args: I) -> Result<Command, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let line = CommandLine::try_parse_from(args)?;
    let (settings, wrap): (_, fn(Config) -> Command) = match line.action {
        None => (line.settings, Command::Serve),
        Some(Action::Serve(settings)) => (settings, Command::Serve),
        Some(Action::Check(settings)) => (settings, Command::Check),
    };
    let refuse = |message: String| {
        let message = format!("{}\n", message.trim_end());
        clap::Error::raw(ErrorKind::ValueValidation, message)
    };
    let settings = match settings.config.clone() {
        Some(path) => settings.or(read_file(&path).map_err(refuse)?),
        None => settings,
    };
    settings.into_config().map(wrap).map_err(refuse)
}

/// A WebSocket server on io_uring.
#[derive(Debug, Parser)]
#[command(name = "ringwire", version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start the server; the same as no command at all
    Serve(Settings),
    /// Is this host ready? Every finding comes with the command that mends it
    Check(Settings),
}

/// Flags and file, before defaults and bounds.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Accept connections here; repeatable [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<Vec<SocketAddr>>,
    /// Shards to run [default: one per CPU in the affinity mask]
    #[arg(long, value_name = "N")]
    shards: Option<NonZeroUsize>,
    /// What an upgrade on / gets [default: chat]
    #[arg(long)]
    app: Option<DefaultApp>,
    /// Where the admin listener stands [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR:PORT|off")]
    #[serde(deserialize_with = "scalar")]
    admin: Option<Admin>,
    /// TOML file with the same names; flags win over it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Ping a connection silent that long; close it after twice that [default: 30s]
    #[arg(long, value_name = "DURATION")]
    #[serde(deserialize_with = "scalar")]
    heartbeat: Option<Span>,
    /// Bytes of one message, such as 65536, 64KiB or 1MiB [default: 1MiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(deserialize_with = "scalar")]
    max_message: Option<ByteSize>,
    /// Connections of the whole process [default: what its limits allow]
    #[arg(long, value_name = "N")]
    max_connections: Option<NonZeroUsize>,
    /// How long SIGTERM takes to let every connection go [default: 10s]
    #[arg(long, value_name = "DURATION")]
    #[serde(deserialize_with = "scalar")]
    drain: Option<Span>,
    /// Log filter, such as warn or ringwire=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
}

impl Settings {
    /// These settings, and those of `other` where these are silent.
    fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            shards: self.shards.or(other.shards),
            app: self.app.or(other.app),
            admin: self.admin.or(other.admin),
            config: self.config.or(other.config),
            heartbeat: self.heartbeat.or(other.heartbeat),
            max_message: self.max_message.or(other.max_message),
            max_connections: self.max_connections.or(other.max_connections),
            drain: self.drain.or(other.drain),
            log_level: self.log_level.or(other.log_level),
        }
    }

    /// Fills in the defaults and holds every value against its bounds.
    fn into_config(self) -> Result<Config, String> {
        let default = Config::default();
        let config = Config {
            listen: self.listen.unwrap_or(default.listen),
            shards: self.shards,
            app: self.app.unwrap_or(default.app),
            admin: self.admin.map_or(default.admin, |Admin(address)| address),
            heartbeat: self.heartbeat.map_or(default.heartbeat, |Span(time)| time),
            max_message: self.max_message.map_or(default.max_message, |ByteSize(bytes)| bytes),
            max_connections: self.max_connections.map(NonZeroUsize::get),
            drain: self.drain.map_or(default.drain, |Span(time)| time),
            log_level: self.log_level.unwrap_or(default.log_level),
        };
        if config.listen.is_empty() {
            return Err("listen needs at least one address, such as \"0.0.0.0:8080\"".to_owned());
        }
        if let Some(shards) = config.shards {
            within("shards", shards.get(), 1, limits::SHARDS_MAX)?;
        }
        within("max-message", config.max_message, 1, limits::MESSAGE_BYTES_MAX)?;
        let (shortest, longest) = (limits::HEARTBEAT_MIN, limits::HEARTBEAT_MAX);
        within("heartbeat", Span(config.heartbeat), Span(shortest), Span(longest))?;
        within("drain", Span(config.drain), Span(Duration::ZERO), Span(limits::DRAIN_MAX))?;
        if let Err(error) = EnvFilter::builder().parse(&config.log_level) {
            return Err(format!("log-level {:?} is no filter: {error}", config.log_level));
        }
        Ok(config)
    }
}

fn within<T: PartialOrd + Display>(name: &str, value: T, least: T, most: T) -> Result<(), String> {
    if least <= value && value <= most {
        return Ok(());
    }
    Err(format!("{name} must be from {least} to {most}, not {value}"))
}

fn read_file(path: &Path) -> Result<Settings, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("cannot read the configuration file {}: {error}", path.display())
    })?;
    toml::from_str(&text)
        .map_err(|error| format!("in the configuration file {}: {error}", path.display()))
}

/// An address, or `off`.
#[derive(Debug, Clone, Copy)]
struct Admin(Option<SocketAddr>);

impl FromStr for Admin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address = text.parse().map_err(|_| "expected ADDR:PORT or off".to_owned())?;
        Ok(Self(Some(address)))
    }
}

/// A length of time: a whole number and `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Span(Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
        let millis =
            scaled(text, &units).ok_or("expected a duration such as 500ms, 30s, 2m or 1h")?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl Display for Span {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

/// A number of bytes, plain or with `KiB` or `MiB`.
#[derive(Debug, Clone, Copy)]
struct ByteSize(usize);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = scaled(text, &[("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)]);
        bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| "expected bytes such as 65536, 64KiB or 1MiB".to_owned())
    }
}

/// Reads a whole number followed by one of `units`, times what that unit stands for.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Reads a string or a whole number of the file the way its flag is read.
fn scalar<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    struct Scalar<T>(std::marker::PhantomData<T>);

    impl<T: FromStr<Err = String>> de::Visitor<'_> for Scalar<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a string or a whole number")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
    }

    deserializer.deserialize_any(Scalar(std::marker::PhantomData)).map(Some)
}

#[cfg(test)]
mod tests;
