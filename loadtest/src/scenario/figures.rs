//! The figures that only one scenario has, from what its threads have counted.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::restart::{Break, breaks};
use crate::args::ScenarioArguments;
use crate::names;
use crate::results::{Figure, Merge};
use crate::stats::{Stats, TICK_NANOSECONDS};

/// Ticks of a series in a second, and seconds of a tick.
const TICKS: u64 = 1_000_000_000 / TICK_NANOSECONDS;
const TICK_SECONDS: f64 = 1.0 / TICKS as f64;

/// The figures of a scenario, in the order they are shown. `seconds` is the time that was measured.
pub(crate) fn figures(scenario: &ScenarioArguments, stats: &Stats, seconds: f64) -> Vec<Figure> {
    let mut figures = Figures { stats, all: Vec::new() };
    match scenario {
        ScenarioArguments::Churn { .. } => figures.churn(seconds),
        ScenarioArguments::Storm { .. } => figures.storm(),
        ScenarioArguments::Restart { restart, .. } => {
            figures.restart();
            if restart.churn_rate.is_some() {
                figures.new_connections(seconds);
            }
        }
        ScenarioArguments::Slow { .. } => figures.slow(),
        ScenarioArguments::Rooms { .. } if scenario.reconnects() => figures.returns(),
        _ => {}
    }
    figures.all
}

struct Figures<'a> {
    stats: &'a Stats,
    all: Vec<Figure>,
}

impl Figures<'_> {
    fn churn(&mut self, seconds: f64) {
        let handshakes = self.count(names::HANDSHAKES);
        let rate = if seconds > 0.0 { handshakes as f64 / seconds } else { 0.0 };
        self.add("handshakes_per_second", rate, "handshakes/s", Merge::Sum);
        self.attempts();
        self.counted(names::NOT_ADMITTED, "of them refused or not answered, after the first");
        self.counted(names::NOT_STARTED, "starts of the schedule that no client was free for");
        self.counted(names::LEFT_BY_CLOSE, "left with a close frame");
        self.counted(names::LEFT_BY_FIN, "left with the end of the TCP connection");
        self.counted(names::LEFT_BY_ABORT, "left with a reset");
    }

    fn storm(&mut self) {
        self.counted(names::DROPPED, "connections dropped");
        for (name, share, label) in [
            ("recovered_90_seconds", 0.9, "until 90 % of them were open again"),
            ("recovered_99_seconds", 0.99, "until 99 % of them were open again"),
            ("recovered_100_seconds", 1.0, "until all of them were open again"),
        ] {
            if let Some(seconds) = self.recovered(share) {
                self.add(name, seconds, label, Merge::Max);
            }
        }
        self.counted(names::NEVER_BACK, "never came back");
        self.attempts();
        self.counted(names::REFUSED, "attempts to come back that failed");
        let at_once = self.peak(names::HANDSHAKES_AT_ONCE) as f64;
        self.add("handshakes_at_once_max", at_once, "most handshakes at once", Merge::Sum);
        let drop_time = self.peak(names::DROP_TIME) as f64 * 1e-9;
        self.add("drop_seconds", drop_time, "taken to drop them", Merge::Max);
        if let Some(&start_time) = self.stats.peaks.get(names::START_TIME) {
            let label = "taken to start everyone's first attempt";
            self.add("start_seconds", start_time as f64 * 1e-9, label, Merge::Max);
        }
    }

    fn restart(&mut self) {
        self.counted(names::FAREWELLS, "clients let go with close frame 1001");
        self.counted(names::RETURNED, "clients that came back");
        self.counted(names::NEVER_BACK, "never came back");
        if let Some(seconds) = self.drain_seconds() {
            self.add("drain_seconds", seconds, "from the first farewell to the last", Merge::Max);
        }
        let spreads = [
            (names::FAREWELLS, "farewells", "farewells"),
            (names::RETURNED, "returns", "clients that came back"),
        ];
        for (series, name, what) in spreads {
            let found = self.stats.series.get(series).and_then(Spread::of);
            let Some(Spread { max, mean }) = found else { continue };
            for (figure, value, label, merge) in [
                ("per_second_max", max, format!("{what} in the second with the most"), Merge::Sum),
                ("per_second_mean", mean, format!("{what} per second, mean"), Merge::Sum),
                ("max_over_mean", max / mean, format!("{what}, most over mean"), Merge::Max),
            ] {
                self.add(&format!("{name}_{figure}"), value, &label, merge);
            }
        }
        self.counted(names::UNANSWERED, "messages without an answer before a farewell");
        for Break { name, label, count } in breaks(self.stats) {
            self.add(name, count as f64, label, Merge::Sum);
        }
        self.attempts();
    }

    fn returns(&mut self) {
        self.counted(names::FAREWELLS, "connections let go with close frame 1001");
        self.counted(names::RETURNED, "members that came back to their room");
        self.counted(names::NEVER_BACK, "never came back");
        self.attempts();
    }

    fn new_connections(&mut self, seconds: f64) {
        let opened = self.count(names::HANDSHAKES) as f64;
        let rate = if seconds > 0.0 { opened / seconds } else { 0.0 };
        self.add("new_connections_per_second", rate, "new connections/s", Merge::Sum);
        self.counted(names::NEW_FAREWELLS, "of them let go with close frame 1001");
        self.counted(names::NOT_ADMITTED, "new connections refused or not answered");
        self.counted(names::NOT_STARTED, "starts of the schedule that no client was free for");
    }

    fn drain_seconds(&self) -> Option<f64> {
        let times = self.stats.series.get(names::FAREWELLS)?;
        let (first, last) = (times.keys().next()?, times.keys().next_back()?);
        Some((last - first + 1) as f64 * TICK_SECONDS)
    }

    fn slow(&mut self) {
        self.counted(names::SLOW_READERS, "slow readers");
        let ended: u64 = self.stats.slow_lost.values().sum();
        self.add("slow_ended", ended as f64, "of them ended by the server", Merge::Sum);
        for (failure, &count) in &self.stats.slow_lost {
            let kind: String = failure.to_string();
            let name = format!("slow_ended_by_{}", in_snake_case(&kind));
            self.add(&name, count as f64, &format!("ended by: {kind}"), Merge::Sum);
        }
        if let Some(ended) = self.histogram(names::SLOW_ENDED) {
            let (first, last) = (ended.min(), ended.max());
            let label = "until the first of them was ended";
            self.add("slow_first_ended_seconds", first as f64 * 1e-9, label, Merge::Min);
            let label = "until the last of them was ended";
            self.add("slow_last_ended_seconds", last as f64 * 1e-9, label, Merge::Max);
        }
        self.counted(names::SLOW_BYTES, "bytes they read");
        self.counted(names::SLOW_SENT, "messages they sent");
        self.counted(names::SLOW_BLOCKED, "messages they could not send");
    }

    fn attempts(&mut self) {
        self.counted(names::ATTEMPTS, "attempts to open a connection");
        self.counted(names::RETRIED, "of them after one that failed");
        self.counted(names::ABANDONED, "of them cut short by the end of the run");
    }

    /// Seconds until that share of the dropped connections was open again, if ever.
    fn recovered(&self, share: f64) -> Option<f64> {
        let recovery = self.histogram(names::RECOVERY)?;
        let dropped = self.count(names::DROPPED);
        let wanted = (dropped as f64 * share).ceil();
        let quantile = wanted / recovery.len() as f64;
        (quantile <= 1.0).then(|| recovery.value_at_quantile(quantile) as f64 * 1e-9)
    }

    fn counted(&mut self, name: &'static str, label: &str) {
        self.add(name, self.count(name) as f64, label, Merge::Sum);
    }

    fn histogram(&self, name: &str) -> Option<&Histogram<u64>> {
        self.stats.histograms.get(name)?.histogram()
    }

    fn count(&self, name: &str) -> u64 {
        self.stats.counts.get(name).copied().unwrap_or_default()
    }

    fn peak(&self, name: &str) -> u64 {
        self.stats.peaks.get(name).copied().unwrap_or_default()
    }

    fn add(&mut self, name: &str, value: f64, label: &str, merge: Merge) {
        let (name, label) = (name.to_owned(), label.to_owned());
        self.all.push(Figure { name, value, label, merge });
    }
}

