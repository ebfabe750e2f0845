//! `broadcast`: some clients publish on a schedule, and all receive what each of them sends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::window::Window;
use super::{Message, Scenario};
use crate::connections::Connections;
use crate::control::{Control, Population};
use crate::names;
use crate::payload::{Flaw, Payloads, Stamp, mix};
use crate::schedule::Schedule;
use crate::stats::{Failure, Stats};

/// Messages published in one turn, before deliveries are read again.
const MESSAGES_PER_TURN: usize = 64;

/// Messages per second whose first, median and last receiver are looked for, about.
const SPREADS_PER_SECOND: f64 = 200.0;

/// Messages whose receivers are gathered at once: those that lose one are never complete.
const GATHERED_MAX: usize = 1024;

/// Deliveries that are checked for their order: receivers times publishers, 16 bytes each.
const ORDERS_MAX: u64 = 1 << 26;

/// What is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publication {
    /// Messages per second, all publishers together.
    pub(crate) rate: f64,
    /// Whether they follow each other at random times.
    pub(crate) poisson: bool,
    /// The clients with a number below this publish.
    pub(crate) publishers: u32,
    /// Whether a publisher receives its own messages.
    pub(crate) to_sender: bool,
}

impl Publication {
    /// Checks that the memory for `connections` is there.
    ///
    /// # Errors
    /// Says what to change.
    pub(crate) fn check(publishers: u32, connections: u32) -> Result<(), String> {
        if publishers > connections {
            return Err(format!("--publishers {publishers} are more than --connections"));
        }
        if u64::from(publishers) * u64::from(connections) > ORDERS_MAX {
            let most = ORDERS_MAX / u64::from(connections);
            return Err(format!(
                "to check the order of every delivery takes {publishers} × {connections} places; \
                 give --publishers {most} at most"
            ));
        }
        Ok(())
    }
}

/// What the threads tell each other.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// Messages published.
    published: AtomicU64,
    /// Threads that publish nothing more.
    done: AtomicU64,
    /// Receivers that were there at the beginning and are lost.
    lost: AtomicU64,
    /// How long messages took to their receivers, as far as threads have told.
    latencies: Mutex<HashMap<u64, Vec<u64>>>,
}

impl Board {
    /// Takes what one thread's clients saw of a message. Gives all back when that was the last.
    /// There were so many `receivers` at the beginning.
    fn tell(&self, name: u64, mut latencies: Vec<u64>, receivers: u64) -> Option<Vec<u64>> {
        let mut all = self.latencies();
        let receivers = receivers - self.lost.load(Ordering::Acquire);
        if all.len() >= GATHERED_MAX {
            all.clear();
        }
        let found = all.entry(name).or_default();
        found.append(&mut latencies);
        if (found.len() as u64) < receivers { None } else { all.remove(&name) }
    }

    /// A receiver is lost. Messages that are on their way have other receivers than those to come:
    /// they are forgotten.
    fn lose_receiver(&self) {
        let mut all = self.latencies();
        self.lost.fetch_add(1, Ordering::AcqRel);
        all.clear();
    }

    fn latencies(&self) -> MutexGuard<'_, HashMap<u64, Vec<u64>>> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The publishers and receivers of one thread.
#[derive(Debug)]
pub(crate) struct Broadcast {
    payloads: Payloads,
    publication: Publication,
    control: Arc<Control>,
    board: Arc<Board>,
    population: Population,
    first: u32,
    schedule: Option<Schedule>,
    publishers: Vec<Publisher>,
    turn: usize,
    members: Vec<Member>,
    /// What each member has of each publisher.
    windows: Vec<Window>,
    /// Members that are open, and what they have received.
    present: u64,
    received: u64,
    /// How long messages took to the members, until all of them have them.
    gathered: HashMap<u64, Vec<u64>>,
    /// One of so many messages is gathered; none when other processes have receivers too.
    stride: Option<u64>,
    is_done: bool,
}

/// A client that publishes.
#[derive(Clone, Copy, Debug)]
struct Publisher {
    index: u32,
    sent: u32,
    lost: bool,
}

/// A client that receives.
#[derive(Clone, Copy, Default, Debug)]
struct Member {
    /// Messages.
    received: u64,
    present: bool,
}

impl Broadcast {
    /// For the `count` clients from number `first` on.
    pub(crate) fn new(
        payloads: Payloads,
        publication: Publication,
        control: Arc<Control>,
        board: Arc<Board>,
        (first, count): (u32, u32),
    ) -> Self {
        let stride = (publication.rate / SPREADS_PER_SECOND).ceil().max(1.0) as u64;
        let is_alone = control.published_elsewhere() == Some(0);
        Self {
            payloads,
            publication,
            population: Population::default(),
            control,
            board,
            first,
            schedule: None,
            publishers: Vec::new(),
            turn: 0,
            members: vec![Member::default(); count as usize],
            windows: vec![Window::awaiting(0); count as usize * publication.publishers as usize],
            present: 0,
            received: 0,
            gathered: HashMap::new(),
            stride: is_alone.then_some(stride),
            is_done: false,
        }
    }

