//! Probes that speak HTTP/2: what they ask, what counts, and what they say of endpoints that do not.

use std::net::SocketAddr;

use bytes::Bytes;
use fairlead::base::task::Tasks;
use fairlead::config::tls::UpstreamTls;
use fairlead::config::upstream::{GrpcProbe, HttpProbe, Probe};
use fairlead::io::net::tls::Speaks;
use fairlead::io::probe::{Asked, build};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::https::text;
use crate::probes::{ask, say};
use crate::support::authority::Authority;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, over};
use crate::support::{LONG, eventually};

/// The probe's own bound, and a little more.
const MUCH: usize = 70_000;

fn http(body: Option<&str>) -> Probe {
    Probe::Http(HttpProbe {
        method: "GET".to_owned(),
        path: "/health?deep=1".to_owned(),
        host: None,
        expect_status: vec![200..=299],
        expect_body: body.map(str::to_owned),
        is_http2: true,
    })
}

fn grpc(service: &str) -> Probe {
    let service = service.to_owned();
    Probe::Grpc(GrpcProbe { service })
}

async fn probe(config: &Probe, at: SocketAddr) -> Asked {
    ask(&mut build(config, at, "app.example:80", None, None)).await
}

/// How a probe of this endpoint fails.
async fn failure(config: &Probe, at: SocketAddr) -> String {
    probe(config, at).await.unwrap_err().to_string()
}

/// An endpoint that does the same with every request. It ends with the test's runtime.
async fn endpoint(answer: fn(&Request<RecvStream>, SendResponse<Bytes>)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::default();
    tasks.clone().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tasks.spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, response))) = connection.accept().await {
                    answer(&request, response);
                }
            });
        }
    });
    address
}

fn head(status: u16, fields: &[(&str, &str)]) -> Response<()> {
    let mut head = Response::builder().status(status);
    for (name, value) in fields {
        head = head.header(*name, *value);
    }
    head.body(()).unwrap()
}

/// The text of the request behind some other text, and more behind it.
fn echo(request: &Request<RecvStream>, mut response: SendResponse<Bytes>) {
    let asked = format!("{} {}", request.method(), request.uri());
    let mut stream = response.send_response(head(200, &[]), false).unwrap();
    let space = " ".repeat(50_000);
    for text in [space.clone(), asked, space] {
        stream.send_data(text.into(), false).unwrap();
    }
    // It never ends.
    std::mem::forget(stream);
}

#[tokio::test]
async fn status_and_body_count_as_over_http1() {
    let at = endpoint(echo).await;
    let alive = probe(&http(None), at).await;
    assert_eq!(alive.unwrap().to_string(), "status 200");
    let asked = "GET http://app.example:80/health?deep=1";
    assert!(probe(&http(Some(asked)), at).await.is_ok());
    let told = failure(&http(Some("not there")), at).await;
    assert_eq!(told, "bad_answer: the body does not contain \"not there\"");
    let at = endpoint(|_, mut response| {
        response.send_response(head(503, &[]), true).unwrap();
    })
    .await;
    let told = failure(&http(None), at).await;
    assert_eq!(told, "bad_answer: status 503, expected 200-299");
}

#[tokio::test]
async fn who_does_not_speak_http2_is_told_apart() {
    let (http1, _task) = say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let told = failure(&http(None), http1).await;
    assert!(
        told.contains("take http2 out of its upstream") || told.contains("speaks HTTP/1 only"),
        "{told}"
    );
    let (mute, _task) = say(b"").await;
    let told = failure(&grpc(""), mute).await;
    assert_eq!(told, "connect: the connection was closed before the answer");
    let picky = endpoint(|_, mut response| response.send_reset(Reason::HTTP_1_1_REQUIRED)).await;
    let told = failure(&http(None), picky).await;
    assert_eq!(
        told,
        "bad_answer: the endpoint wants HTTP/1.1; take http2 out of its upstream"
    );
    let busy = endpoint(|_, mut response| response.send_reset(Reason::REFUSED_STREAM)).await;
    let told = failure(&grpc(""), busy).await;
    assert_eq!(
        told,
        "bad_answer: the endpoint broke the request off: REFUSED_STREAM"
    );
}

/// Answers as the service it is asked about is called; checks what the question looks like.
fn health(request: &Request<RecvStream>, mut response: SendResponse<Bytes>) {
    assert_eq!(request.method(), "POST");
    let uri = "http://app.example:80/grpc.health.v1.Health/Check";
    assert_eq!(request.uri().to_string(), uri);
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        assert_eq!(request.headers()[name], value);
    }
    let kind = ("content-type", "application/grpc");
    let mut stream = response.send_response(head(200, &[kind]), false).unwrap();
    let serving = Bytes::from_static(b"\0\0\0\0\x02\x08\x01");
    stream.send_data(serving, false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
}

