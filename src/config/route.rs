//! `[routes.x]`: a match and what to do with it.

use std::time::Duration;

use crate::model::name::Name;

/// One route of `http` listeners, or of `tcp` listeners that pass TLS on.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its table name.
    pub name: Name,
    /// The listeners it belongs to; at least one.
    pub listeners: Vec<Name>,
    /// Lower-case host names, exact or with one leading `*.`; empty matches every host.
    pub hosts: Vec<String>,
    /// The hosts are names that TLS clients ask for (SNI), and the listeners `tcp`.
    pub is_by_sni: bool,
    /// Begins with `/`, does not end with one (but for `/` itself); matches whole segments:
    /// `/l01` takes `/l01` and `/l01/x`, not `/l012`.
    pub path_prefix: String,
    /// Where it sends.
    pub upstream: Name,
    /// The whole exchange, retries included; none = unlimited.
    pub timeout: Option<Duration>,
    /// How often it tries again.
    pub retry: Retry,
}

/// When a failed attempt is tried again on another endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Further attempts after the first. A connection failure counts for every method, a reset
    /// before the answer only for idempotent methods without a body (RFC 9110 §9.2.2).
    pub attempts: u32,
}
