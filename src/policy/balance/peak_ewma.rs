//! The better of two by latency × (in flight + 1) ÷ weight.
//!
//! Two choices by chance, not the best of all: workers that all saw the same best endpoint would
//! all send to it at once.

use crate::base::rng::Rng;
use crate::policy::balance::{Balance, Candidates, Load, SCAN_MAX, pair};

/// See the module. It has no state: the estimates live in the endpoints.
#[derive(Debug)]
pub struct PeakEwma;

impl Balance for PeakEwma {
    fn pick(&self, candidates: &dyn Candidates, rng: &mut Rng) -> Option<usize> {
        let (first, second) = pair(candidates, rng)?;
        let Some(second) = second else {
            return Some(first);
        };
        let (a, b) = (candidates.load(first), candidates.load(second));
        let unmeasured = match (a.latency_micros, b.latency_micros) {
            (Some(_), Some(_)) => 0.0,
            (a, b) => average(candidates).or(a).or(b).unwrap_or(1.0),
        };
        let is_second_better = cost(b, unmeasured) < cost(a, unmeasured);
        Some(if is_second_better { second } else { first })
    }
}

/// The average of the measured latencies, where there are few enough to look at.
fn average(candidates: &dyn Candidates) -> Option<f32> {
    let count = candidates.count();
    if count > SCAN_MAX {
        return None;
    }
    let measured = (0..count).filter_map(|position| candidates.load(position).latency_micros);
    let (sum, number) = measured.fold((0.0, 0.0), |(sum, number), latency| {
        (sum + latency, number + 1.0)
    });
    (number > 0.0).then(|| sum / number)
}

/// An endpoint without an estimate costs as much as the average one: as zero it would get a burst
/// of everything, as infinite it would never be measured.
fn cost(load: Load, unmeasured: f32) -> f32 {
    load.latency_micros.unwrap_or(unmeasured) * (load.in_flight as f32 + 1.0)
        / load.weight.max(1) as f32
}
