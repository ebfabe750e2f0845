//! What the control thread waits for: signals, orders, the ends of shards, a successor.

use std::io;
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::Report;
use super::successor::{Door, HandedOver, Program};
use crate::config::Config;
use crate::limits::{FAREWELL_TIME, HANDOVER_TIME};
use crate::mesh::{DrainPlan, Mesh};
use crate::observe::{Order, Summary};
use crate::systemd::Notifier;

/// The signals of an operator.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    restart: Signal,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// As `sigaction(2)`.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            restart: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.restart.recv() => Asked::Restart,
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    End,
    Restart,
}

/// What the control thread listens to.
pub(super) struct Inputs {
    pub(super) signals: Signals,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
    pub(super) orders: mpsc::Receiver<Order>,
    /// As it is in force.
    pub(super) config: watch::Receiver<Config>,
}

/// The control thread of a server.
pub(super) struct Watch {
    inputs: Inputs,
    /// The admin listener is another process's, or nobody's.
    admin_is_over: watch::Sender<bool>,
    summary: Summary,
    pub(super) mesh: Arc<Mesh>,
    pub(super) manager: Notifier,
    running: usize,
    /// A signal has asked for the end; a second one ends at once.
    is_told: bool,
    /// When the process ends, whoever is still here.
    deadline: Option<Instant>,
    /// A handover that goes on.
    handover: Option<JoinHandle<HandedOver>>,
    /// The end of a successor that was started here, if it comes before the handover.
    successor: Option<JoinHandle<io::Result<ExitStatus>>>,
}

impl Watch {
    pub(super) const fn new(
        inputs: Inputs,
        admin_is_over: watch::Sender<bool>,
        summary: Summary,
        mesh: Arc<Mesh>,
        manager: Notifier,
    ) -> Self {
        Self {
            inputs,
            admin_is_over,
            summary,
            mesh,
            manager,
            running: 0,
            is_told: false,
            deadline: None,
            handover: None,
            successor: None,
        }
    }

    /// Waits until every shard is ready to accept.
    pub(super) async fn await_start(&mut self) -> io::Result<()> {
        while self.running < self.mesh.shards() {
            match self.inputs.reports.recv().await {
                Some(Report::Started) => self.running += 1,
                Some(Report::Ended(number, ended)) => return Err(broken(number, ended)),
                None => unreachable!("a thread reports its end"),
            }
        }
        Ok(())
    }

    /// Serves until the first signal, or until a successor has taken over; then lets everybody go.
    /// The second signal ends at once, and so does the end of the time that is allowed.
    pub(super) async fn until_drained(&mut self, mut door: Door) -> io::Result<()> {
        let program = Program::of_this_process()?;
        while self.running > 0 {
            tokio::select! {
                report = self.inputs.reports.recv() => match report {
                    Some(Report::Ended(_, Ok(()))) if self.deadline.is_some() => self.running -= 1,
                    Some(Report::Ended(number, ended)) => return Err(broken(number, ended)),
                    Some(Report::Started) | None => unreachable!("every shard has started"),
                },
                asked = self.inputs.signals.next() => match asked {
                    Asked::End if self.is_told => {
                        tracing::info!("second signal: ending now");
                        return Ok(());
                    }
                    Asked::End => {
                        self.is_told = true;
                        self.drain(&mut door, false);
                    }
                    Asked::Restart => self.start_successor(&program, &door),
                },
                Some(Order::Drain) = self.inputs.orders.recv() => {
                    self.drain(&mut door, false);
                }
                knock = door.knocked(), if self.handover.is_none() => self.let_in(&mut door, knock),
                handed = ended(&mut self.handover) => {
                    self.handover = None;
                    self.on_handover(handed, &mut door);
                }
                status = ended(&mut self.successor) => {
                    self.successor = None;
                    tracing::error!("the successor {}; this server goes on", told(status));
                }
                () = self.summary.due() => self.summary.tell(),
                () = sleep_until(self.deadline) => {
                    tracing::warn!(shards = self.running, "shards did not end in time");
                    return Ok(());
                }
            }
        }
        tracing::info!("drained");
        self.end_admin().await;
        Ok(())
    }

