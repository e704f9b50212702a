//! Calls of every kind. What the client expects is in `support/grpc/client.py`.

use super::Through;
use crate::support::grpc::call;

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
