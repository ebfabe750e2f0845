//! The chat application: rooms, and a protocol of JSON text messages.

pub mod answer;
mod command;
mod session;

pub use answer::ChatWording;
pub use command::{Command, CommandError, Credentials, Since, parse};
pub use session::Session;

use std::borrow::Cow;

use super::{App, Effects, Peer};
use crate::collections::Key;
use crate::connection::Message;
use crate::hub::{Epoch, Position, RoomError};
use crate::protocol::MessageKind;

/// The chat of one shard.
#[derive(Debug)]
pub struct Chat {
    shard: usize,
}

impl Chat {
    /// For the connections of this shard.
    #[must_use]
    pub const fn new(shard: usize) -> Self {
        Self { shard }
    }

    /// The name of a connection, unique on this node for as long as it lives.
    fn connection_id(&self, key: Key) -> String {
        format!("{}-{}-{}", self.shard, key.index(), key.generation())
    }

    fn guest_name(&self, key: Key) -> String {
        format!("guest-{}", self.connection_id(key))
    }

    /// Without authentication, anybody may take any name.
    fn authenticate(
        &self,
        peer: &mut Peer<'_>,
        credentials: &Credentials<'_>,
        effects: &mut Effects<'_>,
    ) {
        let user = match credentials {
            Credentials::Password { username, .. } => Cow::Borrowed(&**username),
            Credentials::Token(_) => Cow::Owned(self.guest_name(peer.key)),
        };
        peer.session.get_or_insert_default().set_user(&user);
        say(effects, |out| answer::auth_success(out, &user));
    }

    fn obey(&self, peer: &mut Peer<'_>, command: Command<'_>, effects: &mut Effects<'_>) {
        let done = match command {
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
            Command::Auth(credentials) => {
                self.authenticate(peer, &credentials, effects);
                Ok(())
            }
        };
        match done {
            Ok(()) => {}
            Err(RoomError::NotInRoom) => complain(effects, answer::NOT_IN_ROOM),
            Err(RoomError::TooMany) => complain(effects, answer::TOO_MANY_ROOMS),
        }
    }
}

impl App for Chat {
    fn on_open(&self, peer: &mut Peer<'_>, effects: &mut Effects<'_>) {
        let timestamp = effects.now.unix_milliseconds;
        let id = self.connection_id(peer.key);
        say(effects, |out| answer::welcome(out, timestamp, &id));
    }

    fn on_message(&self, peer: &mut Peer<'_>, message: Message<'_>, effects: &mut Effects<'_>) {
        if message.kind == MessageKind::Binary {
            complain(effects, answer::INVALID_FORMAT);
            return;
        }
        match parse(message.payload) {
            Ok(command) => self.obey(peer, command, effects),
            Err(CommandError::Json) => complain(effects, answer::INVALID_JSON),
            Err(CommandError::Format) => complain(effects, answer::INVALID_FORMAT),
        }
    }
}

/// Where a client that comes back has been. An epoch that is not ours is none we could go on with.
fn position(since: &Since<'_>) -> Option<Position> {
    Some(Position { epoch: Epoch::parse(&since.epoch)?, offset: since.offset })
}

fn say(effects: &mut Effects<'_>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut payload = Vec::with_capacity(128);
    write(&mut payload);
    effects.reply(MessageKind::Text, &payload);
}

fn complain(effects: &mut Effects<'_>, message: &str) {
    say(effects, |out| answer::error(out, message));
}
