//! One connection between a peer, a socket and a clock that do anything: what it sends must be
//! whole, in order and bounded, and it must end. Whatever makes the choices drives it.

mod wire;

use ringwire::collections::Tick;
use ringwire::connection::{CloseReason, Connection, Message, Step, Workshop};
use ringwire::limits::{BACKLOG_BYTES_MAX, BACKLOG_SEGMENT_COST, CLOSE_TICKS_MAX};
use ringwire::protocol::deflate::{Deflater, Inflater};
use ringwire::protocol::{
    AssemblyPool, CloseCode, Limits, OpCode, encode_fragment, encode_frame, encode_masked_frame,
};
use wire::Wire;

/// Makes the choices of a life.
pub(crate) trait Choices {
    /// A number below `bound`; `None` when there are no more.
    fn below(&mut self, bound: u32) -> Option<u32>;
}

const KEY: [u8; 4] = [0x5A, 0x11, 0xC3, 0x07];

/// Bytes of the largest publication: a few fill a backlog.
const PUBLICATION_BYTES_MAX: u32 = 300_000;

/// A Close and a ping may join a full backlog.
const FAREWELL_COST: usize = 2 * (BACKLOG_SEGMENT_COST + 127);

/// Lives one life of at most `operations`, and checks it.
///
/// # Panics
/// When the connection does what it must not.
pub(crate) fn live(choices: &mut impl Choices, operations: usize) {
    let mut world = World::new(choices.below(1 << 16).unwrap_or(0));
    // Half of all lives last: nobody ends them and the peer keeps to the rules.
    world.calm = choices.below(2) == Some(0);
    // In some, the peer reads too little of too much.
    world.crowded = choices.below(32) == Some(0);
    for operation in 0..operations {
        if world.operate(choices).is_none() || world.ended {
            break;
        }
        world.check_time();
        if operation % 16 == 0 {
            world.check_cost();
        }
    }
    // Nothing more happens: a connection that is told to go goes.
    if !world.ended {
        world.close();
        world.let_pass(CLOSE_TICKS_MAX);
    }
    world.check_end();
}

struct World {
    connection: Connection,
    workshop: Workshop,
    now: Tick,
    /// What the wheel holds.
    armed: Tick,
    left_open: Option<Tick>,
    /// The connection waits in the queue of readable ones.
    queued: bool,
    /// What the peer said and nobody read.
    said: Vec<u8>,
    /// The peer said only what a client may say.
    lawful: bool,
    /// Nobody ends this life on purpose.
    calm: bool,
    crowded: bool,
    messages_said: u32,
    pings_said: u32,
    delivered: u32,
    published: u32,
    reply_bytes_max: usize,
    /// Bytes the socket takes before it is full.
    room: usize,
    wire: Wire,
    slow: bool,
    broken: bool,
    shut: bool,
    ended: bool,
    owed: bool,
}

impl World {
    fn new(seed: u32) -> Self {
        let limits = Limits { message_bytes_max: 2048, fragments_max: 16, compressed: false };
        let workshop = Workshop {
            pool: AssemblyPool::new(8192),
            limits,
            inflater: Inflater::new(),
            deflater: Deflater::new(1),
            compression_min: 0,
            shared_window_bits: 15,
            heartbeat: 200,
            replies_kept: 0,
            backlogs: 0,
            backlog_bytes: 0,
        };
        // A clock that wraps on the way.
        let now = 0_u32.wrapping_sub(seed % 1000);
        let connection = Connection::new(now, seed, None);
        let armed = connection.deadline(&workshop);
        Self {
            connection,
            workshop,
            now,
            armed,
            left_open: None,
            queued: true,
            said: Vec::new(),
            lawful: true,
            calm: false,
            crowded: false,
            messages_said: 0,
            pings_said: 0,
            delivered: 0,
            published: 0,
            reply_bytes_max: 0,
            room: 1000,
            wire: Wire::default(),
            slow: false,
            broken: false,
            shut: false,
            ended: false,
            owed: false,
        }
    }

    fn operate(&mut self, choices: &mut impl Choices) -> Option<()> {
        match choices.below(if self.calm { 98 } else { 100 })? {
            0..30 => self.say(choices)?,
            30..60 => self.read(choices)?,
            60..72 => self.make_room(choices)?,
            72..86 => self.publish(choices)?,
            86..94 => {
                let longest = if choices.below(64)? == 0 { 400 } else { 30 };
                let ticks = choices.below(longest)?;
                self.let_pass(ticks);
            }
            94..98 => self.ring_early(),
            98 => self.close(),
            _ => self.cut(choices)?,
        }
        self.hasten();
        Some(())
    }

