//! What a thread counts in an interval, and how the parts are added up.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;

pub(crate) use crate::failure::{Failure, Stage};
use crate::payload::{Answer, Flaw};
use crate::press::Pressed;
use crate::results::new_histogram;

/// The resolution of a series: a tenth of a second.
pub(crate) const TICK_NANOSECONDS: u64 = 100_000_000;

/// A histogram of nanoseconds, exact to three digits. It takes memory from the first record on.
#[derive(Clone, Default, Debug)]
pub(crate) struct Latency(Option<Histogram<u64>>);

impl Latency {
    /// Counts one.
    #[inline]
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.0.get_or_insert_with(new_histogram).saturating_record(nanoseconds);
    }

    /// Counts several of the same.
    #[inline]
    pub(crate) fn record_many(&mut self, nanoseconds: u64, count: u64) {
        self.0.get_or_insert_with(new_histogram).saturating_record_n(nanoseconds, count);
    }

    /// What was counted, if anything was.
    pub(crate) const fn histogram(&self) -> Option<&Histogram<u64>> {
        self.0.as_ref()
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn add(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (_, None) => {}
            (None, Some(other)) => self.0 = Some(other.clone()),
            (Some(own), Some(other)) => {
                own.add(other).expect("all histograms have the same bounds");
            }
        }
    }
}

/// Messages. Those that are right count when their intended time is in the window that is
/// measured, those that are wrong at any time.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Messages {
    /// Their time came.
    pub(crate) scheduled: u64,
    /// Were sent.
    pub(crate) sent: u64,
    /// Came back, or were delivered.
    pub(crate) received: u64,
    /// Never came.
    pub(crate) missing: u64,
    /// Came again.
    pub(crate) duplicate: u64,
    /// Came to different clients in different orders, or in another than they were sent in.
    pub(crate) out_of_order: u64,
    /// Are not what was sent.
    pub(crate) corrupt: u64,
    /// Are of another run.
    pub(crate) foreign: u64,
    /// Were not sent, because too many waited or nobody was left to send them.
    pub(crate) shed: u64,
}

impl Messages {
    /// All that were not as they should be.
    pub(crate) const fn wrong(&self) -> u64 {
        self.missing + self.duplicate + self.out_of_order + self.corrupt
    }

    /// Counts what is wrong with an answer, when so many messages of its client are unanswered.
    /// Gives back how many of them it passed over, which will have no answer; nothing when it
    /// answers none of them.
    #[inline]
    pub(crate) fn skipped(&mut self, answer: Result<Answer, Flaw>, in_flight: u32) -> Option<u32> {
        match answer {
            Ok(Answer::Awaited) if in_flight > 0 => return Some(0),
            Ok(Answer::Later(ahead)) if ahead < in_flight => {
                self.missing += u64::from(ahead);
                return Some(ahead);
            }
            // It came instead of the answer, or so it seems: whoever waits for that waits no more.
            Ok(Answer::Unknown) | Err(Flaw::Corrupt) if in_flight > 0 => {
                self.corrupt += 1;
                return Some(0);
            }
            Ok(Answer::Awaited | Answer::Earlier) => self.duplicate += 1,
            Ok(Answer::Later(_) | Answer::Unknown) | Err(Flaw::Corrupt) => self.corrupt += 1,
            Err(Flaw::Foreign) => self.foreign += 1,
        }
        None
    }

    fn add(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.sent += other.sent;
        self.received += other.received;
        self.missing += other.missing;
        self.duplicate += other.duplicate;
        self.out_of_order += other.out_of_order;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
        self.shed += other.shed;
    }
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
    /// Time that it was ready to run, and another thread ran.
    pub(crate) waited: Duration,
}

/// Everything that is counted in one interval by one thread, or in a run by all: parts are added
/// up. The times are nanoseconds of the run's clock.
#[derive(Clone, Default, Debug)]
pub(crate) struct Stats {
    /// The window that is measured: messages count by their intended time.
    pub(crate) window: Range<u64>,
    /// When the first connection was started.
    pub(crate) first_start: Option<u64>,
    /// When the last connection was open.
    pub(crate) last_open: Option<u64>,
    /// Connections that were opened.
    pub(crate) opened: u64,
    /// Clients that were opened for the first time.
    pub(crate) achieved: u64,
    /// Open connections that ended before they were asked to.
    pub(crate) lost: u64,
    /// Connections that were closed by both sides' close frames.
    pub(crate) closed_cleanly: u64,
    /// Pings of the server that were answered.
    pub(crate) pings_answered: u64,
    /// From the start of a connection to the server's 101.
    pub(crate) handshake: Latency,
    /// Messages sent and received outside of the window.
    pub(crate) unmeasured: (u64, u64),
    /// Messages of the window.
    pub(crate) messages: Messages,
    /// Rounds of a broadcast that were complete.
    pub(crate) rounds: u64,
    /// Latencies from the intended time, and from the actual time of sending, where they differ.
    pub(crate) corrected: Latency,
    pub(crate) uncorrected: Latency,
    /// Latencies of messages that were sent when they were intended to.
    pub(crate) punctual: Latency,
    /// How late messages were sent by this program's doing.
    pub(crate) lag: Latency,
    /// What only some scenarios measure and count.
    pub(crate) histograms: BTreeMap<&'static str, Latency>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// The most there was of something.
    pub(crate) peaks: BTreeMap<&'static str, u64>,
    /// When things happened: how many in each [`TICK_NANOSECONDS`] of the run.
    pub(crate) series: BTreeMap<&'static str, BTreeMap<u64, u64>>,
    /// Slow readers that the server let go.
    pub(crate) slow_lost: BTreeMap<Failure, u64>,
    /// Bytes that were compressed.
    pub(crate) pressed: Pressed,
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
    /// Whether messages that were intended for this time are measured.
    #[inline]
    pub(crate) fn is_measured(&self, intended: u64) -> bool {
        self.window.contains(&intended)
    }

