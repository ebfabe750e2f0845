//! The address of a peer, for the log.

use std::fmt;
use std::os::fd::OwnedFd;

use crate::ring::socket;
use crate::security::ClientAddress;

/// The client at the other end of a socket.
#[derive(Clone, Copy, Debug)]
pub struct PeerOf<'a> {
    /// The socket. The kernel is asked only when the line is written.
    pub socket: &'a OwnedFd,
    /// Where the client is, if it came through a proxy.
    pub client: Option<ClientAddress>,
}

impl fmt::Display for PeerOf<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(client) = self.client {
            return client.fmt(formatter);
        }
        match socket::peer(self.socket) {
            Some(address) => address.fmt(formatter),
            None => formatter.write_str("gone"),
        }
    }
}
