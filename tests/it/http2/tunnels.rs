//! WebSockets over HTTP/2 (RFC 8441), and connections that end while something runs.

use bytes::Bytes;
use h2::ext::Protocol;
use http::{Method, Request};

use super::client::{Client, get};
use crate::support::origin::Stage;
use crate::support::proxy::{Proxy, over};
use crate::support::{LONG, eventually};

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

fn connect(protocol: &'static str) -> Request<()> {
    Request::builder()
        .method(Method::CONNECT)
        .uri("http://a.test/chat")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .extension(Protocol::from_static(protocol))
        .body(())
        .unwrap()
}

/// A client that has heard that it may ask for tunnels (RFC 8441 §3).
async fn ready_for_tunnels(proxy: &Proxy) -> Client {
    let client = Client::connect(proxy.address("web")).await;
    eventually("the settings", LONG, async || {
        client
            .requests
            .is_extended_connect_protocol_enabled()
            .then_some(())
    })
    .await;
    client
}

async fn next(stream: &mut h2::RecvStream) -> Option<Bytes> {
    loop {
        let piece = tokio::time::timeout(LONG, stream.data()).await;
        let piece = piece.expect("nothing comes")?.unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        if !piece.is_empty() {
            return Some(piece);
        }
    }
}

#[tokio::test]
async fn a_websocket_passes_from_http2_to_http1_and_ends_as_it_should() {
    let origin = Stage::new().await;
    let proxy = Proxy::over(&[origin.address()]).await;
    let mut client = ready_for_tunnels(&proxy).await;
    let (answer, mut to) = client.begin(connect("websocket"), false).await;
    let mut upstream = origin.accept().await;
    let request = upstream.head().await;
    assert_eq!(request.first_line(), "GET /chat HTTP/1.1");
    assert_eq!(request.field("Upgrade"), Some("websocket"));
    assert_eq!(request.field("Connection"), Some("upgrade"));
    assert_eq!(request.field("sec-websocket-version"), Some("13"));
    let key = request.field("sec-websocket-key").unwrap();
    assert_eq!(key.len(), 24, "{key}");
    upstream.send(format!("{SWITCHING}first")).await;
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let mut from = answer.into_body();
    assert_eq!(next(&mut from).await.unwrap(), "first");
    for round in 0..50_u8 {
        let text = Bytes::from(vec![round; 300]);
        to.send_data(text.clone(), false).unwrap();
        assert_eq!(upstream.exactly(300).await, text);
        upstream.send(&text).await;
        assert_eq!(next(&mut from).await.unwrap(), text);
    }
    // Half an end is passed on as one, and other requests go on beside it.
    to.send_data(Bytes::new(), true).unwrap();
    assert_eq!(upstream.rest().await.0, b"");
    let beside = async {
        let mut other = origin.accept().await;
        other.request().await;
        other.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        other
    };
    let (answer, _) = tokio::join!(client.get("/"), beside);
    assert_eq!(answer.unwrap().status, 204);
    upstream.send("last words").await;
    drop(upstream);
    assert_eq!(next(&mut from).await.unwrap(), "last words");
    assert_eq!(next(&mut from).await, None);
}

#[tokio::test]
async fn a_websocket_may_be_declined_and_nothing_else_is_tunnelled() {
    let origin = Stage::new().await;
    let proxy = Proxy::over(&[origin.address()]).await;
    let mut client = ready_for_tunnels(&proxy).await;
    let (answer, _to) = client.begin(connect("websocket"), false).await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        .await;
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(next(&mut answer.into_body()).await.unwrap(), "no");
    let (answer, _to) = client.begin(connect("connect-udp"), false).await;
    assert_eq!(answer.await.unwrap().status(), 405);
    let plain = Request::builder().method("CONNECT").uri("a.test:443");
    let (answer, _to) = client.begin(plain.body(()).unwrap(), false).await;
    assert_eq!(answer.await.unwrap().status(), 405);
    assert!(origin.is_left_alone().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_says_goodbye_and_lets_finish_what_runs() {
    let origin = Stage::new().await;
    let text = over(&[origin.address()], "", "");
    let text = text.replace(
        "worker_threads = 1\n",
        "worker_threads = 1\ndrain_delay = \"0s\"\ndrain_timeout = \"20s\"\n",
    );
    let proxy = Proxy::start(&text).await;
    let mut client = Client::connect(proxy.address("web")).await;
    let (answer, _) = client.begin(get("/"), true).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let idle = Client::connect(proxy.address("web")).await;
    let draining = proxy.server.drain(std::future::pending());
    let watching = async {
        // Nobody is idle for long in a drain.
        let ended = tokio::time::timeout(LONG, idle.connection).await;
        ended.expect("the idle one stays").unwrap().unwrap();
        upstream
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        let answer = super::client::complete(answer.await.unwrap()).await;
        assert_eq!(answer.unwrap().text(), "ok");
        let ended = tokio::time::timeout(LONG, client.connection).await;
        ended.expect("the connection stays").unwrap().unwrap();
    };
    let both = async { tokio::join!(draining, watching) };
    let drained = tokio::time::timeout(LONG, both).await;
    drained.expect("the drain does not end");
}