    /// Counts a message that was sent.
    #[inline]
    pub(crate) fn sent(&mut self, intended: u64) {
        if self.is_measured(intended) {
            self.messages.sent += 1;
        } else {
            self.unmeasured.0 += 1;
        }
    }

    /// Counts a message that was received at `now`.
    #[inline]
    pub(crate) fn received(&mut self, intended: u64, sent: u64, now: u64) {
        if !self.is_measured(intended) {
            self.unmeasured.1 += 1;
            return;
        }
        self.messages.received += 1;
        self.took(intended, sent, now);
    }

    /// Records the latency of something that was started and is done `now`, if it is measured.
    #[inline]
    pub(crate) fn took(&mut self, intended: u64, started: u64, now: u64) {
        if !self.is_measured(intended) {
            return;
        }
        if intended == started {
            self.punctual.record(now.saturating_sub(started));
        } else {
            self.corrected.record(now.saturating_sub(intended));
            self.uncorrected.record(now.saturating_sub(started));
        }
    }

    /// Counts a message that was received, and whose latency is not the run's.
    pub(crate) fn answered(&mut self, sent: u64) {
        if self.is_measured(sent) {
            self.messages.received += 1;
        } else {
            self.unmeasured.1 += 1;
        }
    }

    /// Counts messages that were sent as intended and received at `now`.
    #[inline]
    pub(crate) fn received_many(&mut self, intended: u64, now: u64, messages: u64) {
        if self.is_measured(intended) {
            self.messages.received += messages;
            self.punctual.record_many(now.saturating_sub(intended), messages);
        } else {
            self.unmeasured.1 += messages;
        }
    }

    /// Counts a message that was received at `now`, and whose latency is not that of the run.
    #[inline]
    pub(crate) fn received_apart(&mut self, name: &'static str, intended: u64, now: u64) {
        if self.is_measured(intended) {
            self.messages.received += 1;
            self.histogram(name).record(now.saturating_sub(intended));
        } else {
            self.unmeasured.1 += 1;
        }
    }

    /// Counts a failure.
    pub(crate) fn fail(&mut self, stage: Stage, failure: Failure) {
        self.fail_many(stage, failure, 1);
    }

    /// Counts several of the same.
    pub(crate) fn fail_many(&mut self, stage: Stage, failure: Failure, count: u64) {
        *self.errors.entry((stage, failure)).or_insert(0) += count;
    }

    /// Adds one to a count that only some scenarios have.
    pub(crate) fn count(&mut self, name: &'static str) {
        self.count_many(name, 1);
    }

    /// Adds several to a count that only some scenarios have.
    pub(crate) fn count_many(&mut self, name: &'static str, count: u64) {
        *self.counts.entry(name).or_insert(0) += count;
    }

