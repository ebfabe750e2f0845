//! Inflates messages, however much a few bytes may claim to be.

use flate2::{Decompress, FlushDecompress, Status};

use super::{History, TAIL};
use crate::limits::{
    DEFLATE_FINAL_BLOCKS_MAX, DEFLATE_WINDOW_BITS_MAX, INFLATED_BYTES_KEPT, INFLATED_BYTES_MIN,
};
use crate::protocol::ProtocolError;

/// Bytes that a block can refer back to (RFC 1951 section 2).
const WINDOW: usize = 1 << DEFLATE_WINDOW_BITS_MAX;

/// The tail that is left out on the wire, and behind it a last block with nothing in it. A message
/// that ends where it may takes both without a word; inside a block they are data, or an error.
const END: [u8; 9] = [TAIL[0], TAIL[1], TAIL[2], TAIL[3], 0x01, 0x00, 0x00, 0xFF, 0xFF];

/// The decompressor of one thread and the buffer that it writes to. It carries nothing from message
/// to message, so all connections share it.
#[derive(Debug)]
pub struct Inflater {
    decompressor: Option<Decompress>,
    message: Vec<u8>,
}

impl Inflater {
    /// Nothing is allocated before it is needed.
    #[must_use]
    pub const fn new() -> Self {
        Self { decompressor: None, message: Vec::new() }
    }

    /// The content of a compressed message, all fragments together (RFC 7692 section 7.2.2). With a
    /// `history` it may refer to messages before it and becomes part of that. The window is always
    /// of the largest size, so any that was agreed to will do.
    ///
    /// Memory and work are bounded by `limit` and the size of `compressed`: of what is longer no
    /// more is inflated than the buffer takes.
    ///
    /// # Errors
    /// [`ProtocolError::MessageTooBig`] past `limit` bytes; [`ProtocolError::DeflateCorrupt`]
    /// where the bytes are no DEFLATE or end inside a block.
    pub fn inflate(
        &mut self,
        history: Option<&mut History>,
        compressed: &[u8],
        limit: usize,
    ) -> Result<&[u8], ProtocolError> {
        self.message.clear();
        let dictionary = history.as_deref().map_or(&[][..], History::bytes);
        let result = self.inflate_all(dictionary, compressed, limit);
        // Whatever else is wrong with it, too much is too much: a verdict that does not depend on
        // the size of the buffer.
        if self.message.len() > limit {
            self.trim();
            return Err(ProtocolError::MessageTooBig);
        }
        if let Err(error) = result {
            self.trim();
            return Err(error);
        }
        if let Some(history) = history {
            history.push(&self.message);
        }
        Ok(&self.message)
    }

    /// Gives back the memory of a large message; to be called when it was worked on.
    pub fn trim(&mut self) {
        if self.message.capacity() > INFLATED_BYTES_KEPT {
            self.message = Vec::new();
        }
    }

    /// Bytes of memory that the buffer occupies.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.message.capacity()
    }

    /// Streams that follow one another: each ends with a final block, the last with the message.
    fn inflate_all(
        &mut self,
        dictionary: &[u8],
        compressed: &[u8],
        limit: usize,
    ) -> Result<(), ProtocolError> {
        let mut rest = compressed;
        for ended in 0..=DEFLATE_FINAL_BLOCKS_MAX {
            self.begin(dictionary)?;
            if !self.feed(&mut rest, limit)? {
                return self.finish();
            }
            if ended == DEFLATE_FINAL_BLOCKS_MAX {
                break;
            }
            // The next stream begins at the next byte. Where none follows the message is complete,
            // though its sender owes us the empty block (RFC 7692 section 7.2.3.4).
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(ProtocolError::DeflateCorrupt)
    }

    /// Begins a stream that may refer to what came before it, here or in earlier messages.
    fn begin(&mut self, dictionary: &[u8]) -> Result<(), ProtocolError> {
        let decompressor = self.decompressor.get_or_insert_with(|| Decompress::new(false));
        decompressor.reset(false);
        let message = &self.message[self.message.len().saturating_sub(WINDOW)..];
        let older = WINDOW - message.len();
        let dictionary = &dictionary[dictionary.len().saturating_sub(older)..];
        for part in [dictionary, message] {
            if !part.is_empty() {
                decompressor.set_dictionary(part).map_err(|_| ProtocolError::DeflateCorrupt)?;
            }
        }
        Ok(())
    }

    /// Inflates until the bytes are used up, or a final block has ended: `true` then.
    fn feed(&mut self, rest: &mut &[u8], limit: usize) -> Result<bool, ProtocolError> {
        let Self { decompressor, message } = self;
        let decompressor = decompressor.as_mut().expect("a stream was begun");
        loop {
            let length = message.len();
            if length > limit {
                return Err(ProtocolError::MessageTooBig);
            }
            if length == message.capacity() {
                // One byte more tells what is too much from what just fits.
                let doubled = (2 * length).max(INFLATED_BYTES_MIN).min(limit.saturating_add(1));
                message.reserve_exact(doubled - length);
            }
            let used = decompressor.total_in();
            let status = decompressor
                .decompress_vec(rest, message, FlushDecompress::None)
                .map_err(|_| ProtocolError::DeflateCorrupt)?;
            *rest = &rest[(decompressor.total_in() - used) as usize..];
            if status == Status::StreamEnd {
                return Ok(true);
            }
            if message.len() < message.capacity() {
                return if rest.is_empty() {
                    Ok(false)
                } else {
                    Err(ProtocolError::DeflateCorrupt)
                };
            }
        }
    }

    /// Whether the message may end here: behind the header of an empty block, whose other bytes are
    /// those that are left out on the wire (RFC 7692 section 7.2.1).
    fn finish(&mut self) -> Result<(), ProtocolError> {
        let decompressor = self.decompressor.as_mut().expect("a stream was begun");
        let (used, made) = (decompressor.total_in(), decompressor.total_out());
        let mut nothing = [0; 1];
        let status = decompressor.decompress(&END, &mut nothing, FlushDecompress::None);
        let is_end = matches!(status, Ok(Status::StreamEnd))
            && decompressor.total_in() - used == END.len() as u64
            && decompressor.total_out() == made;
        if is_end { Ok(()) } else { Err(ProtocolError::DeflateCorrupt) }
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}
