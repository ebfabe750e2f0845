//! What a coordinator and a worker say to each other: lines of JSON over one TCP connection.
//!
//! The coordinator begins. Both say hello and refuse each other unless they are the same version of
//! this program. Then there are pings, at most one job, and what it leads to; whoever hears nothing
//! for [`PATIENCE`] takes the other for dead.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::control::{Population, Times};
use crate::results::{Interval, Packed, Row, Summary};

/// Changes with every change of the messages below.
const PROTOCOL: u32 = 2;

/// Silence after which the other side is taken for dead. The coordinator's pings and their answers
/// come far more often, whatever the run does.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two pings.
pub(super) const PING_PERIOD: Duration = Duration::from_secs(2);

/// Bytes of the first line: a secret and what the program says of itself.
const HELLO_BYTES_MAX: u64 = 4096;

/// Bytes of any other line. The longest is a summary: some twenty histograms of 100 KiB each, if
/// every slot of them counts, and the shares of 4,096 threads.
const LINE_BYTES_MAX: u64 = 32 << 20;

/// Who speaks.
#[derive(Serialize, Deserialize)]
pub(super) struct Hello {
    protocol: u32,
    version: String,
    /// What the worker was started with; empty without, and in the answer.
    pub(super) secret: String,
    /// Names the host, and the part of it whose processes can be seen.
    pub(super) place: String,
}

/// From the coordinator to a worker.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    Hello(Hello),
    /// When it was sent, by the clock of the coordinator.
    Ping(u64),
    Job(Job),
    /// All workers are connected and have this open: the scenario has these times.
    Begin(Population, Times),
    /// The other workers have published so many messages and publish no more.
    PublishedElsewhere(u64),
    /// The run ends now.
    Stop,
}

/// From a worker to the coordinator.
#[derive(Serialize, Deserialize)]
pub(super) enum Report {
    Hello(Hello),
    /// Why the worker does not work for this coordinator.
    Refused(String),
    Pong {
        /// What the ping said.
        sent: u64,
        /// Nanoseconds since the worker accepted the connection.
        at: u64,
    },
    /// Nothing more is being opened.
    Population(Population),
    Interval(Box<PackedInterval>),
    /// The worker has published so many messages and publishes no more.
    Published(u64),
    /// The run is over; its intervals have been told.
    Ended(Box<Summary>),
    /// The run could not be made.
    Failed(String),
}

/// A worker's part of a run.
#[derive(Serialize, Deserialize)]
pub(super) struct Job {
    /// The command line of the run.
    pub(super) words: Vec<String>,
    /// The issuers that the file of --tls-ca names, which is on the coordinator's host.
    pub(super) issuers: Option<String>,
    /// The value of the step, if that is a search.
    pub(super) step: Option<f64>,
    /// The number of the run.
    pub(super) run: u32,
    /// The numbers of the worker's connections.
    pub(super) connections: Range<u32>,
    /// When the run's clock began, in nanoseconds since the worker accepted the connection.
    pub(super) epoch: i64,
    /// Whether the worker is the one that watches the server's process.
    pub(super) watch_server: bool,
}

/// An interval, with its histograms in base64.
#[derive(Serialize, Deserialize)]
pub(super) struct PackedInterval {
    row: Row,
    latency: String,
    latency_uncorrected: String,
}

impl Hello {
    /// From this program, which is at `place`.
    pub(super) fn new(secret: &str, place: String) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { protocol: PROTOCOL, version, secret: secret.to_owned(), place }
    }

    /// # Errors
    /// When it is from another version of the program.
    pub(super) fn check(&self) -> Result<(), String> {
        let own = env!("CARGO_PKG_VERSION");
        if (self.protocol, self.version.as_str()) == (PROTOCOL, own) {
            return Ok(());
        }
        Err(format!(
            "one is loadtest {}, the other {own} (protocols {} and {PROTOCOL}): use the same \
             version on all hosts",
            self.version, self.protocol
        ))
    }
}

impl PackedInterval {
    /// For the way.
    pub(super) fn of(interval: &Interval) -> Self {
        Self {
            row: interval.row.clone(),
            latency: interval.latency.base64(),
            latency_uncorrected: interval.latency_uncorrected.base64(),
        }
    }

    /// As it was.
    ///
    /// # Errors
    /// When a histogram is damaged.
    pub(super) fn unpacked(self) -> Result<Interval, String> {
        Ok(Interval {
            row: self.row,
            latency: Packed::from_base64(&self.latency)?,
            latency_uncorrected: Packed::from_base64(&self.latency_uncorrected)?,
        })
    }
}

/// The lines that come.
pub(super) struct Lines {
    stream: BufReader<TcpStream>,
    bytes_max: u64,
}

/// Writes lines, from any thread. Dropping it ends the connection in both directions.
pub(super) struct Pen {
    stream: Mutex<TcpStream>,
}

