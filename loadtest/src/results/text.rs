//! A run as text for people. The latency block is that of wrk2, which people and their scripts
//! know.

use std::fmt;

use hdrhistogram::Histogram;

use super::merge::per;
use super::units::{bytes, number, time};
use super::{
    Compressed, Config, Connections, Figure, Generator, Kernel, Load, LoadModel, Messages,
    Percentiles, Rate, Rooms, Server, Step, Summary, TlsChoice, TlsHandshakes, hgrm,
};

/// Columns of a label.
const LABEL: usize = 14;

/// Percentages of the distribution, as wrk2 lists them.
const LISTED: [f64; 8] = [50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 99.999, 100.0];

/// The headline histograms by their names, and the titles wrk2 gives them.
const DISTRIBUTIONS: [(&str, &str); 2] = [
    ("latency", "Recorded Latency"),
    (
        "latency_uncorrected",
        "Uncorrected Latency (measured without taking delayed starts into account)",
    ),
];

impl Summary {
    /// The report; `detailed` adds the whole spectrum of percentiles.
    ///
    /// # Errors
    /// When a histogram of the summary is damaged.
    pub(crate) fn text(&self, detailed: bool) -> Result<String, String> {
        let mut out = format!("{} {}\n", self.config.scenario, self.config.url);
        line(&mut out, "load", &load(&self.config, &self.rate));
        if let Some(rooms) = &self.config.rooms {
            line(&mut out, "rooms", &rooms.to_string());
        }
        line(&mut out, "measured", &fairness(&self.config));
        connections(&mut out, &self.connections);
        if let Some(found) = &self.connections.tls {
            line(&mut out, "tls", &tls(found, self.config.tls.as_ref()));
        }
        if let Some(found) = &self.connections.compression {
            line(&mut out, "compression", &compression(found, &self.connections));
        }
        for (name, histogram) in &self.histograms {
            if DISTRIBUTIONS.iter().all(|(headline, _)| headline != name) {
                line(&mut out, name, &short(&histogram.us));
            }
        }
        self.latencies(&mut out, detailed)?;
        for figure in &self.figures {
            line(&mut out, "figure", &format!("{}: {}", figure.label, figure.text()));
        }
        for step in &self.steps {
            out += &step.line();
        }
        if self.config.load.is_some() {
            line(&mut out, "wrong", &wrong(&self.messages));
        }
        for error in &self.errors {
            line(&mut out, "error", &format!("{} x {}: {}", error.count, error.stage, error.kind));
        }
        generator(&mut out, &self.generator);
        if let Some(found) = &self.server {
            server(&mut out, found);
        }
        line(&mut out, "kernel", &kernel(&self.kernel));
        for note in &self.notes {
            line(&mut out, "note", note);
        }
        let (name, meaning) = (self.verdict.name(), self.verdict.meaning());
        line(&mut out, "verdict", &format!("{name}: {meaning}"));
        for reason in &self.reasons {
            line(&mut out, "because", reason);
        }
        Ok(out)
    }

    /// The block of wrk2, and what its two distributions mean together.
    fn latencies(&self, out: &mut String, detailed: bool) -> Result<(), String> {
        if self.latency_us.count == 0 {
            return Ok(());
        }
        line(out, "latency", &self.latency_of);
        for (name, title) in DISTRIBUTIONS {
            // In a closed loop both are the same, and one is enough.
            let same = self.latency_uncorrected_us == self.latency_us;
            let Some(found) = self.histograms.get(name).filter(|_| name == "latency" || !same)
            else {
                continue;
            };
            let histogram = found.histogram().map_err(|reason| format!("{name}: {reason}"))?;
            if name == "latency" {
                *out += &thread_stats(&histogram);
            }
            *out += &distribution(&histogram, title);
            if detailed {
                *out += &format!("\n  Detailed Percentile spectrum:\n{}", hgrm::table(&histogram));
            }
            *out += "----------------------------------------------------------\n";
        }
        let seconds = self.messages.measured_seconds;
        let (count, each, per_second) = match self.config.load {
            Some(_) => (self.messages.received, "messages", self.rate.received),
            // The latency is theirs; messages, if there are any, are beside them.
            None => {
                (self.latency_us.count, "handshakes", per(self.latency_us.count as f64, seconds))
            }
        };
        // Those of a ramp have a rate of their own.
        if self.config.scenario != "idle" {
            *out += &format!("  {count} {each} in {}\n", time(seconds * 1e6));
            let (first, rest) = each.split_at(1);
            *out += &format!("{}{rest}/sec: {per_second:9.2}\n", first.to_uppercase());
        }
        line(out, "latencies", &self.latency_gap);
        Ok(())
    }
}

