//! HTTP/2 on either side: curl, h2load and a client of our own in front, HTTP/1 and HTTP/2 behind.

mod client;
mod exchanges;
mod floods;
mod grpc;
mod origin;
mod probes;
mod refused;
mod tunnels;

use std::net::SocketAddr;

use crate::support::proxy::{Proxy, over};

/// A listener `web` that leads to this endpoint by HTTP/1, and one `both` that leads to `web`, and so
/// to it, by HTTP/2.
pub(crate) async fn chain(endpoint: SocketAddr, listener: &str, upstream: &str) -> (Proxy, Proxy) {
    let near = Proxy::start(&over(&[endpoint], listener, upstream)).await;
    let behind = near.address("web");
    let upstream = format!("http2 = true\n{upstream}");
    let far = Proxy::start(&over(&[behind], listener, &upstream)).await;
    (near, far)
}
