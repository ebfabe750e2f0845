//! `idle`: connections that are held, and nothing more.

use super::{Message, Scenario};
use crate::connections::Connections;
use crate::stats::{Failure, Stats};

/// Does nothing: connections answer pings and count losses by themselves.
#[derive(Debug)]
pub(crate) struct Idle;

impl Scenario for Idle {
    fn begin(&mut self, _: &mut Connections, _: u64) {}

    fn message(&mut self, _: &mut Stats, _: u32, _: Message<'_>) {}

    fn read_done(&mut self, _: &mut Connections, _: u32, _: u64) {}

    fn turn(&mut self, _: &mut Connections, _: u64) -> Result<Option<u64>, String> {
        Ok(None)
    }

    fn settled(&mut self) -> bool {
        true
    }

    fn finish(&mut self, _: &mut Stats) {}

    fn lost(&mut self, _: u32, _: Failure) {}
}
