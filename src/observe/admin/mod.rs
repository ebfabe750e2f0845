//! The admin listener: HTTP for operators and their tools, on a thread of its own.

mod feed;
mod shards;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, watch};

pub use shards::{AskError, RoomList, rooms};

use super::{LogControl, MEDIA_TYPE, ShardCounters, exposition};
use crate::mesh::Mesh;

/// What an operator may ask of the process as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// As SIGTERM.
    Drain,
}

/// What the admin listener sees and moves.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The way to the shards.
    pub mesh: Arc<Mesh>,
    /// Their counters.
    pub counters: Arc<[ShardCounters]>,
    /// The log.
    pub log: LogControl,
    /// The way to the control thread.
    pub orders: mpsc::Sender<Order>,
}

/// The thread of the admin listener before it is started.
#[derive(Debug)]
pub struct Admin {
    runtime: Runtime,
}

impl Admin {
    /// Makes what the thread needs. To be called before the shards begin: they answer through a
    /// descriptor of this runtime, which must be in the tables that they take along.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn prepare() -> io::Result<Self> {
        Ok(Self { runtime: runtime::Builder::new_current_thread().enable_all().build()? })
    }

    /// Serves `listener` on a thread of its own until `handed_over` becomes true: then it accepts
    /// no more, and leaves the listener to the process that took it over.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(
        self,
        listener: TcpListener,
        operator: Operator,
        mut handed_over: watch::Receiver<bool>,
    ) -> io::Result<()> {
        thread::Builder::new().name("admin".to_owned()).spawn(move || {
            let served = self.runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, router(operator))
                    .with_graceful_shutdown(async move {
                        // A sender that is gone means that the process ends.
                        let _ = handed_over.wait_for(|is_over| *is_over).await;
                    })
                    .await
            });
            if let Err(error) = served {
                tracing::error!("the admin listener ended: {error}");
            }
        })?;
        Ok(())
    }
}

fn router(operator: Operator) -> Router {
    let feed = feed::routes(&operator);
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .with_state(operator)
        .merge(feed)
}

async fn metrics(State(operator): State<Operator>) -> impl IntoResponse {
    ([(CONTENT_TYPE, MEDIA_TYPE)], exposition(&operator.counters, &operator.mesh))
}
