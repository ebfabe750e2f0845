//! Where the connections come from: enough source addresses for the ports they need.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use ringwire::ring::socket;

/// Connections per source address while addresses are free to choose: `connect(2)` searches the
/// port range from one end to the other, and slows down as it fills.
const PER_ADDRESS_COMFORTABLE: u32 = 8_000;

/// Which source addresses the user wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SourceChoice {
    /// The kernel's choice, and 127.0.0.0/8 for many connections to this host.
    Auto,
    /// As many of the network as are needed: its address and the bits of its prefix.
    Network(Ipv4Addr, u8),
    /// All of these.
    Addresses(Vec<IpAddr>),
}

impl FromStr for SourceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if let Some((address, prefix)) = text.split_once('/') {
            let prefix = prefix.parse::<u8>().ok().filter(|&prefix| prefix <= 32);
            return match (address.parse(), prefix) {
                (Ok(address), Some(prefix)) => Ok(Self::Network(address, prefix)),
                _ => Err("a network is IPv4 in the form 10.0.0.0/24".to_owned()),
            };
        }
        let addresses: Result<Vec<_>, _> = text.split(',').map(IpAddr::from_str).collect();
        match addresses {
            Ok(addresses) => Ok(Self::Addresses(addresses)),
            Err(_) => Err(format!("{text} is none of auto, a network, addresses")),
        }
    }
}

/// The source addresses of all connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sources {
    /// Empty when the kernel chooses.
    addresses: Vec<SocketAddr>,
}

impl Sources {
    /// Addresses for `connections` to `target` when a source address has `ports`.
    ///
    /// # Errors
    /// Says how many addresses are missing, and how to get them.
    pub(crate) fn choose(
        choice: &SourceChoice,
        target: SocketAddr,
        connections: u32,
        ports: u32,
    ) -> Result<Self, PortsMissing> {
        let loopback = SourceChoice::Network(Ipv4Addr::new(127, 0, 0, 0), 8);
        let choice = match (choice, target.ip()) {
            (SourceChoice::Auto, IpAddr::V4(ip))
                if ip.is_loopback() && connections > PER_ADDRESS_COMFORTABLE.min(ports) =>
            {
                &loopback
            }
            (choice, _) => choice,
        };
        let addresses = match choice {
            SourceChoice::Auto => Vec::new(),
            SourceChoice::Network(network, prefix) => {
                let wanted = connections.div_ceil(PER_ADDRESS_COMFORTABLE.min(ports));
                hosts(*network, *prefix).take(wanted as usize).map(IpAddr::V4).collect()
            }
            SourceChoice::Addresses(addresses) => addresses.clone(),
        };
        let needed = connections.div_ceil(ports);
        let available = (addresses.len() as u32).max(1);
        if available < needed {
            return Err(PortsMissing { connections, ports, available, needed });
        }
        let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
        Ok(Self { addresses })
    }

    /// The source of a connection, by its number among all; `attempt` goes on to the next address.
    pub(crate) fn of(&self, connection: u32, attempt: usize) -> Option<SocketAddr> {
        let index = (connection as usize + attempt).checked_rem(self.addresses.len())?;
        Some(self.addresses[index])
    }

    /// How many there are; 0 when the kernel chooses.
    pub(crate) const fn count(&self) -> usize {
        self.addresses.len()
    }

    /// Tries every address before the first connection does.
    ///
    /// # Errors
    /// Names the first that is not of this host, and how to add it.
    pub(crate) fn check(&self, target: SocketAddr) -> Result<(), String> {
        for &address in &self.addresses {
            let ip = address.ip();
            if ip.is_ipv4() != target.is_ipv4() {
                return Err(format!(
                    "--source {ip} cannot reach {}: mixed IP versions",
                    target.ip()
                ));
            }
            socket::claim(address).map_err(|error| {
                let length = if ip.is_ipv4() { 32 } else { 128 };
                format!(
                    "--source {ip} is not usable on this host ({error}); if it should be, add it: \
                     ip address add {ip}/{length} dev INTERFACE"
                )
            })?;
        }
        Ok(())
    }
}

/// The addresses of a network that a host may have.
fn hosts(network: Ipv4Addr, prefix: u8) -> impl Iterator<Item = Ipv4Addr> {
    let size = 1u64 << (32 - prefix);
    let first = u64::from(u32::from(network)) & !(size - 1);
    // The first and last address of a network name the network itself and all of its hosts.
    let reserved = if prefix < 31 { 1 } else { 0 };
    (first + reserved..first + size - reserved).map(|address| Ipv4Addr::from(address as u32))
}

