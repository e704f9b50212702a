//! The process: threads, accepting, applying a configuration, signals, drain.

pub mod accept;
pub mod threads;
