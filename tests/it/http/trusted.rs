//! Who the client is behind proxies that speak HTTP: real ones, and what clients make up.

use crate::proxy_protocol::Log;
use crate::support::balancers::Balancer;
use crate::support::origin::Stage;
use crate::support::proxy::{Proxy, over};
use crate::support::raw::{Message, Wire};

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]";

/// What the origin gets of such a request, and what the client gets back.
async fn pass(client: &mut Wire, origin: &Stage, fields: &str) -> (Message, Message) {
    client
        .send(format!("GET /x HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n"))
        .await;
    let mut at_origin = origin.accept().await;
    let request = at_origin.request().await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    at_origin.send(answer).await;
    (request, client.response().await)
}

#[tokio::test]
async fn nginx_and_haproxy_are_believed_and_what_clients_say_through_them_is_not() {
    let (origin, log) = (Stage::new().await, Log::new());
    let text = over(&[origin.address()], TRUSTED, "") + &log.table();
    let proxy = Proxy::start(&text).await;
    let address = proxy.address("web");
    let nginx = Balancer::nginx(&format!(
        "http {{ access_log off; server {{ listen 127.0.0.1:@port; location / {{ \
         proxy_pass http://{address}; proxy_set_header Host $host; \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
         proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Request-Id $request_id; }} }} }}"
    ))
    .await;
    let haproxy = Balancer::haproxy(&format!(
        "listen l\n  mode http\n  bind 127.0.0.1:@port\n  option forwardfor\n  unique-id-format %[uuid]\n  \
         unique-id-header X-Request-Id\n  http-request set-header X-Forwarded-Proto https\n  \
         server s {address}"
    ))
    .await;
    for before in [nginx, haproxy] {
        let mut client = Wire::connect_from("127.0.0.2", before.address()).await;
        let forged = "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.7\r\nX-Real-IP: 6.6.6.8\r\n";
        let (request, answer) = pass(&mut client, &origin, forged).await;
        let chain = request.field("X-Forwarded-For").unwrap();
        assert_eq!(chain, "6.6.6.6, 127.0.0.2, 127.0.0.1");
        assert_eq!(request.field("Forwarded"), None);
        assert_eq!(request.field("X-Real-IP"), None);
        assert_eq!(request.field("X-Forwarded-Proto"), Some("https"));
        let id = request.field("X-Request-Id").unwrap();
        assert_eq!(answer.field("X-Request-Id"), Some(id));
        let line = log
            .line("the request", |line| line["request_id"] == id)
            .await;
        assert_eq!(line["client"], "127.0.0.2", "{line}");
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
}

#[tokio::test]
async fn a_stranger_is_replaced_as_ever() {
    let origin = Stage::new().await;
    let proxy = Proxy::over_with(&[origin.address()], TRUSTED, "").await;
    let mut client = Wire::connect_from("127.0.0.2", proxy.address("web")).await;
    let forged = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n\
        X-Forwarded-Port: 1\r\nForwarded: for=6.6.6.7\r\nX-Request-Id: mine\r\n";
    let (request, _) = pass(&mut client, &origin, forged).await;
    assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.2"));
    assert_eq!(request.field("X-Forwarded-Proto"), Some("http"));
    assert_eq!(request.field("X-Forwarded-Host"), Some("app.test"));
    assert_eq!(request.field("X-Forwarded-Port"), None);
    assert_eq!(request.field("Forwarded"), None);
    assert_eq!(request.field("X-Request-Id").unwrap().len(), 32);
}

#[tokio::test]
async fn forwarded_is_believed_where_it_is_the_one() {
    let (origin, log) = (Stage::new().await, Log::new());
    let listener = format!("{TRUSTED}\ntrusted_header = \"forwarded\"");
    let text = over(&[origin.address()], &listener, "") + &log.table();
    let proxy = Proxy::start(&text).await;
    let fields = "Forwarded: for=1.1.1.1, for=\"[2001:db8::7]:1234\";proto=https;host=shop.test\r\n\
        Forwarded: for=10.1.1.1\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: ftp\r\n";
    let mut client = proxy.client().await;
    let (request, _) = pass(&mut client, &origin, fields).await;
    assert_eq!(
        request.field("X-Forwarded-For"),
        Some("2001:db8::7, 127.0.0.1")
    );
    assert_eq!(request.field("X-Forwarded-Proto"), Some("https"));
    assert_eq!(request.field("X-Forwarded-Host"), Some("shop.test"));
    assert_eq!(
        request.field("Forwarded"),
        Some(
            "for=1.1.1.1, for=\"[2001:db8::7]:1234\";proto=https;host=shop.test, for=10.1.1.1, \
             for=127.0.0.1;proto=http"
        )
    );
    log.of("web", "[2001:db8::7]:1234").await;
    // A second request of the connection says something else, a third one nothing.
    let (_, _) = pass(&mut client, &origin, "Forwarded: for=192.0.2.9\r\n").await;
    log.of("web", "192.0.2.9").await;
    let (request, _) = pass(&mut client, &origin, "").await;
    assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.1"));
}

#[tokio::test]
async fn answers_of_our_own_are_logged_with_the_client_too() {
    let log = Log::new();
    let text = format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\n{TRUSTED}\n\
         proxy_protocol = {{ from = [\"127.0.0.1\"] }}\n\
         [routes.r]\nlisteners = [\"web\"]\npath_prefix = \"/r\"\nupstream = \"app\"\n\
         [upstreams.app]\nkind = \"http\"\nendpoints = [{{ address = \"127.0.0.1:1\" }}]\n{}",
        log.table()
    );
    let proxy = Proxy::start(&text).await;
    let mut client = proxy.client().await;
    // A balancer at 10.0.0.9 that spoke to another one, which speaks to us.
    client
        .send("PROXY TCP4 10.0.0.9 10.0.0.10 1234 443\r\n")
        .await;
    for (path, status) in [("/x", 404), ("/r", 502)] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nX-Request-Id: id-{status}\r\n\r\n"
        );
        let answer = client.ask(request).await;
        assert_eq!(answer.status(), status);
        let id = format!("id-{status}");
        assert_eq!(answer.field("X-Request-Id"), Some(id.as_str()));
        let line = log
            .line("the request", |line| line["request_id"] == id.as_str())
            .await;
        assert_eq!(line["client"], "192.0.2.7", "{line}");
    }
}
