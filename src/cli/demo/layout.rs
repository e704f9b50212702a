//! Which ports the demo uses, and the configuration that follows from them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::base::rng::Rng;

/// Where `curl` goes.
const HTTP: u16 = 8080;
/// Where `psql` goes to write.
const POSTGRES_WRITE: u16 = 6432;
/// Where `psql` goes to read from the standby.
const POSTGRES_READ: u16 = 6433;
/// Where `redis-cli` goes to write.
const REDIS: u16 = 6380;
/// Where the API and `/metrics` are.
const API: u16 = 9900;
/// Below the kernel's own choices (`ip_local_port_range` begins at 32768): a database that is down
/// for a while finds its port free when it comes back.
const DATABASES_FROM: u16 = 20_000;
/// How many there are to choose from.
const DATABASES: usize = 12_000;

/// The ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The `http` listener.
    pub(super) http: u16,
    /// The `postgres` listener for the primary.
    pub(super) postgres_write: u16,
    /// The `postgres` listener for the standby.
    pub(super) postgres_read: u16,
    /// The `redis` listener for the primary.
    pub(super) redis: u16,
    /// The API.
    pub(super) api: u16,
    /// The application's replicas.
    pub(super) apps: [u16; 3],
    /// The Postgres pair, where there is one.
    pub(super) postgres_pair: Option<[u16; 2]>,
    /// The Redis pair, where there is one.
    pub(super) redis_pair: Option<[u16; 2]>,
}

impl Layout {
    /// The usual ports of fairlead where they are free, others where not.
    pub(super) fn on_this_machine(
        apps: [u16; 3],
        postgres_pair: Option<[u16; 2]>,
        redis_pair: Option<[u16; 2]>,
    ) -> Layout {
        Layout {
            http: free_or(HTTP),
            postgres_write: free_or(POSTGRES_WRITE),
            postgres_read: free_or(POSTGRES_READ),
            redis: free_or(REDIS),
            api: free_or(API),
            apps,
            postgres_pair,
            redis_pair,
        }
    }

    /// With everything there is, on ports to look at.
    pub(super) fn example() -> Layout {
        Layout {
            http: HTTP,
            postgres_write: POSTGRES_WRITE,
            postgres_read: POSTGRES_READ,
            redis: REDIS,
            api: API,
            apps: [8001, 8002, 8003],
            postgres_pair: Some([5432, 5433]),
            redis_pair: Some([6378, 6379]),
        }
    }

    /// The whole configuration.
    pub(super) fn config(&self) -> String {
        let Layout { http, api, .. } = self;
        let [one, two, three] = self.apps;
        let mut text = format!(
            r#"# What `fairlead demo` runs with. Everything is on loopback.
version = 1

[process]
state_dir = "off"            # nothing of a demo outlives it

[admin]
listen = "127.0.0.1:{api}"
socket = "off"               # an installed fairlead may have its own

[listeners.web]
bind     = ["127.0.0.1:{http}"]
kind     = "http"
upstream = "app"

[upstreams.app]
kind      = "http"
endpoints = [{{ address = "127.0.0.1:{one}" }}, {{ address = "127.0.0.1:{two}" }}, {{ address = "127.0.0.1:{three}" }}]
health    = {{ http = {{ path = "/health" }}, interval = "1s", timeout = "1s", rise = 2, fall = 2 }}
"#
        );
        if let Some([one, two]) = self.postgres_pair {
            let (write, read) = (self.postgres_write, self.postgres_read);
            text.push_str(&format!(
                r#"
[listeners.pg-write]
bind     = ["127.0.0.1:{write}"]
kind     = "postgres"
upstream = "orders"
role     = "primary"
hold     = "30s"             # a client waits this long while there is no primary

[listeners.pg-read]
bind     = ["127.0.0.1:{read}"]
kind     = "postgres"
upstream = "orders"
role     = "replica"
hold     = "5s"

[upstreams.orders]
kind      = "postgres"
endpoints = [{{ address = "127.0.0.1:{one}" }}, {{ address = "127.0.0.1:{two}" }}]
health    = {{ postgres = {{ user = "postgres", database = "postgres" }}, interval = "500ms", timeout = "500ms", rise = 1, fall = 3 }}
"#
            ));
        }
        if let Some([one, two]) = self.redis_pair {
            let write = self.redis;
            text.push_str(&format!(
                r#"
[listeners.redis-write]
bind     = ["127.0.0.1:{write}"]
kind     = "redis"
upstream = "sessions"
role     = "primary"
hold     = "10s"

[upstreams.sessions]
kind      = "redis"
endpoints = [{{ address = "127.0.0.1:{one}" }}, {{ address = "127.0.0.1:{two}" }}]
health    = {{ redis = {{}}, interval = "500ms", timeout = "500ms", rise = 1, fall = 3 }}
"#
            ));
        }
        text
    }
}

/// 127.0.0.1 and a port.
pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// This port, or one the kernel chooses when somebody has it.
fn free_or(port: u16) -> u16 {
    // Without SO_REUSEPORT, unlike our own listeners: a second demo is noticed, too.
    let free = TcpListener::bind(local(port)).or_else(|_| TcpListener::bind(local(0)));
    free.and_then(|listener| listener.local_addr())
        .map_or(port, |address| address.port())
}

/// A port for a database, which is told it and keeps it over a restart.
pub(super) fn database_port(rng: &mut Rng) -> u16 {
    let mut port = DATABASES_FROM;
    for _ in 0..1000 {
        port = DATABASES_FROM + u16::try_from(rng.below(DATABASES)).unwrap_or(0);
        if TcpListener::bind(local(port)).is_ok() {
            break;
        }
    }
    // When none was free, the database says so itself.
    port
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::config::secret::SecretReader;

    #[test]
    fn the_configuration_is_right_with_and_without_databases() {
        let all = Layout::example();
        let few = Layout {
            postgres_pair: None,
            redis_pair: None,
            ..all.clone()
        };
        for (layout, listeners) in [(all, 4), (few, 1)] {
            let text = layout.config();
            let (config, warnings) = parse("demo.toml", &text, &SecretReader::Never).unwrap();
            assert_eq!(config.listeners.len(), listeners);
            assert!(warnings.is_empty(), "{warnings:?}");
        }
    }

    #[test]
    fn a_port_in_use_is_not_taken() {
        let taken = TcpListener::bind(local(0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_or(port), port);
    }
}
