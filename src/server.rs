//! The process: shards on their threads, signals and the admin listener on this one.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::app::Endpoint;
use crate::check::EXIT_CANNOT_RUN;
use crate::config::{Config, DefaultApp, Source};
use crate::hub::Epoch;
use crate::limits::{
    CONNECTIONS_OF_SHARD_MAX, DESCRIPTOR_RESERVE, ORDERS_MAX, PASSWORD_ANSWER_ATTEMPTS,
    PASSWORD_ANSWER_PAUSE,
};
use crate::mesh::{Envelope, Mesh};
use crate::observe::{self, LogControl, Operator, Order, ShardCounters};
use crate::overload::watch_marks;
use crate::password_checker::PasswordChecker;
use crate::reload::Reload;
use crate::ring::probe::probe;
use crate::ring::{allowed_cpus, raise_descriptor_limit, socket};
use crate::security::AuthMode;
use crate::shard::{self, Passwords, ShardPlan};

/// Runs the server until it is told to end. Prints one line per listener when all shards accept.
#[must_use]
pub fn run(config: &Config, source: Source, log: &LogControl) -> ExitCode {
    let features = match probe() {
        Ok(features) => features,
        Err(error) => {
            eprintln!("ringwire: {error}");
            return ExitCode::from(EXIT_CANNOT_RUN);
        }
    };
    match Server::start(config, source) {
        Ok(server) => {
            say(format_args!("io_uring: {features}"));
            server.serve(log)
        }
        Err(error) => {
            eprintln!("ringwire: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line; who started us may have closed the stream.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// What the threads of the shards tell this one.
enum Report {
    Started,
    Ended(usize, io::Result<()>),
}

struct Server {
    control: tokio::runtime::Runtime,
    signals: Signals,
    mesh: Arc<Mesh>,
    counters: Arc<[ShardCounters]>,
    reports: mpsc::UnboundedReceiver<Report>,
    listen: Vec<SocketAddr>,
    admin: Option<std::net::TcpListener>,
    reload: Reload,
    hangups: Signal,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Server {
    /// Everything that can fail for a reason the user can mend, before the first thread starts.
    fn start(config: &Config, source: Source) -> io::Result<Self> {
        let descriptors = raise_descriptor_limit();
        // The runtime comes first: its signal pipe must be in the tables the shards copy.
        let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (signals, hangups) = {
            let _entered = control.enter();
            let signals = Signals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            };
            (signals, signal(SignalKind::hangup())?)
        };
        let reload = Reload::new(config, source).map_err(io::Error::other)?;
        let listen = claim_all(&config.listen)?;
        let admin = config.admin.map(bind_admin).transpose()?;
        let cpus = allowed_cpus()?;
        let shards = config.shards.map_or(cpus.len(), NonZeroUsize::get);
        let mesh = Arc::new(Mesh::new(shards)?);
        let counters: Arc<[ShardCounters]> =
            (0..shards).map(|_| ShardCounters::default()).collect();
        let (reporter, reports) = mpsc::unbounded_channel();
        let allowed = connections_allowed(descriptors);
        let hasher = RandomState::new();
        let passwords = passwords(config.access.auth, &mesh)?;
        let settings = reload.settings();
        for number in 0..shards {
            let plan = ShardPlan {
                number,
                cpu: cpus[number % cpus.len()],
                listen: listen.clone(),
                root: endpoint(config.app),
                connections_possible: allowed,
                hasher: hasher.clone(),
                passwords: passwords.clone(),
                epoch: Epoch(hasher.hash_one(number)),
                settings: Arc::clone(&settings),
                mesh: Arc::clone(&mesh),
                counters: Arc::clone(&counters),
                networks: Arc::clone(reload.networks()),
            };
            let reporter = reporter.clone();
            thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
                let started = || drop(reporter.send(Report::Started));
                let ended = shard::run(plan, started);
                // Nobody listens any more only when the process is ending.
                let _ = reporter.send(Report::Ended(number, ended));
            })?;
        }
        Ok(Self { control, signals, mesh, counters, reports, listen, admin, reload, hangups })
    }

    fn serve(self, log: &LogControl) -> ExitCode {
        let Self { control, signals, mesh, counters, reports, listen, admin, reload, hangups } =
            self;
        let outcome = control.block_on(async {
            let (orders, received) = mpsc::channel(ORDERS_MAX);
            let (_handed_over, is_handed_over) = watch::channel(false);
            let config = reload.config();
            let mut watch = Watch { signals, reports, orders: received, mesh, config, running: 0 };
            watch.await_start().await?;
            for address in listen {
                say(format_args!("listening on ws://{address}"));
            }
            let (mesh, config) = (Arc::clone(&watch.mesh), watch.config.clone());
            tokio::spawn(watch_marks(mesh, Arc::clone(&counters), config));
            tokio::spawn(reload.run(hangups, Arc::clone(&watch.mesh), log.clone()));
            if let Some(listener) = admin {
                say(format_args!("admin on http://{}", listener.local_addr()?));
                let mesh = Arc::clone(&watch.mesh);
                let operator = Operator { mesh, counters, log: log.clone(), orders };
                observe::start(listener, operator, is_handed_over)?;
            }
            say(format_args!("{} shards", watch.mesh.shards()));
            watch.until_drained().await
        });
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("ringwire: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// What the control thread waits for.
struct Watch {
    signals: Signals,
    reports: mpsc::UnboundedReceiver<Report>,
    orders: mpsc::Receiver<Order>,
    mesh: Arc<Mesh>,
    /// As it is in force.
    config: watch::Receiver<Config>,
    running: usize,
}

impl Watch {
    async fn await_start(&mut self) -> io::Result<()> {
        while self.running < self.mesh.shards() {
            match self.reports.recv().await {
                Some(Report::Started) => self.running += 1,
                Some(Report::Ended(number, ended)) => return Err(broken(number, ended)),
                None => unreachable!("a thread reports its end"),
            }
        }
        Ok(())
    }

    /// Serves until the first signal, then lets everybody go; the second signal ends at once, and
    /// so does the end of the time that is allowed.
    async fn until_drained(&mut self) -> io::Result<()> {
        let mut deadline = None;
        while self.running > 0 {
            tokio::select! {
                report = self.reports.recv() => match report {
                    Some(Report::Ended(_, Ok(()))) if deadline.is_some() => self.running -= 1,
                    Some(Report::Ended(number, ended)) => return Err(broken(number, ended)),
                    Some(Report::Started) | None => unreachable!("every shard has started"),
                },
                () = self.signals.any() => {
                    if deadline.is_some() {
                        tracing::info!("second signal: ending now");
                        return Ok(());
                    }
                    deadline = Some(self.drain());
                }
                Some(Order::Drain) = self.orders.recv() => {
                    if deadline.is_none() {
                        deadline = Some(self.drain());
                    }
                }
                () = sleep_until(deadline) => {
                    tracing::warn!("{} shards did not end in time", self.running);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Asks every shard to let everybody go; says when the last must have gone.
    fn drain(&self) -> Instant {
        let grace = self.config.borrow().drain;
        tracing::info!("draining for at most {grace:?}");
        self.mesh.begin_drain(grace);
        Instant::now() + grace
    }
}

/// Sleeps until `deadline`; without one, for ever.
async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Signals {
    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn broken(number: usize, ended: io::Result<()>) -> io::Error {
    let cause = ended.err().unwrap_or_else(|| io::Error::other("ended by itself"));
    io::Error::new(cause.kind(), format!("shard {number}: {cause}"))
}

fn claim_all(addresses: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    let claim = |address: &SocketAddr| {
        socket::claim(*address).map_err(|error| cannot_listen(*address, &error))
    };
    addresses.iter().map(claim).collect()
}

fn bind_admin(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).map_err(|error| {
        let message =
            format!("{}: choose another --admin, or --admin off", cannot_listen(address, &error));
        io::Error::new(error.kind(), message)
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

/// Each shard has a table of descriptors of its own, so each may hold what the limit allows.
fn connections_allowed(descriptors: u64) -> usize {
    let inherited = std::fs::read_dir("/proc/self/fd").map_or(64, Iterator::count) as u64;
    let allowed = descriptors.saturating_sub(inherited + DESCRIPTOR_RESERVE).max(1);
    usize::try_from(allowed).unwrap_or(usize::MAX).min(CONNECTIONS_OF_SHARD_MAX)
}

const fn endpoint(app: DefaultApp) -> Endpoint {
    match app {
        DefaultApp::Chat => Endpoint::Chat,
        DefaultApp::Echo => Endpoint::Echo,
        DefaultApp::Broadcast => Endpoint::Broadcast,
    }
}

/// The thread that checks passwords, where there may be any, now or later.
fn passwords(auth: AuthMode, mesh: &Arc<Mesh>) -> io::Result<Option<Arc<Passwords>>> {
    if auth != AuthMode::Message {
        return Ok(None);
    }
    let mesh = Arc::clone(mesh);
    let checker = PasswordChecker::start(move |(shard, key), identity| {
        let mut answer = Envelope::PasswordChecked(key, identity);
        // A full inbox is emptied soon, and this thread may wait for it.
        for _ in 0..PASSWORD_ANSWER_ATTEMPTS {
            match mesh.send(shard, answer) {
                Ok(()) => return,
                Err(refused) => answer = refused,
            }
            thread::sleep(PASSWORD_ANSWER_PAUSE);
        }
        tracing::warn!("shard {shard} takes no answers: a password was checked in vain");
    })?;
    Ok(Some(Arc::new(checker)))
}
