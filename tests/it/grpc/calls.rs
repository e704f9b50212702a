//! Calls of every kind. What the client expects is in `support/grpc/client.py`.

use super::{NAME, Through};
use crate::https::text;
use crate::support::authority::Authority;
use crate::support::grpc::{GrpcServer, call};
use crate::support::proxy::Proxy;

/// Every kind of call that leaves the server as it was.
const CALLS: [&str; 10] = [
    "unary",
    "metadata",
    "down",
    "up",
    "both",
    "fail",
    "fail_late",
    "unknown",
    "big",
    "many",
];

#[tokio::test]
async fn calls_of_every_kind_pass_in_clear() {
    let through = Through::in_clear().await;
    for what in CALLS {
        through.call(what).await;
    }
}

#[tokio::test]
async fn calls_of_every_kind_pass_under_tls() {
    let through = Through::under_tls().await;
    for what in CALLS {
        through.call(what).await;
    }
}

#[tokio::test]
async fn the_endpoint_learns_of_a_deadline_and_of_its_end() {
    for through in [Through::in_clear().await, Through::under_tls().await] {
        through.call("deadline").await;
    }
}

#[tokio::test]
async fn the_endpoint_learns_that_a_call_is_cancelled() {
    for through in [Through::in_clear().await, Through::under_tls().await] {
        through.call("cancel").await;
    }
}

#[tokio::test]
async fn without_an_endpoint_calls_are_unavailable_at_once() {
    let through = Through::in_clear().await;
    through.call("unary").await;
    let Through { server, proxy, .. } = through;
    let _port = server.kill();
    let at = proxy.address("web");
    let told = call(at, "unavailable", None).await;
    assert_eq!(told, "upstream_connect_failed");
}

#[tokio::test]
async fn a_reload_to_http2_agrees_to_it_under_tls() {
    let authority = Authority::new();
    let site = authority.pair(&[NAME]);
    let server = GrpcServer::start(Some(&site)).await;
    let ca = authority.ca();
    let tls = format!("tls = {{ ca = \"{ca}\", server_name = \"{NAME}\" }}");
    let health = "health = { tcp = {}, interval = \"50ms\" }";
    let address = server.address();
    let proxy = Proxy::start(&text(address, "", &format!("{tls}\n{health}"))).await;
    // The server agrees to h2 only.
    call(proxy.address("web"), "unavailable", None).await;
    let text = text(address, "", &format!("http2 = true\n{tls}\n{health}"));
    proxy.reload(&text).await;
    proxy.verdicts("app", &address.to_string(), 2).await;
    call(proxy.address("web"), "unary", None).await;
}
