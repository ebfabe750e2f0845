//! What the server relies on of polls, timers and doorbells, asked of the kernel it runs on.

#[path = "common/observer.rs"]
mod observer;

use observer::{Observer, SOON, connection, listener, token};
use ringwire::ring::socket::{self, Received, Sent};
use ringwire::ring::{
    Doorbell, HostSizes, Interest, TimerSlot, Token, Wake, poll_once, raise_descriptor_limit,
    run_hosted,
};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const POLL: Token = token(1);
const CANCEL: Token = token(2);
const HOST: HostSizes = HostSizes { submissions: 8, completions: 16 };

#[test]
fn a_multishot_poll_tells_what_becomes_ready_once() {
    let (mut socket, mut peer) = connection(&listener());
    let mut observer = Observer::new(8, 64);
    observer.arm(&socket, Interest::ReadWrite, POLL);
    let armed = observer.only();
    assert!(armed.writable() && !armed.readable() && !armed.hung_up() && armed.more, "{armed:?}");
    observer.is_quiet();

    for _ in 0..2 {
        peer.write_all(b"ab").expect("the peer can write");
        let arrived = observer.only();
        assert!(arrived.readable() && !arrived.hung_up() && arrived.more, "{arrived:?}");
        observer.is_quiet();
    }
    socket.read_exact(&mut [0]).expect("a byte is there");
    observer.is_quiet();

    peer.shutdown(Shutdown::Write).expect("the peer is connected");
    let ended = observer.until(|completion| completion.hung_up());
    assert!(ended.readable() && ended.more, "{ended:?}");
    let mut buffer = [0; 16];
    assert_eq!(socket::receive(&socket, &mut buffer), Received::Bytes(3), "data comes first");
    assert_eq!(socket::receive(&socket, &mut buffer), Received::End);
}

#[test]
fn one_poll_tells_of_room_after_a_full_socket_was_drained() {
    let (socket, mut peer) = connection(&listener());
    let mut observer = Observer::new(8, 64);
    observer.arm(&socket, Interest::ReadWrite, POLL);
    assert!(observer.only().writable());

    let chunk = [0; 64 * 1024];
    let mut filled = 0;
    // Room that the kernel makes meanwhile, by moving bytes on to the peer's side, is filled too.
    while filled == 0 || !observer.now().is_empty() {
        loop {
            match socket::send(&socket, &chunk) {
                Sent::Bytes(0) | Sent::Starved => break,
                Sent::Bytes(count) => filled += count,
                Sent::Broken => panic!("the peer is there"),
            }
        }
    }
    std::io::copy(&mut (&mut peer).take(filled as u64), &mut std::io::sink())
        .expect("the peer reads all of it");
    let drained = observer.until(|completion| completion.writable());
    assert!(!drained.readable() && drained.more, "{drained:?}");
    assert!(matches!(socket::send(&socket, &chunk), Sent::Bytes(1..)));
}

#[test]
fn closing_under_a_poll_tells_the_peer_nothing_until_the_cancel() {
    let (socket, mut peer) = connection(&listener());
    let mut observer = Observer::new(8, 64);
    observer.arm(&socket, Interest::Read, POLL);
    drop(socket);
    observer.is_quiet();
    peer.set_nonblocking(true).expect("a socket can be non-blocking");
    let read = peer.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(read, Err(ErrorKind::WouldBlock), "the poll holds the connection");

    observer.ring.cancel(POLL, CANCEL);
    observer.until(|completion| completion.token == POLL && !completion.more);
    peer.set_nonblocking(false).expect("a socket can be blocking");
    assert_eq!(peer.read(&mut [0]).expect("it was closed in order"), 0);
}

#[test]
fn a_shutdown_wakes_the_poll_and_tells_the_peer() {
    let (socket, mut peer) = connection(&listener());
    let mut observer = Observer::new(8, 64);
    observer.arm(&socket, Interest::Read, POLL);
    socket::shut_down(&socket, Shutdown::Both);
    assert!(observer.until(|completion| completion.hung_up()).readable());
    assert_eq!(peer.read(&mut [0]).expect("it was closed in order"), 0);
}

