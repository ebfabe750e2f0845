//! Where a client is, as its socket or a proxy tells it.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::fmt;

/// The address of a client, and its port where that is known. `Option<ClientAddress>` takes 20
/// bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientAddress {
    /// Never an IPv4-mapped one.
    address: IpAddr,
    /// 0 is not known.
    port: u16,
}

/// What a proxy tells is no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAnAddress;

impl ClientAddress {
    /// Reads what proxies write: `192.0.2.1`, `192.0.2.1:5000`, `2001:db8::1`, `[2001:db8::1]` or
    /// `[2001:db8::1]:5000`.
    ///
    /// # Errors
    /// It is something else, such as `unknown`.
    pub fn parse(text: &[u8]) -> Result<Self, NotAnAddress> {
        let text = str::from_utf8(text).map_err(|_| NotAnAddress)?;
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(socket.into());
        }
        let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let address = match bracketed {
            Some(text) => text.parse::<Ipv6Addr>().map(IpAddr::V6),
            None => text.parse::<IpAddr>(),
        };
        address.map(Self::from).map_err(|_| NotAnAddress)
    }

    /// The address alone.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.address
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self { address: address.to_canonical(), port: 0 }
    }
}

impl From<SocketAddr> for ClientAddress {
    fn from(socket: SocketAddr) -> Self {
        Self { port: socket.port(), ..Self::from(socket.ip()) }
    }
}

/// As it is parsed.
impl fmt::Display for ClientAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            0 => self.address.fmt(formatter),
            port => SocketAddr::new(self.address, port).fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, shown) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:5000", "192.0.2.1:5000"),
            ("192.0.2.1:0", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:5000", "[2001:db8::1]:5000"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:5000", "192.0.2.1:5000"),
        ] {
            let address = ClientAddress::parse(text.as_bytes()).unwrap();
            assert_eq!(address.to_string(), shown, "{text}");
            assert_eq!(ClientAddress::parse(shown.as_bytes()), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_apart() {
        for text in [
            "",
            "unknown",
            "_hidden",
            "example.com",
            "192.0.2",
            "192.0.2.256",
            "192.0.2.01",
            "192.0.2.1:",
            "192.0.2.1:65536",
            "192.0.2.1 ",
            "192.0.2.1/32",
            "[192.0.2.1]",
            "[192.0.2.1]:5000",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]5000",
            "[[2001:db8::1]]",
            "fe80::1%eth0",
            "\"192.0.2.1\"",
            "unix:",
        ] {
            assert_eq!(ClientAddress::parse(text.as_bytes()), Err(NotAnAddress), "{text}");
        }
        assert_eq!(ClientAddress::parse(b"\xff"), Err(NotAnAddress));
    }

    #[test]
    fn an_address_that_is_kept_is_small() {
        assert_eq!(size_of::<Option<ClientAddress>>(), 20);
    }
}
