//! The control plane: it decides, publishes and tells; it never touches a request.
//!
//! `actor` owns one upstream, `effects` carries out what its machine wants, `probing` runs its probes,
//! `sourcing` its source, `lookup` looks up its names, `orders` brings it
//! what operators order; `fences` outlive the process, in files as
//! `fence_file` reads and writes them; `journal` keeps what happened; `admin` is the API over HTTP;
//! `reload` notices a changed file; `readiness` says whether the process may be sent traffic.

pub mod actor;
pub mod admin;
mod effects;
pub mod fence_file;
pub mod fences;
pub mod journal;
mod lookup;
pub mod orders;
mod probing;
pub mod readiness;
pub mod reload;
mod sourcing;
