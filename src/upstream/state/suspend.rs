//! While a failover runs or an operator has paused: who is suspended, frozen, hunted.

use crate::base::time::Time;
use crate::config::default;
use crate::config::source::Source;
use crate::model::event::EventKind;
use crate::model::name::Name;
use crate::model::source::FailoverStep;
use crate::policy::failover::Suspended;
use crate::policy::topology::{Election, Word};
use crate::upstream::effect::Effect;
use crate::upstream::snapshot::Suspension;
use crate::upstream::state::{Changes, UpstreamState};

impl UpstreamState {
    /// Takes a step of the manager's failover; an old or repeated one changes nothing.
    pub(super) fn take_step(
        &mut self,
        told_at: Time,
        step: FailoverStep,
        now: Time,
    ) -> Option<Changes> {
        if self.topology.is_none() || self.is_sharded() {
            return None;
        }
        let is_old = self
            .step
            .as_ref()
            .is_some_and(|(at, known)| told_at < *at || (told_at == *at && *known == step));
        if is_old {
            return None;
        }
        let text = step.to_string();
        let was_running = self.failover.is_running();
        let is_schedule = matches!(step, FailoverStep::Scheduled { .. });
        let was_scheduled = self
            .step
            .as_ref()
            .is_some_and(|(_, step)| matches!(step, FailoverStep::Scheduled { .. }));
        self.step = Some((told_at, step.clone()));
        match step {
            // Nothing is held for one that may never come: its beginning is told when it comes.
            FailoverStep::Scheduled { .. } => {}
            FailoverStep::Begun {
                candidate,
                is_planned,
            } => {
                let candidate = candidate.and_then(|address| self.find(&address));
                let candidate = candidate.and_then(|at| self.entries.get(at));
                let candidate = candidate.map(|entry| entry.endpoint.id.clone());
                let limit = match self.config.source {
                    // Only the one Sentinel that leads the failover tells of it.
                    Some(Source::Sentinel(_)) => default::FAILOVER_HOLD_SHORT,
                    _ => default::FAILOVER_HOLD,
                };
                let from = self.last_primary.clone();
                self.failover.begin(candidate, is_planned, from, limit, now);
            }
            FailoverStep::Ended { .. } => self.failover.end(now),
        }
        let mut changes = Changes {
            is_stirred: !is_schedule,
            ..Changes::default()
        };
        if was_running || is_schedule || was_scheduled || self.failover.is_running() {
            changes.events.push(EventKind::Failover { step: text });
        }
        Some(changes)
    }

    /// Takes the election into the failover. What is suspended then, and what is told about it.
    pub(super) fn judge_failover(
        &mut self,
        election: Option<&Election>,
        now: Time,
        changes: &mut Changes,
    ) -> Option<Suspended> {
        let election = election?;
        let primary = election.primary.and_then(|at| self.entries.get(at));
        let asked_at = primary.and_then(|entry| entry.evidence_at);
        let primary = primary.map(|entry| entry.endpoint.id.clone());
        self.failover.judge(primary.as_ref(), asked_at, now);
        // Whoever was primary is asked once more: while it does not answer there is none.
        let is_shown = primary.is_some() || self.failover.asked_from().is_none();
        let suspended = self.failover.suspended().filter(|_| is_shown);
        let had = self
            .roles
            .as_ref()
            .and_then(|roles| roles.suspension.as_ref());
        if let Some(new) = &suspended
            && had.is_none_or(|had| (had.cause, had.since) != (new.cause, new.since))
        {
            changes.events.push(EventKind::Suspended {
                cause: new.cause,
                candidate: new.candidate.clone(),
            });
        }
        for ending in self.failover.take_endings() {
            changes.events.push(EventKind::Unsuspended {
                cause: ending.cause,
                why: ending.why.to_owned(),
                lasted: ending.lasted,
            });
        }
        suspended
    }

    /// Freezes the lives that lead while nothing new may go to them; thaws the one that leads again.
    /// One that does not lead now stays as it is until it does, or ends.
    pub(super) fn freeze(
        &mut self,
        election: Option<&Election>,
        suspended: Option<&Suspended>,
    ) -> Vec<Effect> {
        let primary = election.and_then(|election| election.primary);
        let mut effects = Vec::new();
        for (position, entry) in self.entries.iter_mut().enumerate() {
            let incarnation = std::sync::Arc::clone(&entry.incarnation);
            match suspended {
                Some(suspended) if entry.has_led && !entry.is_frozen => {
                    entry.is_frozen = true;
                    effects.push(Effect::Freeze {
                        incarnation,
                        grace_until: suspended.grace_until,
                    });
                }
                None if entry.is_frozen && primary == Some(position) => {
                    entry.is_frozen = false;
                    effects.push(Effect::Thaw { incarnation });
                }
                _ => {}
            }
        }
        effects
    }

    /// Who is asked again 10 ms after it was asked, whatever it answered: the candidate, whom the
    /// manager names, whom an operator wants, and who led, while it matters.
    pub(super) fn is_prey(
        &self,
        position: usize,
        primary: Option<usize>,
        is_lost: bool,
        now: Time,
    ) -> bool {
        let Some(entry) = self.entries.get(position) else {
            return false;
        };
        let id = &entry.endpoint.id;
        let is_last = self.last_primary.as_ref() == Some(id);
        let is_candidate = self.failover.is_running() && self.failover.candidate() == Some(id);
        let is_asked_once_more = self.failover.asked_from().is_some() && is_last;
        let is_named = matches!(self.word(), Word::Names { position: named, since }
            if named == position
                && primary != Some(position)
                && now.since(since) < default::PRIMARY_HUNT);
        let is_wished = self
            .wish
            .as_ref()
            .is_some_and(|wish| wish.endpoint == *id && now < wish.until);
        is_candidate || is_asked_once_more || is_named || is_wished || (is_lost && is_last)
    }

    /// A failover runs and nobody knows to whom: whoever answers is asked again.
    pub(super) fn is_open_hunt(&self) -> bool {
        self.failover.is_running() && self.failover.candidate().is_none()
    }
}

/// How a suspension looks in a picture.
pub(super) fn suspension(suspended: &Suspended) -> Suspension {
    Suspension {
        cause: suspended.cause,
        since: suspended.since,
        until: suspended.until,
        candidate: suspended.candidate.clone(),
    }
}

/// Why nothing new goes to a primary, in words.
pub(super) fn why(suspended: &Suspended, is_over: bool) -> String {
    if is_over {
        return "the suspension is over: it is asked whether it still is primary".to_owned();
    }
    let to = |candidate: &Name| format!(" to {candidate}");
    let to = suspended.candidate.as_ref().map_or_else(String::new, to);
    match suspended.cause {
        crate::model::event::SuspensionCause::Failover => format!("a failover{to} begins"),
        crate::model::event::SuspensionCause::Pause => "an operator has paused it".to_owned(),
        crate::model::event::SuspensionCause::Switch => {
            format!("an operator switches{to}")
        }
    }
}
