//! What the connections of a shard share.

use crate::collections::Tick;
use crate::protocol::deflate::{Deflater, Inflater, Sending};
use crate::protocol::{AssemblyPool, Limits};

/// What the connections of a shard share while bytes are worked on.
#[derive(Debug)]
pub struct Workshop {
    /// Buffers of unfinished messages.
    pub pool: AssemblyPool,
    /// Limits of messages. Whether they may be compressed is a matter of each connection.
    pub limits: Limits,
    /// Inflates what compressed messages contain (RFC 7692 section 7.2.2).
    pub inflater: Inflater,
    /// Compresses what is sent (RFC 7692 section 7.2.1).
    pub deflater: Deflater,
    /// Shorter messages are sent as they are.
    pub compression_min: usize,
    /// The window of copies that are compressed once for many peers, as a power of two (RFC 7692
    /// section 7.1.2).
    pub shared_window_bits: u8,
    /// Silence after which a peer is pinged; after twice that it is gone.
    pub heartbeat: Tick,
    /// Bytes of replies that wait for peers to read.
    pub replies_kept: usize,
    /// Connections for which anything waits, and its bytes.
    pub backlogs: usize,
    /// See [`backlogs`](Self::backlogs).
    pub backlog_bytes: usize,
}

impl Workshop {
    /// Appends `frames`, rewritten for all peers that hear a [shared](super::Hears::Shared) copy
    /// (RFC 7692 section 7.2.1); says how many messages were compressed.
    pub fn deflate_shared(&mut self, frames: &[u8], out: &mut Vec<u8>) -> u64 {
        let sending = self.sending(self.shared_window_bits);
        self.deflater.deflate_frames(sending, None, frames, out)
    }

    pub(super) const fn sending(&self, window_bits: u8) -> Sending {
        Sending { window_bits, min_bytes: self.compression_min, key: None }
    }
}