#[test]
fn a_late_cancel_does_not_touch_the_next_tenant() {
    let (first, second) = (Token::new(0, 1, 7), Token::new(0, 2, 7));
    let listener = listener();
    let (socket, _peer) = connection(&listener);
    let mut socket = OwnedFd::from(socket);
    let mut observer = Observer::new(8, 64);
    observer.arm(&socket, Interest::Read, first);
    observer.ring.cancel(first, CANCEL);
    observer.until(|completion| completion.token == first && !completion.more);

    let (next, mut next_peer) = connection(&listener);
    let number = socket.as_raw_fd();
    rustix::io::dup2(&next, &mut socket).expect("the number can be taken over");
    assert_eq!(socket.as_raw_fd(), number);
    observer.arm(&socket, Interest::Read, second);
    observer.ring.cancel(first, CANCEL);
    let cancelled = observer.until(|completion| completion.token == CANCEL);
    assert_eq!(cancelled.result, -libc::ENOENT);
    observer.is_quiet();

    next_peer.write_all(b"a").expect("the peer can write");
    let arrived = observer.only();
    assert!(arrived.token == second && arrived.readable() && arrived.more, "{arrived:?}");
}

#[test]
fn a_full_completion_queue_loses_nothing() {
    const SOCKETS: u32 = 1000;
    assert!(raise_descriptor_limit() > 2 * u64::from(SOCKETS));
    let pairs: Vec<_> =
        (0..SOCKETS / 2).map(|_| UnixStream::pair().expect("descriptors are left")).collect();
    let sockets: Vec<&UnixStream> = pairs.iter().flat_map(|(one, other)| [one, other]).collect();
    let mut observer = Observer::new(8, 8);
    for (number, socket) in (0..).zip(&sockets) {
        observer.ring.poll_multishot(socket, Interest::ReadWrite, token(number));
    }
    let armed = told_by_all(&mut observer, SOCKETS);
    assert!(observer.ring.pressure() > 0, "the pressure is counted");

    assert!(armed.contains(&false), "the kernel ends polls for want of room");
    for (number, socket) in (0..).zip(&sockets).filter(|(number, _)| !armed[*number as usize]) {
        observer.ring.poll_multishot(socket, Interest::Read, token(number));
    }
    observer.is_quiet();
    for socket in &sockets {
        assert_eq!(socket::send(socket, b"a"), Sent::Bytes(1));
    }
    told_by_all(&mut observer, SOCKETS);
}

#[test]
fn a_submit_takes_all_that_has_completed() {
    const POLLS: u32 = 1000;
    let wake = Wake::new().expect("descriptors are left");
    let mut observer = Observer::new(8, 1024);
    for number in 0..POLLS {
        observer.ring.poll_multishot(&wake, Interest::Read, token(number));
    }
    observer.is_quiet();
    wake.ring();
    assert_eq!(observer.now().len(), POLLS as usize);
    assert!(!observer.ring.submit_if_queued().expect("the ring works"), "nothing is left");
    assert_eq!(observer.ring.pressure(), 0);
}

#[test]
fn what_the_kernel_keeps_back_is_told() {
    const POLLS: u32 = 100;
    let wake = Wake::new().expect("descriptors are left");
    let mut observer = Observer::new(8, 8);
    for number in 0..POLLS {
        observer.ring.poll_multishot(&wake, Interest::Read, token(number));
    }
    observer.is_quiet();
    wake.ring();
    let mut told = observer.now();
    while observer.ring.submit_if_queued().expect("the ring works") {
        told.extend(observer.now());
    }
    assert_eq!(told.len(), POLLS as usize);
}

/// Takes completions until each of `count` tokens has told something; whether its poll goes on.
fn told_by_all(observer: &mut Observer, count: u32) -> Vec<bool> {
    let mut told = vec![None; count as usize];
    while told.contains(&None) {
        for completion in observer.next() {
            assert!(completion.result > 0, "{completion:?}");
            let goes_on = &mut told[completion.token.index() as usize];
            assert_ne!(*goes_on, Some(false), "nothing follows the last word: {completion:?}");
            *goes_on = Some(completion.more);
        }
    }
    told.into_iter().map(|goes_on| goes_on == Some(true)).collect()
}

#[test]
fn a_full_submission_queue_loses_nothing() {
    const POLLS: u32 = 10_000;
    let wake = Wake::new().expect("descriptors are left");
    let mut observer = Observer::new(8, 16 * 1024);
    for number in 0..POLLS {
        observer.ring.poll_multishot(&wake, Interest::Read, token(number));
    }
    observer.is_quiet();
    wake.ring();
    let mut told: Vec<u32> = Vec::new();
    while told.len() < POLLS as usize {
        told.extend(observer.next().iter().map(|completion| completion.token.index()));
    }
    told.sort_unstable();
    assert!(told.into_iter().eq(0..POLLS), "each tells once");
}