/// How evenly things happened from the first to the last of them.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Spread {
    /// In the second with the most of them, wherever it begins.
    max: f64,
    /// Per second; what took less than a second took one.
    mean: f64,
}

impl Spread {
    /// Of counts by tick; absent when nothing happened.
    fn of(times: &BTreeMap<u64, u64>) -> Option<Self> {
        let (first, last) = (times.keys().next()?, times.keys().next_back()?);
        let in_second = |&tick: &u64| times.range(tick..tick + TICKS).map(|(_, count)| count).sum();
        let max: u64 = times.keys().map(in_second).max()?;
        let seconds = (last - first + 1) as f64 * TICK_SECONDS;
        let total: u64 = times.values().sum();
        Some(Self { max: max as f64, mean: total as f64 / seconds.max(1.0) })
    }
}

fn in_snake_case(words: &str) -> String {
    let is_letter = |character: char| character.is_ascii_alphanumeric();
    let words = words.split(|character| !is_letter(character)).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_those_that_were_dropped() {
        let mut stats = Stats::default();
        stats.count_many(names::DROPPED, 100);
        (1..=99).for_each(|second| stats.histogram(names::RECOVERY).record(second * 1_000_000_000));
        let figures = Figures { stats: &stats, all: Vec::new() };
        let near = |share, seconds: f64| {
            figures.recovered(share).is_some_and(|found: f64| (found / seconds - 1.0).abs() < 0.01)
        };
        assert!(near(0.9, 90.0) && near(0.99, 99.0));
        assert_eq!(figures.recovered(1.0), None);
    }

    #[test]
    fn the_second_with_the_most_begins_anywhere() {
        assert_eq!(Spread::of(&BTreeMap::new()), None);
        // Five a tick for two seconds, and twenty more around the end of the first.
        let mut times: BTreeMap<u64, u64> = (100..120).map(|tick| (tick, 5)).collect();
        (108..112).for_each(|tick| *times.entry(tick).or_default() += 5);
        assert_eq!(Spread::of(&times), Some(Spread { max: 70.0, mean: 60.0 }));
        // Less than a second is one.
        assert_eq!(
            Spread::of(&BTreeMap::from([(7, 3), (9, 1)])),
            Some(Spread { max: 4.0, mean: 4.0 })
        );
    }

    #[test]
    fn kinds_of_failures_become_names() {
        assert_eq!(in_snake_case("close frame 1008"), "close_frame_1008");
        assert_eq!(in_snake_case("no port left (give more)"), "no_port_left_give_more");
    }
}
