//! The tables of the file, one plain struct each, every key optional and with its place.
//!
//! A key that must be there is asked for by `resolve`, which can say so for all of them at once.

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use std::fmt;
use toml::Spanned;

use super::amount::{Rate, Size, Speed};
use super::share::Share;
use super::source::SourceTable;
use super::tls::{ListenerTlsTable, UpstreamTlsTable};
use super::unit::{Count, Period, Statuses, Threads};

/// A key's value and its place, where it is written.
pub type Field<T> = Option<Spanned<T>>;

/// `[process]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct ProcessTable {
    pub worker_threads: Field<Threads>,
    pub max_connections: Field<Count>,
    pub drain_timeout: Field<Period>,
    pub drain_delay: Field<Period>,
    pub state_dir: Field<String>,
    pub memory_limit: Field<String>,
}

/// `[admin]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct AdminTable {
    pub listen: Field<String>,
    pub socket: Field<String>,
}

/// `[metrics]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct MetricsTable {
    pub listen: Field<String>,
    pub per_endpoint: Field<bool>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct LogTable {
    pub level: Field<Level>,
    pub format: Field<Format>,
    pub access: Field<AccessTable>,
}

/// `[log.access]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { enabled = true }")]
pub struct AccessTable {
    pub enabled: Field<bool>,
    pub output: Field<String>,
    pub format: Field<AccessFormatWord>,
    pub template: Field<String>,
    pub sample: Field<Share>,
}

/// `[listeners.x]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct ListenerTable {
    pub bind: Field<Vec<Spanned<String>>>,
    pub kind: Field<Kind>,
    pub upstream: Field<String>,
    pub role: Field<RoleWord>,
    pub on_empty: Field<OnEmptyWord>,
    pub hold: Field<Period>,
    pub max_held: Field<Count>,
    pub accept: Field<AcceptWord>,
    pub max_connections: Field<Count>,
    pub proxy_protocol: Field<ProxyProtocolTable>,
    pub trusted_proxies: Field<Vec<Spanned<String>>>,
    pub trusted_header: Field<TrustedHeaderWord>,
    pub max_connections_per_user: Field<Count>,
    pub max_connections_per_database: Field<Count>,
    pub tls: Field<ListenerTlsTable>,
    pub login_timeout: Field<Period>,
    pub idle_timeout: Field<Period>,
    pub request_head_timeout: Field<Period>,
    pub keepalive_timeout: Field<Period>,
    pub http2: Field<bool>,
    pub max_http2_streams: Field<Count>,
    pub min_rate: Field<Speed>,
    pub min_rate_grace: Field<Period>,
}

/// `proxy_protocol = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { from = [\"10.0.0.0/8\"] }"
)]
pub struct ProxyProtocolTable {
    pub from: Field<Vec<Spanned<String>>>,
}

/// `[routes.x]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct RouteTable {
    pub listeners: Field<Vec<Spanned<String>>>,
    pub hosts: Field<Vec<Spanned<String>>>,
    pub sni: Field<Vec<Spanned<String>>>,
    pub path_prefix: Field<String>,
    pub upstream: Field<String>,
    pub timeout: Field<Period>,
    pub retry: Field<RetryTable>,
}

/// `retry = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { attempts = 1 }")]
pub struct RetryTable {
    pub attempts: Field<Count>,
}

/// `[upstreams.x]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct UpstreamTable {
    pub kind: Field<Kind>,
    pub balance: Field<BalanceWord>,
    pub ewma: Field<EwmaTable>,
    pub endpoints: Field<Vec<Spanned<EndpointTable>>>,
    pub source: Field<SourceTable>,
    pub health: Field<HealthTable>,
    pub tls: Field<UpstreamTlsTable>,
    pub proxy_protocol: Field<ProxyVersionWord>,
    pub max_lag: Field<Size>,
    pub max_lag_time: Field<Period>,
    pub release_rate: Field<Rate>,
    pub max_held: Field<Count>,
    pub connect_timeout: Field<Period>,
    pub first_byte_timeout: Field<Period>,
    pub idle_timeout: Field<Period>,
    pub tunnel_timeout: Field<Period>,
    pub keepalive_timeout: Field<Period>,
    pub max_idle_connections: Field<Count>,
    pub http2: Field<bool>,
}

/// `ewma = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { decay = \"10s\" }")]
pub struct EwmaTable {
    pub decay: Field<Period>,
    pub failure_penalty: Field<Period>,
}

