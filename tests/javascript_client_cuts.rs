//! The JavaScript client against the server, over connections that are cut 1,000 times.

mod common;

use common::Server;
use std::path::Path;
use std::process::Command;

/// How long the program may take; it needs about a minute.
const PROGRAM_SECONDS: &str = "200";

#[test]
fn nothing_is_lost_or_doubled_over_a_thousand_cuts() {
    let server = Server::start(&["--app", "chat", "--rate-limit", "off"]);
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node_cuts.mjs");
    let output = Command::new("timeout")
        .args(["--kill-after=5", PROGRAM_SECONDS, "node"])
        .arg(program)
        .arg(format!("ws://{}/", server.address()))
        .output()
        .expect("timeout(1) of the coreutils is there");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the program says what went wrong:\n{printed}\n{errors}");
    assert!(printed.contains(r#""ok":true,"#), "no verdict:\n{printed}\n{errors}");
}
