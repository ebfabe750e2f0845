//! Counters that differ by a label whose values are known in advance.

use std::marker::PhantomData;

use super::counters::Counter;
use crate::connection::{CloseReason, CodeClass};

/// The values of a label: one series for each.
pub trait Label: Copy + 'static {
    /// The name of the label.
    const NAME: &'static str;
    /// All values, each at its [`index`](Self::index).
    const ALL: &'static [Self];

    /// Counted from 0.
    fn index(self) -> usize;

    /// As it is exposed.
    fn value(self) -> &'static str;
}

/// Declares the values of a label, each with its text.
macro_rules! label {
    ($(#[$about:meta])* $name:ident, $label:literal:
     $($(#[$doc:meta])* $value:ident = $text:literal,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $value,)* }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$value,)*];

            fn index(self) -> usize {
                self as usize
            }

            fn value(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
        }
    };
}

label! {
    /// How a handshake ended.
    HandshakeResult, "result":
    /// 101.
    Accepted = "accepted",
    /// Answered with an error status.
    Refused = "refused",
    /// A static page.
    Static = "static",
    /// Not finished in time.
    Timeout = "timeout",
    /// The peer left.
    Failed = "failed",
    /// A trusted proxy did not begin with a PROXY header.
    BadProxyHeader = "bad_proxy_header",
    /// The handshake of TLS failed.
    TlsFailed = "tls_failed",
}

label! {
    /// A handshake of TLS that succeeded.
    TlsHandshake, "version":
    /// TLS 1.2, a new session.
    Full12 = "1.2",
    /// TLS 1.3, a new session.
    Full13 = "1.3",
    /// TLS 1.2, from an earlier session.
    Resumed12 = "1.2_resumed",
    /// TLS 1.3, from an earlier session.
    Resumed13 = "1.3_resumed",
}

label! {
    /// The status of a refusal.
    RefusedStatus, "status":
    /// Bad Request.
    BadRequest = "400",
    /// Unauthorized.
    Unauthorized = "401",
    /// Forbidden.
    Forbidden = "403",
    /// Not Found.
    NotFound = "404",
    /// Method Not Allowed.
    Method = "405",
    /// Upgrade Required.
    Upgrade = "426",
    /// Too Many Requests.
    TooMany = "429",
    /// Request Header Fields Too Large.
    HeadTooLarge = "431",
    /// Service Unavailable.
    Unavailable = "503",
    /// HTTP Version Not Supported.
    HttpVersion = "505",
    /// Any other.
    Other = "other",
}

impl From<u16> for RefusedStatus {
    fn from(status: u16) -> Self {
        match status {
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::Method,
            426 => Self::Upgrade,
            429 => Self::TooMany,
            431 => Self::HeadTooLarge,
            503 => Self::Unavailable,
            505 => Self::HttpVersion,
            _ => Self::Other,
        }
    }
}

label! {
    /// Why a connection could not be accepted.
    AcceptError, "errno":
    /// The descriptors of the shard are used up.
    Emfile = "emfile",
    /// The descriptors of the host are.
    Enfile = "enfile",
    /// The kernel has no buffers.
    Enobufs = "enobufs",
    /// It has no memory.
    Enomem = "enomem",
    /// Any other.
    Other = "other",
}

impl From<&std::io::Error> for AcceptError {
    fn from(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE) => Self::Emfile,
            Some(libc::ENFILE) => Self::Enfile,
            Some(libc::ENOBUFS) => Self::Enobufs,
            Some(libc::ENOMEM) => Self::Enomem,
            _ => Self::Other,
        }
    }
}

label! {
    /// What the kernel had no memory for.
    SocketCall, "call":
    /// Reading from a connection.
    Receive = "receive",
    /// Writing to a connection.
    Send = "send",
}

label! {
    /// What went wrong.
    ErrorKind, "kind":
    /// A connection could not be accepted.
    Accept = "accept",
    /// A handshake was refused, not finished in time, or left.
    Handshake = "handshake",
    /// A connection was ended because its peer broke a rule of the protocol.
    Protocol = "protocol",
    /// A message of the chat was answered with an error.
    Message = "message",
}

impl Label for CloseReason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.label()
    }
}

impl Label for CodeClass {
    const NAME: &'static str = "code";
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn value(self) -> &'static str {
        self.label()
    }
}

/// A counter for each value of a label.
#[derive(Debug)]
pub struct Family<L: Label>(Box<[Counter]>, PhantomData<L>);

impl<L: Label> Default for Family<L> {
    fn default() -> Self {
        Self(L::ALL.iter().map(|_| Counter::default()).collect(), PhantomData)
    }
}

impl<L: Label> Family<L> {
    /// The counter of one value.
    #[inline]
    #[must_use]
    pub fn of(&self, value: L) -> &Counter {
        &self.0[value.index()]
    }

    /// The sum over all values.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }
}

/// Ends of connections by reason and code.
#[derive(Debug)]
pub struct Closes(Box<[Family<CodeClass>]>);

impl Default for Closes {
    fn default() -> Self {
        Self(CloseReason::ALL.iter().map(|_| Family::default()).collect())
    }
}

impl Closes {
    /// The counters of one reason.
    #[must_use]
    pub fn of(&self, reason: CloseReason) -> &Family<CodeClass> {
        &self.0[reason as usize]
    }

    /// All ends.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(Family::total).sum()
    }
}
