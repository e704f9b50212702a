//! What is remembered of an upstream's past across restarts: only ever a reason to refuse.

use crate::model::name::Name;
use crate::model::role::ReplicationId;

/// The newest history ever verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// Postgres: below this timeline nobody is primary.
    Postgres {
        /// Whose timelines these are.
        system_identifier: u64,
        /// The highest verified.
        timeline: u32,
        /// Endpoints that went on with a newer one against whom the manager or an operator named:
        /// refused until one of these names them. At most `config::default::STRAYS_MAX`.
        strays: Vec<Name>,
    },
    /// Redis: who leads by one of these histories, or by an unknown one, is not primary.
    Redis {
        /// Promotions counted.
        epoch: u64,
        /// The ids of the newest history, the last one newest. Empty when it tells none.
        head: Vec<ReplicationId>,
        /// Histories that are over.
        superseded: Vec<ReplicationId>,
        /// As for Postgres.
        strays: Vec<Name>,
    },
}
