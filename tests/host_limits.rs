//! A host that gives the server less than it wants: too few descriptors, or no io_uring at all.

mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use common::Server;
use observed::{Metrics, cpu_time};
use raw::{RawClient, is_served, upgrade_request};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const DESCRIPTORS: u64 = 256;
const CLIENTS: usize = 1000;

/// Leaves a running server `limit` descriptors, as `prlimit --nofile` does.
fn limit_descriptors(server: &Server, limit: u64) {
    let pid = Pid::from_raw(server.pid().cast_signed()).expect("the server has a process id");
    let rlimit = Rlimit { current: Some(limit), maximum: Some(limit) };
    prlimit(Some(pid), Resource::Nofile, rlimit).expect("the limit of a child can be lowered");
}

/// Connects and asks for the upgrade without waiting for the answer.
fn knock(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the kernel queues the connection");
    // It may be refused before it has asked.
    drop(stream.write_all(&upgrade_request("/echo")));
    stream.set_nonblocking(true).expect("a socket can be non-blocking");
    stream
}

fn is_upgraded(mut stream: &TcpStream) -> bool {
    let mut status = [0; 12];
    matches!(stream.read(&mut status), Ok(12)) && &status == b"HTTP/1.1 101"
}

/// Presses 1,000 clients on a server that has descriptors for fewer than 256, and relieves it.
fn press_and_relieve(pid: u32, address: SocketAddr) {
    let cpu_before = cpu_time(pid);
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| knock(address)).collect();
    thread::sleep(Duration::from_secs(3));
    let used = cpu_time(pid).saturating_sub(cpu_before);
    assert!(used < Duration::from_millis(500), "{used:?} of processor time in 3 s of pressure");
    let served = clients.iter().filter(|stream| is_upgraded(stream)).count();
    assert!((100..DESCRIPTORS as usize).contains(&served), "{served} clients were served");

    drop(clients);
    let start = Instant::now();
    while !is_served(address) {
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(5), "nobody is served {waited:?} after the pressure");
    }
}

#[test]
fn a_server_that_runs_out_of_descriptors_recovers() {
    let server = Server::start(&["--shards", "1", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.address(), server.admin_address());
    RawClient::open(address, "/echo").close();
    limit_descriptors(&server, DESCRIPTORS);
    press_and_relieve(server.pid(), address);
    observed::wait_for_value(admin, "connections", 0);
    assert!(Metrics::scrape(admin).value("accept_errors_total") > 0, "no accept error was counted");
}

#[test]
fn a_server_started_with_few_descriptors_takes_only_what_it_can_hold() {
    let limits = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let server = Server::start_under(&["prlimit", &limits], &["--shards", "1"]);
    press_and_relieve(server.pid(), server.address());
}

/// Starts the server where `io_uring_setup` fails with `error` and expects it to say `words`.
fn refuse_io_uring(error: &str, words: &[&str]) {
    let inject = format!("inject=io_uring_setup:error={error}");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=io_uring_setup", "-e", &inject])
        // A server that starts all the same is stopped: the test then fails by the exit code.
        .args(["timeout", "30", env!("CARGO_BIN_EXE_ringwire")])
        .args(["--listen", "127.0.0.1:0", "--admin", "off"])
        .output()
        .expect("this test needs strace: apt-get install strace");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{error}: {said}");
    assert!(!said.contains("panicked"), "{error}: {said}");
    let lower = said.to_lowercase();
    for word in words {
        assert!(lower.contains(word), "{error}: not a word of {word:?} in: {said}");
    }
}

#[test]
fn a_host_that_forbids_io_uring_is_told_so() {
    refuse_io_uring("EPERM", &["io_uring", "seccomp"]);
}

#[test]
fn a_kernel_without_io_uring_is_told_so() {
    refuse_io_uring("ENOSYS", &["no io_uring"]);
}

#[test]
fn a_limit_on_locked_memory_is_told_so() {
    refuse_io_uring("ENOMEM", &["io_uring", "lock"]);
}
