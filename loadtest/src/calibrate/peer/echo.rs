//! The thread of the null echo: turns of accepting, reading and answering.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringwire::limits::{ACCEPTS_PER_TURN, HEAD_BYTES_MAX, LISTEN_BACKLOG, READ_BYTES};
use ringwire::protocol::upgrade::{HeadScanner, Request, accept, parse_request};
use ringwire::ring::socket::{self, Received};
use ringwire::ring::{
    Completion, Interest, Ring, RingSizes, Token, own_descriptor_table, pin_to_cpu, thread_cpu_time,
};

use super::connection::{Connection, State};
use super::frames::{FRAME_BYTES_MAX, Turned, turn_around};
use super::{Shared, Spent};

/// Connections at once; more wait in the kernel. A table of descriptors may hold 20,000 on hosts
/// with tight limits.
pub(crate) const CONNECTIONS_MAX: usize = 18_000;

/// Kinds of tokens.
const POLL: u8 = 1;
const CANCEL: u8 = 2;
const LISTENER: u8 = 3;
const WAKE: u8 = 4;

/// Operations gathered for one system call, and completions that wait: one for each connection.
const SIZES: RingSizes = RingSizes { submissions: 512, completions: 16 * 1024 };

/// Completions taken in one turn.
const COMPLETIONS_PER_TURN: usize = 1024;

/// Reads of one connection in a row, before the others get their share.
const READS_IN_A_ROW: usize = 4;

/// Time after which the thread looks around although nothing came.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Bytes in front of a read: a frame, or a head, that was cut short by the read before.
const KEPT_BYTES_MAX: usize = FRAME_BYTES_MAX;
const _: () = assert!(HEAD_BYTES_MAX <= KEPT_BYTES_MAX);

/// The thread's part.
pub(super) struct Echo {
    shared: Arc<Shared>,
    ring: Ring,
    listener: TcpListener,
    /// More may be waiting to be accepted.
    acceptable: bool,
    /// Some were accepted in this turn.
    accepted: bool,
    connections: Vec<Option<Connection>>,
    /// Places that are free, the next one last.
    free: Vec<u32>,
    line: VecDeque<u32>,
    /// The last head that was read, and its answer: the clients of a run all send the same.
    head: Vec<u8>,
    response: Vec<u8>,
    buffer: Box<[u8]>,
    spent: Spent,
    /// Processor time at the end of the last turn.
    ran: Duration,
}

