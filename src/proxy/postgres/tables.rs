//! What the Postgres sessions of all workers share.

use std::sync::Arc;

use crate::proxy::postgres::keys::CancelKeys;
use crate::proxy::postgres::quota::Quotas;
use crate::telemetry::local::Tally;

/// See the module. One per process.
#[derive(Debug, Default)]
pub struct Tables {
    /// Where running sessions can be cancelled.
    pub keys: Arc<CancelKeys>,
    /// How many sessions users and databases have.
    pub quotas: Arc<Quotas>,
}

impl Tables {
    /// Empty ones; `refused` counts the sessions whose key found no room.
    pub fn new(refused: Arc<Tally>) -> Tables {
        Tables {
            keys: Arc::new(CancelKeys::new(refused)),
            quotas: Arc::default(),
        }
    }
}
