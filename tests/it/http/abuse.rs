//! Requests that are none: refused with their status, closed, counted and written down with their
//! reason, and nothing of them reaches an endpoint.

use std::collections::BTreeMap;

use super::{GET, OK, local, scene};
use crate::support::origin::Stage;
use crate::support::proxy::{Proxy, over};
use crate::support::{LONG, eventually};

/// A request line and host, then these fields.
fn with(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// What is sent, the status, the reason.
fn table() -> Vec<(String, u16, &'static str)> {
    let mut table: Vec<(String, u16, &'static str)> = Vec::new();
    for (fields, status, reason) in FIELDS {
        table.push((with(fields), *status, reason));
    }
    for (text, status, reason) in WHOLE {
        table.push(((*text).to_owned(), *status, reason));
    }
    let long = "x".repeat(20_000);
    table.push((
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        414,
        "target_too_long",
    ));
    table.push((with(&format!("A: {long}\r\n")), 431, "field_too_long"));
    table.push((with(&"A: b\r\n".repeat(101)), 431, "too_many_fields"));
    let ten = format!("A: {}\r\n", "x".repeat(10_000));
    table.push((with(&ten.repeat(7)), 431, "head_too_large"));
    let own = "Via: 1.1 fairlead\r\n".repeat(8);
    table.push((with(&own), 508, "via_loop"));
    table
}

const FIELDS: &[(&str, u16, &str)] = &[
    // Framing: every way in which two readers could disagree about the end.
    (
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        400,
        "duplicate_content_length",
    ),
    (
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        400,
        "duplicate_content_length",
    ),
    ("Content-Length: 1, 1\r\n", 400, "bad_content_length"),
    ("Content-Length: 1,2\r\n", 400, "bad_content_length"),
    ("Content-Length: +1\r\n", 400, "bad_content_length"),
    ("Content-Length: -1\r\n", 400, "bad_content_length"),
    ("Content-Length: 0x1\r\n", 400, "bad_content_length"),
    ("Content-Length: 1 1\r\n", 400, "bad_content_length"),
    ("Content-Length: \r\n", 400, "bad_content_length"),
    (
        "Content-Length: 99999999999999999999\r\n",
        400,
        "bad_content_length",
    ),
    (
        "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
        400,
        "te_and_cl",
    ),
    (
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        400,
        "te_and_cl",
    ),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        400,
        "duplicate_transfer_encoding",
    ),
    (
        "Transfer-Encoding: chunked, chunked\r\n",
        400,
        "bad_transfer_encoding",
    ),
    (
        "Transfer-Encoding: gzip, chunked\r\n",
        501,
        "unsupported_transfer_encoding",
    ),
    ("Transfer-Encoding: gzip\r\n", 400, "bad_transfer_encoding"),
    (
        "Transfer-Encoding: identity\r\n",
        400,
        "bad_transfer_encoding",
    ),
    (
        "Transfer-Encoding: xchunked\r\n",
        400,
        "bad_transfer_encoding",
    ),
    ("Transfer-Encoding: \u{b}chunked\r\n", 400, "control_byte"),
    (
        "Transfer-Encoding: \"chunked\"\r\n",
        400,
        "bad_transfer_encoding",
    ),
    (
        "Transfer-Encoding: chunked;q=1\r\n",
        400,
        "bad_transfer_encoding",
    ),
    ("Transfer-Encoding:\r\n", 400, "bad_transfer_encoding"),
    ("Transfer-Encoding : chunked\r\n", 400, "space_before_colon"),
    // Fields.
    (
        "Content-Length: 9223372036854775808\r\n",
        400,
        "bad_content_length",
    ),
    (
        "Transfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n",
        400,
        "duplicate_transfer_encoding",
    ),
    (
        "Transfer-Encoding: chunked, identity\r\n",
        400,
        "bad_transfer_encoding",
    ),
    ("Transfer-Encoding:\r\n chunked\r\n", 400, "obs_fold"),
    ("A: b\r\n c\r\n", 400, "obs_fold"),
    ("A: b\r\n\tc\r\n", 400, "obs_fold"),
    ("A: b\n", 400, "bare_lf"),
    ("A: b\rC: d\r\n", 400, "bare_cr"),
    ("A: b\r\r\n", 400, "bare_cr"),
    ("A: \u{0}\r\n", 400, "control_byte"),
    ("A: b\u{1}\r\n", 400, "control_byte"),
    ("A: \u{7f}\r\n", 400, "control_byte"),
    ("A : b\r\n", 400, "space_before_colon"),
    ("A\t: b\r\n", 400, "space_before_colon"),
    (": b\r\n", 400, "bad_field_name"),
    ("nocolon\r\n", 400, "bad_field_name"),
    ("A(b): c\r\n", 400, "bad_field_name"),
    ("Ä: c\r\n", 400, "bad_field_name"),
    (
        "Connection: Content-Length\r\n",
        400,
        "forbidden_connection_option",
    ),
    ("Connection: Host\r\n", 400, "forbidden_connection_option"),
    (
        "Connection: X-Forwarded-For\r\n",
        400,
        "forbidden_connection_option",
    ),
    (
        "Connection: close, Transfer-Encoding\r\n",
        400,
        "forbidden_connection_option",
    ),
    ("Connection: a b\r\n", 400, "bad_connection"),
    ("Expect: something-else\r\n", 417, "bad_expectation"),
    // Host.
    ("Host: b\r\n", 400, "duplicate_host"),
    ("Host: a\r\n", 400, "duplicate_host"),
];

const WHOLE: &[(&str, u16, &str)] = &[
    ("GET / HTTP/1.1\r\n\r\n", 400, "missing_host"),
    ("GET / HTTP/1.1\r\nHost: \r\n\r\n", 400, "bad_host"),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_host"),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_host"),
    ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, "bad_host"),
    ("GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", 400, "bad_host"),
    ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, "bad_host"),
    (
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "host_mismatch",
    ),
    (
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "bad_target",
    ),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    ("GET @b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    (
        "GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "host_mismatch",
    ),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    (
        "GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "control_byte",
    ),
    ("GET /ä HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_target"),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_version"),
    ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_version"),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, "bad_version"),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", 400, "bad_version"),
    ("GET / HTTP/1\r\nHost: a\r\n\r\n", 400, "bad_version"),
    (
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        505,
        "unsupported_version",
    ),
    (
        "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        505,
        "unsupported_version",
    ),
    (
        "PRI * HTTP/2.0\r\nHost: a\r\n\r\n",
        505,
        "unsupported_version",
    ),
    (
        "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        505,
        "unsupported_version",
    ),
    ("GET /\r\n", 400, "bad_request_line"),
    ("GET\r\n", 400, "bad_request_line"),
    (
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "bad_request_line",
    ),
    ("GET / HTTP/1.1\nHost: a\n\n", 400, "bare_lf"),
    ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_method"),
    ("\u{16}\u{3}\u{1}\u{2}\u{0}", 400, "bad_method"),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_method"),
    (
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        405,
        "method_not_allowed",
    ),
    (
        "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        405,
        "method_not_allowed",
    ),
    (
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "te_in_http_1_0",
    ),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "obs_fold"),
];

