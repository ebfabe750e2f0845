//! Admission as all shards share it, for as long as the process lives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::admission::{Admission, AdmissionLimits, Network, Refused, Ticket};
use crate::collections::Tick;
use crate::limits::ADMISSION_SWEEP_FULL;

/// How much each network has. Its limits may change; its counts and its tickets live on.
///
/// No lock is taken unless a limit is set or a ticket is given back.
#[derive(Debug)]
pub struct Networks {
    is_limited: AtomicBool,
    admission: Mutex<Admission>,
}

impl Networks {
    /// Nobody is counted yet.
    #[must_use]
    pub fn new(limits: AdmissionLimits) -> Self {
        let is_limited = AtomicBool::new(!limits.is_off());
        Self { is_limited, admission: Mutex::new(Admission::new(limits)) }
    }

    /// Replaces the limits. Who is here stays: a network with more than it may have now gets no
    /// more, and connections from before connections were limited are not counted.
    pub fn set_limits(&self, limits: AdmissionLimits) {
        self.admission().set_limits(limits);
        self.is_limited.store(!limits.is_off(), Ordering::Relaxed);
        // In parts, since shards may wait for the lock to give tickets back.
        let mut places = self.admission().places();
        while places > 0 {
            self.admission().sweep_unlimited(ADMISSION_SWEEP_FULL);
            places = places.saturating_sub(ADMISSION_SWEEP_FULL);
        }
    }

    /// Whether connections or handshakes are counted for each network.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.is_limited.load(Ordering::Relaxed)
    }

    /// Counts a handshake that begins.
    ///
    /// # Errors
    /// Its network had its share; this one is not counted.
    pub fn begin_handshake(&self, network: Network, now: Tick) -> Result<(), Refused> {
        if self.is_limited() { self.admission().begin_handshake(network, now) } else { Ok(()) }
    }

    /// Counts the handshake of a network that began at `then` no more.
    pub fn refund_handshake(&self, network: Network, then: Tick) {
        if self.is_limited() {
            self.admission().refund_handshake(network, then);
        }
    }

    /// Counts a connection until its ticket is released. There is none where connections are not
    /// limited.
    ///
    /// # Errors
    /// Its network has its share.
    pub fn admit(&self, network: Network, now: Tick) -> Result<Option<Ticket>, Refused> {
        if self.is_limited() { self.admission().admit(network, now) } else { Ok(None) }
    }

    /// Takes back the place of a connection that has ended.
    pub fn release(&self, ticket: Ticket) {
        self.admission().release(ticket);
    }

    fn admission(&self) -> MutexGuard<'_, Admission> {
        // A thread that panicked here has ended the process.
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU32;

    use super::*;
    use crate::security::RateLimit;

    const OFF: AdmissionLimits = AdmissionLimits { connections: None, handshakes: None };
    const ADA: Network = Network::V6(1);

    fn limits(connections: u32, handshakes: u32) -> AdmissionLimits {
        AdmissionLimits {
            connections: NonZeroU32::new(connections),
            handshakes: (handshakes > 0).then_some(RateLimit { count: handshakes, window: 100 }),
        }
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let networks = Networks::new(OFF);
        assert!(!networks.is_limited());
        for now in 0..1000 {
            assert_eq!(networks.begin_handshake(ADA, now), Ok(()));
            assert_eq!(networks.admit(ADA, now), Ok(None));
        }
        assert!(networks.admission().is_empty());
    }

    #[test]
    fn tickets_outlive_the_limits_they_were_given_under() {
        let networks = Networks::new(OFF);
        assert_eq!(networks.admit(ADA, 0), Ok(None), "it came before there was a limit");
        networks.set_limits(limits(2, 0));
        let tickets: Vec<Ticket> =
            (0..2).map(|_| networks.admit(ADA, 0).unwrap().expect("it is counted now")).collect();
        assert_eq!(networks.admit(ADA, 0), Err(Refused::Connections));

        networks.set_limits(limits(1, 0));
        let [first, second] = tickets.try_into().expect("two were given");
        networks.release(first);
        assert_eq!(networks.admit(ADA, 0), Err(Refused::Connections), "one is enough now");

        networks.set_limits(OFF);
        assert_eq!(networks.admit(ADA, 0), Ok(None));
        networks.set_limits(limits(1, 0));
        assert_eq!(networks.admit(ADA, 0), Err(Refused::Connections), "the ticket still counts");
        networks.set_limits(OFF);
        networks.release(second);
        assert!(networks.admission().is_empty());
    }

    #[test]
    fn handshakes_are_forgotten_when_they_are_limited_no_more() {
        let networks = Networks::new(limits(0, 1));
        let all = 3 * ADMISSION_SWEEP_FULL as u64;
        for number in 0..all {
            assert_eq!(networks.begin_handshake(Network::V6(number), 0), Ok(()));
        }
        assert_eq!(networks.begin_handshake(ADA, 1), Err(Refused::Handshakes));
        networks.set_limits(limits(0, 2));
        assert_eq!(networks.begin_handshake(ADA, 1), Ok(()), "what was counted still is");
        assert_eq!(networks.begin_handshake(ADA, 1), Err(Refused::Handshakes));
        networks.set_limits(OFF);
        assert!(networks.admission().is_empty());
        networks.set_limits(limits(0, 1));
        assert_eq!(networks.begin_handshake(ADA, 1), Ok(()));
    }
}
