//! Many clients that wait at the same time: their order, their pace, their bounds.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::base::task::Tasks;
use crate::config::default;
use crate::config::listener::SessionListener;
use crate::model::failure::FailureKind;
use crate::model::role::Role;
use crate::proxy::tcp::record::SessionEnd;
use crate::proxy::tcp::session::{begin, serve};
use crate::proxy::tcp::trial::OPAQUE;
use crate::proxy::testing::{Scene, endpoint, pair, settings};
use crate::upstream::cell::HoldRoom;

const LONG: Duration = Duration::from_secs(30);

/// A client of the scene, and its session as a task of its own.
async fn client(
    scene: &Scene,
    hold: Duration,
    held_max: usize,
) -> (TcpStream, JoinHandle<SessionEnd>) {
    let (client, accepted) = pair().await;
    let ground = scene.ground(SessionListener {
        held_max,
        ..settings(hold)
    });
    let tasks = scene.worker.tasks.clone();
    let session = tasks.spawn_local(async move {
        let session = ground.session(accepted);
        serve(Box::pin(begin(session, &OPAQUE, true))).await
    });
    (client, session)
}

/// Accepts for ever; notes the first byte of each connection.
fn note_arrivals(tasks: &Tasks, listener: TcpListener) -> Rc<RefCell<Vec<u8>>> {
    let arrivals = Rc::new(RefCell::new(Vec::new()));
    let (noted, tasks) = (Rc::clone(&arrivals), tasks.clone());
    tasks.clone().spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let noted = Rc::clone(&noted);
            tasks.spawn_local(async move {
                let first = stream.read_u8().await.unwrap();
                noted.borrow_mut().push(first);
                // Until its client leaves.
                stream.read_u8().await.unwrap_err();
            });
        }
    });
    arrivals
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_waits_longest_goes_first_and_newcomers_go_last() {
    let (listener, address) = endpoint().await;
    let mut scene = Scene::paced(&[address], 50, 100);
    scene.probe(0, Some((Role::Replica, 1)));
    scene
        .play(async |scene| {
            let arrivals = note_arrivals(&scene.worker.tasks, listener);
            let mut clients = Vec::new();
            for number in 0..15 {
                let (mut stream, session) = client(scene, LONG, 100).await;
                stream.write_all(&[number]).await.unwrap();
                scene.wait_held(usize::from(number) + 1).await;
                clients.push((stream, session));
            }
            scene.probe(0, Some((Role::Primary, 2)));
            until(|| !arrivals.borrow().is_empty()).await;
            let (mut stream, session) = client(scene, LONG, 100).await;
            stream.write_all(&[99]).await.unwrap();
            clients.push((stream, session));
            until(|| arrivals.borrow().len() == 16).await;
            let arrivals = arrivals.borrow();
            // The burst of five goes in one moment, the others one by one.
            let mut first: Vec<u8> = arrivals.iter().take(5).copied().collect();
            first.sort_unstable();
            assert_eq!(first, [0, 1, 2, 3, 4]);
            // A machine that is busy may swap neighbours on their way, but no more.
            let expected = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 99];
            for (place, number) in arrivals.iter().skip(5).enumerate() {
                let wanted = expected.iter().position(|it| it == number).unwrap();
                assert!(wanted.abs_diff(place) <= 2, "{arrivals:?}");
            }
            assert_eq!(scene.held(), 0);
        })
        .await;
}

#[tokio::test]
async fn one_whose_hold_ends_while_it_is_let_go_goes_and_is_not_refused() {
    let (listener, address) = endpoint().await;
    // Of three, one goes at once, and the third two seconds later.
    let mut scene = Scene::paced(&[address], 1, 100);
    scene.probe(0, Some((Role::Replica, 1)));
    scene
        .play(async |scene| {
            let arrivals = note_arrivals(&scene.worker.tasks, listener);
            let mut clients = Vec::new();
            for number in 0..3 {
                let (mut stream, session) = client(scene, Duration::from_millis(600), 100).await;
                stream.write_all(&[number]).await.unwrap();
                clients.push((stream, session));
            }
            scene.wait_held(3).await;
            scene.probe(0, Some((Role::Primary, 2)));
            until(|| arrivals.borrow().len() == 3).await;
        })
        .await;
}

#[tokio::test]
async fn each_bound_on_those_who_wait_has_its_reason() {
    let (_listener, address) = endpoint().await;
    for (upstream_max, listener_max, elsewhere, expected) in [
        (10, 1, 0, FailureKind::HoldOverflow),
        (1, 10, 0, FailureKind::UpstreamHoldOverflow),
        (10, 10, 10, FailureKind::HoldOverflow),
    ] {
        let mut scene = Scene::paced(&[address], 50, upstream_max);
        scene.listener_held = Arc::new(AtomicUsize::new(elsewhere));
        scene.probe(0, Some((Role::Replica, 1)));
        scene
            .play(async |scene| {
                let (first, session) = client(scene, LONG, listener_max).await;
                if elsewhere == 0 {
                    scene.wait_held(1).await;
                    let (_second, refused) = client(scene, LONG, listener_max).await;
                    assert_eq!(refused.await.unwrap().reason, Some(expected));
                    // One that leaves makes room at once.
                    drop(first);
                    scene.wait_held(0).await;
                    let (_third, _session) = client(scene, LONG, listener_max).await;
                    scene.wait_held(1).await;
                } else {
                    assert_eq!(session.await.unwrap().reason, Some(expected));
                }
            })
            .await;
        assert_eq!(scene.held(), 0);
        assert_eq!(scene.listener_held.load(Ordering::Relaxed), elsewhere);
    }
}

#[tokio::test]
async fn memory_of_those_who_wait_is_bounded() {
    let cell = Scene::paced(&[], 50, 10).upstream.cell.clone();
    let room = HoldRoom {
        listener: None,
        upstream_max: 10,
    };
    let max = default::UPSTREAM_HELD_BYTES_MAX;
    let mut large = cell.try_hold(room, max - 10).unwrap();
    assert!(large.grow(10) && !large.grow(1));
    assert_eq!(cell.try_hold(room, 1).unwrap_err(), FailureKind::HoldMemory);
    drop(large);
    assert!(cell.try_hold(room, 1).is_ok());
}

#[tokio::test]
async fn those_who_wait_for_a_removed_upstream_are_told_at_once() {
    let (_listener, address) = endpoint().await;
    let mut scene = Scene::paced(&[address], 50, 10);
    scene.probe(0, Some((Role::Replica, 1)));
    scene
        .play(async |scene| {
            let (_client, session) = client(scene, LONG, 10).await;
            scene.wait_held(1).await;
            scene.remove();
            let end = session.await.unwrap();
            assert_eq!(end.reason, Some(FailureKind::UpstreamRemoved));
        })
        .await;
}
