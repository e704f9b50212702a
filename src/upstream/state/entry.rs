//! What is known of one endpoint.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::time::Time;
use crate::config;
use crate::model::flags::{Flag, Flags};
use crate::model::role::Role;
use crate::model::verdict::Evidence;
use crate::policy::health::{Health, Rules};
use crate::policy::lag::TooFar;
use crate::policy::topology::{Claim, Standing};
use crate::upstream::effect::Effect;
use crate::upstream::endpoint::{Endpoint, Incarnation};
use crate::upstream::snapshot::EndpointView;

/// One endpoint of the upstream.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) incarnation: Arc<Incarnation>,
    pub(super) socket: Option<SocketAddr>,
    pub(super) weight: u32,
    /// Without a probe it is assumed up.
    pub(super) health: Health,
    /// What it last said about itself.
    pub(super) evidence: Option<Evidence>,
    /// When it was asked what it last said.
    pub(super) evidence_at: Option<Time>,
    /// When it looked, as far as we know: half way between the question and the answer.
    pub(super) read_at: Time,
    /// When the newest verdict asked.
    pub(super) heard_at: Option<Time>,
    /// It has lost the lead: what it was asked before does not make it primary again.
    pub(super) believed_from: Option<Time>,
    /// The source does not keep reads away from it.
    pub(super) is_balanced: bool,
    /// Verdicts that asked before this speak of another time or another node.
    heard_from: Time,
    /// Its host name was looked up once, with whatever result.
    pub(super) is_looked_up: bool,
    /// Why it was not found when it was looked up last.
    pub(super) unresolved_why: Option<Arc<str>>,
    pub(super) is_probed: bool,
    /// It was the primary in its current incarnation.
    pub(super) has_led: bool,
    /// The sessions of its current incarnation stand still.
    pub(super) is_frozen: bool,
    /// It is up and has had its turn to start with the average latency of the others.
    pub(super) is_warm: bool,
    /// What the probe said that took it down.
    pub(super) down_why: Option<Arc<str>>,
    /// Why a replica is too far behind to take reads. Is as it was while the primary is silent.
    pub(super) too_far: Option<TooFar>,
}

/// The thresholds of a probe's settings.
pub(super) fn rules(health: &config::upstream::Health) -> Rules {
    Rules {
        rise: health.rise,
        fall: health.fall,
        start_period: health.start_period,
    }
}

impl Entry {
    pub(super) fn new(
        configured: &config::upstream::Endpoint,
        has_probe: bool,
        now: Time,
    ) -> Entry {
        Entry {
            endpoint: Arc::new(Endpoint::new(configured.address.clone())),
            incarnation: Arc::new(Incarnation::default()),
            socket: configured.address.literal(),
            weight: configured.weight,
            health: health(has_probe, now),
            evidence: None,
            evidence_at: None,
            read_at: now,
            heard_at: None,
            believed_from: None,
            is_balanced: true,
            heard_from: now,
            is_looked_up: false,
            unresolved_why: None,
            is_probed: false,
            has_led: false,
            is_frozen: false,
            is_warm: false,
            down_why: None,
            too_far: None,
        }
    }

    /// Another node may be behind its address now: nothing is known of it.
    pub(super) fn forget(&mut self, now: Time) {
        self.health = health(self.is_probed, now);
        self.evidence = None;
        self.evidence_at = None;
        self.heard_at = None;
        self.heard_from = now;
        self.down_why = None;
        self.too_far = None;
    }

    /// Whether a verdict that asked then tells anything new.
    pub(super) fn is_news(&self, asked_at: Time) -> bool {
        asked_at >= self.heard_from && self.heard_at.is_none_or(|heard_at| asked_at > heard_at)
    }

    /// Whether there is nothing left to wait for: a verdict, or what takes its place.
    pub(super) fn is_known(&self) -> bool {
        let has_address = self.socket.is_some();
        self.heard_at.is_some()
            || (self.is_looked_up && !has_address)
            || (has_address && !self.is_probed)
    }

    pub(super) fn claim(&self) -> Claim<'_> {
        Claim {
            endpoint: &self.endpoint.id,
            is_healthy: self.health.is_up(),
            evidence: self.evidence.as_ref(),
            asked_at: self.evidence_at,
            is_fresh: self.evidence_at.is_some() && self.evidence_at == self.heard_at,
            is_doubted: self.believed_from > self.evidence_at,
        }
    }

    /// How it looks in the next picture. `since` is filled in later.
    pub(super) fn view(&self, standing: Standing, has_probe: bool, now: Time) -> EndpointView {
        let is_undecided = has_probe && !self.health.is_known();
        let is_down = has_probe && self.health.is_known() && !self.health.is_up();
        // A refused history matters more than a failed probe: it stays when the probe passes.
        let shows_probe = is_down && !standing.is_refused();
        EndpointView {
            endpoint: Arc::clone(&self.endpoint),
            incarnation: Arc::clone(&self.incarnation),
            socket: self.socket,
            weight: self.weight,
            role: standing.role,
            epoch: standing.epoch,
            is_healthy: self.health.is_up(),
            flags: standing
                .flags
                .with_if(Flag::Unresolved, self.socket.is_none())
                .with_if(Flag::NoVerdict, is_undecided)
                .with_if(Flag::ProbeFailed, is_down)
                .with_if(Flag::Draining, self.weight == 0)
                .with_if(
                    Flag::NotBalanced,
                    standing.role == Role::Replica && !self.is_balanced,
                )
                .with_if(Flag::Lagging, self.too_far.is_some()),
            since: now,
            why: match &self.down_why {
                Some(why) if shows_probe => Some(Arc::clone(why)),
                _ if self.socket.is_none() => self.unresolved_why.clone(),
                _ => {
                    let too_far = || self.too_far.as_ref().map(|far| far.why().to_owned());
                    standing.why.or_else(too_far).map(Arc::from)
                }
            },
        }
    }

    pub(super) fn start_probe(
        &mut self,
        health: Option<&config::upstream::Health>,
        effects: &mut Vec<Effect>,
    ) {
        if let (Some(socket), Some(health)) = (self.socket, health) {
            self.is_probed = true;
            effects.push(Effect::StartProbe {
                endpoint: Arc::clone(&self.endpoint),
                socket,
                health: health.clone(),
            });
        }
    }

    pub(super) fn stop_probe(&mut self, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.is_probed) {
            effects.push(Effect::StopProbe {
                endpoint: self.endpoint.id.clone(),
            });
        }
    }
}

fn health(has_probe: bool, now: Time) -> Health {
    if has_probe {
        Health::unknown(now)
    } else {
        Health::assumed_up(now)
    }
}

/// Whether two views say the same to whoever routes or looks.
pub(super) fn says_the_same(a: &EndpointView, b: &EndpointView) -> bool {
    Arc::ptr_eq(&a.endpoint, &b.endpoint)
        && Arc::ptr_eq(&a.incarnation, &b.incarnation)
        && (a.socket, a.weight, a.epoch) == (b.socket, b.weight, b.epoch)
        && is_standing_equal(a, b)
        && a.why == b.why
}

/// Whether health, role and flags are as they were: then `since` stays.
pub(super) fn is_standing_equal(a: &EndpointView, b: &EndpointView) -> bool {
    (a.is_healthy, a.role, a.flags) == (b.is_healthy, b.role, b.flags)
}

/// An endpoint without roles has nothing of that kind against it.
pub(super) fn no_standing() -> Standing {
    Standing {
        flags: Flags::NONE,
        ..Standing::default()
    }
}
