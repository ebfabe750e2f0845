//! How admission stands to a client, from its handshake to its connection.

use std::net::IpAddr;

use super::clock::host_tick;
use crate::collections::Tick;
use crate::security::{Network, Networks, Refused, Ticket};

/// How admission stands to a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing {
    /// Nobody is counted, or it is not known yet for whom.
    Uncounted,
    /// Its handshake is one that its network may have, counted at this tick.
    Counted(Network, Tick),
    /// Its network had its share of handshakes, or is not known.
    Refused,
}

impl Standing {
    /// Counts the handshake of a client, which has just begun or become known.
    pub(super) fn of(address: Option<IpAddr>, networks: &Networks) -> Self {
        if !networks.is_limited() {
            return Self::Uncounted;
        }
        let Some(address) = address else { return Self::Refused };
        let network = Network::from(address);
        let now = host_tick();
        match networks.begin_handshake(network, now) {
            Ok(()) => Self::Counted(network, now),
            Err(_) => Self::Refused,
        }
    }

    pub(super) const fn is_refused(self) -> bool {
        matches!(self, Self::Refused)
    }

    /// Counts a handshake no more: its request is no upgrade. A browser asks for a page and its
    /// parts over several connections, and everybody behind one address does.
    pub(super) fn forgive(self, networks: &Networks) {
        if let Self::Counted(network, then) = self {
            networks.refund_handshake(network, then);
        }
    }

    /// Counts the connection that a client is to get. Its ticket goes with the adoption, or back to
    /// the desk.
    pub(super) fn admit(self, networks: &Networks) -> Result<Option<Ticket>, Refused> {
        match self {
            Self::Uncounted => Ok(None),
            Self::Counted(network, _) => networks.admit(network, host_tick()),
            Self::Refused => Err(Refused::Handshakes),
        }
    }
}
