//! Idle upstream connections of one worker, and nothing else.
//!
//! Last in, first out: the connection used last is the least likely to have been closed by the
//! endpoint. One that is readable while idle has been closed, or has said something nobody asked
//! for; either way it is never used again.

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
    connections: Vec<(Stream, Time)>,
}

impl Pool {
    /// An idle connection to the leased endpoint, if there is a usable one.
    pub fn checkout(&self, lease: &Lease) -> Option<Stream> {
        let mut endpoints = self.endpoints.borrow_mut();
        let idle = endpoints.get_mut(&key(lease.endpoint()))?;
        while let Some((mut connection, _)) = idle.connections.pop() {
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose last exchange ended cleanly, if there is room.
    pub fn checkin(&self, lease: &Lease, connection: Stream, now: Time) {
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
        if idle.connections.len() < config.keepalive_max {
            idle.connections
                .push((connection, now.after(config.keepalive_timeout)));
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
                .retain_mut(|(stream, until)| now < *until && stream.is_quiet());
            // Nobody else knows the endpoint any more: its upstream is gone.
            !idle.connections.is_empty() || Arc::strong_count(&idle.endpoint) > 1
        });
    }
}

fn key(endpoint: &Arc<Endpoint>) -> usize {
    Arc::as_ptr(endpoint) as usize
}
