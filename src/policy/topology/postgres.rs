//! Postgres: a claim is a system identifier and a timeline, and the highest timeline wins.
//!
//! Each promotion begins a timeline that is higher than the one it left, so a node that claims to
//! be primary below the highest one admitted is an old primary, whatever else it says. A replica
//! that is on a higher timeline proves that somebody began it. Not admitted is who goes on with a
//! higher timeline while the one the manager names is a live primary: a stray.

use crate::base::time::Time;
use crate::config::default;
use crate::model::fence::Fence;
use crate::model::flags::{Flag, Flags};
use crate::model::name::Name;
use crate::model::role::{Epoch, PostgresFacts, Role};
use crate::model::verdict::Evidence;
use crate::policy::topology::word::{Ground, Memory, Strength};
use crate::policy::topology::{
    Advice, Claim, Election, Ordered, Standing, crown, is_verified, outdo, split_brain,
};

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The system identifier of the first verified primary: ours.
    lineage: Option<u64>,
    /// Before it is known which is ours: the highest timeline seen of each system.
    heights: Vec<(u64, u32)>,
    /// The highest timeline admitted.
    fence: u32,
    /// When it was; `None` when it was only remembered.
    admitted_at: Option<Time>,
    /// Everybody has been asked once.
    is_founded: bool,
    /// The last endpoint that was verified as primary.
    last: Option<Name>,
    memory: Memory,
}

type Facts<'a> = [Option<&'a PostgresFacts>];

impl History {
    pub(super) fn remember(&mut self, system: u64, timeline: u32, strays: &[Name]) {
        self.lineage = Some(system);
        self.fence = timeline;
        self.memory.remember(strays);
    }

    pub(super) fn fence(&self) -> Option<Fence> {
        Some(Fence::Postgres {
            system_identifier: self.lineage?,
            timeline: self.fence,
            strays: self.memory.proven(),
        })
    }

    pub(super) fn learn(&mut self, facts: &PostgresFacts) {
        let system = facts.system_identifier;
        if self.lineage.is_some() {
            return;
        }
        if let Some((_, height)) = self.heights.iter_mut().find(|(id, _)| *id == system) {
            *height = facts.timeline.max(*height);
        } else if self.heights.len() < default::SYSTEMS_SEEN_MAX {
            self.heights.push((system, facts.timeline));
        }
    }

