//! What follows from a change: the election, who is demoted, whether there is anything to publish.

use std::sync::Arc;

use crate::base::time::Time;
use crate::config::default;
use crate::model::event::EventKind;
use crate::model::flags::Flag;
use crate::model::name::Name;
use crate::model::role::{Epoch, Lag, Role};
use crate::policy::balance;
use crate::policy::failover::Suspended;
use crate::policy::lag::{self, TooFar};
use crate::policy::topology::{Advice, Claim, Election, Topology};
use crate::upstream::effect::Effect;
use crate::upstream::endpoint::RetireReason;
use crate::upstream::snapshot::{EndpointView, PickTable, RolesView, Snapshot};
use crate::upstream::state::entry::{is_standing_equal, no_standing, says_the_same};
use crate::upstream::state::source::speaker;
use crate::upstream::state::suspend::{suspension, why};
use crate::upstream::state::{Changes, Published, UpstreamState};

impl UpstreamState {
    /// Works out the new picture and everything that must be done about it.
    pub(super) fn conclude(&mut self, mut changes: Changes, now: Time) -> Vec<Effect> {
        self.warm_up(now);
        let was_asked = self.failover.asked_from();
        self.failover.expire(now);
        let election = self.elect(now);
        if let Some(election) = &election {
            self.demote(election, &mut changes, now);
            self.tell_take_back(election, &mut changes.events);
            self.measure_lag(election);
        }
        let suspended = self.judge_failover(election.as_ref(), now, &mut changes);
        let freezes = self.freeze(election.as_ref(), suspended.as_ref());
        // Whoever was primary is asked whether it still is.
        let asked = self.failover.asked_from();
        changes.is_stirred |= asked.is_some() && was_asked != asked;
        let views = self.views(
            election.as_ref(),
            suspended.as_ref(),
            now,
            &mut changes.events,
        );
        let are_roles_new =
            self.judge_roles(election.as_ref(), suspended.as_ref(), now, &mut changes);
        let is_starting = !self.entries.iter().any(|entry| entry.is_known());
        let is_news = changes.is_reconfigured
            || are_roles_new
            || is_starting != self.published.is_starting
            || views.len() != self.published.views.len()
            || !views
                .iter()
                .zip(&self.published.views)
                .all(|(a, b)| says_the_same(a, b));
        let mut effects = Vec::new();
        effects.extend(self.persist());
        if is_news {
            self.published = Published { views, is_starting };
            let snapshot = self.snapshot();
            self.generation += 1;
            effects.push(Effect::Publish(Box::new(snapshot)));
        }
        effects.extend(freezes);
        effects.append(&mut changes.retired);
        effects.append(&mut changes.probes);
        effects.extend(self.wake(now));
        effects.extend(changes.events.into_iter().map(|kind| self.event(kind, now)));
        effects
    }

    /// Who comes up starts with the average latency of those that are up: with nothing a newcomer
    /// would look like the fastest of all, and who was down would be avoided for a minute longer
    /// because of the penalties of its last failures.
    fn warm_up(&mut self, now: Time) {
        let decay = self.config.balance.ewma().0;
        let measured = |entry: &super::Entry| entry.endpoint.latency.micros(now, decay);
        let up = self
            .entries
            .iter()
            .filter(|entry| entry.is_warm && entry.health.is_up());
        let known: Vec<f32> = up.filter_map(measured).collect();
        let average = known.iter().sum::<f32>() / known.len() as f32;
        for entry in &mut self.entries {
            let is_up = entry.health.is_up();
            if is_up && !entry.is_warm && !known.is_empty() {
                let average = std::time::Duration::from_secs_f32(average.max(0.0) / 1e6);
                entry.endpoint.latency.seed(average, now);
            }
            entry.is_warm = is_up;
        }
    }

    fn elect(&mut self, now: Time) -> Option<Election> {
        // An endpoint without an address cannot be asked: nobody waits for it.
        let mut asked = self.entries.iter().filter(|entry| entry.is_probed);
        let is_everyone_asked = asked.all(|entry| entry.heard_at.is_some());
        let advice = Advice {
            word: self.word(),
            speaker: speaker(&self.config),
            candidate: self.failover.candidate().and_then(|id| self.position(id)),
            order: self.ordered(now),
            is_settled: is_everyone_asked && self.source_wait().is_none_or(|until| now >= until),
            now,
        };
        let topology = self.topology.as_mut()?;
        let claims: Vec<Claim<'_>> = self.entries.iter().map(|entry| entry.claim()).collect();
        let election = topology.elect(&claims, &advice);
        if advice.order.is_some() {
            self.wish = None;
        }
        Some(election)
    }

