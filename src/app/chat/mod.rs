//! The chat application: rooms, and a protocol of JSON text messages.

pub mod answer;
mod command;
mod connection_id;
mod session;

use std::borrow::Cow;
use std::sync::Arc;

pub use answer::ChatWording;
pub use command::{
    Command, CommandError, Credentials, Since, is_room_name, is_text, is_username, parse,
};
pub use connection_id::ConnectionId;
pub use session::{Rates, Session};

use self::session::RateVerdict;
use super::{App, Effects, PasswordQuestion, Peer, Verdict};
use crate::collections::Key;
use crate::connection::{CloseReason, Message};
use crate::hub::span::NodeId;
use crate::hub::{Epoch, Now, Position, RoomError};
use crate::protocol::{CloseCode, MessageKind};
use crate::security::{Access, AuthMode, Identity};

/// The chat of one shard.
#[derive(Debug)]
pub struct Chat {
    shard: usize,
    node: Option<NodeId>,
    access: Arc<Access>,
    rates: Rates,
}

impl Chat {
    /// For the connections of this shard, of this node if there are others.
    #[must_use]
    pub const fn new(
        shard: usize,
        node: Option<NodeId>,
        access: Arc<Access>,
        rates: Rates,
    ) -> Self {
        Self { shard, node, access, rates }
    }

    /// Who may come, as of now.
    #[must_use]
    pub const fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Replaces who may come and how much may be said. Who is here stays who it is, and what it
    /// has said still counts.
    pub fn replace(&mut self, access: Arc<Access>, rates: Rates) {
        self.access = access;
        self.rates = rates;
    }

    /// The answer to a question after a password: whose it is, if it is right.
    pub fn on_password_checked(
        &self,
        peer: &mut Peer<'_>,
        identity: Option<Identity>,
        effects: &mut Effects<'_>,
    ) {
        peer.session.get_or_insert_default().end_check();
        match identity {
            Some(identity) => welcome_user(peer, identity, effects),
            None => end(effects, AUTHENTICATION_FAILED),
        }
    }

    /// The timer of a connection has fired: why the time of its session is over, if it is.
    #[must_use]
    pub fn on_timer(&self, session: &mut Session, now: Now) -> Option<Verdict> {
        session.forget_old(&self.rates, now.tick);
        if session.is_expired(now) {
            return Some(TOKEN_EXPIRED);
        }
        session.is_late(now.tick).then_some(AUTHENTICATION_TIMEOUT)
    }

    fn obey(&self, peer: &mut Peer<'_>, command: Command<'_>, effects: &mut Effects<'_>) {
        let done = match command {
            Command::Auth(credentials) => {
                self.authenticate(peer, credentials, effects);
                Ok(())
            }
            Command::Ping => {
                say(effects, answer::pong);
                Ok(())
            }
            Command::JoinRoom { room, since } => {
                let since = since.and_then(|since| position(&since));
                effects.rooms.join(peer.key, &room, since)
            }
            Command::LeaveRoom { room } => effects.rooms.leave(peer.key, room.as_deref()),
            Command::ChatMessage { room, text, id } => {
                let username = match peer.session.as_ref().and_then(|session| session.user()) {
                    Some(user) => Cow::Borrowed(user),
                    None => Cow::Owned(self.guest_name(peer.key)),
                };
                let (id, room) = (id.as_deref(), room.as_deref());
                effects.rooms.publish(peer.key, room, id, |head, room| {
                    answer::message_head(head, room, &username, &text, id);
                })
            }
        };
        match done {
            Ok(()) => {}
            Err(RoomError::NotInRoom) => complain(effects, answer::NOT_IN_ROOM),
            Err(RoomError::TooMany) => complain(effects, answer::TOO_MANY_ROOMS),
        }
    }

    fn authenticate(
        &self,
        peer: &mut Peer<'_>,
        credentials: Credentials<'_>,
        effects: &mut Effects<'_>,
    ) {
        let now = effects.now.unix_milliseconds / 1000;
        match credentials {
            // Where nobody is asked who it is, anybody may take any name.
            _ if self.access.mode() == AuthMode::None => {
                let user = match credentials {
                    Credentials::Password { username, .. } => username,
                    Credentials::Token(_) => Cow::Owned(self.guest_name(peer.key)),
                };
                peer.session.get_or_insert_default().rename(&user);
                say(effects, |out| answer::auth_success(out, &user));
            }
            Credentials::Token(token) => match self.access.verify(&token, now) {
                Ok(identity) => welcome_user(peer, identity, effects),
                Err(error) => {
                    effects.outcome.refused_token = Some(error);
                    end(effects, AUTHENTICATION_FAILED);
                }
            },
            Credentials::Password { username, password } => {
                let (Some(users), Some(password)) = (self.access.passwords(), password) else {
                    return end(effects, AUTHENTICATION_FAILED);
                };
                peer.session.get_or_insert_default().await_check();
                effects.outcome.question = Some(PasswordQuestion {
                    users: Arc::clone(users),
                    username: username.into_owned(),
                    password: password.into_owned(),
                });
            }
        }
    }

