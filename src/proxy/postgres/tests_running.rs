//! Postgres sessions that run: how they end, how they are cancelled, how many there may be.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::base::time;
use crate::config::listener::SessionListener;
use crate::config::tls::ListenerTls;
use crate::model::failure::FailureKind;
use crate::model::role::{Role, WantedRole};
use crate::proxy::alarm::DrainPhase;
use crate::proxy::postgres::keys::CancelKey;
use crate::proxy::postgres::session::begin;
use crate::proxy::tcp::record::SessionEnd;
use crate::proxy::tcp::session::serve;
use crate::proxy::testing::{Scene, endpoint, on_primary, pair, settings, with_sweep};

const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0app\0\0";
const WELCOME: &[u8] =
    b"R\0\0\0\x08\0\0\0\0S\0\0\0\x17in_hot_standby\0off\0K\0\0\0\x0c\0\0\0\x07keykZ\0\0\0\x05I";
const QUERY: &[u8] = b"Q\0\0\0\x0dSELECT 1\0";
const BEGUN: &[u8] = b"C\0\0\0\x0aBEGIN\0Z\0\0\0\x05T";

/// A session on a primary, its client and its endpoint, up to the first `ReadyForQuery`.
async fn play(
    settings: SessionListener,
    welcome: &[u8],
    script: impl AsyncFnOnce(&mut Scene, TcpStream, TcpStream),
) -> SessionEnd {
    on_primary(
        settings,
        |session| Box::pin(begin(session, time::now(), true)),
        STARTUP,
        async |scene, mut client, mut upstream| {
            pass(&mut upstream, &mut client, welcome).await;
            script(scene, client, upstream).await;
        },
    )
    .await
}

async fn startup_at(listener: &TcpListener) -> TcpStream {
    let (mut upstream, _) = listener.accept().await.unwrap();
    upstream.read_exact(&mut [0; STARTUP.len()]).await.unwrap();
    upstream
}

/// Sends and waits until it is at the other end.
async fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).await.unwrap();
    let mut got = vec![0; bytes.len()];
    to.read_exact(&mut got).await.unwrap();
    assert_eq!(got, bytes);
}

async fn rest(mut client: TcpStream) -> String {
    let mut last = Vec::new();
    client.read_to_end(&mut last).await.unwrap();
    String::from_utf8_lossy(&last).into_owned()
}

#[tokio::test]
async fn a_session_at_rest_is_told_why_it_ends() {
    for (query, is_told) in [
        (None, true),
        // Inside a transaction: it is rolled back.
        (Some(BEGUN), true),
        // It may have been done: every word would say that it was not.
        (Some(&b"C\0\0"[..]), false),
        (Some(b""), false),
    ] {
        let end = play(
            settings(Duration::ZERO),
            WELCOME,
            async |scene, mut client, mut upstream| {
                if let Some(answer) = query {
                    pass(&mut client, &mut upstream, QUERY).await;
                    pass(&mut upstream, &mut client, answer).await;
                }
                scene.probe(0, Some((Role::Replica, 1)));
                let last = rest(client).await;
                assert_eq!(last.contains("C57P01\0"), is_told, "{query:?}: {last:?}");
                let why = "the primary of \"orders\" has changed; connect again";
                assert_eq!(last.contains(why), is_told);
                assert_eq!(last.is_empty(), !is_told);
                assert!(upstream.read(&mut [0]).await.is_err());
            },
        )
        .await;
        assert_eq!(end.reason, Some(FailureKind::RoleChanged));
    }
}

#[tokio::test]
async fn a_drain_ends_a_session_at_its_next_rest() {
    let end = play(
        settings(Duration::ZERO),
        WELCOME,
        async |scene, mut client, mut upstream| {
            pass(&mut client, &mut upstream, QUERY).await;
            scene.worker.alarms.drain(DrainPhase::Finishing);
            scene.bell.notify_one();
            // In a transaction it goes on.
            pass(&mut upstream, &mut client, BEGUN).await;
            pass(&mut client, &mut upstream, QUERY).await;
            pass(
                &mut upstream,
                &mut client,
                b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I",
            )
            .await;
            let last = rest(client).await;
            assert!(
                last.contains("C57P01\0Mthis proxy is shutting down"),
                "{last:?}"
            );
        },
    )
    .await;
    assert_eq!(end.reason, Some(FailureKind::Draining));
}

#[tokio::test]
async fn an_endpoint_that_says_it_is_a_standby_is_asked_and_left_by_writers() {
    let refused = b"E\0\0\0\x19SERROR\0C25006\0Mno\0\0Z\0\0\0\x05I";
    let refused_length = u8::try_from(refused.len() - 7).unwrap();
    let mut refused = refused.to_vec();
    refused[4] = refused_length;
    let old: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
    for (role, welcome, is_cut) in [
        (WantedRole::Primary, old, true),
        (WantedRole::Any, old, false),
        // The client made its transaction read-only: this is a primary.
        (WantedRole::Primary, WELCOME, false),
    ] {
        let settings = SessionListener {
            role,
            ..settings(Duration::ZERO)
        };
        let end = play(
            settings,
            welcome,
            async |scene, mut client, mut upstream| {
                pass(&mut client, &mut upstream, QUERY).await;
                pass(&mut upstream, &mut client, &refused).await;
                let kick = scene.kicks.recv().await.unwrap();
                assert_eq!(kick.saw, FailureKind::RoleChanged);
                if is_cut {
                    let last = rest(client).await;
                    assert!(last.contains("C57P01\0"), "{last:?}");
                } else {
                    pass(&mut client, &mut upstream, QUERY).await;
                    drop(client);
                }
            },
        )
        .await;
        assert_eq!(end.reason, is_cut.then_some(FailureKind::RoleChanged));
    }
}