    pub(super) fn elect(&mut self, claims: &[Claim<'_>], advice: &Advice) -> Election {
        let facts: Vec<_> = claims.iter().map(facts_of).collect();
        if let Some(order) = advice.order {
            self.obey(claims, &facts, order, advice.now);
        }
        if !self.is_founded
            && let Err(election) = self.found(claims, &facts, advice)
        {
            return election;
        }
        self.memory.prove(claims);
        // Each step raises the fence to a timeline that somebody shows.
        while self.admit(claims, &facts, advice) {}
        let ground = self.ground(claims, &facts, advice);
        let (lineage, fence) = (self.lineage, self.fence);
        let is_newer = |at: usize| is_above(facts.get(at).copied().flatten(), lineage, fence);
        self.memory.judge(claims, is_newer, ground.is_led, advice);
        let mut standings: Vec<_> = (0..claims.len())
            .map(|at| self.standing(claims, at, &facts, ground, advice))
            .collect();
        let live: Vec<usize> = (0..)
            .zip(claims.iter().zip(&standings).zip(&facts))
            .filter(|(_, ((claim, standing), facts))| {
                let claims_it = facts.is_some_and(|facts| facts.role == Role::Primary);
                claim.is_healthy && claims_it && standing.flags.is_empty()
            })
            .map(|(position, _)| position)
            .collect();
        let primary = self.memory.first_of(claims, &live);
        if let Some(position) = primary {
            outdo(&mut standings, &live, position);
            crown(&mut standings, position);
            self.last = claims.get(position).map(|claim| claim.endpoint.clone());
        }
        self.memory.forget_choice(claims, primary);
        let is_split_brain = primary.is_none() && live.len() > 1;
        if is_split_brain {
            let what = format!("on timeline {fence}");
            split_brain(&mut standings, claims, &live, &what);
        }
        Election {
            primary,
            epoch: Epoch(u64::from(fence)),
            is_split_brain,
            standings,
        }
    }

    /// Takes an operator's word, once the endpoint says itself that it is primary. Forced, the
    /// fence goes back to what it says, and whoever is above it is a stray.
    fn obey(&mut self, claims: &[Claim<'_>], facts: &Facts<'_>, order: Ordered, now: Time) {
        let claim = claims
            .get(order.position)
            .filter(|claim| is_verified(claim));
        let said = facts.get(order.position).copied().flatten();
        let (Some(claim), Some(said)) = (claim, said) else {
            return;
        };
        let is_ours = self
            .lineage
            .is_none_or(|ours| ours == said.system_identifier);
        if !order.is_forced && (!is_ours || said.timeline < self.fence) {
            return;
        }
        self.lineage = Some(said.system_identifier);
        self.fence = said.timeline;
        self.heights.clear();
        self.admitted_at = Some(now);
        self.is_founded = true;
        for (other, facts) in claims.iter().zip(facts) {
            if is_above(*facts, self.lineage, self.fence) {
                self.memory.add_stray(other.endpoint, claim.endpoint, true);
            }
        }
        self.memory.choose(claim.endpoint, now);
    }

    /// Everybody was asked once: whose history is ours, and how high it is. Or the election that
    /// says why there is no primary yet.
    fn found(
        &mut self,
        claims: &[Claim<'_>],
        facts: &Facts<'_>,
        advice: &Advice,
    ) -> Result<(), Election> {
        let ground = self.ground(claims, facts, advice);
        if self.lineage.is_none() {
            let objections: Vec<_> = (0..claims.len())
                .map(|at| self.objection(claims, at, facts, ground, advice))
                .collect();
            let system = first_lineage(claims, facts, &objections, advice.is_settled)?;
            let height = |heights: &[(u64, u32)]| {
                let ours = heights.iter().find(|(id, _)| *id == system);
                ours.map_or(0, |(_, height)| *height)
            };
            // Whom the manager names leads: what others show is not admitted by that.
            let named = advice.word.names().filter(|_| ground.is_led);
            let named = named.and_then(|at| facts.get(at).copied().flatten());
            self.lineage = Some(system);
            self.fence = named.map_or_else(|| height(&self.heights), |said| said.timeline);
            self.admitted_at = Some(advice.now);
            self.heights.clear();
        } else if !advice.is_settled {
            return Err(self.wait(claims, facts));
        }
        self.is_founded = true;
        Ok(())
    }

    /// Raises the fence by one claim that may do so.
    fn admit(&mut self, claims: &[Claim<'_>], facts: &Facts<'_>, advice: &Advice) -> bool {
        let ground = self.ground(claims, facts, advice);
        // Who follows a stray proves no more than the stray does.
        let strays: Vec<u32> = (claims.iter().zip(facts))
            .filter(|(claim, _)| self.memory.is_stray(claim.endpoint, advice.word))
            .filter_map(|(_, said)| Some((*said)?.timeline))
            .collect();
        let admitted = (0..)
            .zip(claims.iter().zip(facts))
            .find(|(at, (claim, said))| {
                let is_named = advice.word.names() == Some(*at);
                claim.is_fresh
                    && is_above(**said, self.lineage, self.fence)
                    && match said.map(|said| said.role) {
                        Some(Role::Primary) => {
                            let objection = self.objection(claims, *at, facts, ground, advice);
                            objection.is_none()
                        }
                        _ => {
                            let is_strays =
                                said.is_some_and(|said| strays.contains(&said.timeline));
                            is_named || !(ground.is_led || is_strays)
                        }
                    }
            });
        let Some(said) = admitted.and_then(|(_, (_, said))| *said) else {
            return false;
        };
        self.fence = said.timeline;
        self.admitted_at = Some(advice.now);
        true
    }

    fn ground(&self, claims: &[Claim<'_>], facts: &Facts<'_>, advice: &Advice) -> Ground {
        let named = advice.word.names();
        let is_led = named.is_some_and(|at| {
            let said = facts.get(at).copied().flatten();
            let claim = claims.get(at);
            let is_ours = said.is_some_and(|said| {
                let is_ours = self
                    .lineage
                    .is_none_or(|ours| ours == said.system_identifier);
                is_ours && said.role == Role::Primary && said.timeline >= self.fence
            });
            is_ours && claim.is_some_and(|claim| claim.is_healthy && !claim.is_doubted)
        });
        Ground {
            is_led,
            admitted_at: self.admitted_at,
        }
    }

    fn objection(
        &self,
        claims: &[Claim<'_>],
        position: usize,
        facts: &Facts<'_>,
        ground: Ground,
        advice: &Advice,
    ) -> Option<String> {
        let said = facts.get(position).copied().flatten()?;
        let named = advice.word.names();
        let named = named.and_then(|at| facts.get(at).copied().flatten());
        let is_newer = if self.is_founded {
            is_above(Some(said), self.lineage, self.fence)
        } else {
            named.is_some_and(|named| {
                named.system_identifier == said.system_identifier && named.timeline < said.timeline
            })
        };
        let strength = Strength {
            is_newer,
            is_newest: self.is_founded && said.timeline == self.fence,
            is_followed: false,
        };
        self.memory
            .objection(claims, position, strength, ground, advice)
    }

    /// One claim against what is remembered. A good claim to be primary is left without a flag;
    /// whether it is the only live one is seen later.
    fn standing(
        &self,
        claims: &[Claim<'_>],
        position: usize,
        facts: &Facts<'_>,
        ground: Ground,
        advice: &Advice,
    ) -> Standing {
        let said = facts.get(position).copied().flatten();
        let (Some(said), Some(claim)) = (said, claims.get(position)) else {
            return Standing::silent();
        };
        if self.lineage != Some(said.system_identifier) {
            let (theirs, ours) = (said.system_identifier, self.lineage.unwrap_or_default());
            let why = format!("its system identifier is {theirs}, this upstream's is {ours}");
            return Standing::unknown(Flag::ForeignLineage, why);
        }
        let epoch = Some(Epoch(u64::from(said.timeline)));
        if said.role == Role::Replica {
            return Standing {
                role: Role::Replica,
                epoch,
                ..Standing::default()
            };
        }
        let fence = self.fence;
        if said.timeline < fence {
            let is_named = advice.word.names() == Some(position);
            if is_named && advice.word.is_after(ground.admitted_at) {
                let than = format!("timeline {fence}");
                return Standing::take_back(epoch, advice.speaker, &than);
            }
            let why = format!(
                "it claims to be primary on timeline {}, and timeline {fence} exists",
                said.timeline
            );
            return Standing {
                epoch,
                ..Standing::unknown(Flag::Fenced, why)
            };
        }
        if let Some(why) = self.objection(claims, position, facts, ground, advice) {
            let why = format!(
                "it claims to be primary on timeline {}: {why}",
                said.timeline
            );
            return Standing {
                epoch,
                ..Standing::unknown(Flag::Fenced, why)
            };
        }
        // While it does not answer, the last primary is shown as what it was.
        let is_last = self.last.as_ref() == Some(claim.endpoint);
        let mut standing = Standing {
            role: if is_last {
                Role::Primary
            } else {
                Role::Unknown
            },
            epoch,
            ..Standing::default()
        };
        // A newer timeline that it has shown and does not show now is not admitted yet.
        if claim.is_doubted || said.timeline > fence {
            standing.doubt();
        }
        standing
    }

    /// Ours is remembered, but not everybody has been asked yet.
    fn wait(&self, claims: &[Claim<'_>], facts: &Facts<'_>) -> Election {
        let standing = |(_, said): (&Claim<'_>, &Option<&PostgresFacts>)| match said {
            None => Standing::silent(),
            Some(said)
                if said.role == Role::Replica && self.lineage == Some(said.system_identifier) =>
            {
                Standing {
                    role: Role::Replica,
                    epoch: Some(Epoch(u64::from(said.timeline))),
                    ..Standing::default()
                }
            }
            Some(_) => Standing::waiting(),
        };
        Election {
            primary: None,
            epoch: Epoch(u64::from(self.fence)),
            is_split_brain: false,
            standings: claims.iter().zip(facts).map(standing).collect(),
        }
    }
}

/// Of our system, on a higher timeline than was admitted.
fn is_above(said: Option<&PostgresFacts>, lineage: Option<u64>, fence: u32) -> bool {
    said.is_some_and(|said| Some(said.system_identifier) == lineage && said.timeline > fence)
}

/// The system of the first primary, or the election that says why there is none yet.
fn first_lineage(
    claims: &[Claim<'_>],
    facts: &Facts<'_>,
    objections: &[Option<String>],
    is_settled: bool,
) -> Result<u64, Election> {
    let mut systems: Vec<u64> = facts
        .iter()
        .flatten()
        .map(|f| f.system_identifier)
        .collect();
    systems.sort_unstable();
    systems.dedup();
    let live: Vec<usize> = (0..)
        .zip(claims.iter().zip(facts).zip(objections))
        .filter(|(_, ((claim, facts), objection))| {
            let claims_it = facts.is_some_and(|facts| facts.role == Role::Primary);
            claim.is_healthy && !claim.is_doubted && claims_it && objection.is_none()
        })
        .map(|(position, _)| position)
        .collect();
    let mut claimed = live
        .iter()
        .filter_map(|at| facts.get(*at).copied().flatten())
        .map(|facts| facts.system_identifier);
    let first = claimed.next();
    let is_agreed = claimed.all(|system| Some(system) == first);
    match first {
        Some(system) if is_settled && is_agreed => return Ok(system),
        _ => {}
    }
    let mut standings: Vec<_> = facts
        .iter()
        .zip(objections)
        .map(|(facts, objection)| match (facts, objection) {
            (None, _) => Standing::silent(),
            (Some(facts), Some(why)) if facts.role == Role::Primary && is_settled => {
                Standing::unknown(Flag::Fenced, format!("it claims to be primary: {why}"))
            }
            (Some(facts), _) if facts.role == Role::Primary => Standing::waiting(),
            (Some(facts), _) => Standing {
                role: Role::Replica,
                epoch: Some(Epoch(u64::from(facts.timeline))),
                flags: Flags::NONE.with_if(Flag::UnknownLineage, systems.len() > 1),
                why: (systems.len() > 1).then(|| {
                    "the endpoints are of different systems, and no primary says which is ours"
                        .to_owned()
                }),
                is_take_back: false,
            },
        })
        .collect();
    let is_split_brain = is_settled && !is_agreed;
    if is_split_brain {
        split_brain(&mut standings, claims, &live, "of different systems");
    }
    Err(Election {
        primary: None,
        epoch: Epoch::default(),
        is_split_brain,
        standings,
    })
}

fn facts_of<'a>(claim: &Claim<'a>) -> Option<&'a PostgresFacts> {
    match claim.evidence {
        Some(Evidence::Postgres(facts)) => Some(facts),
        _ => None,
    }
}
