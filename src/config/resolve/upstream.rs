//! `[upstreams.x]` and its endpoints.

use std::collections::HashMap;

use toml::Spanned;

use super::value::{Owner, count_u32, count_usize, key_span, period, refuse, require};
use super::{health, source, tls};
use crate::config::default;
use crate::config::file::Named;
use crate::config::file::amount::Rate;
use crate::config::file::table::{
    BalanceWord, EndpointTable, EwmaTable, Field, Kind, ProxyVersionWord, UpstreamTable,
};
use crate::config::problem::Findings;
use crate::config::secret::SecretReader;
use crate::config::upstream::{Balance, Endpoint, LagMax, ProxyVersion, Upstream, UpstreamKind};
use crate::model::address::{Address, AddressError};
use crate::model::name::Name;

pub(super) fn upstream(
    named: &Named<UpstreamTable>,
    secrets: &SecretReader,
    findings: &mut Findings<'_>,
) -> Option<Upstream> {
    let table = &named.read.table;
    let kind = table.kind.as_ref().map(|kind| *kind.get_ref());
    if kind.is_none() {
        require(
            named,
            "kind",
            "write kind = \"http\", \"tcp\", \"postgres\" or \"redis\"",
            findings,
        );
    }
    let endpoints = endpoints(named, findings);
    let health = health::health(named, secrets, findings);
    let source = source::source(named, secrets, findings);
    let tls = tls::upstream(&Owner::of(named), &table.tls, secrets, findings);
    refuse_http_keys(table, kind, findings);
    let connect_timeout = match kind {
        Some(kind) if kind.has_roles() => default::CONNECT_TIMEOUT_DATABASE,
        _ => default::CONNECT_TIMEOUT,
    };
    let mut time = |field, key, default| period(field, key, default, findings);
    let upstream = Upstream {
        name: Name::from(named.name.get_ref().as_str()),
        kind: match kind {
            Some(Kind::Http) | None => UpstreamKind::Http,
            Some(Kind::Tcp) => UpstreamKind::Tcp,
            Some(Kind::Postgres) => UpstreamKind::Postgres,
            Some(Kind::Redis) => UpstreamKind::Redis,
        },
        connect_timeout: time(&table.connect_timeout, "connect_timeout", connect_timeout),
        first_byte_timeout: time(
            &table.first_byte_timeout,
            "first_byte_timeout",
            default::FIRST_BYTE_TIMEOUT,
        ),
        idle_timeout: time(&table.idle_timeout, "idle_timeout", default::IDLE_TIMEOUT),
        tunnel_timeout: time(
            &table.tunnel_timeout,
            "tunnel_timeout",
            default::TUNNEL_TIMEOUT,
        ),
        keepalive_timeout: time(
            &table.keepalive_timeout,
            "keepalive_timeout",
            default::UPSTREAM_KEEPALIVE_TIMEOUT,
        ),
        keepalive_max: count_usize(
            &table.max_idle_connections,
            "max_idle_connections",
            default::UPSTREAM_KEEPALIVE_MAX,
            0..=default::UPSTREAM_KEEPALIVE_LIMIT_MAX,
            findings,
        ),
        has_http2: http2(table, findings),
        balance: balance(table, kind, findings),
        endpoints,
        source,
        tls,
        proxy_protocol: proxy_protocol(table),
        lag_max: lag_max(table, kind, findings),
        release_rate: release_rate(&table.release_rate, kind, findings),
        held_max: count_usize(
            &table.max_held,
            "max_held",
            default::HELD_MAX,
            1..=default::HELD_LIMIT_MAX,
            findings,
        ),
        health,
    };
    kind.map(|_| upstream)
}

fn http2(table: &UpstreamTable, findings: &mut Findings<'_>) -> bool {
    let has_http2 = table.http2.as_ref().is_some_and(|it| *it.get_ref());
    if has_http2 {
        refuse(
            &table.proxy_protocol,
            "`proxy_protocol` cannot go with http2 = true: clients share connections there",
            "leave one of the two out; X-Forwarded-For tells the client of each request",
            findings,
        );
    }
    has_http2
}

fn proxy_protocol(table: &UpstreamTable) -> Option<ProxyVersion> {
    let word = table.proxy_protocol.as_ref()?;
    Some(match word.get_ref() {
        ProxyVersionWord::V1 => ProxyVersion::V1,
        ProxyVersionWord::V2 => ProxyVersion::V2,
    })
}