#[tokio::test]
async fn a_login_that_takes_too_long_is_ended_in_words() {
    let settings = SessionListener {
        login_timeout: Duration::from_millis(30),
        ..settings(Duration::ZERO)
    };
    let asks_for_password = b"R\0\0\0\x08\0\0\0\x03";
    let end = play(
        settings.clone(),
        asks_for_password,
        async |_, client, _upstream| {
            let last = rest(client).await;
            assert!(
                last.contains("C57014\0Mcanceling authentication"),
                "{last:?}"
            );
        },
    )
    .await;
    assert_eq!(end.reason, Some(FailureKind::HeadTimeout));
    // Who is in stays in.
    let end = play(
        settings,
        WELCOME,
        async |scene, mut client, mut upstream| {
            scene.swept_for(Duration::from_millis(120)).await;
            pass(&mut client, &mut upstream, QUERY).await;
            drop(client);
        },
    )
    .await;
    assert_eq!(end.reason, None);
}

/// A connection that does nothing but cancel.
async fn cancel(scene: &Scene, settings: &SessionListener, packet: &[u8]) {
    let (mut client, accepted) = pair().await;
    let ground = scene.ground(settings.clone());
    let session = ground.session(accepted);
    let served = serve(Box::pin(begin(session, time::now(), true)));
    let (end, ()) = tokio::join!(served, async {
        client.write_all(packet).await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    });
    assert_eq!((end.reason, end.received), (None, packet.len() as u64));
}

#[tokio::test]
async fn a_cancel_request_goes_to_the_endpoint_of_its_session_and_nowhere_else() {
    let request = |key: &[u8]| {
        let length = u8::try_from(12 + key.len()).unwrap();
        [&[0, 0, 0, length, 4, 0xd2, 0x16, 0x2e, 0, 0, 0, 7], key].concat()
    };
    let (elsewhere, other) = endpoint().await;
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary, other]);
    scene.probe(0, Some((Role::Primary, 1)));
    scene.probe(1, Some((Role::Replica, 1)));
    let long_key = [b'k'; 200];
    // Protocol 3.2: a minor version is negotiated first, and keys are long.
    let mut welcome = b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0R\0\0\0\x08\0\0\0\0".to_vec();
    welcome.extend(b"K\0\0\0\xd0\0\0\0\x07");
    welcome.extend(long_key);
    welcome.extend(b"Z\0\0\0\x05I");
    let (mut client, accepted) = pair().await;
    let settings = settings(Duration::ZERO);
    let secured = SessionListener {
        tls: Some(ListenerTls::default()),
        ..settings.clone()
    };
    let ground = scene.ground(settings.clone());
    let session = ground.session(accepted);
    let served = serve(Box::pin(begin(session, time::now(), true)));
    let script = async {
        client.write_all(STARTUP).await.unwrap();
        let mut upstream = startup_at(&listener).await;
        upstream.write_all(&welcome).await.unwrap();
        client
            .read_exact(&mut vec![0; welcome.len()])
            .await
            .unwrap();
        let taken = async {
            let (mut cancelling, _) = listener.accept().await.unwrap();
            let mut got = vec![0; 212];
            cancelling.read_exact(&mut got).await.unwrap();
            assert_eq!(got, request(&long_key));
        };
        let packet = request(&long_key);
        tokio::join!(cancel(&scene, &secured, &packet), taken);
        cancel(&scene, &secured, &request(b"none")).await;
        // Where TLS may pass through, the session may be one whose key was not seen.
        let unseen = request(b"seen");
        let taken = async {
            let (mut cancelling, _) = listener.accept().await.unwrap();
            let mut got = vec![0; unseen.len()];
            cancelling.read_exact(&mut got).await.unwrap();
            assert_eq!(got, unseen);
        };
        tokio::join!(cancel(&scene, &settings, &unseen), taken);
        drop(client);
    };
    with_sweep(&scene.worker, &scene.bell, async {
        tokio::join!(served, script)
    })
    .await;
    // Its session is over.
    cancel(&scene, &secured, &request(&long_key)).await;
    let key = CancelKey::new(&[&[0, 0, 0, 7], &long_key[..]].concat()).unwrap();
    assert!(scene.worker.postgres.keys.find(&key).is_none());
    tokio::select! {
        biased;
        _ = elsewhere.accept() => panic!("another endpoint was asked"),
        _ = listener.accept() => panic!("an endpoint was asked again"),
        () = tokio::task::yield_now() => {}
    }
}

#[tokio::test]
async fn a_user_beyond_the_limit_is_told_so() {
    let settings_of_two = SessionListener {
        user_connections_max: 1,
        ..settings(Duration::ZERO)
    };
    let limits = settings_of_two.clone();
    play(
        settings_of_two,
        WELCOME,
        async |scene, first, mut upstream| {
            let (mut second, accepted) = pair().await;
            let ground = scene.ground(limits);
            let session = ground.session(accepted);
            let served = serve(Box::pin(begin(session, time::now(), true)));
            let script = async {
                second.write_all(STARTUP).await.unwrap();
                rest(second).await
            };
            let (end, last) = tokio::join!(served, script);
            assert!(
                last.contains("C53300\0Mtoo many connections for role \"app\""),
                "{last:?}"
            );
            assert_eq!(end.reason, Some(FailureKind::MaxConnections));
            drop(first);
            assert_eq!(upstream.read(&mut [0]).await.unwrap(), 0);
        },
    )
    .await;
}
