//! Warnings about sources, roles and TLS.

use toml::Spanned;

use crate::config::file::source::SourceTable;
use crate::config::file::table::{Field, ListenerTable, UpstreamTable};
use crate::config::file::tls::UpstreamTlsTable;
use crate::config::file::unit::{Period, format_duration};
use crate::config::file::{Named, Written};
use crate::config::listener::{Listener, Protocol};
use crate::config::problem::Findings;
use crate::config::upstream::Upstream;
use crate::config::{Config, default, resolve};
use crate::model::role::WantedRole;

/// Warnings about one upstream alone.
pub(super) fn lint_upstream(table: &UpstreamTable, findings: &mut Findings<'_>) {
    lint_tls(&table.tls, findings);
    let Some(source) = table.source.as_ref().map(Spanned::get_ref) else {
        return;
    };
    lint_sentinels(source, findings);
    let patroni = source.patroni.as_ref().map(Spanned::get_ref);
    let sentinel = source.sentinel.as_ref().map(Spanned::get_ref);
    let redis = source.redis_cluster.as_ref().map(Spanned::get_ref);
    let ways = [
        patroni.map(|it| (&it.tls, &it.poll)),
        sentinel.map(|it| (&it.tls, &it.poll)),
        redis.map(|it| (&it.tls, &it.poll)),
    ];
    for (tls, poll) in ways.into_iter().flatten() {
        lint_tls(tls, findings);
        lint_poll(poll, findings);
    }
}

fn lint_tls(field: &Field<UpstreamTlsTable>, findings: &mut Findings<'_>) {
    let Some(table) = field.as_ref().map(Spanned::get_ref) else {
        return;
    };
    if let Some(verify) = &table.verify
        && !*verify.get_ref()
    {
        findings
            .warning(
                "tls-not-verified",
                verify.span(),
                "whoever is on the way can read along and answer instead",
            )
            .help("write ca = \"…\" with the certificate that signed theirs");
    }
}

fn lint_poll(field: &Field<Period>, findings: &mut Findings<'_>) {
    if let Some(field) = field
        && field.get_ref().0 > default::SOURCE_POLL_SENSIBLE
    {
        findings
            .warning(
                "poll-too-slow",
                field.span(),
                format!(
                    "where no event tells it, a failover is seen up to {} late",
                    format_duration(field.get_ref().0)
                ),
            )
            .help("the usual is \"1s\"");
    }
}

/// One of two cannot outvote the other, and one of four is no better than one of three.
fn lint_sentinels(source: &SourceTable, findings: &mut Findings<'_>) {
    let list = source.sentinel.as_ref().map(Spanned::get_ref);
    let Some(list) = list.and_then(|it| it.sentinels.as_ref()) else {
        return;
    };
    let count = list.get_ref().len();
    if count == 0 || (count >= 3 && !count.is_multiple_of(2)) {
        return;
    }
    let is_plural = if count == 1 { "" } else { "s" };
    findings
        .warning(
            "sentinel-count",
            resolve::key_span(findings.text, &list.span()),
            format!("{count} Sentinel{is_plural}: a majority needs three, five or seven"),
        )
        .help("name all of them; where there are only two, add a third");
}

/// A bound on lag that no listener asks for.
pub(super) fn lint_lag(
    named: &Named<UpstreamTable>,
    upstream: &Upstream,
    config: &Config,
    findings: &mut Findings<'_>,
) {
    let table = &named.read.table;
    let place = match (&table.max_lag, &table.max_lag_time) {
        (Some(field), _) => field.span(),
        (None, Some(field)) => field.span(),
        (None, None) => return,
    };
    let has_readers = config
        .listeners
        .values()
        .any(|listener| match &listener.protocol {
            Protocol::Http(_) => false,
            Protocol::Tcp(session) | Protocol::Postgres(session) | Protocol::Redis(session) => {
                session.upstream.as_ref() == Some(&upstream.name)
                    && session.role != WantedRole::Primary
            }
        });
    if !has_readers {
        findings
            .warning(
                "lag-not-used",
                resolve::key_span(findings.text, &place),
                format!("no listener sends to replicas of `{}`", upstream.name),
            )
            .help("add a listener with role = \"replica\", or leave the lag out");
    }
}

/// Limits that need the startup packet, where it may be encrypted by somebody else.
pub(super) fn lint_passed_through(
    named: &Named<ListenerTable>,
    listener: &Listener,
    config: &Config,
    findings: &mut Findings<'_>,
) {
    let Protocol::Postgres(session) = &listener.protocol else {
        return;
    };
    let upstream = session.upstream.as_ref();
    let upstream = upstream.and_then(|upstream| config.upstreams.get(upstream));
    if session.tls.is_some() || upstream.is_none_or(|upstream| upstream.tls.is_some()) {
        return;
    }
    let table = &named.read.table;
    let limits = [
        (
            "max_connections_per_user",
            table.max_connections_per_user.as_ref().map(Spanned::span),
        ),
        (
            "max_connections_per_database",
            table
                .max_connections_per_database
                .as_ref()
                .map(Spanned::span),
        ),
        (
            "login_timeout",
            table.login_timeout.as_ref().map(Spanned::span),
        ),
    ];
    for (key, place) in limits {
        let Some(place) = place else { continue };
        findings
            .warning(
                "limit-not-seen",
                resolve::key_span(findings.text, &place),
                format!("`{key}` is not applied to clients whose TLS passes through"),
            )
            .help("end TLS here with tls = { certificates = […] }, or limit them in the database");
    }
}

/// A policy by a name of another product that is not all of what its owner offers.
pub(super) fn lint_policy(named: &Named<ListenerTable>, findings: &mut Findings<'_>) {
    let tls = named.read.table.tls.as_ref().map(Spanned::get_ref);
    let Some(field) = tls.and_then(|tls| tls.policy.as_ref()) else {
        return;
    };
    let policy = resolve::tls::policy_of(*field.get_ref());
    let left_out = policy.left_out();
    if !left_out.is_empty() {
        findings
            .warning(
                "ciphers-left-out",
                field.span(),
                format!("not offered of this policy: {}", left_out.join(", ")),
            )
            .help("clients since 2014 have the others; for older ones TLS has to end elsewhere");
    }
}

/// Certificates that nobody shows.
pub(super) fn lint_certificates(written: &Written, config: &Config, findings: &mut Findings<'_>) {
    for named in &written.certificates {
        let name = named.name.get_ref().as_str();
        let is_used = config
            .listeners
            .values()
            .flat_map(|listener| listener.protocol.tls())
            .flat_map(|tls| &tls.certificates)
            .any(|certificate| certificate.name.as_str() == name);
        if !is_used {
            findings
                .warning(
                    "unused-certificate",
                    named.name.span(),
                    format!("no listener shows `{name}`"),
                )
                .help("name it in the tls = { certificates = […] } of a listener, or remove it");
        }
    }
}
