//! The data plane: everything that touches a client's bytes. It picks, counts and reports; it never
//! writes upstream state.
//!
//! Start at `worker` (one thread's context), then `http/forward` (an exchange) or `tcp/session`
//! (an L4 session).

pub mod alarm;
pub mod buffers;
pub mod connection;
pub mod error;
pub mod http;
pub mod listener;
pub mod worker;
