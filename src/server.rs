//! The process: shards on their threads, signals and the admin listener on this one.

use std::hash::BuildHasher;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::access_files::{load_access, load_admin_token};
use crate::app::Endpoint;
use crate::app::chat::Rates;
use crate::check::EXIT_CANNOT_RUN;
use crate::config::{Config, DefaultApp};
use crate::connection::Workshop;
use crate::hub::{Epoch, HistoryLimits};
use crate::limits::{
    ASSEMBLY_BYTES_MAX, DESCRIPTOR_RESERVE, FRAGMENTS_MAX, HISTORIES_BYTES_MAX, ORDERS_MAX,
    PASSWORD_ANSWER_ATTEMPTS, PASSWORD_ANSWER_PAUSE, TICK_MILLISECONDS,
};
use crate::mesh::{Envelope, Mesh};
use crate::observe::{Admin, LogControl, Operator, Order, ShardCounters};
use crate::password_checker::PasswordChecker;
use crate::protocol::{AssemblyPool, Limits};
use crate::ring::probe::probe;
use crate::ring::{allowed_cpus, raise_descriptor_limit, socket};
use crate::security::Access;
use crate::shard::{self, Passwords, ShardPlan};

/// Runs the server until it is told to end. Prints one line per listener when all shards accept.
#[must_use]
pub fn run(config: &Config, log: &LogControl) -> ExitCode {
    let features = match probe() {
        Ok(features) => features,
        Err(error) => {
            eprintln!("ringwire: {error}");
            return ExitCode::from(EXIT_CANNOT_RUN);
        }
    };
    match Server::start(config) {
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
    admin: Option<(std::net::TcpListener, Admin)>,
    drain: Duration,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Server {
    /// Everything that can fail for a reason the user can mend, before the first thread starts.
    fn start(config: &Config) -> io::Result<Self> {
        let descriptors = raise_descriptor_limit();
        // The runtime comes first: its signal pipe must be in the tables the shards copy.
        let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = control.enter();
            Signals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            }
        };
        let access = load_access(&config.access).map_err(io::Error::other)?;
        let access = Arc::new(access);
        let listen = claim_all(&config.listen)?;
        let admin = config.admin.map(|address| prepare_admin(address, config)).transpose()?;
        let cpus = allowed_cpus()?;
        let shards = config.shards.map_or(cpus.len(), NonZeroUsize::get);
        let mesh = Arc::new(Mesh::new(shards)?);
        let counters: Arc<[ShardCounters]> =
            (0..shards).map(|_| ShardCounters::default()).collect();
        let (reporter, reports) = mpsc::unbounded_channel();
        let allowed = connections_allowed(descriptors);
        let hasher = mesh.hasher().clone();
        let passwords = passwords(&access, &mesh)?;
        for number in 0..shards {
            let plan = ShardPlan {
                number,
                cpu: cpus[number % cpus.len()],
                listen: listen.clone(),
                root: endpoint(config.app),
                connections_max: connections_of(number, shards, config).min(allowed),
                hasher: hasher.clone(),
                rates: Rates { messages: config.chat.rate_limit, bytes: config.chat.rate_bytes },
                passwords: passwords.clone(),
                history: history(config),
                epoch: Epoch(hasher.hash_one(number)),
                workshop: workshop(config),
                mesh: Arc::clone(&mesh),
                counters: Arc::clone(&counters),
                access: Arc::clone(&access),
            };
            let reporter = reporter.clone();
            thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
                let started = || drop(reporter.send(Report::Started));
                let ended = shard::run(plan, started);
                // Nobody listens any more only when the process is ending.
                let _ = reporter.send(Report::Ended(number, ended));
            })?;
        }
        let drain = config.drain;
        Ok(Self { control, signals, mesh, counters, reports, listen, admin, drain })
    }

    fn serve(self, log: &LogControl) -> ExitCode {
        let Self { control, signals, mesh, counters, reports, listen, admin, drain } = self;
        let outcome = control.block_on(async {
            let (orders, received) = mpsc::channel(ORDERS_MAX);
            let (_handed_over, is_handed_over) = watch::channel(false);
            let mut watch = Watch { signals, reports, orders: received, mesh, running: 0 };
            watch.await_start().await?;
            for address in listen {
                say(format_args!("listening on ws://{address}"));
            }
            if let Some((listener, admin)) = admin {
                say(format_args!("admin on http://{}", listener.local_addr()?));
                let mesh = Arc::clone(&watch.mesh);
                let operator = Operator { mesh, counters, log: log.clone(), orders };
                admin.start(listener, operator, is_handed_over)?;
            }
            say(format_args!("{} shards", watch.mesh.shards()));
            watch.until_drained(drain).await
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
    async fn until_drained(&mut self, grace: Duration) -> io::Result<()> {
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
                    deadline = Some(self.drain(grace));
                }
                Some(Order::Drain) = self.orders.recv() => {
                    if deadline.is_none() {
                        deadline = Some(self.drain(grace));
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
    fn drain(&self, grace: Duration) -> Instant {
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

/// The admin listener and its runtime, before the shards begin.
fn prepare_admin(
    address: SocketAddr,
    config: &Config,
) -> io::Result<(std::net::TcpListener, Admin)> {
    let file = config.admin_token_file.as_deref();
    let token = file.map(load_admin_token).transpose().map_err(io::Error::other)?;
    Ok((bind_admin(address)?, Admin::prepare(token)?))
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
    usize::try_from(allowed).unwrap_or(usize::MAX)
}

/// The share of a shard in what was configured: the shares add up to it.
fn connections_of(number: usize, shards: usize, config: &Config) -> usize {
    let share = |all: usize| all / shards + usize::from(number < all % shards);
    config.max_connections.map_or(usize::MAX, share)
}

const fn endpoint(app: DefaultApp) -> Endpoint {
    match app {
        DefaultApp::Chat => Endpoint::Chat,
        DefaultApp::Echo => Endpoint::Echo,
        DefaultApp::Broadcast => Endpoint::Broadcast,
    }
}

fn workshop(config: &Config) -> Workshop {
    let heartbeat = config.heartbeat.as_millis() as u64 / TICK_MILLISECONDS;
    Workshop {
        pool: AssemblyPool::new(ASSEMBLY_BYTES_MAX),
        limits: Limits { message_bytes_max: config.max_message, fragments_max: FRAGMENTS_MAX },
        heartbeat: u32::try_from(heartbeat).expect("the heartbeat is at most an hour"),
        replies_kept: 0,
        backlogs: 0,
        backlog_bytes: 0,
    }
}

fn history(config: &Config) -> HistoryLimits {
    let age = config.chat.history_age.as_millis() as u64 / TICK_MILLISECONDS;
    let age = u32::try_from(age).expect("the age is at most a day");
    HistoryLimits { messages: config.chat.history_messages, age, home_bytes: HISTORIES_BYTES_MAX }
}

/// The thread that checks passwords, if there are any.
fn passwords(access: &Access, mesh: &Arc<Mesh>) -> io::Result<Option<Arc<Passwords>>> {
    let Some(file) = access.passwords() else { return Ok(None) };
    let mesh = Arc::clone(mesh);
    let checker = PasswordChecker::start(Arc::clone(file), move |(shard, key), identity| {
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
