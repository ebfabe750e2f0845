//! The settings of a node among others.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use super::values::Span;
use super::{Settings, within};
use crate::hub::span::{RoomMode, RoomModes};
use crate::limits;

/// How this node shares rooms with others. The files it names are not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// URLs of Redis servers; without any there are no other nodes.
    pub servers: Vec<String>,
    /// What this node is called in logs and by operators; `None`: as the host.
    pub node: Option<String>,
    /// Whom the servers know it as.
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// The file with the certificates of whoever vouches for the servers.
    pub ca: Option<PathBuf>,
    /// What all keys begin with.
    pub prefix: String,
    /// How often the servers are probed.
    pub probe: Duration,
    /// How rooms are run.
    pub modes: RoomModes,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            node: None,
            user: None,
            password_file: None,
            ca: None,
            prefix: "ringwire".to_owned(),
            probe: Duration::from_secs(1),
            modes: RoomModes::default(),
        }
    }
}

/// The values of `--room-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// One order on all nodes; resume on any
    Sequenced,
    /// Members on the node of a publisher first
    Fast,
}

impl ClusterConfig {
    pub(super) fn of(settings: &Settings) -> Result<Self, String> {
        let default = Self::default();
        let mode = match settings.room_mode {
            Some(Mode::Fast) => RoomMode::Fast,
            Some(Mode::Sequenced) | None => RoomMode::Sequenced,
        };
        let fast = settings.fast_rooms.iter().flatten().map(|prefix| prefix.as_str().into());
        let cluster = Self {
            servers: settings.redis.clone().unwrap_or_default(),
            node: settings.node_id.clone(),
            user: settings.redis_user.clone(),
            password_file: settings.redis_password_file.clone(),
            ca: settings.redis_ca.clone(),
            prefix: settings.redis_prefix.clone().unwrap_or(default.prefix),
            probe: settings.redis_probe.map_or(default.probe, |Span(time)| time),
            modes: RoomModes { default: mode, fast: fast.collect() },
        };
        within("the number of redis URLs", cluster.servers.len(), 0, limits::CLUSTER_SERVERS_MAX)?;
        let (shortest, longest) = limits::CLUSTER_PROBE;
        within("redis-probe", Span(cluster.probe), Span(shortest), Span(longest))?;
        let is_plain = |text: &str| {
            !text.is_empty()
                && text.len() <= limits::CLUSTER_NAME_BYTES_MAX
                && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte))
        };
        for (name, value) in
            [("redis-prefix", Some(&cluster.prefix)), ("node-id", cluster.node.as_ref())]
        {
            if value.is_some_and(|value| !is_plain(value)) {
                return Err(format!(
                    "{name} must have 1 to {} letters, digits or signs, without braces and blanks",
                    limits::CLUSTER_NAME_BYTES_MAX
                ));
            }
        }
        if cluster.modes.fast.iter().any(|prefix| prefix.is_empty()) {
            return Err("fast-rooms is empty: for all rooms say room-mode fast".to_owned());
        }
        cluster.has_servers_if_needed(settings)?;
        Ok(cluster)
    }

    /// What is said of servers must have some to be of use.
    fn has_servers_if_needed(&self, settings: &Settings) -> Result<(), String> {
        if !self.servers.is_empty() {
            return Ok(());
        }
        let useless = [
            ("node-id", self.node.is_some()),
            ("redis-user", self.user.is_some()),
            ("redis-password-file", self.password_file.is_some()),
            ("redis-ca", self.ca.is_some()),
            ("redis-prefix", settings.redis_prefix.is_some()),
            ("redis-probe", settings.redis_probe.is_some()),
            ("room-mode", settings.room_mode.is_some()),
            ("fast-rooms", settings.fast_rooms.is_some()),
        ];
        match useless.iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => {
                Err(format!("{name} is of no use without redis URL: there are no other nodes then"))
            }
            None => Ok(()),
        }
    }
}
