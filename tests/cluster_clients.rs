//! Public clients on a whole cluster whose nodes are killed: the JavaScript client in Node, and the
//! page in Chromium behind nginx.

#[path = "common/cluster.rs"]
mod cluster;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/program.rs"]
mod program;

use cluster::Cluster;
use observed::wait_until;
use program::project_file;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

const FLAGS: [&str; 10] = [
    "--shards",
    "1",
    "--rate-limit",
    "off",
    "--rate-bytes",
    "off",
    "--handshake-rate",
    "off",
    "--redis-probe",
    "200ms",
];

#[test]
fn clients_of_a_node_that_is_killed_go_on_at_another() {
    let mut cluster = Cluster::start(&[&["3", "--"], &FLAGS[..]].concat());
    let mut child = Command::new("timeout")
        .args(["--kill-after=5", "120", "node"])
        .arg(project_file("tests/clients/node_cluster.mjs"))
        .args(cluster.node_urls())
        .args(["--clients", "24", "--rate", "100", "--seconds", "8", "--gather", "30"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout(1) of the coreutils is there");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    let mut before = Vec::new();
    let mut wait_for = |word: &str| {
        let found = lines.by_ref().map_while(Result::ok).find(|line| {
            before.push(line.clone());
            line == word
        });
        assert!(found.is_some(), "it has ended: {before:?}; scripts/test installs what it needs");
    };
    wait_for("talking");
    for (node, address) in ["node-1", "node-2"].into_iter().zip(cluster.node_addresses()) {
        cluster.order(&format!("kill {node}"));
        // The kernel takes a moment to close what a killed process has in its rings.
        wait_until(Duration::from_secs(10), || match TcpStream::connect(address) {
            Ok(_) => Err(format!("{address} still accepts")),
            Err(_) => Ok(()),
        });
        cluster.order(&format!("start {node}"));
    }
    wait_for("gathering");
    let mut printed = String::new();
    let mut stdout = child.stdout.take().expect("stdout is piped");
    stdout.read_to_string(&mut printed).expect("it prints text");
    child.wait().expect("the child can be waited for");
    let verdict: Value = serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("it printed no verdict ({error}):\n{printed}"));
    assert_eq!(verdict["ok"], true, "{verdict}");
    assert_eq!(verdict["gapsTold"], json!(0), "{verdict}");
    let number = |name: &str| verdict[name].as_u64().unwrap_or_default();
    assert!(number("said") >= 500 && number("reconnects") >= 16, "{verdict}");
}

/// The program starts the cluster itself.
#[test]
fn two_people_chat_on_two_nodes_that_are_killed() {
    let server = [&[env!("CARGO_BIN_EXE_ringwire")], &FLAGS[..]].concat();
    assert_eq!(program::run_in_chromium("chromium_cluster.mjs", &server), 7);
}
