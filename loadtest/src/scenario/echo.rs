//! `echo`: every client keeps a number of messages in flight and checks each that comes back.

use super::{Message, Scenario};
use crate::connections::Connections;
use crate::payload::{Answer, Payloads, Stamp};
use crate::stats::{Failure, Stats};

/// Bytes of frames that are gathered for one send.
const BATCH_BYTES: usize = 64 * 1024;

/// The echo scenario of one thread.
#[derive(Debug)]
pub(crate) struct Echo {
    payloads: Payloads,
    depth: u32,
    /// The number of the thread's first client.
    first: u32,
    clients: Vec<Counts>,
    /// When the messages in flight were sent: `depth` places for each client.
    sent_at: Vec<u64>,
    batch: Vec<u8>,
    /// Messages may be sent.
    is_on: bool,
}

/// Messages of one client. They come back in the order they were sent.
#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    sent: u32,
    received: u32,
    lost: bool,
}

impl Echo {
    /// `depth` messages in flight, made from `payloads`, for each of the `count` clients from
    /// number `first` on.
    pub(crate) fn new(payloads: Payloads, depth: u32, first: u32, count: u32) -> Self {
        Self {
            payloads,
            depth,
            first,
            clients: vec![Counts::default(); count as usize],
            sent_at: vec![0; count as usize * depth as usize],
            batch: Vec::new(),
            is_on: false,
        }
    }

    /// Sends until `depth` messages are in flight.
    fn fill(&mut self, connections: &mut Connections, index: u32, now: u64) {
        let due = self.depth - self.clients[index as usize].in_flight();
        if due == 1 {
            let frame = self.next(&mut connections.stats, index, now);
            connections.send(index, frame);
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        for _ in 0..due {
            batch.extend_from_slice(self.next(&mut connections.stats, index, now));
            if batch.len() >= BATCH_BYTES {
                connections.send(index, &batch);
                batch.clear();
            }
        }
        connections.send(index, &batch);
        batch.clear();
        self.batch = batch;
    }

    /// The next message of a client.
    fn next(&mut self, stats: &mut Stats, index: u32, now: u64) -> &[u8] {
        let number = self.clients[index as usize].sent;
        self.clients[index as usize].sent = number.wrapping_add(1);
        let place = self.place(index, number);
        self.sent_at[place] = now;
        stats.messages.scheduled += u64::from(stats.is_measured(now));
        stats.sent(now);
        self.payloads.frame(&Stamp { sender: self.first + index, number, intended: now, sent: now })
    }

    const fn place(&self, index: u32, message: u32) -> usize {
        index as usize * self.depth as usize + (message % self.depth) as usize
    }
}

impl Counts {
    const fn in_flight(&self) -> u32 {
        self.sent.wrapping_sub(self.received)
    }
}

impl Scenario for Echo {
    fn begin(&mut self, connections: &mut Connections, _: u64) {
        self.is_on = true;
        let now = connections.clock.now();
        let open: Vec<u32> = connections.open_clients().collect();
        open.into_iter().for_each(|index| self.fill(connections, index, now));
    }

    #[inline]
    fn message(&mut self, stats: &mut Stats, index: u32, message: Message<'_>) {
        let counts = &mut self.clients[index as usize];
        let number = counts.received;
        let awaited = Stamp { sender: self.first + index, number, intended: 0, sent: 0 };
        let answer = self.payloads.answer(message.kind, message.payload, &awaited);
        let Some(skipped) = stats.messages.skipped(answer, counts.in_flight()) else { return };
        counts.received = number.wrapping_add(skipped + 1);
        if answer.is_ok_and(|answer| answer != Answer::Unknown) {
            let sent_at = self.sent_at[self.place(index, number.wrapping_add(skipped))];
            stats.received(sent_at, sent_at, message.at);
        }
    }

    #[inline]
    fn read_done(&mut self, connections: &mut Connections, index: u32, now: u64) {
        if self.is_on {
            self.fill(connections, index, now);
        }
    }

    fn turn(&mut self, _: &mut Connections, _: u64) -> Result<Option<u64>, String> {
        Ok(None)
    }

    fn settled(&mut self) -> bool {
        self.is_on = false;
        self.clients.iter().all(|counts| counts.lost || counts.in_flight() == 0)
    }

    fn finish(&mut self, stats: &mut Stats) {
        let missing = self.clients.iter().map(|counts| u64::from(counts.in_flight()));
        stats.messages.missing += missing.sum::<u64>();
    }

    fn lost(&mut self, index: u32, _: Failure) {
        self.clients[index as usize].lost = true;
    }
}
