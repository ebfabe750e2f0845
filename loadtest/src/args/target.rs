//! The server on the command line.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use rustls::pki_types::ServerName;

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
    /// Whom the certificate must name, if the server speaks TLS.
    pub(crate) tls: Option<ServerName<'static>>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (rest, port, is_tls) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
            (Some(rest), _) => (rest, 80, false),
            (None, Some(rest)) => (rest, 443, true),
            (None, None) => return Err("the URL must begin with ws:// or wss://".to_owned()),
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if authority.is_empty() || authority.contains('@') || path.contains('#') {
            return Err(
                "the form is ws://HOST[:PORT][/PATH] or wss://HOST[:PORT][/PATH], without \
                        user and fragment"
                    .to_owned(),
            );
        }
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the path has a blank or another character that must be escaped".to_owned());
        }
        let (host, given) = divide(authority);
        let with_port =
            if given.is_some() { authority.to_owned() } else { format!("{host}:{port}") };
        let address = resolve(&with_port)
            .map_err(|error| format!("{authority} has no address to connect to: {error}"))?;
        let tls = if is_tls { Some(server_name(host)?) } else { None };
        Ok(Self { address, authority: authority.to_owned(), path, tls })
    }
}

/// Without the secrets of its query.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        write!(formatter, "{scheme}://{}{}", self.authority, redact::url(&self.path))
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

/// Host and port. The colons within brackets are those of an IPv6 address.
fn divide(authority: &str) -> (&str, Option<&str>) {
    let colon = authority.rfind(':').filter(|&colon| {
        let bracket = authority.rfind(']');
        bracket.is_none_or(|bracket| bracket < colon)
    });
    match colon {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    }
}

fn resolve(with_port: &str) -> Result<SocketAddr, String> {
    let mut addresses = with_port.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses.next().ok_or_else(|| "the name is unknown".to_owned())
}

/// What a certificate calls the server: a name of DNS or an address, which has no brackets there.
fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned())
        .map_err(|_| format!("no certificate can be for {host}: give a name of DNS or an address"))
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
    fn servers_with_tls_have_a_name_and_a_port_of_their_own() {
        let target = Target::from_str("wss://[::1]/a").unwrap();
        assert_eq!(target.address, "[::1]:443".parse().unwrap());
        assert_eq!(target.tls, Some(ServerName::try_from("::1").unwrap()));
        assert_eq!(target.to_string(), "wss://[::1]/a");
        let target = Target::from_str("wss://localhost:9443").unwrap();
        assert_eq!((target.address.port(), &*target.authority), (9443, "localhost:9443"));
        assert_eq!(target.tls, Some(ServerName::try_from("localhost").unwrap()));
        assert_eq!(Target::from_str("ws://localhost:9443").unwrap().tls, None);
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
        for url in [
            "http://127.0.0.1",
            "127.0.0.1:1",
            "ws://",
            "wss://",
            "ws://a@127.0.0.1",
            "ws://127.0.0.1/#a",
            "wss://127.0.0.1:",
        ] {
            assert!(Target::from_str(url).is_err(), "{url}");
        }
    }
}
