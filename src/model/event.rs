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
    /// The manager has taken the lead back to an endpoint whose history is older than one that was
    /// primary since. It is refused: only an operator's forced order accepts what that loses.
    TakeBack {
        /// `host:port`.
        endpoint: Name,
        /// In words.
        why: String,
    },
    /// The manager names another leader than before, or none.
    Leader {
        /// Its `host:port`; the manager's word for it where it is none of our endpoints.
        leader: Option<Name>,
        /// Where it names none: of whom one is to follow. The others may lack acknowledged commits.
        expected: Vec<Name>,
    },
    /// The manager acts by itself again, or is told not to (Patroni's pause).
    Automatic {
        /// It fails over by itself.
        is_on: bool,
    },
    /// The source has a say again, or has none any more.
    Source {
        /// Its word counts.
        has_say: bool,
        /// Of those we ask, how many answer.
        up: usize,
        /// How many we ask.
        of: usize,
        /// What is wrong with the others.
        trouble: Option<String>,
    },
    /// The manager's failover begins or ends.
    Failover {
        /// In words.
        step: String,
    },
    /// Nothing new goes to the primary for a while.
    Suspended {
        /// Who or what began it.
        cause: SuspensionCause,
        /// Who is expected to become primary.
        candidate: Option<Name>,
    },
    /// That is over.
    Unsuspended {
        /// Who or what began it.
        cause: SuspensionCause,
        /// In words.
        why: String,
        /// How long it was.
        lasted: Duration,
    },
    /// An operator has ordered something of it.
    Order {
        /// In words.
        order: String,
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

/// Who or what began a suspension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SuspensionCause {
    /// A source told of a failover that begins while the primary lives.
    Failover,
    /// An operator's `pause`.
    Pause,
    /// An operator's `switch`.
    Switch,
}

impl SuspensionCause {
    /// Every cause.
    pub const ALL: [SuspensionCause; 3] = [
        SuspensionCause::Failover,
        SuspensionCause::Pause,
        SuspensionCause::Switch,
    ];

    /// The word used in metrics and API.
    pub fn as_str(self) -> &'static str {
        match self {
            SuspensionCause::Failover => "failover",
            SuspensionCause::Pause => "pause",
            SuspensionCause::Switch => "switch",
        }
    }
}
