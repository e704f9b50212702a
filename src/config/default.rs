//! Every default and every bound, each with its reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Client connections of the whole process. Two descriptors each fit a `LimitNOFILE` of 1,048,576
/// many times over; the process lowers it to what its descriptor limit allows.
pub const CONNECTIONS_MAX: usize = 100_000;
/// SIGTERM to forced end: the grace of the five systems' orchestrators is 30 s.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
/// Not ready before not listening, so that balancers in front notice: 5 s + 25 s fit a 30 s grace.
pub const DRAIN_DELAY: Duration = Duration::from_secs(5);
/// The API is never open to the network by default.
pub const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);
/// Where the packaged service puts its API socket.
pub const ADMIN_SOCKET: &str = "/run/fairlead/admin.sock";
/// The configuration file of the packaged service.
pub const CONFIG_FILE: &str = "/etc/fairlead/fairlead.toml";
/// A configuration larger than this is a mistake.
pub const CONFIG_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// After a change on disk, wait this long for the writer to finish.
pub const RELOAD_DEBOUNCE: Duration = Duration::from_millis(250);
/// Look at the file anyway: file events get lost on NFS and overlays.
pub const RELOAD_POLL: Duration = Duration::from_secs(30);

/// Total from the first byte of a request head to its end: a timer between reads lets drips live.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the 60 s of an ALB in front, which prevents its 502 race.
pub const CLIENT_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// One request line, and one field line (HAProxy's buffer and ALB's line limit).
pub const HEAD_LINE_BYTES_MAX: usize = 16 * 1024;
/// After the last answer of a connection, read away what the client still sends for this long
/// (nginx `lingering_timeout` is 5 s between reads; this is a total).
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// And at most this much.
pub const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// A whole message head (ALB, Envoy).
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields in a message head (Envoy, HAProxy).
pub const HEAD_FIELDS_MAX: usize = 100;
/// Options in the `Connection` fields of a head: real ones have three; each is looked for in all
/// fields.
pub const CONNECTION_OPTIONS_MAX: usize = 32;
/// As often a request may have passed a proxy of our name; more is a loop. An edge, an ingress and
/// a sidecar make three.
pub const VIA_OWN_MAX: usize = 8;
/// One chunk-size line with its extensions.
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// All chunk extensions of a message together.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * 1024;
/// Lent to a connection only while bytes move; 128 KiB was the fastest for 64 KiB bodies.
pub const BODY_BUFFER_BYTES: usize = 128 * 1024;
/// Large buffers a worker keeps for reuse: only connections that move bytes at this moment have one.
pub const LARGE_BUFFERS_KEPT_MAX: usize = 64;
/// Small buffers a worker keeps for reuse: every exchange that waits for its answer has one.
pub const SMALL_BUFFERS_KEPT_MAX: usize = 4096;
/// A small buffer that grew beyond this is given back to the allocator.
pub const SMALL_BUFFER_BYTES_MAX: usize = 4 * 1024;
/// One per worker, shared by all its L4 sessions: what fits a core's second-level cache, and as
/// much as a loopback segment carries.
pub const RELAY_BUFFER_BYTES: usize = 64 * 1024;
/// A quarter of the kernel's default `pipe-max-size`, so that 256 of them fit the 64 MiB that
/// `pipe-user-pages-soft` grants a user without privileges.
pub const RELAY_PIPE_BYTES: usize = 256 * 1024;
/// Pipes of a worker: each pins up to [`RELAY_PIPE_BYTES`] while a bulk direction waits for a slow
/// reader. Beyond it, bulk is copied.
pub const RELAY_PIPES_MAX: usize = 128;
/// Empty pipes a worker keeps: a pipe is in use only while it holds bytes.
pub const RELAY_PIPES_KEPT_MAX: usize = 16;

/// nginx and Envoy say 5 s; a database in the same network answers sooner.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For `postgres` and `redis` upstreams.
pub const CONNECT_TIMEOUT_DATABASE: Duration = Duration::from_secs(2);
/// nginx's and ingress-nginx's read time-out.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two reads or writes of a body.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// WebSockets and other upgraded connections.
pub const TUNNEL_TIMEOUT: Duration = Duration::from_secs(3600);
/// Sessions of `tcp`, `postgres`, `redis` listeners (Envoy's TCP idle time-out).
pub const SESSION_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Below the keep-alive time of common application servers would be best; they differ too much.
/// A connection closed under us is retried, so this only bounds idle descriptors.
pub const UPSTREAM_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// Idle connections per worker and endpoint (ingress-nginx keeps 320 in all).
pub const UPSTREAM_KEEPALIVE_MAX: usize = 1024;
/// Further attempts after a failed one (Envoy `num_retries`).
pub const RETRY_ATTEMPTS: u32 = 1;
/// More would only hide that nothing works.
pub const RETRY_ATTEMPTS_MAX: u32 = 10;

