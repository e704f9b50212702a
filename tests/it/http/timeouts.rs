//! Nothing waits for ever: each wait has its time-out, and each says which one it was.

use std::time::Duration;

use fairlead::base::time;

use super::{GET, OK, local, scene, scene_with};
use crate::support::LONG;
use crate::support::origin::Stage;
use crate::support::proxy::Proxy;
use crate::support::raw::End;

#[tokio::test]
async fn an_endpoint_that_never_answers_is_given_up() {
    let (origin, proxy, mut client) = scene_with("", "first_byte_timeout = \"100ms\"").await;
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        1\r\nx\r\n0\r\n\r\n";
    for request in [GET, chunked] {
        client.send(request).await;
        let mut upstream = origin.accept().await;
        upstream.request().await;
        let answer = client.response().await;
        assert_eq!(answer.status(), 504, "{request}");
        assert_eq!(
            answer.field("Proxy-Status"),
            Some("fairlead; error=http_response_timeout; details=\"first_byte_timeout\"")
        );
        let (rest, _) = upstream.rest().await;
        assert!(rest.is_empty());
        client = proxy.client().await;
    }
    proxy.counts(&local("web", "first_byte_timeout"), 2.0).await;
}

#[tokio::test]
async fn an_endpoint_that_never_says_continue_is_given_up() {
    let (origin, _proxy, mut client) = scene_with("", "first_byte_timeout = \"100ms\"").await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(head).await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    let answer = client.response().await;
    assert_eq!(
        (answer.status(), answer.field("Connection")),
        (504, Some("close"))
    );
    let text = answer.text();
    assert!(text.starts_with("504 first_byte_timeout"), "{text}");
    upstream.rest().await;
}

#[tokio::test]
async fn an_endpoint_that_says_continue_for_ever_is_given_up() {
    let times = "first_byte_timeout = \"100ms\"\nidle_timeout = \"100ms\"";
    let (origin, _proxy, mut client) = scene_with("", times).await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let ever = async {
        loop {
            // It may be closed by now.
            upstream
                .try_send("HTTP/1.1 100 Continue\r\n\r\n")
                .await
                .ok();
            // The pace of an endpoint that is always in time, and never done.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answer = async {
        loop {
            let status = client.response().await.status();
            if status != 100 {
                return status;
            }
        }
    };
    tokio::select! {
        () = ever => {}
        status = tokio::time::timeout(LONG, answer) => assert_eq!(status, Ok(504)),
    }
}

#[tokio::test]
async fn a_client_that_may_continue_and_does_not_is_told_so() {
    let (origin, _proxy, mut client) = scene_with("", "idle_timeout = \"100ms\"").await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.send(head).await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 100);
    assert_eq!(client.response().await.status(), 408);
    upstream.rest().await;
}

#[tokio::test]
async fn an_answer_that_stands_still_is_cut() {
    let (origin, _proxy, mut client) = scene_with("", "idle_timeout = \"100ms\"").await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        .await;
    assert_eq!(client.head().await.status(), 200);
    let (rest, _) = client.rest().await;
    assert_eq!(rest, b"01234", "and no second answer behind it");
    upstream.rest().await;
}

#[tokio::test]
async fn an_answer_in_small_pieces_goes_on_for_as_long_as_it_moves() {
    let (origin, _proxy, mut client) = scene_with("", "idle_timeout = \"1s\"").await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
        .await;
    client.head().await;
    for _ in 0..30 {
        // Longer in all than the time between two movements may be.
        tokio::time::sleep(Duration::from_millis(50)).await;
        upstream.send("x").await;
        client.exactly(1).await;
    }
}

/// A route with a time for the whole exchange.
async fn limited(timeout: &str, upstream: &str) -> (Stage, Proxy) {
    let origin = Stage::new().await;
    let text = format!(
        "[process]\nworker_threads = 1\n\
         [listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\n\
         [routes.all]\nlisteners = [\"web\"]\nupstream = \"app\"\ntimeout = \"{timeout}\"\n\
         [upstreams.app]\nkind = \"http\"\nendpoints = [{{ address = \"{}\" }}]\n{upstream}\n",
        origin.address()
    );
    (origin, Proxy::start(&text).await)
}

