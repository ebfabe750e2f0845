//! Public WebSocket clients against the real server: Python `websockets`, Node `ws`, Chromium,
//! curl; in the clear and over TLS, with compression in all its forms.
//!
//! Each program in `tests/clients/` runs its checks and prints a verdict as JSON; the tests here
//! start the server and judge the verdict. `scripts/test` installs what they need.

#[path = "common/certificates.rs"]
mod certificates;
mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/program.rs"]
mod program;

use certificates::Certificates;
use common::Server;
use observed::Metrics;
use program::{project_file, require};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Checks that each program makes.
const PYTHON_CHECKS: usize = 36;
const NODE_CHECKS: usize = 40;
const CHROMIUM_CHECKS: usize = 15;

/// A server that has a listener for TLS beside the usual one.
struct Site {
    server: Server,
    folder: PathBuf,
    files: Certificates,
    compression: &'static str,
}

impl Site {
    fn start(name: &str, compression: &'static str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringwire-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary directory is writable");
        let files = Certificates::make(&folder, &[]);
        let [chain, key] = [&files.chain, &files.key].map(|path| text(path));
        let tls = ["--tls-listen", "127.0.0.1:0", "--tls-cert", chain, "--tls-key", key];
        let more = ["--compression", compression, "--max-message", "16MiB"];
        let usual = ["--shards", "1", "--admin", "127.0.0.1:0"];
        let server = Server::start(&[&tls[..], &more, &usual].concat());
        Self { server, folder, files, compression }
    }

    /// Without a path.
    fn url(&self) -> String {
        let url = self.server.wait_for_line(|line| {
            Some(format!("wss://{}", line.split_once("listening on wss://")?.1.trim()))
        });
        url.expect("the server prints a line with its address")
    }

    /// Puts the server to the test; it has compressed something, or nothing.
    fn passes(&self, interpreter: &Path, program: &str, checks: usize) {
        let mebibytes = if self.compression == "off" { "1" } else { "16" };
        let arguments = [&self.url(), self.compression, mebibytes];
        let ca = Some(&*self.files.ca);
        assert_eq!(program::run_trusting(ca, interpreter, program, &arguments), checks);
        self.has_compressed();
    }

    fn has_compressed(&self) {
        let metrics = Metrics::scrape(self.server.admin_address());
        let compressed = metrics.value("messages_compressed_total") > 0;
        assert_eq!(compressed, self.compression != "off");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // What is left over harms nobody, and a panic here would hide the test's own.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path was made from UTF-8")
}

fn python() -> PathBuf {
    project_file(".deps/venv/bin/python")
}

#[test]
fn python_websockets() {
    let server = Server::start(&[]);
    let url = format!("ws://{}", server.address());
    assert_eq!(program::run(&python(), "python_echo.py", &[&url]), PYTHON_CHECKS);
}

#[test]
fn python_websockets_over_tls() {
    for compression in ["off", "shared", "dedicated"] {
        Site::start("python", compression).passes(&python(), "python_echo.py", PYTHON_CHECKS);
    }
}

#[test]
fn node_ws() {
    require(&project_file("tests/clients/node_modules/ws"));
    let server = Server::start(&[]);
    let url = format!("ws://{}", server.address());
    assert_eq!(program::run("node".as_ref(), "node_echo.mjs", &[&url]), NODE_CHECKS);
}

#[test]
fn node_ws_over_tls() {
    require(&project_file("tests/clients/node_modules/ws"));
    for compression in ["off", "shared", "dedicated"] {
        Site::start("node", compression).passes("node".as_ref(), "node_echo.mjs", NODE_CHECKS);
    }
}

#[test]
fn chromium_page() {
    let server = Server::start(&[]);
    let url = format!("ws://{}", server.address());
    assert_eq!(program::run_in_chromium("chromium_echo.mjs", &[&url]), CHROMIUM_CHECKS);
}

#[test]
fn chromium_page_over_tls() {
    for compression in ["off", "shared", "dedicated"] {
        let site = Site::start("chromium", compression);
        let checks = program::run_in_chromium("chromium_echo.mjs", &[&site.url(), compression]);
        assert_eq!(checks, CHROMIUM_CHECKS);
        site.has_compressed();
    }
}

/// curl, killed when dropped.
struct Curl(Child);

impl Curl {
    fn start(arguments: &[&str]) -> Self {
        let usual = ["--silent", "--show-error", "--include", "--http1.1", "--no-buffer"];
        let child = Command::new("curl")
            .args(usual)
            .args(["--max-time", "30"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("scripts/test installs curl"))
    }

    /// What it prints, up to the blank line behind the head.
    fn head(&mut self) -> String {
        let output = self.0.stdout.as_mut().expect("stdout is piped");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            output.read_exact(&mut byte).expect("curl prints a whole head");
            head.extend(byte);
        }
        String::from_utf8(head).expect("a head is ASCII")
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        // It may have ended already; killing it again is then no error.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn curl_over_tls() {
    let site = Site::start("curl", "shared");
    let url = site.url().replace("wss:", "https:");
    let trust = ["--cacert", text(&site.files.ca)];
    let get = |path: &str| Curl::start(&[&trust[..], &[&format!("{url}{path}")]].concat()).head();
    assert!(get("/").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get("/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get("/none").starts_with("HTTP/1.1 404 "));
    let lines = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    ];
    let path = format!("{url}/echo");
    let mut arguments = [&trust[..], &[&path]].concat();
    arguments.extend(lines.iter().flat_map(|line| ["--header", line]));
    let head = Curl::start(&arguments).head();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    let field = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                 client_no_context_takeover; client_max_window_bits=12\r\n";
    assert!(head.to_lowercase().contains(&field.to_lowercase()), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
}
