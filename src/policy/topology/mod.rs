//! Who may be routed to as primary: what the nodes claim goes in, an election and its reasons
//! come out.
//!
//! Postgres orders claims by timeline, Redis by which history follows which; each has its file.
//! Common to both: nothing is routed by guess, a newer history fences every older one for good,
//! and a node that merely does not answer is never taken for demoted. What a manager or an operator
//! says (`word`) refuses claims, and never makes one.

mod postgres;
mod redis;
mod shards;
mod word;

pub use word::{Advice, Ordered, Word};

use crate::base::time::Time;

use crate::config::source::Source;
use crate::config::upstream::{Upstream, UpstreamKind};
use crate::model::fence::Fence;
use crate::model::flags::{Flag, Flags};
use crate::model::name::Name;
use crate::model::role::{Epoch, Role};
use crate::model::verdict::Evidence;

/// What is known of one endpoint when an election is held.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// `host:port`.
    pub endpoint: &'a Name,
    /// Up by its probes: only then its claim to be primary is a live one.
    pub is_healthy: bool,
    /// What it last said about itself, however long ago.
    pub evidence: Option<&'a Evidence>,
    /// When it was asked what it answered by that.
    pub asked_at: Option<Time>,
    /// It has answered whenever it was asked since.
    pub is_fresh: bool,
    /// It has said so too long ago: it must say once more that it is primary.
    pub is_doubted: bool,
}

/// The outcome for all endpoints of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// Position of the verified primary; it answers its probes.
    pub primary: Option<usize>,
    /// The newest epoch ever seen: the fence.
    pub epoch: Epoch,
    /// At least two live claims that nothing puts in order. None of them is routed.
    pub is_split_brain: bool,
    /// One for each claim, in their order.
    pub standings: Vec<Standing>,
}

/// The outcome for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Verified role. A refused claim to be primary leaves it unknown.
    pub role: Role,
    /// The epoch it is in, where that is known.
    pub epoch: Option<Epoch>,
    /// What its role has against it; health and weight are not looked at here.
    pub flags: Flags,
    /// The reason in words. Does not change while the claims say the same.
    pub why: Option<String>,
    /// The manager names it, and its history is older than one that was admitted before: what the
    /// newer one acknowledged would be lost.
    pub is_take_back: bool,
}

impl Standing {
    /// Whether it says it is primary and is refused for its history: what runs on it is lost work.
    pub fn is_refused(&self) -> bool {
        self.role == Role::Unknown
            && [Flag::Fenced, Flag::ForeignLineage, Flag::UnknownLineage]
                .into_iter()
                .any(|flag| self.flags.has(flag))
    }

    fn unknown(flag: Flag, why: impl Into<String>) -> Standing {
        Standing {
            flags: Flags::NONE.with(flag),
            why: Some(why.into()),
            ..Standing::default()
        }
    }

    /// The manager has taken the lead back to it.
    fn take_back(epoch: Option<Epoch>, speaker: &str, than: &str) -> Standing {
        let why = format!(
            "{speaker} names it, but its history is older than {than}, which has been primary \
             since: only an operator's forced order accepts what that loses"
        );
        Standing {
            epoch,
            is_take_back: true,
            ..Standing::unknown(Flag::Fenced, why)
        }
    }

    /// It led, and has to say so once more.
    fn doubt(&mut self) {
        self.role = Role::Unknown;
        self.flags = self.flags.with(Flag::RoleUnknown);
        self.why = Some("it is asked whether it still is primary".to_owned());
    }

    fn silent() -> Standing {
        Standing::unknown(Flag::RoleUnknown, "it has not told its role yet")
    }

    fn waiting() -> Standing {
        let why = "the first primary is chosen when every endpoint has been asked once";
        Standing::unknown(Flag::RoleUnknown, why)
    }
}

/// What is remembered of a role upstream's past. Bounded.
#[derive(Debug)]
pub struct Topology(History);

#[derive(Debug)]
enum History {
    Postgres(postgres::History),
    Redis(redis::History),
    /// A Redis Cluster: there is no common history.
    Shards,
}

