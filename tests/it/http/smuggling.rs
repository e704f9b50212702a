//! Requests inside of others: whatever a client hides behind a body, an upgrade or an expectation, an
//! endpoint sees the requests that we have routed and no other, and every answer goes to its question.

use super::abuse::refused;
use super::{GET, OK, scene};
use crate::support::raw::Wire;

/// What would be a request of its own, if somebody lost count.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";

#[tokio::test]
async fn a_body_with_a_method_that_has_none_costs_both_connections() {
    for method in ["GET", "HEAD", "OPTIONS"] {
        let (origin, proxy, mut client) = scene().await;
        let head = format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            HIDDEN.len()
        );
        client.send(format!("{head}{HIDDEN}")).await;
        let mut upstream = origin.accept().await;
        // An origin that reads no body with this method takes it for the next request.
        let request = upstream.head().await;
        assert!(request.head.starts_with(method));
        let hidden = upstream.head().await;
        assert_eq!(hidden.first_line(), "GET /hidden HTTP/1.1");
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        let answer = client.response().await;
        assert_eq!(
            (answer.status(), answer.field("Connection")),
            (204, Some("close"))
        );
        client.closed().await;
        let mut client = proxy.client().await;
        // Its second answer is for nobody: the next request runs on a connection of its own.
        client.send(GET).await;
        let mut fresh = origin.accept().await;
        fresh.request().await;
        upstream
            .try_send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            .await
            .ok();
        fresh.send(OK).await;
        assert_eq!(client.response().await.text(), "ok", "{method}");
        upstream.rest().await;
    }
}

#[tokio::test]
async fn a_body_is_never_a_request_whatever_it_looks_like() {
    let (origin, _proxy, mut client) = scene().await;
    let length = HIDDEN.len();
    for body in [
        format!("Content-Length: {length}\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
    ] {
        client
            .send(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}{GET}"))
            .await;
        let mut upstream = origin.accept().await;
        let request = upstream.request().await;
        assert_eq!(request.body, HIDDEN.as_bytes());
        upstream.send(OK).await;
        assert_eq!(client.response().await.text(), "ok");
        assert_eq!(upstream.request().await.first_line(), "GET / HTTP/1.1");
        upstream
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            .await;
        assert_eq!(client.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn nothing_behind_a_broken_body_is_a_request() {
    for (broken, reason) in [
        ("0x0\r\n\r\n", "bad_chunk_size"),
        ("0\n\n", "chunk_bare_lf"),
        ("0;a\nb\r\n\r\n", "chunk_bare_lf"),
        ("00000000000000000\r\n\r\n", "chunk_size_overflow"),
        ("1\r\nZ0\r\n\r\n", "bad_chunk_end"),
        ("0\r\nContent-Length : 5\r\n\r\n", "bad_trailer"),
    ] {
        let (origin, proxy, mut client) = scene().await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let mut upstream = origin.accept().await;
        upstream.head().await;
        client.send(format!("{broken}{HIDDEN}")).await;
        assert_eq!(client.response().await.status(), 400, "{broken:?}");
        client.closed().await;
        let (seen, _) = upstream.rest().await;
        let seen = String::from_utf8_lossy(&seen);
        assert!(
            !seen.contains("hidden") && !seen.contains("0\r\n\r\n"),
            "{seen:?}"
        );
        assert!(origin.is_left_alone().await);
        proxy.counts(&refused(reason), 1.0).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_while_the_answer_runs_is_counted_and_ends_both_connections() {
    let (origin, proxy, mut client) = scene().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        .await;
    client.head().await;
    client.exactly(1).await;
    client.send(format!("0x0\r\n\r\n{HIDDEN}")).await;
    proxy_is_quiet(&mut upstream).await;
    upstream.send("k").await;
    assert_eq!(client.exactly(1).await, b"k");
    client.closed().await;
    upstream.rest().await;
    proxy.counts(&refused("bad_chunk_size"), 1.0).await;
    assert!(origin.is_left_alone().await);
}

/// Nothing of a refused body arrives.
async fn proxy_is_quiet(upstream: &mut Wire) {
    let moment = std::time::Duration::from_millis(50);
    assert!(upstream.is_silent(moment).await);
}

#[tokio::test]
async fn what_follows_a_refused_expectation_is_never_a_request() {
    for answer in [
        "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    ] {
        for method in ["POST", "OPTIONS", "GET"] {
            let (origin, _proxy, mut client) = scene().await;
            let length = HIDDEN.len();
            let head = format!(
                "{method} / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
            );
            client.send(head).await;
            let mut upstream = origin.accept().await;
            upstream.head().await;
            upstream.send(answer).await;
            let seen = client.response().await;
            assert_eq!(seen.field("Connection"), Some("close"), "{method}");
            // The body that nobody wanted, or another request: nobody can know.
            client.try_send(HIDDEN).await.ok();
            client.closed().await;
            upstream.closed().await;
            assert!(origin.is_left_alone().await, "{method} {answer}");
        }
    }
}

#[tokio::test]
async fn nothing_is_tunnelled_unless_the_endpoint_says_101_to_an_upgrade_of_ours() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (origin, _proxy, mut client) = scene().await;
        // A refused request behind it: in a tunnel it would arrive as it is.
        client
            .send(format!("{upgrade}GET /hidden HTTP/1.1\r\nHost : a\r\n\r\n"))
            .await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        proxy_is_quiet(&mut upstream).await;
        upstream.send(answer).await;
        client.response().await;
        assert_eq!(client.response().await.status(), 400, "{answer}");
        client.closed().await;
    }
    // Of h2c nothing is left when it arrives.
    let (origin, _proxy, mut client) = scene().await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
        )
        .await;
    let mut upstream = origin.accept().await;
    let request = upstream.request().await;
    for name in ["Upgrade", "HTTP2-Settings", "Connection"] {
        assert_eq!(request.field(name), None);
    }
}

#[tokio::test]
async fn trailers_of_a_request_name_no_framing_no_host_and_no_address() {
    let (origin, _proxy, mut client) = scene().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n\
             2\r\nok\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\nHost: b\r\n\
             X-Forwarded-For: 6.6.6.6\r\nAuthorization: Basic eA==\r\nContent_Length: 5\r\n\
             Grpc-Status: 0\r\n\r\n",
        )
        .await;
    let mut upstream = origin.accept().await;
    let request = upstream.request().await;
    assert_eq!(request.text(), "ok");
    assert_eq!(request.trailers, "Grpc-Status: 0\r\n");
}

#[tokio::test]
async fn fields_that_other_readers_would_read_otherwise_do_not_arrive() {
    let (origin, _proxy, mut client) = scene().await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent_Length: 5\r\n\
             Content.Length: 5\r\nTransferEncoding: chunked\r\n'Content-Length': 5\r\n\
             X_Forwarded_For: 6.6.6.6\r\nProxy: http://evil\r\nProxy-Connection: keep-alive\r\n\
             Connection: close, X-Hop, Keep-Alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
             HTTP2-Settings: x\r\nTE: gzip\r\n\r\n",
        )
        .await;
    let mut upstream = origin.accept().await;
    let request = upstream.request().await;
    let mut names: Vec<_> = request
        .head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    let ours = [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Request-Id",
    ];
    let expected: Vec<_> = ["Host", "Via"].into_iter().chain(ours).collect();
    assert_eq!(names, expected);
    assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.1"));
}
