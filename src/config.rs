//! The settings of the server: flags, the configuration file, their defaults and bounds.
//!
//! Flags and file share one shape, `Settings`, where everything is optional. A flag wins over the
//! file, the file over the default; [`Config`] is what comes out, complete and within bounds.

mod access;
mod changes;
mod cluster;
mod compression;
mod log;
mod source;
mod tls;
mod top;
mod values;

use std::ffi::OsString;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

pub use access::{AccessConfig, ChatConfig};
pub use changes::Changes;
pub use cluster::ClusterConfig;
pub use compression::{CompressionConfig, CompressionMode};
pub use log::LogConfig;
pub(crate) use log::parse_filter;
pub use source::Source;
pub use tls::{CertificateFiles, ClientAuth, TlsConfig};
pub use top::TopConfig;

use crate::limits;
use access::Auth;
use values::{Admin, ByteRate, ByteSize, Count, CountRate, OrOff, Span, scalar};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start the server.
    Serve(Config),
    /// Judge whether this host can run the server as configured.
    Check(Config),
    /// Show what a running server does.
    Top(TopConfig),
}

/// The settings of one server, every value present and within its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to accept connections as they come; empty only where others come over TLS.
    pub listen: Vec<SocketAddr>,
    /// Where to accept connections over TLS, and with what.
    pub tls: TlsConfig,
    /// How messages are compressed.
    pub compression: CompressionConfig,
    /// Shards to run; `None` is one per CPU of the affinity mask.
    pub shards: Option<NonZeroUsize>,
    /// What an upgrade on `/` gets.
    pub app: DefaultApp,
    /// Where the admin listener stands; `None` is off.
    pub admin: Option<SocketAddr>,
    /// The file with the token that operators show; not read yet.
    pub admin_token_file: Option<PathBuf>,
    /// Silence after which a connection is pinged; it is closed after twice that without a byte.
    pub heartbeat: Duration,
    /// Bytes of one message, all its fragments together.
    pub max_message: usize,
    /// Connections of the whole process; `None` is what its limits allow.
    pub max_connections: Option<usize>,
    /// Bytes of resident memory past which newcomers are put off; `None` is off.
    pub max_memory: Option<usize>,
    /// How long a drain takes to let every connection go.
    pub drain: Duration,
    /// Take the listening sockets of a running server over: of the one that listens on this
    /// address, or on the first of ours.
    pub take_over: Option<Option<SocketAddr>>,
    /// A filter in the syntax of `tracing`, such as `info` or `ringwire=debug`; known to parse.
    pub log_level: String,
    /// Where the log goes.
    pub log: LogConfig,
    /// Who may come.
    pub access: AccessConfig,
    /// What a member of the chat may do, and what the chat keeps.
    pub chat: ChatConfig,
    /// How rooms are shared with other nodes.
    pub cluster: ClusterConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080))],
            tls: TlsConfig::default(),
            compression: CompressionConfig::default(),
            shards: None,
            app: DefaultApp::Chat,
            admin: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9090))),
            admin_token_file: None,
            heartbeat: Duration::from_secs(30),
            max_message: limits::MESSAGE_BYTES_DEFAULT,
            max_connections: None,
            max_memory: None,
            drain: Duration::from_secs(10),
            take_over: None,
            log_level: "info".to_owned(),
            log: LogConfig::default(),
            access: AccessConfig::default(),
            chat: ChatConfig::default(),
            cluster: ClusterConfig::default(),
        }
    }
}

