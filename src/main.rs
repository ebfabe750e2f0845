//! The `ringwire` program.

use std::process::ExitCode;

use ringwire::config::{Command, Config, from_args};
use ringwire::{check, server};
use rustix::thread::disable_transparent_huge_pages;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A table of connections is reserved whole and used little by little: with huge pages the first
    // connection would make 2 MiB of it resident. Where the kernel has none, there is none to avoid.
    let _ = disable_transparent_huge_pages(true);
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
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// A thread that panics takes the process with it: half a server is worse than none.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
