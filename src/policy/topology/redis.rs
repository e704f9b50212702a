//! Redis: no epoch, but every history names the one it grew from.
//!
//! A promoted node begins a new replication id and keeps the old one as its previous id, so the
//! node whose previous id is the primary's id is newer than that primary. Replicas that follow it
//! carry the same pair and prove the same. We count these steps ourselves; the count is the epoch.
//!
//! A restarted primary also begins a new id, but is still the same endpoint. So the known primary
//! may have several ids: a node promoted from any of them is newer than all of them.

use crate::base::ring::Ring;
use crate::config::default;
use crate::model::flags::{Flag, Flags};
use crate::model::name::Name;
use crate::model::role::{Epoch, RedisFacts, ReplicationId, Role};
use crate::model::verdict::Evidence;
use crate::policy::topology::{Claim, Election, Standing, crown, split_brain};

/// What is remembered.
#[derive(Debug)]
pub(super) struct History {
    epoch: u64,
    /// The newest history; none before the first primary.
    head: Option<Head>,
    /// Histories somebody has left behind: they never come back.
    superseded: Ring<ReplicationId>,
}

/// The newest history known.
#[derive(Debug)]
struct Head {
    /// Who was verified as its primary; nobody yet when only a follower has shown it.
    endpoint: Option<Name>,
    /// Its id last, before it those its primary had until it restarted. Empty when it tells none.
    ids: Vec<ReplicationId>,
}

impl Default for History {
    fn default() -> History {
        History {
            epoch: 0,
            head: None,
            superseded: Ring::new(default::SUPERSEDED_IDS_MAX),
        }
    }
}

impl History {
    pub(super) fn learn(&mut self, facts: &RedisFacts) {
        // A node that is still loading shows an id it is about to drop.
        if let Some(previous) = facts.previous_replication_id
            && !facts.is_loading
            && facts.replication_id != Some(previous)
        {
            self.supersede(previous);
        }
    }

