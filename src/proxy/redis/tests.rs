//! Redis clients without an endpoint, and what they are told.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        let session = scene.session(accepted, &settings);
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
