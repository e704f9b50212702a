//! What is seen: metrics, the access log, the log of changes.
//!
//! `catalog` lists every metric; `handles` is what the data plane counts through, over the
//! per-worker numbers of `local`; `metrics` gives handles out and prints all of it for a scrape,
//! with the `reading`s of the upstreams as `families`. `access_log` writes one `access_record` per
//! exchange or session; `log` sets up the log of changes.

pub mod access_log;
pub mod access_record;
pub mod access_template;
pub mod access_text;
pub mod access_tries;
pub mod catalog;
mod families;
pub mod handles;
pub mod handshakes;
pub mod local;
pub mod log;
pub mod metrics;
pub mod reading;
