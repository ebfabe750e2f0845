//! An audience against a model of it, and the pace of its rounds.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::*;
use crate::collections::random::Random;

const SEEDS: u64 = 2_000;
const OPERATIONS: u32 = 200;

#[derive(Default)]
struct Listener {
    seat: Seat,
    /// The first publication that it is to hear.
    from: u32,
    /// The publications of each round that it must still get.
    owed: VecDeque<Vec<u32>>,
}

/// What an audience must do, written down the long way.
struct Model {
    audience: Audience,
    members: HashMap<Key, Listener>,
    joined: u32,
    published: u32,
    /// Publications that were part of a round.
    taken: u32,
    random: Random,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            audience: Audience::default(),
            members: HashMap::new(),
            joined: 0,
            published: 0,
            taken: 0,
            random: Random::new(seed),
        }
    }

    fn operate(&mut self) {
        match self.random.below(100) {
            0..20 => self.join(),
            20..33 => self.leave(),
            33..35 => self.skip_to_now(),
            35..50 => self.publish(),
            50..60 => self.begin_round(),
            _ => self.serve(),
        }
    }

    fn join(&mut self) {
        // A place is used again by another generation.
        let key = Key::from_parts(self.joined % 7, self.joined);
        self.joined += 1;
        let seat = self.audience.join(key);
        self.members.insert(key, Listener { seat, from: self.published, owed: VecDeque::new() });
    }

    fn some_member(&mut self) -> Option<Key> {
        if self.members.is_empty() {
            return None;
        }
        let at = self.random.below(self.members.len() as u32) as usize;
        Some(self.audience.members[at].key)
    }

    /// Of a round that it waits for, it gets nothing any more.
    fn skip_to_now(&mut self) {
        let Some(key) = self.some_member() else { return };
        let listener = self.members.get_mut(&key).expect("the model knows every member");
        listener.from = self.published;
        listener.owed.clear();
        self.audience.skip_to_now(listener.seat);
    }

    fn leave(&mut self) {
        let Some(key) = self.some_member() else { return };
        let member = self.members.remove(&key).expect("the model knows every member");
        self.audience.leave(member.seat, |moved, seat| {
            self.members.get_mut(&moved).expect("who moves is still a member").seat = seat;
        });
    }

    /// Each publication is its number, its size and as many bytes.
    fn publish(&mut self) {
        let size = if self.random.below(20) == 0 { self.random.below(100_000) } else { 0 };
        let mut frames = [self.published.to_be_bytes(), size.to_be_bytes()].concat();
        frames.resize(8 + size as usize, 0);
        self.audience.publish(Duration::ZERO, Batch::new(frames.into(), 1));
        self.published += 1;
    }

    fn begin_round(&mut self) {
        assert_eq!(self.audience.due().is_some(), self.audience.round.is_some() || self.waits());
        if self.audience.round.is_some() {
            return;
        }
        if !self.audience.begin_round(Duration::ZERO) {
            assert!(self.members.is_empty() || !self.waits(), "what was published goes out");
            self.taken = self.published;
            return;
        }
        let round = self.audience.round.as_ref().expect("it has begun");
        let numbers = numbers(&round.batch);
        let expected: Vec<u32> = (self.taken..).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "in order, none left out");
        assert_eq!(round.batch.count as usize, numbers.len());
        self.taken += round.batch.count;
        for listener in self.members.values_mut() {
            let share: Vec<u32> =
                numbers.iter().copied().filter(|&number| number >= listener.from).collect();
            if !share.is_empty() {
                listener.owed.push_back(share);
            }
        }
    }

    fn serve(&mut self) {
        let was_on = self.audience.round.is_some();
        match self.audience.next_in_round() {
            Some((key, batch)) => {
                assert_eq!(batch.count as usize, numbers(&batch).len());
                let member = self.members.get_mut(&key).expect("only members are served");
                assert_eq!(member.owed.pop_front(), Some(numbers(&batch)), "its own, once");
            }
            None if was_on => {
                let owed = self.members.values().map(|member| member.owed.len()).sum::<usize>();
                assert_eq!(owed, 0, "a round ends when everybody was served");
                assert!(self.audience.round.is_none());
            }
            None => {}
        }
    }

    fn waits(&self) -> bool {
        self.taken < self.published
    }

    fn check_seats(&self) {
        assert_eq!(self.audience.len(), self.members.len());
        for (key, member) in &self.members {
            assert_eq!(self.audience.members[member.seat as usize].key, *key);
        }
    }
}

