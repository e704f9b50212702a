//! What speaks for or against a claim besides the nodes themselves: the manager's word, a failover
//! that runs, an operator's order.
//!
//! None of it makes a primary. The word refuses claims; a node is admitted by what it says itself.

use crate::base::time::Time;
use crate::config::default;
use crate::model::name::Name;
use crate::model::role::Role;
use crate::model::verdict::Evidence;
use crate::policy::topology::Claim;

/// What is to be heeded in an election, beside the claims.
#[derive(Debug, Clone, Copy)]
pub struct Advice {
    /// The manager's word.
    pub word: Word,
    /// What that word is, for people: "the leader key".
    pub speaker: &'static str,
    /// Who is to become primary by the failover that runs.
    pub candidate: Option<usize>,
    /// Whom an operator wants, asked since he said so.
    pub order: Option<Ordered>,
    /// Every endpoint that can be asked has been asked once: before that no first primary is
    /// chosen, because a newer one may be about to answer.
    pub is_settled: bool,
    /// Now.
    pub now: Time,
}

impl Advice {
    /// Nobody says anything: the claims alone decide.
    pub fn none(is_settled: bool, now: Time) -> Advice {
        Advice {
            word: Word::Silent,
            speaker: "",
            candidate: None,
            order: None,
            is_settled,
            now,
        }
    }
}

/// Whom the manager takes for the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// There is no manager, it has no say now, or it names somebody nobody knows.
    Silent,
    /// There is none.
    Nobody {
        /// Since when it says so.
        since: Time,
    },
    /// This one.
    Names {
        /// Its position among the claims.
        position: usize,
        /// Since when it says so.
        since: Time,
    },
}

/// An operator's order, for one election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ordered {
    /// Whom he wants.
    pub position: usize,
    /// Whatever newer history that costs.
    pub is_forced: bool,
}

impl Word {
    pub(super) fn names(self) -> Option<usize> {
        match self {
            Word::Names { position, .. } => Some(position),
            Word::Silent | Word::Nobody { .. } => None,
        }
    }

    pub(super) fn since(self) -> Option<Time> {
        match self {
            Word::Names { since, .. } | Word::Nobody { since } => Some(since),
            Word::Silent => None,
        }
    }

    /// Whether it came after what is admitted was admitted; then it is not overtaken by that.
    pub(super) fn is_after(self, admitted_at: Option<Time>) -> bool {
        let Some(since) = self.since() else {
            return false;
        };
        admitted_at.is_none_or(|at| since > at)
    }
}

/// What a claim to be primary has going for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Strength {
    /// Provably newer than everything admitted.
    pub(super) is_newer: bool,
    /// It is in the newest history admitted.
    pub(super) is_newest: bool,
    /// The one that is named follows it, as it says itself.
    pub(super) is_followed: bool,
}

/// What stands fast before the claims are looked at one by one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground {
    /// Whom the word names leads by its own verified claim.
    pub(super) is_led: bool,
    /// When the newest history was admitted; `None` when it was only remembered.
    pub(super) admitted_at: Option<Time>,
}

/// Endpoints that went on with a newer history while the one the manager names led, and an
/// operator's choice.
#[derive(Debug, Default)]
pub(super) struct Memory {
    strays: Vec<Stray>,
    /// Whom an operator wanted, and when: that breaks ties and outweighs every word before it.
    chosen: Option<(Name, Time)>,
}

#[derive(Debug)]
struct Stray {
    endpoint: Name,
    /// Who was named and led; not known of one that was remembered across a restart.
    against: Option<Name>,
    /// That one has led since, as it said itself. Before that it may just have died.
    is_proven: bool,
}

