//! `[listeners.x]`, and whether it fits its upstream.

use std::net::SocketAddr;

use toml::Spanned;

use super::session::session;
use super::value::{
    Owner, count, count_usize, listen_address, note_unknown_name, period, refuse, require,
};
use super::{Around, network, tls};
use crate::config::default;
use crate::config::file::amount::Speed;
use crate::config::file::table::{AcceptWord, Kind, ListenerTable, UpstreamTable};
use crate::config::file::{Named, Written};
use crate::config::listener::{Accept, Http2, HttpListener, Listener, MinRate, Protocol};
use crate::config::problem::Findings;
use crate::model::name::Name;

pub(super) fn listener(
    named: &Named<ListenerTable>,
    around: &Around<'_>,
    findings: &mut Findings<'_>,
) -> Option<Listener> {
    let table = &named.read.table;
    let bind = bind(named, findings);
    let connections_max = count_usize(
        &table.max_connections,
        "max_connections",
        around.connections_max,
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
        Kind::Http => Some(Protocol::Http(http(named, around, findings))),
        Kind::Tcp => session(named, kind, around, findings).map(Protocol::Tcp),
        Kind::Postgres => session(named, kind, around, findings).map(Protocol::Postgres),
        Kind::Redis => session(named, kind, around, findings).map(Protocol::Redis),
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
        proxy_protocol: network::proxy_protocol(named, findings),
    })
}

fn bind(named: &Named<ListenerTable>, findings: &mut Findings<'_>) -> Vec<SocketAddr> {
    let texts = Owner::of(named).filled(
        &named.read.table.bind,
        "bind",
        "it would listen nowhere",
        "write bind = [\"0.0.0.0:8080\"]",
        findings,
    );
    texts
        .iter()
        .filter_map(|text| listen_address(text, findings))
        .collect()
}

fn http(
    named: &Named<ListenerTable>,
    around: &Around<'_>,
    findings: &mut Findings<'_>,
) -> HttpListener {
    let table = &named.read.table;
    let written = around.written;
    refuse_session_keys(table, findings);
    let tls = tls::listener(
        named,
        Kind::Http,
        written,
        around.certificates,
        around.secrets,
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
        min_rate: min_rate(table, findings),
        http2: http2(table, findings),
        trusted_proxies: network::trusted_proxies(table, findings),
        tls,
    }
}

/// On unless it is switched off: only clients that ask for it get it.
fn http2(table: &ListenerTable, findings: &mut Findings<'_>) -> Option<Http2> {
    let is_on = table.http2.as_ref().is_none_or(|it| *it.get_ref());
    if !is_on {
        refuse(
            &table.max_http2_streams,
            "`max_http2_streams` does nothing beside http2 = false",
            "leave one of the two out",
            findings,
        );
        return None;
    }
    let streams_max = count(
        &table.max_http2_streams,
        "max_http2_streams",
        u64::from(default::HTTP2_STREAMS_MAX),
        1..=u64::from(default::HTTP2_STREAMS_LIMIT_MAX),
        findings,
    );
    Some(Http2 {
        streams_max: u32::try_from(streams_max).unwrap_or(default::HTTP2_STREAMS_MAX),
    })
}

/// How fast clients have to be; a grace without a rate does nothing.
fn min_rate(table: &ListenerTable, findings: &mut Findings<'_>) -> Option<MinRate> {
    let bytes_per_second = match table.min_rate.as_ref().map(Spanned::get_ref) {
        Some(Speed::Off) => {
            refuse(
                &table.min_rate_grace,
                "`min_rate_grace` does nothing beside min_rate = \"off\"",
                "leave it out, or write a rate such as \"240B/s\"",
                findings,
            );
            return None;
        }
        Some(Speed::BytesPerSecond(bytes)) => *bytes,
        None => default::CLIENT_RATE_MIN,
    };
    Some(MinRate {
        bytes_per_second,
        grace: period(
            &table.min_rate_grace,
            "min_rate_grace",
            default::CLIENT_RATE_GRACE,
            findings,
        ),
    })
}

fn refuse_session_keys(table: &ListenerTable, findings: &mut Findings<'_>) {
    let message = |key: &str| format!("an http listener has no `{key}`");
    let help = "it is for tcp, postgres and redis listeners: leave it out";
    refuse(&table.role, &message("role"), help, findings);
    refuse(&table.on_empty, &message("on_empty"), help, findings);
    refuse(&table.hold, &message("hold"), help, findings);
    refuse(&table.max_held, &message("max_held"), help, findings);
    refuse(
        &table.idle_timeout,
        &message("idle_timeout"),
        "between requests `keepalive_timeout` counts, within one the upstream's `idle_timeout`",
        findings,
    );
    refuse_postgres_keys(table, Kind::Http, findings);
}

/// Keys that need to know who logs in.
pub(super) fn refuse_postgres_keys(table: &ListenerTable, kind: Kind, findings: &mut Findings<'_>) {
    let (article, kind) = (kind.article(), kind.as_str());
    let message = |key: &str| format!("{article} {kind} listener has no `{key}`");
    let help = "it is for postgres listeners: leave it out";
    refuse(
        &table.login_timeout,
        &message("login_timeout"),
        help,
        findings,
    );
    for (field, key) in [
        (&table.max_connections_per_user, "max_connections_per_user"),
        (
            &table.max_connections_per_database,
            "max_connections_per_database",
        ),
    ] {
        refuse(field, &message(key), help, findings);
    }
}

/// Whether some route names it, or may do so once its mistake is mended.
pub(super) fn has_route(named: &Named<ListenerTable>, written: &Written) -> bool {
    written.routes.iter().any(|route| {
        let listeners = route.read.table.listeners.as_ref();
        route.read.is_broken("listeners")
            || listeners.is_some_and(|listeners| {
                let mut names = listeners.get_ref().iter();
                names.any(|name| name.get_ref() == named.name.get_ref())
            })
    })
}

/// The upstream it names, when there is one and it speaks the same.
pub(super) fn upstream<'w>(
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
