//! `[listeners.x]`, and whether it fits its upstream.

use std::net::SocketAddr;
use std::time::Duration;

use toml::Spanned;

use super::value::{
    count_usize, key_span, listen_address, note_unknown_name, period, period_or_zero, refuse,
    require,
};
use crate::config::default;
use crate::config::file::table::{AcceptWord, Kind, ListenerTable, RoleWord, UpstreamTable};
use crate::config::file::{Named, Written};
use crate::config::listener::{Accept, HttpListener, Listener, Protocol, SessionListener};
use crate::config::problem::Findings;
use crate::model::name::Name;
use crate::model::role::WantedRole;

pub(super) fn listener(
    named: &Named<ListenerTable>,
    written: &Written,
    connections_max: usize,
    findings: &mut Findings<'_>,
) -> Option<Listener> {
    let table = &named.read.table;
    let bind = bind(named, findings);
    let connections_max = count_usize(
        &table.max_connections,
        "max_connections",
        connections_max,
        1..=default::CONNECTIONS_LIMIT_MAX,
        findings,
    );
    let Some(kind) = &table.kind else {
        require(
            named,
            "kind",
            "write kind = \"http\", \"tcp\", \"postgres\" or \"redis\"",
            findings,
        );
        return None;
    };
    let kind = *kind.get_ref();
    let protocol = match kind {
        Kind::Http => Some(Protocol::Http(http(named, written, findings))),
        Kind::Tcp => session(named, kind, written, findings).map(Protocol::Tcp),
        Kind::Postgres => session(named, kind, written, findings).map(Protocol::Postgres),
        Kind::Redis => session(named, kind, written, findings).map(Protocol::Redis),
    };
    let accept = match table.accept.as_ref().map(Spanned::get_ref) {
        Some(AcceptWord::Kernel) => Accept::Kernel,
        Some(AcceptWord::Balanced) => Accept::Balanced,
        None if kind == Kind::Http => Accept::Kernel,
        None => Accept::Balanced,
    };
    Some(Listener {
        name: Name::from(named.name.get_ref().as_str()),
        bind,
        protocol: protocol?,
        accept,
        connections_max,
    })
}

fn bind(named: &Named<ListenerTable>, findings: &mut Findings<'_>) -> Vec<SocketAddr> {
    let help = "write bind = [\"0.0.0.0:8080\"]";
    let Some(list) = &named.read.table.bind else {
        require(named, "bind", help, findings);
        return Vec::new();
    };
    if list.get_ref().is_empty() && !named.read.is_broken("bind") {
        findings
            .error(
                "empty",
                list.span(),
                "`bind` is empty: it would listen nowhere",
            )
            .help(help);
    }
    list.get_ref()
        .iter()
        .filter_map(|text| listen_address(text, findings))
        .collect()
}

fn http(
    named: &Named<ListenerTable>,
    written: &Written,
    findings: &mut Findings<'_>,
) -> HttpListener {
    let table = &named.read.table;
    let for_sessions = "it is for tcp, postgres and redis listeners: leave it out";
    refuse(
        &table.role,
        "an http listener has no `role`",
        for_sessions,
        findings,
    );
    refuse(
        &table.hold,
        "an http listener has no `hold`",
        for_sessions,
        findings,
    );
    refuse(
        &table.max_held,
        "an http listener has no `max_held`",
        for_sessions,
        findings,
    );
    refuse(
        &table.idle_timeout,
        "an http listener has no `idle_timeout`",
        "between requests `keepalive_timeout` counts, within one the upstream's `idle_timeout`",
        findings,
    );
    let upstream = upstream(named, Kind::Http, written, findings);
    if table.upstream.is_none() && !named.read.is_broken("upstream") && !has_route(named, written) {
        findings
            .error(
                "leads-nowhere",
                named.name.span(),
                format!(
                    "`{}` has neither an upstream nor a route",
                    named.name.get_ref()
                ),
            )
            .help(format!(
                "write upstream = \"…\" here, or [routes.NAME] with listeners = [\"{}\"]",
                named.name.get_ref()
            ));
    }
    HttpListener {
        upstream: upstream.map(|upstream| Name::from(upstream.name.get_ref().as_str())),
        request_head_timeout: period(
            &table.request_head_timeout,
            "request_head_timeout",
            default::REQUEST_HEAD_TIMEOUT,
            findings,
        ),
        keepalive_timeout: period(
            &table.keepalive_timeout,
            "keepalive_timeout",
            default::CLIENT_KEEPALIVE_TIMEOUT,
            findings,
        ),
    }
}

