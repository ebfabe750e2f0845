//! Direct, non-blocking calls on sockets, and listeners for storms.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// What a read found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// That many bytes, at least one. Fewer than the buffer holds: the socket is empty now.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The kernel has no memory for it (ENOBUFS, ENOMEM). No event tells when to try again.
    Starved,
    /// The end of the stream: the peer will send no more.
    End,
    /// The connection is broken (reset, timed out).
    Broken,
}

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// That many bytes were taken; 0 when the socket is full.
    Bytes(usize),
    /// The kernel has no memory for it (ENOBUFS, ENOMEM). No event tells when to try again.
    Starved,
    /// The connection is broken.
    Broken,
}

/// Reads what is there into `buffer`.
#[inline]
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Received {
    loop {
        return match net::recv(&socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Received::End,
            Ok((_, count)) => Received::Bytes(count),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Received::Nothing,
            Err(Errno::NOBUFS | Errno::NOMEM) => Received::Starved,
            Err(_) => Received::Broken,
        };
    }
}

/// Writes as much of `bytes` as the socket takes.
#[inline]
pub fn send(socket: impl AsFd, bytes: &[u8]) -> Sent {
    sent(|| net::send(&socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
}

/// Writes as much of `slices`, in order, as the socket takes.
#[inline]
pub fn send_vectored(socket: impl AsFd, slices: &[IoSlice<'_>]) -> Sent {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sent(|| net::sendmsg(&socket, slices, &mut SendAncillaryBuffer::default(), flags))
}

#[inline]
fn sent(mut call: impl FnMut() -> Result<usize, Errno>) -> Sent {
    loop {
        return match call() {
            Ok(count) => Sent::Bytes(count),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Sent::Bytes(0),
            Err(Errno::NOBUFS | Errno::NOMEM) => Sent::Starved,
            Err(_) => Sent::Broken,
        };
    }
}

/// Ends one or both directions. A socket that is no longer connected is left alone.
pub fn shut_down(socket: impl AsFd, how: Shutdown) {
    let how = match how {
        Shutdown::Read => net::Shutdown::Read,
        Shutdown::Write => net::Shutdown::Write,
        Shutdown::Both => net::Shutdown::Both,
    };
    // ENOTCONN says that the peer was faster: there is nothing left to end.
    let _ = net::shutdown(socket, how);
}

/// Makes the coming `close(2)` reset the connection and free what the kernel still holds for a
/// peer that does not read.
pub fn abort_on_close(socket: impl AsFd) {
    // Fails only on something that is no socket; a plain close is what is left then.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Takes a waiting connection, if there is one. The socket is blocking, as the ring prefers it;
/// every call here asks not to wait.
///
/// # Errors
/// As `accept4(2)`; EAGAIN is `Ok(None)`, and so is a peer that has left meanwhile.
pub fn accept(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    loop {
        return match net::accept_with(&listener, SocketFlags::CLOEXEC) {
            Ok(socket) => Ok(Some(socket)),
            Err(Errno::INTR) => continue,
            // accept(2): errors of the new connection's network are to be treated like EAGAIN.
            Err(
                Errno::AGAIN
                | Errno::CONNABORTED
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH,
            ) => Ok(None),
            Err(error) => Err(error.into()),
        };
    }
}

/// The address and port of the peer; `None` when it has left.
pub fn peer(socket: impl AsFd) -> Option<SocketAddr> {
    SocketAddr::try_from(net::getpeername(socket).ok()??).ok()
}

/// A socket that listens on `address`, the first one there: it fails when another process listens,
/// which `SO_REUSEPORT` would hide. Further ones can share the port, which is never free in
/// between. Accepted sockets inherit `TCP_NODELAY`.
///
/// # Errors
/// As `bind(2)` and `listen(2)`: the address is in use, not of this host, or a privileged port.
pub fn listen_alone(address: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let socket = stream_socket(address)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    prepare(&socket)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// A socket that shares `address` with others (`SO_REUSEPORT`). It does not listen yet: until then
/// all connections go to the others.
///
/// # Errors
/// As `bind(2)`.
pub fn bind_shared(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = stream_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    prepare(&socket)?;
    Ok(socket.into())
}

/// Has a bound socket listen; one that does already goes on.
///
/// # Errors
/// As `listen(2)`.
pub fn listen(socket: impl AsFd, backlog: i32) -> io::Result<()> {
    Ok(net::listen(socket, backlog)?)
}

fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)
}

/// Who is at the other end of a Unix socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnixPeer {
    /// Its process; `None` when that is in another PID namespace.
    pub process: Option<i32>,
    /// Its user.
    pub user: u32,
}

/// Who is at the other end of a Unix socket, as when it was connected (`SO_PEERCRED`).
///
/// # Errors
/// As `getsockopt(2)`.
pub fn unix_peer(socket: impl AsFd) -> io::Result<UnixPeer> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointers describe `credentials` and its length, which outlive the call; any bytes
    // are a valid `ucred`.
    let got = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            std::ptr::from_mut(&mut credentials).cast(),
            &raw mut length,
        )
    };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    let process = (credentials.pid > 0).then_some(credentials.pid);
    Ok(UnixPeer { process, user: credentials.uid })
}

/// The address a socket is bound to.
///
/// # Errors
/// When it has no IP address.
pub fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    let address = net::getsockname(socket)?;
    SocketAddr::try_from(address).map_err(|_| io::Error::other("the socket has no IP address"))
}

/// Starts to connect to `target` from `source` (any port). The socket is writable when the attempt
/// has ended; [`connect_outcome`] tells how. `receive_buffer` is `SO_RCVBUF` in bytes, which the
/// kernel doubles; it must stand before the first SYN, whose window scale depends on it.
///
/// # Errors
/// As `bind(2)` and `connect(2)`; EADDRNOTAVAIL when the ports of the source are used up.
pub fn connect(
    source: Option<SocketAddr>,
    target: SocketAddr,
    receive_buffer: Option<usize>,
) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        // Lets connect choose a port that is free towards this target only.
        choose_port_at_connect(&socket)?;
        socket.bind(&source.into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error),
    }
}

/// How an attempt to connect has ended.
///
/// # Errors
/// The error of the attempt.
pub fn connect_outcome(socket: impl AsFd) -> io::Result<()> {
    sockopt::socket_error(socket)??;
    Ok(())
}

fn choose_port_at_connect(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length describe `on`, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn stream_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]:8080` and `0.0.0.0:8080` are then two listeners, as their names say.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_neither_a_full_socket_nor_a_broken_one() {
        for (errno, expected) in [
            (Errno::AGAIN, Sent::Bytes(0)),
            (Errno::NOBUFS, Sent::Starved),
            (Errno::NOMEM, Sent::Starved),
            (Errno::PIPE, Sent::Broken),
            (Errno::CONNRESET, Sent::Broken),
        ] {
            let mut answers = [Errno::INTR, errno].into_iter();
            let call = || Err(answers.next().expect("only an interrupted call is repeated"));
            assert_eq!(sent(call), expected, "{errno}");
        }
    }
}