fn refuse_http_keys(table: &UpstreamTable, kind: Option<Kind>, findings: &mut Findings<'_>) {
    let word = match kind {
        None | Some(Kind::Http) => return,
        Some(kind) => kind.as_str(),
    };
    let message = |key: &str| format!("a {word} upstream has no `{key}`");
    let help = "it is for http upstreams: leave it out";
    for (field, key) in [
        (&table.first_byte_timeout, "first_byte_timeout"),
        (&table.tunnel_timeout, "tunnel_timeout"),
        (&table.keepalive_timeout, "keepalive_timeout"),
    ] {
        refuse(field, &message(key), help, findings);
    }
    refuse(
        &table.idle_timeout,
        &message("idle_timeout"),
        "sessions have their `idle_timeout` in [listeners.NAME]",
        findings,
    );
    refuse(&table.http2, &message("http2"), help, findings);
    refuse(
        &table.max_idle_connections,
        &message("max_idle_connections"),
        help,
        findings,
    );
}

fn lag_max(table: &UpstreamTable, kind: Option<Kind>, findings: &mut Findings<'_>) -> LagMax {
    if let Some(kind) = kind.filter(|kind| !kind.has_roles()) {
        let message = |key: &str| format!("a {} upstream has no `{key}`", kind.as_str());
        let help = "only replicas of postgres and redis lag behind: leave it out";
        let (bytes, time) = (&table.max_lag, &table.max_lag_time);
        refuse(
            bytes,
            &message("max_lag").replace("a http", "an http"),
            help,
            findings,
        );
        refuse(
            time,
            &message("max_lag_time").replace("a http", "an http"),
            help,
            findings,
        );
    }
    let source = table.source.as_ref().map(|source| source.get_ref());
    let is_sharded = source.is_some_and(|source| source.redis_cluster.is_some());
    if is_sharded && kind == Some(Kind::Redis) {
        let message =
            "each shard has its own primary: there is none that all replicas could lag behind";
        let help = "leave it out; each shard bounds it with min-replicas-max-lag in its own file";
        refuse(&table.max_lag, message, help, findings);
        refuse(&table.max_lag_time, message, help, findings);
    } else if kind == Some(Kind::Redis) {
        refuse(
            &table.max_lag_time,
            "a redis replica does not tell how old its last write is",
            "write max_lag = \"1MiB\": bytes of the replication stream",
            findings,
        );
    }
    let time = table.max_lag_time.as_ref().map(|_| {
        let default = std::time::Duration::from_secs(10);
        period(&table.max_lag_time, "max_lag_time", default, findings)
    });
    LagMax {
        bytes: table.max_lag.as_ref().map(|size| size.get_ref().0),
        time,
    }
}

fn release_rate(field: &Field<Rate>, kind: Option<Kind>, findings: &mut Findings<'_>) -> u32 {
    let Some(field) = field else {
        return match kind {
            // a request is no login, and applications take many more of them
            Some(Kind::Http) | None => 0,
            Some(Kind::Tcp | Kind::Postgres | Kind::Redis) => default::RELEASE_RATE,
        };
    };
    let Rate::PerSecond(rate) = *field.get_ref() else {
        return 0;
    };
    if !(1..=u64::from(default::RELEASE_RATE_MAX)).contains(&rate) {
        findings
            .error(
                "out-of-bounds",
                field.span(),
                format!(
                    "`release_rate` must be from \"1/s\" to \"{}/s\"",
                    default::RELEASE_RATE_MAX
                ),
            )
            .help("write \"off\" to let all go at once");
    }
    u32::try_from(rate).unwrap_or(default::RELEASE_RATE_MAX)
}

