//! A small server over threads, well-behaved or not, and the program run against it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ringwire::protocol::upgrade::{HeadScanner, Request, accept, parse_request};
use ringwire::protocol::{
    AssemblyPool, Decoder, Event, Input, Limits, OpCode, Role, encode_close, encode_frame,
};
use rustix::net::sockopt;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a server that stalls does so.
pub const STALL: Duration = Duration::from_millis(1_400);

/// What the server does with messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Sends each back.
    Echo,
    /// Sends each back, and nothing for 1.4 s after the 4000th.
    Stall,
    /// Sends each back after 5 ms.
    Slow,
    /// Greets whoever connects, and sends each back.
    Greet,
    /// Sends each back, the fifth with another last byte.
    Damage,
    /// Sends each back but the fifth.
    Swallow,
    /// Sends each to all.
    Broadcast,
    /// Sends each to all, the fifth twice to its sender.
    Repeat,
    /// Sends each to all, the first two in the other order to whoever connected first.
    Reorder,
    /// Sends each to all, and a ping before the second, third and fourth.
    Chatter,
    /// Sends each to all, the fifth not to its sender.
    Forget,
    /// Sends each to all, but to the first member the sixth twice and the fifth not at all.
    Cover,
    /// Sends each to all, and ends the connection of the first member with the fifth.
    Expel,
    /// Reads nothing.
    Deaf,
    /// Reads nothing, and pings without end.
    Nag,
    /// Answers upgrades past the third with 503.
    RefuseFourth,
    /// Sends each back; answers the upgrades in this range, in the order they come, with 503.
    RefuseBetween(usize, usize),
    /// Sends each back; never answers the upgrades in this range.
    IgnoreBetween(usize, usize),
    /// Sends each back; resets the connections in this range after their upgrade.
    ResetBetween(usize, usize),
    /// Sends each back; ends the connections in this range at their first message.
    EndBetween(usize, usize),
    /// Sends each back; lets the connections in this range go after their upgrade, with this code.
    CloseBetween(usize, usize, u16),
    /// Sends each back; lets the connections in this range go at their first message, which gets no
    /// answer, with 1001.
    FarewellBetween(usize, usize),
    /// Sends each back, and resets whoever does not read.
    Impatient,
    /// Pings whoever connects, and closes the third with 1001 when it answers.
    CloseThird,
}

impl Manner {
    /// Whether some clients are sent a close frame, which they answer with its code.
    const fn says_farewell(self) -> bool {
        matches!(self, Self::CloseBetween(..) | Self::FarewellBetween(..) | Self::CloseThird)
    }
}

/// A server that lives until the test ends.
pub struct Server {
    address: SocketAddr,
    hub: Arc<Hub>,
}

#[derive(Default)]
struct Hub {
    messages: AtomicUsize,
    members: Mutex<Members>,
    joined: Condvar,
    /// Until when nobody is answered.
    stalled_until: OnceLock<Instant>,
    /// Connections that were accepted, and of those the ones that are not at their end.
    accepted: AtomicUsize,
    served: Mutex<usize>,
    left: Condvar,
}

#[derive(Default)]
struct Members {
    streams: Vec<TcpStream>,
    /// The first message, as long as the first member has not got it.
    withheld: Option<Vec<u8>>,
}

impl Server {
    /// Starts to listen.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let hub = Arc::new(Hub::default());
        let shared = hub.clone();
        thread::spawn(move || {
            for (index, stream) in listener.incoming().flatten().enumerate() {
                let hub = shared.clone();
                hub.accepted.fetch_add(1, Ordering::SeqCst);
                *hub.served.lock().expect("no panic") += 1;
                thread::spawn(move || {
                    serve(stream, index, manner, &hub);
                    *hub.served.lock().expect("no panic") -= 1;
                    hub.left.notify_all();
                });
            }
        });
        Self { address, hub }
    }

    /// Waits until that many clients are connected.
    pub fn await_members(&self, count: usize) {
        let members = self.hub.members.lock().expect("no panic");
        let waited =
            self.hub.joined.wait_timeout_while(members, Duration::from_secs(30), |members| {
                members.streams.len() < count
            });
        assert!(!waited.expect("no panic").1.timed_out(), "fewer than {count} clients came");
    }

    /// Connections that were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.hub.accepted.load(Ordering::SeqCst) as u64
    }

    /// Waits until nobody is connected.
    pub fn await_silence(&self) {
        let served = self.hub.served.lock().expect("no panic");
        let waited = self
            .hub
            .left
            .wait_timeout_while(served, Duration::from_secs(30), |served| *served > 0)
            .expect("no panic");
        assert!(!waited.1.timed_out(), "{} clients are still connected", *waited.0);
    }

    /// Forgets the clients that have left.
    pub fn forget_members(&self) {
        self.hub.members.lock().expect("no panic").streams.clear();
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// Starts the program with these words and a report in JSON.
    pub fn start_program(&self, words: &str) -> Child {
        program(&format!("{words} --url ws://{}/ --interval 100ms --json -", self.address))
    }

    /// Runs the program: its exit code and its report.
    pub fn run(&self, words: &str) -> (i32, Value) {
        report(self.start_program(words))
    }
}

