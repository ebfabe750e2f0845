//! The chat page of the real server, used by two people in Chromium; and the client that is under
//! it, in Node.

#[path = "common/certificates.rs"]
mod certificates;
#[path = "common/program.rs"]
mod program;

use certificates::Certificates;
use program::{project_file, require};
use std::fs;
use std::path::{Path, PathBuf};

/// The programs start the server themselves, because they also kill it and start it again.
const SERVER: [&str; 5] = [env!("CARGO_BIN_EXE_ringwire"), "--shards", "2", "--admin", "off"];

/// Certificates in a folder that lives as long as the value.
struct Secured {
    folder: PathBuf,
    files: Certificates,
}

impl Secured {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringwire-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary directory is writable");
        let files = Certificates::make(&folder, &[]);
        Self { folder, files }
    }

    /// The command line of a server that listens for TLS.
    fn server<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let [chain, key] = [&self.files.chain, &self.files.key].map(|path| text(path));
        [&SERVER[..], &["--tls-cert", chain, "--tls-key", key], more].concat()
    }

    fn ca(&self) -> Option<&Path> {
        Some(&self.files.ca)
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        // What is left over harms nobody, and a panic here would hide the test's own.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path was made from UTF-8")
}

#[test]
fn two_people_chat_through_a_cut_line_and_a_killed_server() {
    assert_eq!(program::run_in_chromium("chromium_chat.mjs", &SERVER), 15);
}

#[test]
fn two_people_chat_over_tls_through_a_cut_line_and_a_killed_server() {
    let secured = Secured::new("page");
    let server = secured.server(&["--compression", "dedicated"]);
    let checks = program::run_in_chromium_trusting(secured.ca(), "chromium_chat.mjs", &server);
    assert_eq!(checks, 15);
}

#[test]
fn the_client_in_node_comes_back_to_a_server_that_was_killed() {
    require(&project_file("tests/clients/node_modules/ws"));
    for compression in ["shared", "dedicated"] {
        let secured = Secured::new("client");
        let server = secured.server(&["--compression", compression]);
        let node = Path::new("node");
        let checks = program::run_trusting(secured.ca(), node, "node_restart.mjs", &server);
        assert_eq!(checks, 5);
    }
    let clear = program::run("node".as_ref(), "node_restart.mjs", &SERVER);
    assert_eq!(clear, 5);
}