fn balance(table: &UpstreamTable, kind: Option<Kind>, findings: &mut Findings<'_>) -> Balance {
    let word = table.balance.as_ref().map(|word| *word.get_ref());
    // sessions are long and their bytes tell no latency, so the number of them is what counts
    let by_kind = match kind {
        Some(Kind::Http) | None => BalanceWord::Ewma,
        Some(Kind::Tcp | Kind::Postgres | Kind::Redis) => BalanceWord::LeastConn,
    };
    let word = word.unwrap_or(by_kind);
    if word != BalanceWord::Ewma {
        refuse(
            &table.ewma,
            "`ewma` does nothing beside another `balance`",
            "write balance = \"ewma\", or leave `ewma` out",
            findings,
        );
    }
    let nothing = EwmaTable::default();
    let ewma = table.ewma.as_ref().map_or(&nothing, Spanned::get_ref);
    let decay = period(&ewma.decay, "decay", default::EWMA_DECAY, findings);
    let failure_penalty = period(
        &ewma.failure_penalty,
        "failure_penalty",
        default::EWMA_FAILURE_PENALTY,
        findings,
    );
    match word {
        BalanceWord::Ewma => Balance::Ewma {
            decay,
            failure_penalty,
        },
        BalanceWord::LeastConn => Balance::LeastConn,
        BalanceWord::RoundRobin => Balance::RoundRobin,
    }
}

fn endpoints(named: &Named<UpstreamTable>, findings: &mut Findings<'_>) -> Vec<Endpoint> {
    let help = "write endpoints = [{ address = \"10.0.0.1:8080\" }]";
    let Some(list) = &named.read.table.endpoints else {
        // a source finds them
        if named.read.table.source.is_none() && !named.read.is_broken("source") {
            require(named, "endpoints", help, findings);
        }
        return Vec::new();
    };
    let is_broken = named.read.is_broken("endpoints");
    let kind = named.read.table.kind.as_ref().map(|kind| *kind.get_ref());
    if list.get_ref().is_empty() && !is_broken {
        findings
            .error("empty", list.span(), "`endpoints` is empty")
            .help(help);
    }
    if list.get_ref().len() > default::ENDPOINTS_MAX {
        findings.error(
            "out-of-bounds",
            key_span(findings.text, &list.span()),
            format!("an upstream can have {} endpoints", default::ENDPOINTS_MAX),
        );
        return Vec::new();
    }
    let mut seen = HashMap::new();
    let mut endpoints = Vec::new();
    for item in list.get_ref() {
        let Some(endpoint) = endpoint(item, kind, is_broken, findings) else {
            continue;
        };
        let place = match &item.get_ref().address {
            Some(address) => address.span(),
            None => item.span(),
        };
        let same = endpoint.address.to_string().to_ascii_lowercase();
        if let Some(first) = seen.get(&same).cloned() {
            findings
                .error(
                    "twice",
                    place,
                    format!("the endpoint `{}` is there twice", endpoint.address),
                )
                .related(first, "the first one")
                .help("remove one; for a larger share write weight = 2");
            continue;
        }
        seen.insert(same, place);
        endpoints.push(endpoint);
    }
    endpoints
}

fn endpoint(
    item: &Spanned<EndpointTable>,
    kind: Option<Kind>,
    is_broken: bool,
    findings: &mut Findings<'_>,
) -> Option<Endpoint> {
    let table = item.get_ref();
    let weight = count_u32(
        &table.weight,
        "weight",
        1,
        0..=default::WEIGHT_MAX,
        findings,
    );
    let Some(address) = &table.address else {
        if !is_broken {
            findings
                .error("missing-key", item.span(), "an endpoint needs an `address`")
                .help("write { address = \"10.0.0.1:8080\" }");
        }
        return None;
    };
    let text = address.get_ref();
    match text.parse::<Address>() {
        Ok(address) => Some(Endpoint { address, weight }),
        Err(error) => {
            let help = address_help(text, kind, error);
            let problem = findings.error("bad-address", address.span(), error.to_string());
            if let Some(help) = help {
                problem.help(help);
            }
            None
        }
    }
}

fn address_help(text: &str, kind: Option<Kind>, error: AddressError) -> Option<String> {
    if let Some((_, rest)) = text.split_once("://") {
        let plain = rest.split('/').next().unwrap_or_default();
        return Some(format!("write host and port alone: \"{plain}\""));
    }
    if text.contains('/') {
        return Some("an endpoint has no path".to_owned());
    }
    match error {
        AddressError::NoPort if !text.is_empty() => {
            let port = match kind {
                Some(Kind::Postgres) => 5432,
                Some(Kind::Redis) => 6379,
                Some(Kind::Http | Kind::Tcp) | None => 8080,
            };
            Some(format!("write \"{text}:{port}\""))
        }
        _ => None,
    }
}
