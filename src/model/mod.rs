//! The nouns everything else talks in. Plain values: no I/O, no clock, no policy.

pub mod address;
pub mod event;
pub mod failure;
pub mod fence;
pub mod flags;
pub mod name;
pub mod network;
pub mod order;
pub mod role;
pub mod source;
pub mod strain;
pub mod verdict;
