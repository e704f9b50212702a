//! What must hold because of what a manager or an operator has said.

use std::collections::BTreeSet;
use std::sync::Arc;

use fairlead::base::time::Time;
use fairlead::config::default;
use fairlead::model::address::Address;
use fairlead::model::fence::Fence;
use fairlead::model::name::Name;
use fairlead::model::role::{Epoch, Role};
use fairlead::model::source::{FailoverStep, LeaderWord, SourceReport, SourceWord};
use fairlead::model::verdict::Evidence;
use fairlead::upstream::effect::{Effect, StateEvent};
use fairlead::upstream::endpoint::{Incarnation, Phase};
use fairlead::upstream::snapshot::Snapshot;

use crate::promise::ensure;

/// What was said, as far as it reached us.
#[derive(Debug, Default)]
pub(crate) struct Words {
    is_redis: bool,
    has_say: bool,
    leader: Option<(LeaderWord, Time, Time)>,
    status_at: Option<Time>,
    list_at: Option<Time>,
    /// When the epoch last rose.
    admitted_at: Option<Time>,
    epoch: Epoch,
    /// An operator's order for a primary may still be obeyed, and one was given at all.
    pub(crate) ordered_until: Option<Time>,
    /// Lives that were frozen.
    frozen: Vec<Arc<Incarnation>>,
    persisted: Option<Fence>,
    /// Who was refused by name when the process ended: an operator or the manager must name them.
    refused: BTreeSet<Name>,
    pub(crate) now: Time,
    /// When a failover or a switch was last heard of.
    pub(crate) begun_at: Option<Time>,
}

impl Words {
    pub(crate) fn new(is_redis: bool) -> Words {
        Words {
            is_redis,
            ..Words::default()
        }
    }

    /// A word; false when it is old and must change nothing.
    pub(crate) fn hear(&mut self, event: &StateEvent) -> bool {
        let StateEvent::Source(SourceReport { told_at, word }) = event else {
            return true;
        };
        match word {
            SourceWord::Status(status) => {
                let is_old = self.status_at.is_some_and(|at| *told_at < at);
                if !is_old {
                    self.status_at = Some(*told_at);
                    self.has_say = status.has_say;
                }
                !is_old
            }
            SourceWord::Leader(word) => {
                if let Some(leader) = &word.leader {
                    let named = Name::from(leader.to_string().as_str());
                    self.refused.remove(&named);
                }
                if let Some((known, at, since)) = &self.leader {
                    let is_kept = told_at.since(*at) < default::SOURCE_TERM_KEPT;
                    let is_old = match word.term.cmp(&known.term) {
                        std::cmp::Ordering::Less => is_kept,
                        std::cmp::Ordering::Equal => told_at < at,
                        std::cmp::Ordering::Greater => false,
                    };
                    if is_old {
                        return false;
                    }
                    let is_decided = self.is_redis && word.term > known.term;
                    let is_same = known.leader == word.leader && !is_decided;
                    let since = if is_same { *since } else { *told_at };
                    self.leader = Some((word.clone(), *told_at, since));
                } else {
                    self.leader = Some((word.clone(), *told_at, *told_at));
                }
                true
            }
            // An empty one is nothing said.
            SourceWord::Endpoints(list) if list.is_empty() => true,
            SourceWord::Endpoints(_) => {
                let is_old = self.list_at.is_some_and(|at| *told_at < at);
                if !is_old {
                    self.list_at = Some(*told_at);
                }
                !is_old
            }
            SourceWord::Failover(_) => {
                self.begun_at = Some(self.now);
                true
            }
        }
    }

