//! The process: shards on their threads, signals on this one, and the way from one process to the
//! next.

mod handover;
mod listeners;
mod successor;
mod watch;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::access_files::load_admin_token;
use crate::app::Endpoint;
use crate::check::EXIT_CANNOT_RUN;
use crate::cluster::{Cluster, ClusterThread};
use crate::config::{Config, DefaultApp, Source};
use crate::hub::Epoch;
use crate::hub::span::NodeId;
use crate::limits::{
    CONNECTIONS_OF_SHARD_MAX, DESCRIPTOR_RESERVE, ORDERS_MAX, PASSWORD_ANSWER_ATTEMPTS,
    PASSWORD_ANSWER_PAUSE,
};
use crate::mesh::{Envelope, Mesh};
use crate::observe::{Admin, LogControl, Operator, ShardCounters, Summary};
use crate::overload::watch_marks;
use crate::password_checker::PasswordChecker;
use crate::reload::Reload;
use crate::ring::probe::probe;
use crate::ring::{allowed_cpus, raise_descriptor_limit};
use crate::security::AuthMode;
use crate::shard::{self, Passwords, ShardPlan};
use crate::systemd::Notifier;
use handover::Inheritance;
use listeners::{ListenAddress, Listeners};
use successor::Door;
use watch::{Inputs, Signals, Watch};

/// Runs the server until it is told to end. Prints one line per listener when all shards accept.
#[must_use]
pub fn run(config: &Config, source: Source, log: &LogControl) -> ExitCode {
    let features = match probe() {
        Ok(features) => features,
        Err(error) => {
            log.complain(format_args!("ringwire: {error}"));
            return ExitCode::from(EXIT_CANNOT_RUN);
        }
    };
    match Server::start(config, source) {
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
    admin: Option<(TcpListener, Admin)>,
    /// The server before this one, until this one is ready.
    inheritance: Option<Inheritance>,
    summary: Option<Duration>,
    reload: Reload,
    hangups: Signal,
    cluster: Option<ClusterThread>,
}

impl Server {
    /// Everything that can fail for a reason the user can mend, before the first thread starts.
    fn start(config: &Config, source: Source) -> io::Result<Self> {
        let descriptors = raise_descriptor_limit();
        // It may take a while, and a signal ends it as long as none is caught.
        let mut inheritance = match config.take_over {
            Some(address) => {
                let own = config.addresses().next().expect("there is one at least");
                Some(Inheritance::ask(address.unwrap_or(own))?)
            }
            None => None,
        };
        // The runtime comes first: its signal pipe must be in the tables the shards copy.
        let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (signals, hangups) = {
            let _entered = control.enter();
            (Signals::listen()?, signal(SignalKind::hangup())?)
        };
        let reload = Reload::new(config, source).map_err(io::Error::other)?;
        let cpus = allowed_cpus()?;
        let shards = config.shards.map_or(cpus.len(), NonZeroUsize::get);
        let (mut none, mut no_admin) = (Vec::new(), None);
        let (inherited, inherited_admin) = match &mut inheritance {
            Some(found) => (&mut found.listeners, &mut found.admin),
            None => (&mut none, &mut no_admin),
        };
        let listeners = Listeners::open(&ListenAddress::all(config), shards, inherited)?;
        let admin = match config.admin {
            Some(address) => {
                let listener = listeners::open_admin(address, inherited_admin)?;
                Some((listener, prepare_admin(config)?))
            }
            None => None,
        };
        let mesh = Arc::new(Mesh::new(shards)?);
        let counters: Arc<[ShardCounters]> =
            (0..shards).map(|_| ShardCounters::default()).collect();
        let (reporter, reports) = mpsc::unbounded_channel();
        let allowed = connections_allowed(descriptors);
        let passwords = passwords(config.access.auth, &mesh)?;
        let cluster = cluster(config)?;
        let settings = reload.settings();
        for number in 0..shards {
            let plan = ShardPlan {
                number,
                cpu: cpus[number % cpus.len()],
                listeners: listeners.of_shard(number),
                root: endpoint(config.app),
                connections_possible: allowed,
                cluster: cluster.as_ref().map(Cluster::road),
                passwords: passwords.clone(),
                epoch: Epoch(mesh.hasher().hash_one(number)),
                settings: Arc::clone(&settings),
                mesh: Arc::clone(&mesh),
                counters: Arc::clone(&counters),
                networks: Arc::clone(reload.networks()),
            };
            spawn_shard(plan, reporter.clone())?;
        }
        let cluster = cluster
            .map(|cluster| cluster.start(Arc::clone(&mesh), settings.history))
            .transpose()?;
        Ok(Self {
            control,
            signals,
            mesh,
            counters,
            reports,
            listeners,
            admin,
            inheritance,
            summary: config.log.summary,
            reload,
            hangups,
            cluster,
        })
    }

    fn serve(self, log: &LogControl) -> ExitCode {
        let Self { control, signals, mesh, counters, reports, listeners, admin, reload, .. } = self;
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let (admin_is_over, is_over) = tokio::sync::watch::channel(false);
        let config = reload.config();
        let manager = Notifier::from_environment();
        let inputs = Inputs { signals, reports, orders: received, config: config.clone() };
        let entered = control.enter();
        let summary = Summary::new(self.summary, Arc::clone(&counters), log.clone());
        let mut watch = Watch::new(inputs, admin_is_over, summary, mesh, manager);
        let outcome = control.block_on(watch.await_start()).and_then(|()| {
            let mut door = Door::new(listeners, admin.as_ref().map(|(listener, _)| listener))?;
            match self.inheritance {
                Some(inheritance) => take(inheritance, &mut door, log)?,
                None => open(&mut door),
            }
            door.listen()?;
            watch.mesh.open();
            tokio::spawn(watch_marks(Arc::clone(&watch.mesh), Arc::clone(&counters), config));
            let (mesh, manager) = (Arc::clone(&watch.mesh), watch.manager.clone());
            tokio::spawn(reload.run(self.hangups, mesh, log.clone(), manager));
            if let Some((listener, admin)) = admin {
                log.say(format_args!("admin on http://{}", listener.local_addr()?));
                let mesh = Arc::clone(&watch.mesh);
                let cluster = self.cluster.as_ref().map(|thread| Arc::clone(thread.figures()));
                let operator = Operator { mesh, counters, cluster, log: log.clone(), orders };
                admin.start(listener, operator, is_over)?;
            } else {
                drop(is_over);
            }
            log.say(format_args!("{} shards", watch.mesh.shards()));
            for ListenAddress { address, is_tls } in door.addresses() {
                let scheme = if *is_tls { "wss" } else { "ws" };
                tracing::info!(%address, scheme, "listening");
                log.say(format_args!("listening on {scheme}://{address}"));
            }
            watch.manager.ready(&format!("serving on {} shards", watch.mesh.shards()));
            let drained = control.block_on(watch.until_drained(door));
            if let Some(cluster) = self.cluster {
                control.block_on(cluster.end());
            }
            drained
        });
        drop(entered);
        // A successor that keeps silent keeps nobody waiting.
        control.shutdown_background();
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log.complain(format_args!("ringwire: {error}"));
                ExitCode::FAILURE
            }
        }
    }
}

