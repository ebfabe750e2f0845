//! A slab whose keys go stale: a key never reaches an entry other than its own.

use std::num::NonZeroU32;

use slab::Slab;

/// Names one entry of a [`GenerationalSlab`] for as long as that entry lives.
///
/// Index and generation take [`u32::BITS`] + [`Key::GENERATION_BITS`] = 60 bits, which leaves 4 in
/// a 64-bit token for what the token is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Bits of a generation.
    pub const GENERATION_BITS: u32 = 28;

    /// Puts together what [`Key::index`] and [`Key::generation`] took apart.
    ///
    /// Generation 0 is valid here and belongs to no entry.
    ///
    /// # Panics
    ///
    /// When the generation takes more than [`Key::GENERATION_BITS`].
    pub const fn from_parts(index: u32, generation: u32) -> Self {
        assert!(generation >> Self::GENERATION_BITS == 0, "a generation has 28 bits");
        Self { index, generation }
    }

    /// The place in the slab. A later entry may have the same one.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Tells apart the entries that have the same index, one after the other.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

/// A table of at most a fixed number of entries.
///
/// Address space for all of them is reserved at once. So entries never move, and memory becomes
/// resident only as far as the table was ever filled: the index given out is the one freed last,
/// and a new one only when none is free.
///
/// Generations are counted by the slab, not by the entry, which keeps no memory for vacant places.
/// A stale key is mistaken for a live one only if it is kept over 2²⁸ − 1 insertions, and the last
/// of them falls on its index.
#[derive(Debug)]
pub struct GenerationalSlab<T> {
    entries: Slab<Entry<T>>,
    capacity: usize,
    next_generation: NonZeroU32,
    reach: u32,
}

/// That a generation is never zero is what lets `slab` mark a vacant place there: the entry costs
/// 8 bytes more than its value, not 16.
#[derive(Debug)]
struct Entry<T> {
    generation: NonZeroU32,
    value: T,
}

impl<T> GenerationalSlab<T> {
    /// A slab that holds at most `capacity` entries.
    ///
    /// # Panics
    ///
    /// When `capacity` is more than an index of 32 bits can reach, or the address space is not
    /// there.
    pub fn with_capacity(capacity: usize) -> Self {
        assert!(u32::try_from(capacity).is_ok(), "a slab holds less than 2^32 entries");
        let entries = Slab::with_capacity(capacity);
        Self { entries, capacity, next_generation: NonZeroU32::MIN, reach: 0 }
    }

    /// Adds an entry.
    ///
    /// # Errors
    ///
    /// Gives the value back when the slab is full.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        if self.entries.len() == self.capacity {
            return Err(value);
        }
        let generation = self.next_generation;
        self.next_generation = following(generation);
        let index = index_of(self.entries.insert(Entry { generation, value }));
        self.reach = self.reach.max(index + 1);
        Ok(Key { index, generation: generation.get() })
    }

    /// The entry of this key, unless it is gone.
    pub fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(place_of(key.index))?;
        (entry.generation.get() == key.generation).then_some(&entry.value)
    }

    /// The entry of this key, unless it is gone.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(place_of(key.index))?;
        (entry.generation.get() == key.generation).then_some(&mut entry.value)
    }

    /// The entry that has this index now.
    pub fn get_mut_at(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(place_of(index)).map(|entry| &mut entry.value)
    }

    /// The key of the entry that has this index now.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let entry = self.entries.get(place_of(index))?;
        Some(Key { index, generation: entry.generation.get() })
    }

    /// Takes the entry of this key out; from here on the key is stale.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        if !self.contains(key) {
            return None;
        }
        self.entries.try_remove(place_of(key.index)).map(|entry| entry.value)
    }

    /// Whether the entry of this key is still there.
    pub fn contains(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// Entries in the slab.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries that the slab holds at most.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// One more than the highest index ever used.
    pub const fn reach(&self) -> u32 {
        self.reach
    }

    /// All entries by rising index. Vacant places below the highest index ever used are walked
    /// over, too.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.entries.iter().map(|(place, entry)| {
            let key = Key { index: index_of(place), generation: entry.generation.get() };
            (key, &entry.value)
        })
    }
}

/// The generation after this one; 0 is left out.
fn following(generation: NonZeroU32) -> NonZeroU32 {
    let mask = (1 << Key::GENERATION_BITS) - 1;
    NonZeroU32::new((generation.get() + 1) & mask).unwrap_or(NonZeroU32::MIN)
}

fn index_of(place: usize) -> u32 {
    u32::try_from(place).expect("the capacity is less than 2^32")
}

