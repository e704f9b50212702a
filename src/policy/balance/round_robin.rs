//! In turn, smoothly by weight.
//!
//! The order is worked out once (the smooth weighted round robin nginx uses: weights 5, 1, 1 give
//! a a b a c a a), so that a pick is one atomic addition.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::rng::Rng;
use crate::policy::balance::{Balance, Candidates};

/// Longer orders are scaled down: the error of a share stays below a thousandth or so.
const TURNS_MAX: u64 = 1024;

/// The precomputed order and where it stands. Workers share the cursor.
#[derive(Debug)]
pub struct RoundRobin {
    turns: Box<[u16]>,
    cursor: AtomicUsize,
}

impl RoundRobin {
    /// For endpoints of these weights, in this order. A weight of 0 counts as 1: who must get
    /// nothing is no candidate.
    pub fn new(weights: &[u32]) -> RoundRobin {
        RoundRobin {
            turns: turns(&scaled(weights)),
            cursor: AtomicUsize::new(0),
        }
    }
}

impl Balance for RoundRobin {
    fn pick(&self, candidates: &dyn Candidates, _rng: &mut Rng) -> Option<usize> {
        let length = self.turns.len();
        if length == 0 {
            return None;
        }
        let start = self.cursor.fetch_add(1, Ordering::Relaxed) % length;
        let (before, from) = self.turns.split_at_checked(start)?;
        from.iter()
            .chain(before)
            .map(|position| usize::from(*position))
            .find(|position| *position < candidates.count() && !candidates.is_tried(*position))
    }
}

/// The weights divided by what they have in common, and scaled down to [`TURNS_MAX`] turns when
/// they ask for more; nobody falls below one turn.
fn scaled(weights: &[u32]) -> Vec<u64> {
    let mut weights: Vec<u64> = weights.iter().map(|w| u64::from(*w).max(1)).collect();
    let common = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    weights.iter_mut().for_each(|weight| *weight /= common);
    let sum: u64 = weights.iter().sum();
    if sum > TURNS_MAX {
        for weight in &mut weights {
            *weight = ((*weight * TURNS_MAX + sum / 2) / sum).max(1);
        }
    }
    weights
}

/// Each turn goes to the one with the most credit: everybody gains its weight per turn, the winner
/// pays the sum.
fn turns(weights: &[u64]) -> Box<[u16]> {
    let positions = || 0..u16::try_from(weights.len()).unwrap_or(u16::MAX);
    if weights.iter().all(|weight| *weight == 1) {
        return positions().collect();
    }
    let sum: u64 = weights.iter().sum();
    let mut credits: Vec<i64> = vec![0; weights.len()];
    let mut next = || {
        let mut best: Option<(u16, i64)> = None;
        for ((credit, weight), position) in credits.iter_mut().zip(weights).zip(positions()) {
            *credit = credit.saturating_add_unsigned(*weight);
            if best.is_none_or(|(_, most)| *credit > most) {
                best = Some((position, *credit));
            }
        }
        let (position, _) = best?;
        let credit = credits.get_mut(usize::from(position))?;
        *credit = credit.saturating_sub_unsigned(sum);
        Some(position)
    };
    (0..sum).map_while(|_| next()).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_smooth_and_bounded() {
        for (weights, order) in [
            (&[5, 1, 1][..], &[0, 0, 1, 0, 2, 0, 0][..]),
            (&[100, 100, 100], &[0, 1, 2]),
            (&[10, 20], &[1, 0, 1]),
            (&[0, 0], &[0, 1]),
            (&[], &[]),
        ] {
            assert_eq!(&*RoundRobin::new(weights).turns, order, "{weights:?}");
        }
        let uneven: Vec<u32> = (1..=1000).collect();
        assert!(RoundRobin::new(&uneven).turns.len() <= 2048);
        assert!(RoundRobin::new(&[1000, 999, 7]).turns.len() <= 1024 + 3);
    }
}
