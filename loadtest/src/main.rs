//! The `loadtest` program: puts load on a WebSocket server and reports what it did.

mod addresses;
mod args;
mod calibrate;
mod client;
mod connections;
mod control;
mod crew;
mod dry_run;
mod environment;
mod fault;
mod host;
mod judge;
mod load_thread;
mod measured;
mod payload;
mod plan;
mod probe;
mod progress;
mod redact;
mod results;
mod rotation;
mod run;
mod scenario;
mod schedule;
mod shortage;
mod sources;
mod stats;
mod timeline;
mod upgrade;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::args::{Arguments, Command, CommandLine};
use crate::results::{Results, Verdict};

/// The command line is wrong; clap ends the program with the same.
const EXIT_ARGUMENTS: u8 = 2;

/// Small pages per thread that return to the kernel, like the server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Calibrate(arguments) => {
            catch_signals().and_then(|interrupted| calibrate::calibrate(&arguments, &interrupted))
        }
        Command::Load(scenario) => load(&Arguments { scenario: *scenario }),
    };
    let exit_code = done.unwrap_or_else(|reason| {
        eprintln!("loadtest: {reason}");
        Verdict::CouldNotRun.exit_code()
    });
    ExitCode::from(exit_code)
}

fn load(arguments: &Arguments) -> Result<u8, String> {
    if let Err(reason) = arguments.check() {
        eprintln!("loadtest: {reason}");
        return Ok(EXIT_ARGUMENTS);
    }
    if arguments.scenario.common().dry_run {
        return dry_run::run(arguments).map(|()| Verdict::Valid.exit_code());
    }
    let results = run::run(arguments, &*catch_signals()?)?;
    report(arguments, &results)
}

/// Shows and saves what a run left. Gives back how the program ends.
fn report(arguments: &Arguments, results: &Results) -> Result<u8, String> {
    let common = arguments.scenario.common();
    let as_json = serde_json::to_string_pretty(&results.summary)
        .map_err(|error| format!("the report is not valid JSON: {error}"))?;
    println!("{as_json}");
    let _ = common;
    Ok(results.summary.exit_code)
}

/// The first signal ends the run and still reports; the second ends the process.
fn catch_signals() -> Result<Arc<AtomicBool>, String> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(
            signal,
            Verdict::Interrupted.exit_code().into(),
            interrupted.clone(),
        )
        .and_then(|_| flag::register(signal, interrupted.clone()))
        .map_err(|error| format!("cannot catch signals: {error}"))?;
    }
    Ok(interrupted)
}