impl Config {
    /// All addresses of clients; the first is the one by which a successor finds the server.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listen.iter().chain(&self.tls.listen).copied()
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
    let refuse = |message: String| {
        let message = format!("{}\n", message.trim_end());
        clap::Error::raw(ErrorKind::ValueValidation, message)
    };
    let (settings, wrap): (_, fn(Config) -> Command) = match line.action {
        None => (line.settings, Command::Serve),
        Some(Action::Serve(settings)) => (settings, Command::Serve),
        Some(Action::Check(settings)) => (settings, Command::Check),
        Some(Action::Top(flags)) => return flags.into_config().map(Command::Top).map_err(refuse),
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
    /// Show what a running server does, as its dashboard does
    Top(top::Flags),
}

/// Flags and file, before defaults and bounds.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Accept connections here; repeatable [default: 0.0.0.0:8080, or none with --tls-listen]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<Vec<SocketAddr>>,
    /// Accept connections over TLS here; repeatable [default: none]
    #[arg(long, value_name = "ADDR:PORT")]
    tls_listen: Option<Vec<SocketAddr>>,
    /// PEM file with a certificate and those that lead to its authority; repeatable
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<Vec<PathBuf>>,
    /// PEM file with the key of the certificate in the same place; repeatable
    #[arg(long, value_name = "FILE")]
    tls_key: Option<Vec<PathBuf>>,
    /// PEM file with the authorities of certificates that clients show [default: nobody is asked]
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Whether clients must show a certificate of --tls-client-ca [default: required]
    #[arg(long)]
    tls_client_auth: Option<ClientAuth>,
    /// How messages are compressed [default: shared]
    #[arg(long)]
    compression: Option<CompressionMode>,
    /// How hard to compress, from 1 (fast) to 9 (small) [default: 1]
    #[arg(long, value_name = "LEVEL")]
    compression_level: Option<u8>,
    /// Send smaller messages as they are [default: 256]
    #[arg(long, value_name = "BYTES")]
    #[serde(deserialize_with = "scalar")]
    compression_min: Option<ByteSize>,
    /// Bits of the window, from 9 to 15 [default: 15, or 12 with dedicated]
    #[arg(long, value_name = "BITS")]
    compression_window: Option<u8>,
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
    /// File with the token that the admin listener asks for: 16 bytes or more
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
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
    /// Put newcomers off while the process takes more memory, such as 4GiB [default: off]
    #[arg(long, value_name = "BYTES|off")]
    #[serde(deserialize_with = "scalar")]
    max_memory: Option<OrOff<ByteSize>>,
    /// How long SIGTERM takes to let every connection go [default: 10s]
    #[arg(long, value_name = "DURATION")]
    #[serde(deserialize_with = "scalar")]
    drain: Option<Span>,
    /// Take over from the server that listens there [default: on our first address]
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, require_equals = true)]
    #[serde(skip)]
    take_over: Option<Option<SocketAddr>>,
    /// Log filter, such as warn or ringwire=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
    /// Write combined.log and error.log, as JSON, to this folder too
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Bytes of one log file; then a new one begins [default: 16MiB]
    #[arg(long, value_name = "BYTES")]
    #[serde(deserialize_with = "scalar")]
    log_file_size: Option<ByteSize>,
    /// Files kept of each log [default: 5]
    #[arg(long, value_name = "N")]
    log_files: Option<usize>,
    /// Sum up in one line of the log that often [default: 60s]
    #[arg(long, value_name = "DURATION|off")]
    #[serde(deserialize_with = "scalar")]
    summary: Option<OrOff<Span>>,
    /// How clients say who they are [default: none]
    #[arg(long)]
    auth: Option<Auth>,
    /// Key of the tokens: a PEM public key or a raw HS256 secret; repeatable
    #[arg(long, value_name = "FILE")]
    auth_key: Option<Vec<PathBuf>>,
    /// Users and passwords: lines of USERNAME:$argon2id$…
    #[arg(long, value_name = "FILE")]
    auth_users: Option<PathBuf>,
    /// Let only pages of this origin connect, such as https://example.com; repeatable
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Option<Vec<String>>,
    /// Refuse clients that name no origin: those that are no browser
    #[arg(long, num_args = 0, default_missing_value = "true")]
    require_origin: Option<bool>,
    /// Take the word of this proxy for the address of a client; repeatable
    #[arg(long, value_name = "NETWORK")]
    trusted_proxy: Option<Vec<String>>,
    /// Connections of trusted proxies begin with a PROXY header
    #[arg(long, num_args = 0, default_missing_value = "true")]
    proxy_protocol: Option<bool>,
    /// Connections of one client address at once [default: off]
    #[arg(long, value_name = "N|off")]
    #[serde(deserialize_with = "scalar")]
    max_connections_per_address: Option<OrOff<Count>>,
    /// Handshakes of one client address, such as 20/10s [default: off]
    #[arg(long, value_name = "N/DURATION|off")]
    #[serde(deserialize_with = "scalar")]
    handshake_rate: Option<OrOff<CountRate>>,
    /// Messages of one chat connection [default: 100/60s]
    #[arg(long, value_name = "N/DURATION|off")]
    #[serde(deserialize_with = "scalar")]
    rate_limit: Option<OrOff<CountRate>>,
    /// Bytes of the messages of one chat connection [default: 1MiB/60s]
    #[arg(long, value_name = "BYTES/DURATION|off")]
    #[serde(deserialize_with = "scalar")]
    rate_bytes: Option<OrOff<ByteRate>>,
    /// Messages that a chat room keeps for those who come back [default: 1000]
    #[arg(long, value_name = "N")]
    history_messages: Option<usize>,
    /// How long a chat room keeps them [default: 5m]
    #[arg(long, value_name = "DURATION")]
    #[serde(deserialize_with = "scalar")]
    history_age: Option<Span>,
    /// Share rooms with other nodes over this Redis, such as redis://127.0.0.1:6379; repeatable
    #[arg(long, value_name = "URL")]
    redis: Option<Vec<String>>,
    /// What this node is called in logs and metrics [default: the host name]
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// User of Redis [default: that of the URL]
    #[arg(long, value_name = "NAME")]
    redis_user: Option<String>,
    /// File with the password of Redis [default: RINGWIRE_REDIS_PASSWORD, or that of the URL]
    #[arg(long, value_name = "FILE")]
    redis_password_file: Option<PathBuf>,
    /// PEM file with the certificates that rediss:// trusts [default: those of the host]
    #[arg(long, value_name = "FILE")]
    redis_ca: Option<PathBuf>,
    /// What all keys and channels begin with [default: ringwire]
    #[arg(long, value_name = "PREFIX")]
    redis_prefix: Option<String>,
    /// Probe Redis that often; an outage is seen within twice that [default: 1s]
    #[arg(long, value_name = "DURATION")]
    #[serde(deserialize_with = "scalar")]
    redis_probe: Option<Span>,
    /// How rooms that span nodes are run [default: sequenced]
    #[arg(long)]
    room_mode: Option<cluster::Mode>,
    /// Run rooms whose names begin so as fast ones; repeatable
    #[arg(long, value_name = "PREFIX")]
    fast_rooms: Option<Vec<String>>,
}

