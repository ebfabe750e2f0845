//! Whether the server lives, and whether it takes newcomers.

use axum::extract::State;
use tokio::time::{Instant, sleep};

use super::Operator;
use super::error::ApiError;
use crate::limits::{ANSWER_TIME_MAX, HEALTH_LOOK};
use crate::mesh::Overload;

/// Every shard begins a turn when its doorbell rings. That needs no room in an inbox: a server that
/// is busy is healthy.
pub(super) async fn healthz(State(operator): State<Operator>) -> Result<&'static str, ApiError> {
    let turns = |shard: usize| operator.counters[shard].turns.get();
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    let mut waiting: Vec<(usize, u64)> =
        (0..operator.mesh.shards()).map(|shard| (shard, turns(shard))).collect();
    waiting.iter().for_each(|(shard, _)| operator.mesh.wake(*shard).ring());
    loop {
        waiting.retain(|(shard, before)| turns(*shard) == *before);
        let Some((shard, _)) = waiting.first() else { return Ok("ok\n") };
        if Instant::now() >= deadline {
            return Err(ApiError::unavailable(
                "shard_stuck",
                format!(
                    "shard {shard} has begun no turn for {ANSWER_TIME_MAX:?}: it hangs; see the \
                     log and restart the server"
                ),
            ));
        }
        sleep(HEALTH_LOOK).await;
    }
}

/// Whether a load balancer should send newcomers here.
pub(super) async fn readyz(State(operator): State<Operator>) -> Result<&'static str, ApiError> {
    if operator.mesh.drain().is_some() {
        return Err(ApiError::unavailable("draining", "the server lets everybody go and ends"));
    }
    let is_full =
        |shard: &super::ShardCounters| shard.connections.get() >= shard.connections_max.get();
    if operator.counters.iter().all(is_full) {
        return Err(ApiError::unavailable(
            "full",
            "every shard has all the connections it may have: raise --max-connections or the \
             limit of open files",
        ));
    }
    match operator.mesh.overload() {
        Some(Overload::Memory) => Err(ApiError::unavailable(
            "overloaded",
            "the server takes more memory than --max-memory: newcomers are put off",
        )),
        Some(Overload::Connections) => Err(ApiError::unavailable(
            "overloaded",
            "a shard has all the connections it may have: some newcomers are put off",
        )),
        None => Ok("ok\n"),
    }
}
