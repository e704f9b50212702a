//! How an exchange or a session ended badly. One small closed list for the whole data plane.

/// What went wrong. The word is the `reason` in access log, metrics and locally made answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// No route matches.
    NoRoute,
    /// The request is for a host that is shown another certificate than its connection was.
    Misdirected,
    /// No endpoint of the upstream is eligible.
    NoEligibleEndpoint,
    /// The hold ended without an eligible endpoint.
    HoldTimeout,
    /// Too many clients of the listener are held already.
    HoldOverflow,
    /// Too many clients of all listeners wait for the upstream already.
    UpstreamHoldOverflow,
    /// Those who wait for the upstream have sent too much already.
    HoldMemory,
    /// The connection to the endpoint was refused or reset while it was made.
    ConnectFailed,
    /// The connection to the endpoint was not made in time.
    ConnectTimeout,
    /// The endpoint closed or reset the connection before the answer was complete.
    UpstreamReset,
    /// The endpoint's answer was not valid HTTP.
    UpstreamProtocol,
    /// The first byte of the answer did not come in time.
    FirstByteTimeout,
    /// Nothing moved for too long.
    IdleTimeout,
    /// The whole exchange took too long.
    TotalTimeout,
    /// The request was not acceptable (the codec says in which way).
    BadRequest,
    /// The request head did not arrive in time.
    HeadTimeout,
    /// The client sent its body more slowly than it may.
    SlowRequest,
    /// The client read the answer more slowly than it may.
    SlowReader,
    /// The client went away.
    ClientGone,
    /// The endpoint lost its role; its sessions end.
    RoleChanged,
    /// The endpoint was removed from the configuration.
    EndpointRemoved,
    /// The upstream was removed from the configuration.
    UpstreamRemoved,
    /// The process is stopping.
    Draining,
    /// A connection limit is reached.
    MaxConnections,
    /// The process has too little memory left to begin anything.
    Overload,
    /// The other end may not use the listener: it is in none of its networks.
    Denied,
    /// The connection does not begin with the PROXY protocol header that the listener wants.
    ProxyProtocol,
}

/// Every kind, for metrics and tests.
pub const ALL_FAILURES: [FailureKind; 27] = [
    FailureKind::NoRoute,
    FailureKind::Misdirected,
    FailureKind::NoEligibleEndpoint,
    FailureKind::HoldTimeout,
    FailureKind::HoldOverflow,
    FailureKind::UpstreamHoldOverflow,
    FailureKind::HoldMemory,
    FailureKind::ConnectFailed,
    FailureKind::ConnectTimeout,
    FailureKind::UpstreamReset,
    FailureKind::UpstreamProtocol,
    FailureKind::FirstByteTimeout,
    FailureKind::IdleTimeout,
    FailureKind::TotalTimeout,
    FailureKind::BadRequest,
    FailureKind::HeadTimeout,
    FailureKind::SlowRequest,
    FailureKind::SlowReader,
    FailureKind::ClientGone,
    FailureKind::RoleChanged,
    FailureKind::EndpointRemoved,
    FailureKind::UpstreamRemoved,
    FailureKind::Draining,
    FailureKind::MaxConnections,
    FailureKind::Overload,
    FailureKind::Denied,
    FailureKind::ProxyProtocol,
];

impl FailureKind {
    /// The reason word.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::NoRoute => "no_route",
            FailureKind::Misdirected => "misdirected",
            FailureKind::NoEligibleEndpoint => "no_eligible_endpoint",
            FailureKind::HoldTimeout => "hold_timeout",
            FailureKind::HoldOverflow => "hold_overflow",
            FailureKind::UpstreamHoldOverflow => "upstream_hold_overflow",
            FailureKind::HoldMemory => "hold_memory",
            FailureKind::ConnectFailed => "upstream_connect_failed",
            FailureKind::ConnectTimeout => "upstream_connect_timeout",
            FailureKind::UpstreamReset => "upstream_reset",
            FailureKind::UpstreamProtocol => "upstream_protocol_error",
            FailureKind::FirstByteTimeout => "first_byte_timeout",
            FailureKind::IdleTimeout => "idle_timeout",
            FailureKind::TotalTimeout => "total_timeout",
            FailureKind::BadRequest => "bad_request",
            FailureKind::HeadTimeout => "head_timeout",
            FailureKind::SlowRequest => "slow_request",
            FailureKind::SlowReader => "slow_reader",
            FailureKind::ClientGone => "client_gone",
            FailureKind::RoleChanged => "role_changed",
            FailureKind::EndpointRemoved => "endpoint_removed",
            FailureKind::UpstreamRemoved => "upstream_removed",
            FailureKind::Draining => "draining",
            FailureKind::MaxConnections => "max_connections",
            FailureKind::Overload => "overload",
            FailureKind::Denied => "denied",
            FailureKind::ProxyProtocol => "proxy_protocol_error",
        }
    }

    /// The HTTP status of the answer we make for it; 499 means nobody is there to read it.
    pub fn status(self) -> u16 {
        match self {
            FailureKind::NoRoute => 404,
            FailureKind::Misdirected => 421,
            FailureKind::BadRequest | FailureKind::ProxyProtocol => 400,
            FailureKind::Denied => 403,
            FailureKind::HeadTimeout | FailureKind::SlowRequest => 408,
            FailureKind::ClientGone | FailureKind::SlowReader => 499,
            FailureKind::ConnectFailed
            | FailureKind::UpstreamReset
            | FailureKind::UpstreamProtocol => 502,
            FailureKind::ConnectTimeout
            | FailureKind::FirstByteTimeout
            | FailureKind::IdleTimeout
            | FailureKind::TotalTimeout => 504,
            FailureKind::NoEligibleEndpoint
            | FailureKind::HoldTimeout
            | FailureKind::HoldOverflow
            | FailureKind::UpstreamHoldOverflow
            | FailureKind::HoldMemory
            | FailureKind::RoleChanged
            | FailureKind::EndpointRemoved
            | FailureKind::UpstreamRemoved
            | FailureKind::Draining
            | FailureKind::MaxConnections
            | FailureKind::Overload => 503,
        }
    }

    /// The `error` word of RFC 9209 (`Proxy-Status`) that fits best.
    pub fn proxy_status(self) -> &'static str {
        match self {
            FailureKind::NoRoute => "destination_not_found",
            FailureKind::ConnectFailed => "connection_refused",
            FailureKind::ConnectTimeout => "connection_timeout",
            FailureKind::UpstreamReset => "connection_terminated",
            FailureKind::UpstreamProtocol => "http_protocol_error",
            FailureKind::FirstByteTimeout | FailureKind::TotalTimeout => "http_response_timeout",
            FailureKind::IdleTimeout => "connection_read_timeout",
            FailureKind::Denied => "http_request_denied",
            FailureKind::Misdirected
            | FailureKind::BadRequest
            | FailureKind::ProxyProtocol
            | FailureKind::HeadTimeout
            | FailureKind::SlowRequest
            | FailureKind::SlowReader
            | FailureKind::ClientGone => "http_request_error",
            FailureKind::MaxConnections
            | FailureKind::Overload
            | FailureKind::HoldOverflow
            | FailureKind::UpstreamHoldOverflow
            | FailureKind::HoldMemory => "connection_limit_reached",
            FailureKind::NoEligibleEndpoint
            | FailureKind::HoldTimeout
            | FailureKind::RoleChanged
            | FailureKind::EndpointRemoved
            | FailureKind::UpstreamRemoved
            | FailureKind::Draining => "destination_unavailable",
        }
    }
}
