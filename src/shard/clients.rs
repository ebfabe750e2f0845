//! Where the clients of proxies are.

use std::os::fd::OwnedFd;

use crate::collections::Key;
use crate::handshake::PeerOf;
use crate::security::ClientAddress;

/// An address for each connection that came through a proxy, beside the slots: where none does, it
/// costs nothing, and else 20 bytes for each place of the table up to the last such one.
#[derive(Debug)]
pub(super) struct Clients {
    places: Vec<Option<ClientAddress>>,
    /// How many connections there can be.
    most: usize,
}

impl Clients {
    /// No client came through a proxy yet, and `most` can be here.
    pub(super) const fn new(most: usize) -> Self {
        Self { places: Vec::new(), most }
    }

    /// Where the client of a new connection is, if it came through a proxy. So every connection
    /// clears its place of the one before.
    pub(super) fn note(&mut self, key: Key, client: Option<ClientAddress>) {
        let index = key.index() as usize;
        if let Some(place) = self.places.get_mut(index) {
            *place = client;
        } else if client.is_some() {
            // Address space for all at once, so that no turn has to move them.
            self.places.reserve_exact(self.most.saturating_sub(self.places.len()));
            self.places.resize(index, None);
            self.places.push(client);
        }
    }

    /// Where the client of a connection is, if it came through a proxy.
    pub(super) fn of(&self, key: Key) -> Option<ClientAddress> {
        self.places.get(key.index() as usize).copied().flatten()
    }

    /// The client of a connection, for the log.
    pub(super) fn peer<'a>(&self, key: Key, socket: &'a OwnedFd) -> PeerOf<'a> {
        PeerOf { socket, client: self.of(key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_that_of_its_last_connection() {
        let key = |index| Key::from_parts(index, 1);
        let client = |host: u8| {
            Some(
                ClientAddress::parse(&[b"192.0.2.", &[host][..]].concat())
                    .expect("it is an address"),
            )
        };
        let mut clients = Clients::new(100);
        clients.note(key(5), None);
        assert_eq!(clients.places.capacity(), 0, "nobody came through a proxy");
        clients.note(key(3), client(b'1'));
        clients.note(key(4), client(b'2'));
        let found = [0, 2, 3, 4, 5].map(|index| clients.of(key(index)));
        assert_eq!(found, [None, None, client(b'1'), client(b'2'), None]);
        assert_eq!(clients.places.capacity(), 100);
        clients.note(key(3), None);
        assert_eq!(clients.of(key(3)), None);
    }
}
