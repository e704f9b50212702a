//! The nouns everything else talks in. Plain values: no I/O, no clock, no policy.

pub mod address;
pub mod event;
pub mod failure;
pub mod flags;
pub mod name;
pub mod role;
pub mod verdict;
