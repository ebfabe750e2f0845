//! The process that a server starts to take over from it.

use crate::common::Server;
use rustix::process::{Pid, Signal, kill_process};

/// A server that another one has started; killed when dropped.
pub(crate) struct Successor(pub(crate) Pid);

impl Successor {
    /// The successor of `server`, once it has taken over.
    pub(crate) fn of(server: &Server) -> Self {
        let line = format!("has taken over from process {}", server.pid());
        let process = server.wait_for_line(|found| {
            let (before, _) = found.split_once(&line)?;
            before.trim().strip_prefix("process ")?.parse().ok()
        });
        let process = process.expect("the successor says that it has taken over");
        Self(Pid::from_raw(process).expect("a process id"))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // It may have ended.
        let _ = kill_process(self.0, Signal::KILL);
    }
}
