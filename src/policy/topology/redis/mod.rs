//! Redis: no epoch, but every history names the one it grew from.
//!
//! A promoted node begins a new replication id and keeps the old one as its previous id, so the
//! node whose previous id is the primary's id is newer than that primary. Replicas that follow it
//! carry the same pair and prove the same. We count these steps ourselves; the count is the epoch.
//!
//! A restarted primary also begins a new id, but is still the same endpoint. So the known primary
//! may have several ids: a node promoted from any of them is newer than all of them.

mod steps;

use crate::base::ring::Ring;
use crate::base::time::Time;
use crate::config::default;
use crate::model::fence::Fence;
use crate::model::flags::{Flag, Flags};
use crate::model::name::Name;
use crate::model::role::{Epoch, RedisFacts, ReplicationId, Role};
use crate::model::verdict::Evidence;
use crate::policy::topology::word::{Ground, Memory, Strength};
use crate::policy::topology::{Advice, Claim, Election, Standing, crown, outdo, split_brain};

/// What is remembered.
#[derive(Debug)]
pub(super) struct History {
    epoch: u64,
    /// The newest history; none before the first primary.
    head: Option<Head>,
    /// When it was admitted; `None` when it was only remembered.
    admitted_at: Option<Time>,
    /// A primary was verified since we began.
    is_founded: bool,
    /// Histories somebody has left behind: they never come back.
    superseded: Ring<ReplicationId>,
    /// Those of them that were the newest once: who grew from one of these is out of date, too.
    former: Ring<ReplicationId>,
    memory: Memory,
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
            admitted_at: None,
            is_founded: false,
            superseded: Ring::new(default::SUPERSEDED_IDS_MAX),
            former: Ring::new(default::SUPERSEDED_IDS_MAX),
            memory: Memory::default(),
        }
    }
}

impl History {
    pub(super) fn remember(
        &mut self,
        epoch: u64,
        head: &[ReplicationId],
        superseded: &[ReplicationId],
        strays: &[Name],
    ) {
        self.memory.remember(strays);
        self.epoch = epoch;
        self.head = (epoch > 0).then(|| Head {
            endpoint: None,
            ids: head
                .iter()
                .copied()
                .take(default::RESTARTED_IDS_MAX)
                .collect(),
        });
        for id in superseded {
            self.superseded.push(*id);
            self.former.push(*id);
        }
    }

    pub(super) fn fence(&self) -> Option<Fence> {
        let head = self.head.as_ref()?;
        Some(Fence::Redis {
            epoch: self.epoch,
            head: head.ids.clone(),
            superseded: self.superseded.iter().copied().collect(),
            strays: self.memory.proven(),
        })
    }

