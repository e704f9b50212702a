//! `[listeners.x]`: a bound address with a protocol.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::tls::ListenerTls;
use crate::model::name::Name;
use crate::model::network::Network;
use crate::model::role::WantedRole;

/// One listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its table name.
    pub name: Name,
    /// Every address it listens on; at least one. Port 0 lets the kernel choose.
    pub bind: Vec<SocketAddr>,
    /// What is spoken.
    pub protocol: Protocol,
    /// Who accepts.
    pub accept: Accept,
    /// Client connections of this listener.
    pub connections_max: usize,
    /// Every connection begins with a PROXY protocol header, and comes from one of these networks;
    /// none = no connection does.
    pub proxy_protocol: Option<Vec<Network>>,
}

/// What a listener speaks, with the settings only that protocol has.
#[derive(Debug, Clone, PartialEq)]
pub enum Protocol {
    /// HTTP/1 and HTTP/2.
    Http(HttpListener),
    /// Bytes of any kind.
    Tcp(SessionListener),
    /// The first bytes of Postgres are understood.
    Postgres(SessionListener),
    /// Redis errors can be said in its own words.
    Redis(SessionListener),
}

impl Protocol {
    /// The word in `kind = "…"`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Protocol::Http(_) => "http",
            Protocol::Tcp(_) => "tcp",
            Protocol::Postgres(_) => "postgres",
            Protocol::Redis(_) => "redis",
        }
    }

    /// Whether and how TLS ends here.
    pub fn tls(&self) -> Option<&ListenerTls> {
        match self {
            Protocol::Http(http) => http.tls.as_ref(),
            Protocol::Tcp(session) | Protocol::Postgres(session) | Protocol::Redis(session) => {
                session.tls.as_ref()
            }
        }
    }
}

/// Settings of an `http` listener.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpListener {
    /// Where everything goes that no route takes.
    pub upstream: Option<Name>,
    /// From the first byte of a request head to its end.
    pub request_head_timeout: Duration,
    /// An open connection without a request is closed after this.
    pub keepalive_timeout: Duration,
    /// How slowly a client may send or read a body; none = as slowly as it likes.
    pub min_rate: Option<MinRate>,
    /// HTTP/2 for clients that ask for it; none = HTTP/1 only.
    pub http2: Option<Http2>,
    /// Who speaks for clients; none = nobody is believed.
    pub trusted_proxies: Option<TrustedProxies>,
    /// TLS ends here; none = in clear.
    pub tls: Option<ListenerTls>,
}

/// HTTP/2 of a listener: by ALPN under TLS, by prior knowledge in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// Streams of a connection at the same time.
    pub streams_max: u32,
}

/// How fast a client has to send or read a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinRate {
    /// Averaged over the time in which the client is waited for; at least 1.
    pub bytes_per_second: u64,
    /// Waits up to this long in all are forgiven.
    pub grace: Duration,
}

/// `trusted_proxies = […]`: who is believed when it speaks for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Where they are.
    pub from: Vec<Network>,
    /// How they say it.
    pub header: TrustedHeader,
}

/// The field that trusted proxies write; of the other one nothing is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrustedHeader {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl TrustedHeader {
    /// The word in `trusted_header = "…"`.
    pub fn as_str(self) -> &'static str {
        match self {
            TrustedHeader::XForwardedFor => "x-forwarded-for",
            TrustedHeader::Forwarded => "forwarded",
        }
    }
}

/// Settings of a `tcp`, `postgres` or `redis` listener.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionListener {
    /// Where its sessions go. `tcp` over routes: those that no route takes; none = they are refused.
    pub upstream: Option<Name>,
    /// Which endpoints of it.
    pub role: WantedRole,
    /// How long a client waits for an eligible endpoint; zero refuses at once.
    pub hold: Duration,
    /// How many clients may wait at the same time.
    pub held_max: usize,
    /// A session in which nothing moves is ended after this.
    pub idle_timeout: Duration,
    /// TLS ends here; none = in clear, or passed through.
    pub tls: Option<ListenerTls>,
    /// `postgres`: from the startup packet to the end of the login.
    pub login_timeout: Duration,
    /// `postgres`: sessions of one user; 0 = any number.
    pub user_connections_max: usize,
    /// `postgres`: sessions of one database; 0 = any number.
    pub database_connections_max: usize,
}

/// Who accepts a listener's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accept {
    /// Every worker has its own socket and the kernel spreads: many short connections.
    Kernel,
    /// One acceptor hands each connection to the worker with the fewest: few long connections.
    Balanced,
}
