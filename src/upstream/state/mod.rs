//! The machine of one upstream: events in, effects out. It has one owner, the upstream's actor.
//!
//! No I/O, no clock, no async, no logging, no randomness: `now` comes in, so a simulation can
//! drive it through years of failovers. `entry` is what is known of one endpoint, `configure`
//! takes a new configuration, `source` what a source tells, `order` what an operator says, `suspend`
//! knows who is suspended and hunted while a failover runs, `conclude` works out what follows from any
//! change, `resume` begins anew after a bug.

mod conclude;
mod configure;
mod entry;
mod order;
mod resume;
mod source;
mod suspend;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::time::Time;
use crate::config::upstream::Upstream;
use crate::model::event::{Event, EventKind};
use crate::model::fence::Fence;
use crate::model::name::Name;
use crate::model::source::FailoverStep;
use crate::model::verdict::Verdict;
use crate::policy::failover::Failover;
use crate::policy::health::Transition;
use crate::policy::lag::Track;
use crate::policy::topology::Topology;
use crate::upstream::effect::{Effect, StateEvent};
use crate::upstream::endpoint::{Incarnation, RetireReason};
use crate::upstream::snapshot::{EndpointView, RolesView};
use crate::upstream::state::entry::Entry;
use crate::upstream::state::order::Wish;
use crate::upstream::state::source::SourceMemory;

/// See the module.
#[derive(Debug)]
pub struct UpstreamState {
    config: Arc<Upstream>,
    entries: Vec<Entry>,
    /// `None` in an upstream whose kind has no roles.
    topology: Option<Topology>,
    /// Where the primary was, to measure its replicas by.
    track: Track,
    roles: Option<RolesView>,
    /// The last primary, also while there is one.
    last_primary: Option<Name>,
    /// Who claims against whom; empty while nobody does.
    split_brain: Vec<Name>,
    source: SourceMemory,
    failover: Failover,
    /// The newest step of the manager's failover, and when it was told.
    step: Option<(Time, FailoverStep)>,
    /// An operator's order that waits for the endpoint's word.
    wish: Option<Wish>,
    /// What was last asked to be remembered.
    persisted: Option<Fence>,
    /// Whom the manager has taken the lead back to.
    take_back: Option<Name>,
    started_at: Time,
    /// The moment last asked for.
    wake_at: Option<Time>,
    generation: u64,
    published: Published,
}

/// What the last published picture said, to see whether a new one would say anything else.
#[derive(Debug, Default)]
struct Published {
    views: Vec<EndpointView>,
    is_starting: bool,
}

/// What one event brings, before the conclusions.
#[derive(Debug, Default)]
struct Changes {
    /// A new picture is due even if every endpoint is as it was.
    is_reconfigured: bool,
    retired: Vec<Effect>,
    probes: Vec<Effect>,
    events: Vec<EventKind>,
    /// The endpoint a new verdict came from, by position, and whether the probe passed.
    heard: Option<(usize, bool)>,
    /// Somebody has said something that makes questions worth while.
    is_stirred: bool,
}

impl UpstreamState {
    /// A machine that knows nothing but its configuration, and what was remembered across a
    /// restart: `fence` is only ever a reason to refuse. The first effect publishes generation 0;
    /// endpoints that need no resolving are probed from now on.
    pub fn new(
        config: Arc<Upstream>,
        fence: Option<Fence>,
        now: Time,
    ) -> (UpstreamState, Vec<Effect>) {
        let mut state = UpstreamState {
            topology: Topology::of(&config),
            track: Track::default(),
            roles: None,
            last_primary: None,
            split_brain: Vec::new(),
            source: SourceMemory::default(),
            failover: Failover::default(),
            step: None,
            wish: None,
            persisted: None,
            take_back: None,
            started_at: now,
            wake_at: None,
            entries: Vec::new(),
            generation: 0,
            published: Published::default(),
            config,
        };
        let mut changes = Changes {
            is_reconfigured: true,
            ..Changes::default()
        };
        if let (Some(topology), Some(fence)) = (&mut state.topology, fence) {
            topology.remember(&fence);
            state.persisted = topology.fence();
        }
        state.arrange(now, &mut changes);
        changes.events.clear();
        // There is no average yet that a newcomer could start with.
        state
            .entries
            .iter_mut()
            .for_each(|entry| entry.is_warm = true);
        let effects = state.conclude(changes, now);
        (state, effects)
    }

