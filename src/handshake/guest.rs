//! Who a handshake is held with: where its client is, and how admission stands to it.
//!
//! A peer that is no trusted proxy is the client, and is counted as it comes. A trusted proxy has
//! to say first whom it speaks for, in a PROXY header, in the fields of its request, or both one
//! after the other; nobody is counted until then.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use super::desk::{Bench, Desk, Place};
use super::peer::PeerOf;
use super::standing::Standing;
use crate::protocol::ProxySource;
use crate::protocol::upgrade::{Refusal, forwarded_for};
use crate::ring::socket;
use crate::security::ClientAddress;
use crate::tls::Session;

/// One of those who are here.
pub(super) struct Guest {
    pub(super) socket: Rc<OwnedFd>,
    pub(super) tls: Option<Box<Session>>,
    pub(super) desk: Rc<Desk>,
    pub(super) place: Place,
    pub(super) standing: Standing,
    caller: Caller,
}

/// Whose connection it is.
#[derive(Clone, Copy)]
enum Caller {
    /// That of the peer.
    Peer,
    /// That of a proxy here, which says in a PROXY header whom it speaks for.
    Announces(ClientAddress),
    /// That of a proxy here, which may say in the fields of its request whom it speaks for.
    Forwards(ClientAddress),
    /// That of a client here, as a proxy says.
    Client(ClientAddress),
}

impl Guest {
    /// Takes somebody in who was `accepted` just now.
    pub(super) fn receive(
        socket: OwnedFd,
        is_tls: bool,
        accepted: Instant,
        desk: Rc<Desk>,
    ) -> Self {
        let (caller, standing) = greet(&socket, &desk);
        let bench = if standing.is_refused() {
            Bench::Refused
        } else if is_tls {
            Bench::Tls
        } else {
            Bench::Plain
        };
        let (place, socket) = desk.arrive(socket, accepted, bench);
        Self { socket, tls: None, desk, place, standing, caller }
    }

    /// The session of a guest whose handshake of TLS has begun.
    pub(super) fn session(&mut self) -> &mut Session {
        self.tls.as_deref_mut().expect("its handshake has begun")
    }

    /// Whether a PROXY header comes first.
    pub(super) const fn announces(&self) -> bool {
        matches!(self.caller, Caller::Announces(_))
    }

    /// Takes the word of a PROXY header.
    pub(super) fn introduce(&mut self, source: ProxySource) {
        let Caller::Announces(proxy) = self.caller else { return };
        match source {
            // What it asks is its own word, too.
            ProxySource::Balancer => self.caller = Caller::Forwards(proxy),
            // Whoever it is could write any field.
            ProxySource::Unknown => self.settle(proxy),
            ProxySource::Client(address) => {
                let address = ClientAddress::from(address);
                if self.desk.access().proxies().include(address.ip()) {
                    self.caller = Caller::Forwards(address);
                } else {
                    self.settle(address);
                }
            }
        }
    }

    /// Takes the word of the fields of a whole head, if the guest is one whose word counts.
    ///
    /// # Errors
    /// They tell something else than an address. To count it for the proxy would be to share its
    /// limits among all its clients, and nobody would know why they are refused.
    pub(super) fn identify(&mut self, head: &[u8]) -> Result<(), Refusal> {
        let Caller::Forwards(proxy) = self.caller else { return Ok(()) };
        let found = self.desk.access().proxies().client(proxy, forwarded_for(head));
        self.settle(found.map_err(|_| Refusal::Forwarded)?);
        Ok(())
    }

    fn settle(&mut self, client: ClientAddress) {
        let proxy = PeerOf { socket: &self.socket, client: None };
        tracing::debug!(peer = %client, %proxy, "a proxy speaks for a client");
        self.caller = Caller::Client(client);
        self.standing = Standing::of(Some(client.ip()), self.desk.networks());
        if self.standing.is_refused() {
            self.place = self.desk.set_apart(self.place);
        }
    }

    /// Where the client is, if a proxy has said so.
    pub(super) const fn client(&self) -> Option<ClientAddress> {
        match self.caller {
            Caller::Client(client) => Some(client),
            Caller::Peer | Caller::Announces(_) | Caller::Forwards(_) => None,
        }
    }

    /// The client, for the log; the proxy as long as it has not said who that is.
    pub(super) fn peer(&self) -> PeerOf<'_> {
        PeerOf { socket: &self.socket, client: self.client() }
    }
}

/// The kernel is asked for an address only where something depends on it.
fn greet(socket: &OwnedFd, desk: &Desk) -> (Caller, Standing) {
    let access = desk.access();
    let (proxies, networks) = (access.proxies(), desk.networks());
    if proxies.is_empty() && !networks.is_limited() {
        return (Caller::Peer, Standing::Uncounted);
    }
    match socket::peer(socket) {
        Some(peer) if proxies.include(peer.ip()) => {
            let caller = if proxies.announce() { Caller::Announces } else { Caller::Forwards };
            (caller(peer.into()), Standing::Uncounted)
        }
        peer => (Caller::Peer, Standing::of(peer.map(|peer| peer.ip()), networks)),
    }
}
