//! How many connections and handshakes a client may have, counted for each network.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU32;
use std::collections::HashMap;

use slab::Slab;

use super::rate::{RateLimit, RateWindow};
use crate::collections::Tick;
use crate::limits::{ADMISSION_NETWORKS_MAX, ADMISSION_SWEEP_FULL};

/// What counts as one client: an IPv4 address, or the 64-bit prefix of an IPv6 address, within
/// which a host may have any number of addresses (RFC 4291 section 2.5.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Network {
    /// An IPv4 address, IPv4-mapped IPv6 included.
    V4(Ipv4Addr),
    /// The upper half of an IPv6 address.
    V6(u64),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6(prefix(address)),
        }
    }
}

fn prefix(address: Ipv6Addr) -> u64 {
    u64::try_from(address.to_bits() >> 64).expect("64 bits are left")
}

/// What one network may have.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AdmissionLimits {
    /// Connections at once; `None` is no limit.
    pub connections: Option<NonZeroU32>,
    /// Handshakes in time; `None` is no limit.
    pub handshakes: Option<RateLimit>,
}

impl AdmissionLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.connections.is_none() && self.handshakes.is_none()
    }
}

/// The place of a connection in the count of its network. Give it back once, with
/// [`Admission::release`]. `Option<Ticket>` takes 4 bytes.
#[derive(PartialEq, Eq, Debug)]
pub struct Ticket(NonZeroU32);

/// Why a network is not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It has all the connections it may have.
    Connections,
    /// It had all the handshakes it may have for now.
    Handshakes,
    /// Too many other networks are counted.
    TableFull,
}

/// The counts of all networks. One is forgotten soon after nothing is counted for it.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    capacity: usize,
    places: HashMap<Network, u32>,
    counts: Slab<Count>,
    /// Where the next sweep begins.
    swept: usize,
}

#[derive(Debug)]
struct Count {
    network: Network,
    connections: u32,
    handshakes: RateWindow,
}

impl Admission {
    /// Nobody is counted yet.
    #[must_use]
    pub fn new(limits: AdmissionLimits) -> Self {
        Self::with_capacity(limits, ADMISSION_NETWORKS_MAX)
    }

    /// Replaces the limits; what is counted stays.
    pub const fn set_limits(&mut self, limits: AdmissionLimits) {
        self.limits = limits;
    }

    /// Places of the table, vacant ones too.
    pub(super) fn places(&self) -> usize {
        self.counts.capacity()
    }

    /// Looks at so many places of the table and forgets the handshakes there, if they are limited
    /// no more.
    pub(super) fn sweep_unlimited(&mut self, places: usize) {
        if self.limits.handshakes.is_none() {
            self.sweep(places, |count, _| {
                count.handshakes = RateWindow::new();
                count.connections == 0
            });
        }
    }

    fn with_capacity(limits: AdmissionLimits, capacity: usize) -> Self {
        let (places, counts) = (HashMap::new(), Slab::new());
        Self { limits, capacity, places, counts, swept: 0 }
    }

    /// Counts a handshake that begins.
    ///
    /// # Errors
    /// The network had its share; this one is not counted.
    pub fn begin_handshake(&mut self, network: Network, now: Tick) -> Result<(), Refused> {
        let Some(limit) = self.limits.handshakes else { return Ok(()) };
        let place = self.place_of(network, now)?;
        let admitted = self.counts[place].handshakes.admit(&limit, now, 1);
        admitted.then_some(()).ok_or(Refused::Handshakes)
    }

    /// Counts the handshake of a network that began at `then` no more.
    pub fn refund_handshake(&mut self, network: Network, then: Tick) {
        if let Some(place) = self.places.get(&network) {
            self.counts[*place as usize].handshakes.refund(then, 1);
        }
    }

    /// Counts a connection, until its ticket is given back. There is none, and nothing is counted,
    /// where connections are not limited.
    ///
    /// # Errors
    /// The network has its share.
    pub fn admit(&mut self, network: Network, now: Tick) -> Result<Option<Ticket>, Refused> {
        let Some(most) = self.limits.connections else { return Ok(None) };
        let place = self.place_of(network, now)?;
        let count = &mut self.counts[place];
        if count.connections >= most.get() {
            return Err(Refused::Connections);
        }
        count.connections += 1;
        let number = u32::try_from(place + 1).expect("the table is far smaller");
        Ok(NonZeroU32::new(number).map(Ticket))
    }

    /// Takes back the place of a connection that has ended.
    pub fn release(&mut self, ticket: Ticket) {
        let place = ticket.0.get() as usize - 1;
        let count = self.counts.get_mut(place).expect("its network is kept while a ticket is out");
        count.connections = count.connections.checked_sub(1).expect("a ticket is given back once");
        if count.connections == 0 && count.handshakes.is_empty() {
            self.remove(place);
        }
    }

    /// Networks that are counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether no network is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The place of a network in the table. Each call sweeps two others, so that the table shrinks
    /// as fast as it grew. When it is full, networks without a connection are forgotten even though
    /// handshakes are counted for them: it is better to serve those who are here.
    fn place_of(&mut self, network: Network, now: Tick) -> Result<usize, Refused> {
        self.sweep(2, |count, limit| {
            if let Some(limit) = limit {
                count.handshakes.forget(limit, now);
            }
            count.connections == 0 && count.handshakes.is_empty()
        });
        if let Some(place) = self.places.get(&network) {
            return Ok(*place as usize);
        }
        if self.counts.len() >= self.capacity {
            self.sweep(ADMISSION_SWEEP_FULL, |count, _| count.connections == 0);
            if self.counts.len() >= self.capacity {
                return Err(Refused::TableFull);
            }
        }
        let handshakes = RateWindow::new();
        let place = self.counts.insert(Count { network, connections: 0, handshakes });
        self.places.insert(network, u32::try_from(place).expect("the table is far smaller"));
        Ok(place)
    }

