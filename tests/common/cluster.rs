//! A whole cluster on this host: Redis, nodes and nginx, run by scripts/cluster.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

/// A running cluster; all of it is ended when dropped.
pub(crate) struct Cluster {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What is where: see `Cluster.facts` of scripts/lib/cluster.py.
    pub(crate) facts: Value,
}

impl Cluster {
    /// Starts one and returns when all is up; `words` are those of scripts/cluster, such as
    /// `["3", "--redis-cluster", "--", "--shards", "1"]`.
    ///
    /// # Panics
    /// When it does not start: it says why on standard error.
    pub(crate) fn start(words: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster");
        let mut command = Command::new(script);
        command.args(["--json", "--bin", env!("CARGO_BIN_EXE_ringwire")]).args(words);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/cluster can be run: it needs Python");
        let orders = child.stdin.take().expect("stdin is piped");
        let answers = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut cluster = Self { child, orders, answers, facts: Value::Null };
        cluster.facts = cluster.read();
        cluster
    }

    /// Gives an order such as `"kill node-1"` or `"start redis-1"`; returns when it is carried out.
    ///
    /// # Panics
    /// When it cannot be.
    pub(crate) fn order(&mut self, words: &str) {
        writeln!(self.orders, "{words}").expect("scripts/cluster runs");
        let answer = self.read();
        assert!(answer.get("error").is_none(), "{words}: {answer}");
    }

    /// The page through nginx, as `http://…/`.
    pub(crate) fn url(&self) -> &str {
        self.facts["url"].as_str().expect("a URL")
    }

    /// The WebSocket listeners of the nodes, around nginx, as `ws://…`.
    pub(crate) fn node_urls(&self) -> Vec<&str> {
        self.nodes().map(|node| node["url"].as_str().expect("a URL")).collect()
    }

    /// The WebSocket listeners of the nodes.
    pub(crate) fn node_addresses(&self) -> Vec<SocketAddr> {
        self.nodes().map(|node| address(node, "url")).collect()
    }

    /// The admin listeners of the nodes.
    pub(crate) fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.nodes().map(|node| address(node, "admin")).collect()
    }

    pub(crate) fn redis_addresses(&self) -> Vec<SocketAddr> {
        let servers = self.facts["redis"].as_array().expect("servers");
        servers.iter().map(|server| address(server, "url")).collect()
    }

    fn nodes(&self) -> impl Iterator<Item = &Value> {
        self.facts["nodes"].as_array().expect("nodes").iter()
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("scripts/cluster writes text");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the cluster has ended: {line}"))
    }

    /// What the processes have logged.
    fn logs(&self) -> String {
        let folder = self.facts["folder"].as_str().unwrap_or_default();
        let entries = fs::read_dir(folder).into_iter().flatten().map_while(Result::ok);
        let logs = entries.filter(|entry| entry.path().extension().is_some_and(|of| of == "log"));
        logs.map(|entry| {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            format!("--- {}\n{text}\n", entry.file_name().display())
        })
        .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        drop(self.child.wait());
    }
}

fn address(of: &Value, name: &str) -> SocketAddr {
    let url = of[name].as_str().expect("a URL");
    let (_, place) = url.rsplit_once('/').expect("it has a scheme");
    let address: SocketAddr = place.parse().expect("it ends with an address");
    assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
    address
}
