//! Patroni as a source: real members, real PostgreSQL, a real etcd.

mod failover;
mod names;
mod planned;
mod source;
mod writers;
