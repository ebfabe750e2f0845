//! What this host lacks for a run, and the commands that mend it.

use std::fmt;

/// One thing that is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    /// What is needed, and what there is.
    what: String,
    /// Commands and flags, each of which is enough.
    mends: Vec<String>,
}

impl Fault {
    /// `what` is missing; no way to mend it is known yet.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), mends: Vec::new() }
    }

    /// Adds a way to mend it.
    pub(crate) fn mend(mut self, command: impl Into<String>) -> Self {
        self.mends.push(command.into());
        self
    }

    /// Adds a way to mend it if there is one.
    pub(crate) fn mend_if(self, possible: bool, command: impl FnOnce() -> String) -> Self {
        if possible { self.mend(command()) } else { self }
    }

    /// The same in one line, for the notes of a report.
    pub(crate) fn in_one_line(&self) -> String {
        if self.mends.is_empty() {
            return self.what.clone();
        }
        format!("{} (mend: {})", self.what, self.mends.join("; or: "))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)?;
        for (index, command) in self.mends.iter().enumerate() {
            let word = if index == 0 { "mend" } else { "  or" };
            write!(formatter, "\n      {word}: {command}")?;
        }
        Ok(())
    }
}

/// Everything that is missing, at least one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("this host cannot make the run; nothing was connected")?;
        self.0.iter().try_for_each(|fault| write!(formatter, "\n  - {fault}"))
    }
}

impl From<Faults> for String {
    fn from(faults: Faults) -> Self {
        faults.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_shown_with_every_mend() {
        let ports = Fault::new("no ports").mend("a").mend_if(false, || "b".to_owned()).mend("c");
        assert_eq!(ports.in_one_line(), "no ports (mend: a; or: c)");
        assert_eq!(Fault::new("no files").in_one_line(), "no files");
        let text = Faults(vec![ports, Fault::new("no files")]).to_string();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines, ["  - no ports", "      mend: a", "        or: c", "  - no files"]);
    }
}
