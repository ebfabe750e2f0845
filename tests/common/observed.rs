//! What can be seen of a server from outside: its metrics, and what /proc says of its process.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// One scrape of `/metrics`.
pub(crate) struct Metrics {
    text: String,
}

impl Metrics {
    /// Asks the admin listener.
    pub(crate) fn scrape(admin: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(admin).expect("the admin listener accepts");
        let deadline = Some(Duration::from_secs(20));
        stream.set_read_timeout(deadline).expect("a read deadline can be set");
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("the admin listener takes a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the admin listener answers");
        assert!(text.starts_with("HTTP/1.1 200 "), "no metrics: {text}");
        Self { text }
    }

    /// The value of `ringwire_<name>`, summed over all its series.
    pub(crate) fn value(&self, name: &str) -> u64 {
        self.sum(name, "")
    }

    /// Connections closed for `reason`.
    pub(crate) fn closed(&self, reason: &str) -> u64 {
        self.sum("connections_closed_total", &format!("reason=\"{reason}\""))
    }

    /// Handshakes that ended with `result`.
    pub(crate) fn handshakes(&self, result: &str) -> u64 {
        self.sum("handshakes_total", &format!("result=\"{result}\""))
    }

    /// The series of `ringwire_<name>` that have this label, such as `level="info"`, summed.
    pub(crate) fn labelled(&self, name: &str, label: &str) -> u64 {
        self.sum(name, label)
    }

    fn sum(&self, name: &str, label: &str) -> u64 {
        let name = format!("ringwire_{name}");
        let series: Vec<(&str, &str)> = self
            .text
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.split('{').next() == Some(&name))
            .collect();
        assert!(!series.is_empty() || !label.is_empty(), "{name} is not among:\n{}", self.text);
        let chosen = series.iter().filter(|(series, _)| series.contains(label));
        chosen.map(|(_, value)| value.parse::<f64>().expect("a value is a number") as u64).sum()
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not hold within `limit`; the message is what `condition` returned last.
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> Result<(), String>) {
    let start = Instant::now();
    while let Err(state) = condition() {
        assert!(start.elapsed() < limit, "not reached within {limit:?}: {state}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a counter or gauge has `expected` as its value.
pub(crate) fn wait_for_value(admin: SocketAddr, name: &str, expected: u64) {
    wait_until(Duration::from_secs(15), || {
        let value = Metrics::scrape(admin).value(name);
        let state = format!("ringwire_{name} is {value}, expected {expected}");
        (value == expected).then_some(()).ok_or(state)
    });
}

/// Waits until a counter has stood still for a while, and returns it.
pub(crate) fn wait_until_still(admin: SocketAddr, name: &str) -> u64 {
    let mut last = Metrics::scrape(admin).value(name);
    wait_until(Duration::from_secs(15), || {
        thread::sleep(Duration::from_millis(100));
        let now = Metrics::scrape(admin).value(name);
        let moved = format!("ringwire_{name} went from {last} to {now}");
        let still = (now == last).then_some(()).ok_or(moved);
        last = now;
        still
    });
    last
}

/// The state a server must come back to after every storm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Baseline {
    descriptors: usize,
    connections: u64,
}

impl Baseline {
    /// Notes the state of a server that has no connections.
    pub(crate) fn of(pid: u32, admin: SocketAddr) -> Self {
        Self::of_all_but(0, pid, admin)
    }

    /// The same, with so many connections that stay.
    pub(crate) fn of_all_but(connections: u64, pid: u32, admin: SocketAddr) -> Self {
        wait_for_value(admin, "connections", connections);
        Self { descriptors: settled_descriptors(pid), connections }
    }

    /// Waits until no connection and no handshake is left, every descriptor is given back, and the
    /// books agree: each connection that was opened was closed for one reason.
    pub(crate) fn wait(self, pid: u32, admin: SocketAddr, limit: Duration) {
        wait_until(limit, || {
            let metrics = Metrics::scrape(admin);
            let found = (
                metrics.value("connections"),
                metrics.value("handshakes_in_progress"),
                metrics.value("connections_closed_total"),
                descriptors(pid),
            );
            let closed = metrics.value("connections_opened_total") - self.connections;
            let expected = (self.connections, 0, closed, self.descriptors);
            let state = format!(
                "(connections, handshakes, closed, descriptors) are {found:?}, not {expected:?}"
            );
            (found == expected).then_some(()).ok_or(state)
        });
    }
}

/// Descriptors once two counts in a row agree: a connection just answered may still be open.
fn settled_descriptors(pid: u32) -> usize {
    let mut last = descriptors(pid);
    wait_until(Duration::from_secs(10), || {
        thread::sleep(Duration::from_millis(50));
        let now = descriptors(pid);
        let settled =
            (now == last).then_some(()).ok_or_else(|| format!("{last}, then {now} descriptors"));
        last = now;
        settled
    });
    last
}

/// Open descriptors of a process. Threads may have tables of their own; one that several threads
/// share counts once.
pub(crate) fn descriptors(pid: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let tables: HashSet<Vec<String>> = tasks
        .filter_map(Result::ok)
        .filter_map(|task| fs::read_dir(task.path().join("fd")).ok())
        .map(|table| {
            let mut entries: Vec<String> = table
                .filter_map(Result::ok)
                .filter_map(|entry| {
                    let target = fs::read_link(entry.path()).ok()?;
                    Some(format!("{:?} {target:?}", entry.file_name()))
                })
                .collect();
            entries.sort_unstable();
            entries
        })
        .collect();
    tables.iter().map(Vec::len).sum()
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// The most memory that was ever resident of a process, in bytes.
pub(crate) fn peak_resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kibibytes.and_then(|number| number.parse::<u64>().ok()).expect("it is in kB") * 1024
}

/// Processor time a process has used, in user space and in the kernel.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name, in parentheses, may contain blanks; utime and stime are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').expect("stat has a name");
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).map_while(|field| field.parse().ok()).collect();
    assert_eq!(ticks.len(), 2, "stat has utime and stime: {stat}");
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_millis(ticks.iter().sum::<u64>() * 1000 / per_second)
}
