//! A cancelled poll has one last word, whatever the peer does meanwhile, on the kernel it runs on.

#[path = "common/observer.rs"]
mod observer;

use observer::{Observer, connection, listener};
use ringwire::ring::socket::abort_on_close;
use ringwire::ring::{Interest, Token};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

const ROUNDS: u32 = 10_000;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the peer does.
#[derive(Clone, Copy, Debug)]
enum Event {
    Byte,
    Fin,
    Reset,
}

/// When it does it.
#[derive(Clone, Copy, Debug)]
enum Order {
    BeforeTheCancel,
    AfterTheCancel,
    AtOnce,
}

/// One round, as drawn.
#[derive(Clone, Copy, Debug)]
struct Race {
    event: Event,
    order: Order,
    /// The poll and its cancel reach the kernel in one call.
    together: bool,
    /// Turns of a short loop before the cancel of [`Order::AtOnce`].
    delay: u64,
}

/// A repeatable series of numbers (xorshift64*).
struct Series(u64);

impl Series {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }

    fn race(&mut self) -> Race {
        let events = [Event::Byte, Event::Fin, Event::Reset];
        let orders = [Order::BeforeTheCancel, Order::AfterTheCancel, Order::AtOnce];
        Race {
            event: events[self.below(3) as usize],
            order: orders[self.below(3) as usize],
            together: self.below(4) == 0,
            delay: self.below(4000),
        }
    }
}

/// The peers' thread: does what it is told, and gives back the peers that are still there.
struct Peers {
    orders: Sender<(TcpStream, Event)>,
    done: Receiver<Option<TcpStream>>,
}

impl Peers {
    fn start() -> Self {
        let (orders, told) = channel::<(TcpStream, Event)>();
        let (finished, done) = channel();
        thread::spawn(move || {
            for (mut peer, event) in told {
                let left = match event {
                    Event::Byte => peer.write_all(b"a").map(|()| Some(peer)),
                    Event::Fin => peer.shutdown(Shutdown::Write).map(|()| Some(peer)),
                    Event::Reset => {
                        abort_on_close(&peer);
                        drop(peer);
                        Ok(None)
                    }
                };
                finished.send(left.expect("the server is still there")).expect("it is awaited");
            }
        });
        Self { orders, done }
    }

    fn begin(&self, peer: TcpStream, event: Event) {
        self.orders.send((peer, event)).expect("the thread lives");
    }

    fn finish(&self) -> Option<TcpStream> {
        self.done.recv().expect("the thread lives")
    }
}

#[test]
fn a_cancelled_poll_has_one_last_word() {
    let listener = listener();
    let peers = Peers::start();
    let mut observer = Observer::new(8, 64);
    let mut series = Series(SEED);
    for round in 0..ROUNDS {
        let race = series.race();
        let poll = Token::new(0, round, 0);
        let (socket, peer) = connection(&listener);
        observer.ring.poll_multishot(&socket, Interest::ReadWrite, poll);
        if !race.together {
            observer.ring.submit().expect("the kernel takes a poll");
        }
        let peer = run(race, poll, peer, &peers, &mut observer);
        let late = observer.now();
        assert!(late.is_empty(), "round {round}, {race:?}: {late:?} after the last word");
        part(race, round, socket, peer);
    }
}

/// Cancels the poll while the peer acts, until both are over; the peer, if it is still there.
fn run(
    race: Race,
    poll: Token,
    peer: TcpStream,
    peers: &Peers,
    observer: &mut Observer,
) -> Option<TcpStream> {
    match race.order {
        Order::BeforeTheCancel => {
            peers.begin(peer, race.event);
            let peer = peers.finish();
            await_last_words(race, poll, observer);
            peer
        }
        Order::AfterTheCancel => {
            await_last_words(race, poll, observer);
            peers.begin(peer, race.event);
            peers.finish()
        }
        Order::AtOnce => {
            peers.begin(peer, race.event);
            for _ in 0..race.delay {
                std::hint::spin_loop();
            }
            await_last_words(race, poll, observer);
            peers.finish()
        }
    }
}

/// Cancels `poll` and takes completions until it and the cancel have ended, each once.
fn await_last_words(race: Race, poll: Token, observer: &mut Observer) {
    let cancel = Token::new(1, poll.generation(), 0);
    observer.ring.cancel(poll, cancel);
    let (mut ended, mut cancelled) = (false, false);
    while !(ended && cancelled) {
        for completion in observer.next() {
            let over = if completion.token == poll { &mut ended } else { &mut cancelled };
            assert!([poll, cancel].contains(&completion.token), "{race:?}: {completion:?}");
            assert!(!*over, "{race:?}: {completion:?} after the last word");
            *over = !completion.more;
        }
    }
}

/// Closes the socket, which nothing holds any more: the peer must see its end.
fn part(race: Race, round: u32, mut socket: TcpStream, peer: Option<TcpStream>) {
    let mut byte = [0];
    match race.event {
        // What is left unread would make a reset of the close.
        Event::Byte => socket.read_exact(&mut byte).expect("a byte came"),
        Event::Fin => assert_eq!(socket.read(&mut byte).expect("the end came"), 0),
        Event::Reset => {}
    }
    drop(socket);
    if let Some(mut peer) = peer {
        let read = peer.read(&mut byte).map_err(|error| error.kind());
        assert_eq!(read, Ok(0), "round {round}, {race:?}: the close sends a FIN");
        // Spares the address its wait, unless the peer was the first to hang up.
        abort_on_close(&peer);
    }
}