/// Lets the next server in. Where that fails this one can do everything but be taken over.
fn open(door: &mut Door) {
    if let Err(error) = door.open() {
        tracing::warn!("this server cannot be taken over: {error}");
    }
}

/// Takes over from the server before this one, which accepts no more then.
fn take(mut inheritance: Inheritance, door: &mut Door, log: &LogControl) -> io::Result<()> {
    if let Err(error) = inheritance.take() {
        // Its door is free if it has ended; otherwise it has given up waiting.
        door.open().map_err(|_| {
            let message = format!("the server that was to be taken over goes on: {error}");
            io::Error::new(error.kind(), message)
        })?;
    } else {
        open(door);
    }
    inheritance.end_rest();
    let own = std::process::id();
    match inheritance.process {
        Some(other) => {
            log.say(format_args!("process {own} has taken over from process {other}"));
        }
        None => log.say(format_args!("process {own} has taken over from another PID namespace")),
    }
    Ok(())
}

/// What serves the admin listener, before the shards begin.
fn prepare_admin(config: &Config) -> io::Result<Admin> {
    let file = config.admin_token_file.as_deref();
    let token = file.map(load_admin_token).transpose().map_err(io::Error::other)?;
    Admin::prepare(token)
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
    usize::try_from(allowed).unwrap_or(usize::MAX).min(CONNECTIONS_OF_SHARD_MAX)
}

const fn endpoint(app: DefaultApp) -> Endpoint {
    match app {
        DefaultApp::Chat => Endpoint::Chat,
        DefaultApp::Echo => Endpoint::Echo,
        DefaultApp::Broadcast => Endpoint::Broadcast,
    }
}

/// What this node shares with others, if there are any to be.
fn cluster(config: &Config) -> io::Result<Option<Cluster>> {
    if config.cluster.servers.is_empty() {
        return Ok(None);
    }
    let node = NodeId(RandomState::new().hash_one(std::process::id()));
    let name = config
        .cluster
        .node
        .clone()
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    tracing::info!(node = %name, id = %node, "this is a node among others");
    Cluster::prepare(&config.cluster, node).map(Some).map_err(io::Error::other)
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
        tracing::warn!(shard, "the shard takes no answers: a password was checked in vain");
    })?;
    Ok(Some(Arc::new(checker)))
}
