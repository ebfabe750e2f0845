//! How connections begin and end, and begin again.

use std::net::Shutdown;
use std::os::fd::OwnedFd;

use ringwire::protocol::{OpCode, encode_masked_frame};
use ringwire::ring::Token;
use ringwire::ring::socket;
use ringwire::tls::Session;
use rustls::ProtocolVersion;

use super::{CANCEL, Connections, POLL};
use crate::args::Leave;
use crate::client::State;
use crate::names;
use crate::payload::MASKING_KEY;
use crate::scenario::Scenario;
use crate::stats::{Failure, Stage};
use crate::tls::words;

/// Why a connection is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// It was asked to leave, and has.
    Asked,
    /// It failed, or the server ended it.
    Failed(Stage, Failure),
}

/// A connection that is gone: the scenario has yet to hear of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    index: u32,
    /// When it ended.
    at: u64,
    cause: Cause,
}

impl Connections {
    /// Starts to connect a client that is not started, or gone.
    pub(crate) fn start(&mut self, index: u32, now: u64) {
        let client = &mut self.clients[index as usize];
        assert!(matches!(client.state, State::Idle | State::Gone), "client {index} is alive");
        client.attempts = client.attempts.wrapping_add(1);
        let is_retry = std::mem::take(&mut client.has_failed);
        self.stats.first_start.get_or_insert(now);
        self.stats.count(names::ATTEMPTS);
        if is_retry {
            self.stats.count(names::RETRIED);
        }
        match self.connect(index, now) {
            Ok(socket) => {
                self.clients[index as usize].start(socket, now);
                self.pending += 1;
                let clients = &self.clients;
                self.opening.add((index, now), clients.len(), |index, since| {
                    let client = &clients[index as usize];
                    client.state.is_opening() && client.since == since
                });
                self.arm(index);
            }
            Err(failure) => {
                self.clients[index as usize].state = State::Gone;
                self.failed(index, Stage::Connect, failure);
                self.without_port += u64::from(failure == Failure::NO_PORT);
                self.tell_gone(index);
            }
        }
    }

    /// Begins to close a connection, whatever it is doing.
    pub(crate) fn leave(&mut self, index: u32, how: Leave, now: u64) {
        let state = self.clients[index as usize].state;
        if state == State::Open {
            self.stats.count(match how {
                Leave::Close => names::LEFT_BY_CLOSE,
                Leave::Fin => names::LEFT_BY_FIN,
                Leave::Abort => names::LEFT_BY_ABORT,
            });
        }
        match (state, how) {
            (State::Idle, _) => self.clients[index as usize].state = State::Gone,
            (State::Open, Leave::Close) => self.send_close(index, now),
            (State::Open, Leave::Fin) => {
                if let Some(socket) = &self.clients[index as usize].socket {
                    socket::shut_down(socket, Shutdown::Both);
                }
                self.drain(index);
            }
            (
                State::Connecting | State::Handshaking | State::Upgrading | State::Open,
                Leave::Close | Leave::Fin | Leave::Abort,
            ) => self.abort(index),
            (State::Closing | State::Closed | State::Draining | State::Gone, _) => {}
        }
    }

    /// Resets the connections that are being opened.
    pub(crate) fn abandon(&mut self) {
        for index in 0..self.count() {
            if self.clients[index as usize].state.is_opening() {
                self.stats.count(names::ABANDONED);
                self.abort(index);
            }
        }
    }

    /// Tells the scenario who is gone, after everything that was done on the way there.
    pub(crate) fn tell<S: Scenario>(&mut self, scenario: &mut S) {
        // Whoever is started again and fails at once is told in the next turn.
        let mut gone = std::mem::take(&mut self.gone);
        for Gone { index, at, cause } in gone.drain(..) {
            scenario.gone(self, index, at, cause);
        }
        if self.gone.is_empty() {
            self.gone = gone;
        }
    }

    /// Forgets who is gone, when no scenario wants to know.
    pub(crate) fn forget_gone(&mut self) {
        self.gone.clear();
    }

