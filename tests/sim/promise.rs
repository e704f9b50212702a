//! What must hold after every step, worked out again from the verdicts alone and never by asking
//! the machine under test how it came to its picture.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fairlead::base::time::Time;
use fairlead::config::source::Source;
use fairlead::config::upstream::{Upstream, UpstreamKind};
use fairlead::model::fence::Fence;
use fairlead::model::flags::Flag;
use fairlead::model::name::Name;
use fairlead::model::role::{Epoch, ReplicationId, Role};
use fairlead::model::verdict::Evidence;
use fairlead::upstream::effect::{Effect, StateEvent};
use fairlead::upstream::endpoint::{Incarnation, RetireReason};
use fairlead::upstream::lease::Lease;
use fairlead::upstream::snapshot::{EndpointView, Snapshot};

use crate::lag::Yardstick;
use crate::picture::{eligible, leaders, primary_view};
use crate::truth::SYSTEM;
use crate::word::{Words, epoch_of};

/// A broken promise becomes the error of the run.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// What an endpoint has said, as far as it reached us.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    since: Time,
    asked_at: Option<Time>,
    evidence: Option<Evidence>,
    /// When it was asked what it last said.
    evidence_at: Option<Time>,
    failures: u32,
}

#[derive(Debug)]
pub(crate) struct Promises {
    fall: u32,
    pub(crate) heard: BTreeMap<Name, Heard>,
    /// The highest timeline of our system anybody has shown.
    height: u32,
    /// Redis histories that somebody has shown to be left behind.
    pub(crate) over: BTreeSet<ReplicationId>,
    /// Lives that were routed as primary, and whose.
    led: Vec<(Name, Arc<Incarnation>)>,
    /// The last primary and the epoch it was seen in.
    pub(crate) last_led: Option<(Name, Epoch)>,
    epoch: Epoch,
    /// A primary was verified before this picture.
    is_led: bool,
    /// Nobody but the endpoints has ever had a say: then their claims alone must explain it all.
    is_plain: bool,
    /// Every shard has a primary of its own.
    pub(crate) is_sharded: bool,
    /// When somebody last lost the lead.
    pub(crate) demoted: BTreeMap<Name, Time>,
    pub(crate) words: Words,
    pub(crate) yardstick: Yardstick,
}

impl Promises {
    pub(crate) fn new(config: &Upstream, picture: &Snapshot, clock: u64) -> Promises {
        let mut promises = Promises {
            fall: config.health.as_ref().map_or(1, |health| health.fall),
            heard: BTreeMap::new(),
            height: 0,
            over: BTreeSet::new(),
            led: Vec::new(),
            last_led: None,
            epoch: Epoch(0),
            is_led: false,
            is_plain: config.source.is_none(),
            is_sharded: matches!(config.source, Some(Source::RedisCluster(_))),
            demoted: BTreeMap::new(),
            words: Words::new(config.kind == UpstreamKind::Redis),
            yardstick: Yardstick::new(config.lag_max),
        };
        promises.configure(config, picture, clock);
        promises
    }

    /// The endpoints are those configured; those shown where a source lists them, which
    /// `membership` looks after.
    pub(crate) fn configure(&mut self, config: &Upstream, picture: &Snapshot, clock: u64) {
        let configured = config.endpoints.iter();
        let mut ids: Vec<Name> = configured
            .map(|endpoint| Name::from(endpoint.address.to_string().as_str()))
            .collect();
        if ids.is_empty() {
            let views = picture.endpoints.iter();
            ids = views.map(|view| view.endpoint.id.clone()).collect();
        }
        self.heard.retain(|id, _| ids.contains(id));
        self.demoted.retain(|id, _| ids.contains(id));
        for id in ids {
            self.heard.entry(id).or_insert_with(|| Heard {
                since: Time::from_millis(clock),
                ..Heard::default()
            });
        }
    }

    /// The process begins anew: what was heard is forgotten, what was persisted is not.
    pub(crate) fn restart(&mut self) -> Option<Fence> {
        let fence = self.words.restart();
        self.heard.clear();
        self.demoted.clear();
        self.yardstick.clear();
        self.led.clear();
        self.is_led = fence.is_some();
        self.epoch = epoch_of(fence.as_ref());
        self.height = match &fence {
            Some(Fence::Postgres { timeline, .. }) => *timeline,
            _ => 0,
        };
        if !matches!(&fence, Some(Fence::Redis { .. })) {
            self.over.clear();
        }
        if let Some(Fence::Redis { superseded, .. }) = &fence {
            self.over = superseded.iter().copied().collect();
        }
        fence
    }

