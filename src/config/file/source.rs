//! The tables of `source.x = { … }`, spelt as Patroni, Sentinel and Redis spell things.

use serde::Deserialize;
use toml::Spanned;

use super::table::{Field, SecretTable};
use super::tls::UpstreamTlsTable;
use super::unit::Period;

/// `source.x = { … }`: one of them.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { patroni = { scope = \"orders\", … } }"
)]
pub struct SourceTable {
    pub patroni: Field<PatroniTable>,
    pub sentinel: Field<SentinelTable>,
    pub redis_cluster: Field<RedisClusterTable>,
}

/// `source.patroni = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { scope = \"orders\", members = [\"http://pg1:8008\"] }"
)]
pub struct PatroniTable {
    pub scope: Field<String>,
    pub namespace: Field<String>,
    pub members: Field<Vec<Spanned<String>>>,
    pub etcd: Field<Vec<Spanned<String>>>,
    pub etcd_user: Field<String>,
    pub etcd_password: Field<SecretTable>,
    pub tls: Field<UpstreamTlsTable>,
    pub poll: Field<Period>,
}

/// `source.sentinel = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { sentinels = [\"10.0.0.1:26379\"], master = \"mymaster\" }"
)]
pub struct SentinelTable {
    pub sentinels: Field<Vec<Spanned<String>>>,
    pub master: Field<String>,
    pub user: Field<String>,
    pub password: Field<SecretTable>,
    pub tls: Field<UpstreamTlsTable>,
    pub poll: Field<Period>,
}

/// `source.redis_cluster = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { seeds = [\"10.0.0.1:6379\"] }"
)]
pub struct RedisClusterTable {
    pub seeds: Field<Vec<Spanned<String>>>,
    pub user: Field<String>,
    pub password: Field<SecretTable>,
    pub tls: Field<UpstreamTlsTable>,
    pub poll: Field<Period>,
}
