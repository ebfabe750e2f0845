//! A timer wheel: at most one timer for each index of a slab.

/// A point in time, in whatever unit the caller counts. It may wrap around: of two ticks, the later
/// is the one that lies less than 2³¹ ticks ahead.
pub type Tick = u32;

/// Ends a list; as a link of a node, says that the node is in none.
const NONE: u32 = u32::MAX;

/// Timers in a ring of slots, one slot for each tick up to the horizon, `slots − 1` ticks ahead.
///
/// Arming, re-arming and disarming cost the same however many timers there are, and an index costs
/// 12 bytes, armed or not. Time begins at tick 0 and moves only in [`Wheel::pop_due`].
///
/// **An index that fires is a question, not a verdict.** A deadline beyond the horizon is cut to
/// it, so the caller looks at the true deadline of the index when it fires, and if that still lies
/// ahead, arms it again. This is also how activity costs nothing: a connection that just received
/// something writes its new deadline down and leaves the wheel alone; when the old one fires, it
/// is armed for the new. Only a deadline that moves *nearer* must be armed at once.
#[derive(Debug)]
pub struct Wheel {
    /// The first index in each slot, and last, at `due()`, of those whose time has come.
    heads: Vec<u32>,
    /// One bit for each slot that is not empty.
    occupied: Vec<u64>,
    nodes: Vec<Node>,
    now: Tick,
    armed: usize,
}

/// A link in a circular list, in which the head's `previous` is the tail.
#[derive(Debug, Clone, Copy)]
struct Node {
    previous: u32,
    next: u32,
    /// Where the index was armed. It may have moved on from there to the due ones.
    slot: u32,
}

const _: () = assert!(size_of::<Node>() == 12);

impl Wheel {
    /// A wheel whose horizon is `slots − 1` ticks.
    ///
    /// # Panics
    ///
    /// Unless `slots` is a power of two from 64 to 2³⁰.
    pub fn new(slots: usize) -> Self {
        assert!(slots.is_power_of_two() && slots >= 64, "slots: a power of two, 64 or more");
        assert!(slots <= 1 << 30, "the horizon must be far from half the range of ticks");
        Self {
            heads: vec![NONE; slots + 1],
            occupied: vec![0; slots / 64],
            nodes: Vec::new(),
            now: 0,
            armed: 0,
        }
    }

    /// Arms the timer of an index, or moves it if it is armed.
    ///
    /// A deadline beyond the horizon is cut to it; one that is not after the last `now` fires with
    /// the next [`Wheel::pop_due`]. It must lie less than 2³¹ ticks ahead, or it looks past.
    pub fn arm(&mut self, index: u32, deadline: Tick) {
        assert!(index != NONE, "an index is less than 2^32 - 1");
        self.disarm(index);
        if self.nodes.len() <= index as usize {
            let unarmed = Node { previous: NONE, next: NONE, slot: 0 };
            self.nodes.resize(index as usize + 1, unarmed);
        }
        let list = match ticks_ahead(deadline, self.now) {
            0 => self.due(),
            ahead => self.slot(self.now.wrapping_add(ahead.min(self.horizon()))),
        };
        self.append(list, index);
        self.armed += 1;
    }

    /// Disarms the timer of an index; nothing happens if it is not armed.
    pub fn disarm(&mut self, index: u32) {
        if self.is_armed(index) {
            self.unlink(index);
            self.armed -= 1;
        }
    }

    /// Whether the timer of an index is armed. It no longer is when it has fired.
    pub fn is_armed(&self, index: u32) -> bool {
        self.nodes.get(index as usize).is_some_and(|node| node.next != NONE)
    }

    /// Moves time on to `now` and fires one timer that is due, the earliest first; of equal ones
    /// the one armed first. `None` when no other is due.
    ///
    /// The caller decides how many it takes in a turn; the rest keep their order. A jump over any
    /// number of ticks (less than 2³¹) fires each timer once. Time does not run backwards: an
    /// earlier `now` counts as the present one.
    pub fn pop_due(&mut self, now: Tick) -> Option<u32> {
        self.advance(now);
        let index = self.heads[self.due()];
        if index == NONE {
            return None;
        }
        self.disarm(index);
        Some(index)
    }

    /// When the next timer fires: the tick that [`Wheel::pop_due`] must be given to get one.
    pub fn next_due(&self) -> Option<Tick> {
        if self.heads[self.due()] == NONE {
            self.next_occupied().map(|ahead| self.now.wrapping_add(ahead))
        } else {
            Some(self.now)
        }
    }

    /// Timers that are armed.
    pub const fn len(&self) -> usize {
        self.armed
    }

    /// Whether no timer is armed.
    pub const fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Moves the timers of every slot that time passes to the due ones, list by list.
    fn advance(&mut self, now: Tick) {
        if ticks_ahead(now, self.now) == 0 {
            return;
        }
        while let Some(ahead) = self.next_occupied() {
            if ahead > ticks_ahead(now, self.now) {
                break;
            }
            self.now = self.now.wrapping_add(ahead);
            self.move_to_due(self.slot(self.now));
        }
        self.now = now;
    }

