//! The upstream a run is about.

use std::time::Duration;

use fairlead::base::rng::Rng;
use fairlead::config::default;
use fairlead::config::source::{Patroni, RedisCluster, Sentinel, Source};
use fairlead::config::upstream::{
    Balance, Endpoint, Health, LagMax, PostgresProbe, Probe, Upstream, UpstreamKind,
};

/// Endpoints of the truth.
pub(crate) const COUNT: usize = 5;

/// Where the n-th endpoint of the truth is; the third has a name.
pub(crate) fn address(position: usize) -> String {
    match position {
        2 => "db.internal:1".to_owned(),
        _ => numeric(position),
    }
}

/// The same by its number, as a source may come to spell it.
pub(crate) fn numeric(position: usize) -> String {
    format!("10.0.0.{position}:1")
}

pub(crate) fn position(endpoint: &str) -> usize {
    (0..COUNT)
        .find(|at| address(*at) == endpoint || numeric(*at) == endpoint)
        .expect("an address of ours")
}

pub(crate) fn endpoint(position: usize, weight: u32) -> Endpoint {
    Endpoint {
        address: address(position).parse().expect("an address"),
        weight,
    }
}

pub(crate) fn config(kind: UpstreamKind, rng: &mut Rng) -> Upstream {
    let probe = match kind {
        UpstreamKind::Postgres => Probe::Postgres(PostgresProbe {
            user: "probe".into(),
            database: "postgres".into(),
            password: None,
        }),
        UpstreamKind::Redis => Probe::Redis(Default::default()),
        _ => Probe::Tcp,
    };
    let balances = [
        Balance::LeastConn,
        Balance::RoundRobin,
        Balance::Ewma {
            decay: default::EWMA_DECAY,
            failure_penalty: default::EWMA_FAILURE_PENALTY,
        },
    ];
    let source = match kind {
        UpstreamKind::Postgres if rng.below(2) == 0 => Some(patroni()),
        UpstreamKind::Redis => match rng.below(5) {
            0 | 1 => Some(sentinel()),
            2 => Some(redis_cluster()),
            _ => None,
        },
        _ => None,
    };
    // A source lists them, then.
    let is_discovered = source.is_some() && rng.below(2) == 0;
    let count = if is_discovered { 0 } else { 2 + rng.below(4) };
    Upstream {
        name: "simulated".into(),
        kind,
        balance: balances[rng.below(3)],
        endpoints: (0..count).map(|at| endpoint(at, 1)).collect(),
        source,
        tls: None,
        proxy_protocol: None,
        lag_max: LagMax {
            bytes: (rng.below(2) == 0).then_some(1000),
            time: (kind == UpstreamKind::Postgres && rng.below(2) == 0)
                .then_some(Duration::from_secs(4)),
        },
        release_rate: fairlead::config::default::RELEASE_RATE,
        held_max: fairlead::config::default::HELD_MAX,
        health: Some(Health {
            probe,
            interval: default::ROLE_PROBE_INTERVAL,
            timeout: default::ROLE_PROBE_TIMEOUT,
            rise: [1, 1, 2][rng.below(3)],
            fall: [1, 2, 3][rng.below(3)],
            start_period: Duration::ZERO,
        }),
        connect_timeout: default::CONNECT_TIMEOUT,
        first_byte_timeout: default::FIRST_BYTE_TIMEOUT,
        idle_timeout: default::IDLE_TIMEOUT,
        tunnel_timeout: default::TUNNEL_TIMEOUT,
        keepalive_timeout: default::UPSTREAM_KEEPALIVE_TIMEOUT,
        has_http2: false,
        keepalive_max: default::UPSTREAM_KEEPALIVE_MAX,
    }
}

fn patroni() -> Source {
    Source::Patroni(Patroni {
        scope: "simulated".into(),
        namespace: "/service/".into(),
        members: Vec::new(),
        etcd: Vec::new(),
        etcd_login: None,
        tls: Default::default(),
        poll: default::SOURCE_POLL,
    })
}

fn redis_cluster() -> Source {
    Source::RedisCluster(RedisCluster {
        seeds: Vec::new(),
        login: None,
        tls: None,
        poll: default::SOURCE_POLL,
    })
}

fn sentinel() -> Source {
    Source::Sentinel(Sentinel {
        sentinels: Vec::new(),
        master: "simulated".into(),
        login: None,
        tls: None,
        poll: default::SOURCE_POLL,
    })
}
