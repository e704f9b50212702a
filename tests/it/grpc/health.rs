//! The probe `grpc.health.v1.Health/Check` against a real server, and what follows from it.

use std::net::SocketAddr;

use fairlead::config::tls::UpstreamTls;
use fairlead::config::upstream::{GrpcProbe, Probe};
use fairlead::io::net::tls::Speaks;
use fairlead::io::probe::build;

use super::NAME;
use crate::online::check_online;
use crate::probes::ask;
use crate::support::authority::Authority;
use crate::support::grpc::{GrpcServer, call};
use crate::support::proxy::Proxy;
use crate::support::{LONG, eventually};

/// What the probe says of this server.
async fn probe(at: SocketAddr, service: &str, tls: Option<&UpstreamTls>) -> String {
    let service = service.to_owned();
    let config = Probe::Grpc(GrpcProbe { service });
    let tls = tls.map(|tls| (tls, Speaks::Http2));
    let asked = ask(&mut build(&config, at, "localhost:1", tls, None)).await;
    match asked {
        Ok(evidence) => evidence.to_string(),
        Err(failure) => failure.to_string(),
    }
}

#[tokio::test]
async fn a_real_server_is_understood_in_clear_and_under_tls() {
    let server = GrpcServer::start(None).await;
    let at = server.address();
    assert_eq!(probe(at, "", None).await, "SERVING");
    assert_eq!(probe(at, "orders.v1.Orders", None).await, "SERVING");
    let told = probe(at, "orders.v1.Other", None).await;
    assert!(told.starts_with("bad_answer: NOT_FOUND"), "{told}");
    for (health, begin) in [
        (2, "not_ready: NOT_SERVING"),
        (0, "not_ready: UNKNOWN"),
        (3, "bad_answer: SERVICE_UNKNOWN"),
        (-1, "bad_answer: UNIMPLEMENTED"),
    ] {
        server.set_health(health).await;
        let told = probe(at, "", None).await;
        assert!(told.starts_with(begin), "{told}");
    }

    let authority = Authority::new();
    let server = GrpcServer::start(Some(&authority.pair(&[NAME]))).await;
    let tls = UpstreamTls {
        ca: Some(authority.ca().into()),
        server_name: Some(NAME.to_owned()),
        ..UpstreamTls::default()
    };
    let at = server.address();
    assert_eq!(probe(at, "", Some(&tls)).await, "SERVING");
    let told = probe(at, "", None).await;
    assert!(told.starts_with("connect: "), "{told}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_serve_gets_no_calls_until_it_does() {
    let server = GrpcServer::start(None).await;
    let health = "http2 = true\nhealth = { grpc = {}, interval = \"50ms\", rise = 1, fall = 2 }";
    let proxy = Proxy::over_with(&[server.address()], "", health).await;
    let at = proxy.address("web");
    let is_up = async |expected: bool| {
        eventually("the endpoint's health", LONG, async || {
            let snapshot = proxy.upstream("app").snapshot.load();
            (snapshot.endpoints[0].is_healthy == expected).then_some(())
        })
        .await;
    };
    is_up(true).await;
    call(at, "unary", None).await;
    server.set_health(2).await;
    is_up(false).await;
    assert_eq!(call(at, "unavailable", None).await, "no_eligible_endpoint");
    server.set_health(1).await;
    is_up(true).await;
    call(at, "unary", None).await;
    // A dead process is no different.
    let _port = server.kill();
    is_up(false).await;
}

#[tokio::test]
async fn a_check_online_says_what_to_do() {
    let server = GrpcServer::start(None).await;
    let text = format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\nupstream = \"app\"\n\
         [upstreams.app]\nkind = \"http\"\nhttp2 = true\n\
         endpoints = [{{ address = \"{}\" }}]\nhealth = {{ grpc = {{}} }}\n",
        server.address()
    );
    let checked = check_online(&text);
    let told = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(checked.status.code(), Some(0), "{told}");
    assert!(told.contains("SERVING ("), "{told}");
    server.set_health(-1).await;
    let checked = check_online(&text);
    let told = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(checked.status.code(), Some(1), "{told}");
    assert!(told.contains("add the health service"), "{told}");
}
