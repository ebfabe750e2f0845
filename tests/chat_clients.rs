//! Public WebSocket clients in conversation on the real server: Python `websockets`, Node `ws`.
//!
//! Each program in `tests/clients/` compares every frame it hears and prints a verdict as JSON; the
//! tests here start the server and judge the verdict. `scripts/test` installs what they need.

mod common;

use common::Server;
use serde::Deserialize;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How long one conversation may take in all; each takes a few seconds. No single wait of it is
/// longer than 10 s.
const CLIENT_SECONDS: &str = "120";

/// What a client program prints.
#[derive(Debug, Deserialize)]
struct Verdict {
    ok: bool,
    checks: u32,
}

#[test]
fn python_websockets_on_one_shard() {
    converse(&project_file(".deps/venv/bin/python"), "python_conversation.py", "1");
}

#[test]
fn python_websockets_on_three_shards() {
    converse(&project_file(".deps/venv/bin/python"), "python_conversation.py", "3");
}

#[test]
fn node_ws_on_one_shard() {
    converse("node".as_ref(), "node_conversation.mjs", "1");
}

#[test]
fn node_ws_on_three_shards() {
    converse("node".as_ref(), "node_conversation.mjs", "3");
}

/// Runs a program of `tests/clients/` against a server of its own. How many checks it made says
/// whether it came to its end.
fn converse(interpreter: &Path, program: &str, shards: &str) {
    /// Both programs make the same.
    const CHECKS: u32 = 427;
    let server = Server::start(&["--app", "chat", "--shards", shards]);
    let output = Command::new("timeout")
        .args(["--kill-after=5", CLIENT_SECONDS].map(OsStr::new))
        .args([interpreter.as_os_str(), project_file("tests/clients").join(program).as_os_str()])
        .arg(format!("ws://{}/", server.address()))
        .output()
        .expect("timeout(1) of the coreutils is there");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} ended with {}; if something is missing, scripts/test installs it.\n\
         It printed:\n{printed}\n{errors}",
        output.status,
    );
    let verdict: Verdict = serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("{program} printed no verdict ({error}):\n{printed}"));
    assert!(verdict.ok, "{program}: {printed}");
    assert_eq!(verdict.checks, CHECKS, "{program}");
}

fn project_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
