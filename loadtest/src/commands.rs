//! The commands that work on saved runs: `report`, `merge`, `compare` and `schema`.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::args::ScenarioArguments;
use crate::calibrate::CalibrateArguments;
use crate::results::{Comparison, Gate, Results, Side, Verdict, save_page, schema};
use crate::search::SearchCommand;
use crate::workers::WorkerArguments;

/// Puts load on a WebSocket server and reports what it did.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, about)]
#[command(after_help = "Exit codes: 0 valid, 1 could not run, 2 bad arguments, 3 messages or \
    connections were lost or wrong, or a gate failed, 4 the figures are the generator's, \
    5 connections missing, 130 interrupted (the report is still written).")]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Everything that the program can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Scenario(ScenarioArguments),
    #[command(flatten)]
    Search(SearchCommand),
    /// Measures what this generator itself can do on this host
    Calibrate(CalibrateArguments),
    #[command(flatten)]
    Saved(SavedCommand),
    Worker(WorkerArguments),
}

/// What can be done with saved runs. A run is the directory of its --out, or the summary.json in
/// it.
#[derive(Debug, Subcommand)]
pub(crate) enum SavedCommand {
    /// Prints the report of saved runs again
    Report(ReportArguments),
    /// Makes one run of several that were made together; histograms are added, never averaged
    Merge(MergeArguments),
    /// Shows runs side by side, and fails when one is worse than it may be
    Compare(CompareArguments),
    /// Prints the JSON schema of summary.json
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// Saved runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Adds the whole spectrum of percentiles
    #[arg(long)]
    detailed: bool,
    /// Writes one page that shows all of them over each other, instead of report.html in each
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArguments {
    /// Saved runs of one scenario
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Directory the files of the one run are written to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// Saved run that the others are compared with, or several as A1,A2,A3, whose medians count
    base: String,
    /// Saved runs, each or each several as B1,B2,B3 compared with the base
    #[arg(required = true)]
    new: Vec<String>,
    /// Fails when this holds for a new run: relative to the base as 'p99>+10%', or 'p99>50ms',
    /// 'missing>0'
    #[arg(long, value_name = "EXPR")]
    fail_if: Vec<Gate>,
    /// Compares runs whose figures are the generator's as if they were the server's
    #[arg(long)]
    allow_generator_bound: bool,
}

impl SavedCommand {
    /// Does it; the result is the exit code.
    ///
    /// # Errors
    /// When a run cannot be read or a file not be written.
    pub(crate) fn run(&self) -> Result<u8, String> {
        match self {
            Self::Report(arguments) => arguments.run(),
            Self::Merge(arguments) => arguments.run(),
            Self::Compare(arguments) => arguments.run(),
            Self::Schema => {
                print!("{}", schema());
                Ok(Verdict::Valid.exit_code())
            }
        }
    }
}

impl ReportArguments {
    fn run(&self) -> Result<u8, String> {
        let mut runs = Vec::new();
        for path in &self.runs {
            let results = Results::load(path)?;
            print!("{}", results.summary.text(self.detailed)?);
            runs.push((name(path), results));
        }
        match &self.html {
            Some(file) => {
                let runs: Vec<_> = runs.iter().map(|(name, run)| (name.as_str(), run)).collect();
                save_page(file, &runs)?;
            }
            None => {
                for (path, (_, results)) in self.runs.iter().zip(&runs) {
                    let file = || path.parent().unwrap_or(path);
                    results.save_html(if path.is_dir() { path } else { file() })?;
                }
            }
        }
        Ok(Verdict::Valid.exit_code())
    }
}

/// What a saved run is called: its directory.
fn name(path: &Path) -> String {
    let directory = if path.is_dir() { Some(path) } else { path.parent() };
    let name = directory.and_then(Path::file_name).unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

impl MergeArguments {
    fn run(&self) -> Result<u8, String> {
        let same = |path: &&PathBuf| path.canonicalize().ok() == self.out.canonicalize().ok();
        if let Some(path) = self.runs.iter().filter(|path| path.exists()).find(same) {
            return Err(format!("--out {} would replace a run that is merged", path.display()));
        }
        let runs = self.runs.iter().map(|path| Results::load(path));
        let merged = Results::merge(runs.collect::<Result<_, _>>()?)?;
        merged.save(&self.out)?;
        print!("{}", merged.summary.text(false)?);
        Ok(Verdict::Valid.exit_code())
    }
}

impl CompareArguments {
    fn run(&self) -> Result<u8, String> {
        let comparison = Comparison {
            base: side(&self.base)?,
            new: self.new.iter().map(|names| side(names)).collect::<Result<_, _>>()?,
            gates: self.fail_if.clone(),
            allow_generator_bound: self.allow_generator_bound,
        };
        let (text, verdict) = comparison.result();
        print!("{text}");
        Ok(verdict.exit_code())
    }
}

/// Runs divided by commas, unless the name with its commas is there.
fn side(names: &str) -> Result<Side, String> {
    let paths: Vec<&str> =
        if Path::new(names).exists() { vec![names] } else { names.split(',').collect() };
    let runs = paths.iter().map(|path| Results::load(Path::new(path)));
    Ok(Side { name: names.to_owned(), runs: runs.collect::<Result<_, _>>()? })
}
