//! Source addresses as the user names them: networks, ranges, interfaces and single addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// Addresses of a range at most: each of them is tried before the run.
const RANGE_MAX: u128 = 65_536;

/// Longest name of an interface (`IFNAMSIZ` without its zero).
const INTERFACE_BYTES_MAX: usize = 15;

/// Which source addresses the user wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SourceChoice {
    /// The kernel's choice; when its ports are not enough, all of 127.0.0.0/8 for targets there,
    /// else all addresses of the interface towards the target.
    Auto,
    /// These.
    Listed(Vec<SourcePart>),
}

/// A part of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SourcePart {
    /// As many of a network as are needed.
    Network(AddressRange),
    /// All of these.
    Addresses(AddressRange),
    /// All addresses of an interface that have the target's IP version.
    Interface(String),
}

/// Addresses that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// 127.0.0.0/8 without its first and last address, which no socket may have.
    pub(crate) const LOOPBACK: Self = Self {
        first: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)),
        last: IpAddr::V4(Ipv4Addr::new(127, 255, 255, 254)),
    };

    /// All of them.
    pub(crate) fn addresses(self) -> impl Iterator<Item = IpAddr> {
        (number(self.first)..=number(self.last)).map(move |address| like(self.first, address))
    }

    /// Whether `address` is one of them.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// All of them are IPv4.
    pub(crate) const fn is_ipv4(self) -> bool {
        self.first.is_ipv4()
    }

    fn network(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.parse::<u32>().ok().filter(|&prefix| prefix <= bits)?;
        let others = u128::MAX.checked_shr(128 - bits + prefix).unwrap_or(0);
        let (mut first, mut last) = (number(address) & !others, number(address) | others);
        // The first address names the network itself, or its routers (RFC 4291 section 2.6.1); the
        // last of IPv4 names all of its hosts.
        if bits - prefix > 1 {
            first += 1;
            last -= u128::from(address.is_ipv4());
        }
        Some(Self { first: like(address, first), last: like(address, last) })
    }

    /// `10.0.0.5-10.0.0.40` or, in short, `10.0.0.5-40`.
    fn range(text: &str) -> Option<Result<Self, String>> {
        let (first, last) = text.split_once('-')?;
        let first: IpAddr = first.parse().ok()?;
        let last = match (first, last.parse::<u8>()) {
            (IpAddr::V4(first), Ok(last)) => {
                let [a, b, c, _] = first.octets();
                Some(IpAddr::from([a, b, c, last]))
            }
            _ => last.parse().ok(),
        };
        let last = last.filter(|last| last.is_ipv4() == first.is_ipv4() && *last >= first);
        Some(match last {
            None => Err(format!("the range {text} does not end in a later address")),
            Some(last) if number(last) - number(first) >= RANGE_MAX => {
                Err(format!("the range {text} has more than {RANGE_MAX} addresses"))
            }
            Some(last) => Ok(Self { first, last }),
        })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address with this number and the IP version of `model`.
fn like(model: IpAddr, number: u128) -> IpAddr {
    match model {
        IpAddr::V4(_) => IpAddr::V4((number as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

impl FromStr for SourceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self::Listed)
    }
}

impl FromStr for SourcePart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return AddressRange::network(text)
                .map(Self::Network)
                .ok_or_else(|| format!("{text} is no network like 10.0.0.0/24 or fd00::/120"));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Addresses(AddressRange { first: address, last: address }));
        }
        if let Some(range) = AddressRange::range(text) {
            return range.map(Self::Addresses);
        }
        let may_be_name = text.len() <= INTERFACE_BYTES_MAX
            && text.bytes().all(|byte| byte.is_ascii_graphic())
            && text.bytes().any(|byte| byte.is_ascii_alphabetic());
        if may_be_name {
            Ok(Self::Interface(text.to_owned()))
        } else {
            Err(format!("`{text}` is none of auto, a network, a range, an address, an interface"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str) -> SourcePart {
        text.parse().expect(text)
    }

    fn range(text: &str) -> AddressRange {
        match part(text) {
            SourcePart::Network(range) | SourcePart::Addresses(range) => range,
            SourcePart::Interface(name) => panic!("{name}"),
        }
    }

    fn ends(text: &str) -> (String, String, usize) {
        let range = range(text);
        let count = range.addresses().take(300).count();
        (range.first.to_string(), range.last.to_string(), count)
    }

    #[test]
    fn networks_leave_out_what_no_host_may_have() {
        for (text, first, last, count) in [
            ("10.0.0.5/30", "10.0.0.5", "10.0.0.6", 2),
            ("10.0.0.5/32", "10.0.0.5", "10.0.0.5", 1),
            ("255.255.255.255/31", "255.255.255.254", "255.255.255.255", 2),
            ("0.0.0.0/0", "0.0.0.1", "255.255.255.254", 300),
            ("fd00::/120", "fd00::1", "fd00::ff", 255),
            ("fd00::7/128", "fd00::7", "fd00::7", 1),
            ("::/0", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 300),
        ] {
            assert_eq!(ends(text), (first.to_owned(), last.to_owned(), count), "{text}");
        }
        assert_eq!(range("127.0.0.0/8"), AddressRange::LOOPBACK);
    }

    #[test]
    fn ranges_have_both_ends() {
        for (text, first, last, count) in [
            ("10.0.0.5-10.0.0.40", "10.0.0.5", "10.0.0.40", 36),
            ("10.0.0.5-40", "10.0.0.5", "10.0.0.40", 36),
            ("10.0.0.255-10.0.1.0", "10.0.0.255", "10.0.1.0", 2),
            ("fd00::1-fd00::10", "fd00::1", "fd00::10", 16),
            ("127.0.0.1", "127.0.0.1", "127.0.0.1", 1),
        ] {
            assert_eq!(ends(text), (first.to_owned(), last.to_owned(), count), "{text}");
        }
        assert!(range("10.0.0.5-40").contains([10, 0, 0, 40].into()));
        assert!(!range("10.0.0.5-40").contains([10, 0, 0, 41].into()));
        assert!(!range("0.0.0.0/0").contains("::5".parse().expect("an address")));
    }

    #[test]
    fn lists_mix_all_kinds() {
        assert_eq!("auto".parse(), Ok(SourceChoice::Auto));
        assert_eq!(
            "eth0,br-1f,10.0.0.5".parse(),
            Ok(SourceChoice::Listed(vec![part("eth0"), part("br-1f"), part("10.0.0.5")]))
        );
        assert_eq!(part("br-1f"), SourcePart::Interface("br-1f".to_owned()));
    }

    #[test]
    fn what_is_none_of_these_is_refused() {
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "eth0/24",
            "10.0.0.1,",
            "10.0.0.300",
            "10.0.0.9-5",
            "10.0.0.1-::1",
            "10.0.0.1-eth0",
            "10.0.0.0-10.1.0.0",
            "a name with blanks",
            "a-name-of-sixteen",
        ] {
            assert!(bad.parse::<SourceChoice>().is_err(), "{bad}");
        }
    }
}