    /// Takes one event. An old or repeated one has no effects.
    pub fn apply(&mut self, event: StateEvent, now: Time) -> Vec<Effect> {
        let changes = match event {
            StateEvent::Configure(config) => self.configure(config, now),
            StateEvent::Verdict { endpoint, verdict } => self.hear(&endpoint, verdict, now),
            StateEvent::Resolved { endpoint, socket } => self.resolve(&endpoint, socket, now),
            StateEvent::Source(report) => self.tell(report, now),
            StateEvent::Tick => Some(Changes::default()),
        };
        changes.map_or_else(Vec::new, |changes| self.conclude(changes, now))
    }

    /// The configuration it works under.
    pub fn config(&self) -> &Arc<Upstream> {
        &self.config
    }

    /// A probe's result: health first, then what the node says of itself.
    fn hear(&mut self, id: &Name, verdict: Verdict, now: Time) -> Option<Changes> {
        let rules = entry::rules(self.config.health.as_ref()?);
        let position = self.position(id)?;
        let entry = self.entries.get_mut(position)?;
        if !entry.is_news(verdict.asked_at) {
            return None;
        }
        entry.heard_at = Some(verdict.asked_at);
        let mut changes = Changes {
            heard: Some((position, verdict.result.is_ok())),
            ..Changes::default()
        };
        let detail = match &verdict.result {
            Ok(evidence) => evidence.to_string(),
            Err(failure) => failure.to_string(),
        };
        let transition = entry.health.observe(verdict.result.is_ok(), rules, now);
        if let Some(transition) = transition {
            let is_healthy = transition == Transition::Up;
            entry.down_why = (!is_healthy).then(|| Arc::from(detail.as_str()));
            changes.events.push(EventKind::Health {
                endpoint: id.clone(),
                is_healthy,
                detail,
            });
        } else if verdict.result.is_err()
            && entry.down_why.as_deref().is_some_and(|it| it != detail)
        {
            // Still down, for another reason: people look at the newest one.
            entry.down_why = Some(Arc::from(detail));
        }
        if let Ok(evidence) = verdict.result {
            if let Some(topology) = &mut self.topology {
                topology.learn(&evidence);
            }
            entry.evidence = Some(evidence);
            entry.evidence_at = entry.heard_at;
            entry.read_at = verdict.asked_at.after(verdict.took / 2);
        }
        Some(changes)
    }

    /// An address was found, or has changed: in a role upstream another address may be another
    /// node, so what the old one said no longer counts and its sessions end.
    fn resolve(
        &mut self,
        id: &Name,
        socket: Result<SocketAddr, Arc<str>>,
        now: Time,
    ) -> Option<Changes> {
        let position = self.position(id)?;
        let has_roles = self.topology.is_some();
        let entry = self.entries.get_mut(position)?;
        if entry.endpoint.address.literal().is_some() {
            return None;
        }
        entry.is_looked_up = true;
        let mut changes = Changes::default();
        entry.unresolved_why = socket.as_ref().err().cloned();
        if let Ok(socket) = socket
            && entry.socket != Some(socket)
        {
            let before = entry.socket.replace(socket);
            if before.is_some() && has_roles {
                changes.retired.push(entry.retire(RetireReason::Removed));
                entry.forget(now);
            }
            entry.stop_probe(&mut changes.probes);
            entry.start_probe(self.config.health.as_ref(), &mut changes.probes);
        }
        self.annotate();
        Some(changes)
    }

    fn position(&self, id: &Name) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.endpoint.id == *id)
    }

    fn event(&self, kind: EventKind, now: Time) -> Effect {
        Effect::Record(Event {
            at: now,
            upstream: self.config.name.clone(),
            kind,
        })
    }
}

impl Entry {
    /// Ends the current life and begins another one.
    fn retire(&mut self, reason: RetireReason) -> Effect {
        self.has_led = false;
        self.is_frozen = false;
        Effect::Retire {
            incarnation: std::mem::replace(&mut self.incarnation, Arc::new(Incarnation::default())),
            endpoint: self.endpoint.id.clone(),
            reason,
        }
    }
}
