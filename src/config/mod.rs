//! What the operator asked: read, checked as a whole, then plain values that cannot be wrong.
//!
//! Start at [`load()`]: text in, a [`Config`] or all [`problem::Problem`]s out. `file` is the text as
//! written, `resolve` turns it into the types of `listener`, `route`, `upstream` and `process`.

pub mod default;
pub mod diff;
pub mod dump;
pub mod file;
pub mod fuzz;
pub mod lint;
pub mod listener;
pub mod load;
pub mod problem;
pub mod process;
mod resolve;
pub mod route;
pub mod secret;
pub mod source;
pub mod template;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod upstream;

pub use load::{LoadError, Loaded, load, parse};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::listener::Listener;
use crate::config::process::{Admin, Log, Metrics, Process};
use crate::config::route::Route;
use crate::config::tls::Certificate;
use crate::config::upstream::Upstream;
use crate::model::name::Name;

/// A whole configuration, checked: every reference exists, every bound holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Threads, limits, drain.
    pub process: Process,
    /// Where the API listens.
    pub admin: Admin,
    /// Where `/metrics`, `/livez` and `/readyz` listen besides.
    pub metrics: Metrics,
    /// Logs and the access log.
    pub log: Log,
    /// By name.
    pub listeners: BTreeMap<Name, Arc<Listener>>,
    /// By name. Order never matters: the most specific route wins.
    pub routes: BTreeMap<Name, Arc<Route>>,
    /// By name.
    pub upstreams: BTreeMap<Name, Arc<Upstream>>,
    /// By name.
    pub certificates: BTreeMap<Name, Arc<Certificate>>,
}