#[tokio::test]
async fn the_time_of_a_route_holds_for_the_whole_exchange() {
    let (origin, proxy) = limited("100ms", "").await;
    let mut client = proxy.client().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let answer = client.response().await;
    assert_eq!(answer.status(), 504);
    assert!(answer.text().starts_with("504 total_timeout"));
    upstream.rest().await;
    // An answer that has begun and moves is cut all the same.
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        .await;
    let drip = async {
        while upstream.try_send("x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await; // it moves all the time
        }
    };
    let ((rest, _), ()) = tokio::join!(client.rest(), drip);
    assert!(rest.starts_with(b"HTTP/1.1 200 OK\r\n"));
    proxy.counts(&local("all", "total_timeout"), 1.0).await;
}

/// An address that takes no connection and refuses none: its queue is full.
async fn deaf() -> (tokio::net::TcpListener, Vec<tokio::net::TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    loop {
        let connecting = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(300), connecting).await {
            Ok(stream) => waiting.push(stream.unwrap()),
            Err(_) => return (listener, waiting),
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_never_made_is_given_up() {
    let (listener, _waiting) = deaf().await;
    let address = listener.local_addr().unwrap();
    let proxy = Proxy::over_with(&[address], "", "connect_timeout = \"100ms\"").await;
    let mut client = proxy.client().await;
    let answer = client.ask(GET).await;
    assert_eq!(answer.status(), 504);
    assert!(answer.text().starts_with("504 upstream_connect_timeout"));
    assert_eq!(answer.field("Connection"), None);
    proxy
        .counts(&local("web", "upstream_connect_timeout"), 1.0)
        .await;
}

#[tokio::test]
async fn the_time_of_a_route_holds_for_connecting_too() {
    let (listener, _waiting) = deaf().await;
    let address = listener.local_addr().unwrap();
    let text = format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\n\
         [routes.all]\nlisteners = [\"web\"]\nupstream = \"app\"\ntimeout = \"100ms\"\n\
         [upstreams.app]\nkind = \"http\"\nendpoints = [{{ address = \"{address}\" }}]\n\
         connect_timeout = \"50s\"\n"
    );
    let proxy = Proxy::start(&text).await;
    let answer = proxy.client().await.ask(GET).await;
    assert_eq!(answer.status(), 504);
    assert!(answer.text().starts_with("504 total_timeout"));
}

#[tokio::test]
async fn a_head_that_arrives_in_drips_has_one_deadline() {
    let (origin, proxy, mut client) = scene_with("request_head_timeout = \"300ms\"", "").await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let began = time::now();
    let drip = async {
        // Every drip would move a deadline that counts from the last read.
        let mut client = client;
        while time::now().since(began) < crate::support::LONG {
            if !client.is_silent(Duration::from_millis(20)).await {
                break;
            }
            client.try_send("X-Drip: 1\r\n").await.ok();
        }
        client
    };
    let mut client = drip.await;
    let answer = client.response().await;
    assert_eq!(
        (answer.status(), answer.field("Connection")),
        (408, Some("close"))
    );
    assert!(origin.is_left_alone().await);
    proxy.counts(&local("-", "head_timeout"), 1.0).await;
}

#[tokio::test]
async fn a_second_head_that_never_ends_is_refused_too() {
    let (origin, _proxy, mut client) = scene_with("request_head_timeout = \"200ms\"", "").await;
    client.send(format!("{GET}GET /2 HTTP/1.1\r\nHo")).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
    assert_eq!(client.response().await.status(), 408);
    client.closed().await;
}

#[tokio::test]
async fn an_answer_for_which_nobody_is_there_any_more_ends_alone() {
    let (origin, proxy, mut client) = scene().await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    client.reset();
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        .await;
    while upstream.try_send(vec![b'x'; 10_000]).await.is_ok() {}
    let mut next = proxy.client().await;
    next.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(next.response().await.text(), "ok");
}

#[tokio::test]
async fn the_last_answer_waits_only_so_long_for_the_client_to_close() {
    let (origin, _proxy, mut client) = scene().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream.send(OK).await;
    assert_eq!(client.response().await.field("Connection"), Some("close"));
    assert_eq!(client.rest().await, (Vec::new(), End::Closed));
    // It keeps its half open for ever and sends: at last nobody listens any more.
    crate::support::eventually(
        "the connection to be gone",
        crate::support::LONG,
        async || client.try_send("more").await.is_err().then_some(()),
    )
    .await;
}
