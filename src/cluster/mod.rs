//! Many nodes: rooms that span them, over Redis.
//!
//! One thread with a runtime of its own speaks with all servers. What a home wants comes as
//! [`Order`]s, and goes to the server that has the room's slot; what
//! servers say goes to the homes as [`News`](crate::hub::span::News).
//!
//! ```text
//!   homes ── orders ──▶ Router ──▶ Link to a server: scripts, subscriptions, a probe of its own
//!   homes ◀── news ── Post ◀──────┘
//! ```
//!
//! A link has one connection for commands and messages (RESP3): both have one order and one fate.
//! It counts as broken when a question that the node sends itself through the server does not come
//! back, both as a reply and as a message: a healthy TCP connection may carry a dead subscription.

mod figures;
mod link;
mod post;
mod replies;
mod scripts;
mod servers;
mod topology;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::{Duration, timeout};

pub use figures::ClusterFigures;
pub use servers::Servers;

use crate::config::ClusterConfig;
use crate::hub::span::{NodeId, Order, RoomModes};
use crate::hub::{HistoryLimits, SpanPlan};
use crate::limits::CLUSTER_FAREWELL_TIME;
use crate::mesh::{ClusterRoad, Mesh};
use post::Post;
use topology::Topology;

/// What nodes share, before its thread is started. It must be made before the shards take their own
/// tables of descriptors: they wake its runtime through one.
pub struct Cluster {
    runtime: Runtime,
    servers: Servers,
    node: NodeId,
    orders: mpsc::UnboundedReceiver<Vec<Order>>,
    road: ClusterRoad,
}

/// The thread that speaks with the servers.
#[derive(Debug)]
pub struct ClusterThread {
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    figures: Arc<ClusterFigures>,
}

impl Cluster {
    /// Reads what `config` names. Connects to nobody yet.
    ///
    /// # Errors
    /// A URL, a password file or a certificate cannot be used; says why.
    pub fn prepare(config: &ClusterConfig, node: NodeId) -> Result<Self, String> {
        let servers = Servers::of(config)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime for Redis: {error}"))?;
        let (sender, orders) = mpsc::unbounded_channel();
        let modes: Arc<RoomModes> = Arc::new(config.modes.clone());
        let road = ClusterRoad::new(SpanPlan { node, modes }, sender);
        Ok(Self { runtime, servers, node, orders, road })
    }

    /// The way there, for each shard.
    #[must_use]
    pub fn road(&self) -> ClusterRoad {
        self.road.clone()
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(self, mesh: Arc<Mesh>, history: HistoryLimits) -> io::Result<ClusterThread> {
        let Self { runtime, servers, node, orders, .. } = self;
        let figures = Arc::new(ClusterFigures::new(node));
        let (end, ended) = oneshot::channel();
        let told = Arc::clone(&figures);
        let thread = thread::Builder::new().name("cluster".to_owned()).spawn(move || {
            let local = LocalSet::new();
            let post = Post::new(mesh);
            let topology = Topology::new(Rc::new(servers), node, history, post, told);
            local.block_on(&runtime, topology.run(orders, ended));
            // Names that are still being resolved keep nobody waiting.
            drop(local);
            runtime.shutdown_background();
        })?;
        Ok(ClusterThread { end, thread, figures })
    }
}

impl ClusterThread {
    /// What there is to tell of it.
    #[must_use]
    pub const fn figures(&self) -> &Arc<ClusterFigures> {
        &self.figures
    }

    /// Takes leave of the other nodes, as far as the servers answer.
    pub async fn end(self) {
        let Self { end, thread, .. } = self;
        let _ = end.send(());
        let waited = timeout(2 * CLUSTER_FAREWELL_TIME, async {
            while !thread.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        if waited.await.is_err() {
            tracing::warn!("the cluster thread did not end in time");
        }
    }
}