    fn publish(&mut self, connections: &mut Connections, intended: u64) {
        let measured = connections.stats.is_measured(intended);
        connections.stats.messages.scheduled += u64::from(measured);
        let place = self.next_publisher();
        // What the server does not take is not gathered here without end.
        let free = place.filter(|&at| !connections.is_blocked(self.publishers[at].index));
        let Some(place) = free else {
            connections.stats.messages.shed += u64::from(measured);
            return;
        };
        let publisher = &mut self.publishers[place];
        let sent = connections.clock.now();
        let sender = self.first + publisher.index;
        let stamp = Stamp { sender, number: publisher.sent, intended, sent };
        publisher.sent = publisher.sent.wrapping_add(1);
        // Before it is sent: whoever receives it finds it counted.
        self.board.published.fetch_add(1, Ordering::AcqRel);
        connections.stats.sent(intended);
        if measured {
            connections.stats.lag.record(sent.saturating_sub(intended));
        }
        connections.send(publisher.index, self.payloads.frame(&stamp));
    }

    fn next_publisher(&mut self) -> Option<usize> {
        for _ in 0..self.publishers.len() {
            let place = self.turn;
            self.turn = (self.turn + 1) % self.publishers.len();
            if !self.publishers[place].lost {
                return Some(place);
            }
        }
        None
    }

    /// Whether the message comes to the member for the first time.
    fn is_new(&mut self, stats: &mut Stats, index: u32, sender: u32, number: u32) -> bool {
        let places = self.publication.publishers as usize;
        if sender >= self.publication.publishers {
            stats.messages.corrupt += 1;
            return false;
        }
        let window = &mut self.windows[index as usize * places + sender as usize];
        window.take_low_bits(number).is_new(&mut stats.messages)
    }

    /// Gathers how long a message took to the receivers of this thread.
    fn gather(&mut self, stats: &mut Stats, name: u64, latency: u64) {
        if self.stride.is_none_or(|stride| !mix(name).is_multiple_of(stride)) {
            return;
        }
        if self.gathered.len() >= GATHERED_MAX {
            self.gathered.clear();
        }
        let all = self.gathered.entry(name).or_default();
        all.push(latency);
        let excluded = usize::from(!self.publication.to_sender);
        let sender = (name >> 32) as u32;
        let is_ours = (sender.wrapping_sub(self.first) as usize) < self.members.len();
        if all.len() < self.present as usize - excluded * usize::from(is_ours) {
            return;
        }
        let Some(all) = self.gathered.remove(&name) else { return };
        let receivers = self.population.count - excluded as u64;
        if let Some(mut all) = self.board.tell(name, all, receivers) {
            all.sort_unstable();
            stats.histogram("first_receiver").record(all[0]);
            stats.histogram("median_receiver").record(all[(all.len() - 1) / 2]);
            stats.histogram(names::LAST_RECEIVER).record(all[all.len() - 1]);
        }
    }

    /// What the members that are open should have received; `None` as long as other processes may
    /// publish more.
    fn expected(&self) -> Option<u64> {
        let elsewhere = self.control.published_elsewhere()?;
        let published = self.board.published.load(Ordering::Acquire).saturating_add(elsewhere);
        let all = published.saturating_mul(self.present);
        if self.publication.to_sender {
            return Some(all);
        }
        let present = self.publishers.iter().filter(|publisher| !publisher.lost);
        Some(all - present.map(|publisher| u64::from(publisher.sent)).sum::<u64>())
    }

