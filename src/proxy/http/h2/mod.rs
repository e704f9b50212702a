//! HTTP/2, at both ends of the one request path.
//!
//! A stream of an HTTP/2 connection is shown to the request path as an HTTP/1 connection that
//! carries one exchange: its head is written as an HTTP/1 head and goes through the same strict
//! parser, its body through the same framing, and what we write comes back out as frames. So every
//! rule, route, retry, deadline and record exists once, and nothing that HTTP/1 refuses gets in by
//! HTTP/2. The frames are the `h2` crate's.
//!
//! - `preface`: which of the two a connection speaks; `frames` and `score`: what a connection sends
//!   besides requests, and how much of that is too much; `wire`: the byte stream they look at.
//! - `connection` serves one client connection, `served` is one of its streams.
//! - `pool` keeps connections to endpoints, `asked` is one stream of such a connection.
//! - `source` and `sink` carry bodies for both, `request`, `response` and `own` write heads.

pub mod asked;
pub mod connection;
pub mod frames;
pub mod fuzz;
mod own;
pub mod pool;
pub mod preface;
pub mod request;
pub mod response;
pub mod score;
mod served;
mod sink;
mod source;
mod wire;
