//! The process: threads, accepting, putting a configuration in force, signals, drain.
//!
//! Start at [`run`](run::run) (the program) or [`Server`](start::Server) (one process's worth of
//! fairlead, also inside a test).

pub mod accept;
pub mod apply;
pub mod certificates;
pub mod descriptors;
pub mod listening;
pub mod memory;

pub mod run;
pub mod start;
pub mod systemd;
pub mod threads;
pub mod tls;
