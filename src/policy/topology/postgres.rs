//! Postgres: a claim is a system identifier and a timeline, and the highest timeline wins.
//!
//! Each promotion begins a timeline that is higher than the one it left, so a node that claims to
//! be primary below the highest one seen is an old primary, whatever else it says. A replica that
//! is on a higher timeline proves that somebody began it.

use crate::config::default;
use crate::model::flags::{Flag, Flags};
use crate::model::name::Name;
use crate::model::role::{Epoch, PostgresFacts, Role};
use crate::model::verdict::Evidence;
use crate::policy::topology::{Claim, Election, Standing, crown, split_brain};

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The system identifier of the first verified primary: ours.
    lineage: Option<u64>,
    /// The highest timeline seen of each system; of ours alone once it is known.
    heights: Vec<(u64, u32)>,
    /// The last endpoint that was verified as primary.
    last: Option<Name>,
}

impl History {
    pub(super) fn learn(&mut self, facts: &PostgresFacts) {
        let system = facts.system_identifier;
        if let Some((_, height)) = self.heights.iter_mut().find(|(id, _)| *id == system) {
            *height = facts.timeline.max(*height);
        } else if self.lineage.is_none_or(|ours| ours == system)
            && self.heights.len() < default::SYSTEMS_SEEN_MAX
        {
            self.heights.push((system, facts.timeline));
        }
    }

    pub(super) fn elect(&mut self, claims: &[Claim<'_>], is_settled: bool) -> Election {
        let facts: Vec<_> = claims.iter().map(facts_of).collect();
        if self.lineage.is_none() {
            match first_lineage(claims, &facts, is_settled) {
                Ok(system) => {
                    self.lineage = Some(system);
                    self.heights.retain(|(id, _)| *id == system);
                }
                Err(election) => return election,
            }
        }
        let fence = self.heights.first().map_or(0, |(_, height)| *height);
        let mut standings: Vec<_> = claims
            .iter()
            .zip(&facts)
            .map(|(claim, facts)| self.standing(claim, *facts, fence))
            .collect();
        let live: Vec<usize> = (0..)
            .zip(claims.iter().zip(&standings).zip(&facts))
            .filter(|(_, ((claim, standing), facts))| {
                let claims_it = facts.is_some_and(|facts| facts.role == Role::Primary);
                claim.is_healthy && claims_it && standing.flags.is_empty()
            })
            .map(|(position, _)| position)
            .collect();
        let primary = match live.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        if let Some(position) = primary {
            crown(&mut standings, position);
            self.last = claims.get(position).map(|claim| claim.endpoint.clone());
        }
        let is_split_brain = live.len() > 1;
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

    /// One claim against what is remembered. A good claim to be primary is left without a flag;
    /// whether it is the only live one is seen later.
    fn standing(&self, claim: &Claim<'_>, facts: Option<&PostgresFacts>, fence: u32) -> Standing {
        let Some(facts) = facts else {
            return Standing::silent();
        };
        if self.lineage != Some(facts.system_identifier) {
            let (theirs, ours) = (facts.system_identifier, self.lineage.unwrap_or_default());
            let why = format!("its system identifier is {theirs}, this upstream's is {ours}");
            return Standing::unknown(Flag::ForeignLineage, why);
        }
        let epoch = Some(Epoch(u64::from(facts.timeline)));
        if facts.role == Role::Replica {
            return Standing {
                role: Role::Replica,
                epoch,
                ..Standing::default()
            };
        }
        if facts.timeline < fence {
            let why = format!(
                "it claims to be primary on timeline {}, and timeline {fence} exists",
                facts.timeline
            );
            return Standing {
                epoch,
                ..Standing::unknown(Flag::Fenced, why)
            };
        }
        // While it does not answer, the last primary is shown as what it was.
        let is_last = self.last.as_ref() == Some(claim.endpoint);
        Standing {
            role: if is_last {
                Role::Primary
            } else {
                Role::Unknown
            },
            epoch,
            ..Standing::default()
        }
    }
}

/// The system of the first primary, or the election that says why there is none yet.
fn first_lineage(
    claims: &[Claim<'_>],
    facts: &[Option<&PostgresFacts>],
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
        .zip(claims.iter().zip(facts))
        .filter(|(_, (claim, facts))| {
            claim.is_healthy && facts.is_some_and(|facts| facts.role == Role::Primary)
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
        .map(|facts| match facts {
            None => Standing::silent(),
            Some(facts) if facts.role == Role::Primary => Standing::waiting(),
            Some(facts) => Standing {
                role: Role::Replica,
                epoch: Some(Epoch(u64::from(facts.timeline))),
                flags: Flags::NONE.with_if(Flag::UnknownLineage, systems.len() > 1),
                why: (systems.len() > 1).then(|| {
                    "the endpoints are of different systems, and no primary says which is ours"
                        .to_owned()
                }),
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
