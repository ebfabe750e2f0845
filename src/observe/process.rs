//! This process by the names that Prometheus clients of all languages use.

use std::fmt::Write;
use std::fs;

/// CPU time and resident memory as Prometheus text; nothing when `/proc` is not there.
#[must_use]
pub fn process_exposition() -> String {
    let mut text = String::new();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some((ticks, pages)) = numbers(&stat) {
        let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        let bytes = pages * rustix::param::page_size() as u64;
        let written = write!(
            text,
            "# HELP process_cpu_seconds_total User and system CPU time spent, in seconds.\n\
             # TYPE process_cpu_seconds_total counter\n\
             process_cpu_seconds_total {seconds}\n\
             # HELP process_resident_memory_bytes Resident memory, in bytes.\n\
             # TYPE process_resident_memory_bytes gauge\n\
             process_resident_memory_bytes {bytes}\n"
        );
        written.expect("a string takes all text");
    }
    text
}

/// Ticks of CPU time (fields 14 and 15 of `/proc/PID/stat`), and pages of resident memory (24). The
/// second field, the name, may hold anything.
fn numbers(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some((field(14)? + field(15)?, field(24)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 1234 567 0 0 20 0 9 0 11 12 345 6";
        assert_eq!(numbers(stat), Some((1_801, 345)));
        assert_eq!(numbers("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_resident() {
        let text = process_exposition();
        let (_, bytes) = text.rsplit_once(' ').expect("lines of name and value");
        assert!(bytes.trim().parse::<u64>().is_ok_and(|bytes| bytes > 100 * 1024), "{text}");
    }
}