    /// Ticks from now to the first slot that is not empty.
    fn next_occupied(&self) -> Option<u32> {
        let start = self.slot(self.now);
        let words = self.occupied.len();
        // The word of the present is looked at twice: its late bits first, its early bits last.
        (0..=words).find_map(|step| {
            let word = (start / 64 + step) % words;
            let late = u64::MAX << (start % 64);
            let bits = match step {
                0 => self.occupied[word] & late,
                step if step == words => self.occupied[word] & !late,
                _ => self.occupied[word],
            };
            let slot = word * 64 + bits.trailing_zeros() as usize;
            (bits != 0).then(|| tick(slot).wrapping_sub(tick(start)) & self.horizon())
        })
    }

    /// Appends a whole slot to the due ones, in constant time.
    fn move_to_due(&mut self, slot: usize) {
        let (due, first) = (self.due(), self.heads[slot]);
        self.set_head(slot, NONE);
        let head = self.heads[due];
        if head == NONE {
            self.set_head(due, first);
        } else {
            self.join(head, first);
        }
    }

    fn append(&mut self, list: usize, index: u32) {
        self.nodes[index as usize] = Node { previous: index, next: index, slot: tick(list) };
        let head = self.heads[list];
        if head == NONE {
            self.set_head(list, index);
        } else {
            self.join(head, index);
        }
    }

    /// Puts the circle that begins at `second` behind the one that begins at `first`.
    fn join(&mut self, first: u32, second: u32) {
        let first_tail = self.nodes[first as usize].previous;
        let second_tail = self.nodes[second as usize].previous;
        self.nodes[first_tail as usize].next = second;
        self.nodes[second as usize].previous = first_tail;
        self.nodes[second_tail as usize].next = first;
        self.nodes[first as usize].previous = second_tail;
    }

    fn unlink(&mut self, index: u32) {
        let node = self.nodes[index as usize];
        let successor = if node.next == index { NONE } else { node.next };
        // Only the head of a list is known by it, so that a whole slot can move to the due ones.
        for list in [node.slot as usize, self.due()] {
            if self.heads[list] == index {
                self.set_head(list, successor);
            }
        }
        self.nodes[node.previous as usize].next = node.next;
        self.nodes[node.next as usize].previous = node.previous;
        self.nodes[index as usize].next = NONE;
    }

    fn set_head(&mut self, list: usize, head: u32) {
        self.heads[list] = head;
        if list != self.due() {
            let bit = 1 << (list % 64);
            if head == NONE {
                self.occupied[list / 64] &= !bit;
            } else {
                self.occupied[list / 64] |= bit;
            }
        }
    }

    /// The list of those whose time has come, behind the slots.
    fn due(&self) -> usize {
        self.heads.len() - 1
    }

    fn horizon(&self) -> u32 {
        tick(self.due() - 1)
    }

    fn slot(&self, at: Tick) -> usize {
        (at & self.horizon()) as usize
    }
}

/// Ticks from `now` to `later`; 0 if it is not later.
fn ticks_ahead(later: Tick, now: Tick) -> u32 {
    let ahead = later.wrapping_sub(now);
    if ahead < 1 << 31 { ahead } else { 0 }
}

