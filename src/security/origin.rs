//! Which web pages may connect: an allow-list of exact origins (RFC 6454).

use core::net::Ipv6Addr;
use std::fmt;

/// The origins whose pages may connect. Without any, all may.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Origins {
    listed: Vec<Origin>,
    /// `*` was listed.
    any: bool,
    /// A request without an origin is refused.
    required: bool,
}

/// Scheme and host in lower case, and a port unless it is the scheme's own.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

/// What is wrong with an origin of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OriginsError {
    /// No `scheme://`.
    Scheme,
    /// No host, or with characters that hosts do not have.
    Host,
    /// Not ASCII: browsers send international names in their `xn--` form.
    NotAscii,
    /// A pattern: each origin is to be named.
    Pattern,
    /// A dot behind the last label.
    TrailingDot,
    /// User information in front of the host.
    User,
    /// A path, a query or a fragment.
    Path,
    /// Not a number from 1 to 65535.
    Port,
    /// `*` beside others.
    AnyWithOthers,
}

impl fmt::Display for OriginsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Scheme => "it needs a scheme, such as https://example.com",
            Self::Host => "it has no valid host: write it as https://example.com",
            Self::NotAscii => "write an international name in its xn-- form, as browsers send it",
            Self::Pattern => "patterns are not known: name each origin, or * alone for all",
            Self::TrailingDot => "leave out the dot at the end of the host",
            Self::User => "leave out the user in front of the host",
            Self::Path => "leave out what follows the host and the port, a slash too",
            Self::Port => "the port must be a number from 1 to 65535",
            Self::AnyWithOthers => "* means all origins and must stand alone",
        })
    }
}

impl std::error::Error for OriginsError {}

impl Origins {
    /// The list of what may connect: origins such as `https://example.com:8443`, or `*` alone.
    /// With `required` a request must name its origin, which programs that are no browser do not.
    ///
    /// # Errors
    /// The index of the first origin that is none, and what is wrong with it.
    pub fn new<T: AsRef<str>>(list: &[T], required: bool) -> Result<Self, (usize, OriginsError)> {
        let any = list.iter().position(|origin| origin.as_ref() == "*");
        if let Some(index) = any {
            return if list.len() == 1 {
                Ok(Self { listed: Vec::new(), any: true, required })
            } else {
                Err((index, OriginsError::AnyWithOthers))
            };
        }
        let parse =
            |(index, text): (usize, &T)| parse(text.as_ref()).map_err(|error| (index, error));
        let listed = list.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { listed, any: false, required })
    }

    /// Whether nothing was listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && !self.any
    }

    /// Whether both list the same.
    #[must_use]
    pub fn lists_the_same(&self, other: &Self) -> bool {
        self.any == other.any && self.listed == other.listed
    }

    /// Whether a request must name its origin.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.required
    }

    /// Whether a request with this `Origin` may connect.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return !self.required };
        // What is not exactly an origin, as `null` and lists of them, equals none.
        self.any
            || self.listed.is_empty()
            || parse(origin).is_ok_and(|origin| self.listed.contains(&origin))
    }
}

fn parse(text: &str) -> Result<Origin, OriginsError> {
    if !text.is_ascii() {
        return Err(OriginsError::NotAscii);
    }
    let (scheme, rest) = text.split_once("://").ok_or(OriginsError::Scheme)?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
        return Err(OriginsError::Scheme);
    }
    if rest.contains(['/', '?', '#', '\\']) {
        return Err(OriginsError::Path);
    }
    if rest.contains('@') {
        return Err(OriginsError::User);
    }
    let scheme = scheme.to_ascii_lowercase();
    let (host, port) = split_port(rest)?;
    let host = parse_host(host)?;
    let default = match scheme.as_str() {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    };
    let port = port.filter(|port| Some(*port) != default);
    Ok(Origin { scheme, host, port })
}

