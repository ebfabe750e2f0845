//! `broadcast --lone`: one client sends one message at a time, and all receive it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::broadcast::ROUND_NANOSECONDS_MAX;
use super::{Message, Scenario};
use crate::connections::Connections;
use crate::control::{Control, Population};
use crate::payload::Template;
use crate::stats::{Failure, Stats};

/// The message that is on its way, for all threads.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// Its number, from 1, and when it was sent.
    sent: AtomicU32,
    sent_at: AtomicU64,
    /// The last message that all have received.
    complete: AtomicU32,
    /// How long the message took to each receiver, as far as threads have told.
    latencies: Mutex<Vec<u64>>,
}

impl Board {
    /// Takes what one thread's clients saw. Gives all back when that was the last.
    fn tell(&self, latencies: &mut Vec<u64>, population: u64) -> Option<Vec<u64>> {
        let mut all = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        all.append(latencies);
        (all.len() as u64 == population).then(|| std::mem::take(&mut *all))
    }
}

/// The lone publisher, or listeners, of one thread.
#[derive(Debug)]
pub(crate) struct Lone {
    template: Template,
    control: Arc<Control>,
    board: Arc<Board>,
    interval: u64,
    population: Population,
    /// The last message each client has received.
    received: Vec<u32>,
    /// Clients of this thread that are in it.
    joined: usize,
    /// How long the message took to each client that has it.
    latencies: Vec<u64>,
    /// When the publisher, if it is of this thread, sends next.
    next: Option<(u32, u64)>,
    settling: bool,
    lost: Option<String>,
}

impl Lone {
    /// A message made from `template` every `interval` nanoseconds, for `count` clients.
    pub(crate) fn new(
        template: Template,
        control: Arc<Control>,
        board: Arc<Board>,
        interval: u64,
        count: u32,
    ) -> Self {
        Self {
            template,
            population: control.population(),
            control,
            board,
            interval,
            received: vec![0; count as usize],
            joined: 0,
            latencies: Vec::new(),
            next: None,
            settling: false,
            lost: None,
        }
    }

    fn in_flight(&self) -> bool {
        self.board.complete.load(Ordering::Acquire) != self.board.sent.load(Ordering::Acquire)
    }

    fn publish(&mut self, connections: &mut Connections, publisher: u32) {
        let number = self.board.sent.load(Ordering::Acquire).wrapping_add(1);
        self.board.sent_at.store(connections.clock.now(), Ordering::Release);
        self.board.sent.store(number, Ordering::Release);
        connections.send(publisher, self.template.stamped(number.into()));
    }

    /// When all clients of this thread have the message: tells the others, and sums it up when
    /// this thread was the last.
    fn tell(&mut self, stats: &mut Stats) {
        if self.joined == 0 || self.latencies.len() < self.joined {
            return;
        }
        if stats.measuring {
            stats.messages += self.latencies.len() as u64;
            self.latencies.iter().for_each(|&latency| stats.latency.record(latency));
        }
        let Some(mut all) = self.board.tell(&mut self.latencies, self.population.count) else {
            return;
        };
        all.sort_unstable();
        if stats.measuring {
            stats.rounds += 1;
            stats.spread.first.record(all[0]);
            stats.spread.median.record(all[(all.len() - 1) / 2]);
            stats.spread.last.record(all[all.len() - 1]);
        }
        self.board.complete.store(self.board.sent.load(Ordering::Acquire), Ordering::Release);
    }
}

impl Scenario for Lone {
    fn begin(&mut self, connections: &mut Connections, now: u64) {
        self.population = self.control.population();
        self.joined = connections.open as usize;
        let leader = self.population.leader;
        let publisher = connections
            .open_clients()
            .find(|&index| u64::from(connections.number(index)) == leader);
        self.next = publisher.map(|index| (index, now));
        // Another thread's publisher may have been faster than this begin.
        self.tell(&mut connections.stats);
    }

    fn message(&mut self, stats: &mut Stats, index: u32, message: Message<'_>) {
        let Some(stamp) = self.template.stamp_of(message.kind, message.payload) else {
            stats.wrong.corrupt += 1;
            return;
        };
        let last = &mut self.received[index as usize];
        if stamp != u64::from(last.wrapping_add(1)) {
            let earlier = stamp <= u64::from(*last);
            *if earlier { &mut stats.wrong.duplicate } else { &mut stats.wrong.out_of_order } += 1;
            return;
        }
        *last = stamp as u32;
        let sent_at = self.board.sent_at.load(Ordering::Acquire);
        self.latencies.push(message.at.saturating_sub(sent_at));
    }

    fn read_done(&mut self, connections: &mut Connections, _: u32, _: u64) {
        self.tell(&mut connections.stats);
    }

    fn turn(&mut self, connections: &mut Connections, now: u64) -> Result<Option<u64>, String> {
        if let Some(reason) = &self.lost {
            return Err(reason.clone());
        }
        let Some((publisher, due)) = self.next else { return Ok(None) };
        if self.settling || now < due {
            return Ok((!self.settling).then_some(due));
        }
        if !self.in_flight() {
            self.publish(connections, publisher);
        } else if now.saturating_sub(self.board.sent_at.load(Ordering::Acquire))
            > ROUND_NANOSECONDS_MAX
        {
            return Err("a lone message did not reach all clients within 10 s".to_owned());
        } else {
            connections.stats.skipped += u64::from(connections.stats.measuring);
        }
        let missed = (now - due) / self.interval;
        let next = due + (missed + 1) * self.interval;
        self.next = Some((publisher, next));
        Ok(Some(next))
    }

    fn settled(&mut self) -> bool {
        self.settling = true;
        self.next.is_none() || !self.in_flight()
    }

    fn finish(&mut self, stats: &mut Stats) {
        if self.lost.is_none() && self.joined > 0 && self.in_flight() {
            stats.wrong.missing += (self.joined - self.latencies.len()) as u64;
        }
    }

    fn lost(&mut self, _: u32, failure: Failure) {
        self.lost.get_or_insert_with(|| {
            format!("a client was lost ({failure}), and a lone message needs all of them")
        });
    }
}
