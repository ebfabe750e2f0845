//! A queue with two bounds: items and bytes.

use std::collections::VecDeque;

/// First in, first out, at most so many items and so many bytes.
///
/// What an item weighs is said when it is pushed. An empty queue takes any item, or one larger than
/// the bound could never pass; so at most one item is over it.
#[derive(Debug)]
pub struct Fifo<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    items_max: usize,
    bytes_max: usize,
}

impl<T> Fifo<T> {
    /// An empty queue. It takes memory only as items come.
    ///
    /// # Panics
    ///
    /// When `items_max` is 0: nothing could ever pass.
    pub const fn new(items_max: usize, bytes_max: usize) -> Self {
        assert!(items_max > 0, "a queue of no items lets nothing pass");
        Self { items: VecDeque::new(), bytes: 0, items_max, bytes_max }
    }

    /// Adds an item that weighs `bytes`.
    ///
    /// # Errors
    ///
    /// Gives the item back when it would be one too many, or too heavy beside what waits.
    pub fn push(&mut self, item: T, bytes: usize) -> Result<(), T> {
        if !self.has_room(bytes) {
            return Err(item);
        }
        self.items.push_back((item, bytes));
        self.bytes += bytes;
        Ok(())
    }

    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        let (item, bytes) = self.items.pop_front()?;
        self.bytes -= bytes;
        Some(item)
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// What the items that wait weigh together, in bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn has_room(&self, bytes: usize) -> bool {
        let bytes_left = self.bytes_max.saturating_sub(self.bytes);
        self.is_empty() || (self.len() < self.items_max && bytes <= bytes_left)
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    #[test]
    fn both_bounds_hold_and_the_item_comes_back() {
        let mut items = Fifo::new(2, 100);
        assert_eq!(items.push('a', 0), Ok(()));
        assert_eq!(items.push('b', 0), Ok(()));
        assert_eq!(items.push('c', 0), Err('c'));

        let mut bytes = Fifo::new(9, 100);
        assert_eq!(bytes.push('a', 60), Ok(()));
        assert_eq!(bytes.push('b', 41), Err('b'));
        assert_eq!(bytes.push('b', 40), Ok(()));
        assert_eq!(bytes.bytes(), 100);
    }

    #[test]
    fn an_empty_queue_takes_what_is_too_heavy_and_nothing_beside_it() {
        let mut queue = Fifo::new(9, 100);
        assert_eq!(queue.push('a', usize::MAX), Ok(()));
        assert_eq!(queue.push('b', 1), Err('b'));
        assert_eq!(queue.pop(), Some('a'));
        assert_eq!(queue.push('b', 101), Ok(()));
    }

    #[test]
    #[should_panic(expected = "nothing pass")]
    fn a_queue_of_no_items_is_refused() {
        let _ = Fifo::<()>::new(0, 1);
    }

    #[test]
    fn agrees_with_a_list_under_random_operations() {
        const ITEMS_MAX: usize = 8;
        const BYTES_MAX: usize = 400;
        for seed in 1..=20 {
            let mut random = Random::new(seed);
            let mut queue = Fifo::new(ITEMS_MAX, BYTES_MAX);
            let mut model: Vec<(u32, usize)> = Vec::new();
            for item in 0..2_000 {
                if random.below(5) < 3 {
                    let bytes = random.below(150) as usize;
                    let sum = model.iter().map(|(_, bytes)| bytes).sum::<usize>() + bytes;
                    let fits = model.len() < ITEMS_MAX && sum <= BYTES_MAX;
                    assert_eq!(queue.push(item, bytes).is_ok(), fits);
                    if fits {
                        model.push((item, bytes));
                    }
                } else {
                    let oldest = (!model.is_empty()).then(|| model.remove(0).0);
                    assert_eq!(queue.pop(), oldest);
                }
                assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
                assert_eq!(queue.bytes(), model.iter().map(|(_, bytes)| bytes).sum::<usize>());
            }
        }
    }
}
