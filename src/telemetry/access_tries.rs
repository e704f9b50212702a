//! What a record tells of the endpoints that were tried, when the first one did not do.

use std::time::Duration;

use crate::model::name::Name;

/// Of more than so many tries the last ones are told; a record has the number of all.
pub const TRIES_MAX: usize = 8;

/// The tries of an exchange or a session, in their order.
#[derive(Debug, Clone, Default)]
pub struct Tries(Vec<Try>);

/// One of them.
#[derive(Debug, Clone)]
pub struct Try {
    /// Which endpoint.
    pub endpoint: Name,
    /// `ok`, or the reason why not.
    pub outcome: &'static str,
    /// To the first byte of the answer, for a session to the connection; or to the failure.
    pub took: Duration,
}

impl Tries {
    /// One more.
    pub fn add(&mut self, endpoint: &Name, outcome: &'static str, took: Duration) {
        if self.0.len() >= TRIES_MAX {
            self.0.remove(0);
        }
        self.0.push(Try {
            endpoint: endpoint.clone(),
            outcome,
            took,
        });
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that are told.
    pub fn iter(&self) -> impl Iterator<Item = &Try> {
        self.0.iter()
    }
}
