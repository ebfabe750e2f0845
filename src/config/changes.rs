//! What differs between two configurations, and what of it a running server can follow.

use super::{AccessConfig, ChatConfig, Config};

/// The names of settings that differ.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Those that a running server follows.
    pub applied: Vec<&'static str>,
    /// Those that need a restart.
    pub kept: Vec<&'static str>,
}

impl Config {
    /// What `new` changes. Every setting is on one of the two lists.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Changes {
        let Self {
            listen,
            shards,
            app,
            admin,
            heartbeat,
            max_message,
            max_connections,
            max_memory,
            drain,
            log_level,
            access,
            chat,
        } = self;
        let AccessConfig { auth, keys, users, origins, per_address } = access;
        let ChatConfig { rate_limit, rate_bytes, history_messages, history_age } = chat;
        let is_other_auth = *auth != new.access.auth;
        let kept = [
            ("listen", *listen != new.listen),
            ("shards", *shards != new.shards),
            ("app", *app != new.app),
            ("admin", *admin != new.admin),
            ("auth", is_other_auth),
            // Credentials belong to the way in which they are asked for.
            ("auth-key", is_other_auth && *keys != new.access.keys),
            ("auth-users", is_other_auth && *users != new.access.users),
        ];
        let is_required = origins.is_required() != new.access.origins.is_required();
        let per_address_now = &new.access.per_address;
        let applied = [
            ("heartbeat", *heartbeat != new.heartbeat),
            ("max-message", *max_message != new.max_message),
            ("max-connections", *max_connections != new.max_connections),
            ("max-memory", *max_memory != new.max_memory),
            ("drain", *drain != new.drain),
            ("log-level", *log_level != new.log_level),
            ("auth-key", !is_other_auth && *keys != new.access.keys),
            ("auth-users", !is_other_auth && *users != new.access.users),
            ("allow-origin", !origins.lists_the_same(&new.access.origins)),
            ("require-origin", is_required),
            ("max-connections-per-address", per_address.connections != per_address_now.connections),
            ("handshake-rate", per_address.handshakes != per_address_now.handshakes),
            ("rate-limit", *rate_limit != new.chat.rate_limit),
            ("rate-bytes", *rate_bytes != new.chat.rate_bytes),
            ("history-messages", *history_messages != new.chat.history_messages),
            ("history-age", *history_age != new.chat.history_age),
        ];
        Changes { applied: names(&applied), kept: names(&kept) }
    }

    /// These settings, with those of `running` that need a restart.
    #[must_use]
    pub fn kept_from(self, running: &Self) -> Self {
        let AccessConfig { auth, keys, users, origins, per_address } = self.access;
        let access = if auth == running.access.auth {
            AccessConfig { auth, keys, users, origins, per_address }
        } else {
            AccessConfig { origins, per_address, ..running.access.clone() }
        };
        Self {
            heartbeat: self.heartbeat,
            max_message: self.max_message,
            max_connections: self.max_connections,
            max_memory: self.max_memory,
            drain: self.drain,
            log_level: self.log_level,
            access,
            chat: self.chat,
            ..running.clone()
        }
    }
}

fn names(settings: &[(&'static str, bool)]) -> Vec<&'static str> {
    settings.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect()
}