    /// What must be remembered across restarts, when it has changed.
    fn persist(&mut self) -> Option<Effect> {
        let fence = self.topology.as_ref()?.fence()?;
        if self.persisted.as_ref() == Some(&fence) {
            return None;
        }
        self.persisted = Some(fence.clone());
        Some(Effect::Persist(fence))
    }

    /// Every shard has a primary of its own.
    pub(super) fn is_sharded(&self) -> bool {
        self.topology.as_ref().is_some_and(Topology::is_sharded)
    }

    /// Until when the first primary waits for a sign of the source.
    fn source_wait(&self) -> Option<Time> {
        let is_waiting = self.config.source.is_some() && !self.source.is_heard();
        is_waiting.then(|| self.started_at.after(default::SOURCE_WAIT))
    }

    /// The next moment at which something is over; asked for only when it has changed.
    fn wake(&mut self, now: Time) -> Option<Effect> {
        let waits = self.source_wait().into_iter().chain(self.failover.due());
        let next = waits.filter(|at| *at > now).min();
        if next == self.wake_at {
            return None;
        }
        self.wake_at = next;
        next.map(Effect::WakeAt)
    }

    /// Alarms when the manager takes the lead back to an old history, once.
    fn tell_take_back(&mut self, election: &Election, events: &mut Vec<EventKind>) {
        let standings = self.entries.iter().zip(&election.standings);
        let taken = standings
            .filter(|(_, standing)| standing.is_take_back)
            .map(|(entry, standing)| (entry.endpoint.id.clone(), standing.why.clone()))
            .next();
        let (endpoint, why) = taken.map_or((None, None), |(id, why)| (Some(id), why));
        if endpoint != self.take_back
            && let Some(endpoint) = &endpoint
        {
            events.push(EventKind::TakeBack {
                endpoint: endpoint.clone(),
                why: why.unwrap_or_default(),
            });
        }
        self.take_back = endpoint;
    }

    /// Ends the sessions of a primary that is none any more: it says so itself, another one is
    /// verified, or its history is over. That it does not answer is no reason.
    fn demote(&mut self, election: &Election, changes: &mut Changes, now: Time) {
        let is_sharded = self.is_sharded();
        let has_source = self.config.source.is_some();
        for (position, (entry, standing)) in
            self.entries.iter_mut().zip(&election.standings).enumerate()
        {
            let leads_shard = is_sharded && standing.role == Role::Primary;
            if election.primary == Some(position) || leads_shard {
                entry.has_led = true;
                continue;
            }
            let says_replica = entry
                .evidence
                .as_ref()
                .is_some_and(|evidence| evidence.role() == Role::Replica);
            if entry.has_led
                && (says_replica || election.primary.is_some() || standing.is_refused())
            {
                changes.retired.push(entry.retire(RetireReason::Demoted));
                // Without a manager nobody could name it again: what it says counts as it is.
                entry.believed_from = has_source.then_some(now);
            }
        }
    }

    /// How far the replicas are behind, for people; and who is too far behind, for reads. The words
    /// stay as they are while the same replica is too far: its bytes change with every probe.
    fn measure_lag(&mut self, election: &Election) {
        let led_by = election.primary.and_then(|at| self.entries.get(at));
        let is_led = led_by.is_some();
        if let Some((entry, evidence)) = led_by.and_then(|e| Some((e, e.evidence.as_ref()?))) {
            self.track.note(evidence, entry.read_at);
        }
        for (entry, standing) in self.entries.iter_mut().zip(&election.standings) {
            let evidence = entry.evidence.as_ref();
            let replica = evidence.filter(|_| standing.role == Role::Replica);
            let Some(replica) = replica else {
                entry.endpoint.lag.set(Lag::default());
                entry.too_far = None;
                continue;
            };
            let lag = lag::measure(&self.track, is_led, replica, entry.read_at);
            let before = entry.endpoint.lag.load();
            entry.endpoint.lag.set(lag.shown(before));
            let before = entry.too_far.as_ref();
            let why = lag::too_far(lag, self.config.lag_max, is_led, before);
            let kind = |far: &TooFar| std::mem::discriminant(far);
            if why.as_ref().map(kind) != before.map(kind) {
                entry.too_far = why;
            }
        }
    }

