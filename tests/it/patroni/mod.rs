//! Patroni as a source: real members, real PostgreSQL, a real etcd.

mod failover;
mod source;
mod writers;
