//! Postgres sessions: the first packets are understood (`startup`), the rest is relayed as it is and
//! followed by its heads (`follow`).

pub mod cancel;
pub mod follow;
pub mod keys;
pub mod manner;
pub mod quota;
pub mod reply;
pub mod session;
pub mod startup;

#[cfg(test)]
mod tests;
