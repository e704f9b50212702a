//! Warnings: settings that load but probably do not do what their author meant.

mod network;
mod roles;

use std::collections::BTreeSet;

use toml::Spanned;

use crate::config::file::Written;
use crate::config::file::unit::format_duration;
use crate::config::listener::{Listener, Protocol};
use crate::config::problem::Findings;
use crate::config::process::{AdminSocket, Process};
use crate::config::route::Route;
use crate::config::upstream::Upstream;
use crate::config::{Config, default, resolve};

/// Every warning's code, with what it means.
pub const LINTS: [(&str, &str); 25] = [
    ("admin-on-network", "the API can be read from the network"),
    (
        "all-weights-zero",
        "every endpoint of an upstream is drained",
    ),
    (
        "ciphers-left-out",
        "a policy of another product names ciphers that are not offered here",
    ),
    (
        "drain-too-long",
        "draining takes longer than orchestrators wait",
    ),
    (
        "fall-of-one",
        "one failed probe takes the only endpoint down",
    ),
    ("hold-too-long", "clients give up before a hold ends"),
    (
        "lag-not-used",
        "a bound on the lag of replicas that no listener sends to",
    ),
    (
        "limit-above-process",
        "a listener's limit is above that of the process",
    ),
    (
        "limit-not-seen",
        "a limit for users, databases or logins where TLS passes through",
    ),
    (
        "log-not-enabled",
        "the access log is described but not enabled",
    ),
    ("no-api", "no API: `healthcheck` and `status` cannot work"),
    (
        "no-health",
        "several endpoints and no probe: failed ones stay in use",
    ),
    ("no-listeners", "nothing listens"),
    (
        "poll-too-slow",
        "a manager without events is asked too seldom",
    ),
    ("port-zero", "the kernel chooses another port at each start"),
    (
        "probe-too-slow",
        "probes take longer than the time between them",
    ),
    (
        "retry-too-late",
        "the route's time ends before a retry can begin",
    ),
    (
        "retry-without-choice",
        "one endpoint: there is no other to try",
    ),
    (
        "sentinel-count",
        "fewer than three Sentinels, or an even number",
    ),
    (
        "timeout-never-reached",
        "the route's time ends before this time-out",
    ),
    (
        "tls-not-verified",
        "the other side's certificate is not checked",
    ),
    (
        "trusts-everyone",
        "any client can say that it is another one",
    ),
    (
        "unreachable-upstream",
        "routes take everything before the listener's own upstream",
    ),
    ("unused-certificate", "no listener shows it"),
    ("unused-upstream", "no listener and no route sends to it"),
];

/// Looks for everything doubtful. What concerns several tables is looked at only when each of
/// them is right.
pub(super) fn lint(written: &Written, config: &Config, findings: &mut Findings<'_>) {
    lint_process(written, config, findings);
    for listener in config.listeners.values() {
        lint_listener(written, listener, &config.process, findings);
    }
    for upstream in config.upstreams.values() {
        lint_upstream(written, upstream, findings);
    }
    if findings.has_errors() {
        return;
    }
    for route in config.routes.values() {
        if let Some(upstream) = config.upstreams.get(&route.upstream) {
            lint_route(written, route, upstream, findings);
        }
    }
    for upstream in config.upstreams.values() {
        if let Some(named) = written.upstream(&upstream.name) {
            roles::lint_lag(named, upstream, config, findings);
        }
    }
    for listener in config.listeners.values() {
        if let Some(named) = written.listener(&listener.name) {
            roles::lint_policy(named, findings);
            roles::lint_passed_through(named, listener, config, findings);
        }
    }
    lint_use(written, config, findings);
    roles::lint_certificates(written, config, findings);
}