fn place_of(index: u32) -> usize {
    index as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::random::Random;
    use super::*;

    /// What `slab` stores for a place: the entry, or the next vacant place.
    #[expect(dead_code, reason = "only its size is of interest")]
    enum Place<T> {
        Vacant(usize),
        Occupied(Entry<T>),
    }

    const fn overhead<T>() -> usize {
        size_of::<Place<T>>() - size_of::<T>()
    }

    const _: () = assert!(overhead::<u64>() <= 8);
    const _: () = assert!(overhead::<[u64; 12]>() <= 8);
    const _: () = assert!(overhead::<(Box<u8>, Option<Vec<u8>>, bool)>() <= 8);
    const _: () = assert!(overhead::<Option<Box<u8>>>() <= 8);

    #[test]
    fn a_full_slab_gives_the_value_back() {
        let mut slab = GenerationalSlab::with_capacity(2);
        let first = slab.insert("a").unwrap();
        slab.insert("b").unwrap();
        assert_eq!(slab.insert("c"), Err("c"));
        assert_eq!(slab.remove(first), Some("a"));
        assert!(slab.insert("c").is_ok());
        assert_eq!((slab.len(), slab.capacity(), slab.reach()), (2, 2, 2));
    }

    #[test]
    fn a_slab_of_nothing_is_full_and_empty() {
        let mut slab = GenerationalSlab::with_capacity(0);
        assert!(slab.is_empty());
        assert_eq!((slab.insert(1), slab.reach()), (Err(1), 0));
    }

    #[test]
    fn a_stale_key_never_reaches_the_next_entry() {
        let mut slab = GenerationalSlab::with_capacity(1);
        let stale = slab.insert(1).unwrap();
        slab.remove(stale);
        let fresh = slab.insert(2).unwrap();
        assert_eq!(stale.index(), fresh.index());
        assert_eq!(slab.get(stale), None);
        assert_eq!(slab.get_mut(stale), None);
        assert_eq!(slab.remove(stale), None);
        assert_eq!(slab.get(fresh), Some(&2));
    }

    #[test]
    fn generation_zero_belongs_to_nobody() {
        let mut slab = GenerationalSlab::with_capacity(1);
        slab.insert(1).unwrap();
        assert!(!slab.contains(Key::from_parts(0, 0)));
    }

    #[test]
    fn generations_wrap_within_their_bits_and_leave_out_zero() {
        let mut slab = GenerationalSlab::with_capacity(2);
        let last = (1 << Key::GENERATION_BITS) - 1;
        slab.next_generation = NonZeroU32::new(last).unwrap();
        assert_eq!(slab.insert(()).unwrap().generation(), last);
        assert_eq!(slab.insert(()).unwrap().generation(), 1);
    }

    #[test]
    #[should_panic(expected = "28 bits")]
    fn a_key_refuses_a_generation_that_is_too_large() {
        let _ = Key::from_parts(0, 1 << Key::GENERATION_BITS);
    }

    #[test]
    fn entries_never_move() {
        let mut slab = GenerationalSlab::with_capacity(10_000);
        let first = slab.insert(0).unwrap();
        let before: *const i32 = slab.get(first).unwrap();
        for value in 1..10_000 {
            slab.insert(value).unwrap();
        }
        let after: *const i32 = slab.get(first).unwrap();
        assert_eq!(before, after);
    }

    #[test]
    fn agrees_with_a_map_under_random_operations() {
        const CAPACITY: usize = 32;
        for seed in 1..=20 {
            let mut random = Random::new(seed);
            let mut slab = GenerationalSlab::with_capacity(CAPACITY);
            let mut model = BTreeMap::new();
            let mut keys: Vec<Key> = Vec::new();
            for value in 0..2_000_u32 {
                if keys.is_empty() || random.below(2) == 0 {
                    match slab.insert(value) {
                        Ok(key) => {
                            let parts = (key.index(), key.generation());
                            assert_eq!(model.insert(parts, value), None);
                            keys.push(key);
                        }
                        Err(back) => assert_eq!((back, model.len()), (value, CAPACITY)),
                    }
                } else {
                    // Keys of entries that are gone stay in the list: most of them are stale.
                    let key = keys[random.below(u32::try_from(keys.len()).unwrap()) as usize];
                    let parts = (key.index(), key.generation());
                    assert_eq!(slab.get(key), model.get(&parts));
                    assert_eq!(slab.remove(key), model.remove(&parts));
                    assert!(!slab.contains(key));
                }
                check(&mut slab, &model);
            }
        }
    }

    fn check(slab: &mut GenerationalSlab<u32>, model: &BTreeMap<(u32, u32), u32>) {
        assert_eq!((slab.len(), slab.is_empty()), (model.len(), model.is_empty()));
        let parts = |key: Key| (key.index(), key.generation());
        assert!(slab.iter().map(|(key, value)| (parts(key), *value)).eq(model.clone()));
        for index in 0..32 {
            let live = model.iter().find(|((at, _), _)| *at == index);
            assert_eq!(slab.key_at(index).map(parts), live.map(|(parts, _)| *parts));
            assert_eq!(slab.get_mut_at(index).copied(), live.map(|(_, value)| *value));
        }
    }
}
