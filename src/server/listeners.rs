//! The listening sockets of all shards: opened before their threads, or taken over from the server
//! before this one.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::config::Config;
use crate::limits::{ADMIN_BACKLOG, LISTEN_BACKLOG};
use crate::ring::socket;
use crate::shard::ShardListener;

/// Where clients come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenAddress {
    pub(super) address: SocketAddr,
    /// Whether they speak TLS there.
    pub(super) is_tls: bool,
}

impl ListenAddress {
    /// All that are configured.
    pub(super) fn all(config: &Config) -> Vec<Self> {
        let each = |is_tls| move |&address: &SocketAddr| Self { address, is_tls };
        config
            .listen
            .iter()
            .map(each(false))
            .chain(config.tls.listen.iter().map(each(true)))
            .collect()
    }
}

/// Every listening socket of the process. It keeps them open in the table of descriptors that the
/// shards copy.
#[derive(Debug)]
pub(super) struct Listeners {
    /// Where the shards listen, with real ports, in the order of the configuration.
    pub(super) addresses: Vec<ListenAddress>,
    /// For each shard, at least one socket for each address.
    shards: Vec<Vec<ShardListener>>,
}

impl Listeners {
    /// Sockets for `shards` shards on each of `addresses`. Those of `inherited` that listen there
    /// are used first, all of them: connections may wait in each. They are taken out. One of each
    /// address listens, or all that were inherited; the others when it [begins](Self::begin).
    ///
    /// # Errors
    /// The address that cannot be listened on, and why.
    pub(super) fn open(
        addresses: &[ListenAddress],
        shards: usize,
        inherited: &mut Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let mut opened = Self { addresses: Vec::new(), shards: vec![Vec::new(); shards] };
        for &address in addresses {
            opened
                .open_one(address, take_matching(address.address, inherited))
                .map_err(|error| cannot_listen(address.address, &error))?;
        }
        Ok(opened)
    }

    fn open_one(&mut self, wanted: ListenAddress, mut sockets: Vec<OwnedFd>) -> io::Result<()> {
        let ListenAddress { address, is_tls } = wanted;
        let shards = self.shards.len();
        if sockets.is_empty() {
            sockets.push(socket::listen_alone(address, LISTEN_BACKLOG)?);
        }
        let address = socket::local_address(&sockets[0])?;
        while sockets.len() < shards {
            sockets.push(socket::bind_shared(address)?);
        }
        for (number, socket) in sockets.into_iter().enumerate() {
            let socket = Arc::new(socket);
            self.shards[number % shards].push(ShardListener { socket, is_tls });
        }
        self.addresses.push(ListenAddress { address, is_tls });
        Ok(())
    }

    /// Has those listen that do not yet.
    ///
    /// # Errors
    /// As `listen(2)`.
    pub(super) fn begin(&self) -> io::Result<()> {
        self.all().try_for_each(|socket| socket::listen(socket, LISTEN_BACKLOG))
    }

    /// The sockets of one shard.
    pub(super) fn of_shard(&self, shard: usize) -> Vec<ShardListener> {
        self.shards[shard].clone()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &OwnedFd> {
        self.shards.iter().flatten().map(|listener| listener.socket.as_ref())
    }
}

/// The admin listener: an inherited one, or a new one.
///
/// # Errors
/// As `bind(2)`.
pub(super) fn open_admin(
    address: SocketAddr,
    inherited: &mut Option<OwnedFd>,
) -> io::Result<TcpListener> {
    let mut wanted = address;
    let listener = match inherited.take_if(|socket| listens_on(socket, &mut wanted)) {
        Some(socket) => TcpListener::from(socket),
        None => TcpListener::bind(address).map_err(|error| {
            let message = format!(
                "{}: choose another --admin, or --admin off",
                cannot_listen(address, &error)
            );
            io::Error::new(error.kind(), message)
        })?,
    };
    // The 128 of the standard library are full at once where many come back at once, and then the
    // kernel makes who comes wait for seconds.
    rustix::net::listen(&listener, ADMIN_BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes out the sockets that listen on `address`. Where any port was asked for, those of the port
/// that the first of them has.
fn take_matching(address: SocketAddr, sockets: &mut Vec<OwnedFd>) -> Vec<OwnedFd> {
    let mut wanted = address;
    sockets.extract_if(.., |socket| listens_on(socket, &mut wanted)).collect()
}

/// Where any port is wanted, the one of this socket is from now on.
fn listens_on(socket: &OwnedFd, wanted: &mut SocketAddr) -> bool {
    let Ok(local) = socket::local_address(socket) else { return false };
    if wanted.port() == 0 && local.ip() == wanted.ip() {
        *wanted = local;
    }
    local == *wanted
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: ListenAddress = ListenAddress {
        address: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0),
        is_tls: false,
    };
    const ANY_TLS: ListenAddress = ListenAddress { is_tls: true, ..ANY };

    #[test]
    fn every_shard_has_a_socket_on_the_same_port() -> io::Result<()> {
        let listeners = Listeners::open(&[ANY, ANY_TLS], 3, &mut Vec::new())?;
        assert_ne!(listeners.addresses[0], listeners.addresses[1]);
        for shard in 0..3 {
            let mut addresses = Vec::new();
            for ShardListener { socket, is_tls } in listeners.of_shard(shard) {
                let address = socket::local_address(&socket)?;
                addresses.push(ListenAddress { address, is_tls });
            }
            assert_eq!(addresses, listeners.addresses);
        }
        Ok(())
    }

    #[test]
    fn a_port_of_another_is_not_shared() -> io::Result<()> {
        let first = Listeners::open(&[ANY], 2, &mut Vec::new())?;
        let second = Listeners::open(&first.addresses, 2, &mut Vec::new());
        let error = second.expect_err("two servers on one port would share its clients");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        Ok(())
    }

    #[test]
    fn every_inherited_socket_is_served() -> io::Result<()> {
        for (before, after) in [(1, 3), (3, 1), (3, 2), (2, 2)] {
            let old = Listeners::open(&[ANY, ANY_TLS], before, &mut Vec::new())?;
            let mut inherited = Vec::new();
            for socket in old.all() {
                inherited.push(socket.try_clone()?);
            }
            let new = Listeners::open(&old.addresses, after, &mut inherited)?;
            assert_eq!(new.addresses, old.addresses);
            assert!(inherited.is_empty(), "each has found its shard");
            assert_eq!(new.all().count(), 2 * before.max(after));
            assert!((0..after).all(|shard| new.of_shard(shard).len() >= 2));
        }
        Ok(())
    }

    #[test]
    fn sockets_that_nobody_asks_for_are_left() -> io::Result<()> {
        let old = Listeners::open(&[ANY], 2, &mut Vec::new())?;
        let mut inherited = Vec::new();
        for socket in old.all() {
            inherited.push(socket.try_clone()?);
        }
        let address = SocketAddr::from(([127, 0, 0, 2], 0));
        let elsewhere = ListenAddress { address, is_tls: false };
        Listeners::open(&[elsewhere], 1, &mut inherited)?;
        assert_eq!(inherited.len(), 2);
        Ok(())
    }
}