/// Splits at the colon behind the host, which may be an IPv6 address in brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), OriginsError> {
    let host_end = text.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = text[host_end..].find(':') else { return Ok((text, None)) };
    let (host, port) = (&text[..host_end + colon], &text[host_end + colon + 1..]);
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    match port.parse() {
        Ok(port) if is_number => Ok((host, Some(port))),
        _ => Err(OriginsError::Port),
    }
}

fn parse_host(host: &str) -> Result<String, OriginsError> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| OriginsError::Host)?;
        return Ok(format!("[{address}]"));
    }
    if host.contains('*') {
        return Err(OriginsError::Pattern);
    }
    if host.ends_with('.') {
        return Err(OriginsError::TrailingDot);
    }
    let is_label = |label: &str| {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !label.is_empty() && label.bytes().all(is_valid)
    };
    if !host.split('.').all(is_label) {
        return Err(OriginsError::Host);
    }
    Ok(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(list: &[&str]) -> Origins {
        Origins::new(list, false).expect("the list is valid")
    }

    #[test]
    fn origins_are_compared_after_normalising() {
        let origins =
            listed(&["https://Example.COM", "http://[::1]:8080", "app://x", "http://a:1"]);
        for same in [
            "https://example.com",
            "HTTPS://EXAMPLE.com:443",
            "http://[0:0:0:0:0:0:0:1]:8080",
            "app://x",
            "http://A:1",
        ] {
            assert!(origins.allows(Some(same)), "{same}");
        }
        for other in [
            "null",
            "",
            "*",
            "http://example.com",
            "https://example.com:8443",
            "https://example.com:80",
            "https://example.com.",
            "https://www.example.com",
            "https://example.com.evil.example",
            "https://evilexample.com",
            "https://example.com@evil.example",
            "https://user@example.com",
            "https://example.com/",
            "https://example.com?",
            "https://example.com#",
            "https://example.com\\",
            "https://example.com https://example.com",
            "https://example.com, https://example.com",
            " https://example.com",
            "https:example.com",
            "//example.com",
            "example.com",
            "https://еxample.com",
            "https://xn--xample-2of.com",
            "https://example.com:",
            "https://example.com:0443",
            "https://example.com:+443",
            "https://example.com:65979",
            "https://example.com%2e",
            "https://example..com",
            "https://",
            "http://[::1]",
            "http://[::1]x:8080",
            "http://::1:8080",
            "app://x:80",
        ] {
            assert!(!origins.allows(Some(other)), "{other}");
        }
        assert!(origins.allows(None));
    }

    #[test]
    fn nothing_listed_allows_all_and_so_does_a_star() {
        for origins in [Origins::default(), listed(&["*"])] {
            for origin in [None, Some("null"), Some("https://example.com"), Some("rubbish")] {
                assert!(origins.allows(origin), "{origin:?}");
            }
        }
        assert!(Origins::default().is_empty() && !listed(&["*"]).is_empty());
        for list in [&["*"], &["https://example.com"]] {
            let origins = Origins::new(list, true).unwrap();
            assert!(!origins.allows(None));
            assert!(origins.allows(Some("https://example.com")));
        }
    }

    #[test]
    fn a_bad_list_is_refused_with_the_place() {
        for (bad, error) in [
            ("example.com", OriginsError::Scheme),
            ("1x://a", OriginsError::Scheme),
            ("null", OriginsError::Scheme),
            ("https://", OriginsError::Host),
            ("https://a b", OriginsError::Host),
            ("https://größe.example", OriginsError::NotAscii),
            ("https://*.example.com", OriginsError::Pattern),
            ("https://example.com.", OriginsError::TrailingDot),
            ("https://me@example.com", OriginsError::User),
            ("https://example.com/", OriginsError::Path),
            ("https://example.com:0", OriginsError::Port),
            ("https://example.com:https", OriginsError::Port),
            ("*", OriginsError::AnyWithOthers),
        ] {
            let refused = Origins::new(&["http://localhost:3000", bad], false);
            assert_eq!(refused, Err((1, error)), "{bad}");
        }
    }
}
