//! What a thread counts, and how threads are added up.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringwire::protocol::upgrade::ResponseError;
use rustix::io::Errno;

/// The longest time a histogram tells apart: 1,000 s in nanoseconds.
const NANOSECONDS_MAX: u64 = 1_000_000_000_000;

/// A histogram of nanoseconds, exact to three digits.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, NANOSECONDS_MAX, 3);
        Self(histogram.expect("the bounds are valid"))
    }
}

impl Latency {
    /// Counts one.
    #[inline]
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// Counts several of the same.
    #[inline]
    pub(crate) fn record_many(&mut self, nanoseconds: u64, count: u64) {
        self.0.saturating_record_n(nanoseconds, count);
    }

    /// What was counted.
    pub(crate) const fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }
}

/// When something failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stage {
    /// Before the TCP connection.
    Connect,
    /// Before the server's 101.
    Upgrade,
    /// While the connection was open.
    Open,
    /// While the connection was closed.
    Leave,
}

impl Stage {
    /// In one word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Upgrade => "upgrade",
            Self::Open => "open",
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
    /// The connection is broken.
    Broken,
    /// The peer sent a close frame with this code.
    Closed(u16),
    /// The server answered with this status.
    Status(u16),
    /// The response is not the one to the request; why.
    Response(&'static str),
    /// The server broke the protocol; how.
    Protocol(&'static str),
    /// Not tried, because nothing before it had worked.
    NotTried,
}

impl Failure {
    /// All ports of the source address are taken.
    pub(crate) const NO_PORT: Self = Self::System(Errno::ADDRNOTAVAIL.raw_os_error());
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
            Self::Broken => formatter.write_str("reset"),
            Self::Closed(code) => write!(formatter, "close frame {code}"),
            Self::Status(status) => write!(formatter, "HTTP status {status}"),
            Self::Response(what) => write!(formatter, "bad response: {what}"),
            Self::Protocol(what) => write!(formatter, "protocol violation: {what}"),
            Self::NotTried => formatter.write_str("not tried: none before had worked"),
        }
    }
}

/// Messages that were not as they should be. Any of them fails the run.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Wrong {
    /// Never came.
    pub(crate) missing: u64,
    /// Came again.
    pub(crate) duplicate: u64,
    /// Came to different clients in different orders.
    pub(crate) out_of_order: u64,
    /// Are not what was sent.
    pub(crate) corrupt: u64,
}

impl Wrong {
    /// All of them.
    pub(crate) const fn total(&self) -> u64 {
        self.missing + self.duplicate + self.out_of_order + self.corrupt
    }
}

/// Of one lone message: when the first, the middle and the last receiver had it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Spread {
    /// Nanoseconds until the first receiver had it.
    pub(crate) first: Latency,
    /// Nanoseconds until half of them had it.
    pub(crate) median: Latency,
    /// Nanoseconds until all of them had it.
    pub(crate) last: Latency,
}

/// Processor time of a thread while the run was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy {
    /// The processor it is pinned to.
    pub(crate) cpu: usize,
    /// Time that passed.
    pub(crate) wall: Duration,
    /// Time that the thread ran.
    pub(crate) ran: Duration,
}

/// Everything that is counted. The times are nanoseconds of the run's clock.
#[derive(Clone, Default, Debug)]
pub(crate) struct Stats {
    /// Whether messages count now; elsewhere in a run nothing but errors does.
    pub(crate) measuring: bool,
    /// When the first connection was started.
    pub(crate) first_start: Option<u64>,
    /// When the last connection was open.
    pub(crate) last_open: Option<u64>,
    /// Connections that were open at some time.
    pub(crate) opened: u64,
    /// Open connections that ended before they were asked to.
    pub(crate) lost: u64,
    /// Connections that were closed by both sides' close frames.
    pub(crate) closed_cleanly: u64,
    /// Pings of the server that were answered.
    pub(crate) pings_answered: u64,
    /// From the start of a connection to the server's 101.
    pub(crate) handshake: Latency,
    /// Messages received while measuring.
    pub(crate) messages: u64,
    /// Messages received at any time.
    pub(crate) messages_total: u64,
    /// Rounds of a broadcast, or lone messages, that were complete.
    pub(crate) rounds: u64,
    /// Lone messages that were not sent because the one before was still on its way.
    pub(crate) skipped: u64,
    /// Round trip of an echo; delivery of a broadcast since its round began.
    pub(crate) latency: Latency,
    /// Of lone messages.
    pub(crate) spread: Spread,
    /// Messages that were not as they should be.
    pub(crate) wrong: Wrong,
    /// Failures of connections.
    pub(crate) errors: BTreeMap<(Stage, Failure), u64>,
    /// Times the kernel had more completions than the ring holds.
    pub(crate) ring_pressure: u64,
    /// Processor time of the threads, from their start to their end.
    pub(crate) ran: Duration,
    /// Each thread's share while the run was measured.
    pub(crate) busy: Vec<Busy>,
}

