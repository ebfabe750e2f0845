//! Buffers of unfinished frames and messages: one bounded pool for all connections of a shard.

use simdutf8::compat;

use super::ProtocolError;
use crate::limits::{
    ASSEMBLIES_RETAINED_MAX, ASSEMBLY_BYTES_MIN, ASSEMBLY_RETAINED_BYTES_MAX, CONTROL_BYTES_MAX,
};

/// What has arrived of one connection's unfinished message, and of a control frame between its
/// fragments.
#[derive(Debug)]
pub(super) struct Assembly {
    message: Vec<u8>,
    /// How much of a text message is known to be UTF-8: all but a begun last character.
    validated: usize,
    control: [u8; CONTROL_BYTES_MAX],
    control_len: u8,
}

impl Assembly {
    #[inline]
    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }

    #[inline]
    pub(super) fn control(&self) -> &[u8] {
        &self.control[..usize::from(self.control_len)]
    }

    /// Appends to the control frame; its header was checked, so it fits.
    pub(super) fn append_control(&mut self, bytes: &[u8]) {
        let start = usize::from(self.control_len);
        let end = start + bytes.len();
        self.control[start..end].copy_from_slice(bytes);
        self.control_len = end as u8;
    }

    pub(super) fn clear_control(&mut self) {
        self.control_len = 0;
    }

    /// Checks what arrived since the last call (RFC 6455 section 8.1). The last character may be
    /// unfinished as long as its bytes so far can begin one, unless the message is `complete`.
    pub(super) fn validate_text(&mut self, complete: bool) -> Result<(), ProtocolError> {
        match compat::from_utf8(&self.message[self.validated..]) {
            Ok(text) => self.validated += text.len(),
            Err(error) if error.error_len().is_none() && !complete => {
                self.validated += error.valid_up_to();
            }
            Err(_) => return Err(ProtocolError::TextInvalid),
        }
        Ok(())
    }

    /// Bytes of memory this occupies.
    fn footprint(&self) -> usize {
        size_of::<Self>() + self.message.capacity()
    }
}

/// Lends buffers to the decoders of a shard and bounds the memory of all unfinished messages
/// together, so that many peers that each stay under their limit cannot exhaust it.
#[derive(Debug)]
pub struct AssemblyPool {
    #[expect(clippy::vec_box, reason = "decoders hold boxes: a loan must not move or allocate")]
    free: Vec<Box<Assembly>>,
    bytes_in_use: usize,
    bytes_max: usize,
}

impl AssemblyPool {
    /// A pool whose lent buffers never occupy more than `bytes_max` bytes; past it a decoder fails
    /// with [`ProtocolError::Overloaded`]. Nothing is allocated before it is needed.
    pub const fn new(bytes_max: usize) -> Self {
        Self { free: Vec::new(), bytes_in_use: 0, bytes_max }
    }

    /// Bytes that unfinished messages occupy now: capacities and bookkeeping, not only contents.
    pub const fn bytes_in_use(&self) -> usize {
        self.bytes_in_use
    }

    pub(super) fn acquire(&mut self) -> Result<Box<Assembly>, ProtocolError> {
        let assembly = self.free.pop().unwrap_or_else(|| {
            Box::new(Assembly {
                message: Vec::new(),
                validated: 0,
                control: [0; CONTROL_BYTES_MAX],
                control_len: 0,
            })
        });
        self.charge(assembly.footprint())?;
        Ok(assembly)
    }

    /// Takes a buffer back: small ones are kept for the next message, large ones freed.
    pub(super) fn release(&mut self, mut assembly: Box<Assembly>) {
        self.bytes_in_use -= assembly.footprint();
        if self.free.len() == ASSEMBLIES_RETAINED_MAX {
            return;
        }
        if assembly.message.capacity() > ASSEMBLY_RETAINED_BYTES_MAX {
            assembly.message = Vec::new();
        }
        assembly.message.clear();
        assembly.validated = 0;
        assembly.control_len = 0;
        self.free.push(assembly);
    }

