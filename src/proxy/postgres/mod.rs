//! Postgres sessions: the first packets are understood (`startup`), the rest is relayed as it is.
//!
//! Messages are not followed yet, so a session that is cut by a change of role just ends: an
//! `ErrorResponse` in the middle of another message would be worse than none.

pub mod cancel;
pub mod manner;
pub mod reply;
pub mod session;
pub mod startup;

#[cfg(test)]
mod tests;
