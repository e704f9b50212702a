//! Idle upstream connections of one worker, and nothing else.
//!
//! Last in, first out: the connection used last is the least likely to have been closed by the
//! endpoint. One that is readable while idle has been closed, or has said something nobody asked
//! for; either way it is never used again.
//!
//! A connection that began with a PROXY protocol header has told the endpoint who its client is: it
//! carries requests of that client connection and of no other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::base::time::Time;
use crate::io::net::stream::Stream;
use crate::upstream::endpoint::{Endpoint, Incarnation};
use crate::upstream::lease::Lease;

/// The idle connections of one worker, by endpoint.
#[derive(Debug, Default)]
pub struct Pool {
    /// Keyed by the address of the endpoint's shared part, which the entry keeps alive.
    endpoints: RefCell<HashMap<usize, Idle>>,
}

#[derive(Debug)]
struct Idle {
    endpoint: Arc<Endpoint>,
    incarnation: Arc<Incarnation>,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: Stream,
    /// When it has been idle for too long.
    until: Time,
    /// The number of the only client connection that may use it; none = any.
    owner: Option<u64>,
}

impl Pool {
    /// An idle connection to the leased endpoint that the client connection of this number may use,
    /// if there is a usable one.
    pub fn checkout(&self, lease: &Lease, client: u64) -> Option<Stream> {
        let mut endpoints = self.endpoints.borrow_mut();
        let idle = endpoints.get_mut(&key(lease.endpoint()))?;
        let owner = owner(lease, client);
        // The last one, unless they belong to clients.
        while let Some(at) = idle.connections.iter().rposition(|it| it.owner == owner) {
            let mut connection = idle.connections.remove(at);
            if connection.stream.is_quiet() {
                return Some(connection.stream);
            }
        }
        None
    }

    /// Keeps a connection whose last exchange, of the client connection of this number, ended cleanly,
    /// if there is room.
    pub fn checkin(&self, lease: &Lease, stream: Stream, client: u64, now: Time) {
        if lease.incarnation().is_retired() {
            return;
        }
        let mut endpoints = self.endpoints.borrow_mut();
        let idle = endpoints
            .entry(key(lease.endpoint()))
            .or_insert_with(|| Idle {
                endpoint: Arc::clone(lease.endpoint()),
                incarnation: Arc::clone(lease.incarnation()),
                connections: Vec::new(),
            });
        let config = &lease.snapshot().config;
        let owner = owner(lease, client);
        // Connections of clients that have left are of no use: the oldest makes room.
        if owner.is_some() && idle.connections.len() >= config.keepalive_max.max(1) {
            idle.connections.remove(0);
        }
        if idle.connections.len() < config.keepalive_max {
            idle.connections.push(Connection {
                stream,
                until: now.after(config.keepalive_timeout),
                owner,
            });
        }
    }

    /// Closes what is too old, was closed by the endpoint, or belongs to one that left; everything when
    /// `ends_idle`.
    pub fn sweep(&self, now: Time, ends_idle: bool) {
        self.endpoints.borrow_mut().retain(|_, idle| {
            if ends_idle || idle.incarnation.is_retired() {
                return false;
            }
            idle.connections
                .retain_mut(|it| now < it.until && it.stream.is_quiet());
            // Nobody else knows the endpoint any more: its upstream is gone.
            !idle.connections.is_empty() || Arc::strong_count(&idle.endpoint) > 1
        });
    }
}

/// The client connection that alone may use a connection to this endpoint.
fn owner(lease: &Lease, client: u64) -> Option<u64> {
    lease.snapshot().config.proxy_protocol.map(|_| client)
}

fn key(endpoint: &Arc<Endpoint>) -> usize {
    Arc::as_ptr(endpoint) as usize
}
