//! Programs of `tests/clients/` that put the server to the test and print a verdict as JSON.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How long one program may take in all; each takes a few seconds, the longest half a minute.
const PROGRAM_SECONDS: &str = "180";

/// Where Node and Python look for authorities.
const CA_VARIABLES: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"];

/// What a program prints.
#[derive(Debug, Deserialize)]
struct Verdict {
    client: String,
    passed: Vec<String>,
    failed: BTreeMap<String, String>,
}

/// Runs a program of `tests/clients/` and returns how many checks passed, so that a check which
/// silently never ran is noticed.
///
/// # Panics
/// When a check failed, or the program could not run to its end.
pub(crate) fn run(interpreter: &Path, program: &str, arguments: &[&str]) -> usize {
    run_trusting(None, interpreter, program, arguments)
}

/// As [`run`], with an authority that vouches for servers.
///
/// # Panics
/// When a check failed, or the program could not run to its end.
pub(crate) fn run_trusting(
    ca: Option<&Path>,
    interpreter: &Path,
    program: &str,
    arguments: &[&str],
) -> usize {
    let (printed, errors) = output_trusting(ca, interpreter, program, arguments);
    let verdict: Verdict = serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("{program} printed no verdict ({error}):\n{printed}"));
    for (check, failure) in &verdict.failed {
        eprintln!("--- {check}: {failure}");
    }
    let failed: Vec<&String> = verdict.failed.keys().collect();
    assert!(
        failed.is_empty(),
        "{} failed at {failed:?}; it printed to stderr:\n{errors}",
        verdict.client
    );
    verdict.passed.len()
}

/// Runs a program of `tests/clients/` to its end and returns what it printed, output and errors.
///
/// # Panics
/// When it could not run to its end.
pub(crate) fn output(interpreter: &Path, program: &str, arguments: &[&str]) -> (String, String) {
    output_trusting(None, interpreter, program, arguments)
}

/// As [`output`], with an authority that vouches for servers.
fn output_trusting(
    ca: Option<&Path>,
    interpreter: &Path,
    program: &str,
    arguments: &[&str],
) -> (String, String) {
    // timeout(1) ends the program's whole process group, a browser included.
    let output = Command::new("timeout")
        .envs(ca.into_iter().flat_map(|ca| CA_VARIABLES.map(|name| (name, ca))))
        .args(["--kill-after=5", PROGRAM_SECONDS].map(OsStr::new))
        .args([interpreter.as_os_str(), project_file("tests/clients").join(program).as_os_str()])
        .args(arguments)
        .output()
        .expect("timeout(1) of the coreutils is there");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{program} ended with {}: run scripts/test, which installs what it needs.\n\
         It printed:\n{printed}\n{errors}",
        output.status,
    );
    (printed, errors)
}

/// Runs a program that drives Chromium: see [`run`].
pub(crate) fn run_in_chromium(program: &str, arguments: &[&str]) -> usize {
    run_in_chromium_trusting(None, program, arguments)
}

/// As [`run_in_chromium`], with an authority for what Node itself asks of servers.
pub(crate) fn run_in_chromium_trusting(
    ca: Option<&Path>,
    program: &str,
    arguments: &[&str],
) -> usize {
    require(&project_file("tests/clients/node_modules/playwright-core"));
    require(
        &std::env::var_os("CHROMIUM").map_or_else(|| "/usr/bin/chromium".into(), PathBuf::from),
    );
    run_trusting(ca, "node".as_ref(), program, arguments)
}

/// # Panics
/// When the file is missing.
pub(crate) fn require(path: &Path) {
    assert!(path.exists(), "{} is missing: run scripts/test, which installs it", path.display());
}

/// A path inside the project.
pub(crate) fn project_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
