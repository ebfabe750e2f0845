//! What a message means: applications behind one trait.
#![forbid(unsafe_code)]

use crate::connection::Message;
use crate::protocol::{MessageKind, OpCode, encode_frame};

/// An application. It sees whole messages and answers with effects; it knows no socket.
pub trait App {
    /// A message of one connection arrived.
    fn on_message(&self, message: Message<'_>, effects: &mut Effects<'_>);

    /// Whether its connections hear what is published.
    fn has_audience(&self) -> bool;
}

/// What an application can do about a message.
#[derive(Debug)]
pub struct Effects<'a> {
    /// Encoded frames for the sender of the message.
    pub reply: &'a mut Vec<u8>,
    /// How many are in `reply`.
    pub replies: &'a mut u64,
    /// Encoded frames for the whole audience.
    pub publications: &'a mut Vec<u8>,
    /// How many are in `publications`.
    pub published: &'a mut u32,
}

impl Effects<'_> {
    /// Answers the sender.
    pub fn reply(&mut self, kind: MessageKind, payload: &[u8]) {
        encode_frame(self.reply, OpCode::from(kind), payload);
        *self.replies += 1;
    }

    /// Tells everybody in the audience, the sender too.
    pub fn publish(&mut self, kind: MessageKind, payload: &[u8]) {
        encode_frame(self.publications, OpCode::from(kind), payload);
        *self.published += 1;
    }
}

/// Sends every message back to its sender.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

impl App for Echo {
    fn on_message(&self, message: Message<'_>, effects: &mut Effects<'_>) {
        effects.reply(message.kind, message.payload);
    }

    fn has_audience(&self) -> bool {
        false
    }
}

/// Sends every message to every connection of the application, on all shards, in one order.
#[derive(Clone, Copy, Debug)]
pub struct Broadcast;

impl App for Broadcast {
    fn on_message(&self, message: Message<'_>, effects: &mut Effects<'_>) {
        effects.publish(message.kind, message.payload);
    }

    fn has_audience(&self) -> bool {
        true
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
}

impl Endpoint {
    /// The endpoint of a request path; `/` is what the configuration says.
    #[must_use]
    pub fn of_path(path: &str, root: Self) -> Option<Self> {
        match path {
            "/" => Some(root),
            "/echo" => Some(Self::Echo),
            "/broadcast" => Some(Self::Broadcast),
            _ => None,
        }
    }

    /// Whether clients may say who they are in a message, where the server allows that.
    #[must_use]
    pub const fn authenticates_by_message(self) -> bool {
        match self {
            Self::Echo | Self::Broadcast => false,
        }
    }

    /// Its application.
    #[must_use]
    pub fn app(self) -> &'static dyn App {
        match self {
            Self::Echo => &Echo,
            Self::Broadcast => &Broadcast,
        }
    }
}
