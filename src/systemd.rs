//! Tells the service manager how the server is doing: `sd_notify(3)`, without a library of C.
//!
//! The manager names a datagram socket in `$NOTIFY_SOCKET`; where there is none, nothing is said.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::limits::STOP_MARGIN;

/// The way to the service manager, or nowhere. It holds no descriptor, and no message of it waits:
/// one that the manager has no room for is lost, with a line in the log.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    manager: Option<SocketAddr>,
}

impl Notifier {
    /// The manager that started this process, or one that it started: a hot restart keeps it.
    #[must_use]
    pub fn from_environment() -> Self {
        let manager = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let warn = |error| tracing::warn!("NOTIFY_SOCKET is {}: {error}", name.display());
            address(&name).map_err(warn).ok()
        });
        Self { manager }
    }

    /// Everything is served, after a start or a reload; `status` is shown by `systemctl status`.
    pub fn ready(&self, status: &str) {
        // One line each: a line break would begin another assignment.
        self.send(&format!("READY=1\nSTATUS={}", status.replace(char::is_control, " ")));
    }

    /// The configuration is being read again; [`Self::ready`] follows, whatever came of it.
    pub fn reloading(&self) {
        // The manager tells by the time which of its requests this answers.
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"));
    }

    /// The service ends, and has `drain` to let everybody go, also where the unit's
    /// `TimeoutStopSec=` is shorter. Not for a process that has handed over to another: the service
    /// goes on.
    pub fn stopping(&self, drain: Duration) {
        let micros = (drain + STOP_MARGIN).as_micros();
        self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=draining"));
    }

    /// From now on the service is the process with this id. The unit needs `NotifyAccess=all`,
    /// because who says so may be either of the two.
    pub fn main_process(&self, pid: i32) {
        self.send(&format!("MAINPID={pid}"));
    }

    fn send(&self, message: &str) {
        let Some(manager) = &self.manager else { return };
        if let Err(error) = send(message, manager) {
            tracing::warn!("the service manager was not told {message:?}: {error}");
        }
    }
}

fn send(message: &str, manager: &SocketAddr) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), manager)?;
    Ok(())
}

/// `/path`, or `@name` in the abstract namespace.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::other("neither a path nor an abstract socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, RandomState};

    /// A name that no other test and no other process has.
    fn unique() -> String {
        format!("ringwire-test-{:x}", RandomState::new().hash_one(std::process::id()))
    }

    /// A manager that waits for messages, and the way to it.
    fn manager_at(name: &str) -> (UnixDatagram, Notifier) {
        let address = address(name.as_ref()).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (socket, Notifier { manager: Some(address) })
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut message = [0; 512];
        let length = socket.recv(&mut message).expect("a message has come");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_at_a_path_hears_every_state() {
        let path = std::env::temp_dir().join(unique());
        let (socket, notifier) = manager_at(path.to_str().unwrap());
        notifier.ready("2 shards");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=2 shards");
        notifier.stopping(Duration::from_secs(10));
        let stopping = "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=draining";
        assert_eq!(heard(&socket), stopping);
        notifier.main_process(4711);
        assert_eq!(heard(&socket), "MAINPID=4711");
        std::fs::remove_file(path).unwrap();
        // Nobody is there any more: nothing happens.
        notifier.ready("again");
    }

    #[test]
    fn a_reload_has_the_time_at_which_it_began() {
        let (socket, notifier) = manager_at(&format!("@{}", unique()));
        let micros = || {
            notifier.reloading();
            let message = heard(&socket);
            let fields = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            fields.strip_suffix("\nSTATUS=reloading").unwrap().parse::<u64>().unwrap()
        };
        let first = micros();
        assert!(first > 0 && micros() >= first);
    }

    #[test]
    fn a_status_cannot_say_anything_else() {
        let (socket, notifier) = manager_at(&format!("@{}", unique()));
        notifier.ready("one\nMAINPID=1");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=one MAINPID=1");
    }

    #[test]
    fn a_manager_that_does_not_listen_keeps_nobody_waiting() {
        let (socket, notifier) = manager_at(&format!("@{}", unique()));
        // Its queue holds fewer: were one of these to wait, the test would never end.
        for _ in 0..10_000 {
            notifier.main_process(1);
        }
        assert_eq!(heard(&socket), "MAINPID=1");
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", "relative", "vsock:2:1234"] {
            assert!(address(name.as_ref()).is_err(), "{name}");
        }
    }
}