impl Stats {
    /// Counts a failure.
    pub(crate) fn fail(&mut self, stage: Stage, failure: Failure) {
        self.fail_many(stage, failure, 1);
    }

    /// Counts several of the same.
    pub(crate) fn fail_many(&mut self, stage: Stage, failure: Failure, count: u64) {
        *self.errors.entry((stage, failure)).or_insert(0) += count;
    }

    /// Adds what another thread counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.first_start = min_of(self.first_start, other.first_start);
        self.last_open = self.last_open.max(other.last_open);
        self.opened += other.opened;
        self.lost += other.lost;
        self.closed_cleanly += other.closed_cleanly;
        self.pings_answered += other.pings_answered;
        self.handshake.add(&other.handshake);
        self.messages += other.messages;
        self.messages_total += other.messages_total;
        self.rounds += other.rounds;
        self.skipped += other.skipped;
        self.latency.add(&other.latency);
        self.spread.first.add(&other.spread.first);
        self.spread.median.add(&other.spread.median);
        self.spread.last.add(&other.spread.last);
        self.wrong.missing += other.wrong.missing;
        self.wrong.duplicate += other.wrong.duplicate;
        self.wrong.out_of_order += other.wrong.out_of_order;
        self.wrong.corrupt += other.wrong.corrupt;
        for (&(stage, failure), &count) in &other.errors {
            self.fail_many(stage, failure, count);
        }
        self.ring_pressure += other.ring_pressure;
        self.ran += other.ran;
        self.busy.extend_from_slice(&other.busy);
    }
}

fn min_of(left: Option<u64>, right: Option<u64>) -> Option<u64> {
    left.into_iter().chain(right).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_threads_adds_their_histograms() {
        let mut one = Stats { first_start: Some(5), opened: 2, ..Stats::default() };
        let mut two = Stats { last_open: Some(9), opened: 3, ..Stats::default() };
        (1..=100).for_each(|value| one.latency.record(value * 1_000));
        two.latency.record_many(1_000_000, 100);
        two.fail(Stage::Open, Failure::Closed(1001));
        one.fail(Stage::Open, Failure::Closed(1001));
        one.add(&two);
        let histogram = one.latency.histogram();
        assert_eq!((histogram.len(), histogram.max() / 1_000), (200, 1_000));
        assert_eq!(histogram.value_at_quantile(0.25) / 100, 500);
        assert_eq!((one.first_start, one.last_open, one.opened), (Some(5), Some(9), 5));
        assert_eq!(one.errors[&(Stage::Open, Failure::Closed(1001))], 2);
    }

    #[test]
    fn times_out_of_range_are_counted_at_the_end() {
        let mut latency = Latency::default();
        latency.record(u64::MAX);
        latency.record(0);
        assert_eq!(latency.histogram().len(), 2);
        assert!(latency.histogram().max() >= NANOSECONDS_MAX);
    }

    #[test]
    fn system_errors_keep_their_meaning() {
        let refused = io::Error::from_raw_os_error(Errno::CONNREFUSED.raw_os_error());
        assert_eq!(Failure::from(refused).to_string(), "connection refused");
        let reset = io::Error::from_raw_os_error(Errno::CONNRESET.raw_os_error());
        assert_eq!(Failure::from(reset), Failure::Broken);
    }
}
