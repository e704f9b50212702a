//! What happened: the last events of the process for the API, and a log line for each.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::base::ring::Ring;
use crate::config::default;
use crate::model::event::{Event, EventKind};
use crate::model::name::Name;

/// The bounded journal. Written by the actors, read by the API and the demo.
#[derive(Debug)]
pub struct Journal {
    events: Mutex<Ring<Event>>,
    count: watch::Sender<u64>,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal {
            events: Mutex::new(Ring::new(default::JOURNAL_EVENTS_MAX)),
            count: watch::Sender::new(0),
        }
    }
}

impl Journal {
    /// Keeps an event and logs it.
    pub fn record(&self, event: Event) {
        log(&event);
        self.events().push(event);
        self.count.send_modify(|count| *count += 1);
    }

    /// The kept events, oldest first.
    pub fn list(&self) -> Vec<Event> {
        self.events().iter().cloned().collect()
    }

    /// Wakes at every event; the number is how many there were.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    fn events(&self) -> MutexGuard<'_, Ring<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(event: &Event) {
    let upstream = &event.upstream;
    match &event.kind {
        EventKind::Health {
            endpoint,
            is_healthy: true,
            detail,
        } => {
            tracing::info!(%upstream, %endpoint, reason = %detail, "endpoint is up");
        }
        EventKind::Health {
            endpoint,
            is_healthy: false,
            detail,
        } => {
            tracing::warn!(%upstream, %endpoint, reason = %detail, "endpoint is down");
        }
        EventKind::Role { endpoint, from, to } => {
            tracing::info!(%upstream, %endpoint, %from, role = %to, "role changed");
        }
        EventKind::Primary {
            from,
            to: Some(to),
            epoch,
            lost_for,
        } => {
            let lost_for = lost_for.unwrap_or_default().as_secs_f64();
            let from = name(from.as_ref());
            tracing::info!(%upstream, endpoint = %to, %from, %epoch, lost_for_seconds = lost_for, "primary found");
        }
        EventKind::Primary {
            from,
            to: None,
            epoch,
            ..
        } => {
            let from = name(from.as_ref());
            tracing::warn!(%upstream, %from, %epoch, "no primary");
        }
        EventKind::SplitBrain { endpoints } if endpoints.is_empty() => {
            tracing::info!(%upstream, "split brain is over");
        }
        EventKind::SplitBrain { endpoints } => {
            tracing::error!(%upstream, ?endpoints, "split brain: equal claims to be primary, none is routed");
        }
        EventKind::Refused { endpoint, why } => {
            tracing::warn!(%upstream, %endpoint, reason = %why, "claim to be primary refused");
        }
        EventKind::TakeBack { endpoint, why } => {
            tracing::error!(%upstream, %endpoint, reason = %why, "the manager has taken the lead back: refused");
        }
        EventKind::Leader { .. }
        | EventKind::Automatic { .. }
        | EventKind::Source { .. }
        | EventKind::Failover { .. }
        | EventKind::Suspended { .. }
        | EventKind::Unsuspended { .. }
        | EventKind::Order { .. } => log_told(event),
        EventKind::Added { endpoint } => tracing::info!(%upstream, %endpoint, "endpoint added"),
        EventKind::Removed { endpoint } => tracing::info!(%upstream, %endpoint, "endpoint removed"),
    }
}

/// What a source or an operator has said, and what follows from it.
fn log_told(event: &Event) {
    let upstream = &event.upstream;
    match &event.kind {
        EventKind::Leader { leader, expected } if !expected.is_empty() => {
            let leader = name(leader.as_ref());
            tracing::info!(%upstream, %leader, ?expected, "the manager names a leader");
        }
        EventKind::Leader { leader, .. } => {
            tracing::info!(%upstream, leader = %name(leader.as_ref()), "the manager names a leader");
        }
        EventKind::Automatic { is_on: true } => {
            tracing::info!(%upstream, "the manager fails over by itself again");
        }
        EventKind::Automatic { is_on: false } => {
            tracing::warn!(%upstream, "the manager is paused: nothing fails over by itself");
        }
        EventKind::Source {
            has_say: true,
            up,
            of,
            ..
        } => {
            tracing::info!(%upstream, up, of, "the source has a say");
        }
        EventKind::Source {
            up, of, trouble, ..
        } => {
            let trouble = trouble.as_deref().unwrap_or_default();
            tracing::warn!(%upstream, up, of, reason = %trouble, "the source has no say: probes decide alone");
        }
        EventKind::Failover { step } => tracing::info!(%upstream, "{step}"),
        EventKind::Suspended { cause, candidate } => {
            let candidate = name(candidate.as_ref());
            tracing::info!(%upstream, cause = cause.as_str(), %candidate, "nothing new goes to the primary");
        }
        EventKind::Unsuspended { cause, why, lasted } => {
            let lasted = lasted.as_secs_f64();
            tracing::info!(%upstream, cause = cause.as_str(), reason = %why, lasted_seconds = lasted, "the suspension is over");
        }
        EventKind::Order { order } => tracing::info!(%upstream, "an operator orders: {order}"),
        _ => {}
    }
}

fn name(endpoint: Option<&Name>) -> &str {
    endpoint.map_or("none", Name::as_str)
}
