//! What the threads tell each other of the rooms.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

/// All rooms, whoever their members are.
#[derive(Debug)]
pub(crate) struct Lobby {
    pub(super) rooms: Vec<RoomCounts>,
    /// Members in all rooms when the load began, and threads that have any.
    pub(super) joined: AtomicU64,
    pub(super) threads: AtomicU64,
    /// Threads that send nothing more.
    pub(super) done: AtomicU64,
}

/// What is known of a room.
#[derive(Default, Debug)]
pub(super) struct RoomCounts {
    /// Messages sent, but for those that the server refused.
    pub(super) published: AtomicU64,
    /// Members that have joined before the load began, and that were lost since.
    pub(super) joined: AtomicU32,
    pub(super) lost: AtomicU32,
    /// A member has left and is about to join again.
    pub(super) is_away: AtomicBool,
}

impl Lobby {
    /// For so many rooms.
    pub(crate) fn new(rooms: u32) -> Self {
        Self {
            rooms: std::iter::repeat_with(RoomCounts::default).take(rooms as usize).collect(),
            joined: AtomicU64::new(0),
            threads: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }
}
