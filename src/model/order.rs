//! What an operator orders of an upstream, over the admin socket.

use std::time::Duration;

use crate::base::time::Time;
use crate::model::name::Name;
use crate::model::role::Epoch;

/// One order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// This endpoint is primary now: ask it at once, and believe it if it says so itself.
    Primary {
        /// `host:port`.
        endpoint: Name,
        /// Refused unless this is newer than the fence, or the fence itself for its holder.
        epoch: Option<Epoch>,
        /// Takes the fence back to what this endpoint says of itself: the operator accepts that what
        /// a newer history has acknowledged is lost.
        is_forced: bool,
    },
    /// Hold new sessions; what runs may finish its transaction.
    Pause {
        /// It ends by itself then.
        until: Time,
        /// Transactions may go on for this long, then they are cut.
        grace: Duration,
        /// Ends when another primary than the present one is verified (`switch`).
        ends_with_switch: bool,
        /// `switch`: who is expected.
        candidate: Option<Name>,
    },
    /// End a pause.
    Resume,
}

/// Why an order was not carried out. Says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefused {
    /// The upstream's kind has no roles.
    #[error("{0}")]
    NoRoles(String),
    /// No such endpoint.
    #[error("{0}")]
    UnknownEndpoint(String),
    /// The epoch is not newer, or the endpoint is fenced.
    #[error("{0}")]
    Conflict(String),
    /// The endpoint does not say itself that it is primary.
    #[error("{0}")]
    NotVerified(String),
}
