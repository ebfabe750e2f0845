//! What arrives: bytes into frames, frames to the scenario.

use ringwire::protocol::{Event, Input, Limits, OpCode, encode_masked_frame};
use ringwire::ring::socket::{self, Received};

use super::Connections;
use crate::client::State;
use crate::payload::{MASKING_KEY, MESSAGE_BYTES_MAX};
use crate::scenario::{Message, Scenario};
use crate::stats::{Failure, Stage};

/// Reads of one connection in a row, before the others get their share.
const READS_IN_A_ROW: usize = 4;

/// What a server may send in one message.
const LIMITS: Limits =
    Limits { message_bytes_max: MESSAGE_BYTES_MAX, fragments_max: u16::MAX, compressed: false };

impl Connections {
    /// Reads what is there, or a share of it.
    pub(super) fn read<S: Scenario>(&mut self, scenario: &mut S, index: u32) {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.read_into(scenario, index, &mut buffer);
        self.buffer = buffer;
    }

    /// Reads `bytes_max` bytes at most of a client that reads slowly. Gives back how many.
    pub(crate) fn read_some<S: Scenario>(
        &mut self,
        scenario: &mut S,
        index: u32,
        bytes_max: usize,
    ) -> usize {
        let client = &self.clients[index as usize];
        let Some(socket) = client.socket.as_ref().filter(|_| client.state == State::Open) else {
            return 0;
        };
        if self.is_unread(index) {
            self.end(scenario, index, Failure::Unread);
            return 0;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let share = bytes_max.min(buffer.len());
        let read = match socket::receive(socket, &mut buffer[..share]) {
            Received::Bytes(count) => {
                self.received(scenario, index, &mut buffer[..count]);
                count
            }
            Received::Nothing | Received::Starved => 0,
            Received::End => {
                self.end(scenario, index, Failure::Ended);
                0
            }
            Received::Broken => {
                self.end(scenario, index, Failure::Broken);
                0
            }
        };
        self.buffer = buffer;
        read
    }

    fn read_into<S: Scenario>(&mut self, scenario: &mut S, index: u32, buffer: &mut [u8]) {
        for _ in 0..READS_IN_A_ROW {
            let client = &self.clients[index as usize];
            let Some(socket) = &client.socket else { return };
            if client.state == State::Draining {
                return;
            }
            if self.is_unread(index) {
                return self.end(scenario, index, Failure::Unread);
            }
            match socket::receive(socket, buffer) {
                Received::Bytes(count) => {
                    let was_last = count < buffer.len() && !client.hung_up;
                    self.received(scenario, index, &mut buffer[..count]);
                    if was_last {
                        return;
                    }
                }
                Received::Nothing | Received::Starved => return,
                Received::End if client.broken => {
                    return self.end(scenario, index, Failure::Broken);
                }
                Received::End => return self.end(scenario, index, Failure::Ended),
                Received::Broken => return self.end(scenario, index, Failure::Broken),
            }
        }
        self.wait_in_line(index);
    }

    fn received<S: Scenario>(&mut self, scenario: &mut S, index: u32, bytes: &mut [u8]) {
        let now = self.clock.now();
        let target = self.target_of(index);
        let client = &mut self.clients[index as usize];
        match client.state {
            State::Open | State::Closing => self.frames(scenario, index, bytes, now),
            State::Upgrading => match self.upgrades[target].response(client, bytes) {
                Ok(None) => {}
                Ok(Some(used)) => {
                    self.opened(scenario, index, now);
                    // The scenario may have ended it at once.
                    let state = self.clients[index as usize].state;
                    let goes_on = matches!(state, State::Open | State::Closing);
                    if used < bytes.len() && goes_on {
                        self.frames(scenario, index, &mut bytes[used..], now);
                    }
                }
                Err(failure) => {
                    self.failed(index, Stage::Upgrade, failure);
                    self.drain(index);
                }
            },
            State::Idle | State::Connecting | State::Closed | State::Draining | State::Gone => {}
        }
    }

    fn frames<S: Scenario>(&mut self, scenario: &mut S, index: u32, bytes: &mut [u8], now: u64) {
        let hears = !self.is_deaf;
        let client = &mut self.clients[index as usize];
        let (mut at, end) = (0, bytes.len());
        let mut messages = 0;
        let ended = loop {
            if hears && client.state == State::Open && !client.decoder.in_message() {
                let known = scenario.recognise(&mut self.stats, index, &bytes[at..]);
                at += known.bytes;
                messages += known.messages;
            }
            let mut input = Input::new(&mut bytes[at..]);
            match client.decoder.next(&mut input, &mut self.pool, &LIMITS) {
                Ok(Some(Event::Message { kind, payload, .. })) => {
                    if hears && client.state == State::Open {
                        messages += 1;
                        scenario.message(
                            &mut self.stats,
                            index,
                            Message { kind, payload, at: now },
                        );
                    }
                }
                Ok(Some(Event::Ping(payload))) => {
                    let mut pong = Vec::with_capacity(payload.len() + 6);
                    encode_masked_frame(&mut pong, OpCode::Pong, payload, MASKING_KEY);
                    if client.state == State::Open {
                        if !client.send(&pong) {
                            break Some(Failure::Broken);
                        }
                        self.stats.pings_answered += 1;
                    }
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close { .. })) if client.state == State::Closing => {
                    self.stats.closed_cleanly += 1;
                    client.state = State::Closed;
                }
                Ok(Some(Event::Close { code, .. })) => {
                    let mut answer = Vec::with_capacity(8);
                    let payload = code.map(u16::to_be_bytes);
                    let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
                    encode_masked_frame(&mut answer, OpCode::Close, payload, MASKING_KEY);
                    // A connection that breaks here has ended the same way.
                    let _ = client.send(&answer);
                    break Some(Failure::Closed(code.unwrap_or(1005)));
                }
                Ok(None) => break None,
                Err(error) => break Some(Failure::Protocol(error.reason())),
            }
            at = end - input.remaining();
        };
        if messages > 0 {
            scenario.read_done(self, index, now);
        }
        if let Some(failure) = ended {
            self.end(scenario, index, failure);
        }
    }
}