    /// An operator has ordered a primary.
    pub(crate) fn order_primary(&mut self, until: Time) {
        self.is_plain = false;
        self.words.ordered_until = Some(until);
        self.words.forgive(None);
    }

    pub(crate) fn has_led(&self) -> bool {
        self.last_led.is_some()
    }

    /// Takes note of an event. False when it is a verdict that must change nothing.
    pub(crate) fn hear(&mut self, event: &StateEvent) -> bool {
        let StateEvent::Verdict { endpoint, verdict } = event else {
            return self.words.hear(event);
        };
        let Some(heard) = self.heard.get_mut(endpoint) else {
            return false;
        };
        let is_late = verdict.asked_at < heard.since;
        if is_late
            || heard
                .asked_at
                .is_some_and(|asked_at| verdict.asked_at <= asked_at)
        {
            return false;
        }
        heard.asked_at = Some(verdict.asked_at);
        match &verdict.result {
            Err(_) => heard.failures += 1,
            Ok(evidence) => {
                heard.failures = 0;
                let is_newer = match evidence {
                    Evidence::Postgres(facts) => Epoch(u64::from(facts.timeline)) > self.epoch,
                    Evidence::Redis(facts) => facts.previous_replication_id.is_some(),
                    Evidence::Alive(_) => false,
                };
                if !is_newer {
                    self.words.forgive(Some(endpoint));
                }
                heard.evidence = Some(evidence.clone());
                heard.evidence_at = heard.asked_at;
                match evidence {
                    Evidence::Postgres(facts) if facts.system_identifier == SYSTEM => {
                        self.height = self.height.max(facts.timeline);
                    }
                    Evidence::Redis(facts) if !facts.is_loading => {
                        self.over.extend(facts.previous_replication_id);
                    }
                    _ => {}
                }
            }
        }
        true
    }

    /// The order of effects, and that silence demotes nobody.
    pub(crate) fn check_effects(
        &self,
        event: &StateEvent,
        effects: &[Effect],
    ) -> Result<(), String> {
        let rank = |effect: &Effect| match effect {
            Effect::Persist(_) => 0,
            Effect::Publish(_) => 1,
            Effect::Freeze { .. } | Effect::Thaw { .. } => 2,
            Effect::Retire { .. } => 3,
            Effect::StartProbe { .. }
            | Effect::StopProbe { .. }
            | Effect::ProbeNow { .. }
            | Effect::AskSource => 4,
            Effect::WakeAt(_) => 5,
            Effect::Record(_) => 6,
        };
        ensure(effects.is_sorted_by_key(rank), || {
            format!("effects out of order: {effects:?}")
        })?;
        let is_failure =
            matches!(event, StateEvent::Verdict { verdict, .. } if verdict.result.is_err());
        if self.is_sharded {
            self.check_shard_effects(effects, is_failure)?;
        }
        let picture = effects.iter().find_map(|effect| match effect {
            Effect::Publish(snapshot) => Some(snapshot),
            _ => None,
        });
        for effect in effects {
            let Effect::Retire {
                endpoint,
                incarnation,
                reason,
            } = effect
            else {
                continue;
            };
            let shown = picture.ok_or("retired without a new picture")?;
            let is_shown = |view: &EndpointView| Arc::ptr_eq(&view.incarnation, incarnation);
            ensure(!shown.endpoints.iter().any(is_shown), || {
                format!("the retired life of {endpoint} is in the new picture")
            })?;
            let successor = primary_view(shown).filter(|view| view.endpoint.id != *endpoint);
            // With a manager, a silent leader may leave it to a follower to prove a newer history.
            ensure(!is_failure || successor.is_some() || !self.is_plain, || {
                format!("{endpoint} was retired because a probe failed")
            })?;
            if *reason == RetireReason::Demoted {
                let was_routed = self
                    .led
                    .iter()
                    .any(|(_, life)| Arc::ptr_eq(life, incarnation));
                ensure(was_routed, || {
                    format!("{endpoint} was demoted and never led")
                })?;
            }
        }
        Ok(())
    }

