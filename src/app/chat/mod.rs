//! The chat application: rooms, and a protocol of JSON text messages.

pub mod answer;
mod command;

pub use answer::ChatWording;
pub use command::{Command, CommandError, Credentials, Since, parse};
