//! Second attempts: where nothing was sent, or nothing can go wrong twice; never otherwise.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::{GET, OK, local, scene};
use crate::support::origin::{Origin, Stage};
use crate::support::ports::Port;
use crate::support::proxy::Proxy;
use crate::support::raw::Wire;
use crate::support::{LONG, eventually};

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
const RETRIES: &str = "fairlead_upstream_retries_total{upstream=\"app\"}";

/// An upstream whose first endpoint is taken first.
async fn in_order(endpoints: &[SocketAddr]) -> Proxy {
    Proxy::over_with(endpoints, "", "balance = \"round_robin\"").await
}

#[tokio::test]
async fn a_refused_connection_is_no_failure_while_another_endpoint_is_there() {
    let closed = Port::reserve();
    let origin = Origin::start("alive").await;
    let proxy = in_order(&[closed.address(), origin.address]).await;
    let mut client = proxy.client().await;
    for request in [GET, POST, PUT, GET, POST, PUT] {
        let answer = client.ask(request).await;
        assert_eq!(
            (answer.status(), answer.text()),
            (200, "alive"),
            "{request}"
        );
    }
    let large = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n{}",
        "x".repeat(200_000)
    );
    for _ in 0..2 {
        assert_eq!(client.ask(&large).await.text(), "alive");
    }
    proxy.counts(RETRIES, 8.0).await;
}

#[tokio::test]
async fn attempts_are_bounded() {
    let closed = [Port::reserve(), Port::reserve(), Port::reserve()];
    let addresses = closed.each_ref().map(Port::address);
    let proxy = in_order(&addresses).await;
    let answer = proxy.client().await.ask(GET).await;
    assert_eq!(answer.status(), 502);
    assert_eq!(
        answer.field("Proxy-Status"),
        Some("fairlead; error=connection_refused; details=\"upstream_connect_failed\"")
    );
    proxy.counts(RETRIES, 1.0).await;
    proxy
        .counts(&local("web", "upstream_connect_failed"), 1.0)
        .await;
}

#[tokio::test]
async fn each_endpoint_is_tried_once() {
    let closed = [Port::reserve(), Port::reserve()];
    let text = format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\n\
         [routes.all]\nlisteners = [\"web\"]\nupstream = \"app\"\nretry = {{ attempts = 10 }}\n\
         [upstreams.app]\nkind = \"http\"\nendpoints = [{{ address = \"{}\" }}, {{ address = \"{}\" }}]\n",
        closed[0].address(),
        closed[1].address()
    );
    let proxy = Proxy::start(&text).await;
    let answer = proxy.client().await.ask(GET).await;
    assert_eq!(answer.status(), 502);
    let cell = proxy.upstream("app");
    let snapshot = cell.snapshot.load();
    for view in &snapshot.endpoints {
        eventually("the leases to end", LONG, async || {
            let in_flight = view.endpoint.in_flight.load(Ordering::Relaxed);
            (in_flight == 0).then_some(())
        })
        .await;
    }
    proxy.counts(RETRIES, 1.0).await;
}

