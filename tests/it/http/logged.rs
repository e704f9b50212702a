//! What the access log tells of the way to an answer.

use serde_json::Value;

use crate::proxy_protocol::Log;
use crate::support::authority::Authority;
use crate::support::nginx::Nginx;
use crate::support::origin::{Origin, Stage};
use crate::support::ports::Port;
use crate::support::proxy::{Proxy, over};
use crate::support::raw::Wire;

/// Endpoint and outcome of each try; each has its seconds.
fn tries(line: &Value) -> Vec<(String, String)> {
    let tries = line["tries"].as_array().unwrap_or_else(|| panic!("{line}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |one: &Value| {
        assert!(one["seconds"].as_f64().unwrap() >= 0.0, "{line}");
        (text(&one["endpoint"]), text(&one["outcome"]))
    };
    tries.iter().map(of).collect()
}

fn pair(endpoint: impl ToString, outcome: &str) -> (String, String) {
    (endpoint.to_string(), outcome.to_owned())
}

#[tokio::test]
async fn tries_are_told_from_the_first_failed_one_on() {
    let (dead, good, log) = (Port::reserve(), Origin::start("good").await, Log::new());
    let upstream = "balance = \"round_robin\"";
    let text = over(&[dead.address(), good.address], "", upstream) + &log.table();
    let proxy = Proxy::start(&text).await;
    let mut client = proxy.client().await;
    for path in ["/1", "/2"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.ask(request).await.status(), 200);
    }
    let line = log
        .line("a retried one", |line| line["attempts"] == 2)
        .await;
    let failed = pair(dead.address(), "upstream_connect_failed");
    assert_eq!(tries(&line), [failed, pair(good.address, "ok")], "{line}");
    assert_eq!(line["endpoint"], good.address.to_string());
}

#[tokio::test]
async fn an_answer_that_did_not_come_has_its_reason_at_every_endpoint() {
    let (dead, stage, log) = (Port::reserve(), Stage::new().await, Log::new());
    let upstream = "balance = \"round_robin\"";
    let text = over(&[dead.address(), stage.address()], "", upstream) + &log.table();
    let proxy = Proxy::start(&text).await;
    let mut client = proxy.client().await;
    client
        .send("POST /x HTTP/1.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .await;
    let mut at_origin = stage.accept().await;
    at_origin.request().await;
    at_origin.reset();
    assert_eq!(client.response().await.status(), 502);
    let line = log.line("the request", |line| line["path"] == "/x").await;
    assert_eq!(line["version"], "HTTP/1.0", "{line}");
    assert_eq!(line["reason"], "upstream_reset", "{line}");
    let last = tries(&line).pop().unwrap();
    assert_eq!(last, pair(stage.address(), "upstream_reset"), "{line}");
}

#[tokio::test]
async fn handshakes_and_versions_are_told() {
    let (authority, log) = (Authority::new(), Log::new());
    let nginx = Nginx::start(&authority.pair(&["origin.test"]), "").await;
    let upstream = format!(
        "tls = {{ ca = \"{}\", server_name = \"origin.test\" }}",
        authority.ca()
    );
    let text = over(&[nginx.address()], "", &upstream) + &log.table();
    let proxy = Proxy::start(&text).await;
    let mut client = proxy.client().await;
    for path in ["/?1", "/?2"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.ask(request).await.status(), 200);
    }
    let new = log
        .line("a new one", |line| line.get("tls_seconds").is_some())
        .await;
    let seconds = |name: &str| new[name].as_f64().unwrap();
    assert!(seconds("tls_seconds") > 0.0 && seconds("tls_seconds") <= seconds("connect_seconds"));
    let pooled = log
        .line("a pooled one", |line| line.get("connect_seconds").is_none())
        .await;
    for absent in ["tls_seconds", "tries", "hold_seconds"] {
        assert!(pooled.get(absent).is_none(), "{pooled}");
    }
    assert_eq!(pooled["version"], "HTTP/1.1");
}

#[tokio::test]
async fn sessions_tell_their_hold_and_their_tries() {
    let (dead, stage, log) = (Port::reserve(), Stage::new().await, Log::new());
    let text = log.table()
        + &format!(
            "[listeners.bytes]\nbind = [\"127.0.0.1:0\"]\nkind = \"tcp\"\nupstream = \"two\"\n\
             [upstreams.two]\nkind = \"tcp\"\nbalance = \"round_robin\"\n\
             endpoints = [{{ address = \"{dead}\" }}, {{ address = \"{}\" }}]\n\
             [listeners.held]\nbind = [\"127.0.0.1:0\"]\nkind = \"redis\"\nrole = \"primary\"\n\
             hold = \"300ms\"\nupstream = \"none\"\n\
             [upstreams.none]\nkind = \"redis\"\nendpoints = [{{ address = \"{dead}\" }}]\n\
             health = {{ redis = {{}}, interval = \"100ms\" }}\n",
            stage.address(),
            dead = dead.address(),
        );
    let proxy = Proxy::start(&text).await;
    for _ in 0..2 {
        let mut client = Wire::connect(proxy.address("bytes")).await;
        client.send("x").await;
        stage.accept().await.exactly(1).await;
    }
    let line = log.line("a second try", |line| line["attempts"] == 2).await;
    let failed = pair(dead.address(), "upstream_connect_failed");
    assert_eq!(
        tries(&line),
        [failed, pair(stage.address(), "ok")],
        "{line}"
    );
    let mut client = Wire::connect(proxy.address("held")).await;
    client.send("*1\r\n$4\r\nPING\r\n").await;
    client.rest().await;
    let line = log.of("held", "127.0.0.1:").await;
    assert!(line["hold_seconds"].as_f64().unwrap() >= 0.3, "{line}");
    assert!(line["total_seconds"].as_f64().unwrap() >= line["hold_seconds"].as_f64().unwrap());
}
