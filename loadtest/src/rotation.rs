//! Which target and which source a connection takes, in turn, while the ports last.

use std::net::SocketAddr;

use crate::sources::Sources;
use crate::stats::Failure;

/// Nanoseconds in which an address without a free port is not tried again: a search of all ports
/// in vain takes milliseconds.
const DRY_NANOSECONDS: u64 = 1_000_000_000;

/// The index of a connection's target: they take turns.
pub(crate) const fn target_of(connection: u32, targets: usize) -> usize {
    connection as usize % targets
}

/// Which source addresses had no port left, as one thread saw it.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// When each may be tried again, for each target.
    dry_until: Vec<u64>,
    targets: usize,
}

impl Rotation {
    /// For connections from `sources` to so many `targets`.
    pub(crate) fn new(sources: &Sources, targets: usize) -> Self {
        Self { dry_until: vec![0; sources.count() * targets], targets }
    }

    /// Calls `connect` with one source after the other, beginning with the connection's own, until
    /// one has a port left.
    ///
    /// # Errors
    /// Those of `connect`; [`Failure::NO_PORT`] when no source has a port.
    pub(crate) fn connect<T>(
        &mut self,
        sources: &Sources,
        connection: u32,
        now: u64,
        mut connect: impl FnMut(Option<SocketAddr>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let count = sources.count();
        if count == 0 {
            return connect(None);
        }
        let target = target_of(connection, self.targets);
        let own = connection as usize / self.targets;
        for attempt in 0..count {
            let index = (own + attempt) % count;
            let dry_until = &mut self.dry_until[target * count + index];
            if *dry_until > now {
                continue;
            }
            match connect(Some(sources.address(index))) {
                Err(failure) if failure == Failure::NO_PORT => *dry_until = now + DRY_NANOSECONDS,
                outcome => return outcome,
            }
        }
        Err(Failure::NO_PORT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::synthetic::{common, host};
    use std::collections::{HashMap, HashSet};

    fn sources(flags: &str) -> Sources {
        Sources::choose(&common(flags), &host()).expect(flags)
    }

    #[test]
    fn a_million_to_this_host_spread_evenly_over_loopback() {
        let sources = sources("--url ws://127.0.0.1:80 --connections 1000000");
        assert_eq!(sources.count(), 125);
        let mut rotation = Rotation::new(&sources, 1);
        let mut load = HashMap::new();
        for connection in 0..1_000_000 {
            let source = rotation.connect(&sources, connection, 0, Ok).expect("a source");
            *load.entry(source.expect("an address")).or_insert(0) += 1;
        }
        assert_eq!(load.len(), 125);
        assert!(load.values().all(|&connections| connections == 8_000));
    }

    #[test]
    fn targets_share_the_addresses_evenly() {
        let flags = "--url ws://127.0.0.1:80,ws://127.0.0.1:81 --connections 32000 \
                     --source 127.0.0.1-2";
        let sources = sources(flags);
        let mut rotation = Rotation::new(&sources, 2);
        let mut load = HashMap::new();
        for connection in 0..32_000 {
            let source = rotation.connect(&sources, connection, 0, Ok).expect("a source");
            *load.entry((source, target_of(connection, 2))).or_insert(0) += 1;
        }
        assert_eq!(load.values().copied().collect::<Vec<_>>(), [8_000; 4]);
    }

    #[test]
    fn all_addresses_are_tried_and_dry_ones_rest_a_while() {
        let sources = sources("--url ws://127.0.0.1:80 --connections 1000000");
        let mut rotation = Rotation::new(&sources, 1);
        let mut tried = HashSet::new();
        let mut dry = |source: Option<SocketAddr>| {
            tried.insert(source);
            Err::<(), _>(Failure::NO_PORT)
        };
        assert_eq!(rotation.connect(&sources, 7, 5, &mut dry), Err(Failure::NO_PORT));
        assert_eq!(tried.len(), 125);
        let mut calls = 0;
        let mut count = |_| {
            calls += 1;
            Ok(())
        };
        assert_eq!(rotation.connect(&sources, 8, 6, &mut count), Err(Failure::NO_PORT));
        assert_eq!(rotation.connect(&sources, 9, DRY_NANOSECONDS + 5, &mut count), Ok(()));
        assert_eq!(calls, 1);
    }

    #[test]
    fn other_failures_are_not_tried_elsewhere() {
        let sources = sources("--url ws://127.0.0.1:80 --connections 9 --source 127.0.0.1-9");
        let refused = |_| Err::<(), _>(Failure::Broken);
        let outcome = Rotation::new(&sources, 1).connect(&sources, 0, 0, refused);
        assert_eq!(outcome, Err(Failure::Broken));
    }
}