/// What was asked of the server, in words.
fn load(config: &Config, rate: &Rate) -> String {
    let Some(load) = &config.load else {
        let messages = if rate.achieved > 0.0 { "messages beside" } else { "no messages" };
        return format!("{} connections, {messages}", config.connections);
    };
    let Load { payload_bytes, kind, depth, poisson, .. } = load;
    let model = match load.model {
        LoadModel::Open => {
            let times = if *poisson { "at random times" } else { "at even times" };
            let target = rate.target.map_or_else(|| "scheduled".to_owned(), number);
            let ratio = rate.ratio.map_or_else(String::new, |ratio| {
                format!(", of which {:.1} % were sent", ratio * 100.0)
            });
            format!("open loop: {target} messages/s {times} whatever the server does{ratio}")
        }
        LoadModel::Closed => format!(
            "closed loop: a message follows the answer to one before, {} in flight",
            depth.unwrap_or(1)
        ),
    };
    format!("{} connections, {payload_bytes} B {kind}; {model}", config.connections)
}

/// What one must know to repeat the run, or to compare it with another tool's.
fn fairness(config: &Config) -> String {
    let mut text = format!(
        "{} s after {} s of warm-up that does not count; {} threads on CPUs {:?}",
        number(config.duration_seconds),
        number(config.warmup_seconds),
        config.threads,
        config.cpus
    );
    if config.processes > 1 {
        text += &format!(", {} processes", config.processes);
    }
    if config.source_addresses > 0 {
        text += &format!(", {} source addresses", config.source_addresses);
    }
    if config.load.is_some() {
        text += if config.verified { "; messages checked" } else { "; messages not checked" };
    }
    text
}

impl fmt::Display for Rooms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rooms, members, nodes, nodes_per_room, order, reconnect } = self;
        write!(formatter, "{rooms} of {members} members, each on ")?;
        if nodes_per_room < nodes {
            write!(formatter, "{nodes_per_room} or more of ")?;
        }
        write!(formatter, "{nodes} {}", if *nodes == 1 { "node" } else { "nodes" })?;
        write!(formatter, "; in the order of the {order}")?;
        formatter.write_str(if *reconnect { "; who is cut off comes back" } else { "" })
    }
}

fn connections(out: &mut String, found: &Connections) {
    let Connections { requested, achieved, opened, lost, closed_cleanly, pings_answered, .. } =
        found;
    let mut text = format!(
        "{achieved} of {requested} open in {} s ({}/s), {lost} lost, {closed_cleanly} closed \
         cleanly, {pings_answered} pings answered",
        number(found.connect_seconds),
        number(found.connects_per_second)
    );
    if opened > achieved {
        text += &format!(", {opened} handshakes");
    }
    line(out, "connections", &text);
}

/// What was agreed on, and how.
fn tls(found: &TlsHandshakes, choice: Option<&TlsChoice>) -> String {
    let TlsHandshakes { tls_1_2, tls_1_3, resumed } = found;
    let verified = match choice {
        Some(TlsChoice { verified: false, .. }) => "; any certificate was accepted",
        _ => "",
    };
    format!(
        "{} handshakes: {tls_1_3} of TLS 1.3, {tls_1_2} of TLS 1.2; {resumed} resumed{verified}",
        tls_1_2 + tls_1_3
    )
}

/// How many agreed to it, and what came of it.
fn compression(found: &Compressed, all: &Connections) -> String {
    let share = |wire: u64, plain: u64| match plain {
        0 => "nothing".to_owned(),
        _ => format!("{} as {}", bytes(plain as f64), bytes(wire as f64)),
    };
    format!(
        "{} of {} connections; sent {}, received {}",
        found.connections,
        all.opened,
        share(found.sent_wire_bytes, found.sent_bytes),
        share(found.received_wire_bytes, found.received_bytes)
    )
}

/// The first lines of wrk2's block. `Latency` is followed by mean, deviation, maximum and the share
/// within one deviation of the mean.
fn thread_stats(histogram: &Histogram<u64>) -> String {
    let (mean, deviation) = (histogram.mean(), histogram.stdev());
    // A cast takes what is below zero for 0.
    let within = histogram.count_between((mean - deviation) as u64, (mean + deviation) as u64);
    let microseconds = |nanoseconds: f64| nanoseconds / 1_000.0;
    format!(
        "  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    {:10}{}{}{}{:8.2}%\n",
        "Latency",
        padded(microseconds(mean), 8),
        padded(microseconds(deviation), 10),
        padded(microseconds(histogram.max() as f64), 9),
        within as f64 / histogram.len() as f64 * 100.0
    )
}

