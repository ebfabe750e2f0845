//! The process: shards on their threads, signals on this one, and the way from one process to the
//! next.

mod handover;
mod listeners;
mod successor;
mod watch;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::access_files::load_access;
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
use crate::observe::{self, LogControl, Operator, ShardCounters, Summary};
use crate::password_checker::PasswordChecker;
use crate::protocol::{AssemblyPool, Limits};
use crate::ring::probe::probe;
use crate::ring::{allowed_cpus, raise_descriptor_limit};
use crate::security::Access;
use crate::shard::{self, Passwords, ShardPlan};
use handover::Inheritance;
use listeners::Listeners;
use successor::Door;
use watch::{Signals, Watch};

/// Runs the server until it is told to end. Prints one line per listener when all shards accept.
#[must_use]
pub fn run(config: &Config, log: &LogControl) -> ExitCode {
    let features = match probe() {
        Ok(features) => features,
        Err(error) => {
            log.complain(format_args!("ringwire: {error}"));
            return ExitCode::from(EXIT_CANNOT_RUN);
        }
    };
    match Server::start(config) {
        Ok(server) => {
            log.say(format_args!("io_uring: {features}"));
            server.serve(log)
        }
        Err(error) => {
            log.complain(format_args!("ringwire: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What the threads of the shards tell this one.
enum Report {
    Started,
    Ended(usize, io::Result<()>),
}

/// A server whose shards have been started.
struct Server {
    control: tokio::runtime::Runtime,
    signals: Signals,
    mesh: Arc<Mesh>,
    counters: Arc<[ShardCounters]>,
    reports: mpsc::UnboundedReceiver<Report>,
    listeners: Listeners,
    admin: Option<TcpListener>,
    /// The server before this one, until this one is ready.
    inheritance: Option<Inheritance>,
    drain: Duration,
    summary: Option<Duration>,
}

impl Server {
    /// Everything that can fail for a reason the user can mend, before the first thread starts.
    fn start(config: &Config) -> io::Result<Self> {
        let descriptors = raise_descriptor_limit();
        // The runtime comes first: its signal pipe must be in the tables the shards copy.
        let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = control.enter();
            Signals::listen()?
        };
        let access = load_access(&config.access).map_err(io::Error::other)?;
        let access = Arc::new(access);
        let cpus = allowed_cpus()?;
        let shards = config.shards.map_or(cpus.len(), NonZeroUsize::get);
        let mut inheritance = match config.take_over {
            Some(address) => Some(Inheritance::ask(address.unwrap_or(config.listen[0]))?),
            None => None,
        };
        let mut inherited = inheritance
            .as_mut()
            .map(|found| std::mem::take(&mut found.sockets))
            .unwrap_or_default();
        let listeners = Listeners::open(&config.listen, shards, &mut inherited)?;
        let admin = config
            .admin
            .map(|address| listeners::open_admin(address, &mut inherited))
            .transpose()?;
        if !inherited.is_empty() {
            tracing::warn!("{} sockets of the server before are not listened on", inherited.len());
        }
        drop(inherited);
        let mesh = Arc::new(Mesh::new(shards)?);
        let counters: Arc<[ShardCounters]> =
            (0..shards).map(|_| ShardCounters::default()).collect();
        let (reporter, reports) = mpsc::unbounded_channel();
        let allowed = connections_allowed(descriptors);
        let hasher = RandomState::new();
        let passwords = passwords(&access, &mesh)?;
        for number in 0..shards {
            let plan = ShardPlan {
                number,
                cpu: cpus[number % cpus.len()],
                listeners: listeners.of_shard(number),
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
            spawn_shard(plan, reporter.clone())?;
        }
        let (drain, summary) = (config.drain, config.log.summary);
        Ok(Self {
            control,
            signals,
            mesh,
            counters,
            reports,
            listeners,
            admin,
            inheritance,
            drain,
            summary,
        })
    }

    fn serve(self, log: &LogControl) -> ExitCode {
        let Self { control, signals, mesh, counters, reports, listeners, admin, .. } = self;
        let outcome = control.block_on(async {
            let (orders, received) = mpsc::channel(ORDERS_MAX);
            let (handed_over, is_handed_over) = tokio::sync::watch::channel(false);
            let summary = Summary::new(self.summary, Arc::clone(&counters), log.clone());
            let mut watch = Watch::new(signals, reports, received, handed_over, summary, mesh);
            watch.await_start().await?;
            let mut door = Door::new(listeners, admin.as_ref())?;
            if let Some(listener) = admin {
                log.say(format_args!("admin on http://{}", listener.local_addr()?));
                let mesh = Arc::clone(&watch.mesh);
                let operator = Operator { mesh, counters, log: log.clone(), orders };
                observe::start(listener, operator, is_handed_over)?;
            }
            if let Some(inheritance) = self.inheritance {
                take(inheritance, log);
            }
            door.open();
            log.say(format_args!("{} shards", watch.mesh.shards()));
            for address in door.addresses() {
                tracing::info!(%address, "listening");
                log.say(format_args!("listening on ws://{address}"));
            }
            watch.until_drained(door, self.drain).await
        });
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log.complain(format_args!("ringwire: {error}"));
                ExitCode::FAILURE
            }
        }
    }
}

/// Tells the server before this one that it may let go.
fn take(inheritance: Inheritance, log: &LogControl) {
    let (own, other) = (std::process::id(), inheritance.process);
    log.say(format_args!("process {own} has taken over from process {other}"));
    if let Err(error) = inheritance.take() {
        tracing::warn!("process {other}, which was taken over, says: {error}");
    }
}

fn spawn_shard(plan: ShardPlan, reporter: mpsc::UnboundedSender<Report>) -> io::Result<()> {
    let number = plan.number;
    thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
        let started = || drop(reporter.send(Report::Started));
        let ended = shard::run(plan, started);
        // Nobody listens any more only when the process is ending.
        let _ = reporter.send(Report::Ended(number, ended));
    })?;
    Ok(())
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
        tracing::warn!(shard, "the shard takes no answers: a password was checked in vain");
    })?;
    Ok(Some(Arc::new(checker)))
}
