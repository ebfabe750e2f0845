//! Which peers speak for others, and for whom.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

use super::client::{ClientAddress, NotAnAddress};

/// The proxies whose word is taken for the address of a client. Without any, nobody's is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Proxies {
    subnets: Vec<Subnet>,
    /// Their connections begin with a PROXY header.
    announce: bool,
}

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subnet {
    V4(Ipv4Addr, u32),
    V6(Ipv6Addr, u32),
}

/// What is wrong with a network of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxiesError {
    /// No address in front of the slash.
    Address,
    /// What is behind the slash is no length of a prefix.
    Prefix {
        /// Bits of an address.
        most: u32,
    },
    /// Bits behind the prefix are set.
    HostBits {
        /// The address without them.
        first: IpAddr,
        /// Bits of the prefix.
        bits: u32,
    },
    /// IPv4 in the form of IPv6.
    Mapped,
    /// All addresses.
    Everybody,
}

impl fmt::Display for ProxiesError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Address => "expected an address or a network, such as 10.0.0.5 or 10.0.0.0/24",
            Self::Prefix { most } => {
                return write!(formatter, "what follows the slash must be from 1 to {most}");
            }
            Self::HostBits { first, bits } => {
                return write!(formatter, "the network of this address is {first}/{bits}");
            }
            Self::Mapped => "write an IPv4 network in its own form, such as 10.0.0.0/24",
            Self::Everybody => {
                "everybody could then claim any address: name the networks of the proxies"
            }
        })
    }
}

impl std::error::Error for ProxiesError {}

impl Proxies {
    /// The addresses and networks (`10.0.0.0/24`) of proxies. Where they `announce`, each of their
    /// connections begins with a PROXY header.
    ///
    /// # Errors
    /// The index of the first network that is none, and what is wrong with it.
    pub fn new<T: AsRef<str>>(list: &[T], announce: bool) -> Result<Self, (usize, ProxiesError)> {
        let parse =
            |(index, text): (usize, &T)| Subnet::parse(text.as_ref()).map_err(|e| (index, e));
        let subnets = list.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { subnets, announce })
    }

    /// How many networks were listed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.subnets.len()
    }

    /// Whether nobody speaks for others.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.subnets.is_empty()
    }

    /// Whether both list the same.
    #[must_use]
    pub fn lists_the_same(&self, other: &Self) -> bool {
        self.subnets == other.subnets
    }

    /// Whether connections of proxies begin with a PROXY header.
    #[must_use]
    pub const fn announce(&self) -> bool {
        self.announce
    }

    /// Whether this is the address of a proxy.
    #[must_use]
    pub fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.subnets.iter().any(|subnet| subnet.includes(address))
    }

    /// Whose connection that of `peer` is. `forwarded` is what its request says of those in front,
    /// the nearest first: each proxy adds the address that it was asked from. So every address is
    /// the word of the one before, and the first that is no proxy's is the client; what stands
    /// behind it is that client's own word, and not looked at.
    ///
    /// # Errors
    /// A proxy says something else than an address.
    pub fn client<'a>(
        &self,
        peer: ClientAddress,
        forwarded: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<ClientAddress, NotAnAddress> {
        let mut client = peer;
        for told in forwarded {
            if !self.include(client.ip()) {
                break;
            }
            client = ClientAddress::parse(told)?;
        }
        Ok(client)
    }
}

