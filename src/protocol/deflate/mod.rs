//! Compressed messages: the extension permessage-deflate (RFC 7692), without I/O.
//!
//! 1. **Agree** ([`Agreement`]): a server answers the offers of a request, a client makes one and
//!    checks the answer.
//! 2. **Receive** ([`Inflater`]): messages that the decoder marks as compressed.
//! 3. **Send** ([`Deflater`]): frames are encoded as always, then rewritten.
//!
//! Connections own no state of zlib: one [`Deflater`] and one [`Inflater`] serve all of a thread.
//! A direction with context takeover keeps its last bytes ([`History`]), which are the dictionary
//! of its next message.

mod deflater;
mod extensions;
mod history;
mod inflater;
mod negotiation;
#[cfg(test)]
mod tests;

pub use deflater::{Deflater, Sending};
pub use history::History;
pub use inflater::Inflater;
pub use negotiation::{Agreement, DeflatePolicy, NotOffered};

/// What ends every flushed message and is left out on the wire (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
