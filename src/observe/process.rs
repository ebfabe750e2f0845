//! This process by the names that Prometheus clients of all languages use, and its share of the
//! kernel.

use std::fs;
use std::path::Path;

use super::prometheus::Page;

/// What the host says of this process; 0 where it says nothing.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct ProcessFigures {
    /// User and system CPU time, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Virtual memory.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Unix time of its start, in seconds.
    pub start_seconds: f64,
    /// Open descriptors. Each shard has a table of its own, which holds a copy of what was open
    /// when the shard began.
    pub open_descriptors: u64,
    /// Descriptors that all these tables may hold together.
    pub descriptors_max: u64,
    /// Buffers of all TCP sockets of the host.
    pub tcp_memory_bytes: u64,
}

impl ProcessFigures {
    /// The figures of now.
    #[must_use]
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let mut figures = of_stat(&stat, &text("/proc/stat")).unwrap_or_default();
        (figures.open_descriptors, figures.descriptors_max) = descriptors();
        let pages = of_sockstat(&text("/proc/net/sockstat")).unwrap_or_default();
        figures.tcp_memory_bytes = pages * rustix::param::page_size() as u64;
        figures
    }
}

/// Appends the figures of this process.
pub(super) fn expose_process(page: &mut Page) {
    let figures = ProcessFigures::read();
    let name = "process_cpu_seconds_total";
    page.describe(name, "counter", "User and system CPU time spent, in seconds.");
    page.line(name, "", figures.cpu_seconds);
    let about_tables = "each shard has a table of its own";
    let gauges = [
        ("process_resident_memory_bytes", "Resident memory.", figures.resident_bytes),
        ("process_virtual_memory_bytes", "Virtual memory.", figures.virtual_bytes),
        ("process_threads", "Threads.", figures.threads),
        (
            "process_open_fds",
            &format!("Open descriptors; {about_tables}."),
            figures.open_descriptors,
        ),
        (
            "process_max_fds",
            &format!("Descriptors that may be open; {about_tables}."),
            figures.descriptors_max,
        ),
        (
            "ringwire_kernel_tcp_memory_bytes",
            "Buffers of all TCP sockets of the host.",
            figures.tcp_memory_bytes,
        ),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, value);
    }
    let help = "Start of the process, in seconds of Unix time.";
    page.gauge("process_start_time_seconds", help, figures.start_seconds);
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// From `/proc/PID/stat` (proc(5)) and the time of boot in `/proc/stat`. The second field of the
/// former, the name, may hold anything.
fn of_stat(stat: &str, host: &str) -> Option<ProcessFigures> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let boot =
        host.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Some(ProcessFigures {
        cpu_seconds: (field(14)? + field(15)?) as f64 / per_second,
        threads: field(20)?,
        start_seconds: boot.unwrap_or_default() as f64 + field(22)? as f64 / per_second,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * rustix::param::page_size() as u64,
        ..ProcessFigures::default()
    })
}

/// Pages of the TCP line.
fn of_sockstat(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    line.split_once("mem ")?.1.split_ascii_whitespace().next()?.parse().ok()
}

/// The names that threads with a table of their own begin with.
const TABLE_OWNERS: [&str; 2] = ["shard-", "log-"];

/// Open ones in the table of the process and in those of its threads, and what all may hold.
fn descriptors() -> (u64, u64) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let (mut open, mut tables) = (open_in(Path::new("/proc/self/fd")), 1);
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for task in tasks.map(|task| task.path()) {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        if TABLE_OWNERS.iter().any(|owner| name.starts_with(owner)) {
            open += open_in(&task.join("fd"));
            tables += 1;
        }
    }
    (open, limit.unwrap_or(u64::MAX).saturating_mul(tables))
}

/// Since Linux 6.2 the size of the folder says how many there are; counting takes long where these
/// are many.
fn open_in(folder: &Path) -> u64 {
    match fs::metadata(folder).map_or(0, |folder| folder.len()) {
        0 => fs::read_dir(folder).map_or(0, |entries| entries.count() as u64),
        size => size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 1234 567 0 0 20 0 9 0 1100 12 345 6";
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let figures = of_stat(stat, "cpu 1 2\nbtime 1700000000\n").expect("it has all fields");
        let expected = ProcessFigures {
            cpu_seconds: 1801.0 / per_second,
            threads: 9,
            start_seconds: 1_700_000_000.0 + 1100.0 / per_second,
            virtual_bytes: 12,
            resident_bytes: 345 * rustix::param::page_size() as u64,
            ..ProcessFigures::default()
        };
        assert_eq!(figures, expected);
        assert_eq!(of_stat("42 (a) S 1", ""), None);
    }

    #[test]
    fn memory_of_tcp_is_not_that_of_udp() {
        let sockstat = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 1 alloc 6 mem 17\nUDP: mem 3\n";
        assert_eq!(of_sockstat(sockstat), Some(17));
        assert_eq!(of_sockstat(""), None);
    }

    #[test]
    fn this_process_is_there() {
        let figures = ProcessFigures::read();
        assert!(figures.resident_bytes > 100 * 1024, "{figures:?}");
        assert!(figures.virtual_bytes >= figures.resident_bytes, "{figures:?}");
        assert!(figures.threads >= 1 && figures.start_seconds > 1.5e9, "{figures:?}");
        assert!((3..figures.descriptors_max).contains(&figures.open_descriptors), "{figures:?}");
    }
}
