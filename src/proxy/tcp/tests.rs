//! Sessions of bytes of any kind, from accept to every kind of end.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::config::default;
use crate::config::listener::SessionListener;
use crate::model::failure::FailureKind;
use crate::model::role::Role;
use crate::proxy::alarm::DrainPhase;
use crate::proxy::tcp::record::SessionEnd;
use crate::proxy::tcp::session::{begin, serve};
use crate::proxy::tcp::trial::OPAQUE;
use crate::proxy::testing::{Scene, endpoint, pair, settings, with_sweep};

const LONG: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

/// Runs one session beside a script that plays its client and everybody else.
macro_rules! play {
    ($scene:expr, $settings:expr, |$client:ident| $script:block) => {{
        #[allow(unused_mut, reason = "some clients only wait")]
        let (mut $client, accepted) = pair().await;
        let ground = $scene.ground($settings);
        let session = ground.session(accepted);
        let session = serve(Box::pin(begin(session, &OPAQUE, true)));
        let (worker, bell) = (
            std::rc::Rc::clone(&$scene.worker),
            std::rc::Rc::clone(&$scene.bell),
        );
        with_sweep(&worker, &bell, async {
            tokio::join!(session, async { $script }).0
        })
        .await
    }};
}

async fn echo_once(listener: &TcpListener) -> tokio::net::TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut got = [0; 4];
    stream.read_exact(&mut got).await.unwrap();
    stream.write_all(&got).await.unwrap();
    stream
}

#[tokio::test]
async fn a_session_runs_on_the_primary_and_tells_what_it_did() {
    let (listener, primary) = endpoint().await;
    let (_other, replica) = endpoint().await;
    let mut scene = Scene::postgres(&[replica, primary]);
    scene.probe(0, Some((Role::Replica, 1)));
    scene.probe(1, Some((Role::Primary, 1)));
    let end: SessionEnd = play!(scene, settings(Duration::ZERO), |client| {
        client.write_all(b"ping").await.unwrap();
        let mut upstream = echo_once(&listener).await;
        let mut got = [0; 4];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ping");
        drop(client);
        assert_eq!(upstream.read(&mut got).await.unwrap(), 0);
    });
    assert_eq!(
        (end.received, end.sent, end.reason, end.attempts),
        (4, 4, None, 1)
    );
    assert_eq!(end.endpoint.unwrap().as_str(), primary.to_string());
    assert_eq!((end.role, end.held), (Some(Role::Primary), None));
    assert!(end.connect.is_some() && end.epoch.is_some());
}

#[tokio::test]
async fn a_client_without_a_primary_is_held_and_then_served() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Replica, 1)));
    let end = play!(scene, settings(LONG), |client| {
        client.write_all(b"pi").await.unwrap();
        scene.wait_held(1).await;
        client.write_all(b"ng").await.unwrap();
        scene.probe(0, Some((Role::Primary, 2)));
        drop(echo_once(&listener).await);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"ping");
        assert_eq!(scene.held(), 0);
        drop(client);
    });
    assert_eq!((end.reason, end.attempts), (None, 1));
    assert!(end.held.is_some());
}

#[tokio::test]
async fn a_held_client_that_leaves_costs_nothing() {
    let (_listener, address) = endpoint().await;
    let mut scene = Scene::postgres(&[address]);
    scene.probe(0, Some((Role::Replica, 1)));
    let end = play!(scene, settings(LONG), |client| {
        scene.wait_held(1).await;
        drop(client);
        scene.wait_held(0).await;
    });
    assert_eq!(
        (end.reason, end.attempts),
        (Some(FailureKind::ClientGone), 0)
    );
}

#[tokio::test]
async fn a_held_client_of_which_no_more_is_read_is_noticed_when_it_leaves() {
    let (_listener, address) = endpoint().await;
    let mut scene = Scene::postgres(&[address]);
    scene.probe(0, Some((Role::Replica, 1)));
    let more_than_is_kept = vec![b'x'; 3 * default::HELD_BYTES_MAX];
    for (bytes, is_done) in [(&more_than_is_kept[..], false), (b"ping", true)] {
        let end = play!(scene, settings(LONG), |client| {
            scene.wait_held(1).await;
            client.write_all(bytes).await.unwrap();
            if is_done {
                // It waits for an answer, and nobody may take it for gone.
                client.shutdown().await.unwrap();
                scene.swept_for(3 * default::UNREAD_LOOK).await;
                assert_eq!(scene.held(), 1);
            }
            client.set_zero_linger().unwrap();
            drop(client);
            scene.wait_held(0).await;
        });
        assert_eq!(end.reason, Some(FailureKind::ClientGone));
        assert!(end.received >= 4);
    }
}

