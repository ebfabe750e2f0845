//! The `loadtest` program: puts load on a WebSocket server and reports what it did.

mod addresses;
mod args;
mod calibrate;
mod client;
mod connections;
mod control;
mod crew;
mod load_thread;
mod payload;
mod plan;
mod probe;
mod report;
mod results;
mod run;
mod scenario;
mod stats;
mod upgrade;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::args::{Arguments, Command, CommandLine};
use crate::report::{EXIT_ARGUMENTS, EXIT_FAILED, EXIT_INTERRUPTED, Report};

/// Small pages per thread that return to the kernel, like the server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Calibrate(arguments) => catch_signals()
            .and_then(|interrupted| calibrate::calibrate(&arguments, &interrupted))
            .map(ExitCode::from),
        Command::Load(scenario) => load(&Arguments { scenario: *scenario }),
    };
    done.unwrap_or_else(|reason| fail(&reason))
}

fn load(arguments: &Arguments) -> Result<ExitCode, String> {
    if let Err(reason) = arguments.check() {
        eprintln!("loadtest: {reason}");
        return Ok(ExitCode::from(EXIT_ARGUMENTS));
    }
    let outcome = run::run(arguments, &*catch_signals()?)?;
    let report = Report::new(arguments, &outcome);
    report.write(arguments.scenario.common().json.as_deref())?;
    Ok(ExitCode::from(report.exit_code()))
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("loadtest: {reason}");
    ExitCode::from(EXIT_FAILED)
}

/// The first signal ends the run and still reports; the second ends the process.
fn catch_signals() -> Result<Arc<AtomicBool>, String> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED.into(), interrupted.clone())
            .and_then(|_| flag::register(signal, interrupted.clone()))
            .map_err(|error| format!("cannot catch signals: {error}"))?;
    }
    Ok(interrupted)
}