    /// Looks at the next places of the table and forgets those that can go.
    fn sweep(
        &mut self,
        places: usize,
        mut can_go: impl FnMut(&mut Count, Option<&RateLimit>) -> bool,
    ) {
        let slots = self.counts.capacity();
        for _ in 0..places.min(slots) {
            self.swept = if self.swept + 1 < slots { self.swept + 1 } else { 0 };
            let limit = self.limits.handshakes.as_ref();
            if self.counts.get_mut(self.swept).is_some_and(|count| can_go(count, limit)) {
                self.remove(self.swept);
            }
        }
    }

    fn remove(&mut self, place: usize) {
        let count = self.counts.remove(place);
        self.places.remove(&count.network);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::random::Random;

    fn network(number: u32) -> Network {
        Network::V4(number.into())
    }

    fn admit(admission: &mut Admission, number: u32) -> Result<Ticket, Refused> {
        admission.admit(network(number), 0).map(|ticket| ticket.expect("connections are limited"))
    }

    fn limits(connections: u32, handshakes: u32) -> AdmissionLimits {
        AdmissionLimits {
            connections: NonZeroU32::new(connections),
            handshakes: (handshakes > 0).then_some(RateLimit { count: handshakes, window: 100 }),
        }
    }

    #[test]
    fn addresses_of_one_client_are_one_network() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("::1"), network("0.0.0.1"));
    }

    #[test]
    fn a_ticket_costs_a_slot_four_bytes() {
        assert_eq!(size_of::<Option<Ticket>>(), 4);
    }

    #[test]
    fn connections_are_bounded_for_each_network() {
        let mut admission = Admission::new(limits(2, 0));
        let first = admit(&mut admission, 1).unwrap();
        let second = admit(&mut admission, 1).unwrap();
        assert_eq!(admission.admit(network(1), 0), Err(Refused::Connections));
        let other = admit(&mut admission, 2).unwrap();
        admission.release(first);
        let third = admit(&mut admission, 1).unwrap();
        assert_eq!(admission.admit(network(1), 0), Err(Refused::Connections));
        for ticket in [second, other, third] {
            admission.release(ticket);
        }
        assert!(admission.is_empty() && admission.places.is_empty());
    }

    #[test]
    fn handshakes_are_bounded_in_time_and_then_forgotten() {
        let mut admission = Admission::new(limits(0, 3));
        for _ in 0..3 {
            assert_eq!(admission.begin_handshake(network(1), 5), Ok(()));
        }
        assert_eq!(admission.begin_handshake(network(1), 105), Err(Refused::Handshakes));
        assert_eq!(admission.admit(network(1), 105), Ok(None), "connections are not limited");
        assert_eq!(admission.begin_handshake(network(2), 105), Ok(()));
        assert_eq!(admission.begin_handshake(network(1), 107), Ok(()));
        for number in 10..100 {
            assert_eq!(admission.begin_handshake(network(number), 110), Ok(()));
        }
        for number in 0..200 {
            assert_eq!(admission.begin_handshake(network(9), 300).is_ok(), number < 3);
        }
        assert_eq!(admission.len(), 1);
    }

    #[test]
    fn a_handshake_that_was_none_gives_its_place_back() {
        let mut admission = Admission::new(limits(0, 2));
        for now in 0..50 {
            assert_eq!(admission.begin_handshake(network(1), now), Ok(()));
            admission.refund_handshake(network(1), now);
        }
        assert_eq!(admission.begin_handshake(network(1), 50), Ok(()));
        assert_eq!(admission.begin_handshake(network(1), 51), Ok(()));
        admission.refund_handshake(network(2), 51);
        assert_eq!(admission.begin_handshake(network(1), 52), Err(Refused::Handshakes));
    }

    #[test]
    fn a_full_table_forgets_the_idle_and_then_refuses() {
        let mut admission = Admission::with_capacity(limits(1, 5), 4);
        let tickets: Vec<Ticket> =
            (0..3).map(|number| admit(&mut admission, number).unwrap()).collect();
        assert_eq!(admission.begin_handshake(network(10), 0), Ok(()));
        assert_eq!(admission.len(), 4);
        let last = admit(&mut admission, 11).expect("network 10 has no connection");
        assert_eq!(admission.admit(network(12), 0), Err(Refused::TableFull));
        assert_eq!(admission.begin_handshake(network(12), 0), Err(Refused::TableFull));
        for ticket in tickets {
            admission.release(ticket);
        }
        admission.release(last);
        assert!(admission.is_empty());
    }

    #[test]
    fn it_agrees_with_a_model() {
        let mut random = Random::new(7);
        let mut admission = Admission::new(limits(3, 0));
        let mut model: HashMap<u32, Vec<Ticket>> = HashMap::new();
        for _ in 0..20_000 {
            let number = random.below(20);
            let held = model.entry(number).or_default();
            if random.below(2) == 0 {
                match admit(&mut admission, number) {
                    Ok(ticket) => held.push(ticket),
                    Err(refused) => {
                        assert_eq!((refused, held.len()), (Refused::Connections, 3));
                    }
                }
            } else if let Some(ticket) = held.pop() {
                admission.release(ticket);
            }
            assert!(held.len() <= 3);
        }
        for ticket in model.into_values().flatten() {
            admission.release(ticket);
        }
        assert!(admission.is_empty());
    }
}
