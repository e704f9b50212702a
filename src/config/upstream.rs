//! `[upstreams.x]`: a named set of endpoints, how they are probed and balanced.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::default;
pub use crate::config::secret::Secret;
use crate::config::source::Source;
use crate::config::tls::UpstreamTls;
use crate::model::address::Address;
use crate::model::name::Name;

/// One upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its table name.
    pub name: Name,
    /// What its endpoints speak.
    pub kind: UpstreamKind,
    /// How one of several eligible endpoints is chosen.
    pub balance: Balance,
    /// No address twice. Empty only where a source finds them.
    pub endpoints: Vec<Endpoint>,
    /// Who tells its endpoints and roles besides; none = `endpoints` and their probes alone.
    pub source: Option<Source>,
    /// TLS to the endpoints, for sessions, requests and probes alike; none = in clear.
    pub tls: Option<UpstreamTls>,
    /// Every connection to an endpoint begins with a PROXY protocol header; none = no connection
    /// does.
    pub proxy_protocol: Option<ProxyVersion>,
    /// What a replica may lack to take reads.
    pub lag_max: LagMax,
    /// Held clients that are let go per second when there is an endpoint again; 0 = all at once.
    pub release_rate: u32,
    /// Clients of all listeners that may wait for this upstream at the same time.
    pub held_max: usize,
    /// The active probe; none = endpoints count as healthy.
    pub health: Option<Health>,
    /// To make a connection to an endpoint.
    pub connect_timeout: Duration,
    /// `http`: from the request being sent to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// `http`: between two reads or writes of a body; an idle tunnel has `tunnel_timeout`.
    pub idle_timeout: Duration,
    /// `http`: an upgraded connection (WebSocket) in which nothing moves.
    pub tunnel_timeout: Duration,
    /// `http`: an idle pooled connection is closed after this.
    pub keepalive_timeout: Duration,
    /// `http`: idle pooled connections per worker and endpoint.
    pub keepalive_max: usize,
    /// `http`: its endpoints speak HTTP/2: by ALPN under TLS, by prior knowledge in clear.
    pub has_http2: bool,
}

/// What a replica may lack, compared with the primary. `None` = any amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LagMax {
    /// Bytes of WAL or of the replication stream.
    pub bytes: Option<u64>,
    /// Age of the last replayed transaction; an idle primary is no lag.
    pub time: Option<Duration>,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text: addresses and nothing else.
    V1,
    /// Binary: also the client's TLS, an id, a checksum.
    V2,
}

impl ProxyVersion {
    /// The word in `proxy_protocol = "…"`.
    pub fn as_str(self) -> &'static str {
        match self {
            ProxyVersion::V1 => "v1",
            ProxyVersion::V2 => "v2",
        }
    }
}

/// What the endpoints of an upstream speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamKind {
    /// HTTP/1, or HTTP/2 ([`Upstream::has_http2`]).
    Http,
    /// Anything over TCP.
    Tcp,
    /// Postgres: endpoints have roles.
    Postgres,
    /// Redis: endpoints have roles.
    Redis,
}

impl UpstreamKind {
    /// The word in `kind = "…"`.
    pub fn as_str(self) -> &'static str {
        match self {
            UpstreamKind::Http => "http",
            UpstreamKind::Tcp => "tcp",
            UpstreamKind::Postgres => "postgres",
            UpstreamKind::Redis => "redis",
        }
    }

    /// Whether its endpoints have roles. Such an upstream never routes by guess.
    pub fn has_roles(self) -> bool {
        matches!(self, UpstreamKind::Postgres | UpstreamKind::Redis)
    }
}

/// One endpoint as configured.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it is; its text is its identity.
    pub address: Address,
    /// 0 to 1000, relative; 0 drains.
    pub weight: u32,
}

/// How one of several eligible endpoints is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Balance {
    /// The better of two by peak EWMA of latency × (in-flight + 1) ÷ weight.
    Ewma {
        /// Time constant of the average.
        decay: Duration,
        /// What a failed attempt counts as.
        failure_penalty: Duration,
    },
    /// The fewest in flight per weight.
    LeastConn,
    /// In turn, smoothly by weight.
    RoundRobin,
}

impl Balance {
    /// Time constant and failure penalty of the latency estimate, which is kept under every policy.
    pub fn ewma(self) -> (Duration, Duration) {
        match self {
            Balance::Ewma {
                decay,
                failure_penalty,
            } => (decay, failure_penalty),
            _ => (default::EWMA_DECAY, default::EWMA_FAILURE_PENALTY),
        }
    }

    /// The word in `balance = "…"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Balance::Ewma { .. } => "ewma",
            Balance::LeastConn => "least_conn",
            Balance::RoundRobin => "round_robin",
        }
    }
}

/// `health = { … }`
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// Between the starts of two probes, moved by ±10 %.
    pub interval: Duration,
    /// For one probe as a whole.
    pub timeout: Duration,
    /// Successes in a row that bring an endpoint up. The first success ever is enough.
    pub rise: u32,
    /// Failures in a row that take it down.
    pub fall: u32,
    /// After it was added, failures do not count for this long until it was up once.
    pub start_period: Duration,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// A connection can be made.
    Tcp,
    /// An HTTP request is answered as expected.
    Http(HttpProbe),
    /// A gRPC process says of itself that it serves.
    Grpc(GrpcProbe),
    /// A Postgres login works, and the node tells its role.
    Postgres(PostgresProbe),
    /// A Redis node tells its role.
    Redis(RedisProbe),
}

impl Probe {
    /// The word that names it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Probe::Tcp => "tcp",
            Probe::Http(_) => "http",
            Probe::Grpc(_) => "grpc",
            Probe::Postgres(_) => "postgres",
            Probe::Redis(_) => "redis",
        }
    }
}

/// `health = { http = { … } }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// `GET` by default.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Host` field, in HTTP/2 `:authority`; the endpoint's address where none is given.
    pub host: Option<String>,
    /// Statuses that count as success.
    pub expect_status: Vec<RangeInclusive<u16>>,
    /// A text that the first 64 KiB of the body must contain.
    pub expect_body: Option<String>,
    /// It is asked by HTTP/2, as its upstream is ([`Upstream::has_http2`]).
    pub is_http2: bool,
}

/// `health = { grpc = { … } }`: `grpc.health.v1.Health/Check`, always by HTTP/2.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrpcProbe {
    /// A name that the endpoint knows; empty = the process as a whole.
    pub service: String,
}

/// `health = { postgres = { … } }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresProbe {
    /// Any login role will do; no rights are needed.
    pub user: String,
    /// The database to log in to.
    pub database: String,
    /// The password, where the server wants one.
    pub password: Option<Secret>,
}

/// `health = { redis = { … } }`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedisProbe {
    /// ACL user; none = the default user.
    pub user: Option<String>,
    /// The password, where the server wants one.
    pub password: Option<Secret>,
}
