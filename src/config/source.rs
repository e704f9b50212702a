//! `source.x = { … }`: who tells an upstream its endpoints and roles, besides the endpoints
//! themselves.

use std::fmt;
use std::time::Duration;

use crate::config::secret::Secret;
use crate::config::tls::UpstreamTls;
use crate::model::address::Address;

/// Who tells. Nothing it says is routed by: it starts holds, names candidates and fences.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Patroni's REST API and, where given, the etcd it writes to.
    Patroni(Patroni),
    /// Redis Sentinels.
    Sentinel(Sentinel),
    /// The nodes of a Redis Cluster.
    RedisCluster(RedisCluster),
}

impl Source {
    /// The word in the file, in metrics and in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Source::Patroni(_) => "patroni",
            Source::Sentinel(_) => "sentinel",
            Source::RedisCluster(_) => "redis_cluster",
        }
    }
}

/// `source.patroni = { … }`
#[derive(Debug, Clone, PartialEq)]
pub struct Patroni {
    /// The scope, as in Patroni's own file.
    pub scope: String,
    /// The prefix of its keys; begins and ends with `/`.
    pub namespace: String,
    /// REST addresses; one is enough, the others are found through it.
    pub members: Vec<BaseUrl>,
    /// etcd v3 addresses; empty = REST alone.
    pub etcd: Vec<BaseUrl>,
    /// For etcd, where it wants a login.
    pub etcd_login: Option<Login>,
    /// How certificates are checked of `https` addresses, and what we show ourselves.
    pub tls: UpstreamTls,
    /// Between two questions to the REST API.
    pub poll: Duration,
}

/// `source.sentinel = { … }`
#[derive(Debug, Clone, PartialEq)]
pub struct Sentinel {
    /// All of them: each is subscribed to.
    pub sentinels: Vec<Address>,
    /// The name under which they watch the primary (`sentinel monitor NAME …`).
    pub master: String,
    /// For the Sentinels, where they want a login.
    pub login: Option<Login>,
    /// TLS to the Sentinels; none = in clear.
    pub tls: Option<UpstreamTls>,
    /// Between two questions to each Sentinel; its events come at once.
    pub poll: Duration,
}

/// `source.redis_cluster = { … }`
#[derive(Debug, Clone, PartialEq)]
pub struct RedisCluster {
    /// Nodes to ask; the others are found through them.
    pub seeds: Vec<Address>,
    /// For the nodes, where they want a login.
    pub login: Option<Login>,
    /// TLS to the nodes; none = in clear.
    pub tls: Option<UpstreamTls>,
    /// Between two questions.
    pub poll: Duration,
}

/// Who we are to somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user; empty = the default user (Redis).
    pub user: String,
    /// The password.
    pub password: Option<Secret>,
}

/// `http://host:port` or `https://host:port`, nothing behind it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BaseUrl {
    /// `https`.
    pub is_tls: bool,
    /// Where.
    pub address: Address,
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.address)
    }
}
