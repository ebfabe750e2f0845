//! Ten thousand lives of a connection, each from its own seed.

#[path = "simulation/mod.rs"]
mod simulation;

use simulation::{Choices, live};

const SEEDS: u64 = 10_000;
const OPERATIONS: usize = 200;

/// The xorshift64* generator.
struct Random(u64);

impl Choices for Random {
    fn below(&mut self, bound: u32) -> Option<u32> {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32;
        Some(high % bound)
    }
}

/// The seed of a life that failed, for the report of the panic.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

#[test]
fn every_life_is_whole_in_order_bounded_and_ends() {
    for seed in 1..=SEEDS {
        let seed = Seed(seed);
        live(&mut Random(seed.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1), OPERATIONS);
    }
}
