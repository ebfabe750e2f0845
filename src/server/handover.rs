//! How a server hands its listening sockets to the next one on the same host.
//!
//! ```text
//!   old                                   new (--take-over)
//!   door: abstract Unix socket     ◀───── connects; both look at the other's user
//!   how many sockets, the sockets  ─────▶ starts its shards, which accept nobody yet
//!                                  ◀───── one byte: ready
//!   closes its door, accepts no more,
//!   lets everybody go              ─────▶ (end of stream) opens its own door, accepts
//! ```
//!
//! Until the byte comes, the old server goes on as if nothing were: a successor that fails costs
//! nobody anything, since it has accepted nobody. From then on connections wait in the sockets for
//! the new one.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::geteuid;

use crate::limits::{HANDOVER_SOCKETS_MAX, HANDOVER_TIME, RELEASE_TIME};
use crate::ring::socket::{self, unix_peer};

/// Sockets in one message; the kernel takes up to 253.
const SOCKETS_PER_MESSAGE: usize = 64;

/// What a successor says when it is ready to accept connections.
const READY: u8 = 1;

/// The process at the other end; `None` when it is in another PID namespace.
pub(super) type Process = Option<i32>;

/// Where the server that listens on `address` waits for its successor: in the network namespace,
/// without a file.
///
/// # Errors
/// EADDRINUSE when another server waits there.
pub(super) fn open_door(address: SocketAddr) -> io::Result<UnixListener> {
    let listener = UnixListener::bind_addr(&name(address)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Hands `sockets` to the process that knocked, the listening ones and then, if there is one, the
/// `admin` listener, and waits until it is ready. Gives back the stream, whose end tells the
/// successor that the door is free, and its process.
///
/// # Errors
/// It is of another user, it ended, or it did not get ready in time: nothing has changed.
pub(super) fn hand_over(
    mut successor: UnixStream,
    listeners: &[BorrowedFd<'_>],
    admin: Option<BorrowedFd<'_>>,
) -> io::Result<(UnixStream, Process)> {
    let process = same_user(&successor)?;
    successor.set_nonblocking(false)?;
    successor.set_read_timeout(Some(HANDOVER_TIME))?;
    successor.set_write_timeout(Some(HANDOVER_TIME))?;
    let count = u32::try_from(listeners.len()).map_err(io::Error::other)?;
    successor.write_all(&count.to_be_bytes())?;
    successor.write_all(&[admin.is_some().into()])?;
    for part in listeners.chunks(SOCKETS_PER_MESSAGE) {
        send_sockets(&successor, part)?;
    }
    if let Some(admin) = admin {
        send_sockets(&successor, &[admin])?;
    }
    let mut answer = [0];
    successor.read_exact(&mut answer)?;
    if answer != [READY] {
        return Err(io::Error::other("the successor speaks another protocol"));
    }
    Ok((successor, process))
}

/// What a server got from the one before it.
#[derive(Debug)]
pub(super) struct Inheritance {
    /// The listening sockets of the shards.
    pub(super) listeners: Vec<OwnedFd>,
    /// The admin listener.
    pub(super) admin: Option<OwnedFd>,
    /// Who had them.
    pub(super) process: Process,
    stream: UnixStream,
}

impl Inheritance {
    /// Asks the server that listens on `address` for its sockets.
    ///
    /// # Errors
    /// There is none that could be taken over, or it is of another user.
    pub(super) fn ask(address: SocketAddr) -> io::Result<Self> {
        let cannot = |error: io::Error| {
            let message = format!(
                "no server that listens on {address} can be taken over: {error}. Start without \
                 --take-over, or name the first address of the other as --take-over=ADDR:PORT"
            );
            io::Error::new(error.kind(), message)
        };
        let stream = UnixStream::connect_addr(&name(address)?).map_err(cannot)?;
        Self::receive(stream).map_err(cannot)
    }

    fn receive(mut stream: UnixStream) -> io::Result<Self> {
        let process = same_user(&stream)?;
        stream.set_read_timeout(Some(HANDOVER_TIME))?;
        let mut count = [0; 4];
        stream.read_exact(&mut count)?;
        let count = u32::from_be_bytes(count) as usize;
        if count > HANDOVER_SOCKETS_MAX {
            return Err(io::Error::other("it has more sockets than a server can have"));
        }
        let mut has_admin = [0];
        stream.read_exact(&mut has_admin)?;
        let mut listeners = Vec::new();
        while listeners.len() < count {
            receive_sockets(&stream, &mut listeners)?;
        }
        let mut admin = Vec::new();
        if has_admin != [0] {
            receive_sockets(&stream, &mut admin)?;
        }
        Ok(Self { listeners, admin: admin.pop(), process, stream })
    }

    /// Says that connections are accepted here from now on, and waits until the other has closed
    /// its door and accepts no more.
    ///
    /// # Errors
    /// It has given up waiting, or has ended, or does not answer.
    pub(super) fn take(&mut self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(RELEASE_TIME))?;
        self.stream.write_all(&[READY])?;
        let mut said = Vec::new();
        // A call with a time to end is not taken up again after a signal; this one is.
        Read::by_ref(&mut self.stream).take(1).read_to_end(&mut said)?;
        if said.is_empty() { Ok(()) } else { Err(io::Error::other("it speaks another protocol")) }
    }

    /// Ends the sockets that nobody took out: the process that had them would keep them open, and
    /// who connects waiting, until it has drained.
    pub(super) fn end_rest(&mut self) {
        for socket in self.listeners.drain(..).chain(self.admin.take()) {
            let address = socket::local_address(&socket);
            tracing::warn!(?address, "not listened on any more");
            socket::shut_down(&socket, Shutdown::Both);
        }
    }
}

fn name(address: SocketAddr) -> io::Result<UnixAddress> {
    UnixAddress::from_abstract_name(format!("ringwire {address}"))
}

/// The process at the other end, which must be of our user: everybody can knock, and everybody can
/// open a door.
fn same_user(stream: &UnixStream) -> io::Result<Process> {
    let peer = unix_peer(stream)?;
    if peer.user != geteuid().as_raw() {
        let message = format!("the process at the other end is of user {}", peer.user);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(peer.process)
}

fn send_sockets(stream: &UnixStream, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(sockets)), "there is space for them");
    // Sockets travel with a byte.
    let sent = retry_on_intr(|| {
        sendmsg(stream, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)
    })?;
    assert_eq!(sent, 1, "one byte is sent or none");
    Ok(())
}

fn receive_sockets(stream: impl AsFd, sockets: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = retry_on_intr(|| {
        recvmsg(&stream, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags)
    })?;
    let before = sockets.len();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            sockets.extend(rights);
        }
    }
    if received.bytes == 0 || sockets.len() == before {
        return Err(io::Error::other("it sent fewer sockets than it has"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::ring::socket::local_address;

    fn addresses(sockets: impl Iterator<Item = impl AsFd>) -> Vec<SocketAddr> {
        sockets.map(|socket| local_address(socket).expect("it is bound")).collect()
    }

    #[test]
    fn sockets_arrive_in_order_however_many() {
        let listeners: Vec<TcpListener> = (0..SOCKETS_PER_MESSAGE * 2 + 1)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback has free ports"))
            .collect();
        let (old, new) = UnixStream::pair().expect("a pair of sockets");
        thread::scope(|scope| {
            let handed = scope.spawn(|| {
                let sockets: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
                let (admin, sockets) = sockets.split_last().expect("there are some");
                let (stream, process) = hand_over(old, sockets, Some(*admin))?;
                drop(stream);
                io::Result::Ok(process)
            });
            let mut inheritance = Inheritance::receive(new).expect("sockets are handed over");
            let received = inheritance.listeners.iter().chain(&inheritance.admin);
            assert_eq!(addresses(received), addresses(listeners.iter()));
            assert!(inheritance.admin.is_some());
            let own = Some(std::process::id() as i32);
            assert_eq!(inheritance.process, own);
            inheritance.take().expect("the door is free");
            assert_eq!(handed.join().expect("no panic").expect("it was ready"), own);
        });
    }

    #[test]
    fn a_successor_that_ends_is_no_successor() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let (old, new) = UnixStream::pair().expect("a pair of sockets");
        thread::scope(|scope| {
            let handed = scope.spawn(|| hand_over(old, &[listener.as_fd()], None));
            drop(Inheritance::receive(new).expect("sockets are handed over"));
            let error = handed.join().expect("no panic").expect_err("it has ended");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        });
    }

    #[test]
    fn one_door_for_each_address() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let door = open_door(address).expect("nobody waits there");
        assert_eq!(
            open_door(address).map_err(|error| error.kind()).err(),
            Some(io::ErrorKind::AddrInUse)
        );
        drop(door);
        let error = Inheritance::ask(address).expect_err("nobody waits there any more");
        assert!(error.to_string().contains("Start without --take-over"), "{error}");
    }
}
