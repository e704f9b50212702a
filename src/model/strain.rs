//! What the process is short of. Written by whoever notices, read by both planes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How short the process is of descriptors.
#[derive(Debug, Default)]
pub struct Strain {
    paused: AtomicUsize,
    pauses: AtomicU64,
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

    /// Whether connections that wait for nothing in particular are better closed.
    pub fn ends_idle(&self) -> bool {
        self.is_accepting_paused()
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
}
