//! Answers per second of every endpoint, from its counts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;

use crate::base::time::Time;
use crate::model::name::Name;
use crate::upstream::cell::UpstreamCell;

/// Samples a rate is made of: about three seconds of pictures.
const SAMPLES: usize = 12;

/// Answers per second, by endpoint.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<Name, VecDeque<(Time, u64)>>);

impl Rates {
    /// Takes a sample of everything in an upstream.
    pub(super) fn sample(&mut self, cell: &UpstreamCell, now: Time) {
        for view in &cell.snapshot.load().endpoints {
            let answers = view.endpoint.counts.answers.iter();
            let count = answers.map(|count| count.load(Ordering::Relaxed)).sum();
            let samples = self.0.entry(view.endpoint.id.clone()).or_default();
            samples.push_back((now, count));
            if samples.len() > SAMPLES {
                samples.pop_front();
            }
        }
    }

    /// Answers per second, once there are two samples.
    pub(super) fn rate(&self, endpoint: &str) -> Option<f64> {
        let samples = self.0.get(endpoint)?;
        let ((from, before), (to, after)) = (samples.front()?, samples.back()?);
        let seconds = to.since(*from).as_secs_f64();
        (seconds > 0.0).then(|| after.saturating_sub(*before) as f64 / seconds)
    }
}
