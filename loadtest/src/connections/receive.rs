//! What arrives: bytes into frames, frames to the scenario.

use ringwire::protocol::{Event, Input, Limits, OpCode, encode_masked_frame};
use ringwire::tls::Heard;

use super::Connections;
use crate::client::State;
use crate::payload::{MASKING_KEY, MESSAGE_BYTES_MAX};
use crate::scenario::{Message, Scenario};
use crate::stats::{Failure, Stage};
use crate::tls::words;

/// Reads of one connection in a row, before the others get their share.
const READS_IN_A_ROW: usize = 4;

/// What a server may send in one message.
const LIMITS: Limits =
    Limits { message_bytes_max: MESSAGE_BYTES_MAX, fragments_max: u16::MAX, compressed: false };

/// The same where compression was agreed to.
const COMPRESSED: Limits = Limits { compressed: true, ..LIMITS };

impl Connections {
    /// Reads what is there, or a share of it.
    pub(super) fn read<S: Scenario>(&mut self, scenario: &mut S, index: u32) {
        for _ in 0..READS_IN_A_ROW {
            let Some((_, goes_on)) = self.read_once(scenario, index, usize::MAX) else { return };
            if !goes_on {
                return;
            }
        }
        self.wait_in_line(index);
    }

    /// Reads `bytes_max` bytes at most of a client that reads slowly. Gives back how many.
    pub(crate) fn read_some<S: Scenario>(
        &mut self,
        scenario: &mut S,
        index: u32,
        bytes_max: usize,
    ) -> usize {
        if self.clients[index as usize].state != State::Open {
            return 0;
        }
        self.read_once(scenario, index, bytes_max).map_or(0, |(bytes, _)| bytes)
    }

    /// Reads `most` bytes at most. Gives back how many, and whether there may be more; nothing when
    /// nothing is there, or the connection is over.
    fn read_once<S: Scenario>(
        &mut self,
        scenario: &mut S,
        index: u32,
        most: usize,
    ) -> Option<(usize, bool)> {
        if self.is_unread(index) {
            self.end(scenario, index, Failure::Unread);
            return None;
        }
        let client = &mut self.clients[index as usize];
        let socket = client.socket.as_ref().filter(|_| client.state != State::Draining)?;
        let (hung_up, broken) = (client.hung_up, client.broken);
        let mut inlet = std::mem::take(&mut self.inlet);
        let heard = inlet.receive_some(socket, client.session.as_deref_mut(), most);
        let (read, ended) = match heard {
            Heard::Bytes { bytes, has_more } => {
                let count = bytes.len();
                self.received(scenario, index, bytes);
                (Some((count, has_more || hung_up)), None)
            }
            Heard::Nothing | Heard::Starved => (None, None),
            Heard::End | Heard::Cut if broken => (None, Some(Failure::Broken)),
            Heard::End => (None, Some(Failure::Ended)),
            Heard::Cut => (None, Some(Failure::Cut)),
            Heard::Broken => (None, Some(Failure::Broken)),
            Heard::Failed(error) => (None, Some(Failure::Tls(words(error)))),
        };
        self.inlet = inlet;
        if let Some(failure) = ended {
            self.end(scenario, index, failure);
        }
        read
    }

    fn received<S: Scenario>(&mut self, scenario: &mut S, index: u32, bytes: &mut [u8]) {
        let now = self.clock.now();
        let target = self.target_of(index);
        let client = &mut self.clients[index as usize];
        match client.state {
            State::Open | State::Closing => self.frames(scenario, index, bytes, now),
            State::Handshaking => self.shake_hands(scenario, index, now),
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

    /// Something of the TLS handshake has come: what follows from it waits to be sent.
    fn shake_hands<S: Scenario>(&mut self, scenario: &mut S, index: u32, now: u64) {
        let client = &mut self.clients[index as usize];
        if !client.flush(&mut self.outlet) {
            self.end(scenario, index, Failure::Broken);
        } else if client.session.as_ref().is_some_and(|session| !session.is_handshaking()) {
            self.secured(index, now);
        }
    }

    fn frames<S: Scenario>(&mut self, scenario: &mut S, index: u32, bytes: &mut [u8], now: u64) {
        let hears = !self.is_deaf;
        let client = &mut self.clients[index as usize];
        let (mut at, end) = (0, bytes.len());
        let limits = if client.compression.is_some() { &COMPRESSED } else { &LIMITS };
        let mut messages = 0;
        let ended = loop {
            if hears && client.state == State::Open && !client.decoder.in_message() {
                let known = scenario.recognise(&mut self.stats, index, &bytes[at..]);
                at += known.bytes;
                messages += known.messages;
            }
            let mut input = Input::new(&mut bytes[at..]);
            match client.decoder.next(&mut input, &mut self.pool, limits) {
                Ok(Some(Event::Message { kind, compressed, payload })) => {
                    // Heard or not: the next one may refer to it.
                    let payload = match &mut client.compression {
                        Some(agreed) if compressed => {
                            let pressed = &mut self.stats.pressed;
                            match self.press.inflate(agreed, kind, payload, pressed) {
                                Ok(payload) => payload,
                                Err(error) => break Some(Failure::Protocol(error.reason())),
                            }
                        }
                        _ => payload,
                    };
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
                        if !client.send(&mut self.outlet, &pong) {
                            break Some(Failure::Broken);
                        }
                        self.stats.pings_answered += 1;
                    }
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close { .. })) if client.state == State::Closing => {
                    self.stats.closed_cleanly += 1;
                    client.state = State::Closed;
                    client.say_goodbye();
                }
                Ok(Some(Event::Close { code, .. })) => {
                    let mut answer = Vec::with_capacity(8);
                    let payload = code.map(u16::to_be_bytes);
                    let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
                    encode_masked_frame(&mut answer, OpCode::Close, payload, MASKING_KEY);
                    // A connection that breaks here has ended the same way.
                    let _ = client.send(&mut self.outlet, &answer);
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
