//! One bell per worker, rung by the control plane when sessions must look up: a role changed, an
//! endpoint left, a drain began. Ringing carries no message; the worker looks for itself.

use std::sync::Arc;

use tokio::sync::Notify;

/// The bells of all workers. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Bells(Arc<[Arc<Notify>]>);

impl Bells {
    /// As many bells as there are workers.
    pub fn new(workers: usize) -> Bells {
        Bells((0..workers).map(|_| Arc::new(Notify::new())).collect())
    }

    /// The bell of one worker.
    pub fn bell(&self, worker: usize) -> Option<Arc<Notify>> {
        self.0.get(worker).map(Arc::clone)
    }

    /// Rings them all. A worker that is busy hears it later, once.
    pub fn ring(&self) {
        self.0.iter().for_each(|bell| bell.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bell_rung_early_is_heard_later() {
        let bells = Bells::new(2);
        bells.ring();
        bells.bell(1).unwrap().notified().await;
        assert!(bells.bell(2).is_none());
    }
}
