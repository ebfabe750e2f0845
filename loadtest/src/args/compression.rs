//! The flags of compression.

use clap::{Args, ValueEnum};
use ringwire::limits::{COMPRESSION_BYTES_MIN, DEFLATE_LEVEL_DEFAULT, DEFLATE_WINDOW_BITS_MAX};
use ringwire::protocol::deflate::DeflatePolicy;

/// Whether messages are compressed (RFC 7692), and how.
#[derive(Clone, Default, Debug, Args)]
pub(crate) struct CompressionArguments {
    /// Offers permessage-deflate; whoever declines is spoken to without
    #[arg(long, value_enum, default_value_t)]
    pub(crate) compression: Compression,
    /// How hard messages are compressed that are sent: 1, the fastest, to 9, the smallest
    /// [default: 1]
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..=9))]
    compression_level: Option<u32>,
    /// Bytes of a message below which it is sent as it is [default: 256]
    #[arg(long, value_name = "BYTES")]
    compression_min: Option<usize>,
}

/// What is offered.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Compression {
    /// Nothing
    #[default]
    Off,
    /// Every message on its own, in both directions: no_context_takeover
    Shared,
    /// Messages may refer to those before them, which costs memory for each connection
    Dedicated,
}

impl CompressionArguments {
    /// Flags of compression are for runs with it; the error says what to change.
    pub(super) fn check(&self) -> Result<(), String> {
        let flags = [
            (self.compression_level.is_some(), "--compression-level"),
            (self.compression_min.is_some(), "--compression-min"),
        ];
        match flags.iter().find(|(is_given, _)| *is_given) {
            Some((_, flag)) if self.compression == Compression::Off => {
                Err(format!("{flag} is for --compression shared or dedicated"))
            }
            _ => Ok(()),
        }
    }

    /// What the request offers, if anything.
    pub(crate) fn policy(&self) -> Option<DeflatePolicy> {
        let takeover = match self.compression {
            Compression::Off => return None,
            Compression::Shared => false,
            Compression::Dedicated => true,
        };
        Some(DeflatePolicy { takeover, window_bits: DEFLATE_WINDOW_BITS_MAX })
    }

    /// How hard messages are compressed.
    pub(crate) fn level(&self) -> u32 {
        self.compression_level.unwrap_or_else(|| DEFLATE_LEVEL_DEFAULT.into())
    }

    /// Bytes of a message that is compressed, at least.
    pub(crate) fn least(&self) -> usize {
        self.compression_min.unwrap_or(COMPRESSION_BYTES_MIN)
    }
}
