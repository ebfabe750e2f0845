//! What shards are told of the configuration: when they start, and whenever it is read again.

use std::sync::Arc;

use crate::app::chat::Rates;
use crate::collections::Tick;
use crate::config::Config;
use crate::hub::HistoryLimits;
use crate::limits::{FRAGMENTS_MAX, HISTORIES_BYTES_MAX, TICK_MILLISECONDS};
use crate::protocol::Limits;
use crate::security::Access;

/// The settings that a running shard can replace.
#[derive(Debug)]
pub struct ShardSettings {
    /// Limits of messages.
    pub limits: Limits,
    /// Silence after which a peer is pinged.
    pub heartbeat: Tick,
    /// What a connection of the chat may say.
    pub rates: Rates,
    /// What rooms remember.
    pub history: HistoryLimits,
    /// Connections of the whole process, where they were limited.
    pub connections_max: Option<usize>,
    /// Who may come.
    pub access: Arc<Access>,
}

impl ShardSettings {
    /// As configured, with the keys and passwords that were read for it.
    #[must_use]
    pub fn of(config: &Config, access: Arc<Access>) -> Self {
        let ticks = |milliseconds: u128| {
            let ticks = milliseconds / u128::from(TICK_MILLISECONDS);
            Tick::try_from(ticks).expect("no setting is longer than a day")
        };
        Self {
            limits: Limits {
                message_bytes_max: config.max_message,
                fragments_max: FRAGMENTS_MAX,
                compressed: false,
            },
            heartbeat: ticks(config.heartbeat.as_millis()),
            rates: Rates { messages: config.chat.rate_limit, bytes: config.chat.rate_bytes },
            history: HistoryLimits {
                messages: config.chat.history_messages,
                age: ticks(config.chat.history_age.as_millis()),
                home_bytes: HISTORIES_BYTES_MAX,
            },
            connections_max: config.max_connections,
            access,
        }
    }

    /// The share of one of so many shards in the connections: the shares add up to all of them.
    #[must_use]
    pub fn connections_of(&self, shard: usize, shards: usize) -> usize {
        let share = |all: usize| all / shards + usize::from(shard < all % shards);
        self.connections_max.map_or(usize::MAX, share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_shards_are_the_whole() {
        for (all, shards) in [(1, 1), (1, 4), (7, 3), (100, 8)] {
            let config = Config { max_connections: Some(all), ..Config::default() };
            let settings = ShardSettings::of(&config, Arc::default());
            let sum: usize = (0..shards).map(|shard| settings.connections_of(shard, shards)).sum();
            assert_eq!(sum, all);
        }
        let settings = ShardSettings::of(&Config::default(), Arc::default());
        assert_eq!(settings.connections_of(1, 2), usize::MAX);
    }
}
