//! Requests and answers in good order: connections that stay, heads as they are sent on, routes.

use super::{GET, OK, local, scene, scene_with};
use crate::support::origin::{Origin, Stage};
use crate::support::proxy::Proxy;
use crate::support::raw::{End, Wire};

#[tokio::test]
async fn both_connections_stay_open_and_are_used_again() {
    let (origin, _proxy, mut client) = scene().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    for _ in 0..3 {
        upstream.request().await;
        upstream.send(OK).await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.text()), (200, "ok"));
        assert_eq!(answer.field("Connection"), None);
        client.send(GET).await;
    }
    assert!(origin.is_left_alone().await);
}

#[tokio::test]
async fn clients_share_a_pooled_connection_one_after_the_other() {
    let origin = Origin::start("a").await;
    let proxy = Proxy::over(&[origin.address]).await;
    for _ in 0..5 {
        let answer = proxy.client().await.ask(GET).await;
        assert_eq!(answer.text(), "a");
    }
    assert_eq!((origin.connections(), origin.answers()), (1, 5));
}

#[tokio::test]
async fn an_endpoint_that_closes_is_connected_to_again() {
    let (origin, _proxy, mut client) = scene().await;
    for connection in ["Connection: close\r\n", "connection: Keep-Alive, CLOSE\r\n"] {
        client.send(GET).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        let answer = format!("HTTP/1.1 200 OK\r\n{connection}Content-Length: 0\r\n\r\n");
        upstream.send(answer).await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.field("Connection")), (200, None));
        upstream.closed().await;
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (origin, _proxy, mut client) = scene().await;
    client
        .send(
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
             POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n0\r\n\r\n\
             POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz\
             GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
    let mut upstream = origin.accept().await;
    for (path, body) in [("/1", ""), ("/2", "abc"), ("/3", "xyz"), ("/4", "")] {
        let request = upstream.request().await;
        assert!(request.first_line().contains(path), "{}", request.head);
        assert_eq!(request.text(), body);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{path}");
        upstream.send(answer).await;
        assert_eq!(client.response().await.text(), path);
    }
    client.closed().await;
}

