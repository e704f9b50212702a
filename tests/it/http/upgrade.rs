//! WebSockets and their like: nothing passes before 101, then everything does.

use super::{GET, OK, local, scene, scene_with};
use crate::support::raw::{End, Wire};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";

async fn echo(from: &mut Wire, to: &mut Wire, text: &[u8]) {
    from.send(text).await;
    assert_eq!(to.exactly(text.len()).await, text);
}

#[tokio::test]
async fn a_tunnel_carries_both_directions_until_one_side_ends_it() {
    let (origin, proxy, mut client) = scene().await;
    client.send(UPGRADE).await;
    let mut upstream = origin.accept().await;
    let request = upstream.request().await;
    assert_eq!(request.field("Upgrade"), Some("websocket"));
    assert_eq!(request.field("Connection"), Some("upgrade"));
    assert_eq!(request.field("Sec-WebSocket-Key"), Some("k"));
    // The first message of the endpoint may come along with its answer.
    upstream.send(format!("{SWITCHING}first")).await;
    let answer = client.head().await;
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.field("Upgrade"), Some("websocket"));
    assert_eq!(answer.field("Connection"), Some("upgrade"));
    assert_eq!(client.exactly(5).await, b"first");
    for round in 0..20_u8 {
        echo(&mut client, &mut upstream, &[round; 1000]).await;
        echo(&mut upstream, &mut client, &[round; 3000]).await;
    }
    let cell = proxy.upstream("app");
    let in_flight = || {
        let snapshot = cell.snapshot.load();
        let endpoint = &snapshot.endpoints[0].endpoint;
        endpoint
            .in_flight
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!(in_flight(), 1, "a tunnel is load");
    // Half an end is passed on as one.
    client.finish().await;
    assert_eq!(upstream.rest().await, (Vec::new(), End::Closed));
    upstream.send("last words").await;
    drop(upstream);
    assert_eq!(client.rest().await.0, b"last words");
    crate::support::eventually("the lease to end", crate::support::LONG, async || {
        (in_flight() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_the_client_sends_too_early_waits_for_101() {
    let (origin, _proxy, mut client) = scene().await;
    client.send(format!("{UPGRADE}early")).await;
    let mut upstream = origin.accept().await;
    let request = upstream.head().await;
    assert!(request.head.ends_with("\r\n\r\n"));
    assert!(
        upstream
            .is_silent(std::time::Duration::from_millis(50))
            .await,
        "before 101 it may be another request"
    );
    upstream.send(SWITCHING).await;
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(upstream.exactly(5).await, b"early");
    echo(&mut client, &mut upstream, b"on time").await;
}

#[tokio::test]
async fn an_endpoint_may_decline_an_upgrade() {
    let (origin, _proxy, mut client) = scene().await;
    client.send(UPGRADE).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    // Plain HTTP goes on.
    client.send(GET).await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_refused() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
        Content-Length: 2\r\n\r\nhi";
    let h2c = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
    let old = "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    for request in [GET, post, h2c, old] {
        let (origin, proxy, mut client) = scene().await;
        client.send(request).await;
        let mut upstream = origin.accept().await;
        let seen = upstream.request().await;
        assert_eq!(seen.field("Upgrade"), None, "{request}");
        upstream.send(format!("{SWITCHING}tunnel?")).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), 502, "{request}");
        upstream.rest().await;
        proxy
            .counts(&local("web", "upstream_protocol_error"), 1.0)
            .await;
    }
}

#[tokio::test]
async fn a_101_without_its_upgrade_is_refused() {
    let (origin, _proxy, mut client) = scene().await;
    client.send(UPGRADE).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send("HTTP/1.1 101 Switching Protocols\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status(), 502);
    upstream.rest().await;
}

#[tokio::test]
async fn a_tunnel_that_is_silent_for_too_long_ends() {
    let (origin, _proxy, mut client) = scene_with("", "tunnel_timeout = \"100ms\"").await;
    client.send(UPGRADE).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(SWITCHING).await;
    client.head().await;
    echo(&mut client, &mut upstream, b"hello").await;
    client.closed().await;
    upstream.closed().await;
}

#[tokio::test]
async fn a_tunnel_ends_with_its_endpoint() {
    let (origin, proxy, mut client) = scene().await;
    client.send(UPGRADE).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(SWITCHING).await;
    client.head().await;
    echo(&mut client, &mut upstream, b"hello").await;
    // A reload that keeps the endpoint keeps the tunnel.
    let text = crate::support::proxy::over(&[origin.address()], "", "connect_timeout = \"1s\"");
    proxy.reload(&text).await;
    echo(&mut upstream, &mut client, b"still here").await;
    let other = crate::support::origin::Origin::start("b").await;
    let text = crate::support::proxy::over(&[other.address], "", "");
    proxy.reload(&text).await;
    client.rest().await;
    upstream.rest().await;
}

#[tokio::test]
async fn a_tunnel_has_an_idle_limit_of_its_own_and_no_least_rate() {
    let (origin, proxy, mut client) = scene_with(
        "min_rate = \"1MiB/s\"\nmin_rate_grace = \"50ms\"\nkeepalive_timeout = \"100ms\"",
        "idle_timeout = \"100ms\"\nfirst_byte_timeout = \"100ms\"\ntunnel_timeout = \"1h\"",
    )
    .await;
    client.send(UPGRADE).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(SWITCHING).await;
    client.head().await;
    for _ in 0..3 {
        // Longer than everything but its own limit: there is no event to wait for.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        echo(&mut client, &mut upstream, b"x").await;
        echo(&mut upstream, &mut client, b"y").await;
    }
    // A reload with another limit holds for tunnels to come; this one goes on under its own.
    let text = crate::support::proxy::over(&[origin.address()], "", "tunnel_timeout = \"100ms\"");
    proxy.reload(&text).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await; // the same
    echo(&mut client, &mut upstream, b"after the reload").await;
}
