//! Redis clients without an endpoint, and what they are told.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::base::time;
use crate::config::listener::SessionListener;
use crate::model::failure::FailureKind;
use crate::model::role::Role;
use crate::proxy::redis::session::begin;
use crate::proxy::tcp::session::serve;
use crate::proxy::testing::{Scene, endpoint, pair, settings, with_sweep};

#[tokio::test]
async fn a_client_without_a_primary_is_refused_in_words_its_library_knows() {
    let mut scene = Scene::postgres(&[endpoint().await.1]);
    scene.probe(0, Some((Role::Replica, 1)));
    let short = settings(Duration::from_millis(30));
    let full = SessionListener {
        held_max: 0,
        ..short.clone()
    };
    for (settings, is_admitted, failure, line) in [
        (
            short.clone(),
            true,
            FailureKind::HoldTimeout,
            "-LOADING no primary for \"orders\" (waited",
        ),
        (
            full,
            true,
            FailureKind::HoldOverflow,
            "-MASTERDOWN too many clients wait",
        ),
        (
            settings(Duration::ZERO),
            true,
            FailureKind::NoEligibleEndpoint,
            "-MASTERDOWN no primary",
        ),
        (
            short,
            false,
            FailureKind::MaxConnections,
            "-ERR max number of clients reached\r\n",
        ),
    ] {
        let (mut client, accepted) = pair().await;
        let ground = scene.ground(settings.clone());
        let session = ground.session(accepted);
        let script = async {
            // Unread at the end, but the answer still arrives.
            client.write_all(b"PING\r\n").await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            drop(client);
            answer
        };
        let both = async { tokio::join!(serve(Box::pin(begin(session, is_admitted))), script) };
        let (end, answer) = with_sweep(&scene.worker, &scene.bell, both).await;
        assert!(
            answer.starts_with(line) && answer.ends_with("\r\n"),
            "{answer}"
        );
        assert_eq!(end.reason, Some(failure));
    }
}

#[tokio::test]
async fn a_command_goes_to_another_endpoint_only_if_it_was_not_done() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Primary, 1)));
    let hold = settings(Duration::from_secs(9));
    let (mut client, accepted) = pair().await;
    let ground = scene.ground(hold.clone());
    let session = ground.session(accepted);
    let take = async |expected: &[u8], answer: &[u8]| {
        let (mut upstream, _) = listener.accept().await.unwrap();
        let mut got = vec![0; expected.len()];
        upstream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, expected);
        upstream.write_all(answer).await.unwrap();
        upstream
    };
    let script = async {
        client.write_all(b"INCR a\r\n").await.unwrap();
        drop(take(b"INCR a\r\n", b"-LOADING not yet\r\n").await);
        let _upstream = take(b"INCR a\r\n", b":1\r\n").await;
        let mut answer = [0; 4];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b":1\r\n");
        drop(client);
    };
    let both = async { tokio::join!(serve(Box::pin(begin(session, true))), script) };
    let (end, ()) = with_sweep(&scene.worker, &scene.bell, both).await;
    assert_eq!((end.reason, end.attempts, end.received), (None, 2, 8));

    let (mut client, accepted) = pair().await;
    let ground = scene.ground(hold.clone());
    let session = ground.session(accepted);
    let script = async {
        client.write_all(b"PING\r\n").await.unwrap();
        drop(take(b"PING\r\n", b"").await);
        let upstream = take(b"PING\r\n", b"").await;
        client.write_all(b"INCR a\r\n").await.unwrap();
        let mut upstream = upstream;
        upstream.read_exact(&mut [0; 8]).await.unwrap();
        upstream.set_zero_linger().unwrap();
        drop(upstream);
        // No word: any would say that it was not done.
        let mut answer = Vec::new();
        assert!(client.read_to_end(&mut answer).await.is_err());
        assert!(answer.is_empty());
    };
    let both = async { tokio::join!(serve(Box::pin(begin(session, true))), script) };
    let (end, ()) = with_sweep(&scene.worker, &scene.bell, both).await;
    assert_eq!(
        (end.reason, end.attempts),
        (Some(FailureKind::UpstreamReset), 2)
    );
}

#[tokio::test]
async fn in_a_freeze_a_transaction_goes_on_and_everything_else_stands_still() {
    for (opening, goes_on) in [("MULTI\r\n", true), ("PING\r\n", false)] {
        let (listener, primary) = endpoint().await;
        let mut scene = Scene::postgres(&[primary]);
        scene.probe(0, Some((Role::Primary, 1)));
        let life = scene.incarnation(0);
        let hold = settings(Duration::from_secs(9));
        let (mut client, accepted) = pair().await;
        let ground = scene.ground(hold.clone());
        let session = ground.session(accepted);
        let script = async {
            client.write_all(opening.as_bytes()).await.unwrap();
            let (mut upstream, _) = listener.accept().await.unwrap();
            upstream
                .read_exact(&mut vec![0; opening.len()])
                .await
                .unwrap();
            upstream.write_all(b"+OK\r\n").await.unwrap();
            client.read_exact(&mut [0; 5]).await.unwrap();
            life.freeze(time::now().after(Duration::from_secs(60)));
            scene.bell.notify_one();
            // What the endpoint says still comes: the session has seen the freeze then.
            upstream.write_all(b">1\r\n+x\r\n").await.unwrap();
            client.read_exact(&mut [0; 8]).await.unwrap();
            client.write_all(b"INCR a\r\n").await.unwrap();
            upstream.write_all(b">1\r\n+x\r\n").await.unwrap();
            client.read_exact(&mut [0; 8]).await.unwrap();
            if !goes_on {
                let nothing = upstream.try_read(&mut [0; 9]).unwrap_err();
                assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
                life.thaw();
                scene.bell.notify_one();
            }
            upstream.read_exact(&mut [0; 8]).await.unwrap();
            // Both: a session lasts until both sides are done.
            drop((client, upstream));
        };
        let both = async { tokio::join!(serve(Box::pin(begin(session, true))), script) };
        let (end, ()) = with_sweep(&scene.worker, &scene.bell, both).await;
        assert_eq!(end.reason, None, "{opening}");
    }
}
