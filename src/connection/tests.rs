//! The life of a connection, by hand: bytes in, ticks on, and what is then on the wire.

mod backlogs;
mod compression;
mod deadlines;

use super::*;
use crate::protocol::deflate::{Deflater, Inflater};
use crate::protocol::{AssemblyPool, encode_fragment, encode_masked_frame};

const HEARTBEAT: Tick = 300;
const KEY: [u8; 4] = [7, 1, 8, 2];

/// A connection to an echo application, its socket and the time.
struct Rig {
    connection: Connection,
    workshop: Workshop,
    now: Tick,
    /// Bytes that the socket takes before it is full.
    room: usize,
    /// What the socket took.
    wire: Vec<u8>,
    delivered: Vec<Vec<u8>>,
    /// Messages that were to be sent and were not.
    dropped: u64,
}

impl Rig {
    fn new() -> Self {
        let limits = Limits { message_bytes_max: 1 << 16, fragments_max: 8, compressed: false };
        let pool = AssemblyPool::new(1 << 20);
        Self {
            connection: Connection::new(0, 0, None),
            workshop: Workshop {
                pool,
                limits,
                inflater: Inflater::new(),
                deflater: Deflater::new(1),
                compression_min: 0,
                shared_window_bits: 15,
                heartbeat: HEARTBEAT,
                replies_kept: 0,
                backlogs: 0,
                backlog_bytes: 0,
            },
            now: 0,
            room: usize::MAX,
            wire: Vec::new(),
            delivered: Vec::new(),
            dropped: 0,
        }
    }

    fn receive(&mut self, mut bytes: Vec<u8>) {
        let mut reply = Vec::new();
        let delivered = &mut self.delivered;
        let echo = |message: Message<'_>, reply: &mut Vec<u8>| {
            delivered.push(message.payload.to_vec());
            encode_frame(reply, message.kind.into(), message.payload);
            true
        };
        let workshop = &mut self.workshop;
        self.connection.on_received(self.now, &mut bytes, workshop, &mut reply, echo);
        self.transmit(&reply);
    }

    fn close(&mut self) {
        let mut reply = Vec::new();
        let (reason, code) = (CloseReason::GoingAway, CloseCode::GOING_AWAY);
        self.connection.close(self.now, reason, code, "bye", &mut reply);
        self.transmit(&reply);
    }

    fn timer_at(&mut self, now: Tick) {
        self.now = now;
        let mut reply = Vec::new();
        self.connection.on_timer(now, &self.workshop, &mut reply);
        self.transmit(&reply);
    }

    fn transmit(&mut self, reply: &[u8]) {
        if reply.is_empty() {
            return;
        }
        let sent = self.offer(reply);
        if sent < reply.len() {
            self.dropped += self.connection.keep_reply(self.now, reply, sent, &mut self.workshop);
        }
    }

    fn publish(&mut self, payload: &[u8]) -> Result<(), Overflow> {
        let frames = binary(payload);
        let sent = self.offer(&frames);
        if sent < frames.len() {
            let Self { connection, workshop, .. } = self;
            connection.keep_publication(self.now, frames.into(), sent, workshop).inspect_err(
                // The publication itself, too.
                |overflow| self.dropped += overflow.dropped + 1,
            )?;
        }
        Ok(())
    }

    /// Sends past a backlog only what comes first: nothing while there is one.
    fn offer(&mut self, bytes: &[u8]) -> usize {
        if self.connection.backlog().is_some() {
            return 0;
        }
        let sent = bytes.len().min(self.room);
        self.room -= sent;
        self.wire.extend_from_slice(&bytes[..sent]);
        sent
    }

    /// The socket has room again: the backlog goes first.
    fn drain(&mut self, room: usize) {
        self.room = room;
        while self.room > 0
            && let Some(backlog) = self.connection.backlog()
        {
            let rest: Vec<u8> = backlog.segments().flatten().copied().collect();
            let sent = rest.len().min(self.room);
            self.room -= sent;
            self.wire.extend_from_slice(&rest[..sent]);
            self.connection.on_backlog_sent(self.now, sent, &mut self.workshop);
        }
    }

    fn deadline(&self) -> Tick {
        self.connection.deadline(&self.workshop)
    }

    fn step(&mut self) -> Step {
        self.connection.step()
    }

    /// The frames on the wire since the last call, which must be whole.
    fn frames(&mut self) -> Vec<Frame> {
        let mut wire = std::mem::take(&mut self.wire);
        let mut decoder = Decoder::new(Role::Client);
        let mut pool = AssemblyPool::new(1 << 30);
        let limits = Limits { message_bytes_max: usize::MAX, fragments_max: 1, compressed: false };
        let mut input = Input::new(&mut wire);
        let mut frames = Vec::new();
        while let Some(event) =
            decoder.next(&mut input, &mut pool, &limits).expect("a server's frames")
        {
            frames.push(match event {
                Event::Message { payload, .. } => Frame::Data(payload.to_vec()),
                Event::Ping(payload) => Frame::Ping(payload.to_vec()),
                Event::Pong(payload) => Frame::Pong(payload.to_vec()),
                Event::Close { code, reason } => {
                    frames.push(Frame::Close(code, reason.to_owned()));
                    break;
                }
            });
        }
        assert!(input.is_empty(), "a Close is the last frame");
        assert!(!decoder.in_message(), "a frame was cut");
        frames
    }

    /// Messages that are whole on the wire, whatever follows them.
    fn whole_messages(&self) -> u64 {
        let mut wire = self.wire.clone();
        let mut decoder = Decoder::new(Role::Client);
        let mut pool = AssemblyPool::new(1 << 30);
        let limits = Limits { message_bytes_max: usize::MAX, fragments_max: 1, compressed: false };
        let mut input = Input::new(&mut wire);
        let mut count = 0;
        while let Some(event) =
            decoder.next(&mut input, &mut pool, &limits).expect("a server's frames")
        {
            count += u64::from(matches!(event, Event::Message { .. }));
        }
        count
    }
}

