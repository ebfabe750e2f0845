//! Public WebSocket clients in conversation on the real server: Python `websockets`, Node `ws`.
//!
//! Each program in `tests/clients/` compares every frame it hears and prints a verdict as JSON; the
//! tests here start the server and judge the verdict. `scripts/test` installs what they need.

mod common;
#[path = "common/program.rs"]
mod program;

use common::Server;
use program::project_file;
use serde::Deserialize;
use std::path::Path;

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
fn converse(interpreter: &Path, name: &str, shards: &str) {
    /// Both programs make the same.
    const CHECKS: u32 = 427;
    let server = Server::start(&["--app", "chat", "--shards", shards]);
    let url = format!("ws://{}/", server.address());
    let (printed, _) = program::output(interpreter, name, &[&url]);
    let verdict: Verdict = serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("{name} printed no verdict ({error}):\n{printed}"));
    assert!(verdict.ok, "{name}: {printed}");
    assert_eq!(verdict.checks, CHECKS, "{name}");
}
