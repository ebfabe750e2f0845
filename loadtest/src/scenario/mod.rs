//! What the clients do once they are connected.

mod alarms;
mod broadcast;
mod churn;
mod echo;
mod figures;
mod idle;
mod pauses;
mod rate;
mod reference;
mod restart;
mod rooms;
mod rounds;
mod slow;
mod storm;
mod window;

use ringwire::protocol::MessageKind;

pub(crate) use self::broadcast::{Board, Broadcast, Publication};
pub(crate) use self::churn::{Churn, Coming};
pub(crate) use self::echo::Echo;
pub(crate) use self::figures::figures;
pub(crate) use self::idle::Idle;
pub(crate) use self::pauses::Pauses;
pub(crate) use self::rate::{Demand, Rate};
pub(crate) use self::reference::Known;
pub(crate) use self::restart::{Company, Restart, Stay, breaks};
pub(crate) use self::rooms::{Lobby, Rooms, Speech, TEXT_CHARACTERS_MAX, Talk};
pub(crate) use self::rounds::{Barrier, Rounds};
pub(crate) use self::slow::{Habits, Slow};
pub(crate) use self::storm::{AtOnce, Storm, Weather};

use crate::connections::{Cause, Connections};
use crate::stats::{Failure, Stats};

/// A message that a client received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Text or binary.
    pub(crate) kind: MessageKind,
    /// All of it.
    pub(crate) payload: &'a [u8],
    /// When it was read.
    pub(crate) at: u64,
}

/// The part of a thread that differs between scenarios. Clients are named by their index in the
/// thread's table.
pub(crate) trait Scenario: Sized {
    /// The fate of all connections of all threads is known: brings those that are open to where
    /// the load begins. Called in every turn, whenever something has come, until it gives `true`;
    /// it sends little enough at once for answers to be read meanwhile.
    ///
    /// # Errors
    /// The reason why the run cannot go on.
    fn prepare(&mut self, _: &mut Connections) -> Result<bool, String> {
        Ok(true)
    }

    /// All clients of all threads are prepared: those that are open begin, and a schedule begins
    /// at `origin`.
    fn begin(&mut self, connections: &mut Connections, origin: u64);

    /// A message came. Called for every message of a read that was not
    /// [recognised](Self::recognise), before one [`read_done`](Self::read_done).
    fn message(&mut self, stats: &mut Stats, index: u32, message: Message<'_>);

    /// Takes whole messages off the front of `bytes` that need not be parsed, because they are
    /// known to be right; [`message`](Self::message) is not called for them. The bytes begin
    /// between two frames.
    #[inline]
    fn recognise(&mut self, _: &mut Stats, _index: u32, _bytes: &[u8]) -> Known {
        Known::default()
    }

    /// The messages of a read, all received at `now`, were handed over.
    fn read_done(&mut self, connections: &mut Connections, index: u32, now: u64);

    /// Called in every turn between [`begin`](Self::begin) and the end. Gives back when it wants to
    /// be called again at the latest.
    ///
    /// # Errors
    /// The reason why the run cannot go on.
    fn turn(&mut self, connections: &mut Connections, now: u64) -> Result<Option<u64>, String>;

    /// The messages that all threads of this process have published, once they publish no more:
    /// the clients of other processes wait for them too. Called in the phase "settle", until it is
    /// known; `None` for ever where no message is for the clients of another process.
    fn published(&self) -> Option<u64> {
        None
    }

    /// Whether everything is done that was begun. Called from the phase "settle" on, when nothing
    /// new may be sent.
    fn settled(&mut self) -> bool;

    /// The connections are about to be closed: counts what never came.
    fn finish(&mut self, stats: &mut Stats);

    /// An open connection was lost.
    fn lost(&mut self, index: u32, failure: Failure);

    /// A connection was opened at `now`: by the ramp before [`begin`](Self::begin), or later by the
    /// scenario. Called before the first message of its life.
    fn opened(&mut self, _: &mut Connections, _index: u32, _now: u64) {}

    /// A connection came to its end at `now`, and may be started again. Not called when the run is
    /// over.
    fn gone(&mut self, _: &mut Connections, _index: u32, _now: u64, _: Cause) {}
}
