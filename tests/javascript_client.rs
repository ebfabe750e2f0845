//! The JavaScript client: its own tests, and its types.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How long each program may take; they need a few seconds.
const PROGRAM_SECONDS: &str = "120";

#[test]
fn its_tests_pass() {
    require(&project_file("tests/clients/node_modules/ws"));
    let entries = project_file("clients/js/test").read_dir().expect("the folder is there");
    let files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    let mut arguments = vec![Path::new("--test")];
    arguments.extend(
        files
            .iter()
            .map(PathBuf::as_path)
            .filter(|path| path.extension().is_some_and(|extension| extension == "mjs")),
    );
    let printed = run_node(&arguments);
    assert!(printed.contains("# fail 0"), "node --test printed no summary:\n{printed}");
    assert!(!printed.contains("# pass 0"), "no test was run:\n{printed}");
}

#[test]
fn its_types_are_those_of_its_use() {
    let compiler = project_file("tests/clients/node_modules/typescript/bin/tsc");
    require(&compiler);
    run_node(&[&compiler, Path::new("--project"), &project_file("clients/js")]);
}

/// Runs Node and returns what it printed.
///
/// # Panics
/// When it ends with a failure.
fn run_node(arguments: &[&Path]) -> String {
    let output = Command::new("timeout")
        .args(["--kill-after=5", PROGRAM_SECONDS, "node"])
        .args(arguments)
        .output()
        .expect("timeout(1) of the coreutils is there");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "node {arguments:?} failed:\n{printed}\n{errors}");
    printed
}

fn require(path: &Path) {
    assert!(path.exists(), "{} is missing: run scripts/test, which installs it", path.display());
}

fn project_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
