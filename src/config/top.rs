//! The settings of `ringwire top`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::Span;
use super::within;
use crate::limits::TOP_INTERVAL;

/// What `ringwire top` shows, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopConfig {
    /// The admin listener of the server.
    pub admin: SocketAddr,
    /// The file with its token; not read yet.
    pub token_file: Option<PathBuf>,
    /// Time between two looks.
    pub interval: Duration,
    /// Print one page and end.
    pub once: bool,
}

impl Default for TopConfig {
    fn default() -> Self {
        Self {
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)),
            token_file: None,
            interval: Duration::from_secs(1),
            once: false,
        }
    }
}

/// The flags, before defaults and bounds.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The admin listener of the server [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<SocketAddr>,
    /// File with the token that the admin listener wants
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Time between two looks; the server counts anew once a second [default: 1s]
    #[arg(long, value_name = "DURATION")]
    interval: Option<Span>,
    /// Print one page and end
    #[arg(long)]
    once: bool,
}

impl Flags {
    pub(super) fn into_config(self) -> Result<TopConfig, String> {
        let default = TopConfig::default();
        let interval = self.interval.map_or(default.interval, |Span(time)| time);
        let (shortest, longest) = TOP_INTERVAL;
        within("interval", Span(interval), Span(shortest), Span(longest))?;
        Ok(TopConfig {
            admin: self.admin.unwrap_or(default.admin),
            token_file: self.admin_token_file,
            interval,
            once: self.once,
        })
    }
}
