//! The server on the command line.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::redact;

/// A server: where to connect and what to ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// Where to connect: the first address that the name has.
    pub(crate) address: SocketAddr,
    /// For the `Host` field.
    pub(crate) authority: String,
    /// Path and query, beginning with `/`.
    pub(crate) path: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let Some(rest) = url.strip_prefix("ws://") else {
            return Err("the URL must begin with ws://; TLS is not spoken".to_owned());
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if authority.is_empty() || authority.contains('@') || path.contains('#') {
            return Err("the form is ws://HOST[:PORT][/PATH], without user and fragment".to_owned());
        }
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the path has a blank or another character that must be escaped".to_owned());
        }
        let address = resolve(authority)
            .map_err(|error| format!("{authority} has no address to connect to: {error}"))?;
        Ok(Self { address, authority: authority.to_owned(), path })
    }
}

/// Without the secrets of its query.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ws://{}{}", self.authority, redact::url(&self.path))
    }
}

/// The number of each target's server, from 0: targets with one address are one server.
pub(crate) fn nodes(targets: &[Target]) -> Vec<u32> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let number = |target: &Target| {
        let known = addresses.iter().position(|&address| address == target.address);
        known.unwrap_or_else(|| {
            addresses.push(target.address);
            addresses.len() - 1
        }) as u32
    };
    targets.iter().map(number).collect()
}

fn resolve(authority: &str) -> Result<SocketAddr, String> {
    let port_follows = authority
        .rfind(':')
        .is_some_and(|colon| authority.rfind(']').is_none_or(|bracket| bracket < colon));
    let with_port = if port_follows { authority.to_owned() } else { format!("{authority}:80") };
    let mut addresses = with_port.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses.next().ok_or_else(|| "the name is unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_defaults() {
        let target = Target::from_str("ws://[::1]").unwrap();
        assert_eq!((target.address, &*target.path), ("[::1]:80".parse().unwrap(), "/"));
        assert_eq!(Target::from_str("ws://127.0.0.1?a").unwrap().to_string(), "ws://127.0.0.1/?a");
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        let target = Target::from_str("ws://127.0.0.1/a?token=b").unwrap();
        assert_eq!(target.to_string(), "ws://127.0.0.1/a?token=[redacted]");
    }

    #[test]
    fn a_server_is_an_address() {
        let urls = ["ws://127.0.0.1:1/a", "ws://127.0.0.1:2", "ws://127.0.0.1:1/b", "ws://[::1]:1"];
        let targets = urls.map(|url| Target::from_str(url).unwrap());
        assert_eq!(nodes(&targets), [0, 1, 0, 2]);
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in
            ["wss://127.0.0.1", "127.0.0.1:1", "ws://", "ws://a@127.0.0.1", "ws://127.0.0.1/#a"]
        {
            assert!(Target::from_str(url).is_err(), "{url}");
        }
    }
}
