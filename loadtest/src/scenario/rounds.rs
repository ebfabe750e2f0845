//! `broadcast --closed`: every client sends one message, and the next round begins when every
//! client has received the messages of all.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::reference::{Known, Reference, Tally};
use super::{Message, Scenario};
use crate::connections::Connections;
use crate::control::{Control, Population};
use crate::payload::{Flaw, Payloads, Stamp};
use crate::stats::{Failure, Stats};

/// Nanoseconds in which clients that miss messages of a round receive one: a round of many clients
/// takes as long as it takes, but a server that lost nothing is never silent in it.
const SILENCE_NANOSECONDS_MAX: u64 = 10_000_000_000;

/// Where the threads meet between rounds.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    /// The round that runs; 0 before the first.
    round: AtomicU32,
    /// When it began.
    began: AtomicU64,
    meeting: Mutex<Meeting>,
}

#[derive(Debug, Default)]
struct Meeting {
    /// Threads that have yet to finish the round.
    unfinished: u64,
    /// The hash of the order in which the first thread received it.
    order: Option<u64>,
    /// No other round may begin.
    closed: bool,
}

/// What a thread that has finished a round is told.
struct Met {
    /// Its clients saw the order that the others saw.
    agreed: bool,
    /// It was the last.
    completed: bool,
}

impl Barrier {
    /// Begins the first round, whoever comes first.
    fn open(&self, threads: u64, now: u64) {
        let mut meeting = self.meeting();
        if self.round.load(Ordering::Acquire) == 0 {
            meeting.unfinished = threads;
            self.begin_round(now);
        }
    }

    /// A thread has finished the round; the last one begins the next.
    fn meet(&self, threads: u64, order: u64, now: u64) -> Met {
        let mut meeting = self.meeting();
        let agreed = *meeting.order.get_or_insert(order) == order;
        meeting.unfinished -= 1;
        let completed = meeting.unfinished == 0;
        if completed && !meeting.closed {
            meeting.unfinished = threads;
            meeting.order = None;
            self.begin_round(now);
        }
        Met { agreed, completed }
    }

    /// Lets no other round begin, and tells which is the last.
    fn close(&self) -> u32 {
        self.meeting().closed = true;
        self.round.load(Ordering::Acquire)
    }

    fn begin_round(&self, now: u64) {
        self.began.store(now, Ordering::Release);
        self.round.fetch_add(1, Ordering::AcqRel);
    }

    fn meeting(&self) -> std::sync::MutexGuard<'_, Meeting> {
        self.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The broadcast scenario of one thread.
#[derive(Debug)]
pub(crate) struct Rounds {
    payloads: Payloads,
    control: Arc<Control>,
    barrier: Arc<Barrier>,
    thread: usize,
    population: Population,
    members: Vec<Member>,
    reference: Reference,
    /// Clients of this thread that are in it.
    joined: Vec<u32>,
    /// The round whose messages this thread has sent, and when it began.
    round: u32,
    began: u64,
    /// When a client of this thread last received messages of a round.
    received_at: u64,
    /// Clients of this thread that have yet to finish it.
    unfinished: usize,
    /// The hash of the order in which the first client received it.
    order: Option<u64>,
    /// Messages of the read that goes on, and their round.
    read: (u64, u32),
    lost: Option<String>,
}

/// Where one client is.
#[derive(Clone, Copy, Debug)]
struct Member {
    round: u32,
    /// What it has received of it.
    tally: Tally,
}

impl Member {
    const fn waiting_for(round: u32) -> Self {
        Self { round, tally: Tally { received: 0, order: 0, roll: 0 } }
    }
}

impl Rounds {
    /// Messages made from `payloads` for `count` clients of `thread`.
    pub(crate) fn new(
        payloads: Payloads,
        control: Arc<Control>,
        barrier: Arc<Barrier>,
        thread: usize,
        count: u32,
    ) -> Self {
        Self {
            payloads,
            population: Population::default(),
            control,
            barrier,
            thread,
            members: vec![Member::waiting_for(1); count as usize],
            reference: Reference::new(),
            joined: Vec::new(),
            round: 0,
            began: 0,
            received_at: 0,
            unfinished: 0,
            order: None,
            read: (0, 0),
            lost: None,
        }
    }

    /// Sends the messages of a round.
    fn enter(&mut self, connections: &mut Connections, round: u32) {
        self.round = round;
        self.began = self.barrier.began.load(Ordering::Acquire);
        self.unfinished = self.joined.len();
        self.order = None;
        for &index in &self.joined {
            let sender = connections.number(index);
            let stamp = Stamp {
                sender,
                number: round,
                intended: self.began,
                sent: connections.clock.now(),
            };
            connections.stats.messages.scheduled +=
                u64::from(connections.stats.is_measured(self.began));
            connections.stats.sent(self.began);
            connections.send(index, self.payloads.frame(&stamp));
        }
    }

    /// A client has received these messages of its round.
    #[inline]
    fn took(&mut self, stats: &mut Stats, index: u32, messages: u64) {
        let member = &self.members[index as usize];
        self.read = (self.read.0 + messages, member.round);
        if u64::from(member.tally.received) == self.population.count {
            self.finished(stats, index);
        }
    }