fn numbers(batch: &Batch) -> Vec<u32> {
    let mut rest = &batch.frames[..];
    let mut numbers = Vec::new();
    while let [a, b, c, d, e, f, g, h, more @ ..] = rest {
        numbers.push(u32::from_be_bytes([*a, *b, *c, *d]));
        rest = &more[u32::from_be_bytes([*e, *f, *g, *h]) as usize..];
    }
    assert!(rest.is_empty(), "publications stay whole");
    numbers
}

#[test]
fn every_member_gets_every_round_once_whoever_comes_and_goes() {
    for seed in 0..SEEDS {
        let mut model = Model::new(seed);
        for _ in 0..OPERATIONS {
            model.operate();
            model.check_seats();
        }
        while model.audience.due().is_some() {
            model.begin_round();
            model.serve();
        }
        assert_eq!(model.taken, model.published, "seed {seed}");
        assert_eq!(model.audience.gathered_bytes(), 0);
    }
}

fn batch(frames: &[u8]) -> Batch {
    Batch::new(Bytes::copy_from_slice(frames), 1)
}

#[test]
fn a_newcomer_hears_what_is_published_after_it_came() {
    let key = |index| Key::from_parts(index, 1);
    let mut audience = Audience::default();
    audience.join(key(0));
    audience.publish(Duration::ZERO, batch(b"first"));
    audience.join(key(1));
    audience.publish(Duration::ZERO, batch(b"second"));
    assert!(audience.begin_round(Duration::ZERO));
    audience.join(key(2));
    audience.publish(Duration::ZERO, batch(b"third"));
    let mut heard = Vec::new();
    while audience.due().is_some() {
        match audience.next_in_round() {
            Some((member, batch)) => heard.push((member.index(), batch.frames)),
            None => _ = audience.begin_round(Duration::ZERO),
        }
    }
    let expected: [(u32, &[u8]); 5] =
        [(0, b"firstsecond"), (1, b"second"), (0, b"third"), (1, b"third"), (2, b"third")];
    assert!(heard.iter().map(|(member, frames)| (*member, &frames[..])).eq(expected));
}

#[test]
fn a_lone_publication_is_shared_not_copied() {
    let mut audience = audience_of(1);
    let published = batch(b"shared");
    audience.publish(Duration::ZERO, published.clone());
    assert!(audience.begin_round(Duration::ZERO));
    let (_, heard) = audience.next_in_round().expect("there is a member");
    assert_eq!(heard.frames.as_ptr(), published.frames.as_ptr());
}

#[test]
fn a_round_is_bounded_but_takes_at_least_one() {
    let mut audience = audience_of(1);
    let sizes = [3 * ROUND_BYTES_MAX, 5, 2 * ROUND_BYTES_MAX / 3, 2 * ROUND_BYTES_MAX / 3, 7];
    for size in sizes {
        audience.publish(Duration::ZERO, batch(&vec![0; size]));
    }
    let mut rounds = Vec::new();
    while audience.begin_round(Duration::ZERO) {
        rounds.extend(std::iter::from_fn(|| audience.next_in_round()).map(|(_, batch)| batch));
    }
    let sizes: Vec<(usize, u32)> =
        rounds.iter().map(|batch| (batch.frames.len(), batch.count)).collect();
    let two_thirds = 2 * ROUND_BYTES_MAX / 3;
    assert_eq!(sizes, [(3 * ROUND_BYTES_MAX, 1), (5 + 2 * two_thirds, 3), (7, 1)]);
    assert_eq!(audience.gathered_bytes(), 0);
}

fn audience_of(members: u32) -> Audience {
    let mut audience = Audience::default();
    for index in 0..members {
        audience.join(Key::from_parts(index, 1));
    }
    audience
}

#[test]
fn nothing_is_due_until_something_is_published() {
    let mut audience = audience_of(1000);
    assert_eq!(audience.due(), None);
    audience.publish(Duration::ZERO, batch(b"lone"));
    assert!(audience.due().is_some());
}

