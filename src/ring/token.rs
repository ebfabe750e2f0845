//! The 64 bits that come back with a completion: kind, generation and slot of the operation.

/// Bits of the generation; the rest of the upper half is the kind.
const GENERATION_BITS: u32 = 28;

/// Names an operation: `kind` (4 bits), `generation` (28 bits) and `index` (32 bits) of its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(u64);

impl Token {
    /// A token for the operation `kind` of the slot `index` in its `generation`.
    ///
    /// # Panics
    /// When `kind` needs more than 4 bits or `generation` more than 28.
    #[must_use]
    pub const fn new(kind: u8, generation: u32, index: u32) -> Self {
        assert!(kind < 16 && generation < 1 << GENERATION_BITS);
        Self((kind as u64) << 60 | (generation as u64) << 32 | index as u64)
    }

    /// What the operation is, in the numbering of its owner.
    #[must_use]
    pub const fn kind(self) -> u8 {
        (self.0 >> 60) as u8
    }

    /// The tenant of the slot that started the operation.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & ((1 << GENERATION_BITS) - 1)
    }

    /// The slot.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_the_round_trip() {
        for (kind, generation, index) in
            [(0, 0, 0), (15, (1 << GENERATION_BITS) - 1, u32::MAX), (3, 77, 5)]
        {
            let token = Token::from_bits(Token::new(kind, generation, index).bits());
            assert_eq!(
                (token.kind(), token.generation(), token.index()),
                (kind, generation, index)
            );
        }
    }
}
