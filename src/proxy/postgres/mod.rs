//! Postgres sessions: the first packets are understood (`startup`), the rest is relayed as it is and
//! followed by its heads (`follow`), so
//! that `conduct` knows when and how a session may end, and where it can be cancelled (`keys`).

pub mod cancel;
pub mod conduct;
pub mod follow;
pub mod keys;
pub mod manner;
pub mod quota;
pub mod reply;
pub mod session;
pub mod startup;
pub mod tables;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_running;