/// A slot as a number of ticks.
fn tick(slot: usize) -> u32 {
    u32::try_from(slot).expect("a wheel has at most 2^30 slots")
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    /// Everything that fires at `now`.
    fn fired(wheel: &mut Wheel, now: Tick) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop_due(now)).collect()
    }

    #[test]
    fn fires_at_its_tick_and_not_before() {
        let mut wheel = Wheel::new(64);
        wheel.arm(7, 10);
        assert_eq!((wheel.len(), wheel.next_due()), (1, Some(10)));
        assert_eq!(wheel.pop_due(9), None);
        assert!(wheel.is_armed(7));
        assert_eq!(wheel.pop_due(10), Some(7));
        assert_eq!((wheel.pop_due(10), wheel.is_armed(7), wheel.is_empty()), (None, false, true));
    }

    #[test]
    fn arming_again_moves_the_timer() {
        let mut wheel = Wheel::new(64);
        wheel.arm(0, 10);
        wheel.arm(0, 20);
        assert_eq!(wheel.len(), 1);
        assert!(fired(&mut wheel, 19).is_empty());
        wheel.arm(0, 5);
        assert_eq!(fired(&mut wheel, 19), [0], "a deadline that is past fires at once");
    }

    #[test]
    fn a_deadline_beyond_the_horizon_is_cut_to_it() {
        let mut wheel = Wheel::new(64);
        wheel.arm(0, 1_000);
        assert!(fired(&mut wheel, 62).is_empty());
        assert_eq!(fired(&mut wheel, 63), [0]);
        wheel.arm(0, 1_000);
        assert_eq!(wheel.next_due(), Some(63 + 63));
    }

    #[test]
    fn the_caller_bounds_its_work_and_order_is_kept() {
        let mut wheel = Wheel::new(64);
        for (index, deadline) in [(0, 3), (1, 2), (2, 3), (3, 2), (4, 9)] {
            wheel.arm(index, deadline);
        }
        assert_eq!(wheel.pop_due(3), Some(1));
        assert_eq!(wheel.next_due(), Some(3), "there is more at the same tick");
        wheel.disarm(3);
        assert_eq!(fired(&mut wheel, 9), [0, 2, 4]);
    }

    #[test]
    fn a_jump_over_the_whole_wheel_fires_each_once() {
        let mut wheel = Wheel::new(128);
        for index in 0..127 {
            wheel.arm(index, index + 1);
        }
        let all: Vec<u32> = (0..127).collect();
        assert_eq!(fired(&mut wheel, 1_000_000), all);
    }

    #[test]
    fn a_timer_armed_during_a_jump_waits_for_its_own_deadline() {
        let mut wheel = Wheel::new(64);
        wheel.arm(0, 1);
        wheel.arm(1, 2);
        assert_eq!(wheel.pop_due(10_000), Some(0));
        wheel.arm(0, 10_005);
        assert_eq!(fired(&mut wheel, 10_000), [1]);
        assert_eq!(fired(&mut wheel, 10_005), [0]);
    }

    #[test]
    fn time_does_not_run_backwards() {
        let mut wheel = Wheel::new(64);
        assert_eq!(wheel.pop_due(100), None);
        wheel.arm(0, 101);
        assert_eq!(wheel.pop_due(50), None);
        assert_eq!(fired(&mut wheel, 101), [0]);
    }

    #[test]
    fn disarming_what_is_not_armed_does_nothing() {
        let mut wheel = Wheel::new(64);
        wheel.disarm(1_000);
        wheel.arm(5, 1);
        wheel.disarm(4);
        wheel.disarm(5);
        wheel.disarm(5);
        assert_eq!((wheel.len(), wheel.next_due()), (0, None));
    }

    /// Armed timers in the order in which they fire.
    #[derive(Default)]
    struct Model {
        timers: Vec<(u64, u32)>,
        now: u64,
    }

    impl Model {
        fn arm(&mut self, index: u32, deadline: u64, horizon: u64) {
            self.disarm(index);
            let fires = deadline.clamp(self.now, self.now + horizon);
            let place = self.timers.partition_point(|(other, _)| *other <= fires);
            self.timers.insert(place, (fires, index));
        }

        fn disarm(&mut self, index: u32) {
            self.timers.retain(|(_, other)| *other != index);
        }

        fn pop_due(&mut self, now: u64) -> Option<u32> {
            if now > self.now {
                self.now = now;
                // What is due has its order; what will be armed for the past comes behind it.
                for (fires, _) in &mut self.timers {
                    *fires = (*fires).max(now);
                }
            }
            let due = self.timers.first().is_some_and(|(fires, _)| *fires <= self.now);
            due.then(|| self.timers.remove(0).1)
        }
    }

    #[test]
    fn agrees_with_a_sorted_list_under_random_operations() {
        for (seed, slots) in (1..=30).zip([64, 128, 1024].into_iter().cycle()) {
            let mut random = Random::new(seed);
            let mut wheel = Wheel::new(slots);
            let mut model = Model::default();
            let horizon = u64::try_from(slots).unwrap() - 1;
            // Begin short of the wrap-around, so that every run crosses it.
            let mut now = 0;
            for start in [(1 << 31) - 1, u64::from(u32::MAX) - 500] {
                now = start;
                assert_eq!((wheel.pop_due(low(now)), model.pop_due(now)), (None, None));
            }
            for _ in 0..2_000 {
                let index = random.below(40);
                match random.below(8) {
                    0..4 => {
                        let ahead = u64::from(random.below(low(horizon) * 3 / 2));
                        let deadline = (now + ahead).saturating_sub(horizon / 8);
                        wheel.arm(index, low(deadline));
                        model.arm(index, deadline, horizon);
                    }
                    4 => {
                        wheel.disarm(index);
                        model.disarm(index);
                    }
                    5 => now += u64::from(random.below(low(horizon) / 8)),
                    6 if random.below(10) == 0 => now += u64::from(random.below(5_000)),
                    _ => assert_eq!(wheel.pop_due(low(now)), model.pop_due(now)),
                }
                check(&wheel, &model);
            }
            assert!(now > u64::from(u32::MAX), "the run crosses the wrap-around");
        }
    }

    fn check(wheel: &Wheel, model: &Model) {
        assert_eq!((wheel.len(), wheel.is_empty()), (model.timers.len(), model.timers.is_empty()));
        let next = model.timers.first().map(|(fires, _)| low(*fires));
        assert_eq!(wheel.next_due(), next);
        for index in 0..41 {
            let armed = model.timers.iter().any(|(_, other)| *other == index);
            assert_eq!(wheel.is_armed(index), armed);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "ticks wrap around")]
    fn low(time: u64) -> Tick {
        time as Tick
    }
}
