//! Requests and answers of every kind, over every mixture of versions.

use http::Request;
use tokio::process::Command;

use super::chain;
use super::client::{Client, complete, get, send};
use super::origin::Http2Origin;
use crate::support::origin::{Origin, Stage};
use crate::support::process::program;
use crate::support::proxy::Proxy;
use crate::support::raw::Wire;
use crate::support::{LONG, eventually};

fn post(path: &str) -> http::request::Builder {
    Request::post(format!("http://a.test{path}"))
}

#[tokio::test]
async fn http2_in_clear_reaches_an_http1_endpoint_and_looks_like_any_request() {
    let origin = Stage::new().await;
    let proxy = Proxy::over(&[origin.address()]).await;
    let mut client = Client::connect(proxy.address("web")).await;
    let request = Request::get("http://a.test/a?b=c")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-forwarded-for", "6.6.6.6")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let asking = client.ask(request, b"");
    let answering = async {
        let mut upstream = origin.accept().await;
        let request = upstream.request().await;
        assert_eq!(request.first_line(), "GET /a?b=c HTTP/1.1");
        assert_eq!(request.field("host"), Some("a.test"));
        assert_eq!(request.field("cookie"), Some("a=1; b=2"));
        assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.1"));
        assert_eq!(request.field("Via"), Some("2 fairlead"));
        upstream
            .send(
                "HTTP/1.1 200 OK\r\nConnection: x-gone\r\nX-Gone: 1\r\nX-Here: 1\r\n\
                 Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\n\r\n",
            )
            .await;
        upstream
    };
    let (answer, _upstream) = tokio::join!(asking, answering);
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "abc"));
    assert_eq!(answer.field("x-here"), Some("1"));
    for name in ["connection", "x-gone", "transfer-encoding"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    assert_eq!(answer.trailers["grpc-status"], "0");
}

#[tokio::test]
async fn bodies_of_every_size_pass_every_mixture_of_versions() {
    let origin = Origin::start("origin").await;
    let http2 = Http2Origin::start("two").await;
    let (near, far) = chain(origin.address, "", "").await;
    let straight = Proxy::over_with(&[http2.address], "", "http2 = true").await;
    for size in [0, 1, 70_000, 3_000_000] {
        let body = vec![b'x'; size];
        for (at, expected) in [
            (near.address("web"), "origin".to_owned()),
            (far.address("web"), "origin".to_owned()),
            (straight.address("web"), format!("two {size}")),
        ] {
            // HTTP/2, of unknown length and of a known one.
            let mut client = Client::connect(at).await;
            let unknown = post("/").body(()).unwrap();
            let answer = client.ask(unknown, &body).await.unwrap();
            assert_eq!((answer.status, answer.text()), (200, expected.as_str()));
            let known = post("/").header("content-length", size).body(()).unwrap();
            let answer = client.ask(known, &body).await.unwrap();
            assert_eq!((answer.status, answer.text()), (200, expected.as_str()));
            // HTTP/1, both ways.
            let mut client = Wire::connect(at).await;
            let head = "POST / HTTP/1.1\r\nHost: a.test\r\n";
            client
                .send(format!("{head}Content-Length: {size}\r\n\r\n"))
                .await;
            client.send(&body).await;
            assert_eq!(client.response().await.text(), expected);
            client
                .send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"))
                .await;
            if size > 0 {
                client.send(format!("{size:x}\r\n")).await;
                client.send(&body).await;
                client.send("\r\n").await;
            }
            client.send("0\r\n\r\n").await;
            assert_eq!(client.response().await.text(), expected);
        }
    }
    let schemes = Client::connect(straight.address("web"))
        .await
        .get("/")
        .await;
    assert_eq!(schemes.unwrap().field("x-scheme"), Some("http"));
}

