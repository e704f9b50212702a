//! HTTP/1 from socket to socket: the test plays the client and the origin, byte for byte, and a
//! whole fairlead stands between them.

mod abuse;
mod balance;
mod body;
mod change;
mod forwarding;
mod logged;
mod odd;
mod retry;
mod slow;
mod smuggling;
mod timeouts;
mod trusted;
mod upgrade;

use crate::support::origin::Stage;
use crate::support::proxy::Proxy;
use crate::support::raw::Wire;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An origin, a fairlead in front of it, and a client.
async fn scene() -> (Stage, Proxy, Wire) {
    scene_with("", "").await
}

/// The same with more keys of the listener and of the upstream.
async fn scene_with(listener: &str, upstream: &str) -> (Stage, Proxy, Wire) {
    let origin = Stage::new().await;
    let proxy = Proxy::over_with(&[origin.address()], listener, upstream).await;
    let client = proxy.client().await;
    (origin, proxy, client)
}

/// The requests that were answered by ourselves for this reason.
fn local(route: &str, reason: &str) -> String {
    format!("fairlead_http_local_responses_total{{route=\"{route}\",reason=\"{reason}\"}}")
}
