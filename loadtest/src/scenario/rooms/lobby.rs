//! What the threads tell each other of the rooms.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// All rooms, whoever their members are.
#[derive(Debug)]
pub(crate) struct Lobby {
    pub(super) rooms: Vec<RoomCounts>,
    /// The node of each client's last connection.
    nodes: Vec<AtomicU32>,
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
    /// Those of them that came to a member of their sender's thread.
    pub(super) heard: AtomicU64,
    /// Those that had not come yet when their sender lost its connection, or was told of a gap, and
    /// have not come since.
    pub(super) doubtful: AtomicU64,
    /// Members that have joined before the load began, and connections of theirs that were lost
    /// since.
    pub(super) joined: AtomicU32,
    pub(super) lost: AtomicU32,
    /// A member has left and is about to join again.
    pub(super) is_away: AtomicBool,
}

impl Lobby {
    /// For so many rooms of so many members.
    pub(crate) fn new((rooms, members): (u32, u32)) -> Self {
        let clients = rooms as usize * members as usize;
        Self {
            rooms: std::iter::repeat_with(RoomCounts::default).take(rooms as usize).collect(),
            nodes: std::iter::repeat_with(AtomicU32::default).take(clients).collect(),
            joined: AtomicU64::new(0),
            threads: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// The node of a client's last connection; the client has this number.
    #[inline]
    pub(super) fn node(&self, number: u32) -> u32 {
        self.nodes[number as usize].load(Ordering::Relaxed)
    }

    /// A client is connected to this node.
    pub(super) fn set_node(&self, number: u32, node: u32) {
        self.nodes[number as usize].store(node, Ordering::Relaxed);
    }
}

impl RoomCounts {
    /// Messages that came to nobody, and whose sender could not know whether they would: no server
    /// has promised to deliver them.
    pub(super) fn unconfirmed(&self) -> u64 {
        let heard = self.heard.load(Ordering::Acquire);
        let unheard = self.published.load(Ordering::Acquire).saturating_sub(heard);
        unheard.min(self.doubtful.load(Ordering::Acquire))
    }

    /// Messages that every member is to get, or to be told of.
    pub(super) fn due(&self) -> u64 {
        self.published.load(Ordering::Acquire).saturating_sub(self.unconfirmed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_heard_is_unconfirmed_only_if_its_sender_could_not_know() {
        let unconfirmed = |published, heard, doubtful| {
            let counts = RoomCounts {
                published: AtomicU64::new(published),
                heard: AtomicU64::new(heard),
                doubtful: AtomicU64::new(doubtful),
                ..RoomCounts::default()
            };
            (counts.unconfirmed(), counts.due())
        };
        assert_eq!(unconfirmed(10, 10, 0), (0, 10));
        assert_eq!(unconfirmed(10, 7, 0), (0, 10));
        assert_eq!(unconfirmed(10, 7, 2), (2, 8));
        // It was in doubt, and came to others.
        assert_eq!(unconfirmed(10, 10, 2), (0, 10));
    }
}
