//! Bodies in every framing, both ways, and what happens when an answer comes early or breaks off.

use super::abuse::refused;
use super::{GET, OK, local, scene, scene_with};
use crate::support::proxy::Proxy;
use crate::support::raw::End;

/// Sends a request and gives what the endpoint read.
async fn upstream_sees(request: &[u8]) -> (String, Vec<u8>) {
    let (origin, _proxy, mut client) = scene().await;
    let sending = async {
        client.send(request).await;
        client.response().await
    };
    let answering = async {
        let mut upstream = origin.accept().await;
        let request = upstream.request().await;
        upstream.send(OK).await;
        request
    };
    let (answer, request) = tokio::join!(sending, answering);
    assert_eq!(answer.text(), "ok");
    (request.head, request.framed)
}

/// Bytes that show when some are lost or change places.
fn payload(length: usize) -> Vec<u8> {
    (b'!'..=b'z').cycle().take(length).collect()
}

#[tokio::test]
async fn request_bodies_arrive_whole_in_their_framing() {
    for length in [0, 1, 1000, 65_536, 65_537, 3_000_000] {
        let mut request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        request.extend(payload(length));
        let (head, body) = upstream_sees(&request).await;
        assert!(
            head.contains(&format!("\r\nContent-Length: {length}\r\n")),
            "{head}"
        );
        assert!(body == payload(length), "{length}");
    }
}

#[tokio::test]
async fn chunked_request_bodies_arrive_whole_without_extensions() {
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "5;ext=1\r\nhello\r\n01;a;b=\"c d\"\r\n!\r\n0;last\r\nX-Trailer: 1\r\n\r\n";
    let (head, framed) = upstream_sees(format!("{head}{body}").as_bytes()).await;
    assert!(
        head.contains("\r\nTransfer-Encoding: chunked\r\n"),
        "{head}"
    );
    assert_eq!(String::from_utf8_lossy(&framed), "6\r\nhello!\r\n0\r\n\r\n");

    let mut request = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let whole = payload(1_000_000);
    for piece in whole.chunks(7_777) {
        request.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let (origin, _proxy, mut client) = scene().await;
    let (_, got) = tokio::join!(client.send(&request), async {
        let mut upstream = origin.accept().await;
        let got = upstream.request().await;
        upstream.send(OK).await;
        got
    });
    assert!(got.body == whole);
    assert_eq!(client.response().await.status(), 200);
}

/// Sends an answer and gives what the client read of it.
async fn client_sees(version: u8, answer: &[u8], is_closed: bool) -> crate::support::raw::Message {
    let (origin, _proxy, mut client) = scene().await;
    client
        .send(format!("GET / HTTP/1.{version}\r\nHost: a\r\n\r\n"))
        .await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let (_, seen) = tokio::join!(
        async {
            upstream.send(answer).await;
            if is_closed {
                upstream.finish().await;
            }
        },
        client.response()
    );
    seen
}

#[tokio::test]
async fn response_bodies_arrive_whole_in_every_framing() {
    for length in [0, 1, 1000, 65_536, 3_000_000] {
        let whole = payload(length);
        let mut plain = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        plain.extend_from_slice(&whole);
        let seen = client_sees(1, &plain, false).await;
        assert!(seen.body == whole, "{length}");
        assert_eq!(seen.field("Content-Length"), Some(&*length.to_string()));

        let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for piece in whole.chunks(50_000) {
            chunked.extend_from_slice(format!("{:x};n=1\r\n", piece.len()).as_bytes());
            chunked.extend_from_slice(piece);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        let seen = client_sees(1, &chunked, false).await;
        assert!(seen.body == whole, "chunked {length}");
        let seen = client_sees(0, &chunked, false).await;
        assert!(seen.body == whole, "chunked to 1.0 {length}");
        assert_eq!(seen.field("Transfer-Encoding"), None);
        assert_eq!(seen.field("Connection"), Some("close"));

        let mut until_close = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
        until_close.extend_from_slice(&whole);
        let seen = client_sees(1, &until_close, true).await;
        assert!(seen.body == whole, "until close {length}");
        assert_eq!(seen.field("Transfer-Encoding"), Some("chunked"));
        assert_eq!(seen.field("Connection"), None);
        let seen = client_sees(0, &until_close, true).await;
        assert!(seen.body == whole, "until close to 1.0 {length}");
        assert_eq!(seen.field("Connection"), Some("close"));
    }
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    let (origin, _proxy, mut client) = scene().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    client.response().await;
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("HEAD", "HTTP/1.1 404 Not Found\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 9\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        // Each on the same two connections: nothing of a body came or was waited for.
        client
            .send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        upstream.request().await;
        upstream.send(answer).await;
        let head = client.head().await;
        assert_eq!(Some(head.first_line()), answer.lines().next(), "{method}");
    }
    assert!(origin.is_left_alone().await);
}

#[tokio::test]
async fn continue_is_the_endpoints_to_say() {
    let (origin, _proxy, mut client) = scene().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(head).await;
    let mut upstream = origin.accept().await;
    let request = upstream.head().await;
    assert_eq!(request.field("Expect"), Some("100-continue"));
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 100);
    client.send("hello").await;
    assert_eq!(upstream.exactly(5).await, b"hello");
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    // Both connections are in order.
    client.send(GET).await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_not_waited_for() {
    let (origin, _proxy, mut client) = scene().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(head).await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        .await;
    let answer = client.response().await;
    assert_eq!(
        (answer.status(), answer.field("Connection")),
        (417, Some("close"))
    );
    client.closed().await;
    upstream.closed().await;
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let (origin, proxy, mut client) = scene().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin")
        .await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nbig!")
        .await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text()), (413, "big!"));
    assert_eq!(answer.field("Connection"), Some("close"));
    // A client that goes on sending for a while is not punished with a reset.
    client.send(payload(100_000)).await;
    client.finish().await;
    assert_eq!(client.rest().await, (Vec::new(), End::Closed));
    upstream.rest().await;
    // Half a request is on the old connection: the next one gets another.
    let mut next = proxy.client().await;
    next.send(GET).await;
    origin.accept().await.request().await;
}