/// Two endpoints; the request is on the first one.
async fn on_first(request: &str) -> (Stage, Proxy, Wire, Wire) {
    let (first, second) = (Stage::new().await, Stage::new().await);
    let proxy = in_order(&[first.address(), second.address()]).await;
    let mut client = proxy.client().await;
    client.send(request).await;
    let mut upstream = first.accept().await;
    upstream.request().await;
    (second, proxy, client, upstream)
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_no_failure_for_what_may_be_repeated() {
    let options = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    for request in [GET, PUT, options] {
        for is_reset in [true, false] {
            let (second, proxy, mut client, upstream) = on_first(request).await;
            if is_reset {
                upstream.reset();
            } else {
                drop(upstream);
            }
            let mut upstream = second.accept().await;
            let again = upstream.request().await;
            assert!(request.starts_with(again.first_line()), "{}", again.head);
            upstream.send(OK).await;
            assert_eq!(client.response().await.text(), "ok");
            proxy.counts(RETRIES, 1.0).await;
        }
    }
}

#[tokio::test]
async fn what_must_not_happen_twice_is_not_repeated() {
    let patch = "PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let unknown = "BUY / HTTP/1.1\r\nHost: a\r\n\r\n";
    for request in [POST, CHUNKED, patch, unknown] {
        let (second, proxy, mut client, upstream) = on_first(request).await;
        upstream.reset();
        let answer = client.response().await;
        assert_eq!(answer.status(), 502, "{request}");
        assert!(answer.text().starts_with("502 upstream_reset"));
        assert!(second.is_left_alone().await);
        proxy.counts(&local("web", "upstream_reset"), 1.0).await;
        assert_eq!(proxy.metric(RETRIES), 0.0);
    }
}

#[tokio::test]
async fn a_body_that_has_gone_cannot_be_repeated() {
    let put =
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (second, _proxy, mut client, upstream) = on_first(put).await;
    upstream.reset();
    assert_eq!(client.response().await.status(), 502);
    assert!(second.is_left_alone().await);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    let (second, _proxy, mut client, mut upstream) = on_first(GET).await;
    upstream.send("HTTP/1.1 200 O").await;
    drop(upstream);
    assert_eq!(client.response().await.status(), 502);
    assert!(second.is_left_alone().await);
}

#[tokio::test]
async fn a_pooled_connection_that_was_closed_meanwhile_is_replaced() {
    let (origin, proxy, mut client) = scene().await;
    for is_reset in [false, true, false] {
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.text(), "ok");
        if is_reset {
            upstream.reset();
        }
    }
    // Closed only when the next request is already on its way.
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    client.response().await;
    client.send(GET).await;
    upstream.request().await;
    drop(upstream);
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    assert_eq!(
        proxy.metric(RETRIES),
        0.0,
        "it says nothing of the endpoint"
    );
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used_for_what_cannot_be_repeated() {
    let (origin, proxy, mut client) = scene().await;
    for request in [POST, CHUNKED].repeat(10) {
        client.send(request).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.text(), "ok");
        // The end is there before the next request is.
        drop(upstream);
    }
    assert_eq!(proxy.metric(&local("web", "upstream_reset")), 0.0);
}

#[tokio::test]
async fn what_is_no_answer_is_a_bad_gateway() {
    for (index, answer) in BAD_ANSWERS.iter().enumerate() {
        let (origin, proxy, mut client) = scene().await;
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(answer).await;
        let seen = client.response().await;
        assert_eq!(seen.status(), 502, "{index}: {answer:?}");
        assert_eq!(
            seen.field("Proxy-Status"),
            Some("fairlead; error=http_protocol_error; details=\"upstream_protocol_error\"")
        );
        upstream.rest().await;
        // The client's connection is as good as before; the endpoint's is not used again.
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.text(), "ok");
        drop(proxy);
    }
}

/// What an endpoint must not say.
const BAD_ANSWERS: &[&str] = &[
    "garbage\r\n\r\n",
    "\u{16}\u{3}\u{1}",
    "SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/1.1 OK\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "HTTP/1.1 099 OK\r\n\r\n",
    "HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nA: b\u{0}c\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
];

#[tokio::test]
async fn a_huge_answer_head_is_a_bad_gateway() {
    let (origin, _proxy, mut client) = scene().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let field = format!("A: {}\r\n", "x".repeat(10_000));
    upstream
        .try_send(format!("HTTP/1.1 200 OK\r\n{}\r\n", field.repeat(10)))
        .await
        .ok();
    assert_eq!(client.response().await.status(), 502);
}

#[tokio::test]
async fn bytes_behind_an_answer_never_become_the_next_one() {
    let second = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let answers = [
        format!("{OK}{second}"),
        format!("{OK}x"),
        format!("{OK}\r\n"),
        format!("HTTP/1.1 204 No Content\r\n\r\n{second}"),
        format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n{second}"),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{second}"
        ),
    ];
    for answer in &answers {
        let (origin, _proxy, mut client) = scene().await;
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(answer).await;
        let seen = client.response().await;
        assert!(seen.status() < 400 && seen.text() != "evil", "{answer}");
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.text(), "ok", "{answer}");
    }
}

#[tokio::test]
async fn bytes_on_an_idle_connection_end_it() {
    let (origin, _proxy, mut client) = scene().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    client.response().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        .await;
    upstream.rest().await; // its end: the pool has noticed
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn a_badly_chunked_answer_is_cut() {
    for body in ["x\r\n", "2\r\nokay\r\n", "2\nok\r\n0\r\n\r\n", "-1\r\n"] {
        let (origin, _proxy, mut client) = scene().await;
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        client.head().await;
        upstream.send(body).await;
        let (rest, _) = client.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{body:?}");
        upstream.rest().await;
    }
}