    /// Whether somebody is gone that the scenario has yet to hear of.
    pub(crate) const fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Fails what has not come in time.
    pub(crate) fn expire<S: Scenario>(&mut self, scenario: &mut S, now: u64) {
        loop {
            let clients = &self.clients;
            let late = self.opening.next(now, |index, since| {
                let client = &clients[index as usize];
                client.state.is_opening() && client.since == since
            });
            let late = late.or_else(|| {
                self.leaving.next(now, |index, since| {
                    let client = &clients[index as usize];
                    client.state.is_leaving() && client.since == since
                })
            });
            let Some(index) = late else { return };
            self.end(scenario, index, Failure::TimedOut);
        }
    }

    /// Starts to connect, from another source in every attempt, as long as there are ports.
    fn connect(&mut self, index: u32, now: u64) -> Result<OwnedFd, Failure> {
        let turn = self.turn(index);
        let target = self.setup.targets[self.target_of(index)].address;
        let buffer = self.is_slow(index).then_some(self.setup.slow.receive_buffer);
        self.rotation.connect(&self.setup.sources, turn, now, |source| {
            socket::connect(source, target, buffer).map_err(Failure::from)
        })
    }

    pub(super) fn connected(&mut self, index: u32) {
        let now = self.clock.now();
        let target = self.target_of(index);
        let client = &mut self.clients[index as usize];
        let Some(socket) = &client.socket else { return };
        if let Err(error) = socket::connect_outcome(socket) {
            self.failed(index, Stage::Connect, error.into());
            return self.drain(index);
        }
        client.connected = now;
        self.stats.histogram(names::CONNECT).record(now.saturating_sub(client.since));
        match (&self.setup.targets[target].tls, &self.tls) {
            (Some(name), Some(config)) => {
                let begun = Session::client(config.clone(), name.clone());
                let begun = begun.and_then(|mut session| session.begin().map(|()| session));
                match begun {
                    Ok(session) => {
                        client.state = State::Handshaking;
                        client.session = Some(session.into());
                        if client.flush(&mut self.outlet) {
                            return;
                        }
                        self.failed(index, Stage::Tls, Failure::Broken);
                    }
                    Err(error) => self.failed(index, Stage::Tls, Failure::Tls(words(error))),
                }
                self.drain(index);
            }
            _ => self.ask(index),
        }
    }

    /// The TLS handshake is over.
    pub(super) fn secured(&mut self, index: u32, now: u64) {
        let client = &mut self.clients[index as usize];
        self.stats.histogram(names::TLS).record(now.saturating_sub(client.connected));
        client.connected = now;
        let Some(session) = &client.session else { return };
        let is_newest = session.version() == Some(ProtocolVersion::TLSv1_3);
        let is_resumed = session.is_resumed();
        self.stats.count(if is_newest { names::TLS_1_3 } else { names::TLS_1_2 });
        self.stats.count_if_any(names::TLS_RESUMED, is_resumed.into());
        self.ask(index);
    }

    /// Asks for the upgrade.
    fn ask(&mut self, index: u32) {
        let target = self.target_of(index);
        let client = &mut self.clients[index as usize];
        client.state = State::Upgrading;
        if !client.send(&mut self.outlet, self.upgrades[target].request()) {
            self.failed(index, Stage::Upgrade, Failure::Broken);
            self.drain(index);
        }
    }

    pub(super) fn opened<S: Scenario>(&mut self, scenario: &mut S, index: u32, now: u64) {
        let is_slow = self.is_slow(index);
        let client = &mut self.clients[index as usize];
        client.state = State::Open;
        let handshake = now - client.since;
        self.stats.handshake.record(handshake);
        if self.setup.handshakes_only {
            self.stats.punctual.record(handshake);
        }
        self.stats.histogram(names::UPGRADE).record(now.saturating_sub(client.connected));
        self.stats.count_if_any(names::COMPRESSED, client.compression.is_some().into());
        if !std::mem::replace(&mut client.was_open, true) {
            self.stats.achieved += 1;
        }
        self.stats.last_open = Some(now);
        self.stats.opened += 1;
        self.opened += 1;
        self.pending -= 1;
        self.open += u32::from(!is_slow);
        scenario.opened(self, index, now);
    }

    fn send_close(&mut self, index: u32, now: u64) {
        let is_slow = self.is_slow(index);
        let client = &mut self.clients[index as usize];
        let mut frame = Vec::with_capacity(8);
        encode_masked_frame(&mut frame, OpCode::Close, &1000u16.to_be_bytes(), MASKING_KEY);
        if !client.send(&mut self.outlet, &frame) {
            return self.abort(index);
        }
        client.state = State::Closing;
        client.since = now;
        self.open -= u32::from(!is_slow);
        self.pending += 1;
        let clients = &self.clients;
        self.leaving.add((index, now), clients.len(), |index, since| {
            let client = &clients[index as usize];
            client.state.is_leaving() && client.since == since
        });
        if is_slow {
            // What it has not read yet stands before the server's answer, and no poll tells again.
            self.wait_in_line(index);
        }
    }

