//! What the server relies on of descriptors and listeners, asked of the kernel it runs on.

#[path = "common/observer.rs"]
mod observer;

use observer::{Observer, SOON, token};
use ringwire::ring::socket::{accept, bind_shared, listen, listen_alone};
use ringwire::ring::{Interest, Wake, own_descriptor_table};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::read_link;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// The limit and the first table of descriptors belong to the whole process: one test at a time.
static DESCRIPTORS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A free port of loopback, as an address to listen on.
fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn address_of(listener: &OwnedFd) -> SocketAddr {
    let listener = listener.try_clone().expect("descriptors are left");
    TcpListener::from(listener).local_addr().expect("the listener is bound")
}

/// Waits until one of `listeners` has a connection to give.
fn wait_for_connection(listeners: &[&OwnedFd]) {
    let timeout = Timespec::try_from(SOON).expect("some seconds fit");
    let mut polls: Vec<_> =
        listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
    assert!(poll(&mut polls, Some(&timeout)).is_ok_and(|ready| ready > 0), "a connection comes");
}

/// What the calling thread has under `number`, by its name in the kernel, which no other has.
fn seen_here(number: RawFd) -> Option<PathBuf> {
    read_link(format!("/proc/thread-self/fd/{number}")).ok()
}

/// Has a thread open a socket; what that thread sees under its number, and what this one sees.
fn seen_there_and_here(before: impl FnOnce() + Send + 'static) -> [Option<PathBuf>; 2] {
    let (opened, number) = channel();
    let (done, looked) = channel::<()>();
    let thread = thread::spawn(move || {
        before();
        let socket = listen_alone(loopback(), 1).expect("loopback has free ports");
        opened.send((socket.as_raw_fd(), seen_here(socket.as_raw_fd()))).expect("it is awaited");
        // Ends when the other thread has looked.
        looked.recv().expect_err("nothing is sent, the sender goes");
    });
    let (number, there) = number.recv().expect("the thread opens a socket");
    let here = seen_here(number);
    drop(done);
    thread.join().expect("the thread ends well");
    [there, here]
}

#[test]
fn what_a_thread_opens_in_its_own_table_is_invisible_to_others() {
    let _alone = alone();
    let [there, here] = seen_there_and_here(|| ());
    assert!(there.is_some() && there == here, "{there:?} in a table shared by all, here {here:?}");

    let own = || own_descriptor_table().expect("a thread may have its own table");
    let [there, here] = seen_there_and_here(own);
    assert!(there.is_some() && there != here, "{there:?} in a table of its own, here {here:?}");
}

#[test]
fn a_wake_works_from_both_sides_of_a_table() {
    let _alone = alone();
    let [ours, theirs] = [Wake::new(), Wake::new()].map(|wake| wake.expect("descriptors are left"));
    thread::scope(|scope| {
        scope.spawn(|| {
            own_descriptor_table().expect("a thread may have its own table");
            let mut observer = Observer::new(8, 64);
            observer.arm(&theirs, Interest::Read, token(1));
            assert!(observer.only().readable());
            ours.ring();
        });
        let mut observer = Observer::new(8, 64);
        observer.arm(&ours, Interest::Read, token(2));
        theirs.ring();
        assert!(observer.only().readable());
    });
}

#[test]
fn an_address_that_is_listened_on_is_not_listened_on_alone() {
    let _alone = alone();
    let listener = listen_alone(loopback(), 1).expect("loopback has free ports");
    let address = address_of(&listener);
    assert_ne!(address.port(), 0, "it has a real port");
    let refused = listen_alone(address, 1).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::AddrInUse), "though it shares its port");
    let second = sharing(address, 1);
    drop(listener);
    let refused = listen_alone(address, 1).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::AddrInUse), "the second listens");
    drop(second);
    assert!(listen_alone(address, 1).is_ok(), "nobody listens any more");
}

/// A further listener on an address.
fn sharing(address: SocketAddr, backlog: i32) -> OwnedFd {
    let socket = bind_shared(address).expect("the port can be shared");
    listen(&socket, backlog).expect("it is bound");
    socket
}

#[test]
fn a_bound_socket_gets_no_connection_before_it_listens() {
    const CLIENTS: usize = 64;
    let _alone = alone();
    let first = listen_alone(loopback(), 128).expect("loopback has free ports");
    let _second = bind_shared(address_of(&first)).expect("the port can be shared");
    let connect = |_| TcpStream::connect(address_of(&first)).expect("the first listens");
    let _clients: Vec<TcpStream> = (0..CLIENTS).map(connect).collect();
    let accepted = |_: &usize| accept(&first).expect("descriptors are left").is_some();
    assert_eq!((0..CLIENTS + 1).take_while(accepted).count(), CLIENTS);
}

#[test]
fn two_listeners_share_a_port_and_its_connections() {
    const CLIENTS: usize = 64;
    let _alone = alone();
    let first = listen_alone(loopback(), 128).expect("loopback has free ports");
    let address = address_of(&first);
    let second = sharing(address, 128);
    let _clients: Vec<TcpStream> =
        (0..CLIENTS).map(|_| TcpStream::connect(address).expect("somebody listens")).collect();
    let listeners = [&first, &second];
    let mut shares = [0; 2];
    while shares.iter().sum::<usize>() < CLIENTS {
        wait_for_connection(&listeners);
        for (share, listener) in shares.iter_mut().zip(listeners) {
            while let Some(socket) = accept(listener).expect("descriptors are left") {
                let socket = TcpStream::from(socket);
                assert!(socket.nodelay().expect("TCP has this option"), "as its listener");
                *share += 1;
            }
        }
    }
    assert!(shares.iter().all(|&share| share > 0), "{shares:?}: each has its share");
}

#[test]
fn a_connection_waits_in_its_queue_while_descriptors_are_used_up() {
    let _alone = alone();
    let listener = listen_alone(loopback(), 16).expect("loopback has free ports");
    assert!(accept(&listener).expect("there is nothing to fail").is_none(), "nobody waits");
    let mut client = TcpStream::connect(address_of(&listener)).expect("somebody listens");
    client.write_all(b"a").expect("the connection is there");
    wait_for_connection(&[&listener]);

    let limit = getrlimit(Resource::Nofile);
    let low = Rlimit { current: Some(64), maximum: limit.maximum };
    setrlimit(Resource::Nofile, low).expect("a limit can be lowered");
    let mut hoard = Vec::new();
    while let Ok(another) = listener.try_clone() {
        hoard.push(another);
    }
    let refused = [accept(&listener), accept(&listener)];
    drop(hoard);
    setrlimit(Resource::Nofile, limit).expect("a soft limit can be raised again");
    for refusal in refused {
        let error = refusal.expect_err("no descriptor is left");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    }

    let socket = accept(&listener).expect("descriptors are left").expect("the client waits");
    let mut byte = [0];
    TcpStream::from(socket).read_exact(&mut byte).expect("its byte was kept");
    assert_eq!(&byte, b"a");
}