/// Both directions of a connection whose other side is given `patience`.
///
/// # Errors
/// When the connection is broken already.
pub(super) fn link(stream: TcpStream, patience: Duration) -> Result<(Lines, Pen), String> {
    let broken = |error| format!("the connection is broken: {error}");
    stream.set_nodelay(true).map_err(broken)?;
    stream.set_write_timeout(Some(patience)).map_err(broken)?;
    stream.set_read_timeout(Some(patience)).map_err(broken)?;
    let reader = BufReader::new(stream.try_clone().map_err(broken)?);
    let lines = Lines { stream: reader, bytes_max: HELLO_BYTES_MAX };
    Ok((lines, Pen { stream: Mutex::new(stream) }))
}

impl Lines {
    /// The next message.
    ///
    /// # Errors
    /// When there is none, or it is none of these; nothing more can be read then.
    pub(super) fn next<M: DeserializeOwned>(&mut self) -> Result<M, String> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(self.bytes_max).read_until(b'\n', &mut line);
        match read.map_err(|error| error.kind()) {
            Ok(0) => Err("the connection was closed".to_owned()),
            Ok(_) if line.ends_with(b"\n") => serde_json::from_slice(&line)
                .map_err(|error| format!("this is not the protocol of loadtest workers: {error}")),
            Ok(_) if line.len() as u64 == self.bytes_max => {
                Err(format!("a line has more than {} bytes", self.bytes_max))
            }
            Ok(_) => Err("the connection was closed within a message".to_owned()),
            Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err("nothing was heard for too long".to_owned())
            }
            Err(kind) => Err(format!("the connection is broken: {kind}")),
        }
    }

    /// From now on the other side may be silent for so long.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) fn be_patient(&self, patience: Duration) -> Result<(), String> {
        let set = self.stream.get_ref().set_read_timeout(Some(patience));
        set.map_err(|error| format!("the connection is broken: {error}"))
    }

    /// The other side has said hello, and is who it should be.
    pub(super) fn trust(&mut self) {
        self.bytes_max = LINE_BYTES_MAX;
    }
}

impl Pen {
    /// Writes a message.
    ///
    /// # Errors
    /// When the other side is gone or does not read; the connection is over then.
    pub(super) fn write<M: Serialize>(&self, message: &M) -> Result<(), String> {
        let mut line = serde_json::to_vec(message)
            .map_err(|error| format!("a message is not valid JSON: {error}"))?;
        line.push(b'\n');
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(&line).map_err(|error| {
            // A part of a line may be out.
            shut(&stream);
            format!("the connection is broken: {error}")
        })
    }

    /// Ends the connection in both directions.
    pub(super) fn hang_up(&self) {
        shut(&self.stream.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        self.hang_up();
    }
}

fn shut(stream: &TcpStream) {
    // It may be closed already.
    let _ = stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::results::examples;

    /// What a reader makes of these bytes, and then of the end of the connection.
    fn read(bytes: &[u8]) -> Result<Report, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let mut sender = TcpStream::connect(address).expect("a listener");
        let (stream, _) = listener.accept().expect("a connection");
        let (mut lines, _pen) = link(stream, PATIENCE).expect("a connection");
        sender.write_all(bytes).expect("room in the socket");
        drop(sender);
        lines.next()
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for (bytes, reason) in [
            (&b""[..], "was closed"),
            (b"\"Ping\"", "within a message"),
            (b"GET / HTTP/1.1\r\n", "not the protocol"),
            (b"{\"Pong\":{\"sent\":-1,\"at\":0}}\n", "not the protocol"),
            (&[b'['; HELLO_BYTES_MAX as usize], "more than 4096 bytes"),
        ] {
            let found = read(bytes).err().expect("an error");
            assert!(found.contains(reason), "{found}");
        }
        assert!(matches!(read(b"{\"Pong\":{\"sent\":1,\"at\":2}}\n"), Ok(Report::Pong { .. })));
    }

    #[test]
    fn intervals_come_as_they_were() {
        let interval = examples::run(1).intervals.swap_remove(2);
        let line = serde_json::to_string(&PackedInterval::of(&interval)).unwrap();
        let packed: PackedInterval = serde_json::from_str(&line).unwrap();
        let found = packed.unpacked().unwrap();
        assert_eq!((found.row.sent, found.latency), (interval.row.sent, interval.latency));
        assert_eq!(found.latency_uncorrected, interval.latency_uncorrected);
        let damaged = line.replace("HISTF", "*");
        let packed: PackedInterval = serde_json::from_str(&damaged).unwrap();
        assert!(packed.unpacked().is_err());
    }

    #[test]
    fn other_versions_are_refused() {
        let hello = || Hello::new("", String::new());
        assert_eq!(hello().check(), Ok(()));
        let older = Hello { version: "0.0.1".to_owned(), ..hello() };
        assert!(older.check().unwrap_err().contains("same version"));
        assert!(Hello { protocol: PROTOCOL + 1, ..hello() }.check().is_err());
    }
}
