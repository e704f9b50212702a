//! Who may be routed to as primary: what the nodes claim goes in, an election and its reasons
//! come out.
//!
//! Postgres orders claims by timeline, Redis by which history follows which; each has its file.
//! Common to both: nothing is routed by guess, a newer history fences every older one for good,
//! and a node that merely does not answer is never taken for demoted.

mod postgres;
mod redis;

use crate::config::upstream::UpstreamKind;
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

    /// Remembers what new evidence proves, even if the claim it came with is soon replaced.
    pub fn learn(&mut self, evidence: &Evidence) {
        match (&mut self.0, evidence) {
            (History::Postgres(history), Evidence::Postgres(facts)) => history.learn(facts),
            (History::Redis(history), Evidence::Redis(facts)) => history.learn(facts),
            _ => {}
        }
    }

    /// Decides anew. The same claims again give the same election. `is_settled` says that every
    /// endpoint that can be asked has been asked once: before that no first primary is chosen,
    /// because a newer one may be about to answer.
    pub fn elect(&mut self, claims: &[Claim<'_>], is_settled: bool) -> Election {
        match &mut self.0 {
            History::Postgres(history) => history.elect(claims, is_settled),
            History::Redis(history) => history.elect(claims, is_settled),
        }
    }
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