#[tokio::test]
async fn trailers_are_for_clients_that_asked_and_only_known_ones() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
        Grpc-Status: 0\r\nX-Evil: 1\r\nContent-Length: 5\r\ngrpc-message: fine\r\n\r\n";
    for (te, trailers) in [
        (
            "TE: trailers\r\nConnection: TE\r\n",
            "Grpc-Status: 0\r\ngrpc-message: fine\r\n",
        ),
        ("", ""),
        ("TE: gzip\r\n", ""),
    ] {
        let (origin, _proxy, mut client) = scene().await;
        client
            .send(format!("GET / HTTP/1.1\r\nHost: a\r\n{te}\r\n"))
            .await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(answer).await;
        let seen = client.response().await;
        assert_eq!((seen.text(), seen.trailers.as_str()), ("ok", trailers));
        // Framing is intact: the next exchange works on both connections.
        client.send(GET).await;
        upstream.request().await;
        upstream.send(OK).await;
        assert_eq!(client.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn a_wrongly_framed_request_body_is_refused() {
    for (body, reason) in BAD_BODIES {
        let (origin, one, mut client) = scene().await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let mut upstream = origin.accept().await;
        upstream.head().await;
        client.send(body).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), 400, "{body:?}");
        assert_eq!(answer.text().lines().nth(1), Some(*reason), "{body:?}");
        assert_eq!(answer.field("Connection"), Some("close"));
        client.closed().await;
        upstream.rest().await;
        one.counts(&refused(reason), 1.0).await;
        let mut next = one.client().await;
        next.send(GET).await;
        origin.accept().await.request().await;
    }
}

