//! Which keys each table knows, asked of the tables themselves: the reference in
//! `docs/configuration.md` is checked against this.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::{source, table, tls};

/// Tables at the top of the file.
pub const TOP: [&str; 9] = [
    "version",
    "process",
    "admin",
    "metrics",
    "log",
    "listeners",
    "routes",
    "upstreams",
    "certificates",
];

/// Every table with its keys, in the order of the reference.
pub fn keys() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        ("", &TOP),
        ("process", keys_of::<table::ProcessTable>()),
        ("admin", keys_of::<table::AdminTable>()),
        ("metrics", keys_of::<table::MetricsTable>()),
        ("log", keys_of::<table::LogTable>()),
        ("log.access", keys_of::<table::AccessTable>()),
        ("listeners.NAME", keys_of::<table::ListenerTable>()),
        ("listeners.NAME.tls", keys_of::<tls::ListenerTlsTable>()),
        (
            "listeners.NAME.tls.ticket_keys",
            keys_of::<tls::TicketKeysTable>(),
        ),
        (
            "listeners.NAME.proxy_protocol",
            keys_of::<table::ProxyProtocolTable>(),
        ),
        ("routes.NAME", keys_of::<table::RouteTable>()),
        ("routes.NAME.retry", keys_of::<table::RetryTable>()),
        ("upstreams.NAME", keys_of::<table::UpstreamTable>()),
        ("upstreams.NAME.ewma", keys_of::<table::EwmaTable>()),
        (
            "upstreams.NAME.endpoints",
            keys_of::<table::EndpointTable>(),
        ),
        ("upstreams.NAME.health", keys_of::<table::HealthTable>()),
        (
            "upstreams.NAME.health.http",
            keys_of::<table::HttpProbeTable>(),
        ),
        (
            "upstreams.NAME.health.grpc",
            keys_of::<table::GrpcProbeTable>(),
        ),
        (
            "upstreams.NAME.health.tcp",
            keys_of::<table::TcpProbeTable>(),
        ),
        (
            "upstreams.NAME.health.postgres",
            keys_of::<table::PostgresProbeTable>(),
        ),
        (
            "upstreams.NAME.health.redis",
            keys_of::<table::RedisProbeTable>(),
        ),
        ("upstreams.NAME.source", keys_of::<source::SourceTable>()),
        (
            "upstreams.NAME.source.patroni",
            keys_of::<source::PatroniTable>(),
        ),
        (
            "upstreams.NAME.source.sentinel",
            keys_of::<source::SentinelTable>(),
        ),
        (
            "upstreams.NAME.source.redis_cluster",
            keys_of::<source::RedisClusterTable>(),
        ),
        ("upstreams.NAME.tls", keys_of::<tls::UpstreamTlsTable>()),
        ("certificates.NAME", keys_of::<tls::CertificateTable>()),
        ("a secret", keys_of::<table::SecretReference>()),
    ]
}

/// Every closed list of words there is: the keys of each table, and the words of each enum.
pub fn words() -> Vec<&'static [&'static str]> {
    let mut words: Vec<_> = keys().into_iter().map(|(_, keys)| keys).collect();
    words.extend([
        keys_of::<table::Kind>(),
        keys_of::<table::RoleWord>(),
        keys_of::<table::OnEmptyWord>(),
        keys_of::<tls::ClientCertificateWord>(),
        keys_of::<tls::PolicyWord>(),
        keys_of::<tls::VersionWord>(),
        keys_of::<table::AcceptWord>(),
        keys_of::<table::BalanceWord>(),
        keys_of::<table::AccessFormatWord>(),
        keys_of::<table::ProxyVersionWord>(),
        keys_of::<table::TrustedHeaderWord>(),
        keys_of::<table::Level>(),
        keys_of::<table::Format>(),
        keys_of::<table::Method>(),
    ]);
    words
}

fn keys_of<T: Deserialize<'static>>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // always an error: a question has no answer to deserialize
    drop(T::deserialize(Question(&mut fields)));
    fields
}

/// A deserializer that only looks which fields are asked for.
struct Question<'a>(&'a mut &'static [&'static str]);

#[derive(Debug)]
struct Asked;

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asked")
    }
}

impl std::error::Error for Asked {}

impl Error for Asked {
    fn custom<T: fmt::Display>(_: T) -> Asked {
        Asked
    }
}

impl<'de> Deserializer<'de> for Question<'_> {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
        Err(Asked)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Asked> {
        *self.0 = fields;
        Err(Asked)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Asked> {
        *self.0 = variants;
        Err(Asked)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_tell_their_keys() {
        let keys = keys();
        assert!(keys.contains(&("log", &["level", "format", "access"])));
        assert!(keys.contains(&("a secret", &["file", "env"])));
        assert!(words().contains(&["primary", "hold", "reject"].as_slice()));
        assert!(
            keys.iter()
                .all(|(table, keys)| !keys.is_empty() || table.ends_with(".tcp"))
        );
    }
}
