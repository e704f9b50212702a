//! Connections without the header they must have, or from where nobody may send one.

use std::fmt::Write as _;

use super::{BEHIND, Log};
use crate::support::origin::Stage;
use crate::support::proxy::Proxy;
use crate::support::raw::Wire;

const KINDS: [&str; 4] = ["http", "tcp", "postgres", "redis"];

/// A listener of every kind, each called as its kind, before `origin`. Those with roles are before
/// nobody, as their probes would come to it.
fn text(origin: &Stage, log: &Log) -> String {
    let mut text = log.table();
    for kind in KINDS {
        let (more, endpoint) = match kind {
            "postgres" => ("health = { postgres = { user = \"u\" } }", "127.0.0.1:1"),
            "redis" => ("health = { redis = {} }", "127.0.0.1:1"),
            _ => ("", origin.address().to_string().leak() as &str),
        };
        let role = if more.is_empty() {
            ""
        } else {
            "role = \"any\""
        };
        write!(
            text,
            "[listeners.{kind}]\nbind = [\"127.0.0.1:0\"]\nkind = \"{kind}\"\nupstream = \"{kind}\"\n\
             {role}\n{BEHIND}\n\
             [upstreams.{kind}]\nkind = \"{kind}\"\nendpoints = [{{ address = \"{endpoint}\" }}]\n{more}\n",
        )
        .unwrap();
    }
    text
}

fn rejected(kind: &str, reason: &str) -> String {
    format!("fairlead_listener_rejected_total{{listener=\"{kind}\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn what_has_no_right_header_is_closed_counted_and_never_sent_on() {
    let (origin, log) = (Stage::new().await, Log::new());
    let proxy = Proxy::start(&text(&origin, &log)).await;
    let wrong: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0e\xc0\0\x02\x07\xc6\x33\x64\x01\0\x01\0\x02\x02\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ];
    for kind in KINDS {
        for bytes in wrong {
            let mut client = Wire::connect(proxy.address(kind)).await;
            client.try_send(bytes).await.ok();
            client.closed().await;
        }
        let count = f64::from(u32::try_from(wrong.len()).unwrap());
        proxy
            .counts(&rejected(kind, "proxy_protocol_error"), count)
            .await;
        let line = log.of(kind, "127.0.0.1:").await;
        assert_eq!(line["reason"], "proxy_protocol_error", "{line}");
    }
    assert!(origin.is_left_alone().await);
}

#[tokio::test]
async fn a_stranger_is_closed_whatever_it_says() {
    let (origin, log) = (Stage::new().await, Log::new());
    let proxy = Proxy::start(&text(&origin, &log)).await;
    for kind in KINDS {
        let mut client = Wire::connect_from("127.0.0.9", proxy.address(kind)).await;
        let said = "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.try_send(said).await.ok();
        client.closed().await;
        proxy.counts(&rejected(kind, "denied"), 1.0).await;
        let line = log.of(kind, &client.address().to_string()).await;
        assert_eq!(line["reason"], "denied", "{line}");
        assert!(line.get("peer").is_none() && line.get("endpoint").is_none());
    }
    assert!(origin.is_left_alone().await);
}

#[tokio::test]
async fn a_header_that_drips_has_one_deadline() {
    let (origin, log) = (Stage::new().await, Log::new());
    let proxy = Proxy::start(&text(&origin, &log)).await;
    let slow = KINDS.map(|kind| {
        let address = proxy.address(kind);
        async move {
            let mut client = Wire::connect(address).await;
            client.send("PROXY TCP4 192.0.2.7 ").await;
            client.closed().await;
        }
    });
    let [a, b, c, d] = slow;
    tokio::join!(a, b, c, d);
    for kind in KINDS {
        proxy.counts(&rejected(kind, "head_timeout"), 1.0).await;
    }
    // Who leaves by itself is no attack.
    let client = Wire::connect(proxy.address("tcp")).await;
    drop(client);
    proxy.counts(&rejected("tcp", "client_gone"), 1.0).await;
}

#[tokio::test]
async fn a_reload_asks_new_connections_for_a_header_or_no_longer() {
    let (origin, log) = (Stage::new().await, Log::new());
    let text = text(&origin, &log);
    let proxy = Proxy::start(&text.replace(BEHIND, "")).await;
    let at = proxy.address("tcp");
    let mut client = Wire::connect(at).await;
    client.send("hello").await;
    assert_eq!(next_hello(&origin).await, b"hello");
    proxy.reload(&text).await;
    let mut client = Wire::connect(at).await;
    client.send("PROXY UNKNOWN\r\nhello").await;
    assert_eq!(next_hello(&origin).await, b"hello");
    let mut client = Wire::connect(at).await;
    client.try_send("hello, again").await.ok();
    client.closed().await;
    proxy.reload(&text.replace(BEHIND, "")).await;
    let mut client = Wire::connect(at).await;
    client.send("hello").await;
    assert_eq!(next_hello(&origin).await, b"hello");
}

/// The first bytes of the next connection.
async fn next_hello(origin: &Stage) -> Vec<u8> {
    origin.accept().await.exactly(5).await
}