    /// A client has all messages of its round.
    #[cold]
    fn finished(&mut self, stats: &mut Stats, index: u32) {
        let member = &mut self.members[index as usize];
        if member.tally.roll != self.population.roll {
            // As many as there should be, but not those: one came twice and one did not.
            stats.messages.duplicate += 1;
            stats.messages.missing += 1;
        } else if *self.order.get_or_insert(member.tally.order) != member.tally.order {
            stats.messages.out_of_order += 1;
        }
        *member = Member::waiting_for(member.round.wrapping_add(1));
        self.unfinished -= 1;
    }

    /// When clients that still receive nothing will have waited too long.
    const fn given_up_at(&self) -> u64 {
        let since = if self.received_at > self.began { self.received_at } else { self.began };
        since + SILENCE_NANOSECONDS_MAX
    }

    /// All clients of this thread have finished the round.
    fn meet(&self, connections: &mut Connections, now: u64) {
        let order = self.order.unwrap_or_default();
        let met = self.barrier.meet(self.population.threads, order, now);
        if !met.agreed {
            connections.stats.messages.out_of_order += self.joined.len() as u64;
        }
        if met.completed {
            let measured = connections.stats.is_measured(self.began);
            connections.stats.rounds += u64::from(measured);
            if self.population.threads > 1 {
                self.control.wake_others(self.thread);
            }
        }
    }
}

impl Scenario for Rounds {
    fn begin(&mut self, connections: &mut Connections, _: u64) {
        self.population = self.control.population();
        self.joined = connections.open_clients().collect();
        self.barrier.open(self.population.threads, connections.clock.now());
    }

    #[inline]
    fn message(&mut self, stats: &mut Stats, index: u32, message: Message<'_>) {
        let stamp = match self.payloads.read(message.kind, message.payload) {
            Ok(received) => received.name,
            Err(flaw) => {
                let messages = &mut stats.messages;
                *match flaw {
                    Flaw::Corrupt => &mut messages.corrupt,
                    Flaw::Foreign => &mut messages.foreign,
                } += 1;
                return;
            }
        };
        let (sender, round) = (stamp >> 32, stamp as u32);
        let member = &mut self.members[index as usize];
        if round != member.round {
            // A client that has all of a round waits for the next.
            let earlier = member.round.wrapping_sub(round) < 1 << 31;
            *if earlier {
                &mut stats.messages.duplicate
            } else {
                &mut stats.messages.out_of_order
            } += 1;
            return;
        }
        let before = member.tally;
        member.tally = before.and(sender);
        let tallies = (before, member.tally);
        self.reference.extend(round, tallies, message.kind, message.payload);
        self.took(stats, index, 1);
    }

    #[inline]
    fn recognise(&mut self, stats: &mut Stats, index: u32, bytes: &[u8]) -> Known {
        let Member { round, tally } = &mut self.members[index as usize];
        let known = self.reference.recognise(*round, tally, bytes);
        if known.messages > 0 {
            self.took(stats, index, known.messages);
        }
        known
    }

    fn read_done(&mut self, connections: &mut Connections, _: u32, now: u64) {
        let (messages, round) = std::mem::take(&mut self.read);
        if messages > 0 {
            self.received_at = now;
            // Another thread may have begun the round before this one noticed.
            let noticed = round == self.round;
            let began =
                if noticed { self.began } else { self.barrier.began.load(Ordering::Acquire) };
            connections.stats.received_many(began, now, messages);
        }
        if messages > 0 && self.unfinished == 0 && round == self.round {
            self.meet(connections, now);
        }
    }

    fn turn(&mut self, connections: &mut Connections, now: u64) -> Result<Option<u64>, String> {
        if let Some(reason) = &self.lost {
            return Err(reason.clone());
        }
        if self.joined.is_empty() {
            return Ok(None);
        }
        let round = self.barrier.round.load(Ordering::Acquire);
        if round != self.round {
            self.enter(connections, round);
        }
        let given_up_at = self.given_up_at();
        if self.unfinished > 0 && now > given_up_at {
            return Err(format!(
                "round {round} is not complete and nothing came for 10 s: {} clients of thread {} \
                 miss messages",
                self.unfinished, self.thread
            ));
        }
        Ok(Some(given_up_at))
    }

    fn settled(&mut self) -> bool {
        let last = self.barrier.close();
        self.joined.is_empty() || (self.round == last && self.unfinished == 0)
    }

    fn finish(&mut self, stats: &mut Stats) {
        if self.lost.is_some() {
            return;
        }
        let members = self.joined.iter().map(|&index| &self.members[index as usize]);
        let unfinished = members.filter(|member| member.round == self.round);
        let missing =
            unfinished.map(|member| self.population.count - u64::from(member.tally.received));
        stats.messages.missing += missing.sum::<u64>();
    }

    fn lost(&mut self, _: u32, failure: Failure) {
        self.lost.get_or_insert_with(|| {
            format!("a client was lost ({failure}), and a round needs all of them")
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::Clock;

    #[test]
    fn a_round_goes_on_as_long_as_messages_come() {
        let payloads = Payloads::new(&"32".parse().expect("a size"), false, 1, true);
        let control = Control::new(1, Duration::from_secs(1), Clock::start(), true);
        let control = Arc::new(control.expect("descriptors"));
        let mut rounds = Rounds::new(payloads, control, Arc::default(), 0, 1);
        rounds.began = 5;
        assert_eq!(rounds.given_up_at(), 5 + SILENCE_NANOSECONDS_MAX);
        rounds.received_at = 3 * SILENCE_NANOSECONDS_MAX;
        assert_eq!(rounds.given_up_at(), 4 * SILENCE_NANOSECONDS_MAX);
    }
}
