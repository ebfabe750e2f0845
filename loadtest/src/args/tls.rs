//! The flags of TLS.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::Target;

/// How servers with `wss://` URLs are spoken to.
#[derive(Clone, Default, Debug, Args)]
pub(crate) struct TlsArguments {
    /// Accepts any certificate of a wss:// server, whoever made it and for whatever name
    #[arg(long, conflicts_with = "tls_ca")]
    pub(crate) insecure: bool,
    /// Issuers to trust instead of those of this system: a file with certificates in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Speaks this version of TLS only; default: the higher one that the server speaks
    #[arg(long, value_enum, value_name = "VERSION")]
    pub(crate) tls_version: Option<TlsVersion>,
    /// Goes on from earlier sessions where the server lets it, as browsers do; without it every
    /// handshake is a full one
    #[arg(long)]
    pub(crate) tls_resume: bool,
    /// What is in the file of --tls-ca: a worker is told by its coordinator.
    #[arg(skip)]
    pub(crate) issuers: Option<Arc<str>>,
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum TlsVersion {
    /// TLS 1.2 (RFC 5246)
    #[value(name = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446)
    #[value(name = "1.3")]
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

impl TlsArguments {
    /// Flags of TLS are for servers that speak it; the error says what to change.
    pub(super) fn check(&self, targets: &[Target]) -> Result<(), String> {
        if targets.iter().any(|target| target.tls.is_some()) {
            return Ok(());
        }
        let flags = [
            (self.insecure, "--insecure"),
            (self.tls_ca.is_some(), "--tls-ca"),
            (self.tls_version.is_some(), "--tls-version"),
            (self.tls_resume, "--tls-resume"),
        ];
        match flags.iter().find(|(is_given, _)| *is_given) {
            Some((_, flag)) => Err(format!("{flag} is for a --url that begins with wss://")),
            None => Ok(()),
        }
    }

    /// The certificates of --tls-ca in PEM, if the flag is given.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read_issuers(&self) -> Result<Option<Arc<str>>, String> {
        match (&self.issuers, &self.tls_ca) {
            (Some(told), _) => Ok(Some(told.clone())),
            (None, Some(path)) => fs::read_to_string(path)
                .map(|text| Some(text.into()))
                .map_err(|error| format!("--tls-ca {}: {error}", path.display())),
            (None, None) => Ok(None),
        }
    }
}