/// Starts the program with these words.
pub fn program(words: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(words.split_ascii_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// The exit code and the report of a program that ends.
pub fn report(child: Child) -> (i32, Value) {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
    let text = String::from_utf8_lossy(&stdout);
    let report = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("no report: {text}{}", String::from_utf8_lossy(&stderr)));
    (status.code().expect("no signal"), report)
}

/// A worker process, which the end of the test ends.
pub struct Worker {
    pub child: Child,
    pub address: String,
}

impl Worker {
    pub fn start(flags: &str) -> Self {
        let mut child = program(&format!("worker --listen 127.0.0.1:0 {flags}"));
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.as_mut().expect("a pipe"));
        stdout.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Self { child, address }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the worker runs");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(mut stream: TcpStream, index: usize, manner: Manner, hub: &Hub) -> Option<()> {
    let mut buffer = vec![0; 64 * 1024];
    let (response, rest) = read_request(&mut stream, &mut buffer)?;
    if manner == Manner::RefuseFourth && index >= 3 {
        return stream.write_all(b"HTTP/1.1 503 Full\r\n\r\n").ok();
    }
    match manner {
        Manner::RefuseBetween(first, end) if (first..end).contains(&index) => {
            return stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").ok();
        }
        Manner::IgnoreBetween(first, end) if (first..end).contains(&index) => {
            return stream.read(&mut buffer).map(drop).ok();
        }
        Manner::ResetBetween(first, end) if (first..end).contains(&index) => {
            stream.write_all(&response).ok()?;
            return sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).ok();
        }
        Manner::Impatient => {
            // Small enough to be full before the test is over.
            sockopt::set_socket_send_buffer_size(&stream, 8 * 1024).ok()?;
            stream.set_write_timeout(Some(Duration::from_millis(100))).ok()?;
            stream.write_all(&response).ok()?;
            serve_messages(&mut stream, index, manner, hub, &mut buffer, rest);
            return sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).ok();
        }
        _ => {}
    }
    stream.set_nodelay(true).ok()?;
    // Whoever has read the response is a member: nobody sends between the two.
    let mut members = hub.members.lock().ok()?;
    stream.write_all(&response).ok()?;
    members.streams.push(stream.try_clone().ok()?);
    hub.joined.notify_all();
    drop(members);
    if manner == Manner::Greet {
        send(&mut stream, OpCode::Text, b"welcome, whoever you are")?;
    }
    if manner == Manner::CloseThird {
        send(&mut stream, OpCode::Ping, b"are you there?")?;
    }
    match manner {
        Manner::CloseBetween(first, end, code) if (first..end).contains(&index) => {
            send_close(&mut stream, code)?;
        }
        Manner::Deaf => loop {
            thread::park();
        },
        Manner::Nag => {
            let mut pings = Vec::new();
            while pings.len() < buffer.len() {
                encode_frame(&mut pings, OpCode::Ping, &[b'?'; 125]);
            }
            loop {
                stream.write_all(&pings).ok()?;
            }
        }
        _ => {}
    }
    serve_messages(&mut stream, index, manner, hub, &mut buffer, rest)
}

/// Reads until the end; `count` bytes of frames are in `buffer`.
fn serve_messages(
    stream: &mut TcpStream,
    index: usize,
    manner: Manner,
    hub: &Hub,
    buffer: &mut [u8],
    mut count: usize,
) -> Option<()> {
    let mut decoder = Decoder::new(Role::Server);
    let mut pool = AssemblyPool::new(1 << 30);
    let limits = Limits { message_bytes_max: 1 << 24, fragments_max: 8, compressed: false };
    loop {
        let mut input = Input::new(&mut buffer[..count]);
        while let Some(event) = decoder.next(&mut input, &mut pool, &limits).ok()? {
            match event {
                Event::Message { kind, payload, .. } => {
                    answer(stream, index, manner, hub, kind.into(), payload)?;
                }
                Event::Pong(payload) => {
                    assert_eq!(payload, b"are you there?");
                    if manner == Manner::CloseThird && index == 2 {
                        send_close(stream, 1001)?;
                    }
                }
                Event::Close { code: Some(1000), .. } => {
                    send_close(stream, 1000)?;
                    // The hub keeps a copy of the stream: a drop would not end it.
                    return stream.shutdown(Shutdown::Both).ok();
                }
                Event::Close { code, .. } => {
                    assert!(manner.says_farewell(), "the client closes with {code:?}");
                    // It answers a close frame of ours.
                    return stream.shutdown(Shutdown::Both).ok();
                }
                Event::Ping(_) => {}
            }
        }
        count = stream.read(buffer).ok().filter(|&count| count > 0)?;
    }
}

