//! Postgres clients by their first bytes, up to the point where the relay takes over.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::base::time;
use crate::config::listener::SessionListener;
use crate::model::failure::FailureKind;
use crate::model::role::Role;
use crate::proxy::postgres::reply::error_response;
use crate::proxy::postgres::session::begin;
use crate::proxy::tcp::record::SessionEnd;
use crate::proxy::tcp::session::serve;
use crate::proxy::testing::{Scene, endpoint, pair, settings, with_sweep};

const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];
const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0app\0\0";

/// Serves one client beside the script that plays it.
async fn play<T>(
    scene: &Scene,
    settings: SessionListener,
    is_admitted: bool,
    script: impl AsyncFnOnce(TcpStream) -> T,
) -> (SessionEnd, T) {
    let (client, accepted) = pair().await;
    let ground = scene.ground(settings.clone());
    let session = ground.session(accepted);
    let served = serve(Box::pin(begin(session, time::now(), is_admitted)));
    with_sweep(&scene.worker, &scene.bell, async {
        tokio::join!(served, script(client))
    })
    .await
}

async fn answer_to(mut client: TcpStream, bytes: &[u8]) -> String {
    client.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn an_endpoint_declines_encryption_and_gets_the_startup_packet_unchanged() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Primary, 1)));
    let (end, ()) = play(
        &scene,
        settings(Duration::ZERO),
        true,
        async |mut client| {
            // In two pieces, as a slow network may bring it.
            client.write_all(&GSS_REQUEST[..5]).await.unwrap();
            tokio::task::yield_now().await;
            client.write_all(&GSS_REQUEST[5..]).await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'N');
            client.write_all(&TLS_REQUEST).await.unwrap();
            let (mut upstream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 8];
            upstream.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, TLS_REQUEST);
            upstream.write_all(b"N").await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'N');
            client.write_all(STARTUP).await.unwrap();
            let mut got = vec![0; STARTUP.len()];
            upstream.read_exact(&mut got).await.unwrap();
            assert_eq!(got, STARTUP);
            upstream.write_all(b"R").await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'R');
        },
    )
    .await;
    assert_eq!((end.reason, end.sent), (None, 3));
    assert_eq!(end.received, 8 + STARTUP.len() as u64);
    assert_eq!(end.attempts, 1);
}

#[tokio::test]
async fn what_is_no_startup_is_refused_in_words() {
    let mut scene = Scene::postgres(&[endpoint().await.1]);
    scene.probe(0, Some((Role::Primary, 1)));
    let smuggled = [&TLS_REQUEST[..], STARTUP].concat();
    for (bytes, code) in [
        (&smuggled[..], "C08P01"),
        (b"GET / HTTP/1.1\r\n\r\n", "C08P01"),
        (b"\0\0\0\x0c\0\x03\0\0abc\0", "C08P01"),
        (b"\0\0\0\x09\0\x03\0\0\0", "C28000"),
        (b"\0\0\0\x09\0\x02\0\0\0", "C0A000"),
    ] {
        let (end, answer) = play(&scene, settings(Duration::ZERO), true, async |c| {
            answer_to(c, bytes).await
        })
        .await;
        assert!(
            answer.starts_with('E') && answer.contains(code),
            "{answer:?}"
        );
        assert_eq!(
            (end.reason, end.attempts),
            (Some(FailureKind::BadRequest), 0)
        );
    }
    let hello = b"\x16\x03\x01\x02\0\x01";
    let (end, ()) = play(
        &scene,
        settings(Duration::ZERO),
        true,
        async |mut client| {
            client.write_all(hello).await.unwrap();
            assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
        },
    )
    .await;
    assert_eq!((end.reason, end.sent), (Some(FailureKind::BadRequest), 0));
}