impl Memory {
    /// Why a claim is refused although its history would do.
    pub(super) fn objection(
        &self,
        claims: &[Claim<'_>],
        position: usize,
        strength: Strength,
        ground: Ground,
        advice: &Advice,
    ) -> Option<String> {
        let claim = claims.get(position)?;
        let is_stray = self.is_stray(claim.endpoint, advice.word);
        let is_chosen = |at: Time| advice.word.since().is_none_or(|since| at >= since);
        if self.is_chosen(claim.endpoint) && self.chosen.as_ref().is_some_and(|c| is_chosen(c.1)) {
            return None;
        }
        if advice.word == Word::Silent {
            return is_stray.then(|| {
                "it went on with a newer history while the one that was named led".to_owned()
            });
        }
        let is_named = advice.word.names() == Some(position);
        let is_candidate = advice.candidate == Some(position) && strength.is_newer;
        // A word from before the newest history was admitted is out of date.
        let is_overtaken = strength.is_newest && !advice.word.is_after(ground.admitted_at);
        let may_take_over = strength.is_newer && !is_stray;
        let may_lead = !ground.is_led && (is_overtaken || may_take_over || strength.is_followed);
        if is_named || is_candidate || may_lead {
            return None;
        }
        let speaker = advice.speaker;
        let named = advice.word.names().and_then(|named| claims.get(named));
        Some(match named {
            Some(named) => format!("{speaker} names {}", named.endpoint),
            None => format!("{speaker} says that there is no leader now"),
        })
    }

    /// Whether it went on with a newer history against the one that is named. While the manager has
    /// a say that has to be proven; its silence makes nobody a primary who was refused before.
    pub(super) fn is_stray(&self, endpoint: &Name, word: Word) -> bool {
        let mut strays = self.strays.iter();
        strays.any(|stray| stray.endpoint == *endpoint && (stray.is_proven || word == Word::Silent))
    }

    pub(super) fn add_stray(&mut self, endpoint: &Name, against: &Name, is_proven: bool) {
        let known = self.strays.iter_mut().find(|s| s.endpoint == *endpoint);
        match known {
            Some(known) => known.is_proven |= is_proven,
            None => self.push(Stray {
                endpoint: endpoint.clone(),
                against: Some(against.clone()),
                is_proven,
            }),
        }
    }

    fn push(&mut self, stray: Stray) {
        if self.strays.len() >= default::STRAYS_MAX {
            self.strays.remove(0);
        }
        self.strays.push(stray);
    }

    /// Begins with those that were proven before a restart.
    pub(super) fn remember(&mut self, strays: &[Name]) {
        for endpoint in strays {
            self.push(Stray {
                endpoint: endpoint.clone(),
                against: None,
                is_proven: true,
            });
        }
    }

    /// Who stays refused across a restart.
    pub(super) fn proven(&self) -> Vec<Name> {
        let proven = self.strays.iter().filter(|stray| stray.is_proven);
        proven.map(|stray| stray.endpoint.clone()).collect()
    }

    pub(super) fn is_chosen(&self, endpoint: &Name) -> bool {
        self.chosen
            .as_ref()
            .is_some_and(|(chosen, _)| chosen == endpoint)
    }

    /// An operator wants this one.
    pub(super) fn choose(&mut self, endpoint: &Name, now: Time) {
        self.strays.retain(|stray| stray.endpoint != *endpoint);
        self.chosen = Some((endpoint.clone(), now));
    }

    /// Another one leads now, or the chosen one says itself that it does not.
    pub(super) fn forget_choice(&mut self, claims: &[Claim<'_>], primary: Option<usize>) {
        let leads = primary.and_then(|at| claims.get(at));
        let has_gone = |chosen: &Name| {
            let says_replica = claims.iter().any(|claim| {
                claim.endpoint == chosen
                    && claim
                        .evidence
                        .is_some_and(|said| said.role() == Role::Replica)
            });
            says_replica || leads.is_some_and(|claim| claim.endpoint != chosen)
        };
        if self
            .chosen
            .as_ref()
            .is_some_and(|(chosen, _)| has_gone(chosen))
        {
            self.chosen = None;
        }
    }

    /// Who went on with a newer history although the named one has led since, as it says itself,
    /// is a stray for good: it stays refused when the manager falls silent. Until the manager names
    /// it, an operator wants it, or it is back in a known history.
    pub(super) fn judge(
        &mut self,
        claims: &[Claim<'_>],
        is_newer: impl Fn(usize) -> bool,
        is_led: bool,
        advice: &Advice,
    ) {
        let named = advice.word.names();
        let leader = named.and_then(|at| claims.get(at)).filter(|_| is_led);
        for (position, claim) in claims
            .iter()
            .enumerate()
            .filter(|(_, claim)| claim.is_fresh)
        {
            let is_newer = is_newer(position);
            let is_named = named == Some(position)
                && self
                    .chosen
                    .as_ref()
                    .is_none_or(|(_, at)| advice.word.is_after(Some(*at)));
            if !is_newer || is_named {
                self.strays
                    .retain(|stray| stray.endpoint != *claim.endpoint);
            } else if let Some(leader) = leader
                && named != Some(position)
                && advice.candidate != Some(position)
            {
                self.add_stray(claim.endpoint, leader.endpoint, false);
            }
        }
        self.prove(claims);
    }

    /// Who has led since a stray was last asked proves it; who does not lead clears it. One that is
    /// proven stays so, also while a source does not list it.
    pub(super) fn prove(&mut self, claims: &[Claim<'_>]) {
        let find = |id: &Name| claims.iter().find(|claim| claim.endpoint == id);
        self.strays.retain_mut(|stray| {
            let Some(own) = find(&stray.endpoint) else {
                return stray.is_proven;
            };
            let rival = stray.against.as_ref().and_then(find).filter(|claim| {
                let role = claim.evidence.map(Evidence::role);
                claim.is_fresh && role == Some(Role::Primary)
            });
            stray.is_proven |= rival.is_some_and(|rival| rival.asked_at > own.asked_at);
            stray.is_proven || rival.is_some()
        });
    }

    /// Of several live claims that nothing puts in order, the one an operator wanted.
    pub(super) fn first_of(&self, claims: &[Claim<'_>], live: &[usize]) -> Option<usize> {
        match live {
            [only] => Some(*only),
            _ => live.iter().copied().find(|at| {
                claims
                    .get(*at)
                    .is_some_and(|claim| self.is_chosen(claim.endpoint))
            }),
        }
    }
}