/// Chunked bodies nobody should send.
const BAD_BODIES: &[(&str, &str)] = &[
    ("x\r\n", "bad_chunk_size"),
    ("5 \r\nhello\r\n0\r\n\r\n", "bad_chunk_size"),
    (" 5\r\nhello\r\n0\r\n\r\n", "bad_chunk_size"),
    ("0x5\r\nhello\r\n0\r\n\r\n", "bad_chunk_size"),
    ("+5\r\nhello\r\n0\r\n\r\n", "bad_chunk_size"),
    ("-1\r\n", "bad_chunk_size"),
    ("\r\n", "bad_chunk_size"),
    (";ext\r\n", "bad_chunk_size"),
    ("5\nhello\r\n0\r\n\r\n", "chunk_bare_lf"),
    ("5\r\rhello", "chunk_bare_cr"),
    ("5\r\nhello0\r\n\r\n", "bad_chunk_end"),
    ("5\r\nhelloxx0\r\n\r\n", "bad_chunk_end"),
    ("5\r\nhello\n0\r\n\r\n", "bad_chunk_end"),
    ("ffffffffffffffffff\r\n", "chunk_size_overflow"),
    ("10000000000000000\r\n", "chunk_size_overflow"),
    ("8000000000000000\r\n", "chunk_size_overflow"),
    ("5;a\nb\r\nhello\r\n0\r\n\r\n", "chunk_bare_lf"),
    ("5;a\u{1}b\r\nhello\r\n0\r\n\r\n", "bad_chunk_extension"),
    ("0\r\nBad Trailer: x\r\n\r\n", "bad_trailer"),
    ("0\r\n folded: x\r\n\r\n", "bad_trailer"),
    ("0\r\nno colon\r\n\r\n", "bad_trailer"),
    ("0\r\nX: a\nb\r\n\r\n", "chunk_bare_lf"),
];

#[tokio::test]
async fn a_body_that_breaks_behind_the_beginning_of_an_answer_adds_no_second_one() {
    let (origin, _proxy, mut client) = scene().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        .await;
    let head = client.head().await;
    assert_eq!(head.field("Connection"), Some("close"));
    assert_eq!(client.exactly(5).await, b"01234");
    client.send("not hexadecimal\r\n").await;
    upstream.send("56789").await;
    let (rest, _) = client.rest().await;
    assert_eq!(String::from_utf8_lossy(&rest), "56789");
    upstream.rest().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_takes_the_upstream_connection_along() {
    let (origin, proxy, mut client) = scene().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
        .await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    client.reset();
    let (seen, _) = upstream.rest().await;
    assert_eq!(seen, b"half");
    let mut next = proxy.client().await;
    next.send(GET).await;
    origin.accept().await.request().await;
}

#[tokio::test]
async fn a_truncated_answer_never_looks_complete() {
    for (version, answer) in [
        (1, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234"),
        (
            1,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
        ),
        (
            0,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
        ),
        (0, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234"),
    ] {
        let (origin, _proxy, mut client) = scene().await;
        client
            .send(format!("GET / HTTP/1.{version}\r\nHost: a\r\n\r\n"))
            .await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(answer).await;
        let head = client.head().await;
        client.until(b"01234").await;
        drop(upstream);
        let (rest, end) = client.rest().await;
        if head.field("Content-Length").is_none() && version == 0 {
            assert_eq!(end, End::Reset, "{answer}");
        }
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_a_reset_connection_is_cut_for_the_client() {
    let (origin, _proxy, mut client) = scene().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send("HTTP/1.0 200 OK\r\n\r\n01234").await;
    client.head().await;
    client.until(b"01234").await;
    upstream.reset();
    let (rest, _) = client.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_client_that_stops_sending_its_body_is_told_so() {
    let (origin, proxy, mut client) = scene_with("", "idle_timeout = \"100ms\"").await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
        .await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    let answer = client.response().await;
    assert_eq!(
        (answer.status(), answer.field("Connection")),
        (408, Some("close"))
    );
    client.closed().await;
    upstream.rest().await;
    proxy.counts(&local("web", "idle_timeout"), 1.0).await;
}

#[tokio::test]
async fn a_large_body_for_a_slow_reader_waits_in_no_buffer_of_ours() {
    let (origin, proxy, mut client) = scene_with("", "idle_timeout = \"200ms\"").await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let length = 64_000_000;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    upstream.send(head).await;
    // The client reads nothing: the kernel's buffers fill up, and then both sides are cut.
    let sent = tokio::time::timeout(crate::support::LONG, async {
        let mut sent = 0;
        while sent < length && upstream.try_send(payload(100_000)).await.is_ok() {
            sent += 100_000;
        }
        sent
    });
    let sent = sent.await.unwrap();
    assert!(sent < length, "all of it was taken");
    drop(client);
    assert_eq!(Proxy::metric(&proxy, "fairlead_panics_total"), 0.0);
}