impl Echo {
    /// Makes the calling thread the null echo's, on `cpu`.
    ///
    /// # Errors
    /// What this host lacks for it.
    pub(super) fn prepare(cpu: usize, shared: Arc<Shared>) -> Result<Self, String> {
        own_descriptor_table()
            .map_err(|error| format!("unshare(CLONE_FILES): {error}; is seccomp in the way?"))?;
        pin_to_cpu(cpu).map_err(|error| format!("cannot run on CPU {cpu}: {error}"))?;
        let mut ring = Ring::new(SIZES).map_err(|error| {
            format!("io_uring_setup: {error}; `ringwire check` says what this host lacks")
        })?;
        let listener = socket::listen_alone(SocketAddr::from(([127, 0, 0, 1], 0)), LISTEN_BACKLOG)
            .map(TcpListener::from)
            .map_err(|error| format!("cannot listen on 127.0.0.1: {error}"))?;
        ring.poll_multishot(&listener, Interest::Read, Token::new(LISTENER, 0, 0));
        ring.poll_multishot(&shared.wake, Interest::Read, Token::new(WAKE, 0, 0));
        Ok(Self {
            shared,
            ring,
            listener,
            acceptable: false,
            accepted: false,
            // All of it is written now, so that what memory a client takes is the generator's.
            connections: std::iter::repeat_with(|| None).take(CONNECTIONS_MAX).collect(),
            free: (0..CONNECTIONS_MAX as u32).rev().collect(),
            line: VecDeque::new(),
            head: Vec::new(),
            response: Vec::new(),
            buffer: vec![0; KEPT_BYTES_MAX + READ_BYTES].into_boxed_slice(),
            spent: Spent::default(),
            ran: thread_cpu_time(),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// As `io_uring_enter(2)`.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut completions = Vec::with_capacity(COMPLETIONS_PER_TURN);
        while !self.shared.stop.load(Ordering::Acquire) {
            let before = self.spent;
            self.ring.reap(COMPLETIONS_PER_TURN, &mut completions);
            completions.drain(..).for_each(|completion| self.completed(&completion));
            let more = self.accept_on() | self.read_on();
            self.account(before);
            if more {
                self.ring.submit()?;
            } else {
                self.ring.submit_and_wait(WAIT_MAX)?;
            }
        }
        Ok(())
    }

    /// Publishes what the turn did since `before`, and what it and the wait before it took.
    fn account(&mut self, before: Spent) {
        let ran = thread_cpu_time();
        let nanoseconds = (ran - self.ran).as_nanos() as u64;
        self.ran = ran;
        if self.spent.echoed > before.echoed {
            self.spent.echoing += nanoseconds;
        } else if self.accepted || self.spent.opened > before.opened {
            self.spent.opening += nanoseconds;
        }
        self.accepted = false;
        *self.shared.spent() = self.spent;
    }

    fn completed(&mut self, completion: &Completion) {
        match completion.token.kind() {
            POLL => self.polled(completion),
            LISTENER => {
                self.acceptable = true;
                if !completion.more {
                    let token = Token::new(LISTENER, 0, 0);
                    self.ring.poll_multishot(&self.listener, Interest::Read, token);
                }
            }
            WAKE if !completion.more => {
                let token = Token::new(WAKE, 0, 0);
                self.ring.poll_multishot(&self.shared.wake, Interest::Read, token);
            }
            _ => {}
        }
    }

    /// Accepts a share of what waits. `true` when more may be left that can be accepted.
    fn accept_on(&mut self) -> bool {
        if !self.acceptable {
            return false;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(&index) = self.free.last() else { return false };
            match socket::accept(&self.listener) {
                Ok(Some(socket)) => {
                    self.accepted = true;
                    self.free.pop();
                    self.connections[index as usize] = Some(Connection::new(socket));
                    self.arm(index);
                }
                Ok(None) => {
                    self.acceptable = false;
                    return false;
                }
                // Descriptors are used up: connections that end make room, and a turn soon looks.
                Err(_) => return false,
            }
        }
        true
    }

    /// Reads on where there was more than a share. `true` when more is left.
    fn read_on(&mut self) -> bool {
        for _ in 0..self.line.len() {
            let Some(index) = self.line.pop_front() else { break };
            if let Some(connection) = &mut self.connections[index as usize] {
                connection.in_line = false;
                self.read(index);
            }
        }
        !self.line.is_empty()
    }

    fn polled(&mut self, completion: &Completion) {
        let index = completion.token.index();
        let Some(connection) = &mut self.connections[index as usize] else { return };
        connection.polling = completion.more;
        connection.hung_up |= completion.hung_up();
        if connection.state == State::Draining {
            if !completion.more {
                self.free(index);
            }
            return;
        }
        let was_full = !connection.unsent.is_empty();
        if was_full && completion.writable() && !connection.flush() {
            self.drain(index);
        } else if completion.readable() || was_full {
            self.read(index);
        }
        // The kernel ends a poll whose completions it has no room for.
        if self.connections[index as usize].as_ref().is_some_and(|connection| !connection.polling) {
            self.arm(index);
        }
    }

    /// Reads what is there, or a share of it, and answers.
    fn read(&mut self, index: u32) {
        for _ in 0..READS_IN_A_ROW {
            let Some(connection) = &mut self.connections[index as usize] else { return };
            if !matches!(connection.state, State::Upgrading | State::Open)
                || !connection.unsent.is_empty()
            {
                return;
            }
            let start = connection.kept.len();
            let room = &mut self.buffer[start..start + READ_BYTES];
            match socket::receive(&connection.socket, room) {
                Received::Bytes(count) => {
                    let was_last = count < READ_BYTES && !connection.hung_up;
                    self.buffer[..start].copy_from_slice(&connection.kept);
                    if start > 0 {
                        connection.kept = Vec::new();
                    }
                    if !self.received(index, start + count) {
                        return self.drain(index);
                    }
                    if was_last {
                        return;
                    }
                }
                Received::Nothing | Received::Starved => return,
                Received::End | Received::Broken => return self.drain(index),
            }
        }
        let Some(connection) = &mut self.connections[index as usize] else { return };
        if !connection.in_line {
            connection.in_line = true;
            self.line.push_back(index);
        }
    }

    /// Answers the first `count` bytes of the buffer. `false` when the connection has to end.
    #[inline]
    fn received(&mut self, index: u32, count: usize) -> bool {
        let Some(connection) = &mut self.connections[index as usize] else { return false };
        let mut frames = 0;
        if connection.state == State::Upgrading {
            match head_size(&mut self.head, &mut self.response, &self.buffer[..count]) {
                Some(0) => {
                    connection.kept = self.buffer[..count].to_vec();
                    return true;
                }
                Some(size) => frames = size,
                None => return false,
            }
            connection.state = State::Open;
            self.spent.opened += 1;
            if !connection.send(&self.response) {
                return false;
            }
        }
        let bytes = &mut self.buffer[frames..count];
        let Ok(Turned { written, taken, messages, closed }) = turn_around(bytes) else {
            return false;
        };
        self.spent.echoed += messages;
        if written > 0 && !connection.send(&bytes[..written]) {
            return false;
        }
        if closed {
            connection.state = State::Closing;
            return !connection.unsent.is_empty();
        }
        if taken < bytes.len() {
            connection.kept = bytes[taken..].to_vec();
        }
        true
    }

    fn arm(&mut self, index: u32) {
        let Some(connection) = &mut self.connections[index as usize] else { return };
        let token = Token::new(POLL, 0, index);
        self.ring.poll_multishot(&connection.socket, Interest::ReadWrite, token);
        connection.polling = true;
    }

    /// Ends the connection and its poll, whose last completion lets the descriptor go.
    fn drain(&mut self, index: u32) {
        let Some(connection) = &mut self.connections[index as usize] else { return };
        connection.state = State::Draining;
        socket::shut_down(&connection.socket, Shutdown::Both);
        if connection.polling {
            self.ring.cancel(Token::new(POLL, 0, index), Token::new(CANCEL, 0, index));
        } else {
            self.free(index);
        }
    }

    fn free(&mut self, index: u32) {
        self.connections[index as usize] = None;
        self.free.push(index);
    }
}

/// Bytes of the head that `bytes` begin with, whose answer is then in `response`; 0 when the head
/// goes on, `None` when it asks for no WebSocket.
fn head_size(head: &mut Vec<u8>, response: &mut Vec<u8>, bytes: &[u8]) -> Option<usize> {
    if !head.is_empty() && bytes.starts_with(head) {
        return Some(head.len());
    }
    let Some(size) = HeadScanner::new().end_of_head(bytes).ok()? else { return Some(0) };
    let Ok(Request::Upgrade(request)) = parse_request(&bytes[..size]) else { return None };
    response.clear();
    accept(response, &request, None, None);
    head.clear();
    head.extend_from_slice(&bytes[..size]);
    Some(size)
}