    /// Lets the admin listener take leave of those who watched to the end.
    async fn end_admin(&self) {
        let _ = self.admin_is_over.send(true);
        let _ = timeout(FAREWELL_TIME, self.admin_is_over.closed()).await;
    }

    /// Asks every shard to let everybody go, unless they were asked before.
    fn drain(&mut self, door: &mut Door, handed_over: bool) {
        if self.deadline.is_some() {
            return;
        }
        // A successor that is about to take over has the sockets: they are its own to shut down.
        let handed_over = handed_over || self.handover.is_some();
        let grace = self.inputs.config.borrow().drain;
        tracing::info!(at_most = ?grace, "draining");
        if !handed_over {
            self.manager.stopping(grace);
        }
        door.close();
        self.deadline = Some(Instant::now() + grace);
        self.mesh.begin_drain(DrainPlan { grace, handed_over });
    }

    /// Starts the successor; it will knock.
    fn start_successor(&mut self, program: &Program, door: &Door) {
        if self.deadline.is_some() || self.handover.is_some() || self.successor.is_some() {
            tracing::warn!("a successor is on its way already, or this server ends");
            return;
        }
        if !door.is_open() {
            tracing::error!("no restart: this server cannot be taken over");
            return;
        }
        match program.start_successor(door.address()) {
            Ok(child) => {
                tracing::info!("started process {} to take over", child.id().unwrap_or_default());
                self.successor = Some(tokio::spawn(await_end(child)));
            }
            Err(error) => tracing::error!("no restart: the successor cannot be started: {error}"),
        }
    }

    /// Hands over to who has knocked; who knocks meanwhile waits.
    fn let_in(&mut self, door: &mut Door, knock: io::Result<UnixStream>) {
        match knock {
            Ok(stream) => self.handover = Some(door.hand_over(stream)),
            Err(error) => {
                // It would fail again at once, and again.
                tracing::error!("this server cannot be taken over any more: {error}");
                door.close();
            }
        }
    }

    /// A successor accepts connections, or has failed to.
    fn on_handover(&mut self, handed: HandedOver, door: &mut Door) {
        match handed {
            Ok((stream, process)) => {
                match process {
                    Some(process) => tracing::info!("process {process} has taken over"),
                    None => tracing::info!("a process in another PID namespace has taken over"),
                }
                if let Some(process) = process {
                    self.manager.main_process(process);
                }
                if let Some(successor) = self.successor.take() {
                    // It is not this process that it ends with.
                    successor.abort();
                }
                self.drain(door, true);
                // Nobody listens where there is no admin listener.
                let _ = self.admin_is_over.send(true);
                // The door is closed: the end of the stream says so.
                drop(stream);
            }
            Err(error) => {
                tracing::error!("a successor did not take over, this server goes on: {error}");
            }
        }
    }
}

/// Waits for the end of a successor. One that has not taken over in time is ended.
async fn await_end(mut child: Child) -> io::Result<ExitStatus> {
    match timeout(HANDOVER_TIME, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            child.kill().await?;
            Err(io::Error::new(io::ErrorKind::TimedOut, "did not take over in time"))
        }
    }
}

/// Waits for a task; without one, for ever.
async fn ended<T>(task: &mut Option<JoinHandle<io::Result<T>>>) -> io::Result<T> {
    match task {
        Some(task) => task.await.map_err(io::Error::other)?,
        None => std::future::pending().await,
    }
}

fn told(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("has ended with {status}"),
        Err(error) => error.to_string(),
    }
}

/// Sleeps until `deadline`; without one, for ever.
async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn broken(number: usize, ended: io::Result<()>) -> io::Error {
    let cause = ended.err().unwrap_or_else(|| io::Error::other("ended by itself"));
    io::Error::new(cause.kind(), format!("shard {number}: {cause}"))
}
