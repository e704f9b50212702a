//! HTTP: our own HTTP/1 wire path, and HTTP/2 in front of it.
//!
//! Read `serve` (one client connection), then `exchange` (one request), `forward` (its attempts;
//! `duplex` while a body is arriving)
//! and `respond` (the way back). `h1` is the codec, `h2` shows each
//! HTTP/2 stream as a connection of its own, `headers` writes heads as they are sent on,
//! `reply` makes answers of our own.

pub mod attempt;
pub mod body;
pub mod claims;
pub mod client;
pub mod duplex;
pub mod exchange;
pub mod forward;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod headers;
pub mod heads;
pub mod pool;
pub mod rate;
pub mod record;
pub mod refuse;
pub mod reply;
pub mod respond;
pub mod serve;
pub mod text;
pub mod upgrade;

#[cfg(test)]
mod rebuilt;