impl Subnet {
    fn parse(text: &str) -> Result<Self, ProxiesError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ProxiesError::Address)?;
        if address != address.to_canonical() {
            return Err(ProxiesError::Mapped);
        }
        let most = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let bits = match prefix {
            None => most,
            Some(prefix) => length(prefix, most).ok_or(ProxiesError::Prefix { most })?,
        };
        if bits == 0 {
            return Err(ProxiesError::Everybody);
        }
        let (subnet, first) = match address {
            IpAddr::V4(address) => {
                let first = Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << (most - bits)));
                (Self::V4(first, bits), IpAddr::V4(first))
            }
            IpAddr::V6(address) => {
                let first = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (most - bits)));
                (Self::V6(first, bits), IpAddr::V6(first))
            }
        };
        if first == address { Ok(subnet) } else { Err(ProxiesError::HostBits { first, bits }) }
    }

    fn includes(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(first, bits), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()) >> (Ipv4Addr::BITS - bits) == 0
            }
            (Self::V6(first, bits), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()) >> (Ipv6Addr::BITS - bits) == 0
            }
            _ => false,
        }
    }
}

fn length(text: &str, most: u32) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|length| is_number && *length <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(list: &[&str]) -> Proxies {
        Proxies::new(list, false).expect("these are networks")
    }

    fn address(text: &str) -> ClientAddress {
        ClientAddress::parse(text.as_bytes()).expect("this is an address")
    }

    #[test]
    fn networks_include_what_begins_like_them() {
        let proxies = proxies(&["10.0.0.5", "192.0.2.0/25", "2001:db8::/33", "::1", "128.0.0.0/1"]);
        for (text, expected) in [
            ("10.0.0.5", true),
            ("10.0.0.4", false),
            ("::ffff:10.0.0.5", true),
            ("192.0.2.0", true),
            ("192.0.2.127", true),
            ("255.255.255.255", true),
            ("127.255.255.255", false),
            ("2001:db8:7fff:ffff::", true),
            ("2001:db8:8000::", false),
            ("::1", true),
            ("::2", false),
            ("::", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(proxies.include(text.parse().unwrap()), expected, "{text}");
        }
        assert!(!Proxies::default().include("10.0.0.5".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("", "expected an address"),
            ("localhost", "expected an address"),
            ("10.0.0.0:80", "expected an address"),
            ("10.0.0/8", "expected an address"),
            ("[::1]", "expected an address"),
            ("10.0.0.0/", "from 1 to 32"),
            ("10.0.0.0/33", "from 1 to 32"),
            ("10.0.0.0/+8", "from 1 to 32"),
            ("10.0.0.0/8/8", "from 1 to 32"),
            ("10.0.0.0/255.0.0.0", "from 1 to 32"),
            ("::1/129", "from 1 to 128"),
            ("10.1.2.3/8", "is 10.0.0.0/8"),
            ("2001:db8::1/32", "is 2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "its own form"),
            ("0.0.0.0/0", "name the networks"),
            ("::/0", "name the networks"),
        ] {
            let (index, error) = Proxies::new(&["::1", text], false).unwrap_err();
            assert!(index == 1 && error.to_string().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_first_from_the_right_that_is_no_proxy_is_the_client() {
        let proxies = proxies(&["10.0.0.0/8", "2001:db8::/32"]);
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &["198.51.100.1"][..], "192.0.2.1"),
            ("192.0.2.1:7", &["unknown"], "192.0.2.1:7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1:7", "198.51.100.1"], "192.0.2.1:7"),
            ("10.0.0.1", &["192.0.2.1", "forged"], "192.0.2.1"),
            ("10.0.0.1", &["10.0.0.2", "[2001:db8::1]:7", "192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["10.0.0.2", "10.0.0.3:7"], "10.0.0.3:7"),
            ("::ffff:10.0.0.1", &["::ffff:10.0.0.2", "::ffff:192.0.2.1"], "192.0.2.1"),
        ] {
            let forwarded = forwarded.iter().map(|text| text.as_bytes());
            let found = proxies.client(address(peer), forwarded).map(|client| client.to_string());
            assert_eq!(found.as_deref(), Ok(expected), "{peer}");
        }
        for forwarded in [&["unknown"][..], &["10.0.0.2", "10.0.0.300"]] {
            let forwarded = forwarded.iter().map(|text| text.as_bytes());
            assert_eq!(proxies.client(address("10.0.0.1"), forwarded), Err(NotAnAddress));
        }
    }
}
