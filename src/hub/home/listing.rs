//! The rooms of a home as operators see them, and what they say there.

use super::{Home, Room};
use crate::hub::{Epoch, RoomName, Wording};

/// One room at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomFigures {
    /// Its name.
    pub name: RoomName,
    /// Members on all shards.
    pub members: u64,
    /// Messages that it remembers.
    pub history_messages: usize,
    /// The offset of its newest message; 0 before the first.
    pub offset: u64,
    /// What that offset counts in.
    pub epoch: Epoch,
}

/// Which rooms of a home are wanted. A home is asked in parts, so that none of its turns is long.
#[derive(Clone, Debug)]
pub struct RoomsQuery {
    /// What their names begin with.
    pub prefix: RoomName,
    /// So many at most: those with the most members, and of these those first by name.
    pub most: usize,
    /// Where the part begins: 0, or [`RoomsPart::next`] of the one before.
    pub from: usize,
    /// Places for rooms in a part, used or not: at up to 0.4 µs each.
    pub places: usize,
}

/// A part of the rooms of a home. Those that come or go between two parts may be missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomsPart {
    /// In the order of [`rank_rooms`].
    pub rooms: Vec<RoomFigures>,
    /// All in this part whose names begin so.
    pub matching: usize,
    /// Where the next part begins, if there is one.
    pub next: Option<usize>,
}

/// Puts the rooms with the most members first, equal ones by name, and drops all but `most`.
pub fn rank_rooms(rooms: &mut Vec<RoomFigures>, most: usize) {
    rank(rooms, most, |room| (room.members, &room.name));
}

impl<W: Wording> Home<W> {
    /// One part of the rooms here.
    #[must_use]
    pub fn list(&self, query: &RoomsQuery) -> RoomsPart {
        let end = query.from.saturating_add(query.places);
        let rooms =
            (query.from..end.min(self.rooms.capacity())).filter_map(|at| self.rooms.get(at));
        let mut rooms: Vec<&Room> =
            rooms.filter(|room| room.name.starts_with(&*query.prefix)).collect();
        let matching = rooms.len();
        rank(&mut rooms, query.most, |room| (room.members, &room.name));
        RoomsPart {
            rooms: rooms.into_iter().map(Room::figures).collect(),
            matching,
            next: (end < self.rooms.capacity()).then_some(end),
        }
    }

    /// The room of this name, if its home is here and it has a member.
    #[must_use]
    pub fn room(&self, name: &str) -> Option<RoomFigures> {
        let number = *self.names.get(name)?;
        Some(self.rooms[number].figures())
    }
}

impl Room {
    pub(super) fn figures(&self) -> RoomFigures {
        RoomFigures {
            name: self.name.clone(),
            members: self.users(),
            history_messages: self.history.len(),
            offset: self.history.offset(),
            epoch: self.epoch,
        }
    }
}

fn rank<T>(rooms: &mut Vec<T>, most: usize, key: impl Fn(&T) -> (u64, &RoomName)) {
    let order = |one: &T, other: &T| {
        let ((members, name), (others, other)) = (key(one), key(other));
        others.cmp(&members).then_with(|| name.cmp(other))
    };
    if most < rooms.len() {
        rooms.select_nth_unstable_by(most, order);
        rooms.truncate(most);
    }
    rooms.sort_unstable_by(order);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Plain, join, publish};
    use super::*;
    use crate::hub::{HistoryLimits, Now};

    const LIMITS: HistoryLimits = HistoryLimits { messages: 10, age: 100, home_bytes: 1 << 20 };

    fn query(prefix: &str, most: usize, from: usize, places: usize) -> RoomsQuery {
        RoomsQuery { prefix: prefix.into(), most, from, places }
    }

    /// Room `r0` has one member, `r1` two, and so on.
    fn home(rooms: usize) -> Home<Plain> {
        let mut home = Home::new(Plain, LIMITS, 1, Epoch(0), None);
        for number in 0..rooms {
            let name = RoomName::from(format!("r{number}"));
            (0..=number).for_each(|_| join(&mut home, &name));
        }
        home
    }

    fn names(rooms: &[RoomFigures]) -> Vec<&str> {
        rooms.iter().map(|room| &*room.name).collect()
    }

    #[test]
    fn the_largest_come_first_and_equal_ones_by_name() {
        let mut home = home(12);
        join(&mut home, &"r3".into());
        let all = home.list(&query("", 4, 0, usize::MAX));
        assert_eq!(names(&all.rooms), ["r11", "r10", "r9", "r8"]);
        assert_eq!((all.matching, all.next), (12, None));
        assert_eq!(all.rooms[0].members, 12);
        let some = home.list(&query("r1", 10, 0, usize::MAX));
        assert_eq!((names(&some.rooms), some.matching), (vec!["r11", "r10", "r1"], 3));
        let few = home.list(&query("", 9, 0, usize::MAX));
        assert_eq!(names(&few.rooms)[6..], ["r5", "r3", "r4"]);
        assert_eq!(home.list(&query("", 0, 0, usize::MAX)).matching, 12);
    }

    #[test]
    fn parts_make_the_whole() {
        let home = home(10);
        for places in 1..12 {
            let (mut rooms, mut matching, mut from) = (Vec::new(), 0, Some(0));
            while let Some(at) = from {
                let part = home.list(&query("", 3, at, places));
                rooms.extend(part.rooms);
                matching += part.matching;
                from = part.next;
            }
            rank_rooms(&mut rooms, 3);
            assert_eq!((names(&rooms), matching), (vec!["r9", "r8", "r7"], 10));
        }
    }

    #[test]
    fn an_announcement_is_numbered_with_the_others_and_needs_a_member() {
        let mut home = home(1);
        let (now, name) = (Now { tick: 0, unix_milliseconds: 0 }, RoomName::from("r0"));
        publish(&mut home, &name, 5);
        let figures = home.announce(now, &name, b"head").expect("it has a member");
        assert_eq!((figures.members, figures.offset, figures.history_messages), (1, 2, 2));
        assert_eq!(home.room("r0"), Some(figures));
        assert_eq!(home.announce(now, &"empty".into(), b"head"), None);
        assert_eq!((home.rooms(), home.room("empty")), (1, None));
    }
}
