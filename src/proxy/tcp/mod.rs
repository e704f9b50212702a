//! Sessions: one client connection on one endpoint, from accept to close.
//!
//! `session` begins it, `introduce` tells the endpoint whose it is, `secure` has TLS with its client, `trial` sees whether the endpoint serves it, `running` is its life while
//! bytes flow, `conduct` what its protocol knows of it then, `ending` its end
//! when it does not come to that, `record` what is kept of it. `postgres` and `redis` begin and refuse in their own
//! words and use the same parts.

pub mod by_name;
pub mod conduct;
pub mod ending;
pub mod introduce;
pub mod record;
pub mod running;
pub mod secure;
pub mod session;
pub mod trial;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_conduct;