    /// The endpoints as the next picture shows them, and what there is to tell about them.
    fn views(
        &self,
        election: Option<&Election>,
        suspended: Option<&Suspended>,
        now: Time,
        events: &mut Vec<EventKind>,
    ) -> Vec<EndpointView> {
        let has_probe = self.config.health.is_some();
        let primary = election.and_then(|election| election.primary);
        let primary = primary.and_then(|at| self.entries.get(at));
        let mut standings = election.map(|election| election.standings.iter().cloned());
        let mut view = |entry: &super::Entry| {
            let standing = standings.as_mut().and_then(Iterator::next);
            let mut view = entry.view(standing.unwrap_or_else(no_standing), has_probe, now);
            if let Some(suspended) = suspended
                && primary.is_some_and(|primary| Arc::ptr_eq(&primary.endpoint, &entry.endpoint))
            {
                view.flags = view.flags.with(Flag::Suspended);
                let is_over = self
                    .failover
                    .asked_from()
                    .is_some_and(|at| at == suspended.until);
                view.why = Some(Arc::from(why(suspended, is_over)));
            }
            let same = |old: &&EndpointView| Arc::ptr_eq(&old.endpoint, &view.endpoint);
            let old = self.published.views.iter().find(same);
            if let Some(old) = old.filter(|old| is_standing_equal(old, &view)) {
                view.since = old.since;
            }
            tell(&view, old, events);
            view
        };
        self.entries.iter().map(&mut view).collect()
    }

    /// Takes the election into the roles. True when they are not what they were.
    fn judge_roles(
        &mut self,
        election: Option<&Election>,
        suspended: Option<&Suspended>,
        now: Time,
        changes: &mut Changes,
    ) -> bool {
        let Some(election) = election else {
            return self.roles.take().is_some();
        };
        let id = |position: usize| self.entries.get(position).map(|e| e.endpoint.id.clone());
        let primary = election.primary.and_then(id);
        let flagged = (0..).zip(&election.standings);
        let split_brain: Vec<Name> = flagged
            .filter(|(_, standing)| standing.flags.has(Flag::SplitBrain))
            .filter_map(|(position, _)| id(position))
            .collect();
        let before = self.roles.take();
        // The picture's positions may have moved with the configuration: names are compared.
        let led = before.as_ref().is_some_and(|roles| roles.primary.is_some());
        let led_by = self.last_primary.clone().filter(|_| led);
        let mut roles = RolesView {
            primary: election.primary,
            epoch: election.epoch,
            since: before.as_ref().map_or(now, |roles| roles.since),
            is_split_brain: election.is_split_brain,
            is_take_back: self.take_back.is_some(),
            last_primary: None,
            suspension: suspended.map(suspension),
            source: self.source_view(),
        };
        if led_by != primary {
            let gap = now.since(roles.since);
            let lost_for = match (&primary, &self.last_primary) {
                (Some(_), Some(_)) if led => Some(std::time::Duration::ZERO),
                (Some(_), Some(_)) => Some(gap),
                _ => None,
            };
            roles.since = now;
            changes.events.push(EventKind::Primary {
                from: self.last_primary.clone(),
                to: primary.clone(),
                epoch: election.epoch,
                lost_for,
            });
        }
        if split_brain != self.split_brain {
            changes.events.push(EventKind::SplitBrain {
                endpoints: split_brain.clone(),
            });
            self.split_brain = split_brain;
        }
        self.hunt(
            &roles,
            led,
            before.as_ref().map(|roles| roles.epoch),
            changes,
            now,
        );
        self.last_primary = primary.or(self.last_primary.take());
        roles.last_primary = self
            .last_primary
            .clone()
            .filter(|_| roles.primary.is_none());
        let is_same = before.is_some_and(|before| {
            (before.primary, before.epoch, before.since)
                == (roles.primary, roles.epoch, roles.since)
                && before.is_split_brain == roles.is_split_brain
                && before.is_take_back == roles.is_take_back
                && before.last_primary == roles.last_primary
                && before.source == roles.source
                && before.suspension == roles.suspension
        });
        self.roles = Some(roles);
        !is_same
    }

