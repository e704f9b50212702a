//! Every metric of this version, in one list.
//!
//! Names follow Prometheus: a prefix, base units, `_total` on counters. Labels are the words of the
//! configuration; nothing from a request becomes a label but its method (known ones, else
//! `other`) and the status code. `docs/operating.md` shows this list; a test keeps them equal.

/// What kind of numbers a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts durations by [`DURATION_BOUNDS`].
    Duration,
    /// Counts waits by [`WAIT_BOUNDS`].
    Wait,
}

impl Kind {
    /// The word after `# TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Duration | Kind::Wait => "histogram",
        }
    }
}

/// One family.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its full name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its label names, in the order in which their values are given.
    pub labels: &'static [&'static str],
    /// One sentence for people.
    pub help: &'static str,
}

/// How many buckets a histogram has besides `+Inf`.
pub const DURATION_BUCKETS: usize = 15;
/// Upper bounds for requests, answers and connects, in nanoseconds: 0.5 ms to 30 s.
pub const DURATION_BOUNDS: [u64; DURATION_BUCKETS] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];
/// How many buckets a histogram of waits has besides `+Inf`.
pub const WAIT_BUCKETS: usize = 11;
/// Upper bounds for holds and times without a primary, in nanoseconds: 0.1 s to 2 min.
pub const WAIT_BOUNDS: [u64; WAIT_BUCKETS] = [
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    15_000_000_000,
    30_000_000_000,
    60_000_000_000,
    120_000_000_000,
];

/// The route label of exchanges that no route took: the listener's own upstream, or none at all.
pub const NO_ROUTE: &str = "-";

macro_rules! catalog {
    ($($id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Metric = Metric {
            name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help,
        };)*
        /// Every family, in the order of the documentation.
        pub const CATALOG: &[Metric] = &[$($id),*];
    };
}