fn lint_process(written: &Written, config: &Config, findings: &mut Findings<'_>) {
    let process = &config.process;
    let whole = process.drain_timeout + process.drain_delay;
    let table = &written.process;
    let place = table.drain_timeout.as_ref().or(table.drain_delay.as_ref());
    if whole > default::STOP_GRACE
        && let Some(place) = place
    {
        findings
            .warning(
                "drain-too-long",
                place.span(),
                format!(
                    "`drain_delay` and `drain_timeout` are {} together",
                    format_duration(whole)
                ),
            )
            .help(
                "Kubernetes kills after 30 s unless terminationGracePeriodSeconds says more \
                 (systemd: TimeoutStopSec)",
            );
    }
    if let (Some(address), Some(field)) = (config.admin.listen, &written.admin.listen)
        && !address.ip().is_loopback()
    {
        findings
            .warning(
                "admin-on-network",
                field.span(),
                format!("the API on {address} can be read by everybody who reaches it"),
            )
            .help("for Prometheus and probes write [metrics] listen = \"…\", which shows less");
    }
    if config.admin.listen.is_none()
        && config.admin.socket == AdminSocket::Off
        && let Some(field) = &written.admin.listen
        && field.get_ref() == "off"
    {
        findings
            .warning(
                "no-api",
                field.span(),
                "without an API `fairlead healthcheck` and `fairlead status` cannot work",
            )
            .help("write socket = \"auto\"");
    }
    if let Some(access) = &written.log.access
        && access.get_ref().enabled.is_none()
    {
        let span = resolve::key_span(findings.text, &access.span());
        findings
            .warning(
                "log-not-enabled",
                span,
                "the access log is described but not enabled",
            )
            .help("write enabled = true");
    }
}

fn lint_listener(
    written: &Written,
    listener: &Listener,
    process: &Process,
    findings: &mut Findings<'_>,
) {
    let Some(named) = written.listener(&listener.name) else {
        return;
    };
    let table = &named.read.table;
    for text in table.bind.iter().flat_map(|bind| bind.get_ref()) {
        if text.get_ref().ends_with(":0") {
            findings
                .warning(
                    "port-zero",
                    text.span(),
                    "port 0: the kernel chooses another port at each start",
                )
                .help("write the port that clients know");
        }
    }
    if let Some(field) = &table.max_connections
        && listener.connections_max > process.connections_max
    {
        findings
            .warning(
                "limit-above-process",
                field.span(),
                format!(
                    "the whole process takes {} connections",
                    process.connections_max
                ),
            )
            .help("raise max_connections in [process], or lower this one");
    }
    network::lint_listener(table, findings);
    let (Protocol::Tcp(session) | Protocol::Postgres(session) | Protocol::Redis(session)) =
        &listener.protocol
    else {
        return;
    };
    if let Some(field) = &table.hold
        && session.hold > default::HOLD_SENSIBLE
    {
        findings
            .warning(
                "hold-too-long",
                field.span(),
                format!("clients are held for {}", format_duration(session.hold)),
            )
            .help("most drivers and connection pools give up after 10 to 60 s");
    }
}

fn lint_upstream(written: &Written, upstream: &Upstream, findings: &mut Findings<'_>) {
    let Some(named) = written.upstream(&upstream.name) else {
        return;
    };
    let table = &named.read.table;
    roles::lint_upstream(table, findings);
    let count = upstream.endpoints.len();
    if count > 0
        && upstream
            .endpoints
            .iter()
            .all(|endpoint| endpoint.weight == 0)
        && let Some(field) = &table.endpoints
    {
        let span = resolve::key_span(findings.text, &field.span());
        findings
            .warning(
                "all-weights-zero",
                span,
                "every weight is 0: no endpoint takes traffic",
            )
            .help("weight = 0 drains an endpoint; leave one with a weight");
    }
    let Some(health) = &upstream.health else {
        if count > 1 && !named.read.is_broken("health") && !upstream.kind.has_roles() {
            findings
                .warning(
                    "no-health",
                    named.name.span(),
                    format!(
                        "`{}` has {count} endpoints and no health probe",
                        upstream.name
                    ),
                )
                .help("add health = { http = { path = \"/health\" } }, or health = { tcp = {} }");
        }
        return;
    };
    let Some(table) = table.health.as_ref().map(Spanned::get_ref) else {
        return;
    };
    if let Some(field) = table.timeout.as_ref().or(table.interval.as_ref())
        && health.timeout > health.interval
    {
        findings
            .warning(
                "probe-too-slow",
                field.span(),
                format!(
                    "a probe may take {}, and one begins every {}",
                    format_duration(health.timeout),
                    format_duration(health.interval)
                ),
            )
            .help("make `timeout` at most `interval`");
    }
    if let Some(field) = &table.fall
        && health.fall == 1
        && count == 1
    {
        findings
            .warning(
                "fall-of-one",
                field.span(),
                "one failed probe takes the only endpoint down",
            )
            .help("write fall = 2 or more");
    }
}

