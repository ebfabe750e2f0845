//! The process that comes after this one: how it is started, and how it gets in.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::handover::{Process, hand_over, open_door};
use super::listeners::{ListenAddress, Listeners};

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
pub(super) type HandedOver = io::Result<(UnixStream, Process)>;

impl Door {
    /// A door that is not open yet.
    ///
    /// # Errors
    /// EMFILE when there is no descriptor for the admin listener.
    pub(super) fn new(listeners: Listeners, admin: Option<&TcpListener>) -> io::Result<Self> {
        let admin = admin.map(|admin| admin.as_fd().try_clone_to_owned()).transpose()?;
        Ok(Self { listener: None, legacy: Arc::new(Legacy { listeners, admin }) })
    }

    /// Opens it.
    ///
    /// # Errors
    /// EADDRINUSE when another server has one for the same address.
    pub(super) fn open(&mut self) -> io::Result<()> {
        let listener = open_door(self.address())?;
        self.listener = Some(UnixListener::from_std(listener)?);
        Ok(())
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
            let listeners: Vec<BorrowedFd<'_>> = legacy.listeners.all().map(AsFd::as_fd).collect();
            hand_over(successor, &listeners, legacy.admin.as_ref().map(AsFd::as_fd))
        })
    }

    /// The address by which a successor finds it.
    pub(super) fn address(&self) -> SocketAddr {
        self.addresses()[0].address
    }

    /// Has all sockets listen.
    ///
    /// # Errors
    /// As `listen(2)`.
    pub(super) fn listen(&self) -> io::Result<()> {
        self.legacy.listeners.begin()
    }

    /// Where this server listens.
    pub(super) fn addresses(&self) -> &[ListenAddress] {
        &self.legacy.listeners.addresses
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
        let mut arguments = std::env::args_os();
        let called = arguments.next().filter(|name| name.as_encoded_bytes().contains(&b'/'));
        let real = std::env::current_exe()?;
        // A link that is switched to the next version leads there only by its own name.
        let path = match called.map(std::path::absolute) {
            Some(Ok(called)) if is_same_file(&called, &real) => called,
            _ => real,
        };
        Ok(Self { path, arguments: arguments.collect() })
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

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    identity(one).is_some_and(|one| identity(other) == Some(one))
}
