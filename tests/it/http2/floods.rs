//! Clients that send what costs them nothing and us something: each is stopped within its bound, and an
//! honest client beside it is served throughout.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fairlead::base::task::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::client::{Client, get};
use crate::support::origin::{Origin, Stage};
use crate::support::proxy::Proxy;
use crate::support::{LONG, eventually};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:method GET`, `:scheme http`, `:path /`, `:authority a.test`, all but the last from HPACK's static
/// table (RFC 7541 appendix A).
const GET: &[u8] = b"\x82\x86\x84\x41\x06a.test";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Frames of a flood: far more than any bound. All of them may fit into the buffers between us, so what
/// shows that it was stopped is that the connection is closed, which nobody else would do.
const SENT_MAX: usize = 60_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn headers(stream: u32, flags: u8) -> Vec<u8> {
    frame(1, END_HEADERS | flags, stream, GET)
}

/// Asks without a pause until it is told to stop; every answer must be a good one.
fn honest(at: SocketAddr, is_over: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let is_over = Arc::clone(is_over);
    Tasks::default().spawn(async move {
        let mut client = Client::connect(at).await;
        let mut served = 0;
        while !is_over.load(Ordering::Relaxed) {
            assert_eq!(client.get("/").await.unwrap().text(), "origin");
            served += 1;
        }
        served
    })
}

/// Sends `more(n)` for n = 0, 1, …, and waits until the connection is closed; gives the code of the
/// GOAWAY.
async fn flood(at: SocketAddr, first: Vec<u8>, more: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let stream = TcpStream::connect(at).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let said = Arc::new(AtomicUsize::new(usize::MAX));
    let code = Arc::clone(&said);
    let reading = Tasks::default().spawn(async move {
        let mut header = [0; 9];
        while from.read_exact(&mut header).await.is_ok() {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; length as usize];
            if from.read_exact(&mut payload).await.is_err() {
                return;
            }
            if header[3] == 7 {
                let told = u32::from_be_bytes(payload[4..8].try_into().unwrap());
                code.store(told as usize, Ordering::Relaxed);
            }
        }
    });
    let mut beginning = PREFACE.to_vec();
    beginning.extend(frame(4, 0, 0, b""));
    beginning.extend(first);
    to.write_all(&beginning).await.unwrap();
    let mut sent = 0;
    while !reading.is_finished() && sent < SENT_MAX {
        let mut batch = Vec::new();
        for _ in 0..20 {
            batch.extend(more(u32::try_from(sent).unwrap()));
            sent += 1;
        }
        if to.write_all(&batch).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let ended = tokio::time::timeout(LONG, reading).await;
    ended.expect("the connection stays open").unwrap();
    let told = said.load(Ordering::Relaxed);
    u32::try_from(told).ok()
}

fn odd(number: u32) -> u32 {
    number * 2 + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flood_is_stopped_and_others_are_served() {
    const CALM: u32 = 11;
    let origin = Origin::start("origin").await;
    let proxy = Proxy::over(&[origin.address]).await;
    let at = proxy.address("web");
    let open = headers(1, 0);
    type More = fn(u32) -> Vec<u8>;
    let floods: [(&str, Vec<u8>, More); 9] = [
        // CVE-2023-44487
        ("rapid reset", Vec::new(), |n| {
            [
                headers(odd(n), END_STREAM),
                frame(3, 0, odd(n), &[0, 0, 0, 8]),
            ]
            .concat()
        }),
        // CVE-2025-8671: the client makes us reset its streams, here by a window update of nothing.
        ("made you reset", Vec::new(), |n| {
            [headers(odd(n), END_STREAM), frame(8, 0, odd(n), &[0; 4])].concat()
        }),
        // CVE-2019-9515
        ("settings", Vec::new(), |_| frame(4, 0, 0, b"")),
        // CVE-2019-9512
        ("ping", Vec::new(), |_| frame(6, 0, 0, &[7; 8])),
        // CVE-2019-9518
        ("empty data", open.clone(), |_| frame(0, 0, 1, b"")),
        // CVE-2019-9513
        ("priority", open.clone(), |_| {
            frame(2, 0, 1, &[0, 0, 0, 0, 1])
        }),
        ("window updates", open.clone(), |_| {
            frame(8, 0, 0, &[0, 0, 0, 1])
        }),
        ("unknown frames", Vec::new(), |_| frame(0xbe, 0, 0, b"x")),
        // CVE-2024-27316: a head that never ends.
        ("continuation", frame(1, END_STREAM, 1, GET), |_| {
            frame(9, 0, 1, b"\x40\x01a\x01b")
        }),
    ];
    let mut stopped = 0.0;
    for (name, first, more) in floods {
        let is_over = Arc::new(AtomicBool::new(false));
        let answers = origin.answers();
        let beside = honest(at, &is_over);
        let code = flood(at, first, more).await;
        is_over.store(true, Ordering::Relaxed);
        let served = beside.await.unwrap();
        assert!(served > 0, "{name}: nobody else was served");
        assert!(
            code.is_none_or(|code| code == CALM || code == 1),
            "{name}: {code:?}"
        );
        let reached = origin.answers() - answers - served;
        assert!(
            reached <= 1_100,
            "{name}: {reached} requests reached the endpoint"
        );
        stopped += 1.0;
        eventually(name, LONG, async || {
            let reasons = ["http2_flood", "http2_protocol_error"];
            let counts = reasons.map(|reason| {
                let labels = format!("{{listener=\"web\",reason=\"{reason}\"}}");
                proxy.metric(&format!("fairlead_http_refused_requests_total{labels}"))
            });
            (counts.iter().sum::<f64>() >= stopped).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_head_that_grows_when_it_is_unpacked_is_refused() {
    let origin = Origin::start("origin").await;
    let proxy = Proxy::over(&[origin.address]).await;
    let at = proxy.address("web");
    // CVE-2016-6581: one field of 3900 bytes into the table, then one byte each time it is meant.
    let mut bomb = GET.to_vec();
    bomb.extend(b"\x40\x01a\x7f\xbd\x1d");
    bomb.extend(vec![b'x'; 3900]);
    bomb.extend(vec![0xbe; 8000]);
    let mut stream = TcpStream::connect(at).await.unwrap();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, b""));
    bytes.extend(frame(1, END_HEADERS | END_STREAM, 1, &bomb));
    stream.write_all(&bytes).await.unwrap();
    let mut client = Client::connect(at).await;
    assert_eq!(client.get("/").await.unwrap().text(), "origin");
    assert_eq!(origin.answers(), 1, "the bomb reached the endpoint");
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_and_the_others_go_on() {
    let origin = Stage::new().await;
    let rate = "min_rate = \"1KiB/s\"\nmin_rate_grace = \"300ms\"";
    let proxy = Proxy::over_with(&[origin.address()], rate, "").await;
    let mut client = Client::connect(proxy.address("web")).await;
    let (answer, _) = client.begin(get("/big"), true).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let body = "x".repeat(300_000);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    upstream.send(head + &body).await;
    let answer = answer.await.unwrap();
    // The window is full, and nothing is given back.
    let series =
        "fairlead_http_requests_total{listener=\"web\",route=\"web\",method=\"GET\",code=\"200\"}";
    proxy.counts(series, 1.0).await;
    let beside = async {
        let mut other = origin.accept().await;
        other.request().await;
        other.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        other
    };
    let (other, _other) = tokio::join!(client.get("/"), beside);
    assert_eq!(other.unwrap().status, 204);
    let ended = super::client::complete(answer).await;
    assert_eq!(
        ended.unwrap_err().reason(),
        Some(h2::Reason::INTERNAL_ERROR)
    );
}
