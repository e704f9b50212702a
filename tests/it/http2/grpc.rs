//! Calls of gRPC, frame by frame: deadlines, statuses, metadata. What a real client and a real server
//! make of it is tested beside the probe.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Request;

use super::client::{Client, get};
use super::origin::Http2Origin;
use crate::support::proxy::Proxy;
use crate::support::{LONG, eventually};

fn call(path: &str) -> http::request::Builder {
    Request::post(format!("http://a.test{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
}

#[tokio::test]
async fn what_we_say_ourselves_is_a_status_of_grpc() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
    let nobody = nobody.unwrap();
    let routes = "[routes.app]\nlisteners = [\"web\"]\nhosts = [\"a.test\"]\nupstream = \"app\"\n";
    let text = format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\n{routes}\
         [upstreams.app]\nkind = \"http\"\nhttp2 = true\nendpoints = [{{ address = \"{nobody}\" }}]\n"
    );
    let proxy = Proxy::start(&text).await;
    let mut client = Client::connect(proxy.address("web")).await;
    let answer = client
        .ask(call("/s/m").body(()).unwrap(), b"")
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.field("grpc-status")),
        (200, Some("14"))
    );
    assert_eq!(
        answer.field("grpc-message"),
        Some("upstream_connect_failed")
    );
    assert_eq!(answer.field("content-type"), Some("application/grpc"));
    assert_eq!(answer.field("content-length"), None, "trailers only");
    let elsewhere = Request::post("http://b.test/s/m").header("content-type", "application/grpc");
    let answer = client
        .ask(elsewhere.body(()).unwrap(), b"abc")
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.field("grpc-status")),
        (200, Some("12"))
    );
    // Whoever calls nothing hears HTTP.
    assert_eq!(client.get("/").await.unwrap().status, 502);
}

#[tokio::test]
async fn a_callers_deadline_ends_the_call_on_both_sides() {
    let origin = Http2Origin::start("two").await;
    let proxy = Proxy::over_with(&[origin.address], "", "http2 = true").await;
    let mut client = Client::connect(proxy.address("web")).await;
    let request = call("/wait")
        .header("grpc-timeout", "300m")
        .body(())
        .unwrap();
    let answer = client.ask(request, b"").await.unwrap();
    assert_eq!(
        (answer.status, answer.field("grpc-status")),
        (200, Some("4"))
    );
    assert_eq!(answer.field("grpc-message"), Some("total_timeout"));
    eventually("the endpoint to hear of it", LONG, async || {
        (origin.resets() == 1).then_some(())
    })
    .await;
    // That was the caller's impatience, not the connection's fault.
    assert_eq!(client.get("/").await.unwrap().status, 200);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_connection_on_which_an_answer_is_late_gets_no_new_request() {
    let origin = Http2Origin::start("two").await;
    let limits = "http2 = true\nfirst_byte_timeout = \"200ms\"";
    let proxy = Proxy::over_with(&[origin.address], "", limits).await;
    let mut client = Client::connect(proxy.address("web")).await;
    let answer = client
        .ask(call("/wait").body(()).unwrap(), b"")
        .await
        .unwrap();
    assert_eq!(answer.field("grpc-status"), Some("4"));
    assert_eq!(client.get("/").await.unwrap().status, 200);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn metadata_of_a_call_passes_and_that_of_others_does_not() {
    let origin = Http2Origin::start("two").await;
    let proxy = Proxy::over_with(&[origin.address], "", "http2 = true").await;
    let mut client = Client::connect(proxy.address("web")).await;
    let called = client
        .ask(call("/trailers").body(()).unwrap(), b"abc")
        .await
        .unwrap();
    assert_eq!(called.trailers["grpc-status"], "0");
    assert_eq!(called.trailers["x-else"], "1");
    let request = Request::get("http://a.test/trailers").header("te", "trailers");
    let plain = client.ask(request.body(()).unwrap(), b"").await.unwrap();
    assert_eq!(plain.trailers["grpc-status"], "0");
    assert!(!plain.trailers.contains_key("x-else"));
}

#[tokio::test]
async fn a_failed_call_counts_against_its_endpoint() {
    let origin = Http2Origin::start("two").await;
    let proxy = Proxy::over_with(&[origin.address], "", "http2 = true").await;
    let mut client = Client::connect(proxy.address("web")).await;
    let counts = |class: usize| {
        let snapshot = proxy.upstream("app").snapshot.load();
        let endpoint = &snapshot.endpoints[0].endpoint;
        endpoint.counts.answers[class].load(Ordering::Relaxed)
    };
    for (path, class) in [("/trailers", 1), ("/unavailable", 4), ("/not-found", 3)] {
        let before = counts(class);
        let answer = client.ask(call(path).body(()).unwrap(), b"").await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
        eventually(path, LONG, async || {
            (counts(class) == before + 1).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_call_may_be_silent_for_longer_than_a_body() {
    let origin = Http2Origin::start("two").await;
    let limits = "http2 = true\nidle_timeout = \"200ms\"";
    let quick = "min_rate = \"1KiB/s\"\nmin_rate_grace = \"200ms\"";
    let proxy = Proxy::over_with(&[origin.address], quick, limits).await;
    let mut client = Client::connect(proxy.address("web")).await;
    let (mut answer, mut stream) = client.begin(call("/").body(()).unwrap(), false).await;
    stream.send_data("abc".into(), false).unwrap();
    let silence = tokio::time::timeout(Duration::from_secs(1), &mut answer).await;
    assert!(silence.is_err(), "it was ended: {silence:?}");
    stream.send_data("def".into(), true).unwrap();
    let answer = super::client::complete(answer.await.unwrap())
        .await
        .unwrap();
    assert_eq!(answer.text(), "two 6");
    assert_eq!(client.ask(get("/"), b"").await.unwrap().status, 200);
}

#[tokio::test]
async fn the_access_log_tells_how_a_call_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let origin = Http2Origin::start("two").await;
    let log = format!(
        "http2 = true\n[log.access]\nenabled = true\nformat = \"json\"\noutput = \"{}\"\nsample = \"0.0001%\"",
        path.display()
    );
    let proxy = Proxy::over_with(&[origin.address], "", &log).await;
    let mut client = Client::connect(proxy.address("web")).await;
    for (path, timeout) in [("/unavailable", "10S"), ("/wait", "200m")] {
        let request = call(path).header("grpc-timeout", timeout).body(()).unwrap();
        assert_eq!(client.ask(request, b"").await.unwrap().status, 200);
    }
    let lines = eventually("two records", LONG, async || {
        let text = std::fs::read_to_string(&path).ok()?;
        (text.lines().count() == 2).then_some(text)
    })
    .await;
    let [first, second] = lines.lines().collect::<Vec<_>>()[..] else {
        panic!("{lines}");
    };
    assert!(
        first.contains("\"version\":\"HTTP/2\",\"status\":200,\"grpc_status\":14,"),
        "{first}"
    );
    assert!(second.contains("\"grpc_status\":4,"), "{second}");
    assert!(second.contains("\"reason\":\"total_timeout\""), "{second}");
}
