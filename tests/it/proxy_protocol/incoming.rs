//! Who the client is, as another proxy tells us.

use tokio::process::Command;

use super::{BEHIND, Log};
use crate::support::authority::Authority;
use crate::support::balancers::Balancer;
use crate::support::origin::Stage;
use crate::support::process::program;
use crate::support::proxy::{Proxy, over};
use crate::support::raw::Wire;
use crate::support::{LONG, PostgresServer, RedisServer};

/// HAProxy and nginx on a port each, with both versions where they send both, before `address`.
async fn senders(address: std::net::SocketAddr) -> [Balancer; 3] {
    let haproxy = |send: &str| {
        format!("listen l\n  mode tcp\n  bind 127.0.0.1:@port\n  server s {address} {send}")
    };
    let more = "send-proxy-v2 proxy-v2-options ssl,cert-cn,unique-id,authority,crc32c";
    let nginx = format!(
        "stream {{ server {{ listen 127.0.0.1:@port; proxy_pass {address}; proxy_protocol on; }} }}"
    );
    [
        Balancer::haproxy(&haproxy("send-proxy")).await,
        Balancer::haproxy(&haproxy(more)).await,
        Balancer::nginx(&nginx).await,
    ]
}

#[tokio::test]
async fn haproxy_and_nginx_say_who_asks() {
    let (origin, log) = (Stage::new().await, Log::new());
    let text = over(&[origin.address()], BEHIND, "") + &log.table();
    let proxy = Proxy::start(&text).await;
    for sender in senders(proxy.address("web")).await {
        let mut client = Wire::connect_from("127.0.0.2", sender.address()).await;
        let port = client.address().port();
        // The second request of a connection has no header of its own.
        for path in ["/1", "/2"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            client.send(request).await;
            let mut at_origin = origin.accept().await;
            let request = at_origin.request().await;
            assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.2"));
            at_origin
                .send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                .await;
            assert_eq!(client.response().await.status(), 204);
        }
        let line = log.of("web", &format!("127.0.0.2:{port}")).await;
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert_eq!(line["status"], 204);
    }
}

#[tokio::test]
async fn curl_says_it_before_tls() {
    let (authority, origin, log) = (Authority::new(), Stage::new().await, Log::new());
    let pair = authority.pair(&["app.test"]);
    let listener =
        "proxy_protocol = { from = [\"127.0.0.0/8\"] }\ntls = { certificates = [\"site\"] }";
    let text = over(&[origin.address()], listener, "") + &log.table() + &pair.table("site");
    let proxy = Proxy::start(&text).await;
    let port = proxy.address("web").port();
    let mut curl = Command::new(program("curl", "curl"));
    curl.args(["--haproxy-protocol", "--interface", "127.0.0.3", "-s", "-m"])
        .args(["30", "--resolve", &format!("app.test:{port}:127.0.0.1")])
        .args(["--cacert", &authority.ca()])
        .arg(format!("https://app.test:{port}/"))
        .kill_on_drop(true);
    let answering = async {
        let mut at_origin = origin.accept().await;
        let request = at_origin.request().await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        at_origin.send(answer).await;
        request
    };
    let (output, request) = tokio::join!(curl.output(), answering);
    let output = output.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"hi", "{error}");
    assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.3"));
    assert_eq!(request.field("X-Forwarded-Proto"), Some("https"));
}

#[tokio::test]
async fn sessions_of_every_kind_are_logged_with_their_client() {
    let log = Log::new();
    let (postgres, redis) = (PostgresServer::primary().await, RedisServer::start().await);
    let table = |name: &str, kind: &str, upstream: &str, role: &str| {
        format!(
            "[listeners.{name}]\nbind = [\"127.0.0.1:0\"]\nkind = \"{kind}\"\n\
             upstream = \"{upstream}\"\n{role}\n{BEHIND}\n"
        )
    };
    let primary = "role = \"primary\"";
    let text = log.table()
        + &table("pg", "postgres", "pg", primary)
        + &table("redis", "redis", "redis", primary)
        + &table("bytes", "tcp", "redis", primary)
        + &format!(
            "[upstreams.pg]\nkind = \"postgres\"\nendpoints = [{{ address = \"{}\" }}]\n\
             health = {{ postgres = {{ user = \"postgres\" }}, interval = \"100ms\" }}\n\
             [upstreams.redis]\nkind = \"redis\"\nendpoints = [{{ address = \"{}\" }}]\n\
             health = {{ redis = {{}}, interval = \"100ms\" }}\n",
            postgres.endpoint(),
            redis.endpoint()
        );
    let proxy = Proxy::start(&text).await;
    proxy.led_by("pg", Some(&postgres.endpoint())).await;
    for sender in senders(proxy.address("pg")).await {
        let at = sender.address();
        let mut psql = Command::new(program("psql", "postgresql"));
        let settings = format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=prefer",
            at.port()
        );
        psql.args(["-XAtc", "SELECT 41 + 1", &settings])
            .kill_on_drop(true);
        let output = tokio::time::timeout(LONG, psql.output()).await;
        let output = output.expect("it hangs").unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.stdout, b"42\n", "{error}");
    }
    let line = log.of("pg", "127.0.0.1:").await;
    let (client, peer) = (line["client"].as_str(), line["peer"].as_str());
    assert!(peer.is_some() && peer != client, "{line}");
    for listener in ["redis", "bytes"] {
        for sender in senders(proxy.address(listener)).await {
            let mut client = Wire::connect_from("127.0.0.4", sender.address()).await;
            let port = client.address().port();
            client.send("*1\r\n$4\r\nPING\r\n").await;
            assert_eq!(client.until(b"\r\n").await, b"+PONG\r\n");
            drop(client);
            let line = log.of(listener, &format!("127.0.0.4:{port}")).await;
            assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        }
    }
}

#[tokio::test]
async fn a_sender_that_speaks_for_itself_is_the_client() {
    let (origin, log) = (Stage::new().await, Log::new());
    let text = over(&[origin.address()], BEHIND, "") + &log.table();
    let proxy = Proxy::start(&text).await;
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".as_slice();
    for header in [local, b"PROXY UNKNOWN\r\n"] {
        let mut client = proxy.client().await;
        client
            .send([header, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat())
            .await;
        let mut at_origin = origin.accept().await;
        let request = at_origin.request().await;
        assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.1"));
        at_origin
            .send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(client.response().await.status(), 204);
        let line = log.of("web", &client.address().to_string()).await;
        assert!(line.get("peer").is_none(), "{line}");
    }
}
