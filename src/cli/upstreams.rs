//! The table of upstreams: every endpoint, and why it gets no traffic.

use std::fmt::Write as _;

use crate::cli::ask::short;
use crate::cli::table::{Cell, Table, Tone, paint, wants_colours};
use crate::control::admin::pages::{EndpointPage, SourcePage, UpstreamPage};

pub(super) fn upstreams(pages: &[UpstreamPage]) -> String {
    let mut table = Table::new(&[
        "UPSTREAM",
        "ENDPOINT",
        "ROLE",
        "EPOCH",
        "HEALTH",
        "ELIGIBLE",
        "IN-FLIGHT",
        "EWMA",
        "LAG",
        "LAST PROBE",
        "REASONS",
    ]);
    for (page, endpoint) in pages
        .iter()
        .flat_map(|page| page.endpoints.iter().map(move |one| (page, one)))
    {
        let eligible = if endpoint.eligible {
            Cell::toned("yes", Tone::Good)
        } else {
            Cell::toned("no", Tone::Bad)
        };
        let health = match endpoint.health.as_str() {
            "healthy" => Tone::Good,
            "unhealthy" => Tone::Bad,
            _ => Tone::Faint,
        };
        table.row([
            page.name.as_str().into(),
            endpoint.id.as_str().into(),
            endpoint.role.as_deref().unwrap_or("-").into(),
            dash(endpoint.epoch.map(|epoch| epoch.to_string())),
            Cell::toned(endpoint.health.as_str(), health),
            eligible,
            endpoint.in_flight.to_string().into(),
            dash(endpoint.latency_ewma_seconds.map(short)),
            dash(endpoint.lag_bytes.map(|bytes| format!("{bytes}B"))),
            last_probe(endpoint),
            reasons(endpoint).into(),
        ]);
    }
    let is_coloured = wants_colours();
    let mut text = table.print(is_coloured);
    for page in pages.iter().filter(|page| page.state != "serving") {
        let state = paint(&page.state, Tone::Bad, is_coloured);
        let written = writeln!(
            text,
            "{}: {state}, {} held{}",
            page.name,
            page.held_connections,
            suspended(page)
        );
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    for (page, source) in pages
        .iter()
        .filter_map(|page| Some((page, page.source.as_ref()?)))
    {
        text.push_str(&source_line(&page.name, source, is_coloured));
        text.extend(
            page.endpoints
                .iter()
                .filter_map(|it| told_line(&page.name, it)),
        );
    }
    text
}

/// `, switch to pg2:5432 for 12.3s more`
fn suspended(page: &UpstreamPage) -> String {
    let Some(suspension) = &page.suspension else {
        return String::new();
    };
    let to = suspension.candidate.as_deref();
    let to = to.map_or_else(String::new, |to| format!(" to {to}"));
    let left = short(suspension.seconds_left);
    format!(", {}{to} for {left} more at most", suspension.cause)
}

/// `orders: patroni 3/3, names pg2:5432, heard 0.4s ago`
fn source_line(upstream: &str, source: &SourcePage, is_coloured: bool) -> String {
    let (say, tone) = if source.has_say {
        ("", Tone::Plain)
    } else {
        (", has no say", Tone::Bad)
    };
    let say = paint(say, tone, is_coloured);
    let mut text = format!(
        "{upstream}: {} {}/{}{say}",
        source.kind, source.up, source.of
    );
    let parts = [
        source
            .leader
            .as_ref()
            .map(|leader| format!("names {leader}")),
        source.is_paused.then(|| "is paused".to_owned()),
        source
            .age_seconds
            .map(|age| format!("heard {} ago", short(age))),
        source.scheduled.as_ref().map(|scheduled| {
            let to = scheduled.candidate.as_deref();
            let to = to.map_or_else(String::new, |to| format!(" to {to}"));
            let left = short(scheduled.seconds_left);
            format!("fails over{to} at {}, in {left}", scheduled.at)
        }),
        source.trouble.clone(),
    ];
    for part in parts.into_iter().flatten() {
        text.push_str(", ");
        text.push_str(&part);
    }
    text.push('\n');
    text
}

/// `orders: pg2:5432 is pg2, streaming, sync, clonefrom`
fn told_line(upstream: &str, endpoint: &EndpointPage) -> Option<String> {
    let told = endpoint.told.as_ref()?;
    let mut words = vec![told.name.clone()];
    words.extend(told.state.clone());
    words.extend(told.sync.clone());
    words.extend(told.needs_restart.then(|| "needs a restart".to_owned()));
    words.extend(told.tags.iter().cloned());
    // They come from elsewhere: a terminal must not obey them.
    let words = words.join(", ").replace(char::is_control, "?");
    Some(format!("{upstream}: {} is {words}\n", endpoint.id))
}

fn dash(text: Option<String>) -> Cell {
    match text {
        Some(text) => text.into(),
        None => Cell::toned("-", Tone::Faint),
    }
}

fn last_probe(endpoint: &EndpointPage) -> Cell {
    match &endpoint.last_probe {
        None => Cell::toned("-", Tone::Faint),
        Some(probe) => {
            let age = short(probe.age_seconds);
            let word = if probe.ok { "ok" } else { "failed" };
            let tone = if probe.ok { Tone::Plain } else { Tone::Bad };
            Cell::toned(format!("{word} {age} ago: {}", probe.detail), tone)
        }
    }
}

fn reasons(endpoint: &EndpointPage) -> String {
    let words = endpoint.reasons.join(",");
    match &endpoint.why {
        Some(why) if words.is_empty() => why.clone(),
        Some(why) => format!("{words} ({why})"),
        None if words.is_empty() => "-".to_owned(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::pages::{ProbePage, ScheduledPage, SuspensionPage, ToldPage};

    fn endpoint() -> EndpointPage {
        EndpointPage {
            id: "pg1:5432".to_owned(),
            role: Some("primary".to_owned()),
            epoch: Some(6),
            health: "healthy".to_owned(),
            eligible: false,
            reasons: vec!["fenced".to_owned()],
            why: Some("timeline 6 is older than 7".to_owned()),
            in_flight: 0,
            latency_ewma_seconds: Some(0.0021),
            weight: 1,
            told: None,
            lag_bytes: None,
            lag_seconds: None,
            since: String::new(),
            last_probe: Some(ProbePage {
                ok: true,
                took_seconds: 0.004,
                detail: "not in recovery, timeline 6".to_owned(),
                age_seconds: 0.42,
            }),
        }
    }

    fn page() -> UpstreamPage {
        UpstreamPage {
            name: "orders".to_owned(),
            kind: "postgres".to_owned(),
            balance: "ewma".to_owned(),
            generation: 3,
            state: "no_primary".to_owned(),
            primary: None,
            fence_epoch: Some(7),
            last_primary: None,
            is_split_brain: false,
            suspension: None,
            source: None,
            held_connections: 12,
            endpoints: vec![endpoint()],
        }
    }

    #[test]
    fn an_endpoint_without_traffic_says_why() {
        let text = upstreams(&[page()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "orders    pg1:5432  primary  6      healthy  no        0          2.1ms  -    \
             ok 420.0ms ago: not in recovery, timeline 6  fenced (timeline 6 is older than 7)"
        );
        assert_eq!(lines[2], "orders: no_primary, 12 held");
    }

    #[test]
    fn a_suspension_and_a_source_have_their_line() {
        let suspension = SuspensionPage {
            cause: "switch".to_owned(),
            since: String::new(),
            until: String::new(),
            seconds_left: 12.34,
            candidate: Some("pg2:5432".to_owned()),
        };
        let source = SourcePage {
            kind: "patroni".to_owned(),
            up: 0,
            of: 3,
            has_say: false,
            leader: Some("pg1:5432".to_owned()),
            is_paused: false,
            last_success: None,
            age_seconds: Some(0.4),
            trouble: Some("refused".to_owned()),
            scheduled: Some(ScheduledPage {
                at: "2026-11-21T13:52:09.000Z".to_owned(),
                seconds_left: 90.0,
                candidate: Some("pg2:5432".to_owned()),
            }),
        };
        let mut replica = endpoint();
        replica.told = Some(ToldPage {
            name: "pg1".to_owned(),
            state: Some("streaming\u{1b}".to_owned()),
            sync: Some("sync".to_owned()),
            needs_restart: true,
            tags: vec!["clonefrom".to_owned()],
        });
        let page = UpstreamPage {
            state: "suspended".to_owned(),
            suspension: Some(suspension),
            source: Some(source),
            endpoints: vec![replica],
            ..page()
        };
        let text = upstreams(&[page]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[2..],
            [
                "orders: suspended, 12 held, switch to pg2:5432 for 12.3s more at most",
                "orders: patroni 0/3, has no say, names pg1:5432, heard 400.0ms ago, \
                 fails over to pg2:5432 at 2026-11-21T13:52:09.000Z, in 90.0s, refused",
                "orders: pg1:5432 is pg1, streaming?, sync, needs a restart, clonefrom"
            ]
        );
    }
}