    /// The peer says something, lawful or not.
    fn say(&mut self, choices: &mut impl Choices) -> Option<()> {
        let said = &mut self.said;
        match choices.below(if self.calm { 61 } else { 64 })? {
            0..32 => {
                let mut payload = self.messages_said.to_be_bytes().to_vec();
                payload.resize(4 + choices.below(200)? as usize, b'.');
                encode_masked_frame(said, OpCode::Binary, &payload, KEY);
                self.messages_said += 1;
            }
            32..40 => {
                let payload = self.messages_said.to_be_bytes();
                encode_fragment(said, false, OpCode::Binary, &payload, Some(KEY));
                for _ in 0..choices.below(4)? {
                    encode_fragment(said, false, OpCode::Continuation, b"..", Some(KEY));
                }
                encode_masked_frame(said, OpCode::Ping, &self.pings_said.to_be_bytes(), KEY);
                encode_fragment(said, true, OpCode::Continuation, b"", Some(KEY));
                self.messages_said += 1;
                self.pings_said += 1;
            }
            40..58 => {
                encode_masked_frame(said, OpCode::Ping, &self.pings_said.to_be_bytes(), KEY);
                self.pings_said += 1;
            }
            58..61 => encode_masked_frame(said, OpCode::Pong, b"", KEY),
            61 => encode_masked_frame(said, OpCode::Close, b"\x03\xE8", KEY),
            62 => {
                self.lawful = false;
                encode_masked_frame(said, OpCode::Binary, &[0; 2049], KEY);
            }
            _ => {
                self.lawful = false;
                for _ in 0..choices.below(8)? {
                    said.push(choices.below(256)? as u8);
                }
            }
        }
        Some(())
    }

