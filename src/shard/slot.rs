//! What a connection owns on its shard.

use std::os::fd::OwnedFd;

use crate::app::{Endpoint, Session};
use crate::collections::Tick;
use crate::connection::Connection;
use crate::security::Ticket;
use crate::tls;

/// One established connection. Every byte here is paid by each idle one.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) connection: Connection,
    pub(super) socket: OwnedFd,
    /// What is between the two, if it came by TLS.
    pub(super) tls: Option<Box<tls::Session>>,
    /// What its application remembers of it.
    pub(super) session: Option<Box<Session>>,
    pub(super) endpoint: Endpoint,
    /// Its place in the count of its network.
    pub(super) ticket: Option<Ticket>,
    /// When it was adopted.
    pub(super) opened: Tick,
    /// Messages from it and to it, as the counters of the shard count them. They stay at their end.
    pub(super) messages_received: u32,
    pub(super) messages_sent: u32,
    /// When the wheel fires, or later if that is beyond its horizon.
    pub(super) armed: Tick,
    /// The kernel holds a poll on the socket.
    pub(super) polled: bool,
    /// The key is in the queue of readable connections.
    pub(super) queued: bool,
    /// Bytes may be there that were not read, because the peer owes us reading.
    pub(super) unread: bool,
    /// The peer has sent its last byte: only the end of the stream is the end of reading.
    pub(super) hung_up: bool,
    /// Released; the socket is closed with the last completion of the poll.
    pub(super) ended: bool,
}

impl Slot {
    pub(super) fn new(
        now: Tick,
        socket: OwnedFd,
        tls: Option<Box<tls::Session>>,
        connection: Connection,
        endpoint: Endpoint,
        session: Option<Box<Session>>,
        ticket: Option<Ticket>,
    ) -> Self {
        Self {
            connection,
            socket,
            tls,
            session,
            endpoint,
            ticket,
            opened: now,
            messages_received: 0,
            messages_sent: 0,
            armed: 0,
            polled: true,
            queued: false,
            unread: false,
            hung_up: false,
            ended: false,
        }
    }
}

const _: () = assert!(size_of::<Slot>() <= 120, "an idle connection is cheap");
