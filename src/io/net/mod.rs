//! Sockets: `bind` makes those we listen on, `dial` those we open, `resolve` turns host names into
//! addresses; `stream` is a connection in clear or under `tls`, `halves` its two
//! directions; `relay` moves bytes between two; `proxy_protocol` says who a connection's client is.

pub mod bind;
pub mod dial;
pub mod halves;
pub mod proxy_protocol;
pub mod relay;
pub mod resolve;
pub mod stream;
pub mod tls;
