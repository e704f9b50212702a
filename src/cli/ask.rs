//! The commands that ask the running process.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::exit::{Exit, complain, print};
use crate::cli::table::{Cell, Table, Tone, paint, wants_colours};
use crate::config::default;
use crate::control::admin::client::{self, AdminAddress, ClientError};
use crate::control::admin::pages::{
    EndpointPage, EventPage, Items, RefusedProblem, ReloadPage, StatusPage, UpstreamPage,
};

/// The API of the running process, and how its answers are printed.
pub(super) struct Api {
    pub(super) address: AdminAddress,
    pub(super) is_json: bool,
}

impl Api {
    /// Exits with 0 or 1, whatever happens.
    pub(super) fn healthcheck(&self, is_live_only: bool, timeout: Duration) -> Exit {
        let path = if is_live_only { "/livez" } else { "/readyz" };
        match client::ask(&self.address, "GET", path, timeout) {
            Ok(answer) => {
                // What is printed is for people; the code alone counts.
                let _printed = print(&answer.body);
                if answer.status == 200 {
                    Exit::Done
                } else {
                    Exit::Failed
                }
            }
            Err(error) => {
                complain(&error.to_string());
                Exit::Failed
            }
        }
    }

    pub(super) fn status(&self) -> Exit {
        self.show("/api/v1/status", |page: StatusPage| status(&page))
    }

    pub(super) fn upstreams(&self, name: Option<&str>) -> Exit {
        match name {
            None => self.show("/api/v1/upstreams", |page: Items<UpstreamPage>| {
                upstreams(&page.items)
            }),
            Some(name) if is_name(name) => {
                let path = format!("/api/v1/upstreams/{name}");
                self.show(&path, |page: UpstreamPage| upstreams(&[page]))
            }
            Some(name) => unknown(name),
        }
    }

    pub(super) fn events(&self, upstream: Option<&str>) -> Exit {
        let path = match upstream {
            None => "/api/v1/events".to_owned(),
            Some(name) if is_name(name) => format!("/api/v1/events?upstream={name}"),
            Some(name) => return unknown(name),
        };
        self.show(&path, |page: Items<EventPage>| events(&page.items))
    }

    pub(super) fn reload(&self) -> Exit {
        let timeout = default::ADMIN_RELOAD_TIMEOUT + default::CLIENT_TIMEOUT;
        let path = "/api/v1/reload";
        if self.is_json {
            return self.raw("POST", path, timeout);
        }
        match client::call(&self.address, "POST", path, timeout) {
            Ok(page) => print(&reloaded(&page)),
            Err(error) => failed(&error),
        }
    }

    /// A page as a table, or as it is.
    fn show<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        table: impl FnOnce(T) -> String,
    ) -> Exit {
        if self.is_json {
            return self.raw("GET", path, default::CLIENT_TIMEOUT);
        }
        match client::read(&self.address, path) {
            Ok(page) => print(&table(page)),
            Err(error) => failed(&error),
        }
    }

    fn raw(&self, method: &str, path: &str, timeout: Duration) -> Exit {
        let page = client::call::<serde_json::Value>(&self.address, method, path, timeout);
        match page {
            Ok(page) => print(&format!("{page:#}\n")),
            Err(error) => failed(&error),
        }
    }
}

/// A configured name goes into a URL as it is; anything else cannot be one.
fn is_name(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(is_fine)
}

fn unknown(name: &str) -> Exit {
    complain(&format!("there is no upstream {name:?}"));
    Exit::Failed
}

fn failed(error: &ClientError) -> Exit {
    complain(&error.to_string());
    match error {
        ClientError::Unreachable { error, .. } => match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Refused,
            _ => Exit::Unreachable,
        },
        ClientError::Unreadable { .. } => Exit::Failed,
        ClientError::Refused(problem) => {
            for error in &problem.errors {
                complain(&refused_problem(error));
            }
            match problem.status {
                404 => Exit::Failed,
                422 => Exit::Config,
                _ => Exit::Refused,
            }
        }
    }
}

/// `file:line:column: message (help)`
fn refused_problem(problem: &RefusedProblem) -> String {
    let mut text = String::new();
    for part in [
        problem.file.clone(),
        problem.line.map(|line| line.to_string()),
        problem.column.map(|column| column.to_string()),
    ]
    .into_iter()
    .flatten()
    {
        text.push_str(&part);
        text.push(':');
    }
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(&problem.message);
    if let Some(help) = &problem.help {
        text.push_str(" (");
        text.push_str(help);
        text.push(')');
    }
    text
}