fn distribution(histogram: &Histogram<u64>, title: &str) -> String {
    let mut out = format!("  Latency Distribution (HdrHistogram - {title})\n");
    for percent in LISTED {
        let value = histogram.value_at_quantile(percent / 100.0) as f64 / 1_000.0;
        out += &format!("{percent:7.3}%{}\n", padded(value, 10));
    }
    out
}

/// A time to the right; wrk2 keeps two columns for the unit.
fn padded(microseconds: f64, width: usize) -> String {
    let text = time(microseconds);
    let letters = text.chars().rev().take(2).take_while(char::is_ascii_alphabetic).count();
    let blanks = 2 - letters;
    format!("{text:>0$}{1:2$}", width - blanks, "", blanks)
}

/// A step of a search, in the words of websocket-shootout.
impl Figure {
    /// The value with the unit that its name ends in.
    fn text(&self) -> String {
        let value = number(self.value);
        if self.name.ends_with("_per_second") {
            format!("{value}/s")
        } else if self.name.ends_with("_seconds") {
            format!("{value} s")
        } else if self.name.ends_with("_bytes") {
            bytes(self.value)
        } else {
            value
        }
    }
}

impl Step {
    /// A line of the table of steps.
    pub(crate) fn line(&self) -> String {
        let us = &self.latency_us;
        let rate = self.rate.map_or_else(String::new, |rate| format!("    rate: {rate:>9.0}/s"));
        let outcome = if self.passed { "passed" } else { "failed: " };
        format!(
            "clients: {:>7}{rate}    achieved: {:>9.0}/s    99per-rtt: {:>9}    min-rtt: {:>9}    \
             median-rtt: {:>9}    max-rtt: {:>9}    {outcome}{}\n",
            self.connections,
            self.achieved,
            time(us.p99),
            time(us.min),
            time(us.p50),
            time(us.max),
            if self.passed { "" } else { &self.reason }
        )
    }
}

fn wrong(messages: &Messages) -> String {
    let Messages { missing, duplicate, out_of_order, corrupt, shed, .. } = messages;
    format!(
        "{missing} missing, {duplicate} duplicate, {out_of_order} out of order, {corrupt} corrupt, \
         {shed} scheduled and not sent"
    )
}

fn generator(out: &mut String, found: &Generator) {
    let mut text = format!(
        "CPU {} s, memory {}, {} per connection",
        number(found.cpu_seconds),
        bytes(found.resident_bytes as f64),
        bytes(found.resident_bytes_per_connection)
    );
    if found.ring_pressure > 0 {
        text += &format!(", its rings were full {} times", found.ring_pressure);
    }
    line(out, "generator", &text);
    for share in &found.cpus {
        let (busy, waiting) = (share.busy * 100.0, share.waiting * 100.0);
        let text = format!("CPU {} {busy:.0} % busy, {waiting:.0} % waiting for it", share.cpu);
        line(out, "generator", &text);
    }
    if let Some(foreign) = found.foreign_cpus_busy {
        line(out, "generator", &format!("others kept {foreign:.2} CPUs busy"));
    }
}

fn server(out: &mut String, found: &Server) {
    let mut text = format!(
        "CPU {} s, {} s while connecting",
        number(found.cpu_seconds),
        number(found.connect_cpu_seconds)
    );
    if let Some(seconds) = found.cpu_seconds_per_million_messages {
        text += &format!("; {} s per million messages", number(seconds));
    }
    if let (Some(user), Some(system)) = (found.user_ns_per_message, found.system_ns_per_message) {
        text += &format!(", {user:.0} ns user and {system:.0} ns system each");
    }
    line(out, "server", &text);
    let [before, connected, measured, after] = [
        found.resident_before_bytes,
        found.resident_connected_bytes,
        found.resident_measured_bytes,
        found.resident_after_bytes,
    ]
    .map(|size| bytes(size as f64));
    let each = bytes(found.resident_bytes_per_connection);
    let text = format!(
        "memory {before} before, {connected} connected, {measured} measured, {after} after; \
         {each} per connection"
    );
    line(out, "server", &text);
}

fn kernel(found: &Kernel) -> String {
    format!(
        "{} of its objects per connection, TCP buffers up to {}, {} sockets in TIME-WAIT after",
        bytes(found.slab_bytes_per_connection),
        bytes(found.tcp_buffer_bytes_max as f64),
        found.tcp_time_wait_after
    )
}

