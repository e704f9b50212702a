//! `[routes.x]`, and that no two of them take the same requests.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::pattern::{hosts, path_prefix};
use super::value::{Owner, count_u32, note_unknown_name, refuse, require};
use crate::config::default;
use crate::config::file::table::{Kind, ListenerTable, RoleWord, RouteTable};
use crate::config::file::{Named, Written};
use crate::config::problem::Findings;
use crate::config::route::{Retry, Route};
use crate::model::name::Name;

pub(super) fn route(
    named: &Named<RouteTable>,
    written: &Written,
    findings: &mut Findings<'_>,
) -> Option<Route> {
    let table = &named.read.table;
    let is_by_sni = table.sni.is_some();
    let listeners = listeners(named, written, findings);
    let upstream = upstream(named, written, findings);
    if is_by_sni {
        refuse_request_keys(table, findings);
    }
    let name = Name::from(named.name.get_ref().as_str());
    let (key, list) = if is_by_sni {
        ("sni", &table.sni)
    } else {
        ("hosts", &table.hosts)
    };
    let hosts = hosts(key, list, findings);
    if is_by_sni {
        return Some(Route {
            name,
            listeners,
            hosts,
            is_by_sni,
            path_prefix: "/".to_owned(),
            upstream: upstream?,
            timeout: None,
            retry: Retry { attempts: 0 },
        });
    }
    let path_prefix = match &table.path_prefix {
        None => "/".to_owned(),
        Some(text) => path_prefix(text, findings).unwrap_or_else(|| "/".to_owned()),
    };
    let attempts = table
        .retry
        .as_ref()
        .map_or(default::RETRY_ATTEMPTS, |retry| {
            count_u32(
                &retry.get_ref().attempts,
                "attempts",
                default::RETRY_ATTEMPTS,
                0..=default::RETRY_ATTEMPTS_MAX,
                findings,
            )
        });
    Some(Route {
        name,
        listeners,
        hosts,
        is_by_sni,
        path_prefix,
        upstream: upstream?,
        timeout: timeout(table, findings),
        retry: Retry { attempts },
    })
}

/// What only requests have: under TLS that is passed on nobody here sees one.
fn refuse_request_keys(table: &RouteTable, findings: &mut Findings<'_>) {
    let message = |key: &str| format!("a route by `sni` has no `{key}`");
    let help = "requests pass under TLS here: leave it out, or end TLS at an http listener";
    refuse(&table.hosts, &message("hosts"), help, findings);
    refuse(&table.path_prefix, &message("path_prefix"), help, findings);
    refuse(&table.timeout, &message("timeout"), help, findings);
    refuse(&table.retry, &message("retry"), help, findings);
}

fn timeout(table: &RouteTable, findings: &mut Findings<'_>) -> Option<Duration> {
    let field = table.timeout.as_ref()?;
    let timeout = field.get_ref().0;
    if timeout.is_zero() {
        findings
            .error("zero", field.span(), "`timeout` cannot be zero")
            .help("leave it out for no limit on the whole exchange");
    }
    Some(timeout)
}

fn listeners(
    named: &Named<RouteTable>,
    written: &Written,
    findings: &mut Findings<'_>,
) -> Vec<Name> {
    let references = Owner::of(named).filled(
        &named.read.table.listeners,
        "listeners",
        "the route is never used",
        "write listeners = [\"…\"] with the names of http listeners, or of tcp listeners beside `sni`",
        findings,
    );
    let is_by_sni = named.read.table.sni.is_some();
    let mut names: Vec<Name> = Vec::new();
    for reference in references {
        let word = reference.get_ref().as_str();
        let Some(listener) = written.listener(word) else {
            let known = written
                .listeners
                .iter()
                .map(|it| it.name.get_ref().as_str());
            note_unknown_name("listener", reference, known, findings);
            continue;
        };
        if let Some(kind) = &listener.read.table.kind {
            check_kind(word, reference, kind, is_by_sni, findings);
        }
        if is_by_sni {
            check_passes_tls(word, reference, &listener.read.table, findings);
        }
        if names.iter().any(|name| name.as_str() == word) {
            findings.error(
                "twice",
                reference.span(),
                format!("`{word}` is named twice"),
            );
        } else {
            names.push(Name::from(word));
        }
    }
    names
}