    /// Generations rise by one; epochs never fall.
    pub(crate) fn check_order(&mut self, old: &Snapshot, new: &Snapshot) -> Result<(), String> {
        ensure(new.generation == old.generation + 1, || {
            format!("generation {} after {}", new.generation, old.generation)
        })?;
        let epoch = new.roles.as_ref().map_or(Epoch(0), |roles| roles.epoch);
        let is_ordered = self.words.is_ordered();
        ensure(epoch >= self.epoch || is_ordered, || {
            format!("epoch {epoch} after {}", self.epoch)
        })?;
        self.epoch = epoch;
        for view in leaders(new, self.is_sharded) {
            self.last_led = Some((view.endpoint.id.clone(), epoch));
            if !self
                .led
                .iter()
                .any(|(_, life)| Arc::ptr_eq(life, &view.incarnation))
            {
                self.led
                    .push((view.endpoint.id.clone(), Arc::clone(&view.incarnation)));
            }
        }
        Ok(())
    }

    /// Everything a picture promises.
    pub(crate) fn check(
        &mut self,
        picture: &Snapshot,
        probed: &BTreeSet<Name>,
        now: Time,
    ) -> Result<(), String> {
        let is_one = picture.primary.positions.len() <= 1 || self.is_sharded;
        ensure(is_one || picture.roles.is_none(), || {
            "two primaries are eligible".into()
        })?;
        for table in [&picture.primary, &picture.replica, &picture.any] {
            for view in eligible(picture, table) {
                self.check_eligible(view)?;
            }
        }
        for view in &picture.endpoints {
            let id = &view.endpoint.id;
            ensure(!view.incarnation.is_retired(), || {
                format!("{id} is shown retired")
            })?;
            ensure(view.since <= now, || {
                format!("{id} is as it is since the future")
            })?;
            ensure(view.socket.is_some() == probed.contains(id), || {
                format!("{id} should be probed exactly while it has an address")
            })?;
        }
        if picture.roles.is_some() {
            self.check_roles(picture)?;
        }
        self.check_led(picture)
    }

    fn check_eligible(&self, view: &EndpointView) -> Result<(), String> {
        let id = &view.endpoint.id;
        ensure(view.flags.is_empty(), || {
            format!("{id} is flagged and eligible")
        })?;
        ensure(view.weight > 0 && view.socket.is_some(), || {
            format!("{id} cannot be used")
        })?;
        let heard = self
            .heard
            .get(id)
            .ok_or_else(|| format!("{id} is not configured"))?;
        ensure(
            heard.failures < self.fall && heard.evidence.is_some(),
            || format!("{id} is eligible and does not answer"),
        )
    }

    fn check_roles(&mut self, picture: &Snapshot) -> Result<(), String> {
        for view in eligible(picture, &picture.replica) {
            let id = &view.endpoint.id;
            let role = self.evidence(id).map(Evidence::role);
            ensure(role == Some(Role::Replica), || {
                format!("{id} is no replica")
            })?;
            if let Some(Evidence::Redis(facts)) = self.evidence(id) {
                ensure(facts.is_link_up && !facts.is_loading, || {
                    format!("{id} is not in sync")
                })?;
            }
        }
        if self.is_sharded {
            return self.check_shards(picture);
        }
        self.check_lag(picture)?;
        let roles = picture.roles.as_ref().ok_or("no roles")?;
        let is_first = !self.is_led;
        self.is_led |= roles.primary.is_some();
        ensure(
            roles.primary.is_none() || roles.last_primary.is_none(),
            || "there is a primary and a last one".into(),
        )?;
        let Some(view) = eligible(picture, &picture.primary).next() else {
            return Ok(());
        };
        let id = &view.endpoint.id;
        match self.evidence(id) {
            Some(Evidence::Postgres(facts)) => {
                let is_ours = facts.role == Role::Primary && facts.system_identifier == SYSTEM;
                ensure(is_ours, || {
                    format!("{id} is routed and is no primary of ours")
                })?;
                if !self.is_plain {
                    return Ok(());
                }
                ensure(facts.timeline >= self.height, || {
                    let (theirs, height) = (facts.timeline, self.height);
                    format!("{id} is routed on timeline {theirs}, {height} was seen")
                })?;
                let height = self.height;
                self.check_alone(picture, id, |evidence| {
                    matches!(evidence, Evidence::Postgres(other)
                        if other.role == Role::Primary
                            && other.system_identifier == SYSTEM
                            && other.timeline == height)
                })
            }
            Some(Evidence::Redis(facts)) => {
                let is_primary = facts.role == Role::Primary && !facts.is_loading;
                ensure(is_primary, || format!("{id} is routed and is no primary"))?;
                if !self.is_plain {
                    return Ok(());
                }
                let id_over = facts.replication_id.filter(|id| self.over.contains(id));
                ensure(id_over.is_none(), || {
                    format!("{id} is routed in a history that is over")
                })?;
                let history = facts.replication_id;
                // The first primary is the only one that claims it; later the same history counts.
                self.check_alone(picture, id, |evidence| {
                    matches!(evidence, Evidence::Redis(other)
                        if other.role == Role::Primary
                            && !other.is_loading
                            && !other.replication_id.is_some_and(|id| self.over.contains(&id))
                            && (is_first || other.replication_id == history))
                })
            }
            other => Err(format!("{id} is routed as primary for {other:?}")),
        }
    }

