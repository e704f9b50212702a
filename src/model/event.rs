//! What changed and is worth telling: the journal, the log and the demo all read these.

use std::time::Duration;

use crate::base::time::Time;
use crate::model::name::Name;
use crate::model::role::{Epoch, Role};

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When it was decided.
    pub at: Time,
    /// The upstream it happened in.
    pub upstream: Name,
    /// What happened.
    pub kind: EventKind,
}

/// Everything that is told about an upstream.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// An endpoint came up or went down by its probes.
    Health {
        /// `host:port`.
        endpoint: Name,
        /// Up now.
        is_healthy: bool,
        /// What the deciding probe said.
        detail: String,
    },
    /// An endpoint verified another role than before.
    Role {
        /// `host:port`.
        endpoint: Name,
        /// Before.
        from: Role,
        /// Now.
        to: Role,
    },
    /// Another endpoint is primary now, or none is, or one is again.
    Primary {
        /// The last primary, where there was one.
        from: Option<Name>,
        /// The new one; `None` while there is none.
        to: Option<Name>,
        /// The newest epoch seen.
        epoch: Epoch,
        /// How long there was none, when one is found.
        lost_for: Option<Duration>,
    },
    /// Two endpoints claim to be primary in the same epoch, or that is over.
    SplitBrain {
        /// Who claims; empty when it is over.
        endpoints: Vec<Name>,
    },
    /// An endpoint claims to be primary and is refused.
    Refused {
        /// `host:port`.
        endpoint: Name,
        /// In words, with both epochs or histories.
        why: String,
    },
    /// An endpoint joined the upstream.
    Added {
        /// `host:port`.
        endpoint: Name,
    },
    /// An endpoint left the upstream.
    Removed {
        /// `host:port`.
        endpoint: Name,
    },
}