impl Settings {
    /// These settings, and those of `other` where these are silent.
    fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            tls_listen: self.tls_listen.or(other.tls_listen),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            tls_client_ca: self.tls_client_ca.or(other.tls_client_ca),
            tls_client_auth: self.tls_client_auth.or(other.tls_client_auth),
            compression: self.compression.or(other.compression),
            compression_level: self.compression_level.or(other.compression_level),
            compression_min: self.compression_min.or(other.compression_min),
            compression_window: self.compression_window.or(other.compression_window),
            shards: self.shards.or(other.shards),
            app: self.app.or(other.app),
            admin: self.admin.or(other.admin),
            admin_token_file: self.admin_token_file.or(other.admin_token_file),
            config: self.config.or(other.config),
            heartbeat: self.heartbeat.or(other.heartbeat),
            max_message: self.max_message.or(other.max_message),
            max_connections: self.max_connections.or(other.max_connections),
            max_memory: self.max_memory.or(other.max_memory),
            drain: self.drain.or(other.drain),
            take_over: self.take_over.or(other.take_over),
            log_level: self.log_level.or(other.log_level),
            log_dir: self.log_dir.or(other.log_dir),
            log_file_size: self.log_file_size.or(other.log_file_size),
            log_files: self.log_files.or(other.log_files),
            summary: self.summary.or(other.summary),
            auth: self.auth.or(other.auth),
            auth_key: self.auth_key.or(other.auth_key),
            auth_users: self.auth_users.or(other.auth_users),
            allow_origin: self.allow_origin.or(other.allow_origin),
            require_origin: self.require_origin.or(other.require_origin),
            trusted_proxy: self.trusted_proxy.or(other.trusted_proxy),
            proxy_protocol: self.proxy_protocol.or(other.proxy_protocol),
            max_connections_per_address: self
                .max_connections_per_address
                .or(other.max_connections_per_address),
            handshake_rate: self.handshake_rate.or(other.handshake_rate),
            rate_limit: self.rate_limit.or(other.rate_limit),
            rate_bytes: self.rate_bytes.or(other.rate_bytes),
            history_messages: self.history_messages.or(other.history_messages),
            history_age: self.history_age.or(other.history_age),
            redis: self.redis.or(other.redis),
            node_id: self.node_id.or(other.node_id),
            redis_user: self.redis_user.or(other.redis_user),
            redis_password_file: self.redis_password_file.or(other.redis_password_file),
            redis_ca: self.redis_ca.or(other.redis_ca),
            redis_prefix: self.redis_prefix.or(other.redis_prefix),
            redis_probe: self.redis_probe.or(other.redis_probe),
            room_mode: self.room_mode.or(other.room_mode),
            fast_rooms: self.fast_rooms.or(other.fast_rooms),
        }
    }

    /// Fills in the defaults and holds every value against its bounds.
    fn into_config(self) -> Result<Config, String> {
        let default = Config::default();
        let access = AccessConfig::of(&self)?;
        let chat = ChatConfig::of(&self)?;
        let log = LogConfig::of(&self)?;
        let cluster = ClusterConfig::of(&self)?;
        let tls = TlsConfig::of(&self)?;
        // Who asks for TLS alone does not expect a door without it.
        let listen = if tls.is_on() { Vec::new() } else { default.listen };
        let config = Config {
            access,
            chat,
            log,
            cluster,
            compression: CompressionConfig::of(&self)?,
            tls,
            listen: self.listen.unwrap_or(listen),
            shards: self.shards,
            app: self.app.unwrap_or(default.app),
            admin: self.admin.map_or(default.admin, |Admin(address)| address),
            admin_token_file: self.admin_token_file,
            heartbeat: self.heartbeat.map_or(default.heartbeat, |Span(time)| time),
            max_message: self.max_message.map_or(default.max_message, |ByteSize(bytes)| bytes),
            max_connections: self.max_connections.map(NonZeroUsize::get),
            max_memory: self.max_memory.and_then(|OrOff(bytes)| bytes).map(|ByteSize(bytes)| bytes),
            drain: self.drain.map_or(default.drain, |Span(time)| time),
            take_over: self.take_over,
            log_level: self.log_level.unwrap_or(default.log_level),
        };
        if config.addresses().next().is_none() {
            return Err("listen needs at least one address, such as \"0.0.0.0:8080\"".to_owned());
        }
        if let Some(shards) = config.shards {
            within("shards", shards.get(), 1, limits::SHARDS_MAX)?;
        }
        if let Some(bytes) = config.max_memory {
            at_least("max-memory", bytes, limits::MEMORY_MIN)?;
        }
        within("max-message", config.max_message, 1, limits::MESSAGE_BYTES_MAX)?;
        let (shortest, longest) = (limits::HEARTBEAT_MIN, limits::HEARTBEAT_MAX);
        within("heartbeat", Span(config.heartbeat), Span(shortest), Span(longest))?;
        within("drain", Span(config.drain), Span(Duration::ZERO), Span(limits::DRAIN_MAX))?;
        parse_filter(&config.log_level).map_err(|error| format!("log-level {error}"))?;
        Ok(config)
    }
}

fn within<T: PartialOrd + Display>(name: &str, value: T, least: T, most: T) -> Result<(), String> {
    if least <= value && value <= most {
        return Ok(());
    }
    Err(format!("{name} must be from {least} to {most}, not {value}"))
}

fn at_least(name: &str, bytes: usize, least: usize) -> Result<(), String> {
    if bytes >= least {
        return Ok(());
    }
    Err(format!("{name} must be at least {}MiB, not {bytes} bytes", least >> 20))
}

fn read_file(path: &Path) -> Result<Settings, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!("cannot read the configuration file {}: {error}", path.display())
    })?;
    toml::from_str(&text)
        .map_err(|error| format!("in the configuration file {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