    pub(super) fn elect(&mut self, claims: &[Claim<'_>], is_settled: bool) -> Election {
        // Each step is to an id that was not known before, so there are no more than claims.
        for _ in claims {
            let has_moved = self.advance(claims)
                || self.follow(claims)
                || self.restart(claims)
                || (is_settled && self.found(claims));
            if !has_moved {
                break;
            }
        }
        let is_waiting = self.head.is_none() && !is_settled;
        let agreed = self.head.is_some() || do_followers_agree(claims);
        let mut standings: Vec<_> = claims
            .iter()
            .map(|claim| self.standing(claim, is_waiting, agreed))
            .collect();
        let live: Vec<usize> = (0..)
            .zip(claims.iter().zip(&standings))
            .filter(|(_, (claim, standing))| standing.flags.is_empty() && is_live(claim))
            .map(|(position, _)| position)
            .collect();
        let primary = match live.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        if let Some(position) = primary {
            crown(&mut standings, position);
            if let (Some(head), Some(claim)) = (&mut self.head, claims.get(position)) {
                head.endpoint = Some(claim.endpoint.clone());
            }
        }
        let is_split_brain = live.len() > 1;
        if is_split_brain {
            let what = "and nothing tells which is newer";
            split_brain(&mut standings, claims, &live, what);
        }
        Election {
            primary,
            epoch: Epoch(self.epoch),
            is_split_brain,
            standings,
        }
    }

    /// The first primary: the only one that claims it.
    fn found(&mut self, claims: &[Claim<'_>]) -> bool {
        let mut live = claims.iter().filter(|claim| {
            let id = facts_of(claim).and_then(|facts| facts.replication_id);
            is_live(claim) && !id.is_some_and(|id| self.is_superseded(id))
        });
        let (None, Some(only), None) = (&self.head, live.next(), live.next()) else {
            return false;
        };
        let id = facts_of(only).and_then(|facts| facts.replication_id);
        self.epoch = 1;
        self.head = Some(Head {
            endpoint: Some(only.endpoint.clone()),
            ids: id.into_iter().collect(),
        });
        true
    }

    /// To the newest history that claims prove to have grown from the known primary's, over any
    /// number of promotions. If its own end is known to be over, it is no place to go: then
    /// nothing moves, and the known history, proven to be over as well, is refused.
    fn advance(&mut self, claims: &[Claim<'_>]) -> bool {
        let Some(head) = &self.head else {
            return false;
        };
        let mut passed = head.ids.clone();
        let mut from = head.ids.clone();
        for _ in claims {
            let mut successors = claims.iter().filter_map(|claim| {
                let facts = facts_of(claim).filter(|facts| !facts.is_loading)?;
                let (id, previous) = (facts.replication_id?, facts.previous_replication_id?);
                let is_restart = head.is_led_by(claim) && facts.role == Role::Primary;
                let is_next = from.contains(&previous) && !passed.contains(&id);
                (is_next && !is_restart).then_some(id)
            });
            let Some(any) = successors.clone().next() else {
                break;
            };
            let next = successors
                .find(|id| !self.is_superseded(*id))
                .unwrap_or(any);
            passed.push(next);
            from = vec![next];
        }
        match from.as_slice() {
            [newest] if !head.ids.contains(newest) && !self.is_superseded(*newest) => {
                self.begin(*newest)
            }
            _ => false,
        }
    }

    /// The last primary itself now follows a claimant: whoever made it do so has decided.
    fn follow(&mut self, claims: &[Claim<'_>]) -> bool {
        let Some(head) = &self.head else {
            return false;
        };
        let followed = claims
            .iter()
            .filter(|claim| head.is_led_by(claim))
            .filter_map(facts_of)
            .filter(|facts| facts.role == Role::Replica && facts.is_link_up && !facts.is_loading)
            .find_map(|facts| facts.replication_id)
            .filter(|id| !head.ids.contains(id) && !self.is_superseded(*id))
            .filter(|id| {
                let claims_it = |facts: &RedisFacts| facts.replication_id == Some(*id);
                claims
                    .iter()
                    .any(|claim| is_live(claim) && facts_of(claim).is_some_and(claims_it))
            });
        followed.is_some_and(|id| self.begin(id))
    }

    /// The last primary's own endpoint claims again under another id: it was restarted.
    /// Whether it is up decides later; whoever is promoted from the new id is newer in any case.
    fn restart(&mut self, claims: &[Claim<'_>]) -> bool {
        let Some(head) = &self.head else {
            return false;
        };
        let restarted = claims
            .iter()
            .filter(|claim| head.is_led_by(claim))
            .filter_map(facts_of)
            .filter(|facts| facts.role == Role::Primary && !facts.is_loading)
            .find_map(|facts| facts.replication_id)
            .filter(|id| !head.ids.contains(id) && !self.is_superseded(*id));
        let (Some(id), Some(head)) = (restarted, &mut self.head) else {
            return false;
        };
        head.ids.push(id);
        self.epoch += 1;
        if head.ids.len() > default::RESTARTED_IDS_MAX {
            let oldest = head.ids.remove(0);
            self.supersede(oldest);
        }
        true
    }

    fn begin(&mut self, id: ReplicationId) -> bool {
        let newer = Head {
            endpoint: None,
            ids: vec![id],
        };
        for old in self.head.replace(newer).into_iter().flat_map(|old| old.ids) {
            self.supersede(old);
        }
        self.epoch += 1;
        true
    }

    fn supersede(&mut self, id: ReplicationId) {
        if !self.is_superseded(id) {
            self.superseded.push(id);
        }
    }

    fn is_superseded(&self, id: ReplicationId) -> bool {
        self.superseded.iter().any(|old| *old == id)
    }

    /// One claim against what is remembered. A good claim to be primary is left without a flag;
    /// whether it is the only live one is seen later.
    fn standing(&self, claim: &Claim<'_>, is_waiting: bool, agreed: bool) -> Standing {
        let Some(facts) = facts_of(claim) else {
            return Standing::silent();
        };
        let known = self.known(claim, facts);
        let is_current = known == Known::Current;
        let mut standing = Standing {
            role: match facts.role {
                Role::Replica => Role::Replica,
                // While it does not answer, the last primary is shown as what it was.
                _ if is_current && self.head.as_ref().is_some_and(|h| h.is_led_by(claim)) => {
                    Role::Primary
                }
                _ => Role::Unknown,
            },
            epoch: is_current.then_some(Epoch(self.epoch)),
            flags: Flags::NONE.with_if(Flag::Loading, facts.is_loading),
            why: None,
        };
        if facts.is_loading {
            return standing;
        }
        if facts.role == Role::Replica && !facts.is_link_up {
            standing.flags = standing.flags.with(Flag::LinkDown);
            return standing;
        }
        let what = if facts.role == Role::Replica {
            "it follows"
        } else {
            "it claims to be primary of"
        };
        let id = facts
            .replication_id
            .map_or("no id".to_owned(), |id| short(&id));
        let refusal = match known {
            Known::Superseded => Some((
                Flag::Fenced,
                format!("{what} history {id}, which another one has superseded"),
            )),
            Known::Nothing if facts.role == Role::Replica && facts.replication_id.is_none() => None,
            Known::Nothing if self.head.is_some() => Some((
                Flag::UnknownLineage,
                format!("{what} history {id}, which cannot be ordered against the known one"),
            )),
            Known::Nothing if facts.role == Role::Replica && !agreed => Some((
                Flag::UnknownLineage,
                "the replicas follow different histories, and there is no primary".to_owned(),
            )),
            Known::Nothing if facts.role == Role::Primary && is_waiting => {
                return Standing::waiting();
            }
            _ => None,
        };
        if let Some((flag, why)) = refusal {
            standing.flags = standing.flags.with(flag);
            standing.why = Some(why);
        }
        standing
    }

    /// Where a node's history stands against the newest one.
    fn known(&self, claim: &Claim<'_>, facts: &RedisFacts) -> Known {
        let is_leader = self.head.as_ref().is_some_and(|head| head.is_led_by(claim));
        let Some(id) = facts.replication_id else {
            let is_primary = is_leader && facts.role == Role::Primary;
            return if is_primary {
                Known::Current
            } else {
                Known::Nothing
            };
        };
        let ids = self.head.as_ref().map_or(&[][..], |head| &head.ids);
        let newest = ids.last().filter(|newest| !self.is_superseded(**newest));
        let is_current = match facts.role {
            // A replica learns of the restart of its primary a little later.
            Role::Replica => newest.is_some() && ids.contains(&id),
            _ => newest == Some(&id),
        };
        if is_current {
            Known::Current
        } else if ids.contains(&id) || self.is_superseded(id) {
            Known::Superseded
        } else {
            Known::Nothing
        }
    }
}

impl Head {
    fn is_led_by(&self, claim: &Claim<'_>) -> bool {
        self.endpoint.as_ref() == Some(claim.endpoint)
    }
}

/// Where a history stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Current,
    Superseded,
    Nothing,
}

/// It answers its probes and says it is primary.
fn is_live(claim: &Claim<'_>) -> bool {
    claim.is_healthy
        && facts_of(claim).is_some_and(|facts| facts.role == Role::Primary && !facts.is_loading)
}

/// Whether all replicas that are in sync follow the same history.
fn do_followers_agree(claims: &[Claim<'_>]) -> bool {
    let mut ids = claims
        .iter()
        .filter_map(facts_of)
        .filter(|facts| facts.role == Role::Replica && facts.is_link_up && !facts.is_loading)
        .filter_map(|facts| facts.replication_id);
    let first = ids.next();
    ids.all(|id| Some(id) == first)
}

/// Enough of an id to tell it from others.
fn short(id: &ReplicationId) -> String {
    let mut text = id.to_string();
    text.truncate(8);
    text
}

fn facts_of<'a>(claim: &Claim<'a>) -> Option<&'a RedisFacts> {
    match claim.evidence {
        Some(Evidence::Redis(facts)) => Some(facts),
        _ => None,
    }
}