#[tokio::test]
async fn a_call_of_grpc_needs_message_and_status() {
    let at = endpoint(health).await;
    let alive = probe(&grpc(""), at).await;
    assert_eq!(alive.unwrap().to_string(), "SERVING");
    // No body: the only head has the status.
    let at = endpoint(|_, mut response| {
        let fields = [("content-type", "application/grpc"), ("grpc-status", "12")];
        response.send_response(head(200, &fields), true).unwrap();
    })
    .await;
    let told = failure(&grpc(""), at).await;
    assert!(told.starts_with("bad_answer: UNIMPLEMENTED"), "{told}");
    // A page that never ends is given up at once.
    let at = endpoint(echo).await;
    let told = failure(&grpc(""), at).await;
    assert!(told.contains("no gRPC here"), "{told}");
    let at = endpoint(|_, mut response| {
        let kind = ("content-type", "application/grpc");
        let mut stream = response.send_response(head(200, &[kind]), false).unwrap();
        stream.send_data(vec![0; MUCH].into(), false).unwrap();
        std::mem::forget(stream);
    })
    .await;
    let told = failure(&grpc(""), at).await;
    assert_eq!(told, "bad_answer: the answer is longer than 64 KiB");
}

#[tokio::test]
async fn under_tls_both_must_agree_to_it() {
    let authority = Authority::new();
    let site = authority.pair(&["app.example"]);
    let origin = Origin::start("origin").await;
    let tls = UpstreamTls {
        ca: Some(authority.ca().into()),
        ..UpstreamTls::default()
    };
    let asking = async |at: SocketAddr| {
        let config = http(Some("origin"));
        let tls = Some((&tls, Speaks::Http2));
        ask(&mut build(&config, at, "app.example:80", tls, None)).await
    };
    for (listener, told) in [
        ("", Ok("status 200")),
        ("http2 = false", Err("take http2 out of its upstream")),
    ] {
        let listener = format!("tls = {{ certificates = [\"site\"] }}\n{listener}");
        let text = text(origin.address, &listener, "") + &site.table("site");
        let proxy = Proxy::start(&text).await;
        let asked = asking(proxy.address("web")).await;
        match (asked, told) {
            (Ok(evidence), Ok(told)) => assert_eq!(evidence.to_string(), told),
            (Err(failure), Err(told)) => {
                assert!(failure.to_string().contains(told), "{failure}");
            }
            (asked, _) => panic!("{asked:?}"),
        }
    }
}

#[tokio::test]
async fn an_endpoint_whose_probe_fails_over_http2_gets_nothing() {
    let good = endpoint(|_, mut response| {
        response
            .send_response(head(200, &[("x-who", "good")]), true)
            .unwrap();
    })
    .await;
    let bad = endpoint(|_, mut response| {
        response.send_response(head(500, &[]), true).unwrap();
    })
    .await;
    let health = "http2 = true\nhealth = { http = {}, interval = \"100ms\" }";
    let proxy = Proxy::over_with(&[bad, good], "", health).await;
    proxy.verdicts("app", &bad.to_string(), 2).await;
    proxy.verdicts("app", &good.to_string(), 2).await;
    let mut client = super::client::Client::connect(proxy.address("web")).await;
    for _ in 0..20 {
        let answer = client.get("/").await.unwrap();
        assert_eq!(answer.field("x-who"), Some("good"));
    }
}

#[tokio::test]
async fn a_reload_to_http2_is_a_reload_of_the_probe() {
    let at = endpoint(|_, mut response| {
        response.send_response(head(200, &[]), true).unwrap();
    })
    .await;
    let health = "health = { http = {}, interval = \"50ms\", rise = 1, fall = 1 }";
    let proxy = Proxy::start(&over(&[at], "", health)).await;
    let is_up = async |expected: bool| {
        eventually("the endpoint's health", LONG, async || {
            let snapshot = proxy.upstream("app").snapshot.load();
            let view = &snapshot.endpoints[0];
            let is_known = view.endpoint.verdicts.load().last.is_some();
            (is_known && view.is_healthy == expected).then_some(())
        })
        .await;
    };
    is_up(false).await;
    let health = format!("http2 = true\n{health}");
    proxy.reload(&over(&[at], "", &health)).await;
    is_up(true).await;
    let mut client = super::client::Client::connect(proxy.address("web")).await;
    assert_eq!(client.get("/").await.unwrap().status, 200);
}

/// The types of the whole frames in what a client sent, in their order (RFC 9113 §4.1).
fn frames(sent: &[u8]) -> Vec<u8> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut rest = sent.strip_prefix(preface).unwrap_or_default();
    let mut types = Vec::new();
    while let [a, b, c, kind, ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]);
        let Some(behind) = rest.get(9 + usize::try_from(length).unwrap()..) else {
            break;
        };
        types.push(*kind);
        rest = behind;
    }
    types
}

#[tokio::test]
async fn the_endpoint_is_told_goodbye() {
    const HEADERS: u8 = 1;
    const GOAWAY: u8 = 7;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let config = http(None);
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        // SETTINGS, and the whole answer to the first stream: status 200.
        let answer = b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x05\0\0\0\x01\x88";
        let mut sent = Vec::new();
        while !frames(&sent).contains(&HEADERS) {
            assert!(stream.read_buf(&mut sent).await.unwrap() > 0, "no request");
        }
        stream.write_all(answer).await.unwrap();
        stream.read_to_end(&mut sent).await.unwrap();
        sent
    };
    let (asked, sent) = tokio::join!(probe(&config, at), serving);
    assert_eq!(asked.unwrap().to_string(), "status 200");
    assert_eq!(frames(&sent).last(), Some(&GOAWAY), "{:?}", frames(&sent));
}
