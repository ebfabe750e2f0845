//! Questions to shards: asked together, answered within a bounded time or not at all.

use std::fmt;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Operator;
use crate::hub::{RoomFigures, RoomName, RoomsQuery, rank_rooms};
use crate::limits::{ANSWER_TIME_MAX, ANSWERS_TIME_MAX, ROOMS_LISTED_PER_TURN};
use crate::mesh::{AnswerTo, Ask, Envelope};

/// A shard has not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskError {
    /// Its inbox is full: nothing was asked of it.
    Full(usize),
    /// Not in time.
    Silent(usize),
    /// All have answered, but have more to do than there was time for.
    Unfinished,
}

/// The rooms of all shards whose names begin with a prefix.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoomList {
    /// The largest, those first; equal ones by name.
    pub rooms: Vec<RoomFigures>,
    /// All of them.
    pub matching: usize,
}

/// The `most` largest rooms of all shards, as [`list_rooms`].
///
/// # Errors
/// When a shard does not answer.
pub async fn rooms(operator: &Operator, most: usize) -> Result<Vec<RoomFigures>, AskError> {
    Ok(list_rooms(operator, "", most).await?.rooms)
}

/// Asks all homes for their rooms and keeps the `most` largest. A home looks at
/// [`ROOMS_LISTED_PER_TURN`] places in a turn, however many rooms it has. To be called on the
/// runtime of the admin listener: see [`AnswerTo`].
///
/// # Errors
/// When a shard does not answer.
pub async fn list_rooms(
    operator: &Operator,
    prefix: &str,
    most: usize,
) -> Result<RoomList, AskError> {
    let prefix = RoomName::from(prefix);
    let mut list = RoomList::default();
    let question = |from, answer| {
        let prefix = prefix.clone();
        Ask::Rooms(RoomsQuery { prefix, most, from, places: ROOMS_LISTED_PER_TURN }, answer)
    };
    ask_in_parts(operator, question, |part| {
        list.rooms.extend(part.rooms);
        rank_rooms(&mut list.rooms, most);
        list.matching += part.matching;
        part.next
    })
    .await?;
    Ok(list)
}

/// Asks one shard.
///
/// # Errors
/// When it does not answer within [`ANSWER_TIME_MAX`].
pub(super) async fn ask<T>(
    operator: &Operator,
    shard: usize,
    question: impl FnOnce(AnswerTo<T>) -> Ask,
) -> Result<T, AskError> {
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    await_answer(shard, send(operator, shard, question)?, deadline).await
}

/// Asks all shards, all at once and each in parts: `question` asks for the part that begins at a
/// place, and `take` says where the next one begins.
///
/// # Errors
/// When one does not answer for a part within [`ANSWER_TIME_MAX`], or when there are more parts
/// after [`ANSWERS_TIME_MAX`]. What was answered until then has been taken.
pub(super) async fn ask_in_parts<T>(
    operator: &Operator,
    question: impl Fn(usize, AnswerTo<T>) -> Ask,
    mut take: impl FnMut(T) -> Option<usize>,
) -> Result<(), AskError> {
    let end = Instant::now() + ANSWERS_TIME_MAX;
    let mut parts: Vec<(usize, usize)> =
        (0..operator.mesh.shards()).map(|shard| (shard, 0)).collect();
    while !parts.is_empty() {
        if Instant::now() > end {
            return Err(AskError::Unfinished);
        }
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        let ask = |(shard, from)| (shard, send(operator, shard, |answer| question(from, answer)));
        let asked: Vec<_> = parts.drain(..).map(ask).collect();
        let mut failed = None;
        for (shard, answer) in asked {
            let answer = match answer {
                Ok(answer) => await_answer(shard, answer, deadline).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(part) => parts.extend(take(part).map(|from| (shard, from))),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(())
}

fn send<T>(
    operator: &Operator,
    shard: usize,
    question: impl FnOnce(AnswerTo<T>) -> Ask,
) -> Result<oneshot::Receiver<T>, AskError> {
    let (answer_to, answer) = oneshot::channel();
    let envelope = Envelope::Ask(question(answer_to));
    operator.mesh.send(shard, envelope).map_err(|_| AskError::Full(shard))?;
    Ok(answer)
}

async fn await_answer<T>(
    shard: usize,
    answer: oneshot::Receiver<T>,
    deadline: Instant,
) -> Result<T, AskError> {
    match timeout_at(deadline, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        // The shard has ended, or it hangs.
        Ok(Err(_)) | Err(_) => Err(AskError::Silent(shard)),
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(shard) => write!(
                formatter,
                "the inbox of shard {shard} is full: try again when it has less to do"
            ),
            Self::Silent(shard) => write!(
                formatter,
                "shard {shard} did not answer within {ANSWER_TIME_MAX:?}: it is overloaded, hangs \
                 or ends; see /healthz and the log"
            ),
            Self::Unfinished => write!(
                formatter,
                "the shards were not done within {ANSWERS_TIME_MAX:?}: they have much else to do"
            ),
        }
    }
}

impl std::error::Error for AskError {}
