//! The scripts that measure: their statistics, their verdicts and their command lines, checked in
//! Python with stand-ins for the programs.

use std::path::Path;
use std::process::Command;

/// How long the checks may take in all; they take a few seconds.
const SECONDS: &str = "120";

#[test]
fn python_checks_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("timeout")
        .args(["--kill-after=5", SECONDS, "python3", "-m", "unittest", "discover"])
        .args(["--start-directory", "tests/scripts"])
        .current_dir(root)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("timeout(1) of the coreutils is there");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{report}", output.status);
    assert!(!report.contains("Ran 0 tests"), "no test was found:\n{report}");
}
