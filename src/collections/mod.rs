//! Generic containers with a bound: a slab with generations, a timer wheel, a queue.
//!
//! They know nothing of sockets, clocks or WebSockets: time is a number that the caller hands in.

#![forbid(unsafe_code)]

mod fifo;
mod slab;
mod wheel;

pub use fifo::Fifo;
pub use slab::{GenerationalSlab, Key};
pub use wheel::{Tick, Wheel};

#[cfg(test)]
pub(crate) mod random {
    //! Seeded random numbers for the model tests.

    /// The xorshift64* generator.
    pub(crate) struct Random(u64);

    impl Random {
        pub(crate) fn new(seed: u64) -> Self {
            Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
        }

        /// A number below `bound`.
        pub(crate) fn below(&mut self, bound: u32) -> u32 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
            u32::try_from(high).expect("32 bits are left") % bound
        }
    }
}
