//! Who the client is, as we tell endpoints.

use std::net::SocketAddr;

use tokio::process::Command;

use super::Log;
use crate::support::authority::Authority;
use crate::support::balancers::Balancer;
use crate::support::origin::Stage;
use crate::support::process::program;
use crate::support::proxy::{Proxy, over};
use crate::support::raw::Wire;
use crate::support::{LONG, PostgresServer};

/// Answers with what the header said. HAProxy checks the checksum.
async fn haproxy() -> Balancer {
    Balancer::haproxy(
        "frontend f\n  mode http\n  bind 127.0.0.1:@port accept-proxy\n  http-request return status 200 \
         content-type text/plain lf-string \"%[src]:%[src_port] %[dst]:%[dst_port] %[fc_pp_authority] \
         %[fc_pp_unique_id]\"",
    )
    .await
}

async fn nginx(more: &str) -> Balancer {
    Balancer::nginx(&format!(
        "http {{ access_log off; server {{ listen 127.0.0.1:@port proxy_protocol {more};\n\
         return 200 \"$proxy_protocol_addr:$proxy_protocol_port \
         $proxy_protocol_server_addr:$proxy_protocol_server_port  \"; }} }}"
    ))
    .await
}

const PROBED: &str = "health = { http = { path = \"/\" }, interval = \"100ms\", rise = 1 }";

async fn answer(client: &mut Wire) -> String {
    let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.status(), 200, "{}", answer.head);
    answer.text().to_owned()
}

#[tokio::test]
async fn haproxy_and_nginx_understand_who_asks() {
    let authority = Authority::new();
    let pair = authority.pair(&["origin.test"]);
    let (cert, key) = (pair.cert.display(), pair.key.display());
    let secured = nginx(&format!(
        "ssl; ssl_certificate {cert}; ssl_certificate_key {key}"
    ))
    .await;
    let tls = format!(
        "tls = {{ ca = \"{}\", server_name = \"origin.test\" }}",
        authority.ca()
    );
    let receivers = [
        (haproxy().await, ""),
        (nginx("").await, ""),
        (secured, tls.as_str()),
    ];
    for (receiver, tls) in &receivers {
        for version in ["v1", "v2"] {
            let upstream = format!("proxy_protocol = \"{version}\"\n{PROBED}\n{tls}");
            let proxy = Proxy::start(&over(&[receiver.address()], "", &upstream)).await;
            let local = proxy.address("web");
            let mut client = Wire::connect_from("127.0.0.5", local).await;
            let said = answer(&mut client).await;
            let ends = format!("{} {local} ", client.address());
            assert!(said.starts_with(&ends), "{version}: {said}, not {ends}");
            // The probes were understood as well, or nothing would be eligible by now.
            let endpoint = receiver.address().to_string();
            proxy.verdicts("app", &endpoint, 2).await;
            assert!(answer(&mut client).await.starts_with(&ends));
        }
    }
}

#[tokio::test]
async fn version_2_tells_of_tls_and_the_id_and_what_was_told_to_us() {
    let (authority, log, receiver) = (Authority::new(), Log::new(), haproxy().await);
    let pair = authority.pair(&["app.test"]);
    let listener =
        "tls = { certificates = [\"site\"] }\nproxy_protocol = { from = [\"127.0.0.1\"] }";
    let upstream = "proxy_protocol = \"v2\"";
    let text = over(&[receiver.address()], listener, upstream) + &pair.table("site") + &log.table();
    let proxy = Proxy::start(&text).await;
    // nginx, that is: what it says goes on from here.
    let before = Balancer::nginx(&format!(
        "stream {{ server {{ listen 127.0.0.1:@port; proxy_pass {}; proxy_protocol on; }} }}",
        proxy.address("web")
    ))
    .await;
    let port = before.address().port();
    let mut curl = Command::new(program("curl", "curl"));
    curl.args(["--interface", "127.0.0.6", "-s", "-m", "30", "--resolve"])
        .arg(format!("app.test:{port}:127.0.0.1"))
        .args(["--cacert", &authority.ca()])
        .arg(format!("https://app.test:{port}/"))
        .kill_on_drop(true);
    let output = curl.output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let words: Vec<_> = said.split(' ').collect();
    assert!(words[0].starts_with("127.0.0.6:"), "{said}");
    assert_eq!(words[1], before.address().to_string(), "{said}");
    assert_eq!(words[2], "app.test", "{said}");
    let line = log.of("web", "127.0.0.6").await;
    assert_eq!(line["request_id"], words[3], "{said} {line}");
}

