//! The PROXY protocol, versions 1 and 2: what a balancer says in front of a connection that it
//! passes on (haproxy, `doc/proxy-protocol.txt`).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;

use crate::limits::{PROXY_HEADER_BYTES_MAX, PROXY_LINE_BYTES_MAX};

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxySource {
    /// The balancer's own: it looks whether the server is well.
    Balancer,
    /// That of somebody without an address, or without one of TCP over IP.
    Unknown,
    /// That of whoever connected to the balancer from here.
    Client(SocketAddr),
}

/// A whole header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProxyHeader {
    /// Whose connection it is.
    pub source: ProxySource,
    /// Bytes of the header. What the client sent begins behind them.
    pub length: usize,
}

/// Why what was received begins with no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// It begins with neither signature.
    Signature,
    /// The line of version 1 is not made as it should be.
    Line,
    /// Another version, or an unknown command, family or protocol of version 2.
    Unsupported,
    /// The length of version 2 does not hold the addresses of its family.
    Length,
    /// It exceeds [`PROXY_LINE_BYTES_MAX`] or [`PROXY_HEADER_BYTES_MAX`].
    TooLarge,
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Signature => "the connection does not begin with a PROXY header",
            Self::Line => "the line of the PROXY header is malformed",
            Self::Unsupported => "the PROXY header has an unknown version, command or family",
            Self::Length => "the PROXY header is too short for its addresses",
            Self::TooLarge => "the PROXY header is too long",
        })
    }
}

impl std::error::Error for ProxyHeaderError {}

const LINE_SIGNATURE: &[u8] = b"PROXY ";
const BINARY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 in front of the addresses.
const FIXED_BYTES: usize = 16;

/// Looks for a header at the beginning of `received`, which is everything received so far; `None`
/// when more is needed. The verdict is the same however the bytes arrive.
///
/// # Errors
///
/// No header can begin like this; the connection must be closed without an answer.
pub fn parse_proxy_header(received: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    if begins_alike(received, LINE_SIGNATURE) {
        parse_line(received)
    } else if begins_alike(received, BINARY_SIGNATURE) {
        parse_binary(received)
    } else {
        Err(ProxyHeaderError::Signature)
    }
}

/// Whether one is the beginning of the other.
fn begins_alike(received: &[u8], signature: &[u8]) -> bool {
    received.iter().zip(signature).all(|(received, expected)| received == expected)
}

fn parse_line(received: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let received = &received[..received.len().min(PROXY_LINE_BYTES_MAX)];
    let Some(end) = received.iter().position(|&byte| byte == b'\n') else {
        let is_full = received.len() == PROXY_LINE_BYTES_MAX;
        return if is_full { Err(ProxyHeaderError::TooLarge) } else { Ok(None) };
    };
    let line = received[..end].strip_suffix(b"\r").ok_or(ProxyHeaderError::Line)?;
    let words = line.strip_prefix(LINE_SIGNATURE).ok_or(ProxyHeaderError::Line)?;
    let source = source_of_line(words).ok_or(ProxyHeaderError::Line)?;
    Ok(Some(ProxyHeader { source, length: end + 1 }))
}

/// `TCP4 192.0.2.1 192.0.2.2 5000 80`, or `UNKNOWN` and anything.
fn source_of_line(words: &[u8]) -> Option<ProxySource> {
    if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        return Some(ProxySource::Unknown);
    }
    let mut words = str::from_utf8(words).ok()?.split(' ');
    let address: fn(&str) -> Option<IpAddr> = match words.next()? {
        "TCP4" => |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |word| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, _) = (address(words.next()?)?, address(words.next()?)?);
    let (source_port, _) = (port(words.next()?)?, port(words.next()?)?);
    let is_all = words.next().is_none();
    is_all.then(|| ProxySource::Client(SocketAddr::new(source, source_port)))
}

/// Digits without a zero in front.
fn port(word: &str) -> Option<u16> {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = word == "0" || !word.starts_with('0');
    word.parse().ok().filter(|_| is_number && is_short)
}

/// Each byte is judged as soon as it is there.
fn parse_binary(received: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let at = |place: usize| received.get(place).copied();
    let Some(command) = at(BINARY_SIGNATURE.len()) else { return Ok(None) };
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyHeaderError::Unsupported),
    };
    let Some(family) = at(BINARY_SIGNATURE.len() + 1) else { return Ok(None) };
    // Bytes of the source, and of both ends with their ports. The family of the balancer's own
    // connections says nothing.
    let (source, both) = match family {
        _ if is_local => (0, 0),
        0x11 => (4, 12),
        0x21 => (16, 36),
        // Unspecified, UDP and Unix sockets.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => (0, 0),
        _ => return Err(ProxyHeaderError::Unsupported),
    };
    let Some(length) = received.get(FIXED_BYTES - 2..FIXED_BYTES) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length < both {
        return Err(ProxyHeaderError::Length);
    }
    let whole = FIXED_BYTES + length;
    if whole > PROXY_HEADER_BYTES_MAX {
        return Err(ProxyHeaderError::TooLarge);
    }
    // What follows the addresses is not for us.
    let Some(addresses) = received.get(FIXED_BYTES..whole) else { return Ok(None) };
    let port = || addresses[2 * source..].first_chunk().map_or(0, |port| u16::from_be_bytes(*port));
    let address = match source {
        4 => addresses.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        16 => addresses.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        _ => None,
    };
    let source = match address {
        _ if is_local => ProxySource::Balancer,
        Some(address) => ProxySource::Client(SocketAddr::new(address, port())),
        None => ProxySource::Unknown,
    };
    Ok(Some(ProxyHeader { source, length: whole }))
}
