//! What the process is short of. Written by whoever notices, read by both planes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// How much of the memory this process may have is in use. Each level does what those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum MemoryLevel {
    /// Below 80 %.
    #[default]
    Enough,
    /// Above 80 %: requests are refused.
    Scarce,
    /// Above 90 %: what is idle is closed, what is kept for reuse is given back.
    Short,
    /// Above 95 %: nobody is let in.
    Exhausted,
}

/// What can be done about it, from least to most.
const LEVELS: [MemoryLevel; 4] = [
    MemoryLevel::Enough,
    MemoryLevel::Scarce,
    MemoryLevel::Short,
    MemoryLevel::Exhausted,
];

impl MemoryLevel {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            MemoryLevel::Enough => "enough",
            MemoryLevel::Scarce => "scarce: refusing requests",
            MemoryLevel::Short => "short: closing what is idle",
            MemoryLevel::Exhausted => "exhausted: letting nobody in",
        }
    }
}

/// How short the process is of descriptors and memory.
#[derive(Debug, Default)]
pub struct Strain {
    paused: AtomicUsize,
    pauses: AtomicU64,
    memory: AtomicU8,
    memory_limit: AtomicU64,
}

impl Strain {
    /// An acceptor takes no connection until the result is dropped.
    pub fn pause(self: &Arc<Self>) -> Pause {
        let is_first = self.paused.fetch_add(1, Ordering::Relaxed) == 0;
        if is_first {
            self.pauses.fetch_add(1, Ordering::Relaxed);
        }
        Pause {
            strain: Arc::clone(self),
            is_first,
        }
    }

    /// Whether some acceptor pauses.
    pub fn is_accepting_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed) > 0
    }

    /// How often accepting has paused.
    pub fn pauses(&self) -> u64 {
        self.pauses.load(Ordering::Relaxed)
    }

    /// How much memory is in use, of `limit` bytes (0: no limit).
    pub fn set_memory(&self, level: MemoryLevel, limit: u64) {
        self.memory.store(level as u8, Ordering::Relaxed);
        self.memory_limit.store(limit, Ordering::Relaxed);
    }

    /// How much memory is in use.
    pub fn memory(&self) -> MemoryLevel {
        let level = usize::from(self.memory.load(Ordering::Relaxed));
        LEVELS.get(level).copied().unwrap_or_default()
    }

    /// The bytes this process may have; 0 without a limit.
    pub fn memory_limit(&self) -> u64 {
        self.memory_limit.load(Ordering::Relaxed)
    }

    /// Whether a request that begins is refused.
    pub fn refuses_requests(&self) -> bool {
        self.memory.load(Ordering::Relaxed) >= MemoryLevel::Scarce as u8
    }

    /// Whether connections that wait for nothing in particular are better closed.
    pub fn ends_idle(&self) -> bool {
        self.is_accepting_paused() || self.memory() >= MemoryLevel::Short
    }
}

/// One acceptor that pauses.
#[derive(Debug)]
pub struct Pause {
    strain: Arc<Strain>,
    /// Nobody paused before.
    pub is_first: bool,
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.strain.paused.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_is_paused_until_the_last_acceptor_goes_on() {
        let strain = Arc::new(Strain::default());
        let (first, second) = (strain.pause(), strain.pause());
        assert!(first.is_first && !second.is_first);
        drop(first);
        assert!(strain.is_accepting_paused());
        drop(second);
        assert!(!strain.is_accepting_paused());
        let again = strain.pause();
        assert!(again.is_first && strain.ends_idle());
        assert_eq!(strain.pauses(), 2);
    }

    #[test]
    fn each_level_of_memory_does_more() {
        let strain = Strain::default();
        for (level, refuses, ends_idle) in [
            (MemoryLevel::Enough, false, false),
            (MemoryLevel::Scarce, true, false),
            (MemoryLevel::Short, true, true),
            (MemoryLevel::Exhausted, true, true),
        ] {
            strain.set_memory(level, 100);
            assert_eq!(strain.memory(), level);
            let does = (strain.refuses_requests(), strain.ends_idle());
            assert_eq!(does, (refuses, ends_idle), "{level:?}");
        }
    }
}
