//! Sessions: one client connection on one endpoint, from accept to close.
//!
//! `session` begins it, `running` is its life while bytes flow, `record` what is kept of
//! it. `postgres` and `redis` begin and
//! refuse in their own words and use the same parts.

pub mod record;
pub mod running;
pub mod session;

#[cfg(test)]
mod tests;
