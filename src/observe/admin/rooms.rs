//! Rooms: which there are, and a word in one of them.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};

use super::Operator;
use super::error::{ApiError, Body};
use super::shards::{ask, list_rooms};
use crate::app::chat::{answer, is_room_name, is_text, is_username};
use crate::hub::{RoomFigures, RoomName};
use crate::limits::{
    CHAT_TEXT_CHARACTERS_MAX, ROOM_NAME_CHARACTERS_MAX, ROOMS_LISTED_MAX, USER_CHARACTERS_MAX,
};
use crate::mesh::Ask;

/// Rooms that are listed when nobody says how many.
const LISTED_BY_DEFAULT: usize = 100;

/// Who speaks when nobody says who does.
const SPEAKER: &str = "server";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    #[serde(default)]
    prefix: String,
}

#[derive(Serialize)]
pub(super) struct List {
    rooms: Vec<Room>,
    total: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Room {
    room_id: String,
    members: u64,
    history_messages: usize,
    offset: u64,
    epoch: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Publication {
    room_id: String,
    text: String,
    username: Option<String>,
}

/// What came of a publication. Without members there is nothing to tell of a position.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Published {
    room_id: String,
    members: u64,
    offset: Option<u64>,
    epoch: Option<String>,
}

pub(super) async fn list(
    State(operator): State<Operator>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<List>, ApiError> {
    let Query(ListQuery { limit, prefix }) = query?;
    let limit = limit.unwrap_or(LISTED_BY_DEFAULT);
    if limit > ROOMS_LISTED_MAX {
        let message = format!("limit must be from 0 to {ROOMS_LISTED_MAX}, not {limit}");
        return Err(ApiError::bad_request(message));
    }
    let list = list_rooms(&operator, &prefix, limit).await?;
    let rooms = list.rooms.into_iter().map(Room::from).collect();
    Ok(Json(List { rooms, total: list.matching }))
}

pub(super) async fn one(
    State(operator): State<Operator>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Room>, ApiError> {
    let Path(id) = id?;
    let name = room_name(&id)?;
    let home = operator.mesh.home_of(&name);
    let room = ask(&operator, home, |answer| Ask::Room(name, answer)).await?;
    let room = room.ok_or_else(|| ApiError::not_found("nobody is in a room of this name"))?;
    Ok(Json(room.into()))
}

pub(super) async fn publish(
    State(operator): State<Operator>,
    Body(Publication { room_id, text, username }): Body<Publication>,
) -> Result<Json<Published>, ApiError> {
    let name = room_name(&room_id)?;
    if !is_text(&text) {
        return Err(ApiError::bad_request(format!(
            "text must have 1 to {CHAT_TEXT_CHARACTERS_MAX} characters, of the control characters \
             only line feeds and tabs"
        )));
    }
    let username = username.as_deref().unwrap_or(SPEAKER);
    if !is_username(username) {
        return Err(ApiError::bad_request(name_rule("username", USER_CHARACTERS_MAX)));
    }
    let mut head = Vec::new();
    answer::message_head(&mut head, &name, username, &text, None);
    let home = operator.mesh.home_of(&name);
    let room = ask(&operator, home, |answer| Ask::Publish(name, head, answer)).await?;
    Ok(Json(Published {
        room_id,
        members: room.as_ref().map_or(0, |room| room.members),
        offset: room.as_ref().map(|room| room.offset),
        epoch: room.as_ref().map(|room| room.epoch.to_string()),
    }))
}

fn room_name(id: &str) -> Result<RoomName, ApiError> {
    let rule = || ApiError::bad_request(name_rule("roomId", ROOM_NAME_CHARACTERS_MAX));
    is_room_name(id).then(|| id.into()).ok_or_else(rule)
}

fn name_rule(field: &str, characters: usize) -> String {
    format!("{field} must have 1 to {characters} characters, not all blank, none a control one")
}

impl From<RoomFigures> for Room {
    fn from(room: RoomFigures) -> Self {
        Self {
            room_id: room.name.to_string(),
            members: room.members,
            history_messages: room.history_messages,
            offset: room.offset,
            epoch: room.epoch.to_string(),
        }
    }
}
