//! Choosing one of several eligible endpoints.
//!
//! One trait, one file per policy, one arm in [`build`]. A policy sees only loads: whether an
//! endpoint may be picked at all was decided before, by its flags.

use crate::base::rng::Rng;

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
    /// Whether this exchange has tried it already. It is taken only when nothing else is left.
    fn is_tried(&self, position: usize) -> bool;
}

/// A balancing policy.
pub trait Balance: Send + Sync + std::fmt::Debug {
    /// The position of the endpoint to use; `None` when there are no candidates, or all of them
    /// were tried.
    fn pick(&self, candidates: &dyn Candidates, rng: &mut Rng) -> Option<usize>;
}