    /// One read, if the connection wants bytes or wanted them when it was queued.
    fn read(&mut self, choices: &mut impl Choices) -> Option<()> {
        let count = match choices.below(3)? {
            0 => choices.below(20)? as usize,
            _ => usize::MAX,
        }
        .min(self.said.len());
        self.queued |= self.connection.wants_bytes();
        if count == 0 || !std::mem::take(&mut self.queued) {
            return Some(());
        }
        let mut bytes: Vec<u8> = self.said.drain(..count).collect();
        let (was_open, lawful) = (self.connection.is_open(), self.lawful);
        let (wire, delivered) = (&mut self.wire, &mut self.delivered);
        let answer = |message: Message<'_>, reply: &mut Vec<u8>| {
            assert!(was_open, "nothing is delivered after a Close");
            let order = delivered.to_be_bytes();
            assert!(!lawful || message.payload.starts_with(&order), "messages come in order");
            *delivered += 1;
            wire.append_reply(message.payload.len(), reply);
            true
        };
        let mut reply = Vec::new();
        self.connection.on_received(self.now, &mut bytes, &mut self.workshop, &mut reply, answer);
        self.transmit(&reply);
        self.perform();
        Some(())
    }

    /// The socket has room for some bytes more: what waits goes first.
    fn make_room(&mut self, choices: &mut impl Choices) -> Option<()> {
        self.room += match choices.below(4)? {
            0 => choices.below(8)?,
            1 => choices.below(1000)?,
            2 => 10_000,
            _ => PUBLICATION_BYTES_MAX / 2,
        } as usize;
        while self.room > 0
            && let Some(backlog) = self.connection.backlog()
        {
            // As many segments as one vectored send takes.
            let mut sent = 0;
            for segment in backlog.segments().take(8) {
                let part = segment.len().min(self.room);
                self.wire.bytes.extend_from_slice(&segment[..part]);
                self.room -= part;
                sent += part;
            }
            assert!(!self.shut && sent > 0);
            self.connection.on_backlog_sent(self.now, sent, &mut self.workshop);
        }
        self.perform();
        Some(())
    }

    fn publish(&mut self, choices: &mut impl Choices) -> Option<()> {
        let size = match choices.below(3)? {
            0 if self.crowded => choices.below(PUBLICATION_BYTES_MAX)?,
            _ => choices.below(100)?,
        };
        if !self.connection.is_open() {
            return Some(());
        }
        let mut payload = wire::publication(self.published);
        payload.resize(payload.len() + size as usize, 0);
        let mut frames = Vec::new();
        encode_frame(&mut frames, OpCode::Binary, &payload);
        let sent = self.offer(&frames);
        if sent < frames.len()
            && self
                .connection
                .keep_publication(self.now, frames.into(), sent, &mut self.workshop)
                .is_err()
        {
            assert!(!self.connection.is_open());
            self.slow = true;
            self.check_cost();
        } else {
            self.published += 1;
        }
        self.perform();
        Some(())
    }

    /// Time passes; every timer is served when it is due.
    fn let_pass(&mut self, ticks: Tick) {
        let end = self.now.wrapping_add(ticks);
        while !self.ended && self.armed.wrapping_sub(end).cast_signed() <= 0 {
            if self.armed.wrapping_sub(self.now).cast_signed() > 0 {
                self.now = self.armed;
            }
            let mut reply = Vec::new();
            self.connection.on_timer(self.now, &self.workshop, &mut reply);
            self.transmit(&reply);
            self.perform();
            self.armed = self.connection.deadline(&self.workshop);
            let ahead = self.armed.wrapping_sub(self.now).cast_signed();
            assert!(self.ended || ahead > 0, "a timer that was served is over");
        }
        self.now = end;
    }

    /// A timer that comes before the deadline changes nothing.
    fn ring_early(&mut self) {
        let deadline = self.connection.deadline(&self.workshop);
        if deadline.wrapping_sub(self.now).cast_signed() > 0 {
            let (was_open, mut reply) = (self.connection.is_open(), Vec::new());
            self.connection.on_timer(self.now, &self.workshop, &mut reply);
            assert!(reply.is_empty());
            assert_eq!(self.connection.step(), Step::Wait);
            assert_eq!(self.connection.is_open(), was_open);
            assert_eq!(self.connection.deadline(&self.workshop), deadline);
        }
    }

    fn close(&mut self) {
        let mut reply = Vec::new();
        let (reason, code) = (CloseReason::GoingAway, CloseCode::GOING_AWAY);
        self.connection.close(self.now, reason, code, "server is going away", &mut reply);
        self.transmit(&reply);
        self.perform();
        self.hasten();
    }

    /// Rarely the peer ends its stream or resets the connection.
    fn cut(&mut self, choices: &mut impl Choices) -> Option<()> {
        match choices.below(8)? {
            0 if self.connection.wants_bytes() => self.connection.on_end(),
            1 => self.connection.on_broken(),
            2 => self.connection.abort(CloseReason::GoingAway),
            _ => return Some(()),
        }
        self.broken = true;
        self.perform();
        assert!(self.ended);
        Some(())
    }

    fn transmit(&mut self, reply: &[u8]) {
        self.reply_bytes_max = self.reply_bytes_max.max(reply.len());
        if !reply.is_empty() {
            let sent = self.offer(reply);
            if sent < reply.len() {
                self.connection.keep_reply(self.now, reply, sent, &mut self.workshop);
            }
        }
    }

    fn offer(&mut self, bytes: &[u8]) -> usize {
        assert!(!self.shut, "the sending direction has ended");
        if self.connection.backlog().is_some() {
            return 0;
        }
        let sent = bytes.len().min(self.room);
        self.room -= sent;
        self.wire.bytes.extend_from_slice(&bytes[..sent]);
        sent
    }

    fn perform(&mut self) {
        if !self.connection.is_open() {
            self.left_open.get_or_insert(self.now);
        }
        match self.connection.step() {
            Step::Wait => {}
            Step::ShutWrite => {
                assert!(!self.shut && self.connection.backlog().is_none());
                self.shut = true;
            }
            step @ (Step::Close | Step::Abort) => {
                self.broken |= step == Step::Abort;
                self.owed = self.connection.backlog().is_some();
                self.ended = true;
                self.connection.release(&mut self.workshop);
            }
        }
    }

    fn hasten(&mut self) {
        let deadline = self.connection.deadline(&self.workshop);
        if deadline.wrapping_sub(self.armed).cast_signed() < 0 {
            self.armed = deadline;
        }
    }

    fn check_time(&self) {
        if let Some(left) = self.left_open {
            assert!(self.now.wrapping_sub(left) < CLOSE_TICKS_MAX, "it is asked to go in vain");
        }
    }

    fn check_cost(&mut self) {
        let segments = self.connection.backlog().into_iter().flat_map(|backlog| backlog.segments());
        let cost: usize = segments.map(|segment| segment.len() + BACKLOG_SEGMENT_COST).sum();
        let reply = self.reply_bytes_max + BACKLOG_SEGMENT_COST;
        // The publication that passes the bound is still taken.
        let publication = PUBLICATION_BYTES_MAX as usize + BACKLOG_SEGMENT_COST + 10;
        let bound = BACKLOG_BYTES_MAX + publication + reply + FAREWELL_COST;
        assert!(cost <= bound, "a backlog of {cost}");
    }

    fn check_end(&mut self) {
        assert!(self.ended, "it was told to go and its timers were served");
        assert_eq!(self.workshop.pool.bytes_in_use(), 0);
        let heard = self.wire.hear(self.lawful, self.pings_said);
        assert!(heard.whole || self.owed, "a frame was cut");
        assert!(heard.closed || self.broken, "the end was not announced");
        assert!(heard.publications <= self.published);
        if !self.slow && !self.owed {
            assert_eq!(heard.publications, self.published);
            assert_eq!(heard.replies, self.delivered);
        }
    }
}