    /// What a connection is called, on all nodes.
    fn connection_name(&self, key: Key) -> String {
        ConnectionId { shard: self.shard, key }.name(self.node)
    }

    fn guest_name(&self, key: Key) -> String {
        format!("guest-{}", self.connection_name(key))
    }

    /// Whether the rates let a message pass; answers it if not.
    fn passes(&self, session: &mut Session, bytes: usize, effects: &mut Effects<'_>) -> bool {
        let verdict = session.judge_rate(&self.rates, effects.now.tick, bytes);
        match verdict {
            RateVerdict::Fine => return true,
            RateVerdict::TooFast => complain(effects, answer::RATE_LIMIT_EXCEEDED),
            RateVerdict::Abuse => end(effects, TOO_FAST),
        }
        effects.outcome.rate_limited += 1;
        false
    }
}

impl App for Chat {
    fn on_open(&self, peer: &mut Peer<'_>, effects: &mut Effects<'_>) {
        if self.access.mode() == AuthMode::Message && peer.session.is_none() {
            *peer.session = Some(Box::new(Session::of_stranger(effects.now.tick)));
        }
        let timestamp = effects.now.unix_milliseconds;
        let id = self.connection_name(peer.key);
        say(effects, |out| answer::welcome(out, timestamp, &id));
    }

    fn on_message(&self, peer: &mut Peer<'_>, message: Message<'_>, effects: &mut Effects<'_>) {
        let session = peer.session.get_or_insert_default();
        if session.is_expired(effects.now) {
            return end(effects, TOKEN_EXPIRED);
        }
        let is_stranger = session.is_stranger();
        let is_awaiting = session.is_awaiting_check();
        let is_last = session.count_stranger_message() == 0;
        if !self.passes(session, message.payload.len(), effects) {
            return;
        }
        let command = match message.kind {
            MessageKind::Text => parse(message.payload),
            MessageKind::Binary => Err(CommandError::Format),
        };
        match command {
            Ok(command @ Command::Auth(_)) if !is_awaiting => self.obey(peer, command, effects),
            _ if is_stranger && is_last => end(effects, AUTHENTICATION_FAILED),
            _ if is_stranger => complain(effects, answer::NOT_AUTHENTICATED),
            Ok(Command::Auth(_)) => complain(effects, answer::NOT_AUTHENTICATED),
            Ok(command) => self.obey(peer, command, effects),
            Err(CommandError::Json) => complain(effects, answer::INVALID_JSON),
            Err(CommandError::Format) => complain(effects, answer::INVALID_FORMAT),
        }
    }
}

const AUTHENTICATION_FAILED: Verdict = Verdict {
    reason: CloseReason::Authentication,
    code: CloseCode::AUTHENTICATION,
    text: "Authentication failed",
};

const AUTHENTICATION_TIMEOUT: Verdict =
    Verdict { text: "Authentication timeout", ..AUTHENTICATION_FAILED };

const TOKEN_EXPIRED: Verdict = Verdict { text: "Token expired", ..AUTHENTICATION_FAILED };

const TOO_FAST: Verdict = Verdict {
    reason: CloseReason::RateLimited,
    code: CloseCode::POLICY,
    text: answer::RATE_LIMIT_EXCEEDED,
};

/// Where a client that comes back has been. An epoch that is not ours is none we could go on with.
fn position(since: &Since<'_>) -> Option<Position> {
    Some(Position { epoch: Epoch::parse(&since.epoch)?, offset: since.offset })
}

fn welcome_user(peer: &mut Peer<'_>, identity: Identity, effects: &mut Effects<'_>) {
    let user = identity.user.clone();
    if peer.session.get_or_insert_default().identify(identity) {
        say(effects, |out| answer::auth_success(out, &user));
    } else {
        // Rooms know this connection as somebody else.
        end(effects, AUTHENTICATION_FAILED);
    }
}

fn say(effects: &mut Effects<'_>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut payload = Vec::with_capacity(128);
    write(&mut payload);
    effects.reply(MessageKind::Text, &payload);
}

fn complain(effects: &mut Effects<'_>, message: &str) {
    effects.outcome.errors += 1;
    say(effects, |out| answer::error(out, message));
}

fn end(effects: &mut Effects<'_>, verdict: Verdict) {
    effects.outcome.verdict = Some(verdict);
}
