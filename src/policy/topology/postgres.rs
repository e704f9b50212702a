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

/// What one election is about: who claims, what they said of themselves, and who else is heard.
struct Case<'a> {
    claims: &'a [Claim<'a>],
    /// One for each claim.
    facts: Vec<Option<&'a PostgresFacts>>,
    advice: &'a Advice,
}

impl<'a> Case<'a> {
    fn new(claims: &'a [Claim<'a>], advice: &'a Advice) -> Case<'a> {
        Case {
            claims,
            facts: claims.iter().map(facts_of).collect(),
            advice,
        }
    }

    /// What the one at a position said of itself.
    fn said(&self, at: usize) -> Option<&'a PostgresFacts> {
        self.facts.get(at).copied().flatten()
    }

    /// The manager names this one.
    fn is_named(&self, at: usize) -> bool {
        self.advice.word.names() == Some(at)
    }

    /// What the one said whom the manager names.
    fn named(&self) -> Option<&'a PostgresFacts> {
        self.said(self.advice.word.names()?)
    }

    /// The claims with what they said, by position.
    fn each(&self) -> impl Iterator<Item = (usize, &'a Claim<'a>, Option<&'a PostgresFacts>)> {
        let each = self.claims.iter().zip(&self.facts);
        (0..)
            .zip(each)
            .map(|(at, (claim, said))| (at, claim, *said))
    }
}

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
        let case = &Case::new(claims, advice);
        if let Some(order) = advice.order {
            self.obey(case, order);
        }
        if !self.is_founded
            && let Err(election) = self.found(case)
        {
            return election;
        }
        self.memory.prove(claims);
        // Each step raises the fence to a timeline that somebody shows.
        while self.admit(case) {}
        let ground = self.ground(case);
        let (lineage, fence) = (self.lineage, self.fence);
        let is_newer = |at: usize| is_above(case.said(at), lineage, fence);
        self.memory.judge(claims, is_newer, ground.is_led, advice);
        let mut standings: Vec<_> = (case.each())
            .map(|(at, claim, said)| self.standing(case, ground, (at, claim, said)))
            .collect();
        let live: Vec<usize> = (case.each().zip(&standings))
            .filter(|((_, claim, said), standing)| {
                claim.is_healthy && leads(*said) && standing.flags.is_empty()
            })
            .map(|((at, ..), _)| at)
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
    fn obey(&mut self, case: &Case<'_>, order: Ordered) {
        let claim = case.claims.get(order.position);
        let claim = claim.filter(|claim| is_verified(claim));
        let (Some(claim), Some(said)) = (claim, case.said(order.position)) else {
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
        self.admitted_at = Some(case.advice.now);
        self.is_founded = true;
        for (_, other, said) in case.each() {
            if is_above(said, self.lineage, self.fence) {
                self.memory.add_stray(other.endpoint, claim.endpoint, true);
            }
        }
        self.memory.choose(claim.endpoint, case.advice.now);
    }

    /// Everybody was asked once: whose history is ours, and how high it is. Or the election that
    /// says why there is no primary yet.
    fn found(&mut self, case: &Case<'_>) -> Result<(), Election> {
        let ground = self.ground(case);
        if self.lineage.is_none() {
            let objections: Vec<_> = (0..case.claims.len())
                .map(|at| self.objection(case, ground, at))
                .collect();
            let system = first_lineage(case, &objections)?;
            let height = |heights: &[(u64, u32)]| {
                let ours = heights.iter().find(|(id, _)| *id == system);
                ours.map_or(0, |(_, height)| *height)
            };
            // Whom the manager names leads: what others show is not admitted by that.
            let named = case.named().filter(|_| ground.is_led);
            self.lineage = Some(system);
            self.fence = named.map_or_else(|| height(&self.heights), |said| said.timeline);
            self.admitted_at = Some(case.advice.now);
            self.heights.clear();
        } else if !case.advice.is_settled {
            return Err(self.wait(case));
        }
        self.is_founded = true;
        Ok(())
    }

    /// Raises the fence by one claim that may do so.
    fn admit(&mut self, case: &Case<'_>) -> bool {
        let ground = self.ground(case);
        // Who follows a stray proves no more than the stray does.
        let is_stray = |claim: &Claim<'_>| self.memory.is_stray(claim.endpoint, case.advice.word);
        let strays: Vec<u32> = (case.each())
            .filter(|(_, claim, _)| is_stray(claim))
            .filter_map(|(_, _, said)| Some(said?.timeline))
            .collect();
        let may_raise = |at: usize, said: &PostgresFacts| {
            if said.role == Role::Primary {
                return self.objection(case, ground, at).is_none();
            }
            case.is_named(at) || !(ground.is_led || strays.contains(&said.timeline))
        };
        let admitted = case.each().find_map(|(at, claim, said)| {
            let is_newer = claim.is_fresh && is_above(said, self.lineage, self.fence);
            said.filter(|said| is_newer && may_raise(at, said))
        });
        let Some(said) = admitted else {
            return false;
        };
        self.fence = said.timeline;
        self.admitted_at = Some(case.advice.now);
        true
    }

    fn ground(&self, case: &Case<'_>) -> Ground {
        let named = case.advice.word.names();
        let is_led = named.is_some_and(|at| {
            let claim = case.claims.get(at);
            let is_ours = case.said(at).is_some_and(|said| {
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

    /// Why the claim of the one at a position is refused although its history would do.
    fn objection(&self, case: &Case<'_>, ground: Ground, at: usize) -> Option<String> {
        let said = case.said(at)?;
        let is_newer = if self.is_founded {
            is_above(Some(said), self.lineage, self.fence)
        } else {
            case.named().is_some_and(|named| {
                named.system_identifier == said.system_identifier && named.timeline < said.timeline
            })
        };
        let strength = Strength {
            is_newer,
            is_newest: self.is_founded && said.timeline == self.fence,
            is_followed: false,
        };
        self.memory
            .objection(case.claims, at, strength, ground, case.advice)
    }

    /// One claim against what is remembered. A good claim to be primary is left without a flag;
    /// whether it is the only live one is seen later.
    fn standing(
        &self,
        case: &Case<'_>,
        ground: Ground,
        (at, claim, said): (usize, &Claim<'_>, Option<&PostgresFacts>),
    ) -> Standing {
        let Some(said) = said else {
            return Standing::silent();
        };
        let advice = case.advice;
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
            if case.is_named(at) && advice.word.is_after(ground.admitted_at) {
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
        if let Some(why) = self.objection(case, ground, at) {
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
    fn wait(&self, case: &Case<'_>) -> Election {
        let standing = |said: &Option<&PostgresFacts>| match said {
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
            standings: case.facts.iter().map(standing).collect(),
        }
    }
}

/// Of our system, on a higher timeline than was admitted.
fn is_above(said: Option<&PostgresFacts>, lineage: Option<u64>, fence: u32) -> bool {
    said.is_some_and(|said| Some(said.system_identifier) == lineage && said.timeline > fence)
}

/// Says that it is primary.
fn leads(said: Option<&PostgresFacts>) -> bool {
    said.is_some_and(|said| said.role == Role::Primary)
}

/// The system of the first primary, or the election that says why there is none yet.
fn first_lineage(case: &Case<'_>, objections: &[Option<String>]) -> Result<u64, Election> {
    let (facts, is_settled) = (&case.facts, case.advice.is_settled);
    let seen = facts.iter().flatten();
    let mut systems: Vec<u64> = seen.map(|said| said.system_identifier).collect();
    systems.sort_unstable();
    systems.dedup();
    let live: Vec<usize> = (case.each().zip(objections))
        .filter(|((_, claim, said), objection)| {
            claim.is_healthy && !claim.is_doubted && leads(*said) && objection.is_none()
        })
        .map(|((at, ..), _)| at)
        .collect();
    let claimed = live.iter().filter_map(|at| case.said(*at));
    let mut claimed = claimed.map(|said| said.system_identifier);
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
        split_brain(&mut standings, case.claims, &live, "of different systems");
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
