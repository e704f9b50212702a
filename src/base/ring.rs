//! A bounded list that forgets its oldest entry.

use std::collections::VecDeque;

/// Keeps the last `capacity` entries.
#[derive(Debug, Clone)]
pub struct Ring<T> {
    entries: VecDeque<T>,
    capacity: usize,
}

impl<T> Ring<T> {
    /// An empty ring for `capacity` entries.
    pub fn new(capacity: usize) -> Ring<T> {
        Ring {
            entries: VecDeque::with_capacity(capacity.min(64)),
            capacity,
        }
    }

    /// Adds an entry; the oldest one goes when the ring is full.
    pub fn push(&mut self, entry: T) {
        if self.capacity == 0 {
            return;
        }
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The entries, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.iter()
    }

    /// Forgets those that are not wanted any more.
    pub fn retain(&mut self, is_kept: impl FnMut(&T) -> bool) {
        self.entries.retain(is_kept);
    }

    /// How many entries are kept now.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_goes_first() {
        let mut ring = Ring::new(3);
        (0..5).for_each(|n| ring.push(n));
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [2, 3, 4]);
        let mut none = Ring::new(0);
        none.push(1);
        assert!(none.is_empty());
    }
}
