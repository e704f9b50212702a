//! What is read from the live picture of the upstreams when somebody scrapes. Telemetry knows
//! nothing of snapshots: the control plane fills these in.

use std::time::Duration;

use crate::base::time::Time;
use crate::model::event::SuspensionCause;
use crate::model::name::Name;
use crate::model::role::{Epoch, Lag, Role};

/// One upstream at the moment of a scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamReading {
    /// Its name.
    pub name: Name,
    /// How many endpoints are in which state.
    pub states: StateCounts,
    /// Clients that wait for an eligible endpoint.
    pub held: u64,
    /// Only in an upstream with roles.
    pub roles: Option<RolesReading>,
    /// Only in an upstream with a source.
    pub source: Option<SourceReading>,
    /// Every endpoint; empty where series per endpoint are switched off.
    pub endpoints: Vec<EndpointReading>,
}

/// How many endpoints are in which state. Each is in exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateCounts {
    /// Probed well, weight above 0.
    pub healthy: u64,
    /// Its probes fail.
    pub unhealthy: u64,
    /// Weight 0.
    pub draining: u64,
    /// No verdict yet, or no address.
    pub unknown: u64,
}

/// The roles of one upstream at the moment of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolesReading {
    /// A verified primary takes traffic.
    pub has_primary: bool,
    /// The newest epoch seen.
    pub epoch: Epoch,
    /// Two claim the same epoch.
    pub is_split_brain: bool,
    /// The manager has gone back to an old history.
    pub is_take_back: bool,
    /// Nothing new goes to the primary: by whom or what.
    pub suspended_by: Option<SuspensionCause>,
}

/// The source of one upstream at the moment of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceReading {
    /// The word for its kind.
    pub kind: &'static str,
    /// Its word counts.
    pub has_say: bool,
    /// The manager is told not to act.
    pub is_paused: bool,
    /// When it last said anything.
    pub heard_at: Option<Time>,
    /// How often it did.
    pub words: u64,
}

/// One endpoint at the moment of a scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointReading {
    /// `host:port`.
    pub id: Name,
    /// Up by its probes.
    pub is_up: bool,
    /// Nothing speaks against it.
    pub is_eligible: bool,
    /// Exchanges and sessions that run on it.
    pub in_flight: u64,
    /// HTTP answers by class, 1xx first.
    pub answers: [u64; 5],
    /// Sessions begun on it.
    pub sessions: u64,
    /// Failed attempts: connect failed, connect timed out, reset, bad answer, timed out.
    pub errors: [(&'static str, u64); 5],
    /// Peak EWMA; `None` before the first answer.
    pub latency: Option<Duration>,
    /// Its weight.
    pub weight: u32,
    /// Probes that passed.
    pub probes_passed: u64,
    /// Probes that failed.
    pub probes_failed: u64,
    /// Its verified role; only in an upstream with roles.
    pub role: Option<Role>,
    /// How far it is behind, where it is a replica.
    pub lag: Lag,
    /// How long ago the last successful probe asked.
    pub evidence_age: Option<Duration>,
}
