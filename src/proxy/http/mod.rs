//! HTTP: our own HTTP/1 wire path.
//!
//! Read `serve` (one client connection), then `exchange` (one request), then `forward` (its
//! attempts).

pub mod pool;