/// Requests are routed at http listeners, TLS that is passed on at tcp listeners.
fn check_kind(
    word: &str,
    reference: &Spanned<String>,
    kind: &Spanned<Kind>,
    is_by_sni: bool,
    findings: &mut Findings<'_>,
) {
    let theirs = kind.get_ref().as_str();
    let (message, help) = match (kind.get_ref(), is_by_sni) {
        (Kind::Http, false) | (Kind::Tcp, true) => return,
        (_, true) => (
            format!("`{word}` is a {theirs} listener: routes by `sni` are for tcp listeners"),
            format!("make [listeners.{word}] kind = \"tcp\", or write `hosts` instead of `sni`"),
        ),
        (Kind::Tcp, false) => (
            format!("`{word}` is a tcp listener: its routes have `sni`"),
            "write sni = [\"a.example.com\"] to pass TLS on by name".to_owned(),
        ),
        (_, false) => (
            format!("`{word}` is a {theirs} listener: routes are for http listeners"),
            format!("write upstream = \"…\" in [listeners.{word}] instead of a route"),
        ),
    };
    findings
        .error("kind-mismatch", reference.span(), message)
        .related(kind.span(), "its kind")
        .help(help);
}

/// TLS that ends at the listener passes nobody, and endpoints with roles are not told apart by names.
fn check_passes_tls(
    word: &str,
    reference: &Spanned<String>,
    listener: &ListenerTable,
    findings: &mut Findings<'_>,
) {
    let tls = listener.tls.as_ref();
    let tls = tls.map(|tls| (tls.span(), "TLS ends there"));
    let role = listener.role.as_ref();
    let role = role.filter(|role| *role.get_ref() != RoleWord::Any);
    let role = role.map(|role| (role.span(), "it has a role"));
    for (span, why) in tls.into_iter().chain(role) {
        let message = format!("`{word}` cannot pass TLS on by name");
        findings
            .error("contradiction", reference.span(), message)
            .related(span, why)
            .help("use a tcp listener without `tls` and `role` for routes by `sni`");
    }
}

fn upstream(
    named: &Named<RouteTable>,
    written: &Written,
    findings: &mut Findings<'_>,
) -> Option<Name> {
    let Some(reference) = &named.read.table.upstream else {
        require(
            named,
            "upstream",
            "write upstream = \"…\" with the name of an [upstreams.NAME]",
            findings,
        );
        return None;
    };
    let Some(upstream) = written.upstream(reference.get_ref()) else {
        let known = written
            .upstreams
            .iter()
            .map(|it| it.name.get_ref().as_str());
        note_unknown_name("upstream", reference, known, findings);
        return None;
    };
    let is_by_sni = named.read.table.sni.is_some();
    if let Some(kind) = &upstream.read.table.kind
        && *kind.get_ref() != Kind::Http
        && !(is_by_sni && *kind.get_ref() == Kind::Tcp)
    {
        let theirs = kind.get_ref().as_str();
        let wanted = if is_by_sni {
            "a route by `sni` needs an upstream of kind \"tcp\" or \"http\""
        } else {
            "a route needs an upstream of kind \"http\""
        };
        findings
            .error(
                "kind-mismatch",
                reference.span(),
                format!(
                    "`{}` is of kind \"{theirs}\": {wanted}",
                    reference.get_ref()
                ),
            )
            .related(kind.span(), format!("{theirs} is said here"));
    }
    if let (true, Some(tls)) = (is_by_sni, &upstream.read.table.tls) {
        let message = "TLS of clients would be put into TLS of our own";
        findings
            .error("contradiction", reference.span(), message)
            .related(tls.span(), "it begins here")
            .help("leave `tls` out of the upstream: the client's goes up to the endpoint");
    }
    Some(Name::from(reference.get_ref().as_str()))
}

/// Refuses two routes of one listener with an equal match: which one would win?
pub(super) fn check_equal(routes: &[(Range<usize>, Route)], findings: &mut Findings<'_>) {
    let mut seen: HashMap<(&str, &str, &str), (&Range<usize>, &Name)> = HashMap::new();
    let every = [String::new()];
    for (span, route) in routes {
        let hosts = if route.hosts.is_empty() {
            &every[..]
        } else {
            &route.hosts[..]
        };
        let matches = route.listeners.iter().flat_map(|listener| {
            hosts
                .iter()
                .map(move |host| (listener.as_str(), host.as_str()))
        });
        let mut clash = None;
        for (listener, host) in matches {
            let key = (listener, host, route.path_prefix.as_str());
            if let Some(first) = seen.insert(key, (span, &route.name)) {
                clash.get_or_insert((key, first));
            }
        }
        if let Some(((listener, host, path), (first_span, first))) = clash {
            let host = if host.is_empty() { "any host" } else { host };
            findings
                .error(
                    "equal-routes",
                    span.clone(),
                    format!(
                        "`{}` and `{first}` both take {host}{path} on listener `{listener}`",
                        route.name
                    ),
                )
                .related(first_span.clone(), "the first one")
                .help("give them different `hosts` or `path_prefix`, or remove one");
        }
    }
}