    /// Asks sooner than the interval would: the others when the primary is lost or does not
    /// answer, whoever answers while there is none, and whoever a failover, the manager or an
    /// operator is about. Nothing is decided by this.
    fn hunt(
        &self,
        roles: &RolesView,
        led: bool,
        fence: Option<Epoch>,
        changes: &mut Changes,
        now: Time,
    ) {
        let is_lost = roles.primary.is_none() && !self.is_sharded();
        let is_hunting = is_lost && now.since(roles.since) < default::PRIMARY_HUNT;
        let heard = changes.heard;
        let is_shaken =
            heard.is_some_and(|(heard, has_passed)| roles.primary == Some(heard) && !has_passed);
        let is_news = led || fence != Some(roles.epoch);
        let is_alarm = is_shaken || (heard.is_some() && is_lost && is_news);
        for (position, entry) in self.entries.iter().enumerate() {
            let is_asked = match heard {
                Some((heard, has_passed)) if heard == position => {
                    let is_open = is_hunting || self.is_open_hunt();
                    (has_passed && is_open)
                        || self.is_prey(position, roles.primary, is_hunting, now)
                }
                _ => is_alarm,
            };
            if (is_asked || changes.is_stirred) && entry.is_probed {
                changes.probes.push(Effect::ProbeNow {
                    endpoint: entry.endpoint.id.clone(),
                });
            }
        }
        if self.config.source.is_some() && (changes.is_stirred || is_alarm) {
            changes.probes.push(Effect::AskSource);
        }
    }

    /// The picture to publish.
    fn snapshot(&self) -> Snapshot {
        let views = &self.published.views;
        let has_roles = self.roles.is_some();
        let primary = self.roles.as_ref().and_then(|roles| roles.primary);
        let is_sharded = self.is_sharded();
        let is_primary = |at: usize, view: &EndpointView| {
            primary == Some(at) || (is_sharded && view.role == Role::Primary)
        };
        let is_replica = |_: usize, view: &EndpointView| view.role == Role::Replica;
        Snapshot {
            config: Arc::clone(&self.config),
            generation: self.generation,
            endpoints: views.iter().cloned().collect(),
            roles: self.roles.clone(),
            primary: self.table(is_primary),
            replica: self.table(is_replica),
            any: self.table(|at, view| !has_roles || is_primary(at, view) || is_replica(at, view)),
            is_starting: self.published.is_starting,
        }
    }

    /// The eligible endpoints that are wanted.
    fn table(&self, wanted: impl Fn(usize, &EndpointView) -> bool) -> PickTable {
        let eligible = self
            .published
            .views
            .iter()
            .enumerate()
            .filter(|(position, view)| view.flags.is_empty() && wanted(*position, view));
        let (positions, weights): (Vec<u16>, Vec<u32>) = eligible
            .filter_map(|(position, view)| Some((u16::try_from(position).ok()?, view.weight)))
            .unzip();
        PickTable {
            positions: positions.into_boxed_slice(),
            balance: balance::build(self.config.balance, &weights),
        }
    }
}

/// Records another role, and a claim that is refused anew.
fn tell(view: &EndpointView, old: Option<&EndpointView>, events: &mut Vec<EventKind>) {
    let endpoint = || view.endpoint.id.clone();
    let from = old.map_or(Role::Unknown, |old| old.role);
    if from != view.role {
        events.push(EventKind::Role {
            endpoint: endpoint(),
            from,
            to: view.role,
        });
    }
    // A dead endpoint whose last claim is out of date claims nothing now.
    let is_refused = |view: &EndpointView| {
        let refusals = [Flag::Fenced, Flag::ForeignLineage, Flag::UnknownLineage];
        let is_flagged = refusals.into_iter().any(|flag| view.flags.has(flag));
        view.is_healthy && view.role == Role::Unknown && is_flagged
    };
    if is_refused(view) && !old.is_some_and(is_refused) {
        events.push(EventKind::Refused {
            endpoint: endpoint(),
            why: view.why.as_deref().unwrap_or_default().to_owned(),
        });
    }
}
