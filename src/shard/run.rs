//! The thread of a shard: its processor, its descriptors, its host, and the loop of turns.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use super::{Passwords, Shard};
use crate::app::Endpoint;
use crate::handshake::{Desk, DeskPlan, accept_connections};
use crate::hub::Epoch;
use crate::limits::{HOST_RING_ENTRIES, RING_ENTRIES};
use crate::mesh::{ClusterRoad, Mesh};
use crate::observe::ShardCounters;
use crate::ring::{
    Doorbell, HostSizes, Ring, RingSizes, own_descriptor_table, pin_to_cpu, run_hosted,
};
use crate::security::Networks;
use crate::settings::ShardSettings;

/// A listening socket.
#[derive(Clone, Debug)]
pub struct ShardListener {
    /// It stays open for as long as the process lives.
    pub socket: Arc<OwnedFd>,
    /// Whether those who come there speak TLS.
    pub is_tls: bool,
}

/// Everything a shard is told before it starts.
#[derive(Debug)]
pub struct ShardPlan {
    /// Counted from 0.
    pub number: usize,
    /// The processor it stays on.
    pub cpu: usize,
    /// Its listening sockets.
    pub listeners: Vec<ShardListener>,
    /// What an upgrade on `/` gets.
    pub root: Endpoint,
    /// Connections that it could take; the settings may say fewer.
    pub connections_possible: usize,
    /// The way to the servers that nodes share.
    pub cluster: Option<ClusterRoad>,
    /// Where passwords are checked.
    pub passwords: Option<Arc<Passwords>>,
    /// Where the epochs of the rooms whose home it is begin to count.
    pub epoch: Epoch,
    /// What it goes by until it is told other.
    pub settings: Arc<ShardSettings>,
    /// The way to the other shards.
    pub mesh: Arc<Mesh>,
    /// The counters of all shards; it writes its own.
    pub counters: Arc<[ShardCounters]>,
    /// How much each network has.
    pub networks: Arc<Networks>,
}

/// Runs a shard on the calling thread until it was drained. Calls `started` when it is ready to
/// accept, which it does when the mesh is open.
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
        connections_max: plan
            .settings
            .connections_of(plan.number, mesh.shards())
            .min(plan.connections_possible),
        counters: Arc::clone(&plan.counters),
        mesh: Arc::clone(&plan.mesh),
        access: Arc::clone(&plan.settings.access),
        tls: plan.settings.tls.clone(),
        deflate: plan.settings.deflate_policy(),
        networks: Arc::clone(&plan.networks),
    }));
    for ShardListener { socket, is_tls } in &plan.listeners {
        desk.begin_listening();
        tokio_uring::spawn(accept_connections(Arc::clone(socket), *is_tls, Rc::clone(&desk)));
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
