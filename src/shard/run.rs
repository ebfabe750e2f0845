//! The thread of a shard: its processor, its descriptors, its host, and the loop of turns.

use std::collections::hash_map::RandomState;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use super::{Passwords, Shard};
use crate::app::Endpoint;
use crate::app::chat::Rates;
use crate::connection::Workshop;
use crate::handshake::{Desk, DeskPlan, accept_connections};
use crate::hub::{Epoch, HistoryLimits};
use crate::limits::{HOST_RING_ENTRIES, RING_ENTRIES};
use crate::mesh::Mesh;
use crate::observe::ShardCounters;
use crate::ring::{
    Doorbell, HostSizes, Ring, RingSizes, own_descriptor_table, pin_to_cpu, run_hosted,
};
use crate::security::Access;

/// Everything a shard is told before it starts.
#[derive(Debug)]
pub struct ShardPlan {
    /// Counted from 0.
    pub number: usize,
    /// The processor it stays on.
    pub cpu: usize,
    /// Its listening sockets. They stay open for as long as the process lives.
    pub listeners: Vec<Arc<OwnedFd>>,
    /// What an upgrade on `/` gets.
    pub root: Endpoint,
    /// Connections it takes.
    pub connections_max: usize,
    /// What finds the home of a room; the same for all shards.
    pub hasher: RandomState,
    /// What a connection of the chat may say.
    pub rates: Rates,
    /// Where passwords are checked.
    pub passwords: Option<Arc<Passwords>>,
    /// What the rooms whose home it is remember.
    pub history: HistoryLimits,
    /// Where their epochs begin to count.
    pub epoch: Epoch,
    /// Limits and heartbeat of its connections.
    pub workshop: Workshop,
    /// The way to the other shards.
    pub mesh: Arc<Mesh>,
    /// The counters of all shards; it writes its own.
    pub counters: Arc<[ShardCounters]>,
    /// Who may come.
    pub access: Arc<Access>,
}

/// Runs a shard on the calling thread until it was drained. Calls `started` when it accepts.
///
/// # Errors
/// When it cannot start: a ring cannot be made. Or when the kernel refuses to go on with the ring.
pub fn run(plan: ShardPlan, started: impl FnOnce()) -> io::Result<()> {
    pin_to_cpu(plan.cpu)?;
    own_descriptor_table()?;
    let (submissions, completions) = HOST_RING_ENTRIES;
    run_hosted(HostSizes { submissions, completions }, live(plan, started))?
}

async fn live(plan: ShardPlan, started: impl FnOnce()) -> io::Result<()> {
    let (submissions, completions) = RING_ENTRIES;
    let ring = Ring::new(RingSizes { submissions, completions })?;
    let mesh = Arc::clone(&plan.mesh);
    let wake = mesh.wake(plan.number);
    ring.ring_on_completion(wake)?;
    let doorbell = Doorbell::new(wake)?;
    let desk = Rc::new(Desk::new(DeskPlan {
        shard: plan.number,
        root: plan.root,
        connections_max: plan.connections_max,
        counters: Arc::clone(&plan.counters),
        mesh: Arc::clone(&plan.mesh),
        access: Arc::clone(&plan.access),
    }));
    for listener in &plan.listeners {
        desk.begin_listening();
        tokio_uring::spawn(accept_connections(Arc::clone(listener), Rc::clone(&desk)));
    }
    tokio_uring::spawn(Rc::clone(&desk).sweep());
    let (number, cpu) = (plan.number, plan.cpu);
    let mut shard = Shard::new(plan, ring, desk);
    tracing::info!(shard = number, cpu, "shard started");
    started();
    loop {
        if shard.turn()? {
            wake.ring();
        }
        if shard.is_finished() {
            tracing::info!(shard = number, "shard ended");
            return Ok(());
        }
        doorbell.rung().await?;
    }
}