/// Members, and how long messages to them gather: from the first, and from the last that came.
const TIMES: [(u32, u64, u64); 7] = [
    (0, 0, 0),
    (1, 0, 0),
    (19, 0, 0),
    (20, 50_000, 3_125),
    (100, 250_000, 15_625),
    (400, 1_000_000, 62_500),
    (100_000, 1_000_000, 62_500),
];

#[test]
fn a_message_after_quiet_is_due_at_once() {
    for (members, ..) in TIMES {
        let mut audience = audience_of(members);
        let quiet = Duration::from_nanos(10 * u64::from(members) * FANOUT_SEND_NANOSECONDS);
        audience.end_round(Duration::from_secs(9));
        let now = Duration::from_secs(9) + quiet;
        audience.publish(now, batch(b"alone"));
        assert_eq!(audience.due(), Some(now), "{members} members");
    }
}

#[test]
fn a_message_soon_after_a_round_waits_for_a_sixteenth() {
    let now = Duration::from_secs(9);
    for (members, _, patience) in TIMES {
        let mut audience = audience_of(members);
        audience.end_round(now);
        audience.publish(now, batch(b"soon"));
        assert_eq!(audience.due(), Some(now + Duration::from_nanos(patience)), "{members}");
    }
}

#[test]
fn messages_that_keep_coming_gather_for_the_cost_of_a_round() {
    let start = Duration::from_secs(9);
    for (members, bound, patience) in TIMES {
        let mut audience = audience_of(members);
        audience.end_round(start);
        let bound = start + Duration::from_nanos(bound);
        let mut now = start;
        while now < bound {
            audience.publish(now, batch(b"more"));
            assert!(audience.due() > Some(now), "{members} members, at {now:?}");
            assert!(audience.due() <= Some(bound), "{members} members, at {now:?}");
            now += Duration::from_nanos(patience) / 2;
        }
    }
}

#[test]
fn what_came_during_a_round_gathers_from_its_end() {
    let end = Duration::from_secs(9);
    let mut audience = audience_of(100);
    audience.publish(end - Duration::from_millis(1), batch(b"meanwhile"));
    audience.end_round(end);
    assert_eq!(audience.due(), Some(end + Duration::from_nanos(15_625)));
}

#[test]
fn a_full_round_is_due_at_once() {
    let mut audience = audience_of(100);
    audience.end_round(Duration::from_secs(9));
    audience.publish(Duration::from_secs(9), batch(&[0; ROUND_BYTES_MAX]));
    assert_eq!(audience.due(), Some(Duration::ZERO));
}

#[test]
fn a_round_that_is_on_goes_on_at_once() {
    let mut audience = audience_of(100);
    audience.end_round(Duration::from_secs(9));
    audience.publish(Duration::ZERO, batch(b"one"));
    assert!(audience.begin_round(Duration::ZERO));
    assert_eq!(audience.due(), Some(Duration::ZERO));
    assert_eq!(std::iter::from_fn(|| audience.next_in_round()).count(), 100);
    assert_eq!(audience.due(), None);
}

#[test]
fn without_members_nothing_piles_up() {
    let mut audience = Audience::default();
    audience.publish(Duration::ZERO, batch(b"to nobody"));
    assert!(!audience.begin_round(Duration::ZERO));
    assert!(audience.round.is_none());
    assert_eq!((audience.due(), audience.gathered_bytes()), (None, 0));
}

#[test]
fn a_round_takes_as_long_as_its_sends_and_delays_its_oldest() {
    let at = Duration::from_micros;
    let mut audience = audience_of(100);
    audience.end_round(at(0));
    audience.publish(at(20_000), batch(b"old"));
    audience.publish(at(20_010), batch(b"new"));
    let mut sends = Vec::new();
    assert!(!audience.serve(at(20_300), 60, &mut sends));
    // What comes meanwhile belongs to the next round.
    audience.publish(at(20_350), batch(b"later"));
    assert!(audience.serve(at(20_400), 60, &mut sends));
    assert_eq!(sends.len(), 100);
    let times = audience.end_round(at(20_500));
    assert_eq!(times, RoundTimes { sending: at(200), delay: at(500) });

    assert!(audience.serve(at(30_000), 200, &mut sends));
    let times = audience.end_round(at(30_100));
    assert_eq!(times, RoundTimes { sending: at(100), delay: at(30_100 - 20_350) });
}
