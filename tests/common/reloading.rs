//! A server with a configuration file that a test rewrites while it runs.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use super::common::Server;
use super::observed::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a reload may take that is known to come; a failure, never a delay.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that lives as long as the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringwire-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }

    /// Where a file of this folder is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and says where it is.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("the disk has room");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over harms nobody, and a panic here would hide the test's own.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that was started with a configuration file.
pub(crate) struct Reloading {
    pub(crate) server: Server,
    pub(crate) folder: Folder,
}

impl Reloading {
    /// Starts a server with this file and `args`; `name` tells tests apart.
    pub(crate) fn start(name: &str, toml: &str, args: &[&str]) -> Self {
        let folder = Folder::new(name);
        Self::start_in(folder, toml, args)
    }

    /// As [`start`](Self::start), with files that the configuration names.
    pub(crate) fn start_in(folder: Folder, toml: &str, args: &[&str]) -> Self {
        let path = folder.write("ringwire.toml", toml);
        let common = ["--config", text(&path), "--admin", "127.0.0.1:0"];
        let server = Server::start(&[&common, args].concat());
        Self { server, folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.server.admin_address()
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.path("ringwire.toml")
    }

    pub(crate) fn write(&self, toml: &str) {
        self.folder.write("ringwire.toml", toml);
    }

    /// Asks for a reload (SIGHUP).
    pub(crate) fn hang_up(&self) {
        let pid = i32::try_from(self.server.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("a process has an id");
        kill_process(pid, Signal::HUP).expect("the server is still running");
    }

    /// Replaces the file, asks for a reload, and returns what the server says of it.
    pub(crate) fn reload(&self, toml: &str) -> String {
        self.write(toml);
        self.reload_again()
    }

    /// As [`reload`](Self::reload), with the file as it is.
    pub(crate) fn reload_again(&self) -> String {
        let earlier = said(&self.server.output());
        self.hang_up();
        let mut new = String::new();
        wait_until(PATIENCE, || {
            let all = said(&self.server.output());
            new = all[earlier.len()..].join("\n");
            let is_over = new.contains("reload: changed") || new.contains("nothing has changed");
            is_over.then_some(()).ok_or_else(|| format!("the server says: {new}"))
        });
        new
    }

    /// Reloads and expects that these settings have changed, and no other.
    pub(crate) fn reload_changes(&self, toml: &str, names: &str) {
        let said = self.reload(toml);
        let expected = format!("reload: changed {names}");
        assert!(said.ends_with(&expected) && said.lines().count() == 1, "{said}");
    }
}

impl Reloading {
    /// Spoils the configuration; both a start and a reload must refuse it for `reason`, in the same
    /// words. Returns what the reload says.
    pub(crate) fn refuses(&self, spoil: impl FnOnce(), reason: &str) -> String {
        spoil();
        let said = self.reload_again();
        assert!(said.contains("ERROR") && said.contains("nothing has changed: "), "{said}");
        let config = self.config_path();
        let started = Command::new(env!("CARGO_BIN_EXE_ringwire"))
            .args(["--config", text(&config), "--listen", "127.0.0.1:0", "--admin", "off"])
            .output()
            .expect("the server binary starts");
        assert!(!started.status.success());
        let at_start = String::from_utf8_lossy(&started.stderr).into_owned();
        assert!(at_start.contains(reason), "{reason} in {at_start}");
        let first = at_start.lines().find(|line| !line.contains(" WARN "));
        let first = first.expect("a start says why it fails");
        let why = first.split_once(": ").expect("the program or the word error stands in front").1;
        assert!(said.contains(why), "a start says {why}, a reload {said}");
        said
    }
}

/// What a server has said of reloads; of an error of TOML, which takes several lines, the first.
fn said(output: &str) -> Vec<String> {
    output.lines().filter(|line| line.contains("reload: ")).map(str::to_owned).collect()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the path was made from UTF-8")
}