fn status(page: &StatusPage) -> String {
    let is_coloured = wants_colours();
    let (word, tone) = match (page.is_draining, page.is_ready) {
        (true, _) => ("draining", Tone::Bad),
        (false, true) => ("ready", Tone::Good),
        (false, false) => ("not ready", Tone::Bad),
    };
    let mut text = format!(
        "fairlead {}  {}  generation {}  up {}  pid {}\n\
         {} listeners  {} routes  {} connections  {} workers\n",
        page.version,
        paint(word, tone, is_coloured),
        page.generation,
        period(page.uptime_seconds),
        page.pid,
        page.listeners,
        page.routes,
        page.connections,
        page.worker_threads,
    );
    if !page.upstreams.is_empty() {
        let mut table = Table::new(&["UPSTREAM", "STATE", "ELIGIBLE", "PRIMARY"]);
        for line in &page.upstreams {
            table.row([
                line.name.as_str().into(),
                state(&line.state),
                format!("{}/{}", line.eligible, line.endpoints).into(),
                line.primary.as_deref().unwrap_or("-").into(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.print(is_coloured));
    }
    if !page.warnings.is_empty() {
        text.push('\n');
    }
    for warning in &page.warnings {
        let word = paint("warning", Tone::Bad, is_coloured);
        let written = writeln!(text, "{word}: {warning}");
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    text
}

fn state(state: &str) -> Cell {
    let tone = if state == "serving" {
        Tone::Good
    } else {
        Tone::Bad
    };
    Cell::toned(state, tone)
}

fn upstreams(pages: &[UpstreamPage]) -> String {
    let mut table = Table::new(&[
        "UPSTREAM",
        "ENDPOINT",
        "ROLE",
        "EPOCH",
        "HEALTH",
        "ELIGIBLE",
        "IN-FLIGHT",
        "EWMA",
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
            "{}: {state}, {} held",
            page.name, page.held_connections
        );
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    text
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

fn events(pages: &[EventPage]) -> String {
    let mut table = Table::new(&["AT", "UPSTREAM", "EVENT", "WHAT"]);
    for page in pages {
        table.row([
            Cell::toned(page.at.as_str(), Tone::Faint),
            page.upstream.as_str().into(),
            page.kind.as_str().into(),
            page.text.as_str().into(),
        ]);
    }
    table.print(wants_colours())
}

fn reloaded(page: &ReloadPage) -> String {
    let mut text = format!("generation {}\n", page.generation);
    for (word, names) in [
        ("added", &page.added),
        ("removed", &page.removed),
        ("changed", &page.changed),
        ("after a restart", &page.needs_restart),
    ] {
        if !names.is_empty() {
            let written = writeln!(text, "{word}: {}", names.join(", "));
            debug_assert!(written.is_ok(), "a String takes everything");
        }
    }
    text
}

/// `420us`, `2.1ms`, `3.4s`, `5m`.
fn short(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0}us", s * 1e6),
        s if s < 1.0 => format!("{:.1}ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1}s"),
        s => format!("{:.0}m", s / 60.0),
    }
}

/// `45s`, `12m 5s`, `3h 12m`, `9d 4h`.
fn period(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).map_or(0, |period| period.as_secs());
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::pages::{ProbePage, UpstreamLine};

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
            since: String::new(),
            last_probe: Some(ProbePage {
                ok: true,
                took_seconds: 0.004,
                detail: "not in recovery, timeline 6".to_owned(),
                age_seconds: 0.42,
            }),
        }
    }

    #[test]
    fn an_endpoint_without_traffic_says_why() {
        let page = UpstreamPage {
            name: "orders".to_owned(),
            kind: "postgres".to_owned(),
            balance: "ewma".to_owned(),
            generation: 3,
            state: "no_primary".to_owned(),
            primary: None,
            fence_epoch: Some(7),
            last_primary: None,
            is_split_brain: false,
            held_connections: 12,
            endpoints: vec![endpoint()],
        };
        let text = upstreams(&[page]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "orders    pg1:5432  primary  6      healthy  no        0          2.1ms  \
             ok 420.0ms ago: not in recovery, timeline 6  fenced (timeline 6 is older than 7)"
        );
        assert_eq!(lines[2], "orders: no_primary, 12 held");
    }

    #[test]
    fn the_status_fits_on_a_screen_and_ends_with_its_warnings() {
        let page = StatusPage {
            version: "1.0.0".to_owned(),
            pid: 7,
            uptime_seconds: 3725.0,
            generation: 2,
            is_ready: true,
            is_draining: false,
            worker_threads: 4,
            connections: 9,
            listeners: 1,
            routes: 2,
            upstreams: vec![UpstreamLine {
                name: "orders".to_owned(),
                state: "serving".to_owned(),
                eligible: 2,
                endpoints: 3,
                primary: Some("pg2:5432".to_owned()),
            }],
            warnings: vec!["look".to_owned()],
        };
        assert_eq!(
            status(&page),
            "fairlead 1.0.0  ready  generation 2  up 1h 2m  pid 7\n\
             1 listeners  2 routes  9 connections  4 workers\n\n\
             UPSTREAM  STATE    ELIGIBLE  PRIMARY\n\
             orders    serving  2/3       pg2:5432\n\n\
             warning: look\n"
        );
    }

    #[test]
    fn a_refused_configuration_is_told_by_its_place() {
        let problem = RefusedProblem {
            code: "unknown_key".to_owned(),
            message: "unknown key".to_owned(),
            file: Some("f.toml".to_owned()),
            line: Some(3),
            column: Some(1),
            help: Some("did you mean \"bind\"?".to_owned()),
        };
        let text = "f.toml:3:1: unknown key (did you mean \"bind\"?)";
        assert_eq!(refused_problem(&problem), text);
    }
}
