//! Pages from the live picture of the upstreams.

use std::sync::atomic::Ordering;

use crate::base::time::{Rfc3339, Time, wall, wall_now};
use crate::control::admin::pages::{
    EndpointPage, EventPage, PrimaryPage, ProbePage, ScheduledPage, SourcePage, SuspensionPage,
    ToldPage, UpstreamLine, UpstreamPage,
};
use crate::model::event::{Event, EventKind};
use crate::model::flags::Flag;
use crate::model::name::Name;
use crate::model::source::{FailoverStep, ListedEndpoint, Remark};
use crate::model::verdict::Verdict;
use crate::upstream::cell::{SourceReading, UpstreamCell};
use crate::upstream::snapshot::{EndpointView, Snapshot, Suspension};

fn rfc3339(at: Time) -> String {
    Rfc3339(wall(at)).to_string()
}

/// What is going on, in one word.
fn state(snapshot: &Snapshot) -> &'static str {
    let has = |positions: &[u16]| !positions.is_empty();
    match &snapshot.roles {
        _ if snapshot.is_starting => "starting",
        Some(roles) if roles.is_split_brain => "split_brain",
        Some(roles) if roles.is_take_back => "take_back",
        Some(roles) if roles.suspension.is_some() => "suspended",
        Some(_) if !has(&snapshot.primary.positions) => "no_primary",
        None if !has(&snapshot.any.positions) => "no_eligible_endpoint",
        _ => "serving",
    }
}

/// The primary that takes traffic now.
fn primary(snapshot: &Snapshot) -> Option<&EndpointView> {
    let position = *snapshot.primary.positions.first()?;
    snapshot.roles.as_ref()?;
    snapshot.endpoint(position)
}

/// The line of one upstream in the status.
pub(super) fn upstream_line(cell: &UpstreamCell) -> UpstreamLine {
    let snapshot = cell.snapshot.load();
    let eligible = snapshot
        .endpoints
        .iter()
        .filter(|view| view.flags.is_empty());
    UpstreamLine {
        name: cell.name.to_string(),
        state: state(&snapshot).to_owned(),
        eligible: eligible.count(),
        endpoints: snapshot.endpoints.len(),
        primary: primary(&snapshot).map(|view| view.endpoint.id.to_string()),
    }
}

/// The page of one upstream.
pub fn upstream(cell: &UpstreamCell, now: Time) -> UpstreamPage {
    let snapshot = cell.snapshot.load();
    let roles = snapshot.roles.as_ref();
    let endpoints = snapshot.endpoints.iter();
    let reading = cell.source.load();
    let reading = reading.as_ref().as_ref();
    UpstreamPage {
        name: cell.name.to_string(),
        kind: snapshot.config.kind.as_str().to_owned(),
        balance: snapshot.config.balance.as_str().to_owned(),
        generation: snapshot.generation,
        state: state(&snapshot).to_owned(),
        primary: roles.zip(primary(&snapshot)).map(|(roles, view)| {
            let evidence_at = view.endpoint.verdicts.load().evidence_at;
            PrimaryPage {
                endpoint: view.endpoint.id.to_string(),
                epoch: view.epoch.unwrap_or(roles.epoch).0,
                since: rfc3339(roles.since),
                evidence_age_seconds: evidence_at.map(|at| now.since(at).as_secs_f64()),
            }
        }),
        fence_epoch: roles.map(|roles| roles.epoch.0),
        last_primary: roles
            .and_then(|roles| roles.last_primary.as_ref())
            .map(ToString::to_string),
        is_split_brain: roles.is_some_and(|roles| roles.is_split_brain),
        suspension: roles
            .and_then(|roles| roles.suspension.as_ref())
            .map(|suspension| suspension_page(suspension, now)),
        source: reading.map(|reading| source(reading, &snapshot, now)),
        held_connections: cell.held.load(Ordering::Relaxed) as u64,
        endpoints: endpoints
            .map(|view| endpoint(view, &snapshot, reading, now))
            .collect(),
    }
}

fn suspension_page(suspension: &Suspension, now: Time) -> SuspensionPage {
    SuspensionPage {
        cause: suspension.cause.as_str().to_owned(),
        since: rfc3339(suspension.since),
        until: rfc3339(suspension.until),
        seconds_left: suspension.until.since(now).as_secs_f64(),
        candidate: suspension.candidate.as_ref().map(ToString::to_string),
    }
}

/// How it does is told by itself, what counts of what it says is in the picture.
fn source(reading: &SourceReading, snapshot: &Snapshot, now: Time) -> SourcePage {
    let status = &reading.status;
    let roles = snapshot.roles.as_ref();
    let view = roles.and_then(|roles| roles.source.as_ref());
    let has_primary = roles.is_some_and(|roles| roles.primary.is_some());
    let is_paused = view.is_some_and(|view| view.is_paused);
    let trouble = status.trouble.clone();
    SourcePage {
        kind: reading.kind.to_owned(),
        up: status.up,
        of: status.of,
        has_say: status.has_say,
        leader: view
            .and_then(|view| view.leader.as_ref())
            .map(ToString::to_string),
        is_paused,
        last_success: status.heard_at.map(rfc3339),
        age_seconds: status.heard_at.map(|at| now.since(at).as_secs_f64()),
        trouble: trouble.or_else(|| (is_paused && !has_primary).then(|| WAITS.to_owned())),
        scheduled: reading.scheduled.as_ref().and_then(scheduled),
    }
}

