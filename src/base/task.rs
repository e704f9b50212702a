//! The one place that starts tasks: it counts the living and the panicked.
//!
//! A panic ends its task alone: one connection, one probe. The count makes it visible.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::task::JoinHandle;

/// A family of tasks with common counts. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    live: AtomicUsize,
    panics: AtomicU64,
}

impl Tasks {
    /// Starts a task that may move between the threads of the current runtime.
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the one place that starts tasks"
    )]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let counted = self.count();
        tokio::spawn(async move {
            let _counted = counted;
            future.await
        })
    }

    /// Starts a task that stays on the current worker's thread.
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the one place that starts tasks"
    )]
    pub fn spawn_local<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let counted = self.count();
        tokio::task::spawn_local(async move {
            let _counted = counted;
            future.await
        })
    }

    /// Tasks that have not ended.
    pub fn live(&self) -> usize {
        self.0.live.load(Ordering::Relaxed)
    }

    /// Tasks that ended in a panic.
    pub fn panics(&self) -> u64 {
        self.0.panics.load(Ordering::Relaxed)
    }

    fn count(&self) -> Counted {
        self.0.live.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.0))
    }
}

/// Held by a task for its whole life.
struct Counted(Arc<Counts>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            self.0.panics.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_counted_and_ends_only_its_task() {
        let tasks = Tasks::default();
        assert!(tasks.spawn(async { panic!("on purpose") }).await.is_err());
        assert_eq!(tasks.spawn(async { 7 }).await.unwrap(), 7);
        assert_eq!((tasks.live(), tasks.panics()), (0, 1));
    }
}