    /// What is done must be remembered first; silence retires nobody.
    pub(crate) fn check_effects(
        &mut self,
        event: Option<&StateEvent>,
        effects: &[Effect],
        before: &Snapshot,
        answers: impl Fn(&Name) -> bool,
    ) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Persist(fence) => self.persisted = Some(fence.clone()),
                Effect::Freeze { incarnation, .. } => {
                    ensure(!incarnation.is_retired(), || {
                        "an ended life is frozen".into()
                    })?;
                    self.frozen.push(Arc::clone(incarnation));
                }
                Effect::Thaw { incarnation } => {
                    let was = matches!(incarnation.phase(), Phase::Frozen { .. });
                    ensure(was, || "a life is thawed that was not frozen".into())?;
                }
                _ => {}
            }
        }
        // One that does not answer may be replaced by whoever the word no longer refuses.
        let primary = before.roles.as_ref().and_then(|roles| roles.primary);
        let primary = primary.and_then(|at| before.endpoints.get(at));
        let primary = primary.filter(|view| answers(&view.endpoint.id));
        let retires = |effect: &Effect| {
            matches!(effect, Effect::Retire { incarnation, .. }
                if primary.is_some_and(|view| Arc::ptr_eq(&view.incarnation, incarnation)))
        };
        let is_other = |id: &Name| {
            let named = self
                .leader
                .as_ref()
                .and_then(|(word, ..)| word.leader.as_ref());
            primary.is_some_and(|view| {
                Some(&view.endpoint.address) == named && view.endpoint.id != *id
            })
        };
        let is_failing_over = self
            .begun_at
            .is_some_and(|at| self.now.since(at) <= default::FAILOVER_HOLD.max(default::PAUSE));
        let is_calm = self.has_say && !is_failing_over && self.ordered_until.is_none();
        let is_hearsay = matches!(event, Some(StateEvent::Verdict { endpoint, .. })
            if is_calm && is_other(endpoint));
        ensure(!is_hearsay || !effects.iter().any(retires), || {
            format!("who is named and leads is retired by what another one says: {effects:?}")
        })?;
        let is_silence = match event {
            Some(StateEvent::Source(report)) => {
                matches!(&report.word, SourceWord::Status(status) if !status.has_say)
            }
            Some(StateEvent::Tick) => true,
            _ => false,
        };
        ensure(!is_silence || !effects.iter().any(retires), || {
            format!("somebody is retired because of silence: {effects:?}")
        })
    }

    /// The picture against the words. `said` is what each endpoint last said, and whether it is up.
    pub(crate) fn check(
        &mut self,
        picture: &Snapshot,
        event: Option<&StateEvent>,
        said: impl Fn(&Name) -> Option<Evidence>,
        now: Time,
    ) -> Result<(), String> {
        let Some(roles) = &picture.roles else {
            return Ok(());
        };
        let is_raised = roles.epoch > self.epoch;
        if is_raised {
            self.admitted_at = Some(now);
        }
        self.epoch = roles.epoch;
        self.check_suspension(picture, event, now)?;
        let routed = crate::picture::primary_view(picture);
        let routed = routed.filter(|_| !picture.primary.positions.is_empty());
        let Some(routed) = routed else {
            return Ok(());
        };
        // In Redis the one that led may follow it since, and say so.
        let is_refused = !self.is_redis && self.refused.contains(&routed.endpoint.id);
        ensure(!(is_raised && is_refused), || {
            let id = &routed.endpoint.id;
            format!("{id} was refused by name before the restart, and leads by its new history")
        })?;
        ensure(routed.incarnation.phase() == Phase::Live, || {
            format!("{} is routed and frozen", routed.endpoint.id)
        })?;
        if let Some(Fence::Postgres { timeline, .. }) = &self.persisted {
            ensure(Epoch(u64::from(*timeline)) == roles.epoch, || {
                format!("epoch {} is routed, {timeline} is remembered", roles.epoch)
            })?;
        }
        ensure(self.persisted.is_some(), || "nothing is remembered".into())?;
        ensure(
            routed.epoch.is_none_or(|epoch| epoch == roles.epoch),
            || format!("{} is routed below the fence", routed.endpoint.id),
        )?;
        let (true, Some((word, _, since))) = (self.has_say, &self.leader) else {
            return Ok(());
        };
        // What an operator said since outweighs it.
        if self.ordered_until.is_some_and(|until| *since <= until) {
            return Ok(());
        }
        let named = word.leader.as_ref().map(|address| {
            let mut views = picture.endpoints.iter();
            views.find(|view| view.endpoint.address == *address)
        });
        match named {
            // Somebody nobody knows.
            Some(None) => return Ok(()),
            Some(Some(named)) if named.endpoint.id == routed.endpoint.id => return Ok(()),
            Some(Some(named)) => {
                let evidence = said(&named.endpoint.id);
                let leads = named.is_healthy
                    && named.epoch == Some(roles.epoch)
                    && matches!(&evidence, Some(e) if e.role() == Role::Primary);
                ensure(!leads, || {
                    let (id, other) = (&routed.endpoint.id, &named.endpoint.id);
                    format!("{id} is routed, {other} is named and leads")
                })?;
                if let (Some(Evidence::Redis(own)), Some(Evidence::Redis(of))) =
                    (said(&routed.endpoint.id), &evidence)
                    && of.role == Role::Replica
                    && of.replication_id == own.replication_id
                {
                    return Ok(());
                }
            }
            None => {}
        }
        let is_overtaken = self.admitted_at.is_some_and(|at| at >= *since);
        ensure(is_overtaken, || {
            let id = &routed.endpoint.id;
            format!("{id} is routed against the word of {since:?}, and was before it")
        })
    }

    fn check_suspension(
        &self,
        picture: &Snapshot,
        event: Option<&StateEvent>,
        now: Time,
    ) -> Result<(), String> {
        let is_held = picture.primary.positions.is_empty();
        ensure(
            is_held
                || !picture
                    .roles
                    .as_ref()
                    .is_some_and(|roles| roles.is_take_back),
            || "somebody is routed while the manager takes the lead back".into(),
        )?;
        let Some(suspension) = picture.roles.as_ref().and_then(|r| r.suspension.as_ref()) else {
            return Ok(());
        };
        let primary = picture.roles.as_ref().and_then(|roles| roles.primary);
        let primary = primary.and_then(|at| picture.endpoints.get(at));
        let is_frozen =
            primary.is_none_or(|view| matches!(view.incarnation.phase(), Phase::Frozen { .. }));
        ensure(is_frozen, || "a suspended primary is not frozen".into())?;
        ensure(picture.primary.positions.is_empty(), || {
            "something new is routed while the primary is suspended".into()
        })?;
        ensure(
            suspension.until <= suspension.since.after(default::PAUSE_MAX),
            || format!("a suspension without an end: {suspension:?}"),
        )?;
        // One that has reached its end is over with the next event; then only a question is open.
        let is_due = matches!(event, Some(StateEvent::Tick)) && now > suspension.until;
        let primary = picture.roles.as_ref().and_then(|roles| roles.primary);
        ensure(!is_due || primary.is_some(), || {
            format!("a suspension outlives its end: {suspension:?}")
        })
    }

    /// Whom the source names.
    pub(crate) fn named(&self) -> Option<&Address> {
        let (word, ..) = self.leader.as_ref()?;
        word.leader.as_ref()
    }

    /// Right after a planned failover begins, who is primary is suspended, unless the source has
    /// cried wolf before.
    pub(crate) fn check_begun(
        &self,
        event: &StateEvent,
        before: &Snapshot,
        after: &Snapshot,
        is_quiet: bool,
    ) -> Result<(), String> {
        let StateEvent::Source(SourceReport {
            word:
                SourceWord::Failover(FailoverStep::Begun {
                    is_planned: true,
                    candidate,
                }),
            ..
        }) = event
        else {
            return Ok(());
        };
        let is_news = before.generation != after.generation;
        let routed = after.primary.positions.first();
        let routed = routed.and_then(|at| after.endpoint(*at));
        let is_done = routed.is_some_and(|view| Some(&view.endpoint.address) == candidate.as_ref());
        ensure(
            !is_news || is_quiet || is_done || after.primary.positions.is_empty(),
            || "a planned failover begins, and the primary is still routed".into(),
        )
    }

    /// Every life that was frozen goes on or has ended.
    pub(crate) fn check_thawed(&self) -> Result<(), String> {
        let is_frozen = |life: &&Arc<Incarnation>| matches!(life.phase(), Phase::Frozen { .. });
        let left = self.frozen.iter().filter(is_frozen).count();
        ensure(left == 0, || format!("{left} lives are frozen for ever"))
    }

    /// An operator's order for a primary may be obeyed now.
    pub(crate) fn is_ordered(&self) -> bool {
        self.ordered_until.is_some_and(|until| self.now <= until)
    }

    /// Somebody says that he is no newer than what is known, or an operator decides anew.
    pub(crate) fn forgive(&mut self, id: Option<&Name>) {
        match id {
            Some(id) => drop(self.refused.remove(id)),
            None => self.refused.clear(),
        }
    }

    /// How many are refused by name.
    pub(crate) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// The process begins anew with what it has remembered.
    pub(crate) fn restart(&mut self) -> Option<Fence> {
        let fence = self.persisted.take();
        *self = Words {
            is_redis: self.is_redis,
            epoch: epoch_of(fence.as_ref()),
            refused: strays_of(fence.as_ref()),
            persisted: fence.clone(),
            ..Words::default()
        };
        fence
    }
}

fn strays_of(fence: Option<&Fence>) -> BTreeSet<Name> {
    match fence {
        Some(Fence::Postgres { strays, .. } | Fence::Redis { strays, .. }) => {
            strays.iter().cloned().collect()
        }
        None => BTreeSet::new(),
    }
}

pub(crate) fn epoch_of(fence: Option<&Fence>) -> Epoch {
    match fence {
        Some(Fence::Postgres { timeline, .. }) => Epoch(u64::from(*timeline)),
        Some(Fence::Redis { epoch, .. }) => Epoch(*epoch),
        None => Epoch(0),
    }
}
