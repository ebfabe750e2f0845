//! The settings of access and of the chat: which belong together, and their bounds.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use super::values::{ByteRate, Count, CountRate, OrOff, Rate, Span};
use super::{Settings, within};
use crate::limits;
use crate::security::{AdmissionLimits, AuthMode, Origins, Proxies, RateLimit};

/// Who may come. The files it names are not read yet.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AccessConfig {
    /// How clients say who they are.
    pub auth: AuthMode,
    /// Files with the keys of tokens.
    pub keys: Vec<PathBuf>,
    /// The password file.
    pub users: Option<PathBuf>,
    /// The origins whose pages may connect.
    pub origins: Origins,
    /// Who speaks for others.
    pub proxies: Proxies,
    /// What one client address may have.
    pub per_address: AdmissionLimits,
}

/// What a member of the chat may do, and what the chat keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatConfig {
    /// Messages of one connection; `None` is no limit.
    pub rate_limit: Option<RateLimit>,
    /// Bytes of the messages of one connection; `None` is no limit.
    pub rate_bytes: Option<RateLimit>,
    /// Messages that a room keeps; 0 keeps none.
    pub history_messages: usize,
    /// How long it keeps them.
    pub history_age: Duration,
}

impl Default for ChatConfig {
    fn default() -> Self {
        let window = 60 * limits::TICKS_PER_SECOND;
        Self {
            rate_limit: Some(RateLimit { count: 100, window }),
            rate_bytes: Some(RateLimit { count: 1 << 20, window }),
            history_messages: 1000,
            history_age: Duration::from_secs(5 * 60),
        }
    }
}

/// The values of `--auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Auth {
    /// Not at all
    None,
    /// With a token in the handshake, on every path
    Token,
    /// With the first message of the chat; elsewhere with a token
    Message,
}

impl From<Auth> for AuthMode {
    fn from(auth: Auth) -> Self {
        match auth {
            Auth::None => Self::None,
            Auth::Token => Self::Token,
            Auth::Message => Self::Message,
        }
    }
}

impl AccessConfig {
    pub(super) fn of(settings: &Settings) -> Result<Self, String> {
        let connections = settings.max_connections_per_address.and_then(|OrOff(count)| count);
        let handshakes = settings.handshake_rate.and_then(|OrOff(rate)| rate);
        let handshakes = handshakes
            .map(|CountRate(rate)| rate_limit("handshake-rate", rate, limits::RATE_COUNT_MAX));
        let access = Self {
            auth: settings.auth.map_or(AuthMode::None, AuthMode::from),
            keys: settings.auth_key.clone().unwrap_or_default(),
            users: settings.auth_users.clone(),
            origins: origins(settings)?,
            proxies: proxies(settings)?,
            per_address: AdmissionLimits {
                connections: connections.map(|Count(count)| count),
                handshakes: handshakes.transpose()?,
            },
        };
        within("the number of auth-key files", access.keys.len(), 0, limits::KEYS_MAX)?;
        let (proxies, most) = (access.proxies.len(), limits::TRUSTED_PROXIES_MAX);
        within("the number of networks of trusted-proxy", proxies, 0, most)?;
        access.fits_together()?;
        Ok(access)
    }

    /// What is asked for must be possible, and what is given must have a use: a key that is not
    /// asked for would be taken for protection.
    fn fits_together(&self) -> Result<(), String> {
        let (has_keys, has_users) = (!self.keys.is_empty(), self.users.is_some());
        let error = match self.auth {
            AuthMode::None if has_keys || has_users => {
                "auth-key and auth-users need auth token or auth message: nobody is asked for \
                 credentials now"
            }
            AuthMode::Token if !has_keys => {
                "auth token needs auth-key FILE: the public key (PEM) or the HS256 secret of \
                 whoever issues the tokens"
            }
            AuthMode::Token if has_users => {
                "auth-users needs auth message: a token is all that auth token accepts"
            }
            AuthMode::Message if !has_keys && !has_users => {
                "auth message needs auth-users FILE (passwords), auth-key FILE (tokens), or both"
            }
            _ if self.origins.is_required() && self.origins.is_empty() => {
                "require-origin needs allow-origin: name the origins, or * for any"
            }
            _ if self.proxies.announce() && self.proxies.is_empty() => {
                "proxy-protocol needs trusted-proxy: name the proxies that send a PROXY header"
            }
            _ => return Ok(()),
        };
        Err(error.to_owned())
    }
}

impl ChatConfig {
    pub(super) fn of(settings: &Settings) -> Result<Self, String> {
        let default = Self::default();
        let rate = match settings.rate_limit {
            None => default.rate_limit,
            Some(OrOff(rate)) => rate
                .map(|CountRate(rate)| rate_limit("rate-limit", rate, limits::RATE_COUNT_MAX))
                .transpose()?,
        };
        let rate_bytes = match settings.rate_bytes {
            None => default.rate_bytes,
            Some(OrOff(rate)) => rate
                .map(|ByteRate(rate)| rate_limit("rate-bytes", rate, limits::RATE_BYTES_MAX))
                .transpose()?,
        };
        let history_messages = settings.history_messages.unwrap_or(default.history_messages);
        let history_age = settings.history_age.map_or(default.history_age, |Span(time)| time);
        within("history-messages", history_messages, 0, limits::HISTORY_MESSAGES_MAX)?;
        let (shortest, longest) = limits::HISTORY_AGE;
        within("history-age", Span(history_age), Span(shortest), Span(longest))?;
        Ok(Self { rate_limit: rate, rate_bytes, history_messages, history_age })
    }
}

fn origins(settings: &Settings) -> Result<Origins, String> {
    let list = settings.allow_origin.as_deref().unwrap_or_default();
    if settings.allow_origin.is_some() && list.is_empty() {
        return Err(
            "allow-origin is an empty list: name the origins, or leave it out for any".into()
        );
    }
    let required = settings.require_origin.unwrap_or(false);
    Origins::new(list, required)
        .map_err(|(index, error)| format!("allow-origin {:?}: {error}", list[index]))
}

fn proxies(settings: &Settings) -> Result<Proxies, String> {
    let list = settings.trusted_proxy.as_deref().unwrap_or_default();
    let announce = settings.proxy_protocol.unwrap_or(false);
    Proxies::new(list, announce)
        .map_err(|(index, error)| format!("trusted-proxy {:?}: {error}", list[index]))
}

/// A rate in ticks, within its bounds.
fn rate_limit(name: &str, rate: Rate, most: u32) -> Result<RateLimit, String> {
    let (shortest, longest) = limits::RATE_WINDOW;
    within(&format!("the time of {name}"), Span(rate.span), Span(shortest), Span(longest))?;
    within(&format!("the amount of {name}"), rate.amount, 1, most.into())?;
    let ticks = rate.span.as_millis().div_ceil(limits::TICK_MILLISECONDS.into());
    Ok(RateLimit {
        count: u32::try_from(rate.amount).expect("the most is a u32"),
        window: u32::try_from(ticks).expect("the longest is an hour"),
    })
}
