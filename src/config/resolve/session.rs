//! What `tcp`, `postgres` and `redis` listeners have in common: role, hold, TLS, limits.

use std::time::Duration;

use super::listener::{has_route, refuse_postgres_keys, upstream};
use super::value::{count_usize, key_span, period, period_or_zero, refuse, require};
use super::{Around, tls};
use crate::config::default;
use crate::config::file::Named;
use crate::config::file::table::{
    Field, Kind, ListenerTable, OnEmptyWord, RoleWord, UpstreamTable,
};
use crate::config::file::unit::Count;
use crate::config::listener::SessionListener;
use crate::config::problem::Findings;
use crate::model::name::Name;
use crate::model::role::WantedRole;

pub(super) fn session(
    named: &Named<ListenerTable>,
    kind: Kind,
    around: &Around<'_>,
    findings: &mut Findings<'_>,
) -> Option<SessionListener> {
    let table = &named.read.table;
    refuse_request_keys(table, kind, findings);
    let is_routed = kind == Kind::Tcp && has_route(named, around.written);
    if table.upstream.is_none() && !is_routed {
        require(
            named,
            "upstream",
            "write upstream = \"…\" with the name of an [upstreams.NAME]",
            findings,
        );
    }
    if kind != Kind::Postgres {
        refuse_postgres_keys(table, kind, findings);
    }
    let tls = tls::listener(
        named,
        kind,
        around.written,
        around.certificates,
        around.secrets,
        findings,
    );
    let upstream = upstream(named, kind, around.written, findings);
    let role = role(named, kind, upstream, findings);
    let hold = period_or_zero(
        &table.hold,
        match kind {
            Kind::Postgres => default::HOLD_POSTGRES,
            Kind::Redis => default::HOLD_REDIS,
            Kind::Tcp | Kind::Http => default::HOLD_TCP,
        },
    );
    let (role, hold) = on_empty(table, role, hold, findings);
    Some(SessionListener {
        upstream: match upstream {
            Some(upstream) => Some(Name::from(upstream.name.get_ref().as_str())),
            None if is_routed && table.upstream.is_none() => None,
            None => return None,
        },
        role,
        hold,
        held_max: held_max(table, hold, findings),
        idle_timeout: period(
            &table.idle_timeout,
            "idle_timeout",
            default::SESSION_IDLE_TIMEOUT,
            findings,
        ),
        tls,
        login_timeout: period(
            &table.login_timeout,
            "login_timeout",
            default::POSTGRES_LOGIN_TIMEOUT,
            findings,
        ),
        user_connections_max: sessions_max(
            &table.max_connections_per_user,
            "max_connections_per_user",
            findings,
        ),
        database_connections_max: sessions_max(
            &table.max_connections_per_database,
            "max_connections_per_database",
            findings,
        ),
    })
}

fn refuse_request_keys(table: &ListenerTable, kind: Kind, findings: &mut Findings<'_>) {
    let word = kind.as_str();
    let help = "it is for http listeners; what sessions can be told by is `proxy_protocol`";
    let message = |key: &str| format!("a {word} listener has no `{key}`");
    refuse(
        &table.trusted_proxies,
        &message("trusted_proxies"),
        help,
        findings,
    );
    refuse(
        &table.trusted_header,
        &message("trusted_header"),
        help,
        findings,
    );
    for (field, key) in [
        (&table.request_head_timeout, "request_head_timeout"),
        (&table.keepalive_timeout, "keepalive_timeout"),
        (&table.min_rate_grace, "min_rate_grace"),
    ] {
        refuse(
            field,
            &format!("a {word} listener has no `{key}`"),
            "it is for http listeners; sessions have `idle_timeout`",
            findings,
        );
    }
    let message = |key: &str| format!("a {word} listener has no `{key}`");
    let help = "HTTP/2 is for http listeners: leave it out";
    refuse(&table.http2, &message("http2"), help, findings);
    refuse(
        &table.max_http2_streams,
        &message("max_http2_streams"),
        help,
        findings,
    );
    refuse(
        &table.min_rate,
        &format!("a {word} listener has no `min_rate`"),
        "it is for http listeners; sessions have `idle_timeout`",
        findings,
    );
}

