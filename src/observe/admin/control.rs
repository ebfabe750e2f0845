//! The process as a whole: its end, and its log.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc::error::TrySendError;

use super::error::{ApiError, Body};
use super::{Operator, Order};

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogLevel {
    filter: String,
}

/// Begins the drain, or says that it has begun.
pub(super) async fn drain(State(operator): State<Operator>) -> Result<impl IntoResponse, ApiError> {
    match operator.orders.try_send(Order::Drain) {
        // Who waits no more for orders has heard that one.
        Ok(()) | Err(TrySendError::Closed(_)) => {}
        Err(TrySendError::Full(_)) => {
            return Err(ApiError::unavailable("busy", "too many orders wait: try again"));
        }
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "state": "draining" }))))
}

pub(super) async fn log_level(State(operator): State<Operator>) -> Json<LogLevel> {
    Json(LogLevel { filter: operator.log.filter() })
}

pub(super) async fn set_log_level(
    State(operator): State<Operator>,
    Body(LogLevel { filter }): Body<LogLevel>,
) -> Result<Json<LogLevel>, ApiError> {
    operator.log.set_filter(&filter).map_err(ApiError::bad_request)?;
    Ok(Json(LogLevel { filter: operator.log.filter() }))
}

#[cfg(debug_assertions)]
pub(super) use debug::{hang, panic};

/// What only tests want of a server.
#[cfg(debug_assertions)]
mod debug {
    use std::time::Duration;

    use super::*;
    use crate::mesh::{Ask, Envelope};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(in super::super) struct Panic {
        shard: usize,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(in super::super) struct Hang {
        shard: usize,
        milliseconds: u64,
    }

    pub(in super::super) async fn panic(
        State(operator): State<Operator>,
        Body(Panic { shard }): Body<Panic>,
    ) -> Result<StatusCode, ApiError> {
        tell(&operator, shard, Ask::Panic)
    }

    pub(in super::super) async fn hang(
        State(operator): State<Operator>,
        Body(Hang { shard, milliseconds }): Body<Hang>,
    ) -> Result<StatusCode, ApiError> {
        tell(&operator, shard, Ask::Hang(Duration::from_millis(milliseconds)))
    }

    fn tell(operator: &Operator, shard: usize, ask: Ask) -> Result<StatusCode, ApiError> {
        if shard >= operator.mesh.shards() {
            return Err(ApiError::not_found("there is no such shard"));
        }
        let sent = operator.mesh.send(shard, Envelope::Ask(ask));
        sent.map_err(|_| ApiError::unavailable("busy", "the inbox of the shard is full"))?;
        Ok(StatusCode::ACCEPTED)
    }
}