#[tokio::test]
async fn a_hold_ends_in_time_and_a_full_one_refuses_at_once() {
    let (_listener, address) = endpoint().await;
    let mut scene = Scene::postgres(&[address]);
    scene.probe(0, Some((Role::Replica, 1)));
    for (hold, held_max, expected) in [
        (Duration::from_millis(50), 2, FailureKind::HoldTimeout),
        (LONG, 0, FailureKind::HoldOverflow),
        (Duration::ZERO, 2, FailureKind::NoEligibleEndpoint),
    ] {
        let settings = SessionListener {
            held_max,
            ..settings(hold)
        };
        let end = play!(scene, settings, |client| {
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        });
        assert_eq!(end.reason, Some(expected));
        assert_eq!(scene.held(), 0);
    }
}

#[tokio::test]
async fn before_the_first_verdict_even_a_listener_without_hold_waits() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    let end = play!(scene, settings(Duration::ZERO), |client| {
        scene.wait_held(1).await;
        scene.probe(0, Some((Role::Primary, 1)));
        client.write_all(b"ping").await.unwrap();
        drop(echo_once(&listener).await);
        drop(client);
    });
    assert_eq!(end.attempts, 1);
}

#[tokio::test]
async fn a_demoted_primary_loses_its_sessions_and_gets_no_byte_more() {
    let (listener, primary) = endpoint().await;
    let (_other, successor) = endpoint().await;
    let mut scene = Scene::postgres(&[primary, successor]);
    scene.probe(0, Some((Role::Primary, 1)));
    scene.probe(1, Some((Role::Replica, 1)));
    let end = play!(scene, settings(LONG), |client| {
        client.write_all(b"ping").await.unwrap();
        let mut upstream = echo_once(&listener).await;
        client.read_exact(&mut [0; 4]).await.unwrap();
        scene.probe(1, Some((Role::Primary, 2)));
        // The session has not run since: this must not arrive.
        client.write_all(b"write").await.unwrap();
        let seen = upstream.read(&mut [0; 8]).await;
        assert_eq!(seen.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let seen = client.read(&mut [0; 8]).await;
        assert_eq!(seen.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
    assert_eq!(end.reason, Some(FailureKind::RoleChanged));
}

#[tokio::test]
async fn an_unreachable_primary_is_tried_again_until_it_listens() {
    let (listener, primary) = endpoint().await;
    drop(listener);
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Primary, 1)));
    let end = play!(scene, settings(LONG), |client| {
        let kick = scene.kicks.recv().await.unwrap();
        assert_eq!(kick.saw, FailureKind::ConnectFailed);
        scene.wait_held(1).await;
        let listener = TcpListener::bind(primary).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        drop(echo_once(&listener).await);
        drop(client);
    });
    assert!(end.attempts >= 2 && end.held.is_some());

    let end = play!(scene, settings(Duration::ZERO), |client| {
        assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
    });
    assert_eq!(
        (end.reason, end.attempts),
        (Some(FailureKind::ConnectFailed), 1)
    );
}

#[tokio::test]
async fn a_drain_ends_held_clients_first_and_sessions_last() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Replica, 1)));
    let alarms = std::rc::Rc::clone(&scene.worker.alarms);
    let end = play!(scene, settings(LONG), |client| {
        scene.wait_held(1).await;
        alarms.drain(DrainPhase::Finishing);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    });
    assert_eq!(end.reason, Some(FailureKind::Draining));

    alarms.drain(DrainPhase::Serving);
    scene.probe(0, Some((Role::Primary, 2)));
    let end = play!(scene, settings(LONG), |client| {
        client.write_all(b"ping").await.unwrap();
        let mut upstream = echo_once(&listener).await;
        alarms.drain(DrainPhase::Finishing);
        client.read_exact(&mut [0; 4]).await.unwrap();
        upstream.write_all(b"more").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
        alarms.drain(DrainPhase::Ending);
        assert!(client.read(&mut [0; 4]).await.is_err());
    });
    assert_eq!(end.reason, Some(FailureKind::Draining));
}

