//! The `ringwire` program.

use std::io::IsTerminal;
use std::process::ExitCode;

use ringwire::config::{Command, Config, from_args};
use ringwire::{check, server};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match from_args() {
        Command::Serve(config) => {
            start_log(&config);
            abort_on_panic();
            server::run(&config)
        }
        Command::Check(config) => check::run(&config),
    }
}

fn start_log(config: &Config) {
    let filter = EnvFilter::new(&config.log_level);
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .init();
}

/// A thread that panics takes the process with it: half a server is worse than none.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
