//! How connections and the server end: heartbeats, the signals of an operator, peers that do not
//! play along, and a storm of all of it. Afterwards nothing may be left.

mod common;
#[path = "common/http.rs"]
mod http;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use common::{Place, Scheme, Server, over_both};
use http::Api;
use observed::{Baseline, Metrics};
use raw::{BINARY, End, PING, PONG, RawClient, TEXT, TEXT_BEGIN, close_frame, frame, is_served};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::thread;
use std::time::{Duration, Instant};

over_both! {
    silence_is_met_with_pings_and_then_with_a_close,
    a_drain_lets_everybody_go,
    a_drain_serves_nobody_new_and_ends_on_time,
    a_second_signal_ends_the_drain_at_once,
    a_connection_ends_whatever_its_peer_does,
    churn_leaves_nothing_behind,
}

fn seconds(seconds: f32) -> Duration {
    Duration::from_secs_f32(seconds)
}

fn silence_is_met_with_pings_and_then_with_a_close(scheme: Scheme) {
    let server = Server::start_for(
        scheme,
        &["--shards", "1", "--admin", "127.0.0.1:0", "--heartbeat", "1s"],
    );
    let (address, admin) = (server.place(), server.admin_address());
    thread::scope(|scope| {
        scope.spawn(move || answer_pings(address));
        scope.spawn(move || ignore_pings(address));
        scope.spawn(move || talk_all_the_time(address));
    });
    observed::wait_for_value(admin, "connections", 0);
    let metrics = Metrics::scrape(admin);
    assert_eq!(metrics.closed("heartbeat"), 1);
    assert_eq!(metrics.closed("client_close"), 2);
}

/// Stays silent but for pongs, and lives.
fn answer_pings(address: Place) {
    let mut client = RawClient::open(address, "/echo");
    let start = Instant::now();
    let mut pings = 0;
    while start.elapsed() < seconds(4.2) {
        let silent_since = Instant::now();
        let ping = client.read_frame().expect("a client that answers pings lives");
        assert_eq!(ping.first, PING);
        let silence = silent_since.elapsed();
        assert!((seconds(0.5)..seconds(4.0)).contains(&silence), "pinged after {silence:?}");
        client.send_frame(PONG, &ping.payload);
        pings += 1;
    }
    assert!((1..=9).contains(&pings), "{pings} pings");
    client.echo("alive");
    client.close();
}

/// Reads but never answers, and is hung up on after two silent intervals.
fn ignore_pings(address: Place) {
    let mut client = RawClient::open(address, "/echo");
    let start = Instant::now();
    assert_eq!(client.read_frame().map(|frame| frame.first), Ok(PING));
    client.read_to_end();
    let life = start.elapsed();
    assert!((seconds(1.5)..seconds(6.0)).contains(&life), "hung up on after {life:?}");
}

/// Sends often enough never to be silent, and is not pinged for it.
fn talk_all_the_time(address: Place) {
    let mut client = RawClient::open(address, "/echo");
    for _ in 0..20 {
        client.echo("not silent");
        thread::sleep(Duration::from_millis(150));
    }
    client.close();
}

/// Both ends need a descriptor per connection: `ulimit -n` must allow 10,100.
fn a_drain_lets_everybody_go(scheme: Scheme) {
    let clients: usize = if scheme == Scheme::Plain { 10_000 } else { 1000 };
    let mut server = Server::start_for(scheme, &["--shards", "2", "--drain", "5s"]);
    let address = server.place();
    let mut crowd: Vec<RawClient> =
        (0..clients).map(|_| RawClient::open(address, "/echo")).collect();

    let start = Instant::now();
    server.terminate();
    thread::scope(|scope| {
        // Answer as the Close frames come, whichever order the server lets its clients go in.
        for part in crowd.chunks_mut(clients.div_ceil(8)) {
            scope.spawn(move || {
                for client in part {
                    assert_eq!(client.read_close(), Some(1001));
                    client.send(&close_frame(1001, ""));
                    assert_eq!(client.read_frame(), Err(End::Fin));
                }
            });
        }
    });
    let status = server.wait_for_exit(Duration::from_secs(20));
    let elapsed = start.elapsed();
    assert!(status.success(), "{status}");
    assert!(elapsed < seconds(10.0), "the drain of 5 s took {elapsed:?}");
}