#[tokio::test]
async fn a_connection_with_a_header_serves_one_client_connection() {
    let stage = Stage::new().await;
    let proxy = Proxy::over_with(&[stage.address()], "", "proxy_protocol = \"v1\"").await;
    let (mut one, mut other) = (proxy.client().await, proxy.client().await);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    one.send(request).await;
    let mut for_one = stage.accept().await;
    assert_eq!(
        for_one.until(b"\r\n").await,
        header(&one, proxy.address("web"))
    );
    answer_next(&mut for_one, &mut one).await;
    // It is idle now, and not for this client.
    other.send(request).await;
    let mut for_other = stage.accept().await;
    assert_eq!(
        for_other.until(b"\r\n").await,
        header(&other, proxy.address("web"))
    );
    answer_next(&mut for_other, &mut other).await;
    for _ in 0..3 {
        one.send(request).await;
        answer_next(&mut for_one, &mut one).await;
        other.send(request).await;
        answer_next(&mut for_other, &mut other).await;
    }
    assert!(stage.is_left_alone().await);
}

fn header(client: &Wire, local: SocketAddr) -> Vec<u8> {
    let (ip, port) = (client.address().ip(), client.address().port());
    let line = format!("PROXY TCP4 {ip} {} {port} {}\r\n", local.ip(), local.port());
    line.into_bytes()
}

async fn answer_next(origin: &mut Wire, client: &mut Wire) {
    origin.request().await;
    origin.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 204);
}

#[tokio::test]
async fn databases_behind_haproxy_are_probed_used_and_cancelled() {
    let (server, log) = (PostgresServer::primary().await, Log::new());
    let receiver = Balancer::haproxy(&format!(
        "listen l\n  mode tcp\n  bind 127.0.0.1:@port accept-proxy\n  server s {}",
        server.endpoint()
    ))
    .await;
    let text = log.table()
        + &format!(
            "[listeners.pg]\nbind = [\"127.0.0.1:0\"]\nkind = \"postgres\"\nupstream = \"db\"\n\
             role = \"primary\"\n[upstreams.db]\nkind = \"postgres\"\nproxy_protocol = \"v2\"\n\
             endpoints = [{{ address = \"{}\" }}]\n\
             health = {{ postgres = {{ user = \"postgres\" }}, interval = \"100ms\" }}\n",
            receiver.address()
        );
    let proxy = Proxy::start(&text).await;
    let address = receiver.address().to_string();
    proxy.led_by("db", Some(&address)).await;
    let session = crate::support::postgres::session_at(proxy.address("pg"));
    let session = session.await.unwrap();
    assert!(session.simple_query("SELECT 1").await.is_ok());
    let cancel = session.cancel_token();
    let cancelling = async {
        server.executes("SELECT pg_sleep(600)", 1).await;
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
    };
    let sleeping = session.simple_query("SELECT pg_sleep(600)");
    let both = async { tokio::join!(sleeping, cancelling) };
    let (slept, ()) = tokio::time::timeout(LONG, both)
        .await
        .expect("not cancelled");
    let error = slept.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("57014"));
    drop(session);
    let of_session = |line: &serde_json::Value| line["role"] == "primary";
    let line = log.line("the session", of_session).await;
    assert_eq!(line["request_id"].as_str().unwrap().len(), 32, "{line}");
}
