//! The control plane: it decides, publishes and tells; it never touches a request.
//!
//! `actor` owns one upstream, `probing` its probes; `journal` keeps what happened; `admin` is the
//! API over HTTP; `reload` notices a changed file; `readiness` says whether the process may be sent
//! traffic.

pub mod actor;
pub mod admin;
pub mod journal;
mod lookup;
mod probing;
pub mod readiness;
pub mod reload;
