//! Sessions whose messages are followed: frozen, thawed, and ended between two messages.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::base::time;
use crate::config::default;
use crate::io::net::relay::{Side, Watch};
use crate::model::failure::FailureKind;
use crate::model::role::Role;
use crate::proxy::tcp::conduct::{Conduct, Signal};
use crate::proxy::tcp::record::SessionEnd;
use crate::proxy::tcp::running::{Goodbye, Running};
use crate::proxy::tcp::session::{Session, serve};
use crate::proxy::tcp::trial::OPAQUE;
use crate::proxy::testing::{Scene, endpoint, on_primary, pair, settings};

const LONG: Duration = Duration::from_secs(60);

/// Messages are lines. From `begin` of the client to `end` of the endpoint something runs.
#[derive(Debug, Default)]
struct Lines {
    is_amid: bool,
    is_inside: bool,
    signal: Option<Signal>,
}

impl Watch for Lines {
    fn see(&mut self, from: Side, bytes: &[u8]) {
        match (from, bytes) {
            (Side::Client, b"begin\n") => self.is_amid = true,
            (Side::Upstream, b"end\n") => self.is_amid = false,
            (Side::Upstream, b"read-only\n") => self.signal = Some(Signal::Useless),
            _ => {}
        }
        if from == Side::Upstream {
            self.is_inside = !bytes.ends_with(b"\n");
        }
    }

    fn unseen_max(&self, _: Side) -> u64 {
        0
    }

    fn skip(&mut self, _: Side, _: u64) {}
}

impl Conduct for Lines {
    fn is_amid(&self) -> bool {
        self.is_amid
    }

    fn is_at_rest(&self) -> bool {
        !self.is_amid && !self.is_inside
    }

    fn last_words(&self, why: FailureKind) -> Option<Vec<u8>> {
        (!self.is_inside).then(|| format!("bye: {}\n", why.as_str()).into())
    }

    fn take_signal(&mut self) -> Option<Signal> {
        self.signal.take()
    }
}

async fn begin(mut session: Session<'_>, goodbye: Goodbye) -> Result<Box<Running<'_>>, SessionEnd> {
    let connected = session.connect(&OPAQUE, false).await;
    let conduct = Box::new(Lines::default());
    connected
        .map(|connected| session.relay(connected, goodbye, Some(conduct)))
        .map_err(|_| SessionEnd::default())
}

/// A followed session on a primary, and a script for its client and its endpoint.
async fn play(script: impl AsyncFnOnce(&mut Scene, TcpStream, TcpStream)) -> SessionEnd {
    on_primary(
        settings(Duration::ZERO),
        |session| Box::pin(begin(session, Goodbye::Close)),
        b"hello\n",
        script,
    )
    .await
}

async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got, bytes);
}

async fn expect_end(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&got),
        String::from_utf8_lossy(bytes)
    );
}

#[tokio::test]
async fn a_frozen_session_at_rest_stands_still_and_goes_on_when_thawed() {
    let end = play(async |scene, mut client, mut upstream| {
        freeze(scene, &mut client, &mut upstream).await;
        let life = scene.incarnation(0);
        client.write_all(b"write\n").await.unwrap();
        upstream.write_all(b"another\n").await.unwrap();
        expect(&mut client, b"another\n").await;
        let nothing = upstream.try_read(&mut [0; 9]).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        life.thaw();
        scene.bell.notify_one();
        expect(&mut upstream, b"write\n").await;
        drop(client);
        expect_end(&mut upstream, b"").await;
    })
    .await;
    assert_eq!(end.reason, None);
}

/// Freezes the session; it has seen that when this is over.
async fn freeze(scene: &Scene, client: &mut TcpStream, upstream: &mut TcpStream) {
    scene.incarnation(0).freeze(time::now());
    scene.bell.notify_one();
    upstream.write_all(b"answer\n").await.unwrap();
    expect(client, b"answer\n").await;
}

#[tokio::test]
async fn a_client_that_leaves_in_a_freeze_ends_its_session() {
    for (last, is_reset, expected) in [
        (&b""[..], false, None),
        (b"", true, Some(FailureKind::ClientGone)),
        (b"write\n", true, Some(FailureKind::ClientGone)),
    ] {
        let end = play(async |scene, mut client, mut upstream| {
            freeze(scene, &mut client, &mut upstream).await;
            client.write_all(last).await.unwrap();
            if !last.is_empty() {
                // So that the end comes behind bytes that were noticed already.
                scene.swept_for(Duration::from_millis(60)).await;
            }
            if is_reset {
                client.set_zero_linger().unwrap();
            }
            drop(client);
            let mut got = Vec::new();
            let read = upstream.read_to_end(&mut got).await;
            assert_eq!((read.is_err(), got.as_slice()), (is_reset, &b""[..]));
        })
        .await;
        assert_eq!(end.reason, expected, "{last:?}, reset: {is_reset}");
    }
}

