//! The `loadtest` program: puts load on a WebSocket server and reports what it did.

mod addresses;
mod args;
mod calibrate;
mod client;
mod commands;
mod company;
mod connections;
mod control;
mod crew;
mod dry_run;
mod environment;
mod failure;
mod fault;
mod host;
mod judge;
mod load_thread;
mod measured;
mod names;
mod payload;
mod plan;
mod press;
mod probe;
mod progress;
mod redact;
mod results;
mod rotation;
mod run;
mod scenario;
mod schedule;
mod search;
mod server;
mod shortage;
mod sources;
mod stats;
mod timeline;
mod tls;
mod upgrade;
mod workers;

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::args::{Arguments, Common};
use crate::commands::{Command, CommandLine};
use crate::judge::judge_gates;
use crate::results::{Results, Verdict};

/// The command line is wrong; clap ends the program with the same.
const EXIT_ARGUMENTS: u8 = 2;

/// Small pages per thread that return to the kernel, like the server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let ended = match CommandLine::parse().command {
        Command::Scenario(scenario) => run_scenario(Arguments { scenario, step: None }),
        Command::Search(search) => checked(search.check()).and_then(|()| {
            if search.common().dry_run {
                return dry_run(&search.highest());
            }
            let interrupted = catch_signals().map_err(End::failed)?;
            finish(search.common(), search.run(&interrupted))
        }),
        Command::Calibrate(arguments) => catch_signals()
            .and_then(|interrupted| calibrate::calibrate(&arguments, &interrupted))
            .map_err(End::failed),
        Command::Saved(command) => command.run().map_err(End::failed),
        Command::Worker(arguments) => catch_signals()
            .and_then(|interrupted| workers::serve(&arguments, &interrupted))
            .map(|()| Verdict::Valid.exit_code())
            .map_err(End::failed),
    };
    match ended {
        Ok(exit_code) => ExitCode::from(exit_code),
        Err(End { exit_code, reason }) => {
            eprintln!("loadtest: {reason}");
            ExitCode::from(exit_code)
        }
    }
}

/// The end of a program that could not do what it was asked for.
struct End {
    exit_code: u8,
    reason: String,
}

impl End {
    const fn failed(reason: String) -> Self {
        Self { exit_code: Verdict::CouldNotRun.exit_code(), reason }
    }
}

fn checked(arguments: Result<(), String>) -> Result<(), End> {
    arguments.map_err(|reason| End { exit_code: EXIT_ARGUMENTS, reason })
}

fn run_scenario(mut arguments: Arguments) -> Result<u8, End> {
    checked(arguments.complete().and_then(|()| arguments.check()))?;
    let common = arguments.scenario.common();
    if common.dry_run {
        return dry_run(&arguments);
    }
    let interrupted = catch_signals().map_err(End::failed)?;
    finish(common, run::run(&arguments, &interrupted))
}

fn dry_run(arguments: &Arguments) -> Result<u8, End> {
    dry_run::run(arguments).map_err(End::failed).map(|()| Verdict::Valid.exit_code())
}

/// Judges, saves and shows what a run left. Gives back how the program ends.
fn finish(common: &Common, results: Result<Results, String>) -> Result<u8, End> {
    results.and_then(|results| report(common, results)).map_err(End::failed)
}

fn report(common: &Common, mut results: Results) -> Result<u8, String> {
    judge_gates(&mut results.summary, &common.fail_if);
    if let Some(folder) = &common.out {
        results.save(folder).map_err(|reason| format!("--out: {reason}"))?;
    }
    let summary = &results.summary;
    let as_json = || {
        serde_json::to_string_pretty(summary)
            .map_err(|error| format!("the report is not valid JSON: {error}"))
    };
    match common.json.as_deref() {
        Some(path) if path.as_os_str() == "-" => println!("{}", as_json()?),
        None => print!("{}", summary.text(common.detailed)?),
        Some(path) => {
            print!("{}", summary.text(common.detailed)?);
            fs::write(path, as_json()? + "\n")
                .map_err(|error| format!("--json {}: {error}", path.display()))?;
        }
    }
    Ok(summary.exit_code)
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
