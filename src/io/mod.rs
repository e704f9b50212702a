//! Touching the world: sockets, names, probes, sources.
//!
//! Knows nothing of upstreams. What it learns it sends as model values into channels it was given.

pub mod net;
pub mod probe;
pub mod resp;
pub mod source;
