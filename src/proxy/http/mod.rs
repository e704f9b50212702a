//! HTTP: our own HTTP/1 wire path.
//!
//! Read `serve` (one client connection), then `exchange` (one request), then `forward` (its
//! attempts). Under them: the codec (`h1`), heads as they are sent on (`headers`), answers we make
//! (`reply`), idle upstream connections (`pool`).

pub mod h1;
pub mod headers;
pub mod pool;
pub mod reply;

#[cfg(test)]
mod rebuilt;
