//! One member of a room: where it is, and how far it has read.

use std::sync::Arc;

use crate::scenario::window::Window;

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) place: Place,
    pub(super) welcomed: bool,
    /// Messages it has sent, and the server has refused.
    pub(super) sent: u32,
    pub(super) refused: u32,
    /// Which offsets have come.
    pub(super) offsets: Window,
    /// When it joined again: the last offset it had when it left; the first that had not come
    /// until it was back, for some come after it has asked to leave; and the last that is history.
    pub(super) left_at: u64,
    pub(super) had: u64,
    pub(super) past: u64,
    /// Messages that it has received, and that were sent while it was away.
    pub(super) received: u64,
    pub(super) absent: u64,
    /// An epoch of its room has ended, and nobody knows how far it had gone.
    pub(super) is_adrift: bool,
    /// When it asked to join.
    pub(super) asked_at: u64,
    /// Users of its room when the last one joined.
    pub(super) heard: u64,
    pub(super) epoch: Option<Arc<str>>,
}

/// Where a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Outside,
    /// Has asked to join, for the first time or again.
    Joining,
    Inside,
    /// Has left for good.
    Left,
    /// Its connection was lost.
    Lost,
}

impl Member {
    /// One that has asked for nothing.
    pub(super) const NEW: Self = Self {
        place: Place::Outside,
        welcomed: false,
        sent: 0,
        refused: 0,
        offsets: Window::awaiting(0),
        left_at: 0,
        had: 0,
        past: 0,
        received: 0,
        absent: 0,
        is_adrift: false,
        asked_at: 0,
        heard: 0,
        epoch: None,
    };

    /// Messages that it has, or need not have.
    pub(super) const fn accounted(&self) -> u64 {
        self.received.saturating_add(self.absent)
    }
}
