//! Clients that count what they say and hear, and the samples of one scrape to compare that with.

use super::observed::wait_until;
use super::raw::{BINARY, CLOSE, End, RawClient, TEXT, close_frame, frame, upgrade_request};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::time::Duration;

/// Bounds a failure; measures nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What clients know.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Truth {
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl AddAssign for Truth {
    fn add_assign(&mut self, other: Self) {
        self.messages_in += other.messages_in;
        self.messages_out += other.messages_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

/// A client that counts.
pub(crate) struct Client {
    pub(crate) raw: RawClient,
    pub(crate) truth: Truth,
}

impl Client {
    pub(crate) fn open(address: SocketAddr, path: &str) -> Self {
        Self::over(RawClient::connect(address), path)
    }

    pub(crate) fn over(mut raw: RawClient, path: &str) -> Self {
        raw.send(&upgrade_request(path));
        let head = raw.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let truth = Truth { bytes_out: head.len() as u64, ..Truth::default() };
        Self { raw, truth }
    }

    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) {
        self.truth.messages_in += u64::from(first == TEXT || first == BINARY);
        self.send_bytes(&frame(first, payload));
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.truth.bytes_in += bytes.len() as u64;
        self.raw.send(bytes);
    }

    /// The first byte and the payload of the next frame.
    pub(crate) fn read(&mut self) -> Result<(u8, Vec<u8>), End> {
        let frame = self.raw.read_frame()?;
        let header = match frame.payload.len() {
            ..126 => 2,
            126..65536 => 4,
            _ => 10,
        };
        self.truth.bytes_out += header + frame.payload.len() as u64;
        self.truth.messages_out += u64::from(frame.first == TEXT || frame.first == BINARY);
        Ok((frame.first, frame.payload))
    }

    /// Reads to the Close frame and the end behind it; gives the code.
    pub(crate) fn read_to_close(&mut self) -> Option<u16> {
        loop {
            let (first, payload) = self.read().expect("a Close frame comes first");
            if first == CLOSE {
                assert_eq!(self.read(), Err(End::Fin), "behind the Close frame");
                return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
    }

    pub(crate) fn close(mut self, code: u16) -> Truth {
        self.send_bytes(&close_frame(code, ""));
        assert_eq!(self.read_to_close(), Some(code));
        self.truth
    }
}

/// All samples of one scrape.
pub(crate) struct Samples(pub(crate) BTreeMap<String, f64>);

impl Samples {
    pub(crate) fn of(admin: SocketAddr) -> Self {
        let text = text(admin);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a series and its value");
            (series.to_owned(), value.parse().expect("a number"))
        });
        Self(samples.collect())
    }

    /// The series of `ringwire_<name>` that are not 0, by their labels.
    pub(crate) fn of_family(&self, name: &str) -> BTreeMap<&str, u64> {
        let prefix = format!("ringwire_{name}{{");
        let series = self.0.iter().filter_map(|(series, value)| {
            Some((series.strip_prefix(&prefix)?.strip_suffix('}')?, *value as u64))
        });
        series.filter(|(_, value)| *value > 0).collect()
    }

    pub(crate) fn value(&self, name: &str) -> u64 {
        self.0[&format!("ringwire_{name}")] as u64
    }

    pub(crate) fn traffic(&self) -> Truth {
        Truth {
            messages_in: self.value("messages_received_total"),
            messages_out: self.value("messages_sent_total")
                - self.of_family("messages_dropped_total").values().sum::<u64>(),
            bytes_in: self.value("bytes_received_total"),
            bytes_out: self.value("bytes_sent_total"),
        }
    }
}

/// The body of one scrape.
pub(crate) fn text(admin: SocketAddr) -> String {
    let mut client = RawClient::connect(admin);
    client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client.read_rest().0
}

/// Names and types of all metrics.
pub(crate) fn types(text: &str) -> BTreeSet<(&str, &str)> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split_once(' ').expect("a name and a type")).collect()
}

/// Waits until nobody is here, and for the gauges that tell what is held: all are 0.
pub(crate) fn nothing_is_left(admin: SocketAddr) {
    // What there is while nothing is held: the server and its host, and the last turn.
    const STANDING: [&str; 5] = [
        "ringwire_shards",
        "ringwire_connections_max",
        "ringwire_build_info",
        "ringwire_kernel_tcp_memory_bytes",
        "_depth",
    ];
    wait_until(PATIENCE, || {
        let text = text(admin);
        let held = types(&text).into_iter().filter(|(name, kind)| {
            let stands = STANDING.iter().any(|standing| name.ends_with(standing));
            *kind == "gauge" && !stands && name.starts_with("ringwire_")
        });
        let names: Vec<&str> = held.map(|(name, _)| name).collect();
        assert!(names.len() > 12, "{names:?}");
        let samples = text.lines().filter(|line| {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            names.contains(&name) && !line.ends_with(" 0")
        });
        let left: Vec<&str> = samples.collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}
