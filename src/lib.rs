//! fairlead: a health-aware L4/L7 load balancer and proxy.
//!
//! The folders are layers; each may use only those before it (`tests/tidy.rs` checks):
//! `base → model → config → { telemetry, policy } → { upstream, io } → { proxy, control } →
//! server → cli`. ARCHITECTURE.md tells the rest.

pub mod base;
pub mod cli;
pub mod config;
pub mod control;
#[doc(hidden)]
pub mod fuzz;
pub mod io;
pub mod model;
pub mod policy;
pub mod proxy;
pub mod server;
pub mod telemetry;
pub mod upstream;
