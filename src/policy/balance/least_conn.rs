//! The fewest in flight per weight: of all where they are few, else the better of two.

use crate::base::rng::Rng;
use crate::policy::balance::{Balance, Candidates, Load, SCAN_MAX, pair};

/// See the module. It has no state: the counts live in the endpoints.
#[derive(Debug)]
pub struct LeastConn;

impl Balance for LeastConn {
    fn pick(&self, candidates: &dyn Candidates, rng: &mut Rng) -> Option<usize> {
        let count = candidates.count();
        if count > SCAN_MAX {
            let (first, second) = pair(candidates, rng)?;
            let better =
                second.filter(|second| is_less(candidates.load(*second), candidates.load(first)));
            return Some(better.unwrap_or(first));
        }
        let mut best: Option<(usize, Load)> = None;
        let mut equals = 1;
        for position in (0..count).filter(|position| !candidates.is_tried(*position)) {
            let load = candidates.load(position);
            let takes = match best {
                None => true,
                Some((_, least)) if is_less(load, least) => {
                    equals = 1;
                    true
                }
                Some((_, least)) if is_less(least, load) => false,
                // The n-th equal one wins with chance 1/n, so each of them is as likely.
                Some(_) => {
                    equals += 1;
                    rng.below(equals) == 0
                }
            };
            if takes {
                best = Some((position, load));
            }
        }
        best.map(|(position, _)| position)
    }
}

/// `(in flight + 1) ÷ weight` compared without dividing.
fn is_less(a: Load, b: Load) -> bool {
    let share = |of: Load, by: Load| (u64::from(of.in_flight) + 1) * u64::from(by.weight.max(1));
    share(a, b) < share(b, a)
}