catalog! {
    BUILD_INFO Gauge "fairlead_build_info" ["version", "revision"]
        "Always 1; the labels say what runs.";
    CERTIFICATE_EXPIRY Gauge "fairlead_certificate_expiry_timestamp_seconds" ["certificate"]
        "When the certificate that is shown ends, in seconds since 1970.";
    CONFIG_GENERATION Gauge "fairlead_config_generation" []
        "Number of the configuration in force; rises with every applied reload.";
    CONFIG_LAST_RELOAD_SUCCESSFUL Gauge "fairlead_config_last_reload_successful" []
        "1 when the last reload was applied, 0 when it was refused and the old configuration stays.";
    CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP Gauge "fairlead_config_last_reload_success_timestamp_seconds" []
        "When a configuration was last applied, in seconds since 1970.";
    CONFIG_RELOADS Counter "fairlead_config_reloads_total" ["result"]
        "Reloads by result: applied, refused.";
    PANICS Counter "fairlead_panics_total" []
        "Tasks that ended in a panic; each ended alone.";
    ACCEPT_PAUSED Gauge "fairlead_accept_paused" []
        "1 while no client is let in because descriptors or memory have run out; they wait in the kernel.";
    ACCEPT_PAUSES Counter "fairlead_accept_pauses_total" []
        "Times accepting paused because descriptors or memory had run out.";
    MEMORY_LEVEL Gauge "fairlead_memory_level" []
        "0 below 80 % of the limit, 1 above it (requests are refused), 2 above 90 % (idle connections are closed), 3 above 95 % (nobody is let in).";
    MEMORY_LIMIT Gauge "fairlead_memory_limit_bytes" []
        "The resident memory this process may have; 0 without a limit.";
    LOG_DROPPED Counter "fairlead_log_dropped_total" []
        "Access-log records dropped because the writer could not keep up or failed.";
    CANCEL_KEYS_REFUSED Counter "fairlead_postgres_cancel_keys_refused_total" []
        "Postgres sessions that cannot be cancelled because too many others can.";
    CANCEL_REQUESTS Counter "fairlead_postgres_cancel_requests_total" ["listener", "result"]
        "Postgres cancel requests by result: delivered, undelivered, unknown, spread.";

    LISTENER_CONNECTIONS Gauge "fairlead_listener_connections" ["listener"]
        "Open client connections.";
    LISTENER_CONNECTIONS_TOTAL Counter "fairlead_listener_connections_total" ["listener"]
        "Client connections accepted.";
    LISTENER_REJECTED Counter "fairlead_listener_rejected_total" ["listener", "reason"]
        "Client connections closed without service, by reason.";
    LISTENER_BYTES Counter "fairlead_listener_bytes_total" ["listener", "direction"]
        "Bytes received from clients and sent to them.";

    TLS_HANDSHAKES Counter "fairlead_tls_handshakes_total" ["listener", "version", "resumed"]
        "TLS handshakes with clients, whole and resumed by a ticket.";
    TLS_HANDSHAKE_FAILURES Counter "fairlead_tls_handshake_failures_total" ["listener", "reason"]
        "TLS handshakes with clients that came to nothing, by reason.";
    TLS_HANDSHAKE_DURATION Duration "fairlead_tls_handshake_duration_seconds" ["listener"]
        "From accepting a client to the end of its TLS handshake.";

    HTTP_REQUESTS Counter "fairlead_http_requests_total" ["listener", "route", "method", "code"]
        "Finished exchanges by the status the client saw.";
    HTTP_REQUEST_DURATION Duration "fairlead_http_request_duration_seconds" ["route"]
        "From the first byte of the request to the last byte of the answer.";
    HTTP_REQUESTS_IN_FLIGHT Gauge "fairlead_http_requests_in_flight" ["route"]
        "Exchanges that have begun and not ended.";
    HTTP_REFUSED Counter "fairlead_http_refused_requests_total" ["listener", "reason"]
        "Requests refused or cut for what the client sent or how slowly it moved, by the exact reason.";
    HTTP_LOCAL_RESPONSES Counter "fairlead_http_local_responses_total" ["route", "reason"]
        "Answers made here and not by an endpoint, by reason.";

    UPSTREAM_REQUEST_DURATION Duration "fairlead_upstream_request_duration_seconds" ["upstream"]
        "From sending a request to an endpoint to the first byte of its answer.";
    UPSTREAM_CONNECT_DURATION Duration "fairlead_upstream_connect_duration_seconds" ["upstream"]
        "To make a connection to an endpoint; failed ones do not count.";
    UPSTREAM_RETRIES Counter "fairlead_upstream_retries_total" ["upstream"]
        "Attempts after the first one of an exchange or session.";
    UPSTREAM_ENDPOINTS Gauge "fairlead_upstream_endpoints" ["upstream", "state"]
        "Endpoints by state: healthy, unhealthy, draining, unknown.";
    UPSTREAM_HAS_PRIMARY Gauge "fairlead_upstream_has_primary" ["upstream"]
        "1 while a verified primary takes traffic.";
    UPSTREAM_PRIMARY_EPOCH Gauge "fairlead_upstream_primary_epoch" ["upstream"]
        "Newest epoch (Postgres timeline) seen; an older one is never routed to.";
    UPSTREAM_PRIMARY_CHANGES Counter "fairlead_upstream_primary_changes_total" ["upstream"]
        "Times another endpoint became primary.";
    UPSTREAM_WITHOUT_PRIMARY Wait "fairlead_upstream_without_primary_seconds" ["upstream"]
        "How long there was no primary, each time one was found again.";
    UPSTREAM_SPLIT_BRAIN Gauge "fairlead_upstream_split_brain" ["upstream"]
        "1 while two endpoints claim to be primary in the same epoch; neither is routed to.";
    UPSTREAM_TAKE_BACK Gauge "fairlead_upstream_take_back" ["upstream"]
        "1 while the manager names an endpoint whose history is older than one that led since; nobody is routed to.";
    UPSTREAM_SUSPENDED Gauge "fairlead_upstream_suspended" ["upstream", "cause"]
        "1 while nothing new goes to the primary, by cause: failover (a manager's), pause, switch.";
    UPSTREAM_CLAIMS_REFUSED Counter "fairlead_upstream_claims_refused_total" ["upstream", "reason"]
        "Claims to be primary that were refused: history (too old or unknown), take_back (the manager went back to an old one).";
    UPSTREAM_HELD Gauge "fairlead_upstream_held_connections" ["upstream"]
        "Clients that wait for an eligible endpoint now.";
    UPSTREAM_HOLD_DURATION Wait "fairlead_upstream_hold_duration_seconds" ["upstream"]
        "How long held clients waited, however it ended.";
    UPSTREAM_SESSIONS_CLOSED Counter "fairlead_upstream_sessions_closed_total" ["upstream", "reason"]
        "Sessions ended by us or by a failure, by reason; ordinary ends do not count.";

    SOURCE_UP Gauge "fairlead_source_up" ["upstream", "source"]
        "1 while enough of those the source asks answer for its word to count.";
    SOURCE_PAUSED Gauge "fairlead_source_paused" ["upstream", "source"]
        "1 while the manager is told not to act (Patroni's pause): nothing fails over by itself.";
    SOURCE_LAST_SUCCESS Gauge "fairlead_source_last_success_timestamp_seconds" ["upstream", "source"]
        "When the source last said anything, in seconds since 1970; 0 before its first word.";
    SOURCE_EVENTS Counter "fairlead_source_events_total" ["upstream", "source"]
        "Words of the source about endpoints, leaders and failovers.";

    ENDPOINT_UP Gauge "fairlead_endpoint_up" ["upstream", "endpoint"]
        "1 while its probes say it is healthy.";
    ENDPOINT_ELIGIBLE Gauge "fairlead_endpoint_eligible" ["upstream", "endpoint"]
        "1 while nothing speaks against it; the API tells the reasons otherwise.";
    ENDPOINT_CONNECTIONS Gauge "fairlead_endpoint_connections" ["upstream", "endpoint"]
        "Exchanges and sessions that run on it now.";
    ENDPOINT_REQUESTS Counter "fairlead_endpoint_requests_total" ["upstream", "endpoint", "code_class"]
        "HTTP answers it gave, by class: 1xx to 5xx.";
    ENDPOINT_SESSIONS Counter "fairlead_endpoint_sessions_total" ["upstream", "endpoint"]
        "Connections made to it for sessions.";
    ENDPOINT_ERRORS Counter "fairlead_endpoint_errors_total" ["upstream", "endpoint", "reason"]
        "Failed attempts it is to blame for, by reason.";
    ENDPOINT_LATENCY Gauge "fairlead_endpoint_latency_ewma_seconds" ["upstream", "endpoint"]
        "Peak EWMA of the time to its first byte, or to connect for sessions.";
    ENDPOINT_WEIGHT Gauge "fairlead_endpoint_weight" ["upstream", "endpoint"]
        "Its weight; 0 drains it.";
    ENDPOINT_PROBES Counter "fairlead_endpoint_probes_total" ["upstream", "endpoint", "result"]
        "Probes by result: passed, failed.";
    ENDPOINT_ROLE Gauge "fairlead_endpoint_role" ["upstream", "endpoint", "role"]
        "Always 1; the label is its verified role.";
    ENDPOINT_LAG_BYTES Gauge "fairlead_endpoint_replica_lag_bytes" ["upstream", "endpoint"]
        "How far a replica is behind the primary; no series while that is not known.";
    ENDPOINT_LAG_SECONDS Gauge "fairlead_endpoint_replica_lag_seconds" ["upstream", "endpoint"]
        "Age of the oldest write a replica lacks, as far as is known; 0 when it lacks none.";
    ENDPOINT_EVIDENCE_AGE Gauge "fairlead_endpoint_evidence_age_seconds" ["upstream", "endpoint"]
        "How long ago its last successful probe began.";

    PROCESS_CPU Counter "process_cpu_seconds_total" []
        "Total user and system CPU time spent in seconds.";
    PROCESS_MAX_FDS Gauge "process_max_fds" []
        "Maximum number of open file descriptors.";
    PROCESS_OPEN_FDS Gauge "process_open_fds" []
        "Number of open file descriptors.";
    PROCESS_RESIDENT Gauge "process_resident_memory_bytes" []
        "Resident memory size in bytes.";
    PROCESS_START Gauge "process_start_time_seconds" []
        "Start time of the process since unix epoch in seconds.";
    PROCESS_THREADS Gauge "process_threads" []
        "Number of OS threads in the process.";
    PROCESS_VIRTUAL Gauge "process_virtual_memory_bytes" []
        "Virtual memory size in bytes.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_their_kind_and_unit() {
        let mut names = std::collections::HashSet::new();
        for metric in CATALOG {
            assert!(names.insert(metric.name), "{} twice", metric.name);
            let is_total = metric.name.ends_with("_total");
            assert_eq!(metric.kind == Kind::Counter, is_total, "{}", metric.name);
            if matches!(metric.kind, Kind::Duration | Kind::Wait) {
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
            }
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn bounds_rise() {
        assert!(DURATION_BOUNDS.is_sorted() && WAIT_BOUNDS.is_sorted());
    }
}
