//! The admin listener: health and metrics, on the control thread.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

use super::{ShardCounters, exposition, process_exposition};

/// Serves `/healthz` and `/metrics` until the runtime ends.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(listener: TcpListener, shards: Arc<[ShardCounters]>) -> io::Result<()> {
    let metrics = move || {
        let shards = Arc::clone(&shards);
        async move {
            let text = exposition(&shards) + &process_exposition();
            ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
        }
    };
    let router =
        Router::new().route("/healthz", get(async || "ok\n")).route("/metrics", get(metrics));
    axum::serve(listener, router).await
}
