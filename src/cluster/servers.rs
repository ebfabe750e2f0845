//! Which servers there are, how to speak with them, and what things are called there.

use std::fs;
use std::io::Read;
use std::path::Path;

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use redis::{RedisConnectionInfo, TlsCertificates};
use tokio::time::Duration;

use super::scripts::RoomKeys;
use crate::config::ClusterConfig;
use crate::hub::span::NodeId;
use crate::limits::CLUSTER_SECRET_BYTES_MAX;

/// The environment variable with the password.
const PASSWORD_VARIABLE: &str = "RINGWIRE_REDIS_PASSWORD";

/// The Redis servers that were named.
#[derive(Clone)]
pub struct Servers {
    named: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
    pub(super) keys: Keys,
    pub(super) probe: Duration,
}

/// What keys begin with.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Servers {
    /// As configured, with the files that are named.
    ///
    /// # Errors
    /// A URL, the password or the certificate cannot be used.
    pub(super) fn of(config: &ClusterConfig) -> Result<Self, String> {
        let password = match &config.password_file {
            Some(path) => Some(read_secret(path, "redis-password-file")?),
            None => std::env::var(PASSWORD_VARIABLE).ok().filter(|word| !word.is_empty()),
        };
        let named: Result<Vec<_>, _> = config
            .servers
            .iter()
            .map(|url| server(url, config.user.as_deref(), password.as_deref()))
            .collect();
        let named = named?;
        let uses_tls = named.iter().any(|info| is_tls(info.addr()));
        let certificates = match &config.ca {
            Some(path) => Some(read_file(path, "redis-ca")?),
            None => None,
        };
        if certificates.is_some() && !uses_tls {
            return Err("redis-ca is of no use without a URL that begins with rediss://".to_owned());
        }
        if uses_tls {
            // Two parts of the program may be the first; they say the same.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let certificates =
            uses_tls.then_some(TlsCertificates { client_tls: None, root_cert: certificates });
        let servers = Self {
            named,
            certificates,
            keys: Keys { prefix: config.prefix.clone() },
            probe: config.probe,
        };
        for index in 0..servers.count() {
            servers.named_client(index)?;
        }
        Ok(servers)
    }

    /// Servers that were named.
    pub(super) const fn count(&self) -> usize {
        self.named.len()
    }

    /// Where the server with this number is.
    pub(super) fn address(&self, index: usize) -> String {
        self.named[index].addr().to_string()
    }

    /// How to speak with the server with this number.
    pub(super) fn named_client(&self, index: usize) -> Result<Client, String> {
        self.client(self.named[index].clone())
    }

    /// How to speak with another server of the cluster that the first belongs to.
    pub(super) fn client_at(&self, host: &str, port: u16) -> Result<Client, String> {
        let first = &self.named[0];
        let address = match first.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        };
        self.client(first.clone().set_addr(address))
    }

    fn client(&self, info: ConnectionInfo) -> Result<Client, String> {
        let client = match &self.certificates {
            Some(certificates) if is_tls(info.addr()) => {
                Client::build_with_tls(info, certificates.clone())
            }
            _ => Client::open(info),
        };
        client.map_err(|error| format!("redis: {error}"))
    }
}

const fn is_tls(address: &ConnectionAddr) -> bool {
    matches!(address, ConnectionAddr::TcpTls { .. })
}

fn server(url: &str, user: Option<&str>, password: Option<&str>) -> Result<ConnectionInfo, String> {
    let info = url.into_connection_info().map_err(|_| {
        // Not the URL itself: there may be a password in it.
        "redis must be a URL such as redis://127.0.0.1:6379 or rediss://redis.example.com"
            .to_owned()
    })?;
    let of_url = info.redis_settings();
    let mut settings = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name("ringwire", env!("CARGO_PKG_VERSION"))
        .set_db(of_url.db());
    if let Some(user) = user.or_else(|| of_url.username()) {
        settings = settings.set_username(user);
    }
    if let Some(password) = password.or_else(|| of_url.password()) {
        settings = settings.set_password(password);
    }
    Ok(info.set_redis_settings(settings))
}

fn read_file(path: &Path, name: &str) -> Result<Vec<u8>, String> {
    let refuse = |error: std::io::Error| format!("{name} {}: {error}", path.display());
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(refuse)?;
    file.take(CLUSTER_SECRET_BYTES_MAX + 1).read_to_end(&mut text).map_err(refuse)?;
    if text.len() as u64 > CLUSTER_SECRET_BYTES_MAX {
        return Err(format!("{name} {}: is larger than 1 MiB", path.display()));
    }
    Ok(text)
}

fn read_secret(path: &Path, name: &str) -> Result<String, String> {
    let text = String::from_utf8(read_file(path, name)?)
        .map_err(|_| format!("{name} {}: is not UTF-8", path.display()))?;
    let word = text.strip_suffix('\n').unwrap_or(&text);
    let word = word.strip_suffix('\r').unwrap_or(word);
    if word.is_empty() {
        return Err(format!("{name} {}: is empty", path.display()));
    }
    Ok(word.to_owned())
}

impl Keys {
    /// The keys of the room of this escaped name.
    pub(super) fn room(&self, name: &str) -> RoomKeys {
        let tagged = format!("{}:{{{name}}}", self.prefix);
        RoomKeys {
            meta: format!("{tagged}:meta"),
            log: format!("{tagged}:log"),
            members: format!("{tagged}:members"),
            id: format!("{tagged}:id"),
            channel: tagged,
        }
    }

    /// The nodes that have a lease.
    pub(super) fn nodes(&self, tag: &str) -> String {
        format!("{}:{{{tag}}}:nodes", self.prefix)
    }

    /// The channel of a node's own.
    pub(super) fn probe(&self, tag: &str, node: NodeId) -> String {
        format!("{}:{{{tag}}}:probe:{node}", self.prefix)
    }
}
