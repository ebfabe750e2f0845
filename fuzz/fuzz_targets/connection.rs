//! Any peer, socket and clock: what a connection sends is whole, in order and bounded, and it ends.
//!
//! Input: the choices of the simulation in `tests/simulation`, two bytes each.
#![no_main]

#[path = "../../tests/simulation/mod.rs"]
mod simulation;

use libfuzzer_sys::fuzz_target;
use simulation::{Choices, live};

const OPERATIONS: usize = 2000;

/// Choices until the input is used up.
struct Script<'a>(&'a [u8]);

impl Choices for Script<'_> {
    fn below(&mut self, bound: u32) -> Option<u32> {
        let (choice, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        // Scaled, so that a large bound is reached with two bytes.
        Some((u64::from(u16::from_be_bytes(*choice)) * u64::from(bound) >> 16) as u32)
    }
}

fuzz_target!(|data: &[u8]| live(&mut Script(data), OPERATIONS));
