//! Public WebSocket clients against the real server: Python `websockets`, Node `ws`, Chromium.
//!
//! Each program in `tests/clients/` runs its checks and prints a verdict as JSON; the tests here
//! start the server and judge the verdict. `scripts/test` installs what they need.

mod common;

use common::Server;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How long one client program may take in all; each takes a few seconds.
const CLIENT_SECONDS: &str = "180";

/// What a client program prints.
#[derive(Debug, Deserialize)]
struct Verdict {
    client: String,
    passed: Vec<String>,
    failed: BTreeMap<String, String>,
}

#[test]
fn python_websockets() {
    let python = project_file(".deps/venv/bin/python");
    let checks = run_client(&python, "python_echo.py");
    assert_eq!(checks, 28);
}

#[test]
fn node_ws() {
    require(&project_file("tests/clients/node_modules/ws"));
    let checks = run_client("node".as_ref(), "node_echo.mjs");
    assert_eq!(checks, 29);
}

#[test]
fn chromium_page() {
    require(&project_file("tests/clients/node_modules/playwright-core"));
    require(
        &std::env::var_os("CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from),
    );
    let checks = run_client("node".as_ref(), "chromium_echo.mjs");
    assert_eq!(checks, 13);
}

/// Runs a program of `tests/clients/` against a server of its own and returns how many checks
/// passed, so that a check which silently never ran is noticed.
///
/// # Panics
/// When a check failed, or the program could not run to its end.
fn run_client(interpreter: &Path, program: &str) -> usize {
    let server = Server::start(&[]);
    // timeout(1) ends the program's whole process group, a browser included.
    let output = Command::new("timeout")
        .args(["--kill-after=5", CLIENT_SECONDS].map(OsStr::new))
        .args([interpreter.as_os_str(), project_file("tests/clients").join(program).as_os_str()])
        .arg(server.address().to_string())
        .output()
        .expect("timeout(1) of the coreutils is there");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} ended with {}: run scripts/test, which installs what it needs.\n\
         It printed:\n{printed}\n{errors}",
        output.status,
    );
    let verdict: Verdict = serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("{program} printed no verdict ({error}):\n{printed}"));
    assert!(verdict.failed.is_empty(), "{}: {:#?}", verdict.client, verdict.failed);
    verdict.passed.len()
}

fn require(path: &Path) {
    assert!(path.exists(), "{} is missing: run scripts/test, which installs it", path.display());
}

fn project_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
