//! The log of the process: where its lines go, and which.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use super::overview::LogLine;

/// Which lines are written, changeable while the server runs.
#[derive(Clone, Debug)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogControl {
    /// Starts the log of this process, once, with a filter in the syntax of `tracing`.
    ///
    /// # Panics
    /// When the filter does not parse: it was checked before.
    #[must_use]
    pub fn start(filter: &str) -> Self {
        let (filter, handle) = reload::Layer::new(EnvFilter::new(filter));
        let colours = std::io::stderr().is_terminal();
        let lines = fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
        tracing_subscriber::registry().with(filter).with(lines).init();
        Self { filter: handle }
    }

    /// The filter in force.
    #[must_use]
    pub fn filter(&self) -> String {
        self.filter.with_current(ToString::to_string).expect("the log lives as long as the process")
    }

    /// The newest warnings and errors, the newest first: none are kept.
    #[must_use]
    pub const fn recent(&self) -> Vec<LogLine> {
        Vec::new()
    }

    /// Lines that a sink did not get: whoever writes one waits until it is written.
    #[must_use]
    pub const fn lines_dropped(&self) -> u64 {
        0
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// `filter` does not parse: nothing has changed.
    pub fn set_filter(&self, filter: &str) -> Result<(), String> {
        let parsed = EnvFilter::builder()
            .parse(filter)
            .map_err(|error| format!("{filter:?} is no log filter: {error}"))?;
        self.filter.reload(parsed).expect("the log lives as long as the process");
        Ok(())
    }
}
