//! A small chat server on Python's `websockets`, and the program run against it. `scripts/test`
//! installs what it needs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A chat server that lives until the test ends.
pub struct Chat {
    process: Child,
    url: String,
}

impl Chat {
    /// Starts a server with these words.
    pub fn start(manner: &[&str]) -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let python = project.join(".deps/venv/bin/python");
        assert!(python.exists(), "{} is missing: run scripts/test", python.display());
        let mut process = Command::new(python)
            .arg(project.join("tests/clients/python_chat.py"))
            .args(manner)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the server says where it listens");
        let url = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Self { process, url }
    }

    /// Runs the program: its exit code and its report.
    pub fn run(&self, words: &str) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .arg("rooms")
            .args(words.split_ascii_whitespace())
            .args(["--url", &self.url, "--warmup", "0", "--interval", "100ms", "--json", "-"])
            .output()
            .expect("the program starts");
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().expect("no signal"), report)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A count of the report.
pub fn number(report: &Value, pointer: &str) -> u64 {
    let value = report.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in {report}"));
    value.as_u64().unwrap_or_else(|| panic!("{pointer} is {value}"))
}

/// A figure that only some scenarios have; 0 where it is not.
pub fn figure(report: &Value, name: &str) -> u64 {
    let figures = report["figures"].as_array().expect("a list");
    let found = figures.iter().find(|figure| figure["name"] == name);
    found.map_or(0, |figure| figure["value"].as_f64().expect("a number") as u64)
}

/// What was wrong with messages: missing, duplicate, out of order, corrupt.
pub fn wrong(report: &Value) -> [u64; 4] {
    ["missing", "duplicate", "out_of_order", "corrupt"]
        .map(|fault| number(report, &format!("/messages/{fault}")))
}

/// Kinds of errors, each with its count.
pub fn errors(report: &Value) -> Vec<(&str, u64)> {
    let errors = report["errors"].as_array().expect("a list").iter();
    let of = |error: &'_ Value| error["count"].as_u64().expect("a number");
    errors.map(|error| (error["kind"].as_str().expect("a text"), of(error))).collect()
}

/// Valid, or made on a machine that is too busy for more; and nothing was wrong.
pub fn assert_good((code, report): &(i32, Value)) {
    assert!([0, 4].contains(code), "{report}");
    assert_eq!((wrong(report), errors(report)), ([0; 4], Vec::new()), "{report}");
}