/// A pause without a primary does not end by itself.
const WAITS: &str =
    "it is paused: nothing fails over until somebody orders it there or ends the pause";

/// A failover that is still to come.
fn scheduled(step: &FailoverStep) -> Option<ScheduledPage> {
    let FailoverStep::Scheduled { at, candidate } = step else {
        return None;
    };
    let left = at.0.duration_since(wall_now()).unwrap_or_default();
    Some(ScheduledPage {
        at: at.to_string(),
        seconds_left: left.as_secs_f64(),
        candidate: candidate.as_ref().map(ToString::to_string),
    })
}

/// What the manager says of an endpoint, by its address or by where it is.
fn told(view: &EndpointView, reading: Option<&SourceReading>) -> Option<ToldPage> {
    let is_at = |listed: &&ListedEndpoint| {
        let literal = listed.address.literal();
        listed.address == view.endpoint.address || (literal.is_some() && literal == view.socket)
    };
    let listed = reading?.listed.iter().find(is_at)?;
    let remark = &listed.remark;
    // Who says nothing of its own calls it by its address.
    (*remark != Remark::default() || listed.name != listed.address.to_string()).then(|| ToldPage {
        name: listed.name.clone(),
        state: remark.condition.clone(),
        sync: remark.synchrony.map(|it| it.as_str().to_owned()),
        needs_restart: remark.needs_restart,
        tags: remark.tags.clone(),
    })
}

fn endpoint(
    view: &EndpointView,
    snapshot: &Snapshot,
    reading: Option<&SourceReading>,
    now: Time,
) -> EndpointPage {
    let (decay, _) = snapshot.config.balance.ewma();
    let latency = view.endpoint.latency.micros(now, decay);
    let lag = view.endpoint.lag.load();
    EndpointPage {
        id: view.endpoint.id.to_string(),
        role: snapshot
            .roles
            .is_some()
            .then(|| view.role.as_str().to_owned()),
        epoch: view.epoch.map(|epoch| epoch.0),
        health: health(view).to_owned(),
        eligible: view.flags.is_empty(),
        reasons: view
            .flags
            .iter()
            .map(|flag| flag.as_str().to_owned())
            .collect(),
        why: view.why.as_deref().map(str::to_owned),
        in_flight: view.endpoint.in_flight.load(Ordering::Relaxed),
        latency_ewma_seconds: latency.map(|micros| f64::from(micros) / 1e6),
        lag_bytes: lag.bytes,
        lag_seconds: lag.seconds,
        weight: view.weight,
        told: told(view, reading),
        since: rfc3339(view.since),
        last_probe: view
            .endpoint
            .verdicts
            .load()
            .last
            .as_ref()
            .map(|verdict| probe(verdict, now)),
    }
}

/// An endpoint without a verdict is neither up nor down.
pub(super) fn health(view: &EndpointView) -> &'static str {
    if view.flags.has(Flag::NoVerdict) || view.flags.has(Flag::Unresolved) {
        "unknown"
    } else if view.is_healthy {
        "healthy"
    } else {
        "unhealthy"
    }
}

fn probe(verdict: &Verdict, now: Time) -> ProbePage {
    ProbePage {
        ok: verdict.result.is_ok(),
        took_seconds: verdict.took.as_secs_f64(),
        detail: match &verdict.result {
            Ok(evidence) => evidence.to_string(),
            Err(failure) => failure.to_string(),
        },
        age_seconds: now.since(verdict.asked_at).as_secs_f64(),
    }
}