fn short(us: &Percentiles) -> String {
    if us.count == 0 {
        return "none".to_owned();
    }
    format!(
        "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        time(us.p50),
        time(us.p90),
        time(us.p99),
        time(us.p99_9),
        time(us.max)
    )
}

fn line(out: &mut String, label: &str, text: &str) {
    // A label that takes all columns still ends somewhere.
    let gap = if label.len() < LABEL { "" } else { " " };
    *out += &format!("  {label:LABEL$}{gap}{text}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::examples::{recorded, run};

    #[test]
    fn the_latency_block_is_that_of_wrk2() {
        let histogram = recorded((1..=1_000).map(|step| step * 10_000));
        let expected = "  Latency Distribution (HdrHistogram - Recorded Latency)\n 50.000%    \
                        5.00ms\n 75.000%    7.50ms\n 90.000%    9.00ms\n 99.000%    9.90ms\n \
                        99.900%   10.00ms\n 99.990%   10.00ms\n 99.999%   10.00ms\n100.000%   \
                        10.00ms\n";
        assert_eq!(distribution(&histogram, DISTRIBUTIONS[0].1), expected);
        let stats = thread_stats(&histogram);
        let words: Vec<_> = stats.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words, ["Latency", "5.01ms", "2.89ms", "10.00ms", "57.80%"]);
        assert!(stats.starts_with("  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Lat"));
        assert_eq!([padded(1_500_000.0, 10), padded(12.0, 10)], ["    1.50s ", "   12.00us"]);
    }

    #[test]
    fn rooms_say_how_many_nodes_they_span() {
        let mut rooms = Rooms {
            rooms: 5,
            members: 4,
            nodes: 3,
            nodes_per_room: 3,
            order: "room".to_owned(),
            reconnect: false,
        };
        let all = "5 of 4 members, each on 3 nodes; in the order of the room";
        assert_eq!(rooms.to_string(), all);
        (rooms.nodes_per_room, rooms.reconnect) = (2, true);
        assert!(rooms.to_string().contains("each on 2 or more of 3 nodes; "), "{rooms}");
        let mut summary = run(1).summary;
        assert!(!summary.text(false).unwrap().contains(" members, each on "));
        summary.config.rooms = Some(rooms);
        let connect = summary.histograms["connect"].clone();
        summary.histograms.insert("cross_node_message".to_owned(), connect);
        let text = summary.text(false).unwrap();
        assert!(text.contains("; who is cut off comes back"), "{text}");
        assert!(text.contains("  cross_node_message p50 "), "{text}");
    }

    #[test]
    fn everything_is_told_and_the_verdict_last() {
        let mut summary = run(1).summary;
        summary.verdict = crate::results::Verdict::ServerErrors;
        summary.reasons = vec!["3 messages are missing".to_owned()];
        let text = summary.text(false).unwrap();
        for part in [
            "echo ws://127.0.0.1:8080/echo",
            "10 connections, 64 B binary; open loop: 100 messages/s at even times",
            "3 s after 1 s of warm-up",
            "10 of 10 open in 0.500 s (20/s), 0 lost",
            "(HdrHistogram - Recorded Latency)",
            "(HdrHistogram - Uncorrected Latency (measured without taking delayed starts into",
            "  300 messages in 3.00s\nMessages/sec:     97.00\n",
            "deliveries: 5",
            "clients:      10    rate:       100/s",
            "3 missing, 1 duplicate",
            "2 x open: ECONNRESET",
            "others kept 0.02 CPUs busy",
            "3000 s per million messages",
            "2.9 KiB of its objects per connection",
            "connect       p50 40.03us",
            "churn         none",
            "a note",
            &summary.latency_gap,
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("Detailed Percentile spectrum"));
        let last: Vec<_> = text.lines().rev().take(2).collect();
        assert!(last[0].contains("because") && last[0].ends_with("3 messages are missing"));
        assert!(last[1].contains("SERVER-ERRORS: "), "{}", last[1]);
    }

    #[test]
    fn the_spectrum_is_there_on_request() {
        let text = run(1).summary.text(true).unwrap();
        assert_eq!(text.matches("\n  Detailed Percentile spectrum:\n       Value").count(), 2);
    }

    #[test]
    fn a_run_without_messages_has_no_latencies() {
        let mut summary = run(1).summary;
        summary.config.load = None;
        summary.rate = Rate::default();
        summary.latency_us = Percentiles::default();
        let text = summary.text(false).unwrap();
        assert!(text.contains("no messages") && !text.contains("Distribution"), "{text}");
    }
}
