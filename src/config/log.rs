//! The settings of the log.

use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::values::{ByteSize, OrOff, Span};
use super::{Settings, within};
use crate::limits;

/// Where the log goes, and how often the server sums up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The folder of `combined.log` and `error.log`; `None` is standard error alone.
    pub directory: Option<PathBuf>,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Files of each log, with the one that is written.
    pub files: usize,
    /// Time between two summaries; `None` is off.
    pub summary: Option<Duration>,
}

impl Default for LogConfig {
    fn default() -> Self {
        let summary = Some(Duration::from_secs(60));
        Self { directory: None, file_bytes: 16 * 1024 * 1024, files: 5, summary }
    }
}

impl LogConfig {
    /// The part of `settings` that is about the log, within its bounds.
    pub(super) fn of(settings: &Settings) -> Result<Self, String> {
        let default = Self::default();
        if let Some(ByteSize(bytes)) = settings.log_file_size {
            let (least, most) = limits::LOG_FILE_BYTES;
            within("log-file-size", bytes, least, most)?;
        }
        if let Some(files) = settings.log_files {
            within("log-files", files, 1, limits::LOG_FILES_MAX)?;
        }
        let summary = match settings.summary {
            Some(OrOff(period)) => period.map(|Span(period)| period),
            None => default.summary,
        };
        if let Some(period) = summary {
            let (shortest, longest) = limits::SUMMARY_PERIOD;
            within("summary", Span(period), Span(shortest), Span(longest))?;
        }
        Ok(Self {
            directory: settings.log_dir.clone(),
            file_bytes: settings
                .log_file_size
                .map_or(default.file_bytes, |ByteSize(bytes)| bytes as u64),
            files: settings.log_files.unwrap_or(default.files),
            summary,
        })
    }
}

/// Parses a log filter. The syntax allows one that says nothing; nobody means it.
///
/// # Errors
/// A sentence for the user that begins with the filter.
pub(crate) fn parse_filter(filter: &str) -> Result<EnvFilter, String> {
    if filter.split(',').all(|directive| directive.trim().is_empty()) {
        return Err(format!("{filter:?} is empty: name a level, such as info, or off"));
    }
    EnvFilter::builder().parse(filter).map_err(|error| format!("{filter:?} is no filter: {error}"))
}
