//! A run of several processes: workers, on one host or on many, put the load on the server, and the
//! process that the user started leads them and merges what they measured.
//!
//! All of them share the clock of the coordinator, as well as it can be known from the time that a
//! message to each of them and back takes.

mod coordinator;
mod merged;
mod protocol;
mod share;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

pub(crate) use self::coordinator::coordinate;
pub(crate) use self::worker::{WorkerArguments, serve};

/// Bytes of a secret at most: it must fit the first line that a worker reads.
const SECRET_BYTES_MAX: usize = 1024;

/// The flags of a run that other processes make.
#[derive(Clone, Debug, Args)]
pub(crate) struct WorkersArguments {
    /// Other processes that put the load on the server instead of this one, each started with
    /// `loadtest worker`. They share connections and rates; --threads and --cpus hold for each
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', conflicts_with = "dry_run")]
    pub(crate) workers: Vec<String>,
    /// File with the secret that the workers were started with
    #[arg(long, value_name = "FILE", requires = "workers")]
    pub(crate) secret: Option<PathBuf>,
}

/// What a file holds, without the blanks around it; empty without a file.
fn secret(path: Option<&Path>) -> Result<String, String> {
    let Some(path) = path else { return Ok(String::new()) };
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("--secret {name}: {error}"))?;
    let secret = text.trim();
    if secret.is_empty() || secret.len() > SECRET_BYTES_MAX {
        return Err(format!("--secret {name}: it must have 1 to {SECRET_BYTES_MAX} bytes"));
    }
    Ok(secret.to_owned())
}
