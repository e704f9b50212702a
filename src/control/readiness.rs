//! Whether the process may be sent traffic, and if not, why.
//!
//! Ready = a configuration is applied, its listeners are bound, every upstream has had a first
//! verdict or has waited long enough for one, no drain has begun, and there are descriptors to let
//! clients in with and memory to serve them. A later reload never makes a ready process unready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::base::time::Time;
use crate::config::default;
use crate::model::strain::Strain;
use crate::upstream::cell::UpstreamCell;

/// What the process has reached. Set by the process, read by `/readyz`.
#[derive(Debug)]
pub struct Readiness {
    applied_at: AtomicU64,
    is_bound: AtomicBool,
    has_verdicts: AtomicBool,
    is_draining: AtomicBool,
    strain: Arc<Strain>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What is asked for, in words.
    pub name: &'static str,
    /// What is missing; `None` when it holds.
    pub missing: Option<String>,
}

impl Default for Readiness {
    fn default() -> Readiness {
        Readiness::new(Arc::default())
    }
}

impl Readiness {
    /// Nothing is reached yet. A strain makes it unready for as long as it lasts.
    pub fn new(strain: Arc<Strain>) -> Readiness {
        Readiness {
            applied_at: AtomicU64::new(Time::NEVER.as_nanos()),
            is_bound: AtomicBool::new(false),
            has_verdicts: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            strain,
        }
    }

    /// The first configuration is in force.
    pub fn applied(&self, now: Time) {
        self.applied_at.fetch_min(now.as_nanos(), Ordering::Relaxed);
    }

    /// Its listeners are bound.
    pub fn bound(&self) {
        self.is_bound.store(true, Ordering::Relaxed);
    }

    /// A drain has begun; there is no way back.
    pub fn draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether a drain has begun.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Whether every condition holds.
    pub fn is_ready(&self, upstreams: &[Arc<UpstreamCell>], now: Time) -> bool {
        self.conditions(upstreams, now)
            .iter()
            .all(|condition| condition.missing.is_none())
    }

    /// Every condition, in the order in which a start reaches them.
    pub fn conditions(&self, upstreams: &[Arc<UpstreamCell>], now: Time) -> [Condition; 6] {
        let applied_at = Time::from_nanos(self.applied_at.load(Ordering::Relaxed));
        let is_applied = applied_at != Time::NEVER;
        [
            condition("configuration applied", is_applied, || {
                "not applied yet".to_owned()
            }),
            condition(
                "listeners bound",
                self.is_bound.load(Ordering::Relaxed),
                || "not bound yet".to_owned(),
            ),
            Condition {
                name: "upstreams probed",
                missing: self.unprobed(upstreams, is_applied, now.since(applied_at)),
            },
            condition("not draining", !self.is_draining(), || {
                "a drain has begun".to_owned()
            }),
            condition(
                "descriptors left",
                !self.strain.is_accepting_paused(),
                || "no client is let in until some are free".to_owned(),
            ),
            condition("memory left", !self.strain.refuses_requests(), || {
                format!("memory is {}", self.strain.memory().as_str())
            }),
        ]
    }

    fn unprobed(
        &self,
        upstreams: &[Arc<UpstreamCell>],
        is_applied: bool,
        waited: std::time::Duration,
    ) -> Option<String> {
        if self.has_verdicts.load(Ordering::Relaxed) {
            return None;
        }
        let waiting: Vec<&str> = upstreams
            .iter()
            .filter(|cell| cell.snapshot.load().is_starting)
            .map(|cell| cell.name.as_str())
            .collect();
        if is_applied && (waiting.is_empty() || waited >= default::READY_WAIT) {
            self.has_verdicts.store(true, Ordering::Relaxed);
            return None;
        }
        Some(if waiting.is_empty() {
            "not known yet".to_owned()
        } else {
            format!("waiting for a first verdict: {}", waiting.join(", "))
        })
    }
}

fn condition(name: &'static str, holds: bool, missing: impl FnOnce() -> String) -> Condition {
    Condition {
        name,
        missing: (!holds).then(missing),
    }
}
