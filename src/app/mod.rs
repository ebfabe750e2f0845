//! What a message means: applications behind one trait.
#![forbid(unsafe_code)]

pub mod chat;

use std::fmt;
use std::sync::Arc;

pub use chat::{Chat, Session};

use crate::collections::Key;
use crate::connection::{CloseReason, Message};
use crate::hub::{Now, Rooms};
use crate::protocol::{CloseCode, MessageKind, OpCode, encode_frame};
use crate::security::PasswordFile;
use crate::security::TokenError;

/// An application. It sees connections come and their whole messages, and answers with effects; it
/// knows no socket.
pub trait App {
    /// A connection was established. What is replied comes right behind its 101, and whatever
    /// anybody publishes from now on comes later.
    fn on_open(&self, peer: &mut Peer<'_>, effects: &mut Effects<'_>);

    /// A message of one connection arrived.
    fn on_message(&self, peer: &mut Peer<'_>, message: Message<'_>, effects: &mut Effects<'_>);
}

/// A connection as its application knows it.
#[derive(Debug)]
pub struct Peer<'a> {
    /// Its key on this shard.
    pub key: Key,
    /// What the application remembers of it; nothing as long as that is nothing.
    pub session: &'a mut Option<Box<Session>>,
}

/// What an application can do.
#[derive(Debug)]
pub struct Effects<'a> {
    /// The time of this turn.
    pub now: Now,
    /// The rooms of this shard.
    pub rooms: &'a mut Rooms,
    /// Encoded frames for the connection itself.
    pub reply: &'a mut Vec<u8>,
    /// Encoded frames for the whole audience of broadcasts.
    pub publications: &'a mut Publications,
    /// The rest.
    pub outcome: &'a mut Outcome,
}

/// Encoded frames, one behind the other.
#[derive(Default, Debug)]
pub struct Publications {
    /// The frames.
    pub frames: Vec<u8>,
    /// How many.
    pub count: u32,
}

/// What came of an exchange with a connection, beside what is sent.
#[derive(Default, Debug)]
pub struct Outcome {
    /// Frames that were replied.
    pub replies: u64,
    /// Messages that were refused for their rate.
    pub rate_limited: u64,
    /// Messages that were answered with an error.
    pub errors: u64,
    /// A password of the connection that is to be checked elsewhere, since it takes long. One at a
    /// time.
    pub question: Option<PasswordQuestion>,
    /// Why a token was refused, if one was.
    pub refused_token: Option<TokenError>,
    /// The end of the connection, once the application wants it.
    pub verdict: Option<Verdict>,
}

/// Whether this is the password of a user.
pub struct PasswordQuestion {
    /// Those that have one.
    pub users: Arc<PasswordFile>,
    /// The user.
    pub username: String,
    /// What the client says.
    pub password: String,
}

impl fmt::Debug for PasswordQuestion {
    /// Without the password, which must not come into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PasswordQuestion").finish_non_exhaustive()
    }
}

/// Why and how an application ends a connection.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// In the words of the metrics.
    pub reason: CloseReason,
    /// In the Close frame.
    pub code: CloseCode,
    /// In the Close frame.
    pub text: &'static str,
}

impl Effects<'_> {
    /// Answers the sender.
    pub fn reply(&mut self, kind: MessageKind, payload: &[u8]) {
        encode_frame(self.reply, OpCode::from(kind), payload);
        self.outcome.replies += 1;
    }

    /// Tells everybody in the audience of broadcasts, the sender too.
    pub fn publish(&mut self, kind: MessageKind, payload: &[u8]) {
        encode_frame(&mut self.publications.frames, OpCode::from(kind), payload);
        self.publications.count += 1;
    }
}

/// Sends every message back to its sender.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

impl App for Echo {
    fn on_open(&self, _: &mut Peer<'_>, _: &mut Effects<'_>) {}

    fn on_message(&self, _: &mut Peer<'_>, message: Message<'_>, effects: &mut Effects<'_>) {
        effects.reply(message.kind, message.payload);
    }
}

/// Sends every message to every connection of the application, on all shards, in one order.
#[derive(Clone, Copy, Debug)]
pub struct Broadcast;

impl App for Broadcast {
    fn on_open(&self, peer: &mut Peer<'_>, effects: &mut Effects<'_>) {
        effects.rooms.enter_broadcast(peer.key);
    }

    fn on_message(&self, _: &mut Peer<'_>, message: Message<'_>, effects: &mut Effects<'_>) {
        effects.publish(message.kind, message.payload);
    }
}

/// Which application a connection belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Endpoint {
    /// [`Echo`].
    Echo,
    /// [`Broadcast`].
    Broadcast,
    /// [`Chat`].
    Chat,
}

impl Endpoint {
    /// The endpoint of a request path; `/` is what the configuration says.
    #[must_use]
    pub fn of_path(path: &str, root: Self) -> Option<Self> {
        match path {
            "/" => Some(root),
            "/echo" => Some(Self::Echo),
            "/broadcast" => Some(Self::Broadcast),
            "/chat" => Some(Self::Chat),
            _ => None,
        }
    }

    /// Where it always is.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Echo => "/echo",
            Self::Broadcast => "/broadcast",
            Self::Chat => "/chat",
        }
    }

    /// Whether clients may say who they are in a message, where the server allows that.
    #[must_use]
    pub const fn authenticates_by_message(self) -> bool {
        match self {
            Self::Chat => true,
            Self::Echo | Self::Broadcast => false,
        }
    }

    /// Its path without the slash.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Broadcast => "broadcast",
            Self::Chat => "chat",
        }
    }
}
