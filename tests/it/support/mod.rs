//! What the tests stand on: real servers as children, free ports, waiting for conditions.
#![allow(dead_code, reason = "not every convenience has a user in every change")]

pub(crate) mod authority;
pub(crate) mod balancers;
pub(crate) mod etcd;
pub(crate) mod eventually;
pub(crate) mod grpc;
pub(crate) mod nginx;
pub(crate) mod origin;
pub(crate) mod patroni;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod redis_writer;
pub(crate) mod sentinel;
pub(crate) mod websocket;

pub(crate) use eventually::{LONG, eventually};
pub(crate) use postgres::{PostgresServer, StopMode};
pub(crate) use redis::RedisServer;