#[tokio::test]
async fn what_is_no_request_is_refused_closed_and_counted() {
    let origin = Stage::new().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let access = format!("[log.access]\nenabled = true\nformat = \"json\"\noutput = {log:?}\n");
    let proxy = Proxy::start(&(over(&[origin.address()], "", "") + &access)).await;
    let table = table();
    assert!(table.len() >= 40);
    let mut wrong = Vec::new();
    for (bytes, status, reason) in &table {
        let mut client = proxy.client().await;
        // What follows must not be taken for a request of its own.
        client
            .try_send(format!("{bytes}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await
            .ok();
        let answer = client.response().await;
        let detail = answer.text().lines().nth(1).unwrap_or_default();
        if (answer.status(), detail) != (*status, *reason) {
            let start: String = bytes.chars().take(80).collect();
            let got = (answer.status(), detail);
            wrong.push(format!("{start:?}: {got:?}, not {status} {reason}"));
        }
        assert_eq!(answer.field("Connection"), Some("close"), "{reason}");
        assert!(answer.field("Proxy-Status").is_some(), "{reason}");
        assert!(
            answer.field("Allow").is_some() == (*status == 405),
            "{reason}"
        );
        client.closed().await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(origin.is_left_alone().await);
    proxy
        .counts(&local("-", "bad_request"), table.len() as f64)
        .await;
    let mut reasons: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, _, reason) in &table {
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, count) in &reasons {
        proxy.counts(&refused(reason), f64::from(*count)).await;
    }
    let lines = eventually("every refusal to be written down", LONG, async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.lines().count() == table.len()).then_some(text)
    });
    for (line, (bytes, status, reason)) in lines.await.lines().zip(&table) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let said = (&line["status"], &line["reason"], &line["detail"]);
        let expected = (&(*status).into(), &"bad_request".into(), &(*reason).into());
        assert_eq!(said, expected, "{bytes:.80}");
    }
    // And who asks properly is served.
    serves(&proxy, &origin).await;
}

/// The requests that were refused for this reason.
pub(super) fn refused(reason: &str) -> String {
    format!("fairlead_http_refused_requests_total{{listener=\"web\",reason=\"{reason}\"}}")
}

async fn serves(proxy: &Proxy, origin: &Stage) {
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    assert_eq!(upstream.request().await.first_line(), "GET / HTTP/1.1");
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn a_bad_request_behind_a_good_one_is_answered_in_its_turn() {
    let (origin, _proxy, mut client) = scene().await;
    client
        .send(format!("{GET}GET / HTTP/1.1\r\nHost : a\r\n\r\n"))
        .await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    assert_eq!(client.response().await.status(), 400);
    client.closed().await;
}

#[tokio::test]
async fn what_is_cut_anywhere_harms_nobody() {
    let (origin, proxy, _) = scene().await;
    let whole = with("Transfer-Encoding: chunked\r\n");
    for cut in 0..whole.len() {
        let mut client = proxy.client().await;
        client.send(&whole[..cut]).await;
        client.finish().await;
        client.rest().await;
    }
    assert!(origin.is_left_alone().await);
    serves(&proxy, &origin).await;
    assert_eq!(proxy.metric("fairlead_panics_total"), 0.0);
}

#[tokio::test]
async fn one_empty_line_before_a_request_is_forgiven() {
    let (origin, _proxy, mut client) = scene().await;
    client.send(format!("\r\n{GET}")).await;
    let mut upstream = origin.accept().await;
    assert_eq!(upstream.request().await.first_line(), "GET / HTTP/1.1");
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
}
