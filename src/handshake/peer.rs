//! The address of a peer, for the log.

use std::fmt;
use std::os::fd::OwnedFd;

use crate::ring::socket;

/// The peer of a socket. The kernel is asked only when the line is written.
#[derive(Clone, Copy, Debug)]
pub struct PeerOf<'a>(pub &'a OwnedFd);

impl fmt::Display for PeerOf<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match socket::peer(self.0) {
            Some(address) => address.fmt(formatter),
            None => formatter.write_str("gone"),
        }
    }
}
