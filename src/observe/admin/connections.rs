//! Connections: how one stands, and the end of some.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::Operator;
use super::error::{ApiError, Body};
use super::shards::{ask, ask_in_parts};
use crate::app::chat::{ConnectionId, is_username};
use crate::limits::{CLOSE_REASON_BYTES_MAX, USER_CHARACTERS_MAX};
use crate::mesh::{Ask, ConnectionFigures, Farewell, Whom};
use crate::protocol::CloseCode;

/// In the Close frame, when nobody says anything else.
const REASON: &str = "disconnected by an operator";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection {
    connection_id: String,
    shard: usize,
    peer: Option<String>,
    endpoint: &'static str,
    user_id: Option<Box<str>>,
    opened_at: u64,
    duration_seconds: f64,
    messages_received: u32,
    messages_sent: u32,
    queued_bytes: usize,
    rooms: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Disconnection {
    connection_id: Option<String>,
    user_id: Option<String>,
    code: Option<u16>,
    reason: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Disconnected {
    disconnected: u64,
}

pub(super) async fn one(
    State(operator): State<Operator>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Connection>, ApiError> {
    let Path(id) = id?;
    let ConnectionId { shard, key } = connection_id(&operator, &id)?;
    let figures = ask(&operator, shard, |answer| Ask::Connection(key, answer)).await?;
    let figures = figures.ok_or_else(|| ApiError::not_found("this connection has ended"))?;
    Ok(Json(Connection::of(id, shard, figures)))
}

pub(super) async fn disconnect(
    State(operator): State<Operator>,
    Body(body): Body<Disconnection>,
) -> Result<Json<Disconnected>, ApiError> {
    let Disconnection { connection_id: id, user_id, code, reason } = body;
    let code = code.map_or(CloseCode::POLICY, CloseCode);
    if !may_be_sent(code) {
        return Err(ApiError::bad_request(format!(
            "code must be 1000, 1001, 1008, 1011 to 1013 or 3000 to 4999, not {code}"
        )));
    }
    let reason = reason.map_or_else(|| REASON.into(), String::into_boxed_str);
    if reason.len() > CLOSE_REASON_BYTES_MAX {
        let message = format!("reason may have {CLOSE_REASON_BYTES_MAX} bytes of UTF-8");
        return Err(ApiError::bad_request(message));
    }
    let disconnected = match (id, user_id) {
        (Some(id), None) => {
            let ConnectionId { shard, key } = connection_id(&operator, &id)?;
            let farewell = Farewell { whom: Whom::Connection(key), code, reason };
            ask(&operator, shard, |answer| Ask::Disconnect(farewell, answer)).await?.count
        }
        (None, Some(user)) => disconnect_user(&operator, user, code, reason).await?,
        _ => return Err(ApiError::bad_request("give either connectionId or userId")),
    };
    Ok(Json(Disconnected { disconnected }))
}

async fn disconnect_user(
    operator: &Operator,
    user: String,
    code: CloseCode,
    reason: Box<str>,
) -> Result<u64, ApiError> {
    if !is_username(&user) {
        let message = format!("userId must have 1 to {USER_CHARACTERS_MAX} characters");
        return Err(ApiError::bad_request(message));
    }
    let user = user.into_boxed_str();
    let mut count = 0;
    let question = |from, answer| {
        let whom = Whom::User(user.clone(), from);
        Ask::Disconnect(Farewell { whom, code, reason: reason.clone() }, answer)
    };
    let asked = ask_in_parts(operator, question, |part| {
        count += part.count;
        part.next
    });
    match asked.await {
        Ok(()) => Ok(count),
        // A shard may have begun its part when the wait for it ended.
        Err(error) => Err(ApiError::unavailable(
            "shard_unavailable",
            format!("{error}. At least {count} connections were told to go: ask again"),
        )),
    }
}

/// Codes that an endpoint may send for reasons of its own (RFC 6455 section 7.4.1 and the registry
/// of IANA): not those that accuse the peer of a fault in its frames.
const fn may_be_sent(code: CloseCode) -> bool {
    matches!(code.0, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999)
}

fn connection_id(operator: &Operator, text: &str) -> Result<ConnectionId, ApiError> {
    let node = operator.cluster.as_ref().map(|figures| figures.node());
    let id = ConnectionId::parse_name(text, node);
    let id = id.filter(|id| id.shard < operator.mesh.shards());
    id.ok_or_else(|| {
        ApiError::bad_request("connectionId must be one that the server gave in a `welcome`")
    })
}

impl Connection {
    fn of(connection_id: String, shard: usize, figures: ConnectionFigures) -> Self {
        Self {
            connection_id,
            shard,
            peer: figures.peer.map(|peer| peer.to_string()),
            endpoint: figures.endpoint,
            user_id: figures.user,
            opened_at: figures.opened,
            duration_seconds: figures.age as f64 / 1000.0,
            messages_received: figures.messages_received,
            messages_sent: figures.messages_sent,
            queued_bytes: figures.queued_bytes,
            rooms: figures.rooms.iter().map(ToString::to_string).collect(),
        }
    }
}
