//! The `ringwire` program.

use std::process::ExitCode;

use ringwire::config::{Command, Config, Source, from_args};
use ringwire::observe::LogControl;
use ringwire::{check, server, top};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match from_args() {
        Command::Serve(config) => serve(&config),
        Command::Check(config) => check::run(&config),
        Command::Top(config) => top::run(&config),
    }
}

fn serve(config: &Config) -> ExitCode {
    let start = || {
        let log = LogControl::start(&config.log_level, &config.log)?;
        log.end_on_panic()?;
        Ok::<_, String>(log)
    };
    let log = match start() {
        Ok(log) => log,
        Err(error) => {
            eprintln!("ringwire: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = server::run(config, Source::of_process(), &log);
    log.finish();
    code
}