/// An event in words and fields.
pub fn event(event: &Event) -> EventPage {
    let mut page = EventPage {
        at: rfc3339(event.at),
        upstream: event.upstream.to_string(),
        kind: String::new(),
        endpoint: None,
        from: None,
        to: None,
        epoch: None,
        without_primary_seconds: None,
        lasted_seconds: match &event.kind {
            EventKind::Unsuspended { lasted, .. } => Some(lasted.as_secs_f64()),
            _ => None,
        },
        text: String::new(),
    };
    let (kind, text) = match &event.kind {
        EventKind::Health {
            endpoint,
            is_healthy,
            detail,
        } => {
            page.endpoint = Some(endpoint.to_string());
            let (kind, word) = if *is_healthy {
                ("endpoint_up", "up")
            } else {
                ("endpoint_down", "down")
            };
            (kind, format!("{endpoint} is {word}: {detail}"))
        }
        EventKind::Role { endpoint, from, to } => {
            page.endpoint = Some(endpoint.to_string());
            page.from = Some(from.to_string());
            page.to = Some(to.to_string());
            ("role_changed", format!("{endpoint} was {from}, is {to}"))
        }
        EventKind::Primary { .. } => primary_event(&event.kind, &mut page),
        EventKind::SplitBrain { endpoints } => split_brain_event(endpoints),
        EventKind::Refused { endpoint, why } => {
            page.endpoint = Some(endpoint.to_string());
            ("primary_refused", format!("{endpoint} is refused: {why}"))
        }
        EventKind::TakeBack { endpoint, why } => {
            page.endpoint = Some(endpoint.to_string());
            ("take_back", format!("{endpoint} is refused: {why}"))
        }
        EventKind::Leader { .. }
        | EventKind::Automatic { .. }
        | EventKind::Source { .. }
        | EventKind::Failover { .. }
        | EventKind::Suspended { .. }
        | EventKind::Unsuspended { .. }
        | EventKind::Order { .. } => told_by_others(&event.kind),
        EventKind::Added { endpoint } => {
            page.endpoint = Some(endpoint.to_string());
            ("endpoint_added", format!("{endpoint} joined"))
        }
        EventKind::Removed { endpoint } => {
            page.endpoint = Some(endpoint.to_string());
            ("endpoint_removed", format!("{endpoint} left"))
        }
    };
    page.kind = kind.to_owned();
    page.text = text;
    page
}

/// What a source or an operator says, and what follows from it.
fn told_by_others(kind: &EventKind) -> (&'static str, String) {
    match kind {
        EventKind::Leader {
            leader: Some(leader),
            ..
        } => ("leader_named", format!("the manager names {leader}")),
        EventKind::Leader { expected, .. } => {
            let text = "the manager says that there is no leader";
            let names: Vec<&str> = expected.iter().map(Name::as_str).collect();
            let expected = match names.is_empty() {
                true => String::new(),
                false => format!("; commits waited for {}", names.join(", ")),
            };
            ("leader_gone", format!("{text}{expected}"))
        }
        EventKind::Automatic { is_on: true } => {
            let text = "the manager fails over by itself again";
            ("automatic_failover_on", text.to_owned())
        }
        EventKind::Automatic { is_on: false } => {
            let text = "the manager is paused: nothing fails over by itself";
            ("automatic_failover_off", text.to_owned())
        }
        EventKind::Source {
            has_say: true,
            up,
            of,
            ..
        } => (
            "source_up",
            format!("the source has a say: {up} of {of} answer"),
        ),
        EventKind::Source {
            up, of, trouble, ..
        } => {
            let trouble = trouble.as_deref().unwrap_or("no answer");
            let text = format!("the source has no say ({up} of {of} answer: {trouble})");
            ("source_down", text)
        }
        EventKind::Failover { step } => ("failover_step", step.clone()),
        EventKind::Suspended { cause, candidate } => {
            let to = candidate.as_ref().map_or_else(String::new, |candidate| {
                format!(", {candidate} is expected")
            });
            let text = format!("nothing new goes to the primary: {}{to}", cause.as_str());
            ("suspended", text)
        }
        EventKind::Unsuspended { cause, why, lasted } => {
            let (cause, lasted) = (cause.as_str(), lasted.as_secs_f64());
            let text = format!("the {cause} suspension is over after {lasted:.3} s: {why}");
            ("unsuspended", text)
        }
        EventKind::Order { order } => ("order", format!("an operator orders: {order}")),
        _ => ("", String::new()),
    }
}

fn split_brain_event(endpoints: &[crate::model::name::Name]) -> (&'static str, String) {
    if endpoints.is_empty() {
        let text = "one primary again: the split brain is over".to_owned();
        return ("split_brain_over", text);
    }
    let names: Vec<&str> = endpoints.iter().map(|name| name.as_str()).collect();
    let text = format!(
        "{} claim to be primary in the same epoch: none is routed to",
        names.join(" and ")
    );
    ("split_brain", text)
}

fn primary_event(kind: &EventKind, page: &mut EventPage) -> (&'static str, String) {
    let EventKind::Primary {
        from,
        to,
        epoch,
        lost_for,
    } = kind
    else {
        return ("", String::new());
    };
    page.from = from.as_ref().map(ToString::to_string);
    page.to = to.as_ref().map(ToString::to_string);
    page.epoch = Some(epoch.0);
    page.without_primary_seconds = lost_for.map(|lost| lost.as_secs_f64());
    let after = match lost_for {
        Some(lost) => format!(" after {:.3} s without one", lost.as_secs_f64()),
        None => String::new(),
    };
    match (from, to) {
        (_, None) => (
            "primary_lost",
            match from {
                Some(from) => format!("{from} is primary no more, and there is no other"),
                None => "there is no primary".to_owned(),
            },
        ),
        (Some(from), Some(to)) if from != to => (
            "primary_changed",
            format!("primary is {to} (epoch {epoch}), was {from}{after}"),
        ),
        (_, Some(to)) => (
            "primary_found",
            format!("primary is {to} (epoch {epoch}){after}"),
        ),
    }
}