#[tokio::test]
async fn a_session_in_which_nothing_moves_ends() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Primary, 1)));
    let idle_timeout = Duration::from_millis(20);
    let end = play!(
        scene,
        SessionListener {
            idle_timeout,
            ..settings(LONG)
        },
        |client| {
            let (_upstream, _) = listener.accept().await.unwrap();
            assert!(client.read(&mut [0; 4]).await.is_err());
        }
    );
    assert_eq!(end.reason, Some(FailureKind::IdleTimeout));
}

#[tokio::test]
async fn an_endpoint_that_breaks_is_probed_at_once() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Primary, 1)));
    let end = play!(scene, settings(SECOND), |client| {
        client.write_all(b"ping").await.unwrap();
        let upstream = echo_once(&listener).await;
        client.read_exact(&mut [0; 4]).await.unwrap();
        upstream.set_zero_linger().unwrap();
        drop(upstream);
        assert!(client.read(&mut [0; 4]).await.is_err());
    });
    assert_eq!(end.reason, Some(FailureKind::UpstreamReset));
    assert_eq!(
        scene.kicks.recv().await.unwrap().saw,
        FailureKind::UpstreamReset
    );
}

#[tokio::test]
async fn a_session_is_small() {
    let scene = Scene::postgres(&[endpoint().await.1]);
    let ground = scene.ground(settings(LONG));
    let (_client, accepted) = pair().await;
    let session = ground.session(accepted);
    let session = serve(Box::pin(begin(session, &OPAQUE, true)));
    let bytes = size_of_val(&session);
    let running = size_of::<crate::proxy::tcp::running::Running<'_>>();
    assert!(bytes + running <= 704, "{bytes} + {running} bytes");
}

#[tokio::test]
async fn an_endpoint_that_hangs_up_at_once_is_tried_again_while_nothing_was_sent() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Primary, 1)));
    let end = play!(scene, settings(LONG), |client| {
        drop(listener.accept().await.unwrap());
        assert_eq!(
            scene.kicks.recv().await.unwrap().saw,
            FailureKind::UpstreamReset
        );
        let (reset, _) = listener.accept().await.unwrap();
        reset.set_zero_linger().unwrap();
        drop(reset);
        let (mut upstream, _) = listener.accept().await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        upstream.read_exact(&mut got).await.unwrap();
        upstream.set_zero_linger().unwrap();
        drop(upstream);
        // It may have been done: nobody else gets it, and the client learns that it broke.
        assert!(client.read(&mut got).await.is_err());
    });
    assert_eq!(
        (end.reason, end.attempts),
        (Some(FailureKind::UpstreamReset), 3)
    );
}

#[tokio::test]
async fn a_silent_client_moves_on_when_its_endpoint_is_demoted() {
    let (listener, primary) = endpoint().await;
    let (other, successor) = endpoint().await;
    let mut scene = Scene::postgres(&[primary, successor]);
    scene.probe(0, Some((Role::Primary, 1)));
    scene.probe(1, Some((Role::Replica, 1)));
    let end = play!(scene, settings(LONG), |client| {
        let (_upstream, _) = listener.accept().await.unwrap();
        scene.probe(1, Some((Role::Primary, 2)));
        client.write_all(b"ping").await.unwrap();
        drop(echo_once(&other).await);
        client.read_exact(&mut [0; 4]).await.unwrap();
        drop(client);
    });
    assert_eq!((end.reason, end.attempts, end.received), (None, 2, 4));
}

#[tokio::test]
async fn bytes_are_counted_while_a_session_runs() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Primary, 1)));
    let counts = std::sync::Arc::clone(&scene.listener);
    let looks = SessionListener {
        idle_timeout: Duration::from_secs(2),
        ..settings(LONG)
    };
    let end = play!(scene, looks, |client| {
        client.write_all(b"ping").await.unwrap();
        let mut upstream = echo_once(&listener).await;
        upstream.write_all(b"more").await.unwrap();
        client.read_exact(&mut [0; 8]).await.unwrap();
        while (counts.of(0).received.value(), counts.of(0).sent.value()) != (4, 8) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(client);
    });
    assert_eq!((end.received, end.sent, end.counted), (4, 8, (4, 8)));
}