#[tokio::test]
async fn what_a_client_asked_in_a_freeze_before_it_was_done_waits_for_the_thaw() {
    let end = play(async |scene, mut client, mut upstream| {
        freeze(scene, &mut client, &mut upstream).await;
        client.write_all(b"write\n").await.unwrap();
        client.shutdown().await.unwrap();
        // Until it was looked at some times.
        scene.swept_for(3 * default::UNREAD_LOOK).await;
        scene.incarnation(0).thaw();
        scene.bell.notify_one();
        expect_end(&mut upstream, b"write\n").await;
        upstream.write_all(b"done\n").await.unwrap();
        drop(upstream);
        expect_end(&mut client, b"done\n").await;
    })
    .await;
    assert_eq!(end.reason, None);
}

#[tokio::test]
async fn what_runs_goes_on_in_a_freeze_and_is_cut_when_the_grace_is_over() {
    let end = play(async |scene, mut client, mut upstream| {
        client.write_all(b"begin\n").await.unwrap();
        expect(&mut upstream, b"begin\n").await;
        let life = scene.incarnation(0);
        life.freeze(time::now().after(LONG));
        scene.bell.notify_one();
        client.write_all(b"more\n").await.unwrap();
        expect(&mut upstream, b"more\n").await;
        life.thaw();
        life.freeze(time::now());
        scene.bell.notify_one();
        expect_end(&mut client, b"bye: role_changed\n").await;
    })
    .await;
    assert_eq!(end.reason, Some(FailureKind::RoleChanged));
}

#[tokio::test]
async fn a_demotion_is_told_between_messages_and_never_inside_one() {
    for (said, last) in [
        (&b"whole\n"[..], &b"whole\nbye: role_changed\n"[..]),
        (b"half", b"half"),
    ] {
        let end = play(async |scene, mut client, mut upstream| {
            upstream.write_all(said).await.unwrap();
            let mut got = vec![0; said.len()];
            client.peek(&mut got).await.unwrap();
            scene.probe(0, Some((Role::Replica, 1)));
            expect_end(&mut client, last).await;
            let cut = upstream.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset);
        })
        .await;
        assert_eq!(end.reason, Some(FailureKind::RoleChanged));
        assert_eq!(end.sent, last.len() as u64);
    }
}

#[tokio::test]
async fn an_endpoint_that_says_it_is_read_only_is_asked_and_the_session_ends() {
    let end = play(async |scene, mut client, mut upstream| {
        upstream.write_all(b"read-only\n").await.unwrap();
        expect_end(&mut client, b"read-only\nbye: role_changed\n").await;
        let kick = scene.kicks.recv().await.unwrap();
        assert_eq!(kick.saw, FailureKind::RoleChanged);
    })
    .await;
    assert_eq!(end.reason, Some(FailureKind::RoleChanged));
}

#[tokio::test]
async fn when_a_primary_is_lost_those_at_rest_end_first() {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Primary, 1)));
    let ends = Rc::new(RefCell::new(Vec::new()));
    scene
        .play(async |scene| {
            let mut sessions = Vec::new();
            let mut streams = Vec::new();
            for number in 0..20 {
                let (mut client, accepted) = pair().await;
                let ground = scene.ground(settings(Duration::ZERO));
                let ends = Rc::clone(&ends);
                sessions.push(scene.worker.tasks.spawn_local(async move {
                    let session = ground.session(accepted);
                    let end = serve(Box::pin(begin(session, Goodbye::Reset))).await;
                    ends.borrow_mut().push((number, end.reason));
                }));
                let line: &[u8] = match number % 2 {
                    0 => b"begin\n",
                    _ => b"hello\n",
                };
                client.write_all(line).await.unwrap();
                let (mut upstream, _) = listener.accept().await.unwrap();
                expect(&mut upstream, line).await;
                streams.push((client, upstream));
            }
            scene.probe(0, Some((Role::Replica, 1)));
            for session in sessions {
                session.await.unwrap();
            }
        })
        .await;
    let (odd, even): (Vec<_>, Vec<_>) = (0..20).partition(|number| number % 2 == 1);
    let order = odd.into_iter().chain(even);
    let expected: Vec<_> = order
        .map(|number| (number, Some(FailureKind::RoleChanged)))
        .collect();
    assert_eq!(*ends.borrow(), expected);
}