#[tokio::test]
async fn a_request_that_arrives_byte_by_byte_is_as_good_as_any() {
    let (origin, _proxy, mut client) = scene().await;
    client
        .send_bytewise(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nab\r\n1\r\nc\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    let mut upstream = origin.accept().await;
    assert_eq!(upstream.request().await.text(), "abc");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    upstream.send_bytewise(chunked).await;
    assert_eq!(client.response().await.text(), "ok");
    assert!(upstream.request().await.first_line().contains("/2"));
    upstream.send_bytewise(OK).await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn the_head_for_the_endpoint_is_made_anew() {
    let (origin, _proxy, mut client) = scene().await;
    client
        .send(
            "GET /p?q=1 HTTP/1.1\r\nhost: shop.example:81\r\nX-Forwarded-For: 6.6.6.6\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nForwarded: for=6.6.6.6\r\n\
             X-Real-IP: 6.6.6.6\r\nX-Request-Id: mine\r\nAccept:text/plain \r\n\
             Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nTE: trailers, gzip\r\nUpgrade: h2c\r\n\
             Content_Length: 5\r\nVia: 1.0 first\r\n\r\n",
        )
        .await;
    let mut upstream = origin.accept().await;
    let request = upstream.request().await;
    let id = request.field("X-Request-Id").unwrap().to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!(
        request.head,
        format!(
            "GET /p?q=1 HTTP/1.1\r\nHost: shop.example:81\r\nAccept: text/plain\r\n\
             Via: 1.0 first\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Host: shop.example:81\r\nX-Request-Id: {id}\r\nVia: 1.1 fairlead\r\n\
             TE: trailers\r\nConnection: TE\r\n\r\n"
        )
    );
    upstream
        .send(
            "HTTP/1.1 200 Fine\r\nServer: x\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\n\
             Keep-Alive: timeout=5\r\nX-Request-Id: theirs\r\nSet-Cookie: a=1\r\n\
             Set-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
    let answer = client.response().await;
    assert_eq!(answer.first_line(), "HTTP/1.1 200 Fine");
    assert_eq!(answer.field("X-Request-Id"), Some(id.as_str()));
    assert_eq!(answer.all("Set-Cookie"), ["a=1", "b=2"]);
    assert!(answer.field("Date").is_some());
    for gone in ["X-Own", "Keep-Alive", "Connection"] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn clients_of_version_1_0_are_served_as_they_expect() {
    let (origin, _proxy, mut client) = scene().await;
    client
        .send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    let request = upstream.request().await;
    assert_eq!(request.first_line(), "GET / HTTP/1.1");
    assert_eq!(request.field("Host"), Some("app"));
    upstream
        .send(format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{OK}"
        ))
        .await;
    let answer = client.response().await;
    assert_eq!(answer.status(), 200, "an interim answer is unknown to 1.0");
    assert_eq!(answer.field("Connection"), Some("keep-alive"));
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    upstream.request().await;
    upstream.send(OK).await;
    let answer = client.response().await;
    assert_eq!(
        (answer.field("Connection"), answer.text()),
        (Some("close"), "ok")
    );
    client.closed().await;
}

#[tokio::test]
async fn interim_answers_pass_before_the_final_one() {
    let (origin, _proxy, mut client) = scene().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
    upstream.send(hints).await;
    let answer = client.response().await;
    assert_eq!(
        (answer.status(), answer.field("Link")),
        (103, Some("</style.css>"))
    );
    upstream.send(format!("{hints}{OK}")).await;
    assert_eq!(client.response().await.status(), 103);
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn options_with_no_hop_left_is_answered_here() {
    let (origin, _proxy, mut client) = scene().await;
    let ask = |hops| format!("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: {hops}\r\n\r\n");
    let answer = client.ask(ask(0)).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.field("Allow").unwrap().contains("GET, HEAD"));
    assert_eq!(answer.field("Proxy-Status"), None);
    assert!(answer.body.is_empty());
    assert!(origin.is_left_alone().await);
    client.send(ask(2)).await;
    let mut upstream = origin.accept().await;
    let request = upstream.request().await;
    assert_eq!(request.first_line(), "OPTIONS * HTTP/1.1");
    assert_eq!(request.field("Max-Forwards"), Some("1"));
    upstream.send(OK).await;
    assert_eq!(client.response().await.status(), 200);
}

#[tokio::test]
async fn the_most_specific_route_takes_a_request() {
    let mut origins = Vec::new();
    let mut text = String::from(
        "[process]\nworker_threads = 1\n\
         [listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\n",
    );
    for (name, keys) in [
        ("shop", "hosts = [\"shop.example\"]"),
        (
            "cart",
            "hosts = [\"shop.example\"]\npath_prefix = \"/cart\"",
        ),
        ("any", "hosts = [\"*.example\"]"),
        ("api", "path_prefix = \"/api\""),
    ] {
        let origin = Origin::start(name).await;
        text += &format!(
            "[routes.{name}]\nlisteners = [\"web\"]\nupstream = \"{name}\"\n{keys}\n\
             [upstreams.{name}]\nkind = \"http\"\nendpoints = [{{ address = \"{}\" }}]\n",
            origin.address
        );
        origins.push(origin);
    }
    let proxy = Proxy::start(&text).await;
    let mut client = proxy.client().await;
    for (host, path, wanted) in [
        ("shop.example", "/", "shop"),
        ("SHOP.example:8080", "/cart/1", "cart"),
        ("shop.example", "/cartoon", "shop"),
        ("shop.example", "/cart?x", "cart"),
        ("blog.example", "/cart", "any"),
        ("other", "/api", "api"),
        ("other", "/api/x", "api"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(client.ask(request).await.text(), wanted, "{host}{path}");
    }
    let answer = client
        .ask("GET /apis HTTP/1.1\r\nHost: other\r\n\r\n")
        .await;
    assert_eq!(answer.status(), 404);
    assert!(
        answer.text().starts_with("404 no_route\n"),
        "{}",
        answer.text()
    );
    assert_eq!(
        answer.field("Proxy-Status"),
        Some("fairlead; error=destination_not_found; details=\"no_route\"")
    );
    let id = answer.field("X-Request-Id").unwrap();
    assert!(answer.text().contains(id));
    // The connection is as good as before.
    let request = "GET /api HTTP/1.1\r\nHost: other\r\n\r\n";
    assert_eq!(client.ask(request).await.text(), "api");
    proxy.counts(&local("-", "no_route"), 1.0).await;
}

#[tokio::test]
async fn without_an_eligible_endpoint_the_answer_says_so() {
    let text = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\nupstream = \"app\"\n\
        [upstreams.app]\nkind = \"http\"\nendpoints = [{ address = \"127.0.0.1:9\", weight = 0 }]\n";
    let proxy = Proxy::start(text).await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        let answer = client.ask(GET).await;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.field("Retry-After"), Some("1"));
        let why = "fairlead; error=destination_unavailable; details=\"no_eligible_endpoint\"";
        assert_eq!(answer.field("Proxy-Status"), Some(why));
    }
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(head.status(), 503);
    assert_ne!(head.field("Content-Length"), Some("0"));
    // No byte of a body follows: the next answer begins at once.
    assert_eq!(client.ask(GET).await.status(), 503);
    // What of a body has not been read cannot be told from the next request.
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc";
    let answer = client.ask(post).await;
    assert_eq!(
        (answer.status(), answer.field("Connection")),
        (503, Some("close"))
    );
    client.closed().await;
    proxy
        .counts(&local("web", "no_eligible_endpoint"), 5.0)
        .await;
}

#[tokio::test]
async fn a_client_that_is_done_gets_its_answer_and_the_end() {
    let (origin, proxy, mut client) = scene().await;
    client.send(GET).await;
    client.finish().await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    assert_eq!(client.rest().await, (Vec::new(), End::Closed));
    // Its upstream connection is there for the next one.
    let mut next = proxy.client().await;
    next.send(GET).await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(next.response().await.text(), "ok");
}

#[tokio::test]
async fn idle_clients_are_closed_in_time() {
    let keys = "keepalive_timeout = \"50ms\"\nrequest_head_timeout = \"60s\"";
    let (origin, _proxy, mut client) = scene_with(keys, "").await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    client.response().await;
    assert_eq!(client.rest().await, (Vec::new(), End::Closed));
}

#[tokio::test]
async fn a_client_that_never_asks_is_closed_without_an_answer() {
    let (origin, _proxy, mut client) = scene_with("request_head_timeout = \"50ms\"", "").await;
    assert_eq!(client.rest().await, (Vec::new(), End::Closed));
    assert!(origin.is_left_alone().await);
}

#[tokio::test]
async fn idle_upstream_connections_are_closed_in_time() {
    let (origin, _proxy, mut client) = scene_with("", "keepalive_timeout = \"50ms\"").await;
    client.send(GET).await;
    let mut upstream: Wire = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    client.response().await;
    upstream.closed().await;
}

#[tokio::test]
async fn no_more_connections_are_kept_than_allowed() {
    let (origin, proxy, mut client) = scene_with("", "max_idle_connections = 1").await;
    let mut other = proxy.client().await;
    client.send(GET).await;
    let mut first = origin.accept().await;
    first.request().await;
    other.send(GET).await;
    let mut second = origin.accept().await;
    second.request().await;
    first.send(OK).await;
    client.response().await;
    second.send(OK).await;
    other.response().await;
    second.closed().await;
    client.send(GET).await;
    first.request().await;
}

#[tokio::test]
async fn requests_are_spread_over_the_endpoints() {
    let stages = [Stage::new().await, Stage::new().await];
    let addresses = stages.each_ref().map(Stage::address);
    let proxy = Proxy::over_with(&addresses, "", "balance = \"round_robin\"").await;
    for _ in 0..2 {
        let mut clients = [proxy.client().await, proxy.client().await];
        for client in &mut clients {
            client.send(GET).await;
        }
        for stage in &stages {
            let mut upstream = stage.accept().await;
            upstream.request().await;
            upstream
                .send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                .await;
        }
        for client in &mut clients {
            assert_eq!(client.response().await.status(), 204);
        }
    }
}
