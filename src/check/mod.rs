//! `ringwire check`: is this host ready, and if not, which command mends it?

mod findings;
mod host;

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;

pub use findings::{Finding, Level, findings};
pub use host::{Host, Limit};

use crate::config::Config;

/// Exit code of a host that cannot run the server: EX_CONFIG of `sysexits.h`.
pub const EXIT_CANNOT_RUN: u8 = 78;

/// Examines this host for `config` and prints one line per finding to standard output. The exit
/// code is 0 when all is well, 1 when something limits the capacity, and [`EXIT_CANNOT_RUN`].
#[must_use]
pub fn run(config: &Config) -> ExitCode {
    let found = findings(&Host::gather(), config);
    let mut output = std::io::stdout();
    let colours = output.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Nobody is left to tell when standard output is closed; the exit code still counts.
    let _ = output.write_all(report(&found, colours).as_bytes());
    ExitCode::from(exit_code(&found))
}

fn exit_code(found: &[Finding]) -> u8 {
    match found.iter().map(|finding| finding.level).max() {
        None | Some(Level::Ok) => 0,
        Some(Level::Warn) => 1,
        Some(Level::Fail) => EXIT_CANNOT_RUN,
    }
}

/// Aligned lines, `level  name  value  why`, each followed by what mends it.
fn report(found: &[Finding], colours: bool) -> String {
    let name_width = found.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let value_width = found.iter().map(|finding| finding.value.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { level, name, value, why, mend } in found {
        let (word, colour) = match level {
            Level::Ok => ("ok  ", "32"),
            Level::Warn => ("warn", "33"),
            Level::Fail => ("fail", "31"),
        };
        let word = if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() };
        let line = format!("{word}  {name:name_width$}  {value:value_width$}  {why}");
        text.push_str(line.trim_end());
        text.push('\n');
        if let Some(mend) = mend {
            writeln!(text, "      mend: {mend}").expect("a string takes all");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Finding> {
        vec![
            Finding::ok("kernel", "6.18", "has all"),
            Finding::warn("somaxconn", 128, "too short", "sysctl -w net.core.somaxconn=65535"),
            Finding::fail("io_uring", "refused", "switched off", "sysctl -w x=0"),
        ]
    }

    #[test]
    fn the_report_is_aligned_and_every_trouble_has_its_mend() {
        assert_eq!(
            report(&three(), false),
            "ok    kernel     6.18     has all\n\
             warn  somaxconn  128      too short\n      mend: sysctl -w net.core.somaxconn=65535\n\
             fail  io_uring   refused  switched off\n      mend: sysctl -w x=0\n"
        );
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let coloured = report(&three(), true);
        assert!(coloured.contains("\x1b[31mfail\x1b[0m"));
        let plain = ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"]
            .iter()
            .fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(plain, report(&three(), false));
    }

    #[test]
    fn the_worst_finding_decides_the_exit_code() {
        let mut found = three();
        assert_eq!(exit_code(&found), 78);
        found.pop();
        assert_eq!(exit_code(&found), 1);
        found.pop();
        assert_eq!(exit_code(&found), 0);
    }
}