#[derive(PartialEq, Eq, Debug)]
enum Frame {
    Data(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

fn masked(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_masked_frame(&mut frame, opcode, payload, KEY);
    frame
}

fn text(payload: &str) -> Vec<u8> {
    masked(OpCode::Text, payload.as_bytes())
}

fn peer_close(code: u16, reason: &str) -> Vec<u8> {
    masked(OpCode::Close, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

fn fragment(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_fragment(&mut frame, fin, opcode, payload, Some(KEY));
    frame
}

fn binary(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_frame(&mut frame, OpCode::Binary, payload);
    frame
}

fn close_frame(code: u16, reason: &str) -> Frame {
    Frame::Close(Some(code), reason.to_owned())
}

/// Brings a connection into each state.
fn in_state(state: State) -> Rig {
    let mut rig = Rig::new();
    match state {
        State::Open => {}
        State::Closing => rig.close(),
        State::Finishing => {
            rig.room = 1;
            rig.receive(peer_close(1000, ""));
        }
        State::Failing => {
            rig.room = 1;
            rig.receive(vec![0xFF; 8]);
        }
        State::Lingering => {
            rig.receive(vec![0xFF; 8]);
            assert_eq!(rig.step(), Step::ShutWrite);
        }
        State::Ended => rig.connection.on_end(),
        State::Aborted => rig.connection.on_broken(),
    }
    assert_eq!(rig.connection.state, state);
    rig
}

const STATES: [State; 7] = [
    State::Open,
    State::Closing,
    State::Finishing,
    State::Failing,
    State::Lingering,
    State::Ended,
    State::Aborted,
];

/// Rows are events, columns the states of [`STATES`] they happen in.
#[test]
fn every_event_in_every_state() {
    use State::{Aborted, Closing, Ended, Failing, Finishing, Lingering, Open};
    type Act = fn(&mut Rig);
    let rows: [(&str, Act, [State; 7]); 8] = [
        ("message", |rig| rig.receive(text("hi")), STATES),
        ("ping", |rig| rig.receive(masked(OpCode::Ping, b"?")), STATES),
        (
            "close of the peer",
            |rig| rig.receive(peer_close(1000, "")),
            [Finishing, Finishing, Finishing, Failing, Lingering, Ended, Aborted],
        ),
        (
            "violation",
            |rig| rig.receive(vec![0xFF; 8]),
            [Failing, Failing, Finishing, Failing, Lingering, Ended, Aborted],
        ),
        ("end of the peer", |rig| rig.connection.on_end(), [Ended; 7]),
        ("reset", |rig| rig.connection.on_broken(), [Aborted; 7]),
        ("close", Rig::close, [Closing, Closing, Finishing, Failing, Lingering, Ended, Aborted]),
        ("abort", |rig| rig.connection.abort(CloseReason::GoingAway), [Aborted; 7]),
    ];
    for (event, act, expected) in rows {
        for (state, expected) in STATES.into_iter().zip(expected) {
            let mut rig = in_state(state);
            act(&mut rig);
            assert_eq!(rig.connection.state, expected, "{event} while {state:?}");
            assert_eq!(rig.delivered.is_empty(), (event, state) != ("message", Open));
            assert_eq!(rig.connection.is_open(), expected == Open);
        }
    }
}

#[test]
fn every_state_but_open_ends_by_itself() {
    for state in STATES {
        let mut rig = in_state(state);
        if state == State::Open {
            continue;
        }
        assert_eq!(rig.deadline(), CLOSE_TICKS_MAX, "{state:?}");
        // Whatever the peer goes on to say does not put it off.
        rig.now = CLOSE_TICKS_MAX - 1;
        rig.receive(text("more"));
        assert_eq!(rig.deadline(), CLOSE_TICKS_MAX, "{state:?}");
        let before = rig.step();
        rig.timer_at(CLOSE_TICKS_MAX - 1);
        assert_eq!(rig.step(), before, "{state:?}");
        rig.timer_at(CLOSE_TICKS_MAX);
        assert_eq!(rig.step(), Step::Abort, "{state:?}");
    }
}

#[test]
fn a_state_change_on_the_way_out_keeps_the_deadline() {
    let mut rig = in_state(State::Closing);
    rig.now = 20;
    rig.receive(vec![0xFF; 8]);
    assert_eq!(rig.step(), Step::ShutWrite);
    assert_eq!(rig.deadline(), CLOSE_TICKS_MAX);
}

#[test]
fn the_peer_closes() {
    for (frame, answer) in [
        (peer_close(1000, "done"), close_frame(1000, "done")),
        (peer_close(4999, ""), close_frame(4999, "")),
        (masked(OpCode::Close, b""), Frame::Close(None, String::new())),
    ] {
        let mut rig = Rig::new();
        rig.receive([frame, text("late"), masked(OpCode::Ping, b"late")].concat());
        assert_eq!(rig.frames(), [answer]);
        assert_eq!(rig.step(), Step::Close);
        assert_eq!(rig.connection.reason(), CloseReason::ClientClose);
        assert!(rig.delivered.is_empty());
    }
}

#[test]
fn the_server_closes() {
    let mut rig = Rig::new();
    rig.close();
    rig.close();
    assert_eq!(rig.frames(), [close_frame(1001, "bye")]);
    assert_eq!(rig.step(), Step::Wait);
    rig.receive([text("crossed"), masked(OpCode::Ping, b"crossed")].concat());
    assert!(rig.delivered.is_empty());
    rig.receive(peer_close(1001, "bye"));
    assert_eq!(rig.frames(), [], "nothing is sent behind a Close");
    assert_eq!(rig.step(), Step::Close);
    assert_eq!(rig.connection.reason(), CloseReason::GoingAway);
}

#[test]
fn violations_are_told_and_lingered_over() {
    let too_big = masked(OpCode::Binary, &[0; (1 << 16) + 1]);
    let fragments = [fragment(false, OpCode::Text, b""), {
        fragment(false, OpCode::Continuation, b"").repeat(8)
    }]
    .concat();
    for (bytes, code, reason) in [
        (vec![0xFF; 8], 1002, CloseReason::ProtocolError),
        (binary(b"not masked"), 1002, CloseReason::ProtocolError),
        (masked(OpCode::Text, b"\xFF"), 1007, CloseReason::InvalidPayload),
        (too_big, 1009, CloseReason::TooBig),
        (fragments, 1008, CloseReason::Policy),
    ] {
        let mut rig = Rig::new();
        rig.receive([text("before"), bytes, text("behind")].concat());
        let frames = rig.frames();
        assert_eq!(frames[0], Frame::Data(b"before".to_vec()));
        assert!(matches!(&frames[1..], [Frame::Close(Some(told), _)] if *told == code));
        assert_eq!(rig.connection.reason(), reason);
        assert_eq!(rig.step(), Step::ShutWrite);
        assert_eq!(rig.step(), Step::Wait);
        assert!(rig.connection.wants_bytes(), "until the end of the peer");
        rig.receive(text("still there"));
        assert_eq!(rig.delivered.len(), 1);
        rig.connection.on_end();
        assert_eq!(rig.step(), Step::Close);
    }
}

#[test]
fn memory_used_up_is_told_apart() {
    let mut rig = Rig::new();
    rig.workshop.pool = AssemblyPool::new(1024);
    rig.receive(masked(OpCode::Binary, &[0; 4096])[..4000].to_vec());
    assert!(matches!(&rig.frames()[..], [Frame::Close(Some(1013), _)]));
    assert_eq!(rig.connection.reason(), CloseReason::Overloaded);
    rig.connection.release(&mut rig.workshop);
    assert_eq!(rig.workshop.pool.bytes_in_use(), 0);
}

#[test]
fn pongs_are_answered_at_once_and_in_order() {
    let mut rig = Rig::new();
    rig.receive([masked(OpCode::Ping, b"1"), text("2"), masked(OpCode::Ping, b"3")].concat());
    let expected =
        [Frame::Pong(b"1".to_vec()), Frame::Data(b"2".to_vec()), Frame::Pong(b"3".to_vec())];
    assert_eq!(rig.frames(), expected);
}
