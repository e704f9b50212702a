//! Clients that are slower than they may be are cut; whoever waits for an endpoint is not.

use std::time::Duration;

use super::abuse::refused;
use super::{GET, OK, local, scene_with};
use crate::support::raw::{End, Wire};
use crate::support::{LONG, eventually};

const STRICT: &str = "min_rate = \"1MiB/s\"\nmin_rate_grace = \"100ms\"";
const MILD: &str = "min_rate = \"200B/s\"\nmin_rate_grace = \"400ms\"";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";

/// One step of somebody slow.
async fn pause() {
    // There is nothing to wait for: being slow is what is tested.
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Sends single bytes until an answer comes or the connection ends.
async fn drip(client: &mut Wire) {
    let dripping = async {
        while client.is_silent(Duration::from_millis(20)).await
            && client.try_send("x").await.is_ok()
        {}
    };
    let cut = tokio::time::timeout(LONG, dripping).await;
    assert!(cut.is_ok(), "a drip is taken for ever");
}

#[tokio::test]
async fn a_body_in_drips_is_cut_although_it_moves() {
    let (origin, proxy, mut client) = scene_with(STRICT, "").await;
    client.send(POST).await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    drip(&mut client).await;
    let answer = client.response().await;
    assert_eq!(answer.status(), 408);
    assert!(answer.field("Proxy-Status").is_some());
    client.closed().await;
    upstream.rest().await;
    proxy.counts(&local("web", "slow_request"), 1.0).await;
    proxy.counts(&refused("slow_request"), 1.0).await;
}

#[tokio::test]
async fn a_chunked_body_in_drips_is_cut_too() {
    let (origin, _proxy, mut client) = scene_with(STRICT, "").await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nFFFF\r\n";
    client.send(head).await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    drip(&mut client).await;
    assert_eq!(client.response().await.status(), 408);
}

#[tokio::test]
async fn a_body_that_is_fast_enough_on_average_goes_through() {
    let (origin, _proxy, mut client) = scene_with(MILD, "").await;
    client.send(POST).await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    // Ten times the least rate, for longer than is forgiven.
    for _ in 0..25 {
        pause().await;
        client.send("x".repeat(40)).await;
    }
    assert_eq!(upstream.exactly(1000).await.len(), 1000);
    upstream.send(OK).await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_reset_and_the_endpoint_is_free() {
    let (origin, proxy, mut client) = scene_with(STRICT, "").await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let length = 64_000_000;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    upstream.send(head).await;
    let piece = vec![b'x'; 100_000];
    let mut sent = 0;
    // The kernel's buffers fill up, and then both sides are cut.
    while sent < length && upstream.try_send(&piece).await.is_ok() {
        sent += piece.len();
    }
    assert!(sent < length, "all of it was taken");
    eventually("the client to be let go", LONG, async || {
        let open = proxy.metric("fairlead_listener_connections{listener=\"web\"}");
        (open == 0.0).then_some(())
    })
    .await;
    proxy.counts(&refused("slow_reader"), 1.0).await;
    // What the kernel held is gone: the client does not take a part for the whole.
    let (got, end) = client.rest().await;
    assert!(end == End::Reset && got.len() < length, "{end:?}");
}

#[tokio::test]
async fn a_reader_that_is_fast_enough_reads_to_the_end() {
    let (origin, _proxy, mut client) = scene_with(MILD, "").await;
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    let length = 16_000_000;
    let sending = async {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        upstream.send(head).await;
        upstream.send(vec![b'x'; length]).await;
    };
    let reading = async {
        client.head().await;
        for _ in 0..40 {
            pause().await;
            client.exactly(length / 40).await;
        }
    };
    tokio::join!(sending, reading);
}

#[tokio::test]
async fn the_slowness_of_an_endpoint_cuts_nobody() {
    let (origin, _proxy, mut client) = scene_with(STRICT, "").await;
    // An answer in drips.
    client.send(GET).await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
        .await;
    client.head().await;
    for _ in 0..30 {
        pause().await;
        upstream.send("x").await;
        client.exactly(1).await;
    }
    // A request that it does not read for a long time.
    let length = 16_000_000;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let sending = async {
        client.send(head).await;
        client.send(vec![b'x'; length]).await;
    };
    let reading = async {
        upstream.head().await;
        for _ in 0..40 {
            pause().await;
            upstream.exactly(length / 40).await;
        }
        upstream.send(OK).await;
    };
    tokio::join!(sending, reading);
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test]
async fn once_the_answer_has_begun_the_request_may_take_its_time() {
    let (origin, _proxy, mut client) = scene_with(STRICT, "").await;
    client.send(POST).await;
    let mut upstream = origin.accept().await;
    upstream.head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        .await;
    client.head().await;
    client.exactly(1).await;
    for _ in 0..40 {
        pause().await;
        client.send("x".repeat(25)).await;
        upstream.exactly(25).await;
    }
    upstream.send("k").await;
    assert_eq!(client.exactly(1).await, b"k");
}
