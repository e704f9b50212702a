//! Who answered: one life of one database process, told by the process itself, so that it is known
//! through any proxy and any translation of addresses.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// One start of one database process, as a small number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Life(u32);

impl Life {
    /// The number itself.
    pub(super) fn number(self) -> u64 {
        u64::from(self.0)
    }
}

/// All that were met, by what they say of themselves. Databases do not restart a thousand times in
/// a drill; what comes later is one and the same.
#[derive(Debug, Default)]
pub(super) struct Lives(Mutex<HashMap<String, Life>>);

/// See [`Lives`].
const LIVES_MAX: usize = 1024;

impl Lives {
    /// The number of a mark.
    pub(super) fn of(&self, mark: &str) -> Life {
        let mut lives = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(life) = lives.get(mark) {
            return *life;
        }
        let life = Life(u32::try_from(lives.len().min(LIVES_MAX)).unwrap_or(u32::MAX));
        if lives.len() < LIVES_MAX {
            lives.insert(mark.to_owned(), life);
        }
        life
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_keeps_its_number_and_the_table_its_size() {
        let lives = Lives::default();
        let first = lives.of("a");
        assert_ne!(lives.of("b"), first);
        assert_eq!(lives.of("a"), first);
        for count in 0..2 * LIVES_MAX {
            lives.of(&count.to_string());
        }
        assert_eq!(lives.0.lock().unwrap().len(), LIVES_MAX);
        assert_eq!(lives.of("a"), first);
    }
}