/// A limit on sessions; 0 where it is not written: no limit.
fn sessions_max(field: &Field<Count>, key: &str, findings: &mut Findings<'_>) -> usize {
    let bounds = 1..=default::CONNECTIONS_LIMIT_MAX;
    match field {
        None => 0,
        Some(_) => count_usize(field, key, 1, bounds, findings),
    }
}

/// What happens while there is no replica: role and hold that do it.
fn on_empty(
    table: &ListenerTable,
    role: WantedRole,
    hold: Duration,
    findings: &mut Findings<'_>,
) -> (WantedRole, Duration) {
    let Some(field) = &table.on_empty else {
        return (role, hold);
    };
    if role != WantedRole::Replica {
        let span = key_span(findings.text, &field.span());
        findings
            .error(
                "key-does-nothing",
                span,
                "`on_empty` says what happens while there is no replica",
            )
            .help("it goes with role = \"replica\"; leave it out here");
        return (role, hold);
    }
    match *field.get_ref() {
        OnEmptyWord::Primary => (WantedRole::PreferReplica, hold),
        OnEmptyWord::Hold => {
            if hold.is_zero() {
                findings
                    .error(
                        "contradiction",
                        field.span(),
                        "clients are to wait for a replica, and the hold is \"0s\"",
                    )
                    .help("write hold = \"10s\" here, or on_empty = \"reject\"");
            }
            (role, hold)
        }
        OnEmptyWord::Reject => {
            refuse(
                &table.hold,
                "`hold` does nothing beside on_empty = \"reject\"",
                "leave one of them out",
                findings,
            );
            (role, Duration::ZERO)
        }
    }
}

fn held_max(table: &ListenerTable, hold: Duration, findings: &mut Findings<'_>) -> usize {
    if let Some(held) = &table.max_held {
        if hold.is_zero() {
            let span = key_span(findings.text, &held.span());
            findings
                .error(
                    "key-does-nothing",
                    span,
                    "`max_held` does nothing while nobody is held",
                )
                .help("write hold = \"10s\" to let clients wait, or leave `max_held` out");
        } else if held.get_ref().0 == 0 {
            findings
                .error("zero", held.span(), "`max_held` is 0: nobody could be held")
                .help("write hold = \"0s\" to refuse at once, or a larger `max_held`");
            return default::HELD_MAX;
        }
    }
    count_usize(
        &table.max_held,
        "max_held",
        default::HELD_MAX,
        0..=default::HELD_LIMIT_MAX,
        findings,
    )
}

fn role(
    named: &Named<ListenerTable>,
    kind: Kind,
    upstream: Option<&Named<UpstreamTable>>,
    findings: &mut Findings<'_>,
) -> WantedRole {
    let upstream_kind = upstream.and_then(|it| it.read.table.kind.as_ref());
    let has_roles = kind.has_roles() || upstream_kind.is_some_and(|it| it.get_ref().has_roles());
    let Some(role) = &named.read.table.role else {
        if has_roles {
            require(
                named,
                "role",
                "write role = \"primary\" for the one that takes writes, \"replica\" for read-only \
                 ones, \"any\" for both",
                findings,
            );
        }
        return WantedRole::Any;
    };
    let wanted = match role.get_ref() {
        RoleWord::Primary | RoleWord::ReadWrite => WantedRole::Primary,
        RoleWord::Replica | RoleWord::Standby | RoleWord::ReadOnly => WantedRole::Replica,
        RoleWord::PreferReplica | RoleWord::PreferStandby => WantedRole::PreferReplica,
        RoleWord::Any => WantedRole::Any,
    };
    if let Some(upstream_kind) = upstream_kind
        && !upstream_kind.get_ref().has_roles()
        && wanted != WantedRole::Any
    {
        let theirs = upstream_kind.get_ref().as_str();
        findings
            .error(
                "no-roles",
                role.span(),
                format!("endpoints of a {theirs} upstream have no roles"),
            )
            .related(upstream_kind.span(), "the upstream's kind")
            .help(
                "leave `role` out, or make the upstream kind = \"postgres\" or \"redis\" with a \
                 health probe that asks for the role",
            );
    }
    wanted
}