/// Reads a request; gives back the response, and how many bytes of frames follow in `buffer`.
fn read_request(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<(Vec<u8>, usize)> {
    let mut received = 0;
    let mut scanner = HeadScanner::new();
    let end = loop {
        received += stream.read(&mut buffer[received..]).ok().filter(|&count| count > 0)?;
        if let Some(end) = scanner.end_of_head(&buffer[..received]).ok()? {
            break end;
        }
    };
    let mut response = Vec::new();
    match parse_request(&buffer[..end]) {
        Ok(Request::Upgrade(request)) => accept(&mut response, &request, None, None),
        other => panic!("no upgrade: {other:?}"),
    }
    buffer.copy_within(end..received, 0);
    Some((response, received - end))
}

fn answer(
    stream: &mut TcpStream,
    index: usize,
    manner: Manner,
    hub: &Hub,
    opcode: OpCode,
    payload: &[u8],
) -> Option<()> {
    let earlier = hub.messages.fetch_add(1, Ordering::SeqCst);
    let is_fifth = earlier == 4;
    if manner == Manner::Stall {
        if earlier == 3_999 {
            let _ = hub.stalled_until.set(Instant::now() + STALL);
        }
        let until = hub.stalled_until.get().copied();
        thread::sleep(until.map_or(Duration::ZERO, |until| until - Instant::now()));
    }
    if manner == Manner::Slow {
        thread::sleep(Duration::from_millis(5));
    }
    match manner {
        Manner::Swallow if is_fifth => {}
        Manner::FarewellBetween(first, end) if (first..end).contains(&index) => {
            send_close(stream, 1001)?;
        }
        Manner::EndBetween(first, end) if (first..end).contains(&index) => {
            // The hub keeps a copy of the stream: a drop would not end it.
            stream.shutdown(Shutdown::Both).ok()?;
        }
        Manner::Damage if is_fifth => {
            let mut damaged = payload.to_vec();
            *damaged.last_mut()? ^= 1;
            send(stream, opcode, &damaged)?;
        }
        Manner::Broadcast
        | Manner::Repeat
        | Manner::Reorder
        | Manner::Chatter
        | Manner::Forget
        | Manner::Cover
        | Manner::Expel => {
            let mut frame = Vec::new();
            if manner == Manner::Chatter && (1..4).contains(&earlier) {
                encode_frame(&mut frame, OpCode::Ping, b"are you there?");
            }
            encode_frame(&mut frame, opcode, payload);
            let mut members = hub.members.lock().ok()?;
            let Members { streams, withheld } = &mut *members;
            for (number, member) in streams.iter_mut().enumerate() {
                if manner == Manner::Reorder && number == 0 {
                    if earlier == 0 {
                        *withheld = Some(frame.clone());
                        continue;
                    }
                    let _ = member.write_all(&frame);
                    let _ = member.write_all(&withheld.take().unwrap_or_default());
                } else if manner == Manner::Expel && is_fifth && number == 0 {
                    let _ = member.shutdown(Shutdown::Both);
                } else if !(manner == Manner::Forget && is_fifth && number == index
                    || manner == Manner::Cover && is_fifth && number == 0)
                {
                    // A member may have left meanwhile.
                    let _ = member.write_all(&frame);
                }
            }
            if manner == Manner::Repeat && is_fifth {
                streams[index].write_all(&frame).ok()?;
            }
            if manner == Manner::Cover && earlier == 5 {
                streams[0].write_all(&frame).ok()?;
            }
        }
        _ => send(stream, opcode, payload)?,
    }
    Some(())
}

fn send(stream: &mut TcpStream, opcode: OpCode, payload: &[u8]) -> Option<()> {
    let mut frame = Vec::new();
    encode_frame(&mut frame, opcode, payload);
    stream.write_all(&frame).ok()
}

fn send_close(stream: &mut TcpStream, code: u16) -> Option<()> {
    let mut frame = Vec::new();
    encode_close(&mut frame, code, "");
    stream.write_all(&frame).ok()
}
