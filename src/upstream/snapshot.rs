//! An immutable picture of one upstream: who may take traffic now, and why the others may not.
//!
//! Membership, health, roles and balancer tables change together, in one swap.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::time::Time;
use crate::config::upstream::Upstream;
pub use crate::model::event::SuspensionCause;
use crate::model::flags::Flags;
use crate::model::name::Name;
use crate::model::role::{Epoch, Role, WantedRole};
use crate::policy::balance::Balance;
use crate::upstream::endpoint::{Endpoint, Incarnation};

/// The picture.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration it was made under.
    pub config: Arc<Upstream>,
    /// Rises by one with every publication.
    pub generation: u64,
    /// All endpoints, eligible or not, in configured order.
    pub endpoints: Box<[EndpointView]>,
    /// Roles; `None` in an upstream whose kind has none.
    pub roles: Option<RolesView>,
    /// Eligible endpoints for `role = "primary"`: none or one; one of each shard in a Redis Cluster.
    pub primary: PickTable,
    /// Eligible endpoints for `role = "replica"`.
    pub replica: PickTable,
    /// Eligible endpoints for `role = "any"`, and those of an upstream without roles.
    pub any: PickTable,
    /// No endpoint has had a verdict yet: the process has just started.
    pub is_starting: bool,
}

/// One endpoint in a snapshot.
#[derive(Debug, Clone)]
pub struct EndpointView {
    /// Identity and live counts.
    pub endpoint: Arc<Endpoint>,
    /// Its current life; sessions end with it.
    pub incarnation: Arc<Incarnation>,
    /// Where to dial; `None` until resolved.
    pub socket: Option<SocketAddr>,
    /// Configured weight; 0 drains.
    pub weight: u32,
    /// Verified role.
    pub role: Role,
    /// Its claimed epoch, where it has one.
    pub epoch: Option<Epoch>,
    /// Up by its probes.
    pub is_healthy: bool,
    /// The reasons against it.
    pub flags: Flags,
    /// Since when health, role and flags are as they are.
    pub since: Time,
    /// More words for a flag, such as which epoch fences it.
    pub why: Option<Arc<str>>,
}

/// The roles of a role upstream.
#[derive(Debug, Clone)]
pub struct RolesView {
    /// Position of the verified primary.
    pub primary: Option<usize>,
    /// The newest epoch ever seen: the fence.
    pub epoch: Epoch,
    /// Since when this primary is primary, or since when there is none.
    pub since: Time,
    /// Two endpoints claim the same epoch.
    pub is_split_brain: bool,
    /// The manager names one whose history is older than one that led since: nobody is routed to.
    pub is_take_back: bool,
    /// The last known primary while there is none.
    pub last_primary: Option<Name>,
    /// A primary may be known and yet nothing new goes to it.
    pub suspension: Option<Suspension>,
    /// What the source says, where there is one.
    pub source: Option<SourceView>,
}

/// What a source says, as far as it matters to who looks at a picture. Its age is not here: a
/// source that says the same again publishes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceView {
    /// Its word counts.
    pub has_say: bool,
    /// Of those we ask, how many answer.
    pub up: usize,
    /// How many we ask.
    pub of: usize,
    /// Whom the manager names: the `host:port` of an endpoint, or its own word for somebody else.
    pub leader: Option<Name>,
    /// The manager is told not to act.
    pub is_paused: bool,
    /// What is wrong, in words.
    pub trouble: Option<Arc<str>>,
}

/// Nothing new goes to the primary for a while; its sessions are frozen, not cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// Who or what began it.
    pub cause: SuspensionCause,
    /// Since when.
    pub since: Time,
    /// It ends by itself then.
    pub until: Time,
    /// Who is to become primary, where that is known.
    pub candidate: Option<Name>,
}

/// Eligible endpoints for one wanted role, with the policy's table over just these.
#[derive(Debug)]
pub struct PickTable {
    /// Positions in [`Snapshot::endpoints`].
    pub positions: Box<[u16]>,
    /// Built for these positions, in this order.
    pub balance: Box<dyn Balance>,
}

impl Snapshot {
    /// The eligible endpoints for a wanted role.
    pub fn table(&self, wanted: WantedRole) -> &PickTable {
        match wanted {
            WantedRole::Primary => &self.primary,
            WantedRole::Replica => &self.replica,
            WantedRole::PreferReplica if self.replica.positions.is_empty() => &self.primary,
            WantedRole::PreferReplica => &self.replica,
            WantedRole::Any => &self.any,
        }
    }

    /// One endpoint by position.
    pub fn endpoint(&self, position: u16) -> Option<&EndpointView> {
        self.endpoints.get(usize::from(position))
    }
}