/// Longer than Patroni's planned switchover (2–3 s) and most crashes at ttl 20–30 s; shorter than
/// the connect time-out of common drivers (asyncpg 60 s).
pub const HOLD_POSTGRES: Duration = Duration::from_secs(30);
/// ioredis gives a connection 10 s, Jedis 2 s: a longer hold is wasted on them.
pub const HOLD_REDIS: Duration = Duration::from_secs(5);
/// Bytes of unknown kind are not held unless asked for.
pub const HOLD_TCP: Duration = Duration::ZERO;
/// While an upstream has no verdict yet (just started), HTTP requests wait this long for one.
pub const HOLD_STARTING: Duration = Duration::from_secs(5);
/// Held clients per listener.
pub const HELD_MAX: usize = 10_000;
/// From accept to the end of the Postgres startup packet.
pub const POSTGRES_STARTUP_TIMEOUT: Duration = Duration::from_secs(5);
/// PostgreSQL's own bound for a startup packet (`MAX_STARTUP_PACKET_LENGTH`).
pub const POSTGRES_STARTUP_BYTES_MAX: usize = 10_000;

/// Probe rhythm for applications.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Per probe, for applications.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Probe rhythm where roles are at stake: evidence is never older.
pub const ROLE_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Per role probe.
pub const ROLE_PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// HAProxy's `rise` and `fall`.
pub const PROBE_RISE: u32 = 2;
/// HAProxy's `fall`.
pub const PROBE_FALL: u32 = 3;
/// A role is verified by one good answer.
pub const ROLE_PROBE_RISE: u32 = 1;
/// Two failures in a row: one slow answer of a busy database cuts nobody.
pub const ROLE_PROBE_FALL: u32 = 2;
/// Share by which probe times are spread.
pub const PROBE_JITTER: f64 = 0.1;
/// The least time between two probes of an endpoint, however often it is kicked.
pub const PROBE_KICK_GAP: Duration = Duration::from_millis(100);
/// While an upstream has no primary, whoever answers is asked again at once, for this long: twice
/// what Patroni needs at its default ttl of 30 s. Afterwards the normal rhythm must do.
pub const PRIMARY_HUNT: Duration = Duration::from_secs(60);
/// Redis histories known to be over. Each promotion adds one; a node that comes back with an older
/// one than the last 32 is still refused, as one of unknown lineage.
pub const SUPERSEDED_IDS_MAX: usize = 32;
/// Histories one Redis primary had by restarting, before another one was promoted from any of them.
pub const RESTARTED_IDS_MAX: usize = 8;
/// Postgres systems whose timelines are remembered before the first primary says which is ours.
pub const SYSTEMS_SEEN_MAX: usize = 8;
/// Body bytes a probe looks at.
pub const PROBE_BODY_BYTES_MAX: usize = 64 * 1024;
/// Endpoints of one upstream.
pub const ENDPOINTS_MAX: usize = 1024;
/// Greatest weight of an endpoint (HAProxy's is 256, Envoy's 128 in some policies).
pub const WEIGHT_MAX: u32 = 1000;

/// Connections the kernel may finish before we accept them. Linux cuts it to `net.core.somaxconn`,
/// whose default is 4096 since 5.4.
pub const LISTEN_BACKLOG: i32 = 4096;
/// A silent database session is asked whether the other side lives after this, …
pub const TCP_KEEPALIVE_TIME: Duration = Duration::from_secs(30);
/// … then this often, …
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … and given up after so many silences: a dead endpoint shows within 60 s.
pub const TCP_KEEPALIVE_PROBES: u32 = 3;
/// Bytes a database does not acknowledge for this long end its session.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// A name's address holds at least this long, whatever its TTL says: a TTL of 0 must not become a
/// storm of questions.
pub const DNS_TTL_MIN: Duration = Duration::from_secs(1);
/// … and at most this long (pgbouncer 15 s, HAProxy `hold valid` 10 s; TTLs of hours would hide a move).
pub const DNS_TTL_MAX: Duration = Duration::from_secs(30);
/// After a failed question the next one comes this much later (pgbouncer's negative TTL is 15 s).
pub const DNS_RETRY: Duration = Duration::from_secs(5);
/// One name, all attempts.
pub const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// The last good address is used this long while its name cannot be resolved.
pub const DNS_KEEP: Duration = Duration::from_secs(600);

/// ingress-nginx, linkerd and Envoy agree on 10 s.
pub const EWMA_DECAY: Duration = Duration::from_secs(10);
/// linkerd's failure bias: a failed attempt counts as an answer that took this long.
pub const EWMA_FAILURE_PENALTY: Duration = Duration::from_secs(5);

/// Events an upstream's journal remembers.
pub const JOURNAL_EVENTS_MAX: usize = 256;
/// Messages waiting for an upstream's actor.
pub const ACTOR_QUEUE: usize = 1024;
/// Accepted connections on their way to a worker.
pub const WORKER_QUEUE: usize = 1024;
/// Access-log records on their way to the writer; more are dropped and counted.
pub const ACCESS_LOG_QUEUE: usize = 65_536;

/// The CPUs this process may use.
pub fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
