//! Real Redis servers as child processes, for the tests of nodes that Redis joins.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to answer, or to do what it was told; far more than it needs.
const SOON: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
/// How long redis-cli may take for one command: a stopped server never answers.
const COMMAND_SECONDS: &str = "15";
/// Out of the way of clients' own ports. With what a cluster adds for its bus they stay there.
const PORTS: std::ops::Range<u16> = 10_000..20_000;
const BUS_PORT_OFFSET: u16 = 10_000;
const START_ATTEMPTS: u32 = 20;

/// How a server keeps its data, and whether it speaks TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Forgetful,
    Persistent,
    Tls,
}

/// A running Redis, killed when dropped.
pub(crate) struct Redis {
    child: Child,
    kind: Kind,
    port: u16,
    arguments: Vec<String>,
    /// The only user that may come, and the password.
    user: Option<(String, String)>,
    folder: Folder,
}

impl Redis {
    /// Starts one that keeps nothing over a restart and returns once it answers; `args` are its
    /// settings, such as `["--maxmemory", "1mb"]`.
    ///
    /// # Panics
    /// When it does not answer within 30 seconds, or redis-server is missing.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::launch(Kind::Forgetful, args)
    }

    /// Like [`Self::start`], with an append-only file: what it confirmed is there after a restart.
    pub(crate) fn start_persistent(args: &[&str]) -> Self {
        Self::launch(Kind::Persistent, args)
    }

    /// Like [`Self::start`], with TLS only: [`Self::ca_file`] has the authority to be trusted.
    pub(crate) fn start_tls(args: &[&str]) -> Self {
        Self::launch(Kind::Tls, args)
    }

    fn launch(kind: Kind, args: &[&str]) -> Self {
        for _ in 0..START_ATTEMPTS {
            let folder = Folder::new();
            if kind == Kind::Tls {
                make_certificates(&folder.0);
            }
            let port = free_port();
            let arguments: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            let child = spawn(kind, port, &arguments, &folder.0);
            let redis = Self { child, kind, port, arguments, user: None, folder };
            match redis.answers() {
                Ok(()) => return redis,
                // Somebody else was faster; everything else is the same on every port.
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("redis-server does not start:\n{log}"),
            }
        }
        panic!("no free port for redis-server after {START_ATTEMPTS} attempts");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// What `--redis` takes.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.kind == Kind::Tls { "rediss" } else { "redis" };
        format!("{scheme}://{}", self.address())
    }

    /// The certificate of the authority, for `--redis-ca`.
    ///
    /// # Panics
    /// When the server does not speak TLS.
    pub(crate) fn ca_file(&self) -> PathBuf {
        assert!(self.kind == Kind::Tls, "this server has no certificates");
        self.folder.0.join("ca.crt")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the server has logged since it was started last.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }

    /// What the server answers, as redis-cli prints it: a line for each element.
    ///
    /// # Panics
    /// When it answers with an error, or not at all.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        self.try_command(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The same, with the error for who expects one.
    pub(crate) fn try_command(&self, words: &[&str]) -> Result<String, String> {
        let mut command = self.cli();
        command.args(words);
        // The program complains with the answer itself where that is an error.
        let output = finish(command);
        let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if output.status.success() {
            return Ok(said);
        }
        Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// redis-cli, with what it needs to reach the server.
    fn cli(&self) -> Command {
        let mut command = bounded("redis-cli");
        command.args(["-e", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if self.kind == Kind::Tls {
            command.arg("--tls").arg("--cacert").arg(self.ca_file());
        }
        if let Some((name, password)) = &self.user {
            command.args(["--user", name]).env("REDISCLI_AUTH", password);
        }
        command
    }

    /// From now on only this user is let in, and may do everything; also after a restart.
    pub(crate) fn let_in_only(&mut self, name: &str, password: &str) {
        self.allow(name, password, "~* &* +@all");
        self.user = Some((name.to_owned(), password.to_owned()));
        if name != "default" {
            self.command(&["ACL", "SETUSER", "default", "off"]);
            self.arguments.extend(["--user", "default", "off"].map(str::to_owned));
        }
    }

    /// One more user, with such rights as `"~ringwire:* &ringwire:* +@all"`; also after a restart.
    pub(crate) fn allow(&mut self, name: &str, password: &str, rights: &str) {
        let secret = format!(">{password}");
        // What a user of this name had before goes.
        let mut rules = vec!["reset", "on", &secret];
        rules.extend(rights.split_whitespace());
        self.command(&[&["ACL", "SETUSER", name], rules.as_slice()].concat());
        self.arguments.extend(["--user", name].map(str::to_owned));
        self.arguments.extend(rules.into_iter().map(str::to_owned));
    }

    /// Kills the process (SIGKILL) and waits for its end: its connections are closed, its port is
    /// free.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        self.child.wait().expect("the child can be waited for");
    }

    /// Starts a killed server on the same port; kills it first if it runs. It is empty, unless it
    /// was started by [`Self::start_persistent`].
    pub(crate) fn restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + SOON;
        loop {
            self.child = spawn(self.kind, self.port, &self.arguments, &self.folder.0);
            match self.answers() {
                Ok(()) => return,
                // Somebody has the port for a moment: a test that looks for one.
                Err(log) if log.contains("Address already in use") && Instant::now() < deadline => {
                    thread::sleep(LOOK);
                }
                Err(log) => panic!("redis-server does not start again:\n{log}"),
            }
        }
    }

    /// Stops the process (SIGSTOP): connections stay and are accepted, and nothing is answered.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        let deadline = Instant::now() + SOON;
        // Without its name, the state is the first of the fields.
        let is_stopped = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
        };
        while !is_stopped() {
            assert!(Instant::now() < deadline, "redis-server does not stop");
            thread::sleep(LOOK);
        }
    }

    /// Has a stopped process go on.
    pub(crate) fn cont(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("redis-server runs");
    }

    /// Waits until this process answers, and no other one that has its port.
    ///
    /// # Errors
    /// Its log, when it has ended.
    fn answers(&self) -> Result<(), String> {
        let deadline = Instant::now() + SOON;
        let own = format!("process_id:{}", self.pid());
        loop {
            let ready = self.try_command(&["PING"]).is_ok_and(|said| said == "PONG");
            if ready && self.try_command(&["INFO", "server"]).is_ok_and(|said| said.contains(&own))
            {
                return Ok(());
            }
            if !Path::new(&format!("/proc/{}/exe", self.pid())).exists() {
                return Err(self.log());
            }
            assert!(Instant::now() < deadline, "redis-server does not answer:\n{}", self.log());
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("--- redis-server on port {} logged:\n{}\n---", self.port, self.log());
        }
    }
}

