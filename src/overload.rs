//! Marks of memory and connections: past one of them newcomers are put off until there is room.

use std::fs;
use std::hint::black_box;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::limits::{OVERLOAD_LOOK, OVERLOAD_SLACK_SHARE, PURGING_BLOCK_BYTES};
use crate::mesh::{Mesh, Overload};
use crate::observe::ShardCounters;

/// Looks every second whether the server is past a mark, and at once when the configuration
/// changes; tells the shards and the log.
pub async fn watch_marks(
    mesh: Arc<Mesh>,
    counters: Arc<[ShardCounters]>,
    mut config: watch::Receiver<Config>,
) {
    let mut looks = interval(OVERLOAD_LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut marks = Marks::default();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            Ok(()) = config.changed() => {}
        }
        let mark = config.borrow_and_update().max_memory;
        let memory = mark.map(|mark| {
            purge();
            (resident_bytes(), mark as u64)
        });
        marks.look(memory, counters.iter().map(connections));
        let overload = marks.overload();
        if overload != mesh.overload() {
            mesh.set_overload(overload);
            tell(overload, memory);
        }
    }
}

/// Which marks the server is past.
#[derive(Default, Debug)]
struct Marks {
    memory: bool,
    connections: bool,
}

impl Marks {
    /// Takes note of the memory that is taken and its mark, if there is one, and of the connections
    /// of each shard and theirs.
    fn look(
        &mut self,
        memory: Option<(u64, u64)>,
        mut connections: impl Iterator<Item = (u64, u64)>,
    ) {
        let was = self.memory;
        self.memory = memory.is_some_and(|(bytes, mark)| is_past(was, bytes, mark));
        let was = self.connections;
        // A shard without a share takes nobody, whatever happens.
        self.connections = connections.any(|(here, most)| most > 0 && is_past(was, here, most));
    }

    const fn overload(&self) -> Option<Overload> {
        match self {
            Self { memory: true, .. } => Some(Overload::Memory),
            Self { connections: true, .. } => Some(Overload::Connections),
            _ => None,
        }
    }
}

/// Who `was` past a mark is so until it is well below it.
const fn is_past(was: bool, value: u64, mark: u64) -> bool {
    let slack = if was { mark / OVERLOAD_SLACK_SHARE } else { 0 };
    value >= mark - slack
}

fn connections(shard: &ShardCounters) -> (u64, u64) {
    (shard.connections.get(), shard.connections_max.get())
}

fn tell(overload: Option<Overload>, memory: Option<(u64, u64)>) {
    match (overload, memory) {
        (Some(Overload::Memory), Some((bytes, mark))) => tracing::warn!(
            "overloaded: {bytes} bytes of memory are past max-memory, {mark}: newcomers get 503"
        ),
        (Some(_), _) => tracing::warn!(
            "overloaded: a shard has all the connections it may have: newcomers get 503 there"
        ),
        (None, _) => tracing::info!("no longer overloaded"),
    }
}

/// Has the allocator give back to the kernel what was freed a second ago. It does so when a large
/// block is freed: an idle server frees none, and would stay past the mark with memory it no longer
/// uses. Untouched, the block costs a microsecond.
fn purge() {
    drop(black_box(Vec::<u8>::with_capacity(PURGING_BLOCK_BYTES)));
}

/// Resident memory of this process; 0 when `/proc` is not there.
fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overload(marks: &mut Marks, memory: u64, shards: &[(u64, u64)]) -> Option<Overload> {
        marks.look(Some((memory, 1000)), shards.iter().copied());
        marks.overload()
    }

    #[test]
    fn a_mark_is_passed_at_once_and_left_well_below() {
        let mut marks = Marks::default();
        for (memory, expected) in [
            (999, None),
            (1000, Some(Overload::Memory)),
            (950, Some(Overload::Memory)),
            (949, None),
        ] {
            assert_eq!(overload(&mut marks, memory, &[(0, 10)]), expected, "{memory}");
        }
        assert_eq!(overload(&mut marks, 2000, &[]), Some(Overload::Memory));
        marks.look(None, std::iter::empty());
        assert_eq!(marks.overload(), None, "there is no mark any more");
    }

    #[test]
    fn one_full_shard_is_enough() {
        let mut marks = Marks::default();
        let full = Some(Overload::Connections);
        assert_eq!(overload(&mut marks, 0, &[(99, 100), (2, 100)]), None);
        assert_eq!(overload(&mut marks, 0, &[(99, 100), (100, 100)]), full);
        assert_eq!(overload(&mut marks, 1000, &[(0, 100), (100, 100)]), Some(Overload::Memory));
        assert_eq!(overload(&mut marks, 0, &[(0, 100), (95, 100)]), full);
        assert_eq!(overload(&mut marks, 0, &[(0, 100), (94, 100)]), None);
        assert_eq!(overload(&mut marks, 0, &[(1, 1)]), full);
        assert_eq!(overload(&mut marks, 0, &[(0, 1)]), None, "a small mark has no slack");
        assert_eq!(overload(&mut marks, 0, &[(0, 0)]), None, "a shard without a share");
    }

    #[test]
    fn this_process_is_resident() {
        assert!(resident_bytes() > 100 * 1024);
    }
}
