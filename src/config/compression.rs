//! The settings of compression.

use clap::ValueEnum;
use serde::Deserialize;

use super::values::ByteSize;
use super::{Settings, within};
use crate::limits;

/// How messages are compressed on their way to clients that can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionConfig {
    /// Whether, and what a connection keeps for it.
    pub mode: CompressionMode,
    /// How hard to try, from 1 (fast) to 9 (small).
    pub level: u8,
    /// Bytes of the smallest message that is compressed.
    pub min_bytes: usize,
    /// Bits of the largest window, from 9 to 15: a connection looks back 2 to that power bytes.
    pub window_bits: u8,
}

/// The values of `--compression`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CompressionMode {
    /// Not at all
    Off,
    /// Each message by itself: a broadcast once for all, and no memory for each connection
    Shared,
    /// With what the connection has carried before: smaller, and memory for each connection
    Dedicated,
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self {
            mode: CompressionMode::Shared,
            level: limits::DEFLATE_LEVEL_DEFAULT,
            min_bytes: limits::COMPRESSION_BYTES_MIN,
            window_bits: limits::DEFLATE_WINDOW_BITS_DEFAULT,
        }
    }
}

impl CompressionConfig {
    pub(super) fn of(settings: &Settings) -> Result<Self, String> {
        let default = Self::default();
        let mode = settings.compression.unwrap_or(default.mode);
        let compression = Self {
            mode,
            level: settings.compression_level.unwrap_or(default.level),
            min_bytes: settings.compression_min.map_or(default.min_bytes, |ByteSize(bytes)| bytes),
            window_bits: settings.compression_window.unwrap_or(default.window_bits),
        };
        let (fastest, smallest) = limits::COMPRESSION_LEVELS;
        within("compression-level", compression.level, fastest, smallest)?;
        within("compression-min", compression.min_bytes, 0, limits::MESSAGE_BYTES_MAX)?;
        let (least, most) = (limits::DEFLATE_WINDOW_BITS_MIN, limits::DEFLATE_WINDOW_BITS_MAX);
        within("compression-window", compression.window_bits, least, most)?;
        Ok(compression)
    }
}