fn a_drain_serves_nobody_new_and_ends_on_time(scheme: Scheme) {
    let mut server = Server::start_for(scheme, &["--shards", "2", "--drain", "1s"]);
    let address = server.place();
    // It never answers the Close frame and so keeps the drain going.
    let mut deaf = RawClient::open(address, "/echo");
    // Nor does this one, which has no room for a Close frame.
    let full = shut_window(address);
    let start = Instant::now();
    server.terminate();
    assert_eq!(deaf.read_close(), Some(1001));
    assert!(!is_served(address), "a new client is served during the drain");

    let status = server.wait_for_exit(Duration::from_secs(20));
    let elapsed = start.elapsed();
    assert!(status.success(), "{status}");
    assert!(elapsed < seconds(4.0), "the drain of 1 s took {elapsed:?}");
    deaf.read_to_end();
    drop(full);
}

#[test]
fn a_signal_behind_the_order_of_an_operator_is_the_first() {
    let server = Server::start(&["--shards", "2", "--admin", "127.0.0.1:0", "--drain", "2s"]);
    let address = server.place();
    let clients: Vec<RawClient> = (0..40).map(|_| RawClient::open(address, "/echo")).collect();
    let api = Api::new(server.admin_address());
    let json = "Content-Type: application/json\r\n";
    assert_eq!(api.request("POST", "/api/drain", json, "").status, 202);
    server.terminate();
    thread::scope(|scope| {
        for mut client in clients {
            scope.spawn(move || {
                assert_eq!(client.read_close(), Some(1001));
                client.send(&close_frame(1001, ""));
                assert_eq!(client.read_frame(), Err(End::Fin));
            });
        }
    });
}

#[test]
fn a_drain_goes_on_to_ping() {
    const CLIENTS: usize = 20;
    let args = ["--shards", "1", "--heartbeat", "1s", "--drain", "6s"];
    let server = Server::start(&args);
    let address = server.place();
    let clients: Vec<RawClient> = (0..CLIENTS).map(|_| RawClient::open(address, "/echo")).collect();
    server.terminate();
    let pings = thread::scope(|scope| {
        let clients: Vec<_> = clients
            .into_iter()
            .map(|client| scope.spawn(move || answer_until_close(client)))
            .collect();
        clients.into_iter().map(|client| client.join().expect("it is told to go")).sum::<usize>()
    });
    // The farewells are spread over 4.8 s: most clients are here for more than a heartbeat.
    assert!(pings >= CLIENTS / 2, "{pings} pings");
}

/// Answers pings until it is told to go; returns how many came.
fn answer_until_close(mut client: RawClient) -> usize {
    let mut pings = 0;
    loop {
        let frame = client.read_frame().expect("it is told to go before it is cut off");
        match frame.first {
            PING => client.send_frame(PONG, &frame.payload),
            _ => {
                assert_eq!(frame.close_code(), Some(1001));
                return pings;
            }
        }
        pings += 1;
    }
}

fn a_second_signal_ends_the_drain_at_once(scheme: Scheme) {
    let mut server = Server::start_for(scheme, &["--shards", "2", "--drain", "60s"]);
    let clients: Vec<RawClient> =
        (0..20).map(|_| RawClient::open(server.place(), "/echo")).collect();
    server.terminate();
    // With jitter each client is asked at its own time: the first to be asked is enough.
    wait_for_any(&clients);

    let start = Instant::now();
    server.terminate();
    server.wait_for_exit(Duration::from_secs(20));
    let elapsed = start.elapsed();
    // Far from the drain, and from the time a single client has to answer.
    assert!(elapsed < seconds(3.0), "the second signal took {elapsed:?}");
}

/// Waits until one of `clients` has something to read.
fn wait_for_any(clients: &[RawClient]) {
    let mut fds: Vec<PollFd<'_>> =
        clients.iter().map(|client| PollFd::new(client.stream(), PollFlags::IN)).collect();
    let patience = Timespec { tv_sec: 70, tv_nsec: 0 };
    let ready = poll(&mut fds, Some(&patience)).expect("sockets can be polled");
    assert!(ready > 0, "nobody was asked to leave");
}

/// A peer that does not end its connection as it should: what it does once it is connected, and
/// what it keeps of its socket.
type Ladder = fn(RawClient) -> Option<RawClient>;

fn ladders() -> Vec<Ladder> {
    vec![
        // Asked to leave with a Close frame, it reads it and stays.
        |mut client| {
            client.send_frame(0x83, b"");
            client.expect_failure(1002, "a reserved opcode");
            Some(client)
        },
        // Asked to leave, it does not even read.
        |mut client| {
            client.send_frame(0x83, b"");
            Some(client)
        },
        // It says Close and keeps its socket.
        |mut client| {
            client.send(&close_frame(1000, ""));
            Some(client)
        },
        // It ends its direction without a Close frame and keeps the other.
        |mut client| {
            client.half_close();
            Some(client)
        },
        // The same in the middle of a frame and of a message.
        |mut client| {
            client.send(&frame(TEXT, b"half")[..7]);
            client.half_close();
            Some(client)
        },
        |mut client| {
            client.send_frame(TEXT_BEGIN, b"half");
            client.half_close();
            Some(client)
        },
        // It is gone without a word, then with a RST, then with a RST while an answer is due.
        |client| {
            drop(client);
            None
        },
        |client| {
            client.reset();
            None
        },
        |mut client| {
            client.send_frame(BINARY, &vec![0; 512 * 1024]);
            client.reset();
            None
        },
    ]
}

