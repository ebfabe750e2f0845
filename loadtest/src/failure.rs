//! When and how connections fail.

use std::fmt;
use std::io;

use ringwire::protocol::upgrade::ResponseError;
use rustix::io::Errno;

/// When something failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stage {
    /// Before the TCP connection.
    Connect,
    /// Before the end of the TLS handshake.
    Tls,
    /// Before the server's 101.
    Upgrade,
    /// While the connection was open.
    Open,
    /// While the connection was open, and went on: what the server said in a message.
    Application,
    /// While the connection was closed.
    Leave,
}

impl Stage {
    /// Whether the connection was on its way to be open.
    pub(crate) const fn is_opening(self) -> bool {
        matches!(self, Self::Connect | Self::Tls | Self::Upgrade)
    }

    /// In one word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Upgrade => "upgrade",
            Self::Open => "open",
            Self::Application => "application",
            Self::Leave => "leave",
        }
    }
}

/// How something failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Failure {
    /// A system call failed with this errno.
    System(i32),
    /// The time was up.
    TimedOut,
    /// The peer ended the TCP connection without a word.
    Ended,
    /// The TCP connection ended in the middle of a TLS session: perhaps somebody else cut it.
    Cut,
    /// The connection is broken.
    Broken,
    /// The peer does not read: more waits for it than is kept.
    Unread,
    /// The peer sent a close frame with this code.
    Closed(u16),
    /// The server answered with this status.
    Status(u16),
    /// The response is not the one to the request; why.
    Response(&'static str),
    /// The certificate is not to be trusted, or one of the two broke the rules of TLS; how.
    Tls(&'static str),
    /// The server broke the protocol; how.
    Protocol(&'static str),
    /// The server answered with an error; its text.
    Answered(&'static str),
    /// Not tried, because nothing before it had worked.
    NotTried,
}

impl Failure {
    /// All ports of the source address are taken.
    pub(crate) const NO_PORT: Self = Self::System(Errno::ADDRNOTAVAIL.raw_os_error());

    /// Nobody listens.
    pub(crate) const REFUSED: Self = Self::System(Errno::CONNREFUSED.raw_os_error());

    /// The server goes away, and says so: RFC 6455 section 7.4.1.
    pub(crate) const FAREWELL: Self = Self::Closed(1001);

    /// What this host lacks, whatever the server does.
    pub(crate) const OF_THIS_HOST: [Self; 3] = [
        Self::NO_PORT,
        Self::System(Errno::MFILE.raw_os_error()),
        Self::System(Errno::NFILE.raw_os_error()),
    ];
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::TIMEDOUT) => Self::TimedOut,
            Some(Errno::CONNRESET | Errno::PIPE) => Self::Broken,
            Some(errno) => Self::System(errno.raw_os_error()),
            None => Self::Broken,
        }
    }
}

impl From<ResponseError> for Failure {
    fn from(error: ResponseError) -> Self {
        match error {
            ResponseError::Status(status) => Self::Status(status),
            ResponseError::Malformed => Self::Response("not HTTP"),
            ResponseError::UpgradeHeader => Self::Response("no Upgrade: websocket"),
            ResponseError::ConnectionHeader => Self::Response("no Connection: Upgrade"),
            ResponseError::AcceptKey => Self::Response("wrong Sec-WebSocket-Accept"),
            _ => Self::Response("something that was not asked for"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(errno) => match Errno::from_raw_os_error(*errno) {
                Errno::CONNREFUSED => formatter.write_str("connection refused"),
                Errno::ADDRNOTAVAIL => formatter.write_str(
                    "no port left (give more addresses with --source, or wait for the last run's \
                     TIME-WAIT to pass)",
                ),
                Errno::MFILE => formatter.write_str("no descriptor left (give more --threads)"),
                Errno::NFILE => formatter.write_str("no file left (sysctl fs.file-max)"),
                _ => io::Error::from_raw_os_error(*errno).fmt(formatter),
            },
            Self::TimedOut => formatter.write_str("timed out"),
            Self::Ended => formatter.write_str("ended without a close frame"),
            Self::Cut => formatter.write_str("cut: the stream ended without close_notify of TLS"),
            Self::Broken => formatter.write_str("reset"),
            Self::Unread => formatter.write_str("the server stopped reading"),
            Self::Closed(code) => write!(formatter, "close frame {code}"),
            Self::Status(status) => write!(formatter, "HTTP status {status}"),
            Self::Response(what) => write!(formatter, "bad response: {what}"),
            Self::Tls(what) => formatter.write_str(what),
            Self::Protocol(what) => write!(formatter, "protocol violation: {what}"),
            Self::Answered(text) => write!(formatter, "error: {text}"),
            Self::NotTried => formatter.write_str("not tried: none before had worked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_keep_their_meaning() {
        let refused = io::Error::from_raw_os_error(Errno::CONNREFUSED.raw_os_error());
        assert_eq!(Failure::from(refused).to_string(), "connection refused");
        let reset = io::Error::from_raw_os_error(Errno::CONNRESET.raw_os_error());
        assert_eq!(Failure::from(reset), Failure::Broken);
    }
}
