//! The data plane: everything that touches a client's bytes. It picks, counts and reports; it never
//! writes upstream state.
//!
//! Start at `worker` (one thread's context), then `http/forward` (an exchange) or `tcp/session`
//! (an L4 session).

pub mod alarm;
pub mod behind;
pub mod buffers;
pub mod connection;
pub mod error;
pub mod explain;
pub mod hold;
#[cfg(test)]
mod hold_tests;
pub mod http;
pub mod listener;
pub mod origin;
pub mod postgres;
pub mod redis;
pub mod secure;
pub mod tcp;
#[cfg(test)]
pub(crate) mod testing;
pub mod wire;
pub mod worker;
