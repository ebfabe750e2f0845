//! Public WebSocket clients against the real server: Python `websockets`, Node `ws`, Chromium.
//!
//! Each program in `tests/clients/` runs its checks and prints a verdict as JSON; the tests here
//! start the server and judge the verdict. `scripts/test` installs what they need.

mod common;
#[path = "common/program.rs"]
mod program;

use common::Server;
use program::{project_file, require};

#[test]
fn python_websockets() {
    let server = Server::start(&[]);
    let python = project_file(".deps/venv/bin/python");
    let checks = program::run(&python, "python_echo.py", &[&server.address().to_string()]);
    assert_eq!(checks, 28);
}

#[test]
fn node_ws() {
    require(&project_file("tests/clients/node_modules/ws"));
    let server = Server::start(&[]);
    let address = server.address().to_string();
    let checks = program::run("node".as_ref(), "node_echo.mjs", &[&address]);
    assert_eq!(checks, 29);
}

#[test]
fn chromium_page() {
    let server = Server::start(&[]);
    let address = server.address().to_string();
    let checks = program::run_in_chromium("chromium_echo.mjs", &[&address]);
    assert_eq!(checks, 12);
}
