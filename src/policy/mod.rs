//! Pure decisions, blind to each other: no I/O, no clock, no async, no hidden randomness.
//!
//! `now` and a seeded generator come in, values go out. That is why they can be simulated.

pub mod balance;
pub mod failover;
pub mod health;
pub mod lag;
pub mod quorum;
pub mod release;
pub mod route;
pub mod topology;
