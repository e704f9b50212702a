//! TLS handshakes of one listener: how many, in which way, how long they took, why others failed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::telemetry::catalog;
use crate::telemetry::families::Families;
use crate::telemetry::local::{Distribution, Durations, PerWorker, Tally, WordTallies};

/// One worker's counts.
#[derive(Debug, Default)]
pub struct HandshakeTallies {
    /// Whole ones and resumed ones, of TLS 1.2 and of 1.3.
    done: [[Tally; 2]; 2],
    durations: Durations,
    failed: WordTallies,
}

impl HandshakeTallies {
    /// One is done, from the first byte of a client that was waited for to the last of its own.
    pub fn done(&self, is_tls13: bool, is_resumed: bool, took: Duration) {
        let [tls12, tls13] = &self.done;
        let [whole, resumed] = if is_tls13 { tls13 } else { tls12 };
        if is_resumed { resumed } else { whole }.add(1);
        self.durations.observe(took);
    }

    /// One failed: a word of the code.
    pub fn failed(&self, reason: &'static str) {
        self.failed.add(reason);
    }
}

impl Families {
    /// The series of one listener; none for one that never had a handshake.
    pub(super) fn handshakes<T: Default>(
        &mut self,
        listener: &str,
        workers: &PerWorker<T>,
        of: impl Fn(&T) -> &HandshakeTallies,
    ) {
        let mut took = Distribution::default();
        let mut count = 0;
        for (version, tls) in ["1.2", "1.3"].into_iter().enumerate() {
            for (way, is_resumed) in ["false", "true"].into_iter().enumerate() {
                let tallies = workers
                    .iter()
                    .filter_map(|worker| Some(of(worker).done.get(version)?.get(way)?.value()));
                let done: u64 = tallies.sum();
                count += done;
                if done > 0 {
                    let labels = [listener, tls, is_resumed];
                    self.number(&catalog::TLS_HANDSHAKES, &labels, done);
                }
            }
        }
        let mut failed: BTreeMap<&str, u64> = BTreeMap::new();
        for worker in workers.iter().map(of) {
            took.add(&worker.durations);
            for (reason, count) in worker.failed.iter() {
                *failed.entry(reason).or_default() += count;
            }
        }
        for (reason, count) in failed {
            self.number(&catalog::TLS_HANDSHAKE_FAILURES, &[listener, reason], count);
        }
        if count > 0 {
            self.histogram(&catalog::TLS_HANDSHAKE_DURATION, listener, &took);
        }
    }
}