    pub(super) fn elect(&mut self, claims: &[Claim<'_>], advice: &Advice) -> Election {
        if let Some(order) = advice.order {
            self.obey(claims, order, advice.now);
        }
        self.memory.prove(claims);
        let counted = self.counted(claims, advice);
        self.learn(&counted);
        // Each step is to an id that was not known before, so there are no more than claims.
        for _ in claims {
            let has_moved = self.advance(&counted, advice.now)
                || self.follow(&counted, advice.now)
                || self.restart(&counted)
                || self.heed(claims, advice)
                || (advice.is_settled && self.found(claims, advice));
            if !has_moved {
                break;
            }
        }
        let is_waiting = !self.is_founded && !advice.is_settled;
        let agreed = self.head.is_some() || do_followers_agree(claims);
        let ground = self.ground(claims, advice);
        let is_newer = |at: usize| claims.get(at).is_some_and(|claim| self.has_gone_on(claim));
        let newer: Vec<bool> = (0..claims.len()).map(is_newer).collect();
        let is_newer = |at: usize| newer.get(at) == Some(&true);
        self.memory.judge(claims, is_newer, ground.is_led, advice);
        let mut standings: Vec<_> = (0..claims.len())
            .map(|at| self.judged(claims, at, (is_waiting, agreed), ground, advice))
            .collect();
        let live: Vec<usize> = (0..)
            .zip(claims.iter().zip(&standings))
            .filter(|(_, (claim, standing))| standing.flags.is_empty() && is_live(claim))
            .map(|(position, _)| position)
            .collect();
        let primary = self.memory.first_of(claims, &live);
        if let Some(position) = primary {
            outdo(&mut standings, &live, position);
            crown(&mut standings, position);
            self.is_founded = true;
            if let (Some(head), Some(claim)) = (&mut self.head, claims.get(position)) {
                head.endpoint = Some(claim.endpoint.clone());
            }
        }
        self.memory.forget_choice(claims, primary);
        let is_split_brain = primary.is_none() && live.len() > 1;
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

    /// The claims that may prove anything. While the one the manager names leads, who went on from
    /// its history proves nothing, unless a failover to it runs.
    fn counted<'a>(&self, claims: &[Claim<'a>], advice: &Advice) -> Vec<Claim<'a>> {
        let ground = self.ground(claims, advice);
        let named = advice.word.names().filter(|_| ground.is_led);
        let counts = |(position, claim): &(usize, &Claim<'a>)| {
            // What a candidate follows before it was promoted proves nothing about the candidate.
            let is_candidate = advice.candidate == Some(*position)
                && facts_of(claim).is_some_and(|facts| facts.role == Role::Primary);
            let is_exempt = named == Some(*position) || is_candidate;
            let is_stray = self.memory.is_stray(claim.endpoint, advice.word)
                && advice.word.names() != Some(*position);
            let is_off = named.is_some() && self.has_left(claim, claims, named);
            is_exempt || !(is_stray || is_off)
        };
        let counted = claims.iter().enumerate().filter(counts);
        counted.map(|(_, claim)| *claim).collect()
    }

    /// Whether it went on from the history of the one that is named.
    fn has_left(&self, claim: &Claim<'_>, claims: &[Claim<'_>], named: Option<usize>) -> bool {
        let Some(facts) = facts_of(claim).filter(|facts| !facts.is_loading) else {
            return false;
        };
        let named = named.and_then(|at| claims.get(at)).and_then(facts_of);
        let own = named.and_then(|facts| facts.replication_id);
        let ids = self.head.as_ref().map_or(&[][..], |head| &head.ids);
        let is_its =
            |id: Option<ReplicationId>| id.is_some_and(|id| ids.contains(&id) || own == Some(id));
        is_its(facts.previous_replication_id) && !is_its(facts.replication_id)
    }

    /// Whether its history is the next one after the newest.
    fn is_beyond(&self, claim: &Claim<'_>) -> bool {
        let id = facts_of(claim).and_then(|facts| facts.replication_id);
        self.has_gone_on(claim) && !id.is_some_and(|id| self.is_superseded(id))
    }

    /// Whether it went on from the newest history, even if somebody has left behind what it began.
    fn has_gone_on(&self, claim: &Claim<'_>) -> bool {
        let Some(facts) = facts_of(claim).filter(|facts| !facts.is_loading) else {
            return false;
        };
        let (Some(id), Some(previous)) = (facts.replication_id, facts.previous_replication_id)
        else {
            return false;
        };
        let ids = self.head.as_ref().map_or(&[][..], |head| &head.ids);
        ids.contains(&previous) && !ids.contains(&id)
    }

    fn ground(&self, claims: &[Claim<'_>], advice: &Advice) -> Ground {
        let named = advice.word.names().and_then(|at| claims.get(at));
        let is_led = named.filter(|claim| is_live(claim)).is_some_and(|claim| {
            facts_of(claim).is_some_and(|facts| match &self.head {
                Some(head) => {
                    let is_restart = head.is_led_by(claim)
                        && facts
                            .replication_id
                            .is_none_or(|id| !self.is_superseded(id));
                    is_restart || self.known(claim, facts) == Known::Current
                }
                None => facts
                    .replication_id
                    .is_none_or(|id| !self.is_superseded(id)),
            })
        });
        Ground {
            is_led,
            admitted_at: self.admitted_at,
        }
    }

    fn supersede(&mut self, id: ReplicationId) {
        if !self.is_superseded(id) {
            self.superseded.push(id);
        }
    }

    fn is_superseded(&self, id: ReplicationId) -> bool {
        self.superseded.iter().any(|old| *old == id)
    }

    fn objection(
        &self,
        claims: &[Claim<'_>],
        position: usize,
        ground: Ground,
        advice: &Advice,
    ) -> Option<String> {
        let claim = claims.get(position)?;
        let facts = facts_of(claim)?;
        let named = advice
            .word
            .names()
            .and_then(|at| claims.get(at))
            .and_then(facts_of);
        let own = named.and_then(|named| named.replication_id);
        let is_next = own.is_some() && facts.previous_replication_id == own;
        let strength = Strength {
            is_newer: self.is_beyond(claim) || (self.head.is_none() && is_next),
            is_newest: self.head.is_some() && self.known(claim, facts) == Known::Current,
            is_followed: named.is_some_and(|named| {
                named.role == Role::Replica
                    && named.is_link_up
                    && own.is_some()
                    && own == facts.replication_id
            }),
        };
        self.memory
            .objection(claims, position, strength, ground, advice)
    }

    /// One claim against what is remembered and what the manager says.
    fn judged(
        &self,
        claims: &[Claim<'_>],
        position: usize,
        (is_waiting, agreed): (bool, bool),
        ground: Ground,
        advice: &Advice,
    ) -> Standing {
        let Some(claim) = claims.get(position) else {
            return Standing::silent();
        };
        let mut standing = self.standing(claim, is_waiting, agreed);
        let Some(facts) = facts_of(claim) else {
            return standing;
        };
        if facts.role == Role::Replica || facts.is_loading {
            return standing;
        }
        let is_named = advice.word.names() == Some(position);
        let is_out = standing.flags.has(Flag::Fenced);
        if is_out && is_named && advice.word.is_after(ground.admitted_at) {
            return Standing::take_back(standing.epoch, advice.speaker, "another one");
        }
        if standing.flags.is_empty()
            && let Some(why) = self.objection(claims, position, ground, advice)
        {
            standing.role = Role::Unknown;
            standing.flags = standing.flags.with(Flag::Fenced);
            standing.why = Some(format!("it claims to be primary: {why}"));
        }
        if standing.flags.is_empty() && claim.is_doubted {
            standing.doubt();
        }
        standing
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
            is_take_back: false,
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
            _ if facts.role == Role::Primary && is_waiting => return Standing::waiting(),
            Known::Nothing if self.head.is_some() => Some((
                Flag::UnknownLineage,
                format!("{what} history {id}, which cannot be ordered against the known one"),
            )),
            Known::Nothing if facts.role == Role::Replica && !agreed => Some((
                Flag::UnknownLineage,
                "the replicas follow different histories, and there is no primary".to_owned(),
            )),
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
        && !claim.is_doubted
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