#[tokio::test]
async fn without_a_primary_the_client_is_told_why() {
    let (_listener, address) = endpoint().await;
    let mut scene = Scene::postgres(&[address]);
    scene.probe(0, Some((Role::Primary, 1)));
    scene.probe(0, None);
    let hold = settings(Duration::from_millis(40));
    let (end, answer) = play(&scene, hold, true, async |c| answer_to(c, STARTUP).await).await;
    let expected = format!(
        "no primary for \"orders\" (waited 0 s; last primary {address}: probe_failed (connect: connection refused))"
    );
    assert!(
        answer.contains("C57P03") && answer.contains(&expected),
        "{answer:?}"
    );
    assert_eq!(end.reason, Some(FailureKind::HoldTimeout));

    let full = SessionListener {
        held_max: 0,
        ..settings(Duration::from_secs(9))
    };
    let (end, answer) = play(&scene, full, true, async |c| answer_to(c, STARTUP).await).await;
    assert!(answer.contains("C53300"), "{answer:?}");
    assert_eq!(end.reason, Some(FailureKind::HoldOverflow));
}

#[tokio::test]
async fn a_client_beyond_the_limit_is_told_so_after_its_startup() {
    let scene = Scene::postgres(&[endpoint().await.1]);
    let hold = settings(Duration::from_secs(9));
    let (end, answer) = play(&scene, hold, false, async |c| answer_to(c, STARTUP).await).await;
    assert!(
        answer.contains("C53300") && answer.contains("too many clients"),
        "{answer:?}"
    );
    assert_eq!(end.reason, Some(FailureKind::MaxConnections));
}

#[tokio::test]
async fn a_held_client_that_hangs_up_is_forgotten_although_it_has_sent_its_startup() {
    let mut scene = Scene::postgres(&[endpoint().await.1]);
    scene.probe(0, Some((Role::Replica, 1)));
    let hold = settings(Duration::from_secs(9));
    let (end, ()) = play(&scene, hold, true, async |mut client| {
        client.write_all(STARTUP).await.unwrap();
        scene.wait_held(1).await;
        drop(client);
    })
    .await;
    assert_eq!(end.reason, Some(FailureKind::ClientGone));
    assert_eq!(scene.held(), 0);
}

/// Takes a connection and its startup packet.
async fn startup_at(listener: &tokio::net::TcpListener) -> TcpStream {
    let (mut upstream, _) = listener.accept().await.unwrap();
    let mut got = vec![0; STARTUP.len()];
    upstream.read_exact(&mut got).await.unwrap();
    assert_eq!(got, STARTUP);
    upstream
}

#[tokio::test]
async fn an_endpoint_that_serves_nobody_now_is_asked_again() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Primary, 1)));
    let hold = settings(Duration::from_secs(9));
    let (end, ()) = play(&scene, hold, true, async |mut client| {
        client.write_all(STARTUP).await.unwrap();
        for word in ["57P03", "57P01"] {
            let mut upstream = startup_at(&listener).await;
            let error = error_response(word, "not now");
            upstream.write_all(&error).await.unwrap();
        }
        drop(startup_at(&listener).await);
        let reset = startup_at(&listener).await;
        reset.set_zero_linger().unwrap();
        drop(reset);
        let mut upstream = startup_at(&listener).await;
        upstream.write_all(b"R").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'R');
    })
    .await;
    assert_eq!((end.reason, end.sent, end.attempts), (None, 1, 5));
    assert_eq!(end.received, STARTUP.len() as u64);
    assert!(end.held.is_some());
    assert_eq!(
        scene.kicks.recv().await.unwrap().saw,
        FailureKind::UpstreamReset
    );
}

#[tokio::test]
async fn a_refusal_is_passed_on_without_a_hold_and_in_our_words_after_one() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Primary, 1)));
    let refuse = async || {
        loop {
            let mut upstream = startup_at(&listener).await;
            let error = error_response("57P03", "the database system is starting up");
            upstream.write_all(&error).await.unwrap();
        }
    };
    for (hold, expected) in [
        (
            0,
            "FATAL\0C57P03\0Mthe database system is starting up\0\0".to_owned(),
        ),
        (
            150,
            format!(
                "FATAL\0C57P03\0Mcannot connect to a primary for \"orders\" (waited 0 s; {primary}: the database system is starting up)\0\0"
            ),
        ),
    ] {
        let hold = settings(Duration::from_millis(hold));
        let (_, answer) = play(&scene, hold, true, async |client| {
            tokio::select! {
                () = refuse() => unreachable!("it goes on"),
                answer = answer_to(client, STARTUP) => answer,
            }
        })
        .await;
        assert!(answer.ends_with(&expected), "{answer:?}");
    }
}