#[tokio::test]
async fn many_requests_share_a_connection_and_a_limit_of_streams_asks_for_another() {
    let origin = Http2Origin::start_with("two", 10).await;
    let proxy = Proxy::over_with(&[origin.address], "", "http2 = true").await;
    let mut client = Client::connect(proxy.address("web")).await;
    let first = client.get("/").await.unwrap();
    assert_eq!(first.text(), "two 0");
    let mut waiting = Vec::new();
    for _ in 0..25 {
        waiting.push(client.begin(get("/wait"), true).await);
    }
    eventually("all to be there", LONG, async || {
        (origin.streams() == 26).then_some(())
    })
    .await;
    assert_eq!(origin.connections(), 3);
    // Who gives up frees its place at the endpoint.
    drop(waiting);
    eventually("all to be given up", LONG, async || {
        (origin.resets() == 25).then_some(())
    })
    .await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn a_client_that_gives_up_is_noticed_before_the_answer() {
    let origin = Stage::new().await;
    let proxy = Proxy::over(&[origin.address()]).await;
    let mut client = Client::connect(proxy.address("web")).await;
    let (answer, mut stream) = client.begin(get("/"), true).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(answer);
    // The endpoint need not go on.
    upstream.rest().await;
    let series =
        "fairlead_http_requests_total{listener=\"web\",route=\"web\",method=\"GET\",code=\"499\"}";
    proxy.counts(series, 1.0).await;
    // The connection goes on.
    let answering = async {
        let mut upstream = origin.accept().await;
        upstream.request().await;
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        upstream
    };
    let (answer, _) = tokio::join!(client.get("/"), answering);
    assert_eq!(answer.unwrap().status, 204);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let origin = Stage::new().await;
    let proxy = Proxy::over(&[origin.address()]).await;
    let mut client = Client::connect(proxy.address("web")).await;
    for framing in [
        "Content-Length: 9\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let answering = async {
            let mut upstream = origin.accept().await;
            upstream.request().await;
            upstream.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        };
        let (answer, ()) = tokio::join!(client.get("/"), answering);
        let error = answer.unwrap_err();
        assert_eq!(
            error.reason(),
            Some(h2::Reason::INTERNAL_ERROR),
            "{framing}"
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_has_not_begun_is_replaced_by_another() {
    let (one, two) = (
        Http2Origin::start("one").await,
        Http2Origin::start("two").await,
    );
    let endpoints = [one.address, two.address];
    let proxy = Proxy::over_with(&endpoints, "", "http2 = true\nbalance = \"round_robin\"").await;
    let mut client = Client::connect(proxy.address("web")).await;
    // Both refuse: that is the answer, and both were asked, although it is no idempotent request.
    let answer = client.ask(post("/refuse").body(()).unwrap(), b"").await;
    assert_eq!(answer.unwrap().status, 502);
    assert_eq!(one.streams() + two.streams(), 2);
    // One leaves: nobody notices.
    for _ in 0..6 {
        assert_eq!(client.get("/leave").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn trailers_pass_from_end_to_end() {
    let origin = Http2Origin::start("two").await;
    let proxy = Proxy::over_with(&[origin.address], "", "http2 = true").await;
    let mut client = Client::connect(proxy.address("web")).await;
    let request = post("/trailers").header("te", "trailers").body(()).unwrap();
    let (answer, mut stream) = client.begin(request, false).await;
    send(&mut stream, b"abc", false).await.unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "7".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let answer = complete(answer.await.unwrap()).await.unwrap();
    assert_eq!(answer.text(), "two 3");
    assert_eq!(answer.field("x-trailer-grpc-status"), Some("7"));
    assert_eq!(answer.trailers["grpc-status"], "0");
}

#[tokio::test]
async fn curl_and_h2load_are_served() {
    let origin = Origin::start("origin").await;
    let proxy = Proxy::over(&[origin.address]).await;
    let at = proxy.address("web");
    let version = "%{http_version} %{http_code}";
    let output = Command::new(program("curl", "curl"))
        .args([
            "-sS",
            "--max-time",
            "20",
            "--http2-prior-knowledge",
            "-w",
            version,
        ])
        .arg(format!("http://{at}/"))
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "origin2 200");
    let output = Command::new(program("h2load", "nghttp2-client"))
        .args(["-n", "5000", "-c", "10", "-m", "40"])
        .arg(format!("http://{at}/"))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{said}"
    );
    assert!(said.contains("status codes: 5000 2xx"), "{said}");
    assert_eq!(origin.answers(), 5001);
}

#[tokio::test]
async fn a_connection_without_a_request_ends_with_a_goodbye() {
    let origin = Origin::start("origin").await;
    let proxy = Proxy::over_with(&[origin.address], "keepalive_timeout = \"200ms\"", "").await;
    let mut client = Client::connect(proxy.address("web")).await;
    assert_eq!(client.get("/").await.unwrap().text(), "origin");
    let ended = tokio::time::timeout(LONG, client.connection).await;
    ended.expect("it stays").unwrap().unwrap();
}

#[tokio::test]
async fn a_field_with_white_space_around_it_is_malformed() {
    let origin = Http2Origin::start("one").await;
    let proxy = Proxy::over_with(&[origin.address], "", "http2 = true").await;
    let mut client = Client::connect(proxy.address("web")).await;
    for value in [" a", "a\t"] {
        let mut request = super::client::get("/");
        let value = http::HeaderValue::from_static(value);
        request.headers_mut().insert("x", value);
        let error = client.ask(request, b"").await.unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR));
    }
    let refused =
        "fairlead_http_refused_requests_total{listener=\"web\",reason=\"outer_white_space\"}";
    proxy.counts(refused, 2.0).await;
    assert_eq!(origin.streams(), 0);
    // The connection is as good as before.
    assert_eq!(client.get("/").await.unwrap().status, 200);
}