    /// Whether the threads of this process publish nothing more.
    fn all_done(&self) -> bool {
        self.board.done.load(Ordering::Acquire) >= self.population.threads
    }
}

impl Scenario for Broadcast {
    fn begin(&mut self, connections: &mut Connections, origin: u64) {
        self.population = self.control.population();
        for index in connections.open_clients() {
            self.members[index as usize].present = true;
            self.present += 1;
        }
        // Only threads with members at the beginning are waited for.
        self.is_done = self.present == 0;
        self.publishers = connections
            .publishers(self.publication.publishers)
            .map(|index| Publisher { index, sent: 0, lost: false })
            .collect();
        if !self.publishers.is_empty() {
            let all = self.population.publishers as f64;
            let rate = self.publication.rate * self.publishers.len() as f64 / all;
            let offset = 1e9 / rate * f64::from(self.first) / self.population.count as f64;
            let seed = self.publication.poisson.then(|| mix(u64::from(self.first)));
            self.schedule = Some(Schedule::new(origin + offset as u64, rate, seed));
        }
    }

    #[inline]
    fn message(&mut self, stats: &mut Stats, index: u32, message: Message<'_>) {
        let received = match self.payloads.read(message.kind, message.payload) {
            Ok(received) => received,
            Err(Flaw::Corrupt) => return stats.messages.corrupt += 1,
            Err(Flaw::Foreign) => return stats.messages.foreign += 1,
        };
        let (sender, number) = ((received.name >> 32) as u32, received.name as u32);
        let Some((intended, sent)) = received.times else { return };
        if !self.is_new(stats, index, sender, number) {
            return;
        }
        self.members[index as usize].received += 1;
        self.received += 1;
        stats.received(intended, sent, message.at);
        if stats.is_measured(intended) {
            self.gather(stats, received.name, message.at.saturating_sub(intended));
        }
    }

    fn read_done(&mut self, _: &mut Connections, _: u32, _: u64) {}

    fn turn(&mut self, connections: &mut Connections, _: u64) -> Result<Option<u64>, String> {
        if self.population.publishers == 0 {
            return Err("none of the clients that publish is connected".to_owned());
        }
        for _ in 0..MESSAGES_PER_TURN {
            let end = connections.stats.window.end;
            let now = connections.clock.now();
            match &mut self.schedule {
                Some(schedule) if schedule.next() < end => match schedule.take_due(now) {
                    Some(intended) => self.publish(connections, intended),
                    None => return Ok(Some(schedule.next())),
                },
                _ => {
                    if !self.is_done {
                        self.is_done = true;
                        self.board.done.fetch_add(1, Ordering::AcqRel);
                    }
                    return Ok(None);
                }
            }
        }
        Ok(Some(0))
    }

    fn published(&self) -> Option<u64> {
        self.all_done().then(|| self.board.published.load(Ordering::Acquire))
    }

    fn settled(&mut self) -> bool {
        self.all_done() && self.expected().is_some_and(|expected| self.received >= expected)
    }

    fn finish(&mut self, stats: &mut Stats) {
        match self.expected() {
            Some(expected) => stats.messages.missing += expected.saturating_sub(self.received),
            None if self.present > 0 => stats.count(names::LOSSES_UNKNOWN),
            None => {}
        }
    }

    fn lost(&mut self, index: u32, _: Failure) {
        let member = &mut self.members[index as usize];
        if member.present {
            member.present = false;
            self.present -= 1;
            self.received -= member.received;
            self.gathered.clear();
            self.board.lose_receiver();
        }
        for publisher in &mut self.publishers {
            publisher.lost |= publisher.index == index;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::Clock;

    #[test]
    fn losses_that_nobody_can_count_are_told() {
        for (elsewhere, missing, unknown) in [(None, 0, Some(1)), (Some(7), 7, None)] {
            let payloads = Payloads::new(&"32".parse().expect("a size"), false, 1, true);
            let control = Control::new(1, Duration::from_secs(1), Clock::start(), false);
            let control = Arc::new(control.expect("descriptors"));
            if let Some(messages) = elsewhere {
                control.set_published_elsewhere(messages);
            }
            let publication =
                Publication { rate: 1.0, poisson: false, publishers: 1, to_sender: true };
            let mut broadcast =
                Broadcast::new(payloads, publication, control, Arc::default(), (0, 1));
            broadcast.present = 1;
            let mut stats = Stats::default();
            broadcast.finish(&mut stats);
            let told = stats.counts.get(names::LOSSES_UNKNOWN).copied();
            assert_eq!((stats.messages.missing, told), (missing, unknown));
        }
    }
}
