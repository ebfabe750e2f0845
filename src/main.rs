//! The `ringwire` program.

use std::process::ExitCode;

use ringwire::config::{Command, Source, from_args};
use ringwire::observe::LogControl;
use ringwire::{check, server};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match from_args() {
        Command::Serve(config) => {
            let log = LogControl::start(&config.log_level);
            abort_on_panic();
            server::run(&config, Source::of_process(), &log)
        }
        Command::Check(config) => check::run(&config),
    }
}

/// A thread that panics takes the process with it: half a server is worse than none.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