/// A Redis Cluster, of masters only; killed when dropped.
pub(crate) struct RedisCluster {
    /// Its servers: each can be killed, restarted and stopped on its own.
    pub(crate) nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts so many masters, three at least, and returns once all slots are served.
    pub(crate) fn start(masters: usize) -> Self {
        let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let nodes: Vec<Redis> = (0..masters).map(|_| Redis::start(&settings)).collect();
        let mut command = bounded("redis-cli");
        command.args(["--cluster", "create"]);
        command.args(nodes.iter().map(|node| node.address().to_string()));
        let output = finish({
            command.arg("--cluster-yes");
            command
        });
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "redis-cli makes no cluster:\n{said}");
        let cluster = Self { nodes };
        cluster.wait_until_ok();
        cluster
    }

    /// What `--redis` takes: one server, which tells of the others.
    pub(crate) fn url(&self) -> String {
        self.nodes[0].url()
    }

    /// The server that has the slot of this key or channel.
    pub(crate) fn node_of(&self, key: &str) -> &Redis {
        &self.nodes[self.index_of(key)]
    }

    /// The same as an index into the servers.
    pub(crate) fn index_of(&self, key: &str) -> usize {
        let alive = self.nodes.iter().find_map(|node| {
            let slot = node.try_command(&["CLUSTER", "KEYSLOT", key]).ok()?;
            Some((slot.parse::<u16>().ok()?, node.try_command(&["CLUSTER", "NODES"]).ok()?))
        });
        let (slot, map) = alive.expect("a server answers");
        let line = map.lines().find(|line| serves(line, slot)).expect("the slot is served");
        let at = |node: &Redis| line.contains(&format!("{}@", node.address()));
        self.nodes.iter().position(at).expect("the map has our servers")
    }

    /// Waits until every server says that all slots are served and all servers are known.
    pub(crate) fn wait_until_ok(&self) {
        let deadline = Instant::now() + SOON;
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        let is_ok = |node: &Redis| {
            let said = node.try_command(&["CLUSTER", "INFO"]).unwrap_or_default();
            said.contains("cluster_state:ok") && said.contains(&known)
        };
        while !self.nodes.iter().all(is_ok) {
            assert!(Instant::now() < deadline, "the cluster is not ok");
            thread::sleep(LOOK);
        }
    }
}

