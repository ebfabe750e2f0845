//! The process that comes after this one: how it is started, and how it gets in.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::handover::{hand_over, open_door};
use super::listeners::Listeners;

/// Where a successor knocks, and what it gets.
#[derive(Debug)]
pub(super) struct Door {
    listener: Option<UnixListener>,
    legacy: Arc<Legacy>,
}

/// The sockets that go to a successor.
#[derive(Debug)]
struct Legacy {
    listeners: Listeners,
    admin: Option<OwnedFd>,
}

/// What became of a handover: the stream, whose end says that the door is free, and the process.
pub(super) type HandedOver = io::Result<(UnixStream, i32)>;

impl Door {
    /// A door that is not open yet.
    ///
    /// # Errors
    /// EMFILE when there is no descriptor for the admin listener.
    pub(super) fn new(listeners: Listeners, admin: Option<&TcpListener>) -> io::Result<Self> {
        let admin = admin.map(|admin| admin.as_fd().try_clone_to_owned()).transpose()?;
        Ok(Self { listener: None, legacy: Arc::new(Legacy { listeners, admin }) })
    }

    /// Opens it. Where that fails the server can do everything but be taken over.
    pub(super) fn open(&mut self) {
        match open_door(self.address()).and_then(UnixListener::from_std) {
            Ok(listener) => self.listener = Some(listener),
            Err(error) => tracing::warn!("this server cannot be taken over: {error}"),
        }
    }

    /// Nobody gets in any more.
    pub(super) fn close(&mut self) {
        self.listener = None;
    }

    /// Whether a successor could get in.
    pub(super) const fn is_open(&self) -> bool {
        self.listener.is_some()
    }

    /// Waits until somebody knocks.
    pub(super) async fn knocked(&self) -> io::Result<UnixStream> {
        match &self.listener {
            Some(listener) => listener.accept().await?.0.into_std(),
            None => std::future::pending().await,
        }
    }

    /// Hands everything over on a thread of its own: it takes as long as the successor needs to
    /// start.
    pub(super) fn hand_over(&self, successor: UnixStream) -> JoinHandle<HandedOver> {
        let legacy = Arc::clone(&self.legacy);
        tokio::task::spawn_blocking(move || {
            let sockets: Vec<BorrowedFd<'_>> = legacy.sockets().map(AsFd::as_fd).collect();
            hand_over(successor, &sockets)
        })
    }

    /// The address by which a successor finds it.
    pub(super) fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    /// Where this server listens.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.legacy.listeners.addresses
    }
}

impl Legacy {
    fn sockets(&self) -> impl Iterator<Item = &OwnedFd> {
        self.listeners.all().chain(&self.admin)
    }
}

/// The command line of this process, as it was started.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Reads it. Early: when the file of the program was replaced, the kernel tells no path.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let path = std::env::current_exe()?;
        Ok(Self { path, arguments: std::env::args_os().skip(1).collect() })
    }

    /// Starts the program that now has the path of this one, to take over from the server that
    /// listens on `address`.
    ///
    /// # Errors
    /// As `execve(2)`.
    pub(super) fn start_successor(&self, address: SocketAddr) -> io::Result<Child> {
        let earlier = OsStr::new("--take-over").as_encoded_bytes();
        let kept = self
            .arguments
            .iter()
            .filter(|argument| !argument.as_encoded_bytes().starts_with(earlier));
        Command::new(&self.path).args(kept).arg(format!("--take-over={address}")).spawn()
    }
}
