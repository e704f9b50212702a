//! End to end over real sockets, against real servers: PostgreSQL, Redis, our own binary.
//!
//! `support` starts the servers. Tests wait on conditions, never on sleeps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic: that is how it speaks"
)]

mod access_log;
mod actor;
mod admin;
mod demo;
mod draining;
mod drill;
mod grpc;
mod hold;
mod http;
mod http2;
mod https;
mod https_clients;
mod online;
mod patroni;
mod postgres;
mod postgres_follow;
mod probes;
mod process;
mod promotions;
mod proxy_protocol;
mod redis;
mod redis_cluster;
mod redis_sessions;
mod restarts;
mod roles;
mod sentinel;
mod sentinel_failover;
mod sentinel_reload;
mod support;
mod tls;
mod tls_by_name;
mod tls_cancel;
mod tls_scanned;
mod tls_tickets;
mod websocket;
