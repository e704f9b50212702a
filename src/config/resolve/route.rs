//! `[routes.x]`, and that no two of them take the same requests.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::value::{Owner, count_u32, note_unknown_name, require};
use crate::config::default;
use crate::config::file::table::{Kind, RouteTable};
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
    let listeners = listeners(named, written, findings);
    let hosts = hosts(table, findings);
    let path_prefix = match &table.path_prefix {
        None => "/".to_owned(),
        Some(text) => path_prefix(text, findings).unwrap_or_else(|| "/".to_owned()),
    };
    let upstream = upstream(named, written, findings);
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
        name: Name::from(named.name.get_ref().as_str()),
        listeners,
        hosts,
        path_prefix,
        upstream: upstream?,
        timeout: timeout(table, findings),
        retry: Retry { attempts },
    })
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
        "write listeners = [\"…\"] with the names of http listeners",
        findings,
    );
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
        if let Some(kind) = &listener.read.table.kind
            && *kind.get_ref() != Kind::Http
        {
            let theirs = kind.get_ref().as_str();
            findings
                .error(
                    "kind-mismatch",
                    reference.span(),
                    format!("`{word}` is a {theirs} listener: routes are for http listeners"),
                )
                .related(kind.span(), "its kind")
                .help(format!(
                    "write upstream = \"…\" in [listeners.{word}] instead of a route"
                ));
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
    if let Some(kind) = &upstream.read.table.kind
        && *kind.get_ref() != Kind::Http
    {
        let theirs = kind.get_ref().as_str();
        findings
            .error(
                "kind-mismatch",
                reference.span(),
                format!(
                    "`{}` is of kind \"{theirs}\": a route needs an upstream of kind \"http\"",
                    reference.get_ref()
                ),
            )
            .related(kind.span(), format!("{theirs} is said here"));
    }
    Some(Name::from(reference.get_ref().as_str()))
}

fn hosts(table: &RouteTable, findings: &mut Findings<'_>) -> Vec<String> {
    let Some(list) = &table.hosts else {
        return Vec::new();
    };
    if list.get_ref().is_empty() {
        findings
            .error("empty", list.span(), "`hosts` is empty")
            .help("leave it out to match every host");
    }
    let mut hosts: Vec<String> = Vec::new();
    for text in list.get_ref() {
        let host = text.get_ref().to_ascii_lowercase();
        if let Err((message, help)) = check_host(&host) {
            findings.error("bad-host", text.span(), message).help(help);
        } else if hosts.contains(&host) {
            findings.error("twice", text.span(), format!("`{host}` is named twice"));
        } else {
            hosts.push(host);
        }
    }
    hosts
}

/// An exact host, `*.` and a host, or an IP address. Message and help otherwise.
fn check_host(host: &str) -> Result<(), (&'static str, String)> {
    let pattern = "write a host such as \"api.example.com\" or \"*.example.com\"".to_owned();
    if host.is_empty() {
        return Err(("the host is empty", pattern));
    }
    if host == "*" {
        let help = "leave `hosts` out to match every host".to_owned();
        return Err(("a lone `*` is no host pattern", help));
    }
    if host.contains("://") || host.contains('/') {
        let help = "write the host alone; paths go into `path_prefix`".to_owned();
        return Err(("a host pattern has no scheme and no path", help));
    }
    let is_ipv6 = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    if is_ipv6 {
        return Ok(());
    }
    if host.contains(':') {
        let help = "leave the port out: a route matches the host on every port".to_owned();
        return Err(("a host pattern has no port", help));
    }
    if !host.is_ascii() {
        let help = "write its ASCII form (punycode), which begins with \"xn--\"".to_owned();
        return Err(("a host pattern is ASCII", help));
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    if name.contains('*') {
        let help = "one `*.` at the beginning stands for one or more labels".to_owned();
        return Err(("`*` is only allowed as the whole first label", help));
    }
    let is_name = host.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        });
    if !is_name {
        return Err(("not a host", pattern));
    }
    Ok(())
}

/// The prefix without a closing `/`.
fn path_prefix(text: &Spanned<String>, findings: &mut Findings<'_>) -> Option<String> {
    let path = text.get_ref();
    let problem = if !path.starts_with('/') {
        let plain = path
            .trim_start_matches(['^', '~', '*', ' '])
            .trim_start_matches('/');
        Some((
            "a path prefix begins with `/`",
            format!("write path_prefix = \"/{plain}\""),
        ))
    } else if path.contains(['?', '#']) {
        Some((
            "a path prefix has no query and no fragment",
            "routes match the path alone".to_owned(),
        ))
    } else if path.contains(['*', '^', '$', '(', ')', '{', '}', '|', '\\']) {
        Some((
            "a path prefix is plain text, not a pattern",
            "\"/api\" takes \"/api\" and everything under \"/api/\"".to_owned(),
        ))
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) || !is_percent_encoded(path) {
        Some((
            "a path prefix has only characters that a URL can have",
            "write others percent-encoded, such as \"%20\"".to_owned(),
        ))
    } else if path
        .split('/')
        .any(|segment| segment == "." || segment == "..")
        || path.contains("//")
    {
        Some((
            "a path prefix has no empty, `.` or `..` segments",
            "write the path as it looks without them".to_owned(),
        ))
    } else {
        None
    };
    if let Some((message, help)) = problem {
        findings.error("bad-path", text.span(), message).help(help);
        return None;
    }
    let trimmed = path.trim_end_matches('/');
    Some(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
}

fn is_percent_encoded(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        rest.get(..2)
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_patterns_are_exact_names_addresses_or_one_leading_star() {
        for host in [
            "a.b",
            "*.a.b",
            "10.0.0.1",
            "[::1]",
            "localhost",
            "a_b.c",
            "xn--bcher-kva.ch",
        ] {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
        for host in [
            "",
            "*",
            "a.*.b",
            "*a.b",
            "a:80",
            "http://a",
            "a/b",
            "bücher.ch",
            "a..b",
            "a b",
            "[x]",
        ] {
            assert!(check_host(host).is_err(), "{host}");
        }
    }

    #[test]
    fn path_prefixes_are_plain_and_lose_their_closing_slash() {
        let read = |text: &str| {
            let mut findings = Findings::new("f", "");
            path_prefix(&Spanned::new(0..0, text.to_owned()), &mut findings)
        };
        assert_eq!(read("/").as_deref(), Some("/"));
        assert_eq!(read("/api/").as_deref(), Some("/api"));
        assert_eq!(read("/a%20b/c-d_e.f~").as_deref(), Some("/a%20b/c-d_e.f~"));
        for bad in [
            "", "api", "^/api", "/api*", "/a?b", "/a b", "/a//b", "/a/../b", "/a%2", "/ü",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
