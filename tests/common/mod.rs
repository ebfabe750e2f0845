//! The real server as a child process, for the tests that talk to it over sockets.

// Each test program uses only a part of this module.
#![allow(dead_code)]

pub(crate) mod tls;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tls::{Files, HOUSE};

/// How long a server may take to print a line it is known to print; far more than it needs, so
/// that a loaded machine fails no test.
const PRINT_DEADLINE: Duration = Duration::from_secs(30);

/// Whether clients come over TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    Plain,
    Tls,
}

/// Where to connect, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) scheme: Scheme,
}

/// Without TLS, if nothing else is said.
impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self { address, scheme: Scheme::Plain }
    }
}

/// Makes two tests of each function: one without TLS, one with it.
#[allow(unused_macros)]
macro_rules! over_both {
    ($($test:ident,)*) => {
        mod plain {
            $(#[test]
            fn $test() {
                super::$test(crate::common::Scheme::Plain);
            })*
        }

        mod tls {
            $(#[test]
            fn $test() {
                super::$test(crate::common::Scheme::Tls);
            })*
        }
    };
}

#[allow(unused_imports)]
pub(crate) use over_both;

/// A running server, killed when dropped. If the test is failing, drop prints what the server said.
pub(crate) struct Server {
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    place: Place,
    /// What it shows to those who come over TLS.
    certificates: Option<Files>,
}

impl Server {
    /// Starts the server and returns once it listens.
    ///
    /// Unless `args` say otherwise, it listens on a free port of 127.0.0.1 and has no admin
    /// listener; a test that needs one passes `--admin 127.0.0.1:0`.
    ///
    /// # Panics
    /// When the server ends, or stays silent for 30 seconds, before it listens.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_under(&[], args)
    }

    /// Like [`Self::start`], for clients that come so.
    pub(crate) fn start_for(scheme: Scheme, args: &[&str]) -> Self {
        if scheme == Scheme::Plain {
            return Self::start(args);
        }
        let files = Files::new();
        let shown = files.show("server", &HOUSE.server);
        let more = ["--tls-listen", "127.0.0.1:0"].into_iter().chain(shown.iter().map(|x| &**x));
        let mut server = Self::start(&more.chain(args.iter().copied()).collect::<Vec<_>>());
        server.certificates = Some(files);
        server.place = Place { address: server.tls_address(), scheme };
        server
    }

    /// Like [`Self::start`], under a program that ends by becoming the server: `prlimit …`.
    pub(crate) fn start_under(wrapper: &[&str], args: &[&str]) -> Self {
        let words = [wrapper, &[env!("CARGO_BIN_EXE_ringwire")]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        for (flag, value) in [("--listen", "127.0.0.1:0"), ("--admin", "off")] {
            if !args.contains(&flag) {
                command.args([flag, value]);
            }
        }
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server binary starts");
        let output = Arc::new(Output::default());
        let readers = vec![
            output.collect(Stream::Stdout, child.stdout.take().expect("stdout is piped")),
            output.collect(Stream::Stderr, child.stderr.take().expect("stderr is piped")),
        ];
        let mut server = Self {
            child,
            output,
            readers,
            place: SocketAddr::from(([0; 4], 0)).into(),
            certificates: None,
        };
        let address = server.wait_for_line(|line| address_after(line, "ws://"));
        server.place = address.expect("the server prints a line with its address").into();
        server
    }

    /// What `find` makes of the first line of standard output that it likes; `None` when there is
    /// none for 30 seconds, or the output has ended without.
    pub(crate) fn wait_for_line<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.output.wait_for(find)
    }

    /// Where the first WebSocket listener is for clients of the kind that it was started for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.place.address
    }

    /// The same, and how to connect.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Where the first listener with TLS is.
    ///
    /// # Panics
    /// When the server was started without one.
    pub(crate) fn tls_address(&self) -> SocketAddr {
        self.wait_for_line(|line| address_after(line, "wss://"))
            .expect("the server printed no address for TLS: start it with --tls-listen")
    }

    /// Where the admin listener is.
    ///
    /// # Panics
    /// When the server was started without one.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.wait_for_line(|line| line.contains("admin").then(|| address_after(line, "http://"))?)
            .expect("the server printed no admin address: start it with --admin 127.0.0.1:0")
    }

    /// The process id of the server.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the server has printed so far, standard output first.
    pub(crate) fn output(&self) -> String {
        let state = self.output.lock();
        format!("{}\n{}", state.stdout.join("\n"), state.stderr.join("\n"))
    }

    /// Asks the server to drain and end (SIGTERM).
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends the server a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.rustix_pid(), signal).expect("the server is still running");
    }

    /// Waits until the server has ended; its output is then complete.
    ///
    /// # Panics
    /// When it is still running after `timeout`.
    pub(crate) fn wait_for_exit(&mut self, timeout: Duration) -> ExitStatus {
        if self.child.try_wait().expect("the child can be waited for").is_some() {
            return self.reap();
        }
        self.wait_for_end(timeout);
        self.reap()
    }

    /// Waits until the process has ended, though others may still write to its output.
    ///
    /// # Panics
    /// When it is still running after `timeout`.
    pub(crate) fn wait_for_end(&self, timeout: Duration) {
        let ended =
            pidfd_open(self.rustix_pid(), PidfdFlags::empty()).expect("a child has a pidfd");
        let timeout_spec = Timespec::try_from(timeout).expect("the timeout fits a timespec");
        let mut fds = [PollFd::new(&ended, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&timeout_spec)).expect("a pidfd can be polled");
        assert!(ready == 1, "the server is still running after {timeout:?}");
    }

    /// Waits for a child that has ended or is about to, then for the last of its output.
    fn reap(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("the child can be waited for");
        for reader in self.readers.drain(..) {
            reader.join().expect("reading the output does not panic");
        }
        status
    }

    fn rustix_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; killing it again is then no error.
        drop(self.child.kill());
        let status = self.reap();
        if thread::panicking() {
            eprintln!("--- the server ({status}) printed:\n{}\n---", self.output());
        }
    }
}

/// What the server printed, collected by one thread per stream so that its pipes never fill.
#[derive(Default)]
struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Default)]
struct OutputState {
    stdout: Vec<String>,
    stderr: Vec<String>,
    stdout_ended: bool,
}

#[derive(Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

impl Output {
    fn collect(
        self: &Arc<Self>,
        stream: Stream,
        pipe: impl Read + Send + 'static,
    ) -> JoinHandle<()> {
        let output = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let mut state = output.lock();
                match stream {
                    Stream::Stdout => state.stdout.push(line),
                    Stream::Stderr => state.stderr.push(line),
                }
                output.changed.notify_all();
            }
            if matches!(stream, Stream::Stdout) {
                output.lock().stdout_ended = true;
                output.changed.notify_all();
            }
        })
    }

    /// What `find` made of the first line of standard output that it likes, or `None` when standard
    /// output ended or stayed without one until the deadline.
    fn wait_for<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PRINT_DEADLINE;
        let mut state = self.lock();
        loop {
            if let Some(found) = state.stdout.iter().find_map(|line| find(line)) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.stdout_ended || left.is_zero() {
                return None;
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The socket address that follows `scheme` in `line`.
fn address_after(line: &str, scheme: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(scheme)?;
    let end = rest.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
