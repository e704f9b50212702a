//! Origins that answer oddly: the client gets a 502 or an answer that is visibly cut, never a wrong one,
//! and whoever comes next runs on another connection and gets an answer of its own.

use super::{GET, OK, local, scene, scene_with};
use crate::support::origin::Stage;
use crate::support::raw::Wire;

const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

/// The next request is served by a connection of its own.
async fn next_is_served(origin: &Stage, client: &mut Wire, odd: &mut Wire, why: &str) {
    client.send(GET).await;
    let mut fresh = origin.accept().await;
    fresh.request().await;
    odd.try_send(EVIL).await.ok();
    fresh.send(OK).await;
    assert_eq!(client.response().await.text(), "ok", "{why}");
    odd.rest().await;
}

/// Fields behind a good status line.
const FIELDS: &[(&str, &str)] = &[
    (
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "te_and_cl",
    ),
    (
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
        "te_and_cl",
    ),
    (
        "Content-Length: 2\r\nContent-Length: 3",
        "duplicate_content_length",
    ),
    ("Content-Length: 2, 2", "bad_content_length"),
    ("Content-Length: +2", "bad_content_length"),
    ("Content-Length: 2\u{b}", "control_byte"),
    ("Content-Length: 99999999999999999999", "bad_content_length"),
    ("Content-Length:", "bad_content_length"),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "duplicate_transfer_encoding",
    ),
    (
        "Transfer-Encoding: chunked, identity",
        "bad_transfer_encoding",
    ),
    ("Transfer-Encoding: xchunked", "bad_transfer_encoding"),
    (
        "Transfer-Encoding: gzip, chunked",
        "unsupported_transfer_encoding",
    ),
    ("Transfer-Encoding : chunked", "space_before_colon"),
    ("A: b\r\n c: d", "obs_fold"),
    ("A: b\nC: d", "bare_lf"),
    ("A: b\rC: d", "bare_cr"),
    ("A: \u{0}", "control_byte"),
    ("nocolon", "bad_field_name"),
    (": b", "bad_field_name"),
];

/// Whole answers.
const WHOLE: &[(&str, &str)] = &[
    (
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "te_in_http_1_0",
    ),
    (
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "bad_status_line",
    ),
    (
        "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
        "bad_status_line",
    ),
    (
        "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "bad_status_line",
    ),
    // Version 0.9 had no head.
    ("<html>hello</html>\r\n\r\n", "bad_status_line"),
    // SETTINGS of version 2.
    ("\0\0\0\u{4}\0\0\0\0\0", "bad_status_line"),
    ("HTTP/1.1 200\nContent-Length: 0\n\n", "bare_lf"),
    (
        "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "bad_status_line",
    ),
    (
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "unasked_upgrade",
    ),
    (
        "HTTP/1.1 100 Continue\r\nContent-Length : 0\r\n\r\n",
        "space_before_colon",
    ),
];

/// What an endpoint says and the word for what is wrong with it.
fn no_answers() -> Vec<(String, &'static str)> {
    let mut table = Vec::new();
    for (fields, word) in FIELDS {
        table.push((format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nok"), *word));
    }
    for (text, word) in WHOLE {
        table.push(((*text).to_owned(), *word));
    }
    let field = format!("A: {}\r\n", "x".repeat(10_000));
    table.push((
        format!("HTTP/1.1 200 OK\r\n{}", field.repeat(7)),
        "head_too_large",
    ));
    table.push((
        format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(20_000)),
        "field_too_long",
    ));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101));
    table.push((many, "too_many_fields"));
    table
}

#[tokio::test]
async fn what_is_no_answer_is_a_502_with_its_word_and_the_next_request_gets_its_own() {
    for (answer, word) in no_answers() {
        let (origin, proxy, mut client) = scene().await;
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.try_send(&answer).await.ok();
        let seen = client.response().await;
        let why = format!("{answer:.80}");
        let said = (seen.status(), seen.text().lines().nth(1));
        assert_eq!(said, (502, Some(word)), "{why}");
        next_is_served(&origin, &mut client, &mut upstream, &why).await;
        proxy
            .counts(&local("web", "upstream_protocol_error"), 1.0)
            .await;
    }
}

/// Answers whose body is wrong, and what the client may see of it.
const CUT: &[(&str, &str)] = &[
    (
        "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nx\r\n",
        "2\r\nok\r\n",
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0x0\r\n\r\n",
        "2\r\nok\r\n",
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\n\n",
        "2\r\nok\r\n",
    ),
    ("Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n", ""),
    (
        "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA : b\r\n\r\n",
        "2\r\nok\r\n",
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "",
    ),
];