/// Whether some route names it, or may do so once its mistake is mended.
fn has_route(named: &Named<ListenerTable>, written: &Written) -> bool {
    written.routes.iter().any(|route| {
        let listeners = route.read.table.listeners.as_ref();
        route.read.is_broken("listeners")
            || listeners.is_some_and(|listeners| {
                let mut names = listeners.get_ref().iter();
                names.any(|name| name.get_ref() == named.name.get_ref())
            })
    })
}

fn session(
    named: &Named<ListenerTable>,
    kind: Kind,
    written: &Written,
    findings: &mut Findings<'_>,
) -> Option<SessionListener> {
    let table = &named.read.table;
    let word = kind.as_str();
    for (field, key) in [
        (&table.request_head_timeout, "request_head_timeout"),
        (&table.keepalive_timeout, "keepalive_timeout"),
    ] {
        refuse(
            field,
            &format!("a {word} listener has no `{key}`"),
            "it is for http listeners; sessions have `idle_timeout`",
            findings,
        );
    }
    if table.upstream.is_none() {
        require(
            named,
            "upstream",
            "write upstream = \"…\" with the name of an [upstreams.NAME]",
            findings,
        );
    }
    let upstream = upstream(named, kind, written, findings);
    let role = role(named, kind, upstream, findings);
    let hold = period_or_zero(
        &table.hold,
        match kind {
            Kind::Postgres => default::HOLD_POSTGRES,
            Kind::Redis => default::HOLD_REDIS,
            Kind::Tcp | Kind::Http => default::HOLD_TCP,
        },
    );
    Some(SessionListener {
        upstream: Name::from(upstream?.name.get_ref().as_str()),
        role,
        hold,
        held_max: held_max(table, hold, findings),
        idle_timeout: period(
            &table.idle_timeout,
            "idle_timeout",
            default::SESSION_IDLE_TIMEOUT,
            findings,
        ),
        tls: None,
        login_timeout: default::POSTGRES_LOGIN_TIMEOUT,
        user_connections_max: 0,
        database_connections_max: 0,
    })
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

/// The upstream it names, when there is one and it speaks the same.
fn upstream<'w>(
    named: &Named<ListenerTable>,
    kind: Kind,
    written: &'w Written,
    findings: &mut Findings<'_>,
) -> Option<&'w Named<UpstreamTable>> {
    let reference = named.read.table.upstream.as_ref()?;
    let Some(upstream) = written.upstream(reference.get_ref()) else {
        let known = written
            .upstreams
            .iter()
            .map(|it| it.name.get_ref().as_str());
        note_unknown_name("upstream", reference, known, findings);
        return None;
    };
    if let Some(upstream_kind) = &upstream.read.table.kind
        && kind != Kind::Tcp
        && kind != *upstream_kind.get_ref()
    {
        let (ours, theirs) = (kind.as_str(), upstream_kind.get_ref().as_str());
        findings
            .error(
                "kind-mismatch",
                reference.span(),
                format!(
                    "`{}` is of kind \"{theirs}\", a listener of kind \"{ours}\" needs \"{ours}\"",
                    reference.get_ref()
                ),
            )
            .related(upstream_kind.span(), format!("{theirs} is said here"))
            .help(format!(
                "make both kinds equal, or make the listener kind = \"tcp\", which takes any{}",
                if ours == "http" {
                    " but knows no routes"
                } else {
                    ""
                }
            ));
    }
    Some(upstream)
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
        RoleWord::Primary => WantedRole::Primary,
        RoleWord::Replica => WantedRole::Replica,
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