    /// Appends received bytes to a message of at most `message_bytes_max` bytes. The buffer doubles
    /// as they arrive; a declared length plays no part.
    pub(super) fn append(
        &mut self,
        assembly: &mut Assembly,
        bytes: &[u8],
        message_bytes_max: usize,
    ) -> Result<(), ProtocolError> {
        let message = &mut assembly.message;
        let capacity = message.capacity();
        let length = message.len() + bytes.len();
        if length > capacity {
            let doubled = (capacity * 2).max(ASSEMBLY_BYTES_MIN).min(message_bytes_max);
            let target = length.max(doubled);
            self.charge(target - capacity)?;
            message.reserve_exact(target - message.len());
            // The allocator may round up.
            self.bytes_in_use += message.capacity() - target;
        }
        message.extend_from_slice(bytes);
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), ProtocolError> {
        if bytes > self.bytes_max.saturating_sub(self.bytes_in_use) {
            return Err(ProtocolError::Overloaded);
        }
        self.bytes_in_use += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of `size` bytes that came in pieces, and the memory it occupied.
    fn assemble(pool: &mut AssemblyPool, size: usize) -> (Box<Assembly>, usize) {
        let before = pool.bytes_in_use();
        let mut assembly = pool.acquire().expect("room for a message");
        for piece in vec![b'a'; size].chunks(1000) {
            pool.append(&mut assembly, piece, 1 << 20).expect("room for a message");
        }
        assert_eq!(assembly.message().len(), size);
        (assembly, pool.bytes_in_use() - before)
    }

    #[test]
    fn memory_is_charged_as_it_grows_and_returned_in_full() {
        let mut pool = AssemblyPool::new(10 << 20);
        for size in [0, 1, 1000, 100_000, 1 << 20] {
            let (assembly, in_use) = assemble(&mut pool, size);
            assert!(in_use >= size + size_of::<Assembly>(), "{in_use} for {size}");
            assert!(in_use <= 2 * size + 1024, "{in_use} for {size}");
            pool.release(assembly);
            assert_eq!(pool.bytes_in_use(), 0);
        }
    }

    #[test]
    fn small_buffers_are_kept_empty_and_large_ones_freed() {
        let mut pool = AssemblyPool::new(10 << 20);
        for (size, kept) in [(10_000, true), (ASSEMBLY_RETAINED_BYTES_MAX + 1, false)] {
            let (mut assembly, _) = assemble(&mut pool, size);
            assembly.append_control(b"ping");
            assembly.validate_text(true).expect("ASCII");
            pool.release(assembly);
            let assembly = pool.acquire().expect("room for a message");
            assert_eq!(assembly.message.capacity() >= size, kept);
            assert_eq!(assembly.message.capacity() == 0, !kept);
            assert_eq!((assembly.message(), assembly.control()), (&b""[..], &b""[..]));
            assert_eq!(assembly.validated, 0);
            pool.release(assembly);
        }
    }

    #[test]
    fn a_bounded_number_is_kept() {
        let mut pool = AssemblyPool::new(10 << 20);
        let lent: Vec<_> =
            (0..ASSEMBLIES_RETAINED_MAX + 10).map(|_| assemble(&mut pool, 10).0).collect();
        for assembly in lent {
            pool.release(assembly);
        }
        assert_eq!(pool.free.len(), ASSEMBLIES_RETAINED_MAX);
        assert_eq!(pool.bytes_in_use(), 0);
    }

    #[test]
    fn the_bound_is_kept_and_a_failed_growth_charges_nothing() {
        let mut pool = AssemblyPool::new(4096);
        let (mut assembly, in_use) = assemble(&mut pool, 1000);
        let piece = [0; 4096];
        assert_eq!(pool.append(&mut assembly, &piece, 1 << 20), Err(ProtocolError::Overloaded));
        assert_eq!(pool.bytes_in_use(), in_use);
        assert_eq!(assembly.message().len(), 1000);
        pool.release(assembly);
        assert_eq!(pool.bytes_in_use(), 0);
    }
}