fn lint_route(written: &Written, route: &Route, upstream: &Upstream, findings: &mut Findings<'_>) {
    let Some(named) = written.route(&route.name) else {
        return;
    };
    let table = &named.read.table;
    if let Some(retry) = table
        .retry
        .as_ref()
        .and_then(|it| it.get_ref().attempts.as_ref())
        && route.retry.attempts > 0
        && upstream.endpoints.len() == 1
    {
        findings
            .warning(
                "retry-without-choice",
                retry.span(),
                format!(
                    "`{}` has one endpoint: there is no other to try",
                    upstream.name
                ),
            )
            .help("add an endpoint, or write attempts = 0");
    }
    let (Some(timeout), Some(field)) = (route.timeout, &table.timeout) else {
        return;
    };
    if route.retry.attempts > 0
        && upstream.endpoints.len() > 1
        && upstream.connect_timeout >= timeout
    {
        findings
            .warning(
                "retry-too-late",
                field.span(),
                format!(
                    "the whole exchange has {}, and one connection attempt to `{}` may take {}",
                    format_duration(timeout),
                    upstream.name,
                    format_duration(upstream.connect_timeout)
                ),
            )
            .help(format!(
                "write connect_timeout = \"1s\" in [upstreams.{}], so that another endpoint can \
                 be tried in time",
                upstream.name
            ));
    }
    let first_byte = written
        .upstream(&upstream.name)
        .and_then(|named| named.read.table.first_byte_timeout.as_ref());
    if let Some(first_byte) = first_byte
        && upstream.first_byte_timeout > timeout
    {
        findings
            .warning(
                "timeout-never-reached",
                field.span(),
                format!(
                    "the exchange ends after {}, before the `first_byte_timeout` of {}",
                    format_duration(timeout),
                    format_duration(upstream.first_byte_timeout)
                ),
            )
            .related(first_byte.span(), "this one")
            .help("make the route's `timeout` the longer one");
    }
}

/// Whether everything is used, and something is there to be used.
fn lint_use(written: &Written, config: &Config, findings: &mut Findings<'_>) {
    if config.listeners.is_empty() {
        findings
            .warning(
                "no-listeners",
                0..0,
                "there is no listener: nothing listens",
            )
            .help("add [listeners.NAME] with bind, kind and upstream");
    }
    let mut used = BTreeSet::new();
    for listener in config.listeners.values() {
        match &listener.protocol {
            Protocol::Http(http) => {
                used.extend(http.upstream.as_deref());
                let takes_all = config.routes.values().find(|route| {
                    route.listeners.contains(&listener.name)
                        && route.hosts.is_empty()
                        && route.path_prefix == "/"
                });
                if let (Some(route), Some(named)) = (takes_all, written.listener(&listener.name))
                    && let Some(field) = &named.read.table.upstream
                {
                    findings
                        .warning(
                            "unreachable-upstream",
                            field.span(),
                            format!(
                                "route `{}` takes everything before it gets here",
                                route.name
                            ),
                        )
                        .help("leave `upstream` out here, or give the route a host or a path");
                }
            }
            Protocol::Tcp(session) | Protocol::Postgres(session) | Protocol::Redis(session) => {
                used.extend(session.upstream.as_deref());
            }
        }
    }
    used.extend(config.routes.values().map(|route| &*route.upstream));
    for named in &written.upstreams {
        if !used.contains(named.name.get_ref().as_str()) {
            findings
                .warning(
                    "unused-upstream",
                    named.name.span(),
                    format!("nothing sends to `{}`", named.name.get_ref()),
                )
                .help("name it in a listener or a route, or remove it");
        }
    }
}