    /// A connection ends by the server's doing, or ours because of the server.
    #[cold]
    pub(super) fn end<S: Scenario>(&mut self, scenario: &mut S, index: u32, failure: Failure) {
        let state = self.clients[index as usize].state;
        match state {
            State::Connecting => self.failed(index, Stage::Connect, failure),
            State::Handshaking => self.failed(index, Stage::Tls, failure),
            // A server may say what it thinks of the handshake when it is over for us.
            State::Upgrading if matches!(failure, Failure::Tls(_)) => {
                self.failed(index, Stage::Tls, failure);
            }
            State::Upgrading => self.failed(index, Stage::Upgrade, failure),
            State::Open => self.lost(index, failure),
            State::Closing => self.stats.fail(Stage::Leave, failure),
            State::Closed => match failure {
                Failure::TimedOut => self.stats.fail(Stage::Leave, failure),
                // The end of the stream is the server's duty here. Behind both close frames there
                // is nothing to cut off.
                Failure::Ended | Failure::Cut => {
                    let took = self.clock.now() - self.clients[index as usize].since;
                    self.stats.histogram(names::CLOSE).record(took);
                }
                _ => {}
            },
            State::Idle | State::Draining | State::Gone => return,
        }
        if failure == Failure::TimedOut {
            self.abort(index);
        } else {
            if state != State::Closed {
                // What the server did wrong in TLS is told as well.
                self.clients[index as usize].say_goodbye();
            }
            self.drain(index);
        }
        if state == State::Open {
            scenario.lost(index, failure);
        }
    }

    /// An attempt to open a connection failed.
    pub(super) fn failed(&mut self, index: u32, stage: Stage, failure: Failure) {
        self.stats.fail(stage, failure);
        self.clients[index as usize].has_failed = true;
        self.causes.insert(index, (stage, failure));
    }

    /// An open connection was lost; a slow reader is expected to be, and who is told farewell.
    fn lost(&mut self, index: u32, failure: Failure) {
        if self.is_slow(index) {
            *self.stats.slow_lost.entry(failure).or_insert(0) += 1;
        } else if failure != Failure::FAREWELL || !self.setup.farewells {
            self.stats.lost += 1;
            self.stats.fail(Stage::Open, failure);
        }
        self.causes.insert(index, (Stage::Open, failure));
    }

    fn abort(&mut self, index: u32) {
        if let Some(socket) = &self.clients[index as usize].socket {
            socket::abort_on_close(socket);
        }
        self.drain(index);
    }

    /// Ends the poll, whose last completion lets the descriptor go.
    pub(super) fn drain(&mut self, index: u32) {
        let is_slow = self.is_slow(index);
        let client = &mut self.clients[index as usize];
        match client.state {
            State::Open => {
                self.open -= u32::from(!is_slow);
                self.pending += 1;
            }
            State::Idle | State::Draining | State::Gone => return,
            State::Connecting
            | State::Handshaking
            | State::Upgrading
            | State::Closing
            | State::Closed => {}
        }
        client.state = State::Draining;
        client.decoder.release(&mut self.pool);
        client.compression = None;
        client.rest = None;
        if client.polling {
            let token = Token::new(POLL, 0, index);
            self.ring.cancel(token, Token::new(CANCEL, 0, index));
        } else {
            self.free(index);
        }
    }

    /// Lets the descriptor go. No poll of this life is left in the ring, so that the next life's
    /// may have the same token.
    pub(super) fn free(&mut self, index: u32) {
        let client = &mut self.clients[index as usize];
        client.socket = None;
        client.session = None;
        client.state = State::Gone;
        self.pending -= 1;
        self.tell_gone(index);
    }

    fn tell_gone(&mut self, index: u32) {
        let cause = match self.causes.remove(&index) {
            Some((stage, failure)) => Cause::Failed(stage, failure),
            None => Cause::Asked,
        };
        self.gone.push(Gone { index, at: self.clock.now(), cause });
    }
}