/// Whether a line of CLUSTER NODES is of a server that has this slot.
fn serves(line: &str, slot: u16) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    fields.iter().skip(8).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
    })
}

fn spawn(kind: Kind, port: u16, arguments: &[String], folder: &Path) -> Child {
    let port = port.to_string();
    let log = File::create(folder.join("log")).expect("a file can be made");
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--dir"]).arg(folder);
    command.args(["--save", "", "--daemonize", "no"]);
    command.args(match kind {
        // What is confirmed is in the file.
        Kind::Persistent => ["--appendonly", "yes", "--appendfsync", "always"],
        Kind::Forgetful | Kind::Tls => ["--appendonly", "no", "--appendfsync", "no"],
    });
    if kind == Kind::Tls {
        command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]);
        for (flag, file) in [
            ("--tls-cert-file", "server.crt"),
            ("--tls-key-file", "server.key"),
            ("--tls-ca-cert-file", "ca.crt"),
        ] {
            command.arg(flag).arg(folder.join(file));
        }
    } else {
        command.args(["--port", &port]);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| {
        panic!("redis-server cannot be run ({error}): scripts/test installs it")
    })
}

/// A port that nobody listens on, nor on the one that a cluster's bus would have with it.
fn free_port() -> u16 {
    let count = u64::from(PORTS.end - PORTS.start);
    let is_free = |port: u16| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let draw = || PORTS.start + u16::try_from(random() % count).expect("it is in the range");
    let mut drawn = std::iter::repeat_with(draw).take(1_000);
    let found = drawn.find(|&port| is_free(port) && is_free(port + BUS_PORT_OFFSET));
    found.expect("there is a free port")
}

fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// An authority, and a certificate of it for this host.
fn make_certificates(folder: &Path) {
    let names = "subjectAltName=IP:127.0.0.1,DNS:localhost";
    fs::write(folder.join("names"), names).expect("a file can be written");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for words in [
        format!("req -x509 {key} -days 30 -subj /CN=authority -keyout ca.key -out ca.crt"),
        format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"),
        "x509 -req -days 30 -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
         -extfile names -out server.crt"
            .to_owned(),
    ] {
        let mut command = bounded("openssl");
        command.args(words.split_whitespace()).current_dir(folder);
        let output = finish(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {words} (scripts/test installs it):\n{said}");
    }
}

fn bounded(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", COMMAND_SECONDS, program]);
    command
}

fn finish(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().expect("timeout(1) of the coreutils is there")
}

/// A folder for the files of one server; gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("redis-{:x}", random()));
        fs::create_dir(&path).expect("a folder can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
