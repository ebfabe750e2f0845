//! What differs between two configurations, and what of it a running server can follow.

use std::path::PathBuf;

use super::{
    AccessConfig, CertificateFiles, ChatConfig, ClusterConfig, CompressionConfig, Config, TlsConfig,
};

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
            tls,
            compression,
            shards,
            app,
            admin,
            admin_token_file,
            heartbeat,
            max_message,
            max_connections,
            max_memory,
            drain,
            take_over,
            log_level,
            log,
            access,
            chat,
            cluster,
        } = self;
        let ClusterConfig { servers, node, user, password_file, ca, prefix, probe, modes } =
            cluster;
        let TlsConfig { listen: tls_listen, certificates, client_ca, client_auth } = tls;
        let CompressionConfig { mode, level, min_bytes, window_bits } = compression;
        let is_other_tls = tls.is_on() != new.tls.is_on();
        let others = |file: fn(&CertificateFiles) -> &PathBuf| {
            !certificates.iter().map(file).eq(new.tls.certificates.iter().map(file))
        };
        let (other_chains, other_keys) = (others(|files| &files.chain), others(|files| &files.key));
        let is_other_ca = *client_ca != new.tls.client_ca;
        let is_other_client_auth = *client_auth != new.tls.client_auth;
        let AccessConfig { auth, keys, users, origins, proxies, per_address } = access;
        let ChatConfig { rate_limit, rate_bytes, history_messages, history_age } = chat;
        let is_other_auth = *auth != new.access.auth;
        let kept = [
            ("listen", *listen != new.listen),
            ("tls-listen", *tls_listen != new.tls.listen),
            // Certificates belong to listeners.
            ("tls-cert", is_other_tls && other_chains),
            ("tls-key", is_other_tls && other_keys),
            ("tls-client-ca", is_other_tls && is_other_ca),
            ("tls-client-auth", is_other_tls && is_other_client_auth),
            ("shards", *shards != new.shards),
            ("app", *app != new.app),
            ("admin", *admin != new.admin),
            ("admin-token-file", *admin_token_file != new.admin_token_file),
            ("take-over", *take_over != new.take_over),
            ("log-dir", log.directory != new.log.directory),
            ("log-file-size", log.file_bytes != new.log.file_bytes),
            ("log-files", log.files != new.log.files),
            ("summary", log.summary != new.log.summary),
            ("redis", *servers != new.cluster.servers),
            ("node-id", *node != new.cluster.node),
            ("redis-user", *user != new.cluster.user),
            ("redis-password-file", *password_file != new.cluster.password_file),
            ("redis-ca", *ca != new.cluster.ca),
            ("redis-prefix", *prefix != new.cluster.prefix),
            ("redis-probe", *probe != new.cluster.probe),
            ("room-mode", modes.default != new.cluster.modes.default),
            ("fast-rooms", modes.fast != new.cluster.modes.fast),
            ("auth", is_other_auth),
            // Credentials belong to the way in which they are asked for.
            ("auth-key", is_other_auth && *keys != new.access.keys),
            ("auth-users", is_other_auth && *users != new.access.users),
        ];
        let is_required = origins.is_required() != new.access.origins.is_required();
        let per_address_now = &new.access.per_address;
        let applied = [
            ("tls-cert", !is_other_tls && other_chains),
            ("tls-key", !is_other_tls && other_keys),
            ("tls-client-ca", !is_other_tls && is_other_ca),
            ("tls-client-auth", !is_other_tls && is_other_client_auth),
            ("compression", *mode != new.compression.mode),
            ("compression-level", *level != new.compression.level),
            ("compression-min", *min_bytes != new.compression.min_bytes),
            ("compression-window", *window_bits != new.compression.window_bits),
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
            ("trusted-proxy", !proxies.lists_the_same(&new.access.proxies)),
            ("proxy-protocol", proxies.announce() != new.access.proxies.announce()),
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
        let access = if self.access.auth == running.access.auth {
            self.access
        } else {
            let AccessConfig { origins, proxies, per_address, .. } = self.access;
            AccessConfig { origins, proxies, per_address, ..running.access.clone() }
        };
        let tls = if self.tls.is_on() == running.tls.is_on() {
            TlsConfig { listen: running.tls.listen.clone(), ..self.tls }
        } else {
            running.tls.clone()
        };
        Self {
            tls,
            compression: self.compression,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn config(line: &str) -> Config {
        let words = std::iter::once("ringwire").chain(line.split_whitespace());
        Source::of(words).load().unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    const TOKEN: &str = "--auth token --auth-key a";
    const TLS: &str = "--listen [::]:1 --tls-listen [::]:2";

    #[test]
    fn every_setting_that_can_follow_is_named_and_taken_over() {
        for (flags, name) in [
            ("--heartbeat 5s", "heartbeat"),
            ("--compression off", "compression"),
            ("--compression-level 5", "compression-level"),
            ("--compression-min 5", "compression-min"),
            ("--compression-window 10", "compression-window"),
            ("--max-message 5", "max-message"),
            ("--max-connections 5", "max-connections"),
            ("--max-memory 1GiB", "max-memory"),
            ("--drain 5s", "drain"),
            ("--log-level warn", "log-level"),
            ("--auth-key b", "auth-key"),
            ("--allow-origin *", "allow-origin"),
            ("--trusted-proxy ::1", "trusted-proxy"),
            ("--max-connections-per-address 5", "max-connections-per-address"),
            ("--handshake-rate 5/1s", "handshake-rate"),
            ("--rate-limit 5/1s", "rate-limit"),
            ("--rate-bytes off", "rate-bytes"),
            ("--history-messages 5", "history-messages"),
            ("--history-age 5s", "history-age"),
        ] {
            let (old, new) = (config(TOKEN), config(&format!("{TOKEN} {flags}")));
            let changes = Changes { applied: vec![name], kept: Vec::new() };
            assert_eq!(old.changes(&new), changes);
            assert_eq!(new.clone().kept_from(&old), new, "{name}");
            assert_eq!(new.changes(&new.clone()), Changes::default());
        }
        let (old, new) = (config("--allow-origin *"), config("--allow-origin * --require-origin"));
        assert_eq!(old.changes(&new).applied, ["require-origin"]);
        let tls = format!("{TLS} --tls-cert c --tls-key k --tls-client-ca a");
        for (now, names) in [
            (tls.replace("cert c", "cert d"), &["tls-cert"][..]),
            (tls.replace("key k", "key l"), &["tls-key"]),
            (format!("{tls} --tls-cert d --tls-key l"), &["tls-cert", "tls-key"]),
            (tls.replace("ca a", "ca b"), &["tls-client-ca"]),
            (format!("{tls} --tls-client-auth optional"), &["tls-client-auth"]),
        ] {
            let (old, new) = (config(&tls), config(&now));
            assert_eq!(old.changes(&new), Changes { applied: names.to_vec(), kept: Vec::new() });
            assert_eq!(new.clone().kept_from(&old), new, "{now}");
        }
        let (old, new) = ("--trusted-proxy ::1", "--trusted-proxy ::1 --proxy-protocol");
        assert_eq!(config(old).changes(&config(new)).applied, ["proxy-protocol"]);
        let (old, new) = ("--auth message --auth-users u", "--auth message --auth-users v");
        assert_eq!(config(old).changes(&config(new)).applied, ["auth-users"]);
    }

    #[test]
    fn what_needs_a_restart_is_named_and_stays() {
        for (flags, names) in [
            ("--listen 127.0.0.1:1", &["listen"][..]),
            ("--shards 5", &["shards"]),
            ("--app echo", &["app"]),
            ("--admin off", &["admin"]),
            ("--admin-token-file t", &["admin-token-file"]),
            ("--log-dir d", &["log-dir"]),
            ("--log-file-size 1MiB", &["log-file-size"]),
            ("--log-files 7", &["log-files"]),
            ("--summary off", &["summary"]),
            (TOKEN, &["auth", "auth-key"]),
            ("--auth message --auth-users u", &["auth", "auth-users"]),
        ] {
            let (old, new) = (config(""), config(&format!("{flags} --drain 5s")));
            let changes = Changes { applied: vec!["drain"], kept: names.to_vec() };
            assert_eq!(old.changes(&new), changes);
            assert_eq!(new.kept_from(&old), config("--drain 5s"), "{flags}");
        }
        let tls = format!("{TLS} --tls-cert c --tls-key k");
        let (old, new) = (config("--listen [::]:1"), config(&format!("{tls} --drain 5s")));
        let kept = ["tls-listen", "tls-cert", "tls-key"];
        assert_eq!(old.changes(&new).kept, kept);
        assert_eq!(new.clone().kept_from(&old), config("--listen [::]:1 --drain 5s"));
        assert_eq!(new.changes(&old).kept, kept);
        let (old, new) = (config(&tls), config(&tls.replace(":2", ":3").replace("key k", "key l")));
        let changes = Changes { applied: vec!["tls-key"], kept: vec!["tls-listen"] };
        assert_eq!(old.changes(&new), changes);
        assert_eq!(new.kept_from(&old), config(&tls.replace("key k", "key l")));
        let (old, new) = (config(TOKEN), config("--allow-origin *"));
        assert_eq!(new.kept_from(&old), config(&format!("{TOKEN} --allow-origin *")));
    }

    #[test]
    fn a_bad_command_line_is_told_without_ornament() {
        let bad = Source::of(["ringwire", "--heartbeat", "2h"]).load();
        assert_eq!(bad, Err("heartbeat must be from 1s to 3600s, not 7200s".to_owned()));
    }
}
