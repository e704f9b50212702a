//! What HTTP/1 refuses does not get in by HTTP/2: the status says so, and nothing reaches the endpoint.

use http::{Method, Request};

use super::client::Client;
use crate::support::origin::{Origin, Stage};
use crate::support::proxy::Proxy;

fn request(method: &str, target: &str) -> http::request::Builder {
    Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(target)
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_connection_goes_on() {
    let origin = Origin::start("origin").await;
    let proxy = Proxy::over(&[origin.address]).await;
    let mut client = Client::connect(proxy.address("web")).await;
    let get = || request("GET", "http://a.test/");
    let long = "x".repeat(17 * 1024);
    let many = (0..120).fold(get(), |request, n| request.header(format!("x-{n}"), "y"));
    for (what, request, status, reason) in [
        (
            "two hosts",
            get().header("host", "b.test"),
            400,
            "duplicate_host",
        ),
        (
            "two lengths",
            get()
                .header("content-length", "0")
                .header("content-length", "0"),
            400,
            "duplicate_content_length",
        ),
        (
            "a tunnel",
            request("CONNECT", "a.test:443"),
            405,
            "method_not_allowed",
        ),
        (
            "a trace",
            request("TRACE", "http://a.test/"),
            405,
            "method_not_allowed",
        ),
        (
            "another expectation",
            get().header("expect", "100-perhaps"),
            417,
            "bad_expectation",
        ),
        ("too many fields", many, 431, "too_many_fields"),
        (
            "a long field",
            get().header("x", &long),
            431,
            "field_too_long",
        ),
        (
            "a long target",
            request("GET", &format!("http://a.test/{long}")),
            414,
            "target_too_long",
        ),
    ] {
        let answer = client.ask(request.body(()).unwrap(), b"").await.unwrap();
        assert_eq!(answer.status, status, "{what}");
        assert!(answer.text().contains(reason), "{what}: {}", answer.text());
    }
    assert_eq!(origin.answers(), 0);
    assert_eq!(client.get("/").await.unwrap().text(), "origin");
}

#[tokio::test]
async fn fields_of_a_connection_never_pass() {
    let origin = Stage::new().await;
    let proxy = Proxy::over(&[origin.address()]).await;
    let at = proxy.address("web");
    // RFC 9113 §8.2.2: a request with one of them is malformed.
    for name in [
        "connection",
        "transfer-encoding",
        "upgrade",
        "keep-alive",
        "proxy-connection",
    ] {
        let client = Client::connect(at).await;
        let odd = request("GET", "http://a.test/")
            .header(name, "chunked")
            .body(())
            .unwrap();
        let asked = client
            .requests
            .clone()
            .ready()
            .await
            .unwrap()
            .send_request(odd, true);
        // Our client may refuse to send it; whoever sends it is refused.
        if let Ok((answer, _)) = asked {
            let error = answer.await.unwrap_err();
            assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR), "{name}");
        }
    }
    assert!(origin.is_left_alone().await);
    // What looks like one of them to an endpoint behind us is left out.
    let mut client = Client::connect(at).await;
    let odd = request("GET", "http://a.test/")
        .header("content_length", "5")
        .header("x-forwarded-host", "evil.test")
        .header("proxy", "http://evil.test")
        .body(())
        .unwrap();
    let answering = async {
        let mut upstream = origin.accept().await;
        let seen = upstream.request().await;
        assert_eq!(seen.field("content_length"), None);
        assert_eq!(seen.field("proxy"), None);
        assert_eq!(seen.field("X-Forwarded-Host"), Some("a.test"));
        upstream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        upstream
    };
    let (answer, _upstream) = tokio::join!(client.ask(odd, b""), answering);
    assert_eq!(answer.unwrap().status, 204);
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_announced_is_no_body() {
    let origin = Stage::new().await;
    let proxy = Proxy::over(&[origin.address()]).await;
    for (length, sent) in [("5", &b"abc"[..]), ("2", b"abc")] {
        let mut client = Client::connect(proxy.address("web")).await;
        let post = request("POST", "http://a.test/").header("content-length", length);
        let (answer, mut stream) = client.begin(post.body(()).unwrap(), false).await;
        stream.send_data(sent.into(), true).unwrap();
        assert!(answer.await.is_err(), "{length}");
    }
    // The endpoint may have seen the head of one; it has never seen the end of its body.
    while !origin.is_left_alone().await {
        let (said, _) = origin.accept().await.rest().await;
        assert!(
            !said.ends_with(b"abc") || said.ends_with(b"\r\n\r\nabc"),
            "{said:?}"
        );
    }
}