/// A peer that sends and never reads, at the point where the server has stopped reading too: the
/// kernel takes no more for the peer, and answers wait in the server's memory.
fn shut_window(address: Place) -> RawClient {
    let mut client = RawClient::open(address, "/echo");
    let patience = Some(Duration::from_millis(500));
    client.stream().set_write_timeout(patience).expect("a write deadline can be set");
    let message = frame(BINARY, &[0; 64 * 1024]);
    let taken = (0..2048).take_while(|_| client.try_send(&message).is_ok()).count();
    assert!(taken < 2048, "the server takes 128 MiB from a peer that reads nothing");
    client
}

fn a_connection_ends_whatever_its_peer_does(scheme: Scheme) {
    const TIMES: u64 = 10;
    const WINDOWS: u64 = 3;
    let server = Server::start_for(scheme, &["--shards", "2", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.place(), server.admin_address());
    warm_up(address);
    let baseline = Baseline::of(server.pid(), admin);

    let mut kept = Vec::new();
    for _ in 0..TIMES {
        kept.extend(ladders().iter().filter_map(|act| act(RawClient::open(address, "/echo"))));
    }
    kept.extend((0..WINDOWS).map(|_| shut_window(address)));

    // The peers still hold their sockets: it is the server that lets go. Those with a shut window
    // were not asked to leave; they have 10 s to read something before they are.
    observed::wait_until(seconds(11.0), || {
        let open = Metrics::scrape(admin).value("connections");
        (open <= WINDOWS).then_some(()).ok_or_else(|| format!("{open} connections are open"))
    });
    baseline.wait(server.pid(), admin, seconds(20.0));
    let metrics = Metrics::scrape(admin);
    assert_eq!(metrics.closed("client_close"), 32 + TIMES);
    assert_eq!(metrics.closed("protocol_error"), 2 * TIMES);
    // Who is gone without a word may have been cut off, where there is a way to tell.
    let gone = [metrics.closed("peer_gone"), metrics.closed("truncated")];
    let expected = if scheme == Scheme::Plain { [6, 0] } else { [5, 1] };
    assert_eq!(gone, expected.map(|each| each * TIMES));
    assert_eq!(metrics.closed("slow_reader"), WINDOWS);
    drop(kept);
}

/// Lets every shard open what it opens once.
fn warm_up(address: Place) {
    for _ in 0..32 {
        let mut client = RawClient::open(address, "/echo");
        client.echo("warm");
        client.close();
    }
}

/// A small generator of reproducible choices (an LCG with the constants of Knuth's MMIX).
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn churn_leaves_nothing_behind(scheme: Scheme) {
    const THREADS: u64 = 6;
    let rounds = if scheme == Scheme::Plain { 1000 } else { 100 };
    let server = Server::start_for(scheme, &["--shards", "3", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.place(), server.admin_address());
    warm_up(address);
    let baseline = Baseline::of(server.pid(), admin);

    thread::scope(|scope| {
        for seed in 0..THREADS {
            scope.spawn(move || {
                let mut choices = Choices(seed);
                for _ in 0..rounds {
                    live_and_leave(address, &mut choices);
                }
            });
        }
    });

    baseline.wait(server.pid(), admin, Duration::from_secs(15));
    RawClient::open(address, "/echo").close();
}

/// One short life on the server, with an end chosen at random.
fn live_and_leave(address: Place, choices: &mut Choices) {
    let path = if choices.below(2) == 0 { "/echo" } else { "/broadcast" };
    let mut client = RawClient::open(address, path);
    for number in 0..choices.below(4) {
        client.send_frame(TEXT, format!("message {number}").as_bytes());
    }
    if choices.below(3) == 0 {
        client.send_frame(BINARY, &vec![7; choices.below(100_000) as usize]);
    }
    match choices.below(7) {
        0 => drop(client),
        1 => client.reset(),
        2 => client.half_close(),
        3 => client.send_frame(TEXT_BEGIN, b"unfinished"),
        4 => client.send(&[TEXT]),
        5 => leave(client, &close_frame(1000, "")),
        _ => leave(client, &frame(0x83, b"")),
    }
}

/// Says the last thing and waits for the server to hang up.
fn leave(mut client: RawClient, last: &[u8]) {
    client.send(last);
    client.read_to_end();
}