impl Topology {
    /// An empty past; `None` for a kind without roles.
    pub fn new(kind: UpstreamKind) -> Option<Topology> {
        match kind {
            UpstreamKind::Http | UpstreamKind::Tcp => None,
            UpstreamKind::Postgres => Some(History::Postgres(postgres::History::default())),
            UpstreamKind::Redis => Some(History::Redis(redis::History::default())),
        }
        .map(Topology)
    }

    /// The same for an upstream as it is configured: a Redis Cluster has a primary in each shard.
    pub fn of(config: &Upstream) -> Option<Topology> {
        match config.source {
            Some(Source::RedisCluster(_)) => Some(Topology(History::Shards)),
            _ => Topology::new(config.kind),
        }
    }

    /// Several primaries are normal: the standings say who leads.
    pub fn is_sharded(&self) -> bool {
        matches!(self.0, History::Shards)
    }

    /// Begins with what was remembered across a restart: only ever a reason to refuse. One of
    /// another kind says nothing.
    pub fn remember(&mut self, fence: &Fence) {
        match (&mut self.0, fence) {
            (
                History::Postgres(history),
                Fence::Postgres {
                    system_identifier,
                    timeline,
                    strays,
                },
            ) => history.remember(*system_identifier, *timeline, strays),
            (
                History::Redis(history),
                Fence::Redis {
                    epoch,
                    head,
                    superseded,
                    strays,
                },
            ) => history.remember(*epoch, head, superseded, strays),
            _ => {}
        }
    }

    /// What must be remembered across restarts; `None` while nothing is known.
    pub fn fence(&self) -> Option<Fence> {
        match &self.0 {
            History::Postgres(history) => history.fence(),
            History::Redis(history) => history.fence(),
            History::Shards => None,
        }
    }

    /// Remembers what new evidence proves, even if the claim it came with is soon replaced.
    pub fn learn(&mut self, evidence: &Evidence) {
        if let (History::Postgres(history), Evidence::Postgres(facts)) = (&mut self.0, evidence) {
            history.learn(facts);
        }
    }

    /// Decides anew. The same claims and the same advice again give the same election.
    pub fn elect(&mut self, claims: &[Claim<'_>], advice: &Advice) -> Election {
        match &mut self.0 {
            History::Postgres(history) => history.elect(claims, advice),
            History::Redis(history) => history.elect(claims, advice),
            History::Shards => shards::elect(claims),
        }
    }
}

/// Whether an operator's order can be carried out: whom he wants says itself that it is primary.
fn is_verified(claim: &Claim<'_>) -> bool {
    let claims_it = claim
        .evidence
        .is_some_and(|said| said.role() == Role::Primary);
    claim.is_healthy && claim.is_fresh && !claim.is_doubted && claims_it
}

/// The names of these claims, for a reason in words.
fn names(claims: &[Claim<'_>], positions: &[usize]) -> String {
    let mut names = positions
        .iter()
        .filter_map(|position| claims.get(*position));
    let first = names
        .next()
        .map_or(String::new(), |claim| claim.endpoint.to_string());
    names.fold(first, |text, claim| text + " and " + claim.endpoint)
}

/// Shows this one as the primary, and nobody else: the last primary, which is shown as such while
/// it does not answer, has its successor now.
fn crown(standings: &mut [Standing], primary: usize) {
    for (position, standing) in standings.iter_mut().enumerate() {
        if position == primary {
            standing.role = Role::Primary;
        } else if standing.role == Role::Primary {
            standing.role = Role::Unknown;
        }
    }
}

/// Equal claims an operator's word has put second.
fn outdo(standings: &mut [Standing], live: &[usize], primary: usize) {
    for position in live.iter().filter(|at| **at != primary) {
        if let Some(standing) = standings.get_mut(*position) {
            let why = "an operator has named another one of equal claims";
            standing.role = Role::Unknown;
            standing.flags = standing.flags.with(Flag::Fenced);
            standing.why = Some(why.to_owned());
        }
    }
}

/// Flags every one of these as claiming against the others.
fn split_brain(standings: &mut [Standing], claims: &[Claim<'_>], live: &[usize], what: &str) {
    let why = format!("{} claim to be primary {what}", names(claims, live));
    for position in live {
        if let Some(standing) = standings.get_mut(*position) {
            standing.role = Role::Unknown;
            standing.flags = Flags::NONE.with(Flag::SplitBrain);
            standing.why = Some(why.clone());
        }
    }
}

#[cfg(test)]
mod tests;
