//! A folder with the log of a server, and what is in it.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long something may take that takes a second at most.
const SOON: Duration = Duration::from_secs(30);

/// A folder for the log of one test, empty at its start.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("logs-{name}"));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    /// The same, as a process sees it that has file systems of its own.
    pub(crate) fn seen_by(&self, pid: u32) -> Self {
        let path = self.0.strip_prefix("/").expect("the path is absolute");
        Self(Path::new("/proc").join(pid.to_string()).join("root").join(path))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).expect("the file is there and is text")
    }

    /// All lines of a log that is in one file.
    pub(crate) fn lines(&self, name: &str) -> Vec<Value> {
        let text = self.text(name);
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is cut");
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        text.lines().map(parse).collect()
    }

    /// Waits for a line of `combined.log` that the server may still be writing.
    pub(crate) fn wait_for(&self, find: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let text = fs::read_to_string(self.file("combined.log")).unwrap_or_default();
            let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            if let Some(line) = lines.into_iter().find(&find) {
                return line;
            }
            assert!(Instant::now() < deadline, "no such line in:\n{text}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
