//! Choosing one of several eligible endpoints.
//!
//! One trait, one file per policy, one arm in [`build`]. A policy sees only loads: whether an
//! endpoint may be picked at all was decided before, by its flags.

pub mod least_conn;
pub mod peak_ewma;
pub mod round_robin;

use crate::base::rng::Rng;
use crate::config::upstream;

/// What a policy knows of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Relative weight, at least 1.
    pub weight: u32,
    /// Exchanges or sessions that run on it now.
    pub in_flight: u32,
    /// Peak EWMA of its latency; `None` before the first answer.
    pub latency_micros: Option<f32>,
}

/// The endpoints to choose from, by position.
pub trait Candidates {
    /// How many there are.
    fn count(&self) -> usize;
    /// The load of one; positions are below [`Candidates::count`].
    fn load(&self, position: usize) -> Load;
    /// Whether this exchange has tried it already. It is never taken again.
    fn is_tried(&self, position: usize) -> bool;
}

/// A balancing policy.
pub trait Balance: Send + Sync + std::fmt::Debug {
    /// The position of the endpoint to use; `None` when there are no candidates, or all of them
    /// were tried.
    fn pick(&self, candidates: &dyn Candidates, rng: &mut Rng) -> Option<usize>;
}

/// Up to this many candidates a policy looks at all of them; above it, at two. Sixteen loads are
/// read in about the time of one cache miss, and small upstreams are where a chance pair is bad.
const SCAN_MAX: usize = 16;

/// The policy an upstream asks for, made for endpoints of these weights, in this order.
pub fn build(balance: upstream::Balance, weights: &[u32]) -> Box<dyn Balance> {
    match balance {
        upstream::Balance::Ewma { .. } => Box::new(peak_ewma::PeakEwma),
        upstream::Balance::LeastConn => Box::new(least_conn::LeastConn),
        upstream::Balance::RoundRobin => Box::new(round_robin::RoundRobin::new(weights)),
    }
}

/// Two different untried positions by chance; one when only one is left, none when all were tried.
fn pair(candidates: &dyn Candidates, rng: &mut Rng) -> Option<(usize, Option<usize>)> {
    let count = candidates.count();
    if count > SCAN_MAX {
        let first = draw(candidates, count, None, rng)?;
        return Some((first, draw(candidates, count, Some(first), rng)));
    }
    let mut left = [0_usize; SCAN_MAX];
    let mut size = 0;
    for position in (0..count).filter(|position| !candidates.is_tried(*position)) {
        if let Some(slot) = left.get_mut(size) {
            *slot = position;
            size += 1;
        }
    }
    if size == 0 {
        return None;
    }
    let first = rng.below(size);
    // The second is drawn from the others: a draw that hits the first takes the last instead.
    let second = rng.below(size.saturating_sub(1));
    let second = if second == first { size - 1 } else { second };
    let at = |index: usize| left.get(index).copied();
    Some((at(first)?, at(second).filter(|_| size > 1)))
}

/// One untried position by chance other than `except`. Draws a few times, then takes the next one
/// that will do: few of many are ever tried, so this ends soon.
fn draw(
    candidates: &dyn Candidates,
    count: usize,
    except: Option<usize>,
    rng: &mut Rng,
) -> Option<usize> {
    let fits = |position: &usize| Some(*position) != except && !candidates.is_tried(*position);
    let drawn = (0..4).map(|_| rng.below(count)).find(fits);
    drawn.or_else(|| {
        let start = rng.below(count);
        (0..count).map(|step| (start + step) % count).find(fits)
    })
}

#[cfg(test)]
mod tests;
