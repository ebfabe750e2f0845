//! The admin listener: HTTP for operators and their tools, on a thread of its own.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::{mpsc, watch};

use super::{LogControl, ShardCounters, exposition, process_exposition};
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

/// Serves `listener` on a thread of its own until `handed_over` becomes true: then it accepts no
/// more, and leaves the listener to the process that took it over.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn start(
    listener: TcpListener,
    operator: Operator,
    mut handed_over: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        let served = runtime.block_on(async {
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

fn router(operator: Operator) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .with_state(operator)
}

async fn metrics(State(operator): State<Operator>) -> impl IntoResponse {
    let mut text = exposition(&operator.counters) + &process_exposition();
    text += &operator.log.exposition();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