#[test]
fn each_timer_fires_once_and_can_be_set_again() {
    let mut observer = Observer::new(8, 64);
    for _round in 0..3 {
        for slot in 0..4 {
            let delay = Duration::from_millis(4 - u64::from(slot));
            observer.ring.timer(TimerSlot(slot), delay, token(slot.into()));
        }
        let mut fired = Vec::new();
        while fired.len() < 4 {
            for completion in observer.next() {
                assert!([0, -libc::ETIME].contains(&completion.result), "{completion:?}");
                assert!(!completion.more, "{completion:?}");
                fired.push(completion.token.index());
            }
        }
        fired.sort_unstable();
        assert_eq!(fired, [0, 1, 2, 3]);
        observer.is_quiet();
    }
}

#[test]
fn rings_before_a_look_count_as_one_on_a_ring() {
    let wake = Arc::new(Wake::new().expect("descriptors are left"));
    let mut observer = Observer::new(8, 64);
    observer.arm(&*wake, Interest::Read, POLL);
    observer.is_quiet();
    for _ in 0..3 {
        wake.ring();
    }
    assert!(observer.only().more);
    observer.is_quiet();

    let ringer = thread::spawn({
        let wake = Arc::clone(&wake);
        move || wake.ring()
    });
    assert!(observer.only().readable());
    ringer.join().expect("ringing does not fail");
}

#[test]
fn rings_before_a_look_count_as_one_on_a_host() {
    let wake = Arc::new(Wake::new().expect("descriptors are left"));
    run_hosted(HOST, async {
        let doorbell = Doorbell::new(&wake).expect("the host takes a doorbell");
        for _ in 0..3 {
            wake.ring();
        }
        within(SOON, doorbell.rung()).await.expect("it was rung").expect("the host runs");
        let again = within(Duration::from_millis(5), doorbell.rung()).await;
        assert!(again.is_none(), "three rings count as one");

        let ringer = thread::spawn({
            let wake = Arc::clone(&wake);
            move || wake.ring()
        });
        within(SOON, doorbell.rung()).await.expect("it was rung").expect("the host runs");
        ringer.join().expect("ringing does not fail");
    })
    .expect("the host can be built");
}

#[test]
fn a_completion_rings_the_doorbell_of_its_host() {
    let wake = Wake::new().expect("descriptors are left");
    let (socket, mut peer) = UnixStream::pair().expect("descriptors are left");
    run_hosted(HOST, async {
        let mut observer = Observer::new(8, 64);
        observer.ring.ring_on_completion(&wake).expect("the ring takes a doorbell");
        let doorbell = Doorbell::new(&wake).expect("the host takes a doorbell");
        observer.arm(&socket, Interest::Read, POLL);
        for _ in 0..3 {
            peer.write_all(b"a").expect("there is room");
            within(SOON, doorbell.rung()).await.expect("it was rung").expect("the host runs");
            assert!(observer.only().readable());
        }
        observer.ring.timer(TimerSlot(0), Duration::from_millis(1), CANCEL);
        observer.ring.submit().expect("the kernel takes a timer");
        within(SOON, doorbell.rung()).await.expect("it was rung").expect("the host runs");
        assert_eq!(observer.only().token, CANCEL);
    })
    .expect("the host can be built");
}

async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}

#[test]
fn a_dropped_wait_for_readiness_leaves_the_host_healthy() {
    let (mut socket, mut peer) = connection(&listener());
    run_hosted(HOST, async {
        for _ in 0..1000 {
            tokio::select! {
                biased;
                ready = poll_once(&socket, Interest::Read) => panic!("nothing came: {ready:?}"),
                () = std::future::ready(()) => {}
            }
        }
        peer.write_all(b"a").expect("the peer can write");
        let ready = within(SOON, poll_once(&socket, Interest::Read)).await;
        ready.expect("a byte came").expect("a socket can be polled");
        socket.read_exact(&mut [0]).expect("the byte is still there");

        let early = within(Duration::from_millis(1), poll_once(&socket, Interest::Read)).await;
        assert!(early.is_none(), "nothing came");
        let ready = within(SOON, poll_once(&socket, Interest::Write)).await;
        ready.expect("there is room").expect("a socket can be polled");
    })
    .expect("the host can be built and ends with a poll in the kernel");
    drop(socket);
    assert_eq!(peer.read(&mut [0]).expect("it was closed in order"), 0);
}