    /// Nobody else who answers has as good a claim as the routed primary.
    fn check_alone(
        &self,
        picture: &Snapshot,
        routed: &Name,
        is_equal: impl Fn(&Evidence) -> bool,
    ) -> Result<(), String> {
        for view in picture
            .endpoints
            .iter()
            .filter(|view| view.endpoint.id != *routed)
        {
            let id = &view.endpoint.id;
            let is_rival = view.is_healthy && self.evidence(id).is_some_and(&is_equal);
            ensure(!is_rival, || {
                format!("{routed} is routed, {id} claims the same")
            })?;
        }
        Ok(())
    }

    /// Who has led and is replaced, or says it is a replica, has lost its sessions.
    fn check_led(&mut self, picture: &Snapshot) -> Result<(), String> {
        self.led.retain(|(_, life)| !life.is_retired());
        let primary = primary_view(picture).map(|view| &view.endpoint.id);
        for (id, _) in &self.led {
            ensure(self.heard.contains_key(id), || {
                format!("{id} is gone, its sessions are not")
            })?;
            let says_replica = self.evidence(id).map(Evidence::role) == Some(Role::Replica);
            let is_replaced = primary.is_some_and(|primary| primary != id) && !self.is_sharded;
            ensure(!says_replica && !is_replaced, || {
                format!("{id} leads no more, its sessions go on")
            })?;
            let view = picture
                .endpoints
                .iter()
                .find(|view| view.endpoint.id == *id);
            let is_fenced = view.is_some_and(|view| view.flags.has(Flag::Fenced));
            ensure(!is_fenced, || format!("{id} is fenced, its sessions go on"))?;
        }
        Ok(())
    }

    /// Every lease is counted, and nothing else.
    pub(crate) fn check_leases(&self, picture: &Snapshot, leases: &[Lease]) -> Result<(), String> {
        for view in &picture.endpoints {
            let is_its = |lease: &&Lease| Arc::ptr_eq(lease.endpoint(), &view.endpoint);
            let (held, counted) = (
                leases.iter().filter(is_its).count(),
                view.endpoint.in_flight.load(Ordering::Relaxed),
            );
            ensure(held == counted as usize, || {
                format!("{}: {held} leases, {counted} in flight", view.endpoint.id)
            })?;
        }
        Ok(())
    }

    /// Effects against what was said.
    pub(crate) fn check_word_effects(
        &mut self,
        event: Option<&StateEvent>,
        effects: &[Effect],
        before: &Snapshot,
    ) -> Result<(), String> {
        let heard = &self.heard;
        let answers = |id: &Name| heard.get(id).is_some_and(|heard| heard.failures == 0);
        self.words.check_effects(event, effects, before, answers)
    }

    /// Whether what is found in the end can be demanded by what was said before.
    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    pub(crate) fn evidence(&self, id: &Name) -> Option<&Evidence> {
        self.heard.get(id)?.evidence.as_ref()
    }

    pub(crate) fn evidence_at(&self, id: &Name) -> Option<Time> {
        self.heard.get(id)?.evidence_at
    }
}