#[tokio::test]
async fn an_answer_that_is_badly_framed_behind_its_head_is_cut_and_its_connection_is_not_used_again()
 {
    for (answer, most) in CUT {
        let (origin, proxy, mut client) = scene().await;
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        upstream
            .send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"))
            .await;
        client.head().await;
        upstream.send(body).await;
        let (seen, _) = client.rest().await;
        let seen = String::from_utf8_lossy(&seen);
        assert!(
            most.starts_with(&*seen) && !seen.contains("0\r\n"),
            "{answer}: {seen}"
        );
        let mut client = proxy.client().await;
        next_is_served(&origin, &mut client, &mut upstream, answer).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_closes_too_early_gives_a_502_or_a_cut_answer() {
    for (answer, is_begun) in [
        ("HTTP/1.1 200 OK\r\nContent-Le", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", false),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            true,
        ),
    ] {
        let (origin, proxy, mut client) = scene().await;
        // One that is not repeated.
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(answer).await;
        drop(upstream);
        let mut head = client.head().await;
        if head.status() == 100 {
            head = client.head().await;
        }
        let (rest, _) = client.rest_of(&head).await;
        if is_begun {
            assert_eq!(head.status(), 200);
            assert!(!rest.ends_with(b"0\r\n\r\n") && rest.len() < 12, "{answer}");
        } else {
            assert_eq!(head.status(), 502, "{answer}");
        }
        let mut next = proxy.client().await;
        next.send(GET).await;
        let mut fresh = origin.accept().await;
        fresh.request().await;
        fresh.send(OK).await;
        assert_eq!(next.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn a_body_where_there_is_none_is_never_the_next_answer() {
    for (request, answer) in [
        (HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"),
        (
            HEAD,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        ),
        (
            HEAD,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ),
        (GET, "HTTP/1.1 204 No Content\r\n\r\nbody"),
        (
            GET,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nbody",
        ),
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nbody"),
        (
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nbody",
        ),
    ] {
        let (origin, _proxy, mut client) = scene().await;
        client.send(request).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send(answer).await;
        let head = client.head().await;
        assert_eq!(head.first_line(), answer.lines().next().unwrap());
        if head.field("Transfer-Encoding").is_some() && request == GET {
            assert_eq!(client.exactly(5).await, b"0\r\n\r\n");
        }
        next_is_served(&origin, &mut client, &mut upstream, answer).await;
    }
}

#[tokio::test]
async fn a_second_answer_that_nobody_asked_for_is_for_nobody() {
    // Long after the first one, while the connection is idle.
    let (origin, _proxy, mut client) = scene().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    upstream.send(EVIL).await;
    next_is_served(&origin, &mut client, &mut upstream, "idle").await;
    // In pieces: the beginning of one along with the first, the rest later.
    let (origin, _proxy, mut client) = scene().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(format!("{OK}HTTP/1.1 2")).await;
    assert_eq!(client.response().await.text(), "ok");
    upstream
        .try_send("00 OK\r\nContent-Length: 4\r\n\r\nevil")
        .await
        .ok();
    next_is_served(&origin, &mut client, &mut upstream, "in pieces").await;
}

#[tokio::test]
async fn an_answer_to_half_a_request_ends_both_connections() {
    let (origin, proxy, mut client) = scene().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        .await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream.send(OK).await;
    let answer = client.response().await;
    assert_eq!(
        (answer.text(), answer.field("Connection")),
        ("ok", Some("close"))
    );
    // The rest of it, or a request: nobody can know.
    client.try_send(GET.repeat(4)).await.ok();
    client.closed().await;
    let (seen, _) = upstream.rest().await;
    assert!(!String::from_utf8_lossy(&seen).contains("GET"));
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut fresh = origin.accept().await;
    fresh.request().await;
    fresh.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn a_flood_of_interim_answers_is_bounded() {
    let (origin, _proxy, mut client) = scene_with("", "first_byte_timeout = \"10m\"").await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    // As many as are allowed pass, however they are cut.
    for _ in 0..50 {
        upstream.send(hint.repeat(2)).await;
        for _ in 0..2 {
            assert_eq!(client.head().await.status(), 103);
        }
    }
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    client.send(GET).await;
    upstream.request().await;
    upstream.try_send(hint.repeat(10_000)).await.ok();
    let mut hints = 0;
    let last = loop {
        let head = client.head().await;
        if head.status() != 103 {
            break head;
        }
        hints += 1;
    };
    assert_eq!((hints, last.status()), (100, 502));
    let (text, _) = client.rest_of(&last).await;
    assert!(String::from_utf8_lossy(&text).contains("too_many_interim_answers"));
    next_is_served(&origin, &mut client, &mut upstream, "flood").await;
}

#[tokio::test]
async fn the_same_length_twice_is_sent_on_as_one() {
    let (origin, _proxy, mut client) = scene().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok")
        .await;
    let answer = client.response().await;
    assert_eq!(
        (answer.field("Content-Length"), answer.text()),
        (Some("2"), "ok")
    );
}