/// One of `endpoints = [{ … }]`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { address = \"10.0.0.1:8080\" }"
)]
pub struct EndpointTable {
    pub address: Field<String>,
    pub weight: Field<Count>,
}

/// `health = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { http = { path = \"/health\" } }"
)]
pub struct HealthTable {
    pub http: Field<HttpProbeTable>,
    pub grpc: Field<GrpcProbeTable>,
    pub tcp: Field<TcpProbeTable>,
    pub postgres: Field<PostgresProbeTable>,
    pub redis: Field<RedisProbeTable>,
    pub interval: Field<Period>,
    pub timeout: Field<Period>,
    pub rise: Field<Count>,
    pub fall: Field<Count>,
    pub start_period: Field<Period>,
}

/// `http = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { path = \"/health\" }"
)]
pub struct HttpProbeTable {
    pub path: Field<String>,
    pub method: Field<Method>,
    pub host: Field<String>,
    pub expect_status: Field<Statuses>,
    pub expect_body: Field<String>,
}

/// `grpc = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as {} or { service = \"orders.v1.Orders\" }"
)]
pub struct GrpcProbeTable {
    pub service: Field<String>,
}

/// `tcp = {}`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an empty table: tcp = {}")]
pub struct TcpProbeTable {}

/// `postgres = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { user = \"fairlead\" }"
)]
pub struct PostgresProbeTable {
    pub user: Field<String>,
    pub database: Field<String>,
    pub password: Field<SecretTable>,
}

/// `redis = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as {} or { password = { file = \"…\" } }"
)]
pub struct RedisProbeTable {
    pub user: Field<String>,
    pub password: Field<SecretTable>,
}

/// `{ file = "…" }` or `{ env = "…" }`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { file = \"/etc/fairlead/pg.pass\" }"
)]
pub struct SecretReference {
    pub file: Field<String>,
    pub env: Field<String>,
}

/// Where a secret is said to be. A literal one is taken in, without its text, to be refused well.
#[derive(Debug)]
pub enum SecretTable {
    /// A reference.
    Reference(SecretReference),
    /// Written out.
    Literal,
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = SecretTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table such as { file = \"/etc/fairlead/pg.pass\" }")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<SecretTable, E> {
        Ok(SecretTable::Literal)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<SecretTable, E> {
        Ok(SecretTable::Literal)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretTable, A::Error> {
        SecretReference::deserialize(MapAccessDeserializer::new(map)).map(SecretTable::Reference)
    }
}

impl<'de> Deserialize<'de> for SecretTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SecretTable, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// What listeners and upstreams speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Http,
    Tcp,
    Postgres,
    Redis,
}

impl Kind {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Http => "http",
            Kind::Tcp => "tcp",
            Kind::Postgres => "postgres",
            Kind::Redis => "redis",
        }
    }

    /// What stands before the word in a sentence.
    pub fn article(self) -> &'static str {
        if self == Kind::Http { "an" } else { "a" }
    }

    /// Whether its endpoints have roles.
    pub fn has_roles(self) -> bool {
        matches!(self, Kind::Postgres | Kind::Redis)
    }
}

/// `role = "…"`; with `-` as libpq's `target_session_attrs` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RoleWord {
    #[serde(rename = "primary")]
    Primary,
    #[serde(rename = "replica")]
    Replica,
    #[serde(rename = "prefer_replica")]
    PreferReplica,
    #[serde(rename = "any")]
    Any,
    #[serde(rename = "read-write")]
    ReadWrite,
    #[serde(rename = "standby")]
    Standby,
    #[serde(rename = "read-only")]
    ReadOnly,
    #[serde(rename = "prefer-standby")]
    PreferStandby,
}

/// `on_empty = "…"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnEmptyWord {
    Primary,
    Hold,
    Reject,
}

/// `accept = "…"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptWord {
    Kernel,
    Balanced,
}

/// `balance = "…"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BalanceWord {
    Ewma,
    LeastConn,
    RoundRobin,
}

/// `trusted_header = "…"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustedHeaderWord {
    XForwardedFor,
    Forwarded,
}

/// `proxy_protocol = "…"` of an upstream
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersionWord {
    V1,
    V2,
}

/// `level = "…"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// `format = "…"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Auto,
    Text,
    Json,
}

/// `format = "…"` of the access log
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessFormatWord {
    Auto,
    Text,
    Json,
    Common,
}

/// `method = "…"`: only methods that change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Head,
    Options,
}

impl Method {
    /// The word in the request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Options => "OPTIONS",
        }
    }
}
