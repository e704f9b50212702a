//! Arithmetic and plumbing without a domain word. Uses nothing else of the crate.

pub mod backoff;
pub mod bell;
pub mod ewma;
pub mod published;
pub mod ring;
pub mod rng;
pub mod task;
pub mod ticks;
pub mod time;
