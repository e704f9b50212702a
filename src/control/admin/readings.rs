//! Readings for `/metrics` from the live picture of the upstreams.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::time::Time;
use crate::control::admin::picture::health;
use crate::telemetry::reading::{
    EndpointReading, RolesReading, SourceReading, StateCounts, UpstreamReading,
};
use crate::upstream::cell::UpstreamCell;
use crate::upstream::endpoint::Counts;
use crate::upstream::snapshot::{EndpointView, Snapshot};

/// One upstream as it is now.
pub(super) fn upstream(cell: &UpstreamCell, is_per_endpoint: bool, now: Time) -> UpstreamReading {
    let snapshot = cell.snapshot.load();
    let endpoints = if is_per_endpoint {
        let views = snapshot.endpoints.iter();
        views.map(|view| endpoint(view, &snapshot, now)).collect()
    } else {
        Vec::new()
    };
    UpstreamReading {
        name: cell.name.clone(),
        states: states(&snapshot),
        held: cell.held.load(Ordering::Relaxed) as u64,
        roles: snapshot.roles.as_ref().map(|roles| RolesReading {
            has_primary: !snapshot.primary.positions.is_empty(),
            epoch: roles.epoch,
            is_split_brain: roles.is_split_brain,
            is_take_back: roles.is_take_back,
            suspended_by: roles.suspension.as_ref().map(|suspension| suspension.cause),
        }),
        source: source(cell, &snapshot),
        endpoints,
    }
}

fn source(cell: &UpstreamCell, snapshot: &Snapshot) -> Option<SourceReading> {
    let roles = snapshot.roles.as_ref();
    let view = roles.and_then(|roles| roles.source.as_ref());
    let reading = cell.source.load();
    let reading = reading.as_ref().as_ref()?;
    Some(SourceReading {
        kind: reading.kind,
        has_say: reading.status.has_say,
        is_paused: view.is_some_and(|view| view.is_paused),
        heard_at: reading.status.heard_at,
        words: reading.words,
    })
}

fn states(snapshot: &Snapshot) -> StateCounts {
    let mut counts = StateCounts::default();
    for view in &snapshot.endpoints {
        let count = match health(view) {
            _ if view.weight == 0 => &mut counts.draining,
            "healthy" => &mut counts.healthy,
            "unhealthy" => &mut counts.unhealthy,
            _ => &mut counts.unknown,
        };
        *count += 1;
    }
    counts
}

fn endpoint(view: &EndpointView, snapshot: &Snapshot, now: Time) -> EndpointReading {
    let (endpoint, counts) = (&view.endpoint, &view.endpoint.counts);
    let (decay, _) = snapshot.config.balance.ewma();
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    EndpointReading {
        id: endpoint.id.clone(),
        is_up: view.is_healthy,
        is_eligible: view.flags.is_empty(),
        in_flight: u64::from(endpoint.in_flight.load(Ordering::Relaxed)),
        answers: counts.answers.each_ref().map(read),
        sessions: read(&counts.sessions),
        errors: errors(counts),
        latency: endpoint
            .latency
            .micros(now, decay)
            .map(|micros| Duration::from_secs_f64(f64::from(micros.max(0.0)) / 1e6)),
        weight: view.weight,
        probes_passed: read(&counts.probes_passed),
        probes_failed: read(&counts.probes_failed),
        lag: endpoint.lag.load(),
        role: snapshot.roles.is_some().then_some(view.role),
        evidence_age: endpoint.verdicts.load().evidence_at.map(|at| now.since(at)),
    }
}

fn errors(counts: &Counts) -> [(&'static str, u64); 5] {
    [
        ("connect_failed", &counts.connect_failed),
        ("connect_timeout", &counts.connect_timeout),
        ("reset", &counts.reset),
        ("protocol", &counts.protocol),
        ("timeout", &counts.timeout),
    ]
    .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
}
