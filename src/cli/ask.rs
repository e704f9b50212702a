//! The commands that ask the running process.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::exit::{Exit, complain, print};
use crate::cli::table::{Cell, Table, Tone, paint, wants_colours};
use crate::cli::upstreams::upstreams;
use crate::config::default;
use crate::control::admin::client::{self, AdminAddress, ClientError};
use crate::control::admin::pages::{
    EventPage, Items, RefusedProblem, ReloadPage, StatusPage, UpstreamPage,
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
pub(super) fn is_name(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(is_fine)
}

pub(super) fn unknown(name: &str) -> Exit {
    complain(&format!("there is no upstream {name:?}"));
    Exit::Failed
}

pub(super) fn failed(error: &ClientError) -> Exit {
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
                422 if problem.code == "configuration_invalid" => Exit::Config,
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
pub(super) fn short(seconds: f64) -> String {
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
    use crate::control::admin::pages::UpstreamLine;

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