    /// Adds several to a count, which only those have that counted any.
    pub(crate) fn count_if_any(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            self.count_many(name, count);
        }
    }

    /// There was that much of something at once.
    pub(crate) fn peak(&mut self, name: &'static str, amount: u64) {
        let peak = self.peaks.entry(name).or_insert(0);
        *peak = amount.max(*peak);
    }

    /// Counts one of something that happens `now`, and whose times matter.
    pub(crate) fn count_at(&mut self, name: &'static str, now: u64) {
        self.count(name);
        *self.series.entry(name).or_default().entry(now / TICK_NANOSECONDS).or_insert(0) += 1;
    }

    /// A histogram that only some scenarios have.
    pub(crate) fn histogram(&mut self, name: &'static str) -> &mut Latency {
        self.histograms.entry(name).or_default()
    }

    /// What was counted so far; counting goes on from nothing.
    pub(crate) fn take(&mut self) -> Self {
        let rest = Self { window: self.window.clone(), ..Self::default() };
        std::mem::replace(self, rest)
    }

    /// Adds another part.
    pub(crate) fn add(&mut self, other: &Self) {
        self.first_start = min_of(self.first_start, other.first_start);
        self.last_open = self.last_open.max(other.last_open);
        self.opened += other.opened;
        self.achieved += other.achieved;
        self.lost += other.lost;
        self.closed_cleanly += other.closed_cleanly;
        self.pings_answered += other.pings_answered;
        self.handshake.add(&other.handshake);
        self.unmeasured.0 += other.unmeasured.0;
        self.unmeasured.1 += other.unmeasured.1;
        self.messages.add(&other.messages);
        self.rounds += other.rounds;
        self.corrected.add(&other.corrected);
        self.uncorrected.add(&other.uncorrected);
        self.punctual.add(&other.punctual);
        self.lag.add(&other.lag);
        for (&name, histogram) in &other.histograms {
            self.histogram(name).add(histogram);
        }
        for (&name, &count) in &other.counts {
            self.count_many(name, count);
        }
        for (&name, &amount) in &other.peaks {
            self.peak(name, amount);
        }
        for (&name, times) in &other.series {
            let series = self.series.entry(name).or_default();
            for (&tick, &count) in times {
                *series.entry(tick).or_insert(0) += count;
            }
        }
        for (&failure, &count) in &other.slow_lost {
            *self.slow_lost.entry(failure).or_insert(0) += count;
        }
        for (&(stage, failure), &count) in &other.errors {
            self.fail_many(stage, failure, count);
        }
        self.pressed.add(&other.pressed);
        self.ring_pressure += other.ring_pressure;
        self.ran += other.ran;
        self.busy.extend_from_slice(&other.busy);
    }

    /// Failures and wrong messages.
    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().sum::<u64>() + self.messages.wrong()
    }
}

fn min_of(left: Option<u64>, right: Option<u64>) -> Option<u64> {
    left.into_iter().chain(right).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::NANOSECONDS_MAX;

    #[test]
    fn parts_add_up() {
        let mut one = Stats { first_start: Some(5), opened: 2, window: 10..20, ..Stats::default() };
        (1..=100).for_each(|value| one.corrected.record(value * 1_000));
        one.fail(Stage::Open, Failure::Closed(1001));
        one.count("retries");
        one.histogram("close").record(3);
        let mut all = one.take();
        assert_eq!((one.window.clone(), one.opened), (10..20, 0));
        one.corrected.record_many(1_000_000, 100);
        one.last_open = Some(9);
        one.fail(Stage::Open, Failure::Closed(1001));
        one.count("retries");
        all.add(&one);
        let histogram = all.corrected.histogram().expect("records");
        assert_eq!((histogram.len(), histogram.max() / 1_000), (200, 1_000));
        assert_eq!(histogram.value_at_quantile(0.25) / 100, 500);
        assert_eq!((all.first_start, all.last_open, all.opened), (Some(5), Some(9), 2));
        assert_eq!(all.errors[&(Stage::Open, Failure::Closed(1001))], 2);
        assert_eq!((all.counts["retries"], all.error_count()), (2, 2));
    }

    #[test]
    fn a_lost_answer_does_not_shift_the_others() {
        let mut messages = Messages::default();
        assert_eq!(messages.skipped(Ok(Answer::Awaited), 3), Some(0));
        assert_eq!(messages.skipped(Ok(Answer::Later(2)), 3), Some(2));
        assert_eq!(messages.skipped(Err(Flaw::Corrupt), 1), Some(0));
        for none in [Ok(Answer::Earlier), Ok(Answer::Later(3)), Err(Flaw::Foreign)] {
            assert_eq!(messages.skipped(none, 3), None);
        }
        assert_eq!(messages.skipped(Ok(Answer::Awaited), 0), None);
        let Messages { missing, duplicate, corrupt, foreign, .. } = messages;
        assert_eq!((missing, duplicate, corrupt, foreign), (2, 2, 2, 1));
    }

    #[test]
    fn messages_count_by_their_intended_time() {
        let mut stats = Stats { window: 100..200, ..Stats::default() };
        for (intended, sent, now) in
            [(99, 99, 150), (100, 100, 150), (199, 300, 400), (200, 200, 201)]
        {
            stats.sent(intended);
            stats.received(intended, sent, now);
        }
        assert_eq!((stats.messages.sent, stats.messages.received), (2, 2));
        assert_eq!(stats.unmeasured, (2, 2));
        let max = |latency: &Latency| latency.histogram().map(|found| (found.len(), found.max()));
        assert_eq!(max(&stats.punctual), Some((1, 50)));
        assert_eq!(
            (max(&stats.corrected), max(&stats.uncorrected)),
            (Some((1, 201)), Some((1, 100)))
        );
    }

    #[test]
    fn times_out_of_range_are_counted_at_the_end() {
        let mut latency = Latency::default();
        assert!(latency.histogram().is_none());
        latency.record(u64::MAX);
        latency.record(0);
        let histogram = latency.histogram().expect("records");
        assert_eq!(histogram.len(), 2);
        assert!(histogram.max() >= NANOSECONDS_MAX);
    }
}
