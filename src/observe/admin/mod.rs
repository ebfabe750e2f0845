//! The admin listener: HTTP for operators and their tools, on a thread of its own.

mod connections;
mod control;
mod error;
mod feed;
mod guard;
mod health;
mod places;
mod rooms;
mod serve;
mod shards;
mod token;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use tokio::runtime::{self, Runtime};
use tokio::sync::{mpsc, watch};

pub use shards::{AskError, RoomList, list_rooms, rooms};
pub use token::AdminToken;

use self::error::ApiError;
use self::feed::Feed;
use self::guard::Guard;
use super::{LogControl, MEDIA_TYPE, ShardCounters, exposition};
use crate::cluster::ClusterFigures;
use crate::limits::ADMIN_BODY_BYTES_MAX;
use crate::mesh::Mesh;
use crate::web;

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
    /// What there is to tell of the servers that nodes share, if they do.
    pub cluster: Option<Arc<ClusterFigures>>,
    /// The log.
    pub log: LogControl,
    /// The way to the control thread.
    pub orders: mpsc::Sender<Order>,
}

/// The thread of the admin listener before it is started.
#[derive(Debug)]
pub struct Admin {
    runtime: Runtime,
    token: Option<AdminToken>,
}

impl Admin {
    /// Makes what the thread needs; with a token, who has it not may ask for little. To be called
    /// before the shards begin: they answer through a descriptor of this runtime, which must be in
    /// the tables that they take along.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn prepare(token: Option<AdminToken>) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, token })
    }

    /// Serves `listener` on a thread of its own until `is_over` becomes true: then it accepts no
    /// more, takes leave of everybody, and drops the receiver when that is done. The listener is
    /// left to the process that took it over, if one did.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(
        self,
        listener: TcpListener,
        operator: Operator,
        is_over: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let Self { runtime, token } = self;
        let address = listener.local_addr()?;
        if token.is_none() && !address.ip().is_loopback() {
            tracing::warn!(
                "whoever reaches http://{address} can steer this server: give it \
                 --admin-token-file, or keep --admin on a loopback address"
            );
        }
        thread::Builder::new().name("admin".to_owned()).spawn(move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let router = router(operator, token, is_over.clone());
                serve::serve(listener, router, is_over).await;
                io::Result::Ok(())
            });
            if let Err(error) = served {
                tracing::error!("the admin listener ended: {error}");
            }
        })?;
        Ok(())
    }
}

/// To be called inside the runtime.
fn router(operator: Operator, token: Option<AdminToken>, is_over: watch::Receiver<bool>) -> Router {
    let feed = Feed::start(&operator, is_over);
    let routes = routes().into_iter();
    let router = routes.fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    router
        .with_state(operator)
        .layer(Extension(feed))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .fallback(page)
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::new(Guard { token }), guard::guard))
}

/// What `openapi.json` describes.
fn routes() -> Vec<(&'static str, MethodRouter<Operator>)> {
    vec![
        ("/", get(page)),
        ("/healthz", get(health::healthz)),
        ("/readyz", get(health::readyz)),
        ("/metrics", get(metrics)),
        ("/openapi.json", get(openapi)),
        ("/api/rooms", get(rooms::list)),
        ("/api/rooms/{id}", get(rooms::one)),
        ("/api/publish", post(rooms::publish)),
        ("/api/connections/{id}", get(connections::one)),
        ("/api/disconnect", post(connections::disconnect)),
        ("/api/overview", get(feed::overview)),
        ("/api/feed", get(feed::watch)),
        ("/api/drain", post(control::drain)),
        ("/api/log-level", get(control::log_level).put(control::set_log_level)),
        #[cfg(debug_assertions)]
        ("/api/debug/panic", post(control::panic)),
        #[cfg(debug_assertions)]
        ("/api/debug/hang", post(control::hang)),
    ]
}

/// The dashboard and its parts.
async fn page(method: Method, uri: Uri) -> Result<impl IntoResponse, ApiError> {
    let is_read = [Method::GET, Method::HEAD].contains(&method);
    let asset = web::dashboard_asset(uri.path()).filter(|_| is_read).ok_or_else(|| {
        ApiError::not_found("there is nothing here: GET /openapi.json tells what there is")
    })?;
    // Bytes have a type of their own, which this one replaces.
    let content_type = [(CONTENT_TYPE, asset.content_type)];
    Ok((AppendHeaders(web::headers()), content_type, asset.body.as_bytes()))
}

async fn metrics(State(operator): State<Operator>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, MEDIA_TYPE)],
        exposition(&operator.counters, &operator.mesh, operator.cluster.as_deref())
            + &operator.log.exposition(),
    )
}

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

const OPENAPI: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let description: Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let paths = description["paths"].as_object().expect("it has paths");
        let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
        let is_public = |path: &&str| !path.starts_with("/api/debug/");
        let served: BTreeSet<&str> =
            routes().iter().map(|(path, _)| *path).filter(is_public).collect();
        assert_eq!(described, served);
    }

    #[test]
    fn every_operation_tells_of_the_errors_that_all_have() {
        let description: Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let paths = description["paths"].as_object().expect("it has paths");
        for operation in paths.values().flat_map(|path| path.as_object().expect("operations")) {
            let common = &operation.1["responses"]["default"]["$ref"];
            assert_eq!(common, "#/components/responses/Refused", "{operation:?}");
        }
    }

    #[test]
    fn what_the_description_refers_to_is_there() {
        let description: Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let mut left = vec![&description];
        while let Some(value) = left.pop() {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(target)) = object.get("$ref") {
                        let pointer = target.strip_prefix('#').expect("it is in this file");
                        assert!(description.pointer(pointer).is_some(), "{target}");
                    }
                    left.extend(object.values());
                }
                Value::Array(values) => left.extend(values),
                _ => {}
            }
        }
    }
}