/// More connections than there are ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PortsMissing {
    connections: u32,
    ports: u32,
    available: u32,
    needed: u32,
}

impl fmt::Display for PortsMissing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, ports, available, needed } = self;
        write!(
            formatter,
            "{connections} connections need {needed} source addresses of {ports} ports each, and \
             there are {available}; give more with --source, or more ports to each: \
             sysctl -w net.ipv4.ip_local_port_range='1024 65535'"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: u32 = 28_232;

    fn choose(source: &str, target: &str, connections: u32) -> Result<Sources, PortsMissing> {
        let choice = source.parse().expect("a valid choice");
        Sources::choose(&choice, target.parse().expect("an address"), connections, PORTS)
    }

    #[test]
    fn few_connections_take_the_address_the_kernel_gives() {
        assert_eq!(choose("auto", "127.0.0.1:80", 8_000).unwrap().count(), 0);
        assert_eq!(choose("auto", "10.1.2.3:80", PORTS).unwrap().of(0, 0), None);
    }

    #[test]
    fn a_million_to_this_host_spread_evenly_over_loopback() {
        let sources = choose("auto", "127.0.0.1:80", 1_000_000).unwrap();
        assert_eq!(sources.count(), 125);
        let mut load = std::collections::HashMap::new();
        for connection in 0..1_000_000 {
            let source = sources.of(connection, 0).expect("an address");
            assert!(source.ip().is_loopback() && source.port() == 0);
            *load.entry(source).or_insert(0) += 1;
        }
        assert!(load.values().all(|&connections| connections == 8_000));
    }

    #[test]
    fn another_attempt_takes_another_address() {
        let sources = choose("127.0.0.1,127.0.0.2", "127.0.0.1:80", 10).unwrap();
        assert_ne!(sources.of(3, 0), sources.of(3, 1));
        assert_eq!(sources.of(3, 0), sources.of(3, 2));
    }

    #[test]
    fn too_few_ports_are_an_error_that_counts() {
        let error = choose("auto", "10.1.2.3:80", PORTS + 1).unwrap_err();
        assert_eq!((error.available, error.needed), (1, 2));
        assert!(choose("auto", "[::1]:80", 30_000).is_err());
        assert!(choose("10.0.0.0/30", "10.1.2.3:80", 2 * PORTS).is_ok());
        assert!(choose("10.0.0.0/30", "10.1.2.3:80", 2 * PORTS + 1).is_err());
    }

    #[test]
    fn networks_leave_out_what_no_host_may_have() {
        let list = |network: [u8; 4], prefix| hosts(network.into(), prefix).collect::<Vec<_>>();
        assert_eq!(
            list([10, 0, 0, 5], 30),
            [Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 0, 0, 6)]
        );
        assert_eq!(list([10, 0, 0, 5], 32), [Ipv4Addr::new(10, 0, 0, 5)]);
        assert_eq!(list([255, 255, 255, 255], 31).len(), 2);
        assert_eq!(hosts(Ipv4Addr::UNSPECIFIED, 0).size_hint().0, (1 << 32) - 2);
    }

    #[test]
    fn addresses_of_this_host_are_checked() {
        let target = "127.0.0.1:80".parse().expect("an address");
        assert_eq!(choose("127.9.8.7", "127.0.0.1:80", 1).unwrap().check(target), Ok(()));
        let missing = choose("192.0.2.1", "127.0.0.1:80", 1).unwrap().check(target);
        assert!(missing.is_err_and(|error| error.contains("ip address add 192.0.2.1/32")));
        assert!(choose("::1", "127.0.0.1:80", 1).unwrap().check(target).is_err());
    }

    #[test]
    fn choices_are_parsed() {
        assert_eq!("auto".parse(), Ok(SourceChoice::Auto));
        assert_eq!(
            "127.0.0.0/8".parse(),
            Ok(SourceChoice::Network(Ipv4Addr::new(127, 0, 0, 0), 8))
        );
        for bad in ["", "eth0", "10.0.0.0/33", "::/64", "10.0.0.1,x"] {
            assert!(bad.parse::<SourceChoice>().is_err(), "{bad}");
        }
    }
}
