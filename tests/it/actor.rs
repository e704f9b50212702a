//! The actor of an upstream, with real databases behind it: the primary is found, a promotion moves
//! it, an old primary never comes back.

use std::sync::Arc;
use std::time::Duration;

use fairlead::base::bell::Bells;
use fairlead::base::task::Tasks;
use fairlead::config::upstream::{
    Balance, Endpoint, Health, PostgresProbe, Probe, RedisProbe, Upstream, UpstreamKind,
};
use fairlead::control::actor::{ActorHandle, Surroundings};
use fairlead::control::journal::Journal;
use fairlead::io::net::resolve::Resolver;
use fairlead::model::event::EventKind;
use fairlead::model::flags::Flag;
use fairlead::model::name::Name;
use fairlead::model::role::Role;
use fairlead::telemetry::metrics::Metrics;
use fairlead::upstream::endpoint::{Incarnation, RetireReason};
use fairlead::upstream::snapshot::{EndpointView, Snapshot};

use crate::support::{LONG, PostgresServer, RedisServer, StopMode, eventually};

/// An upstream of some endpoints under an actor.
struct Stage {
    actor: ActorHandle,
    journal: Arc<Journal>,
    bells: Bells,
}

impl Stage {
    fn new(config: Upstream) -> Stage {
        let bells = Bells::new(1);
        let tasks = Tasks::default();
        let counts = Metrics::new(1, tasks.clone()).upstream(&config.name);
        let surroundings = Surroundings {
            tasks,
            bells: bells.clone(),
            journal: Arc::default(),
            resolver: Arc::new(Resolver::default()),
            fences: Arc::default(),
        };
        Stage {
            actor: ActorHandle::start(Arc::new(config), counts, &surroundings),
            journal: surroundings.journal,
            bells,
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.actor.cell.snapshot.load()
    }

    /// What the newest picture says of an endpoint.
    fn view(&self, endpoint: &str) -> EndpointView {
        let snapshot = self.snapshot();
        let mut views = snapshot.endpoints.iter();
        views
            .find(|view| view.endpoint.id.as_str() == endpoint)
            .unwrap_or_else(|| panic!("{endpoint} is not in the picture"))
            .clone()
    }

    /// The endpoint that takes writes now, with the epoch.
    fn primary(&self) -> Option<(String, u64)> {
        let snapshot = self.snapshot();
        let position = *snapshot.primary.positions.first()?;
        let id = snapshot.endpoint(position)?.endpoint.id.to_string();
        Some((id, snapshot.roles.as_ref()?.epoch.0))
    }

    /// Waits until writes go to `endpoint`: its epoch, and its life.
    async fn led_by(&self, endpoint: &str) -> (u64, Arc<Incarnation>) {
        let what = format!("{endpoint} to be primary");
        let epoch = eventually(&what, LONG, async || {
            let (primary, epoch) = self.primary()?;
            (primary == endpoint).then_some(epoch)
        })
        .await;
        (epoch, self.view(endpoint).incarnation)
    }

    /// Waits until something holds for what the picture says of an endpoint.
    async fn until(&self, endpoint: &str, what: &str, holds: impl Fn(&EndpointView) -> bool) {
        let what = format!("{endpoint}: {what}");
        eventually(&what, LONG, async || {
            holds(&self.view(endpoint)).then_some(())
        })
        .await;
    }

    /// Waits for `count` more verdicts about an endpoint: enough for a wrong one to show.
    async fn verdicts(&self, endpoint: &str, count: u64) {
        let verdicts = &self.view(endpoint).endpoint.verdicts;
        let end = verdicts.generation() + count;
        eventually("more verdicts", LONG, async || {
            (verdicts.generation() >= end).then_some(())
        })
        .await;
    }

    /// Every endpoint that was ever told as primary, in order.
    fn told_primaries(&self) -> Vec<String> {
        let told = self.journal.list();
        told.iter()
            .filter_map(|event| match &event.kind {
                EventKind::Primary { to, .. } => to.as_ref().map(ToString::to_string),
                _ => None,
            })
            .collect()
    }
}

fn upstream(kind: UpstreamKind, probe: Probe, endpoints: &[&str]) -> Upstream {
    let second = Duration::from_secs(1);
    let endpoints = endpoints.iter().map(|address| Endpoint {
        address: address.parse().unwrap(),
        weight: 1,
    });
    Upstream {
        name: Name::from("orders"),
        kind,
        balance: Balance::LeastConn,
        endpoints: endpoints.collect(),
        source: None,
        tls: None,
        proxy_protocol: None,
        lag_max: Default::default(),
        release_rate: fairlead::config::default::RELEASE_RATE,
        held_max: fairlead::config::default::HELD_MAX,
        health: Some(Health {
            probe,
            interval: Duration::from_millis(100),
            timeout: second,
            rise: 1,
            fall: 2,
            start_period: Duration::ZERO,
        }),
        connect_timeout: second,
        first_byte_timeout: second,
        idle_timeout: second,
        tunnel_timeout: second,
        keepalive_timeout: second,
        has_http2: false,
        keepalive_max: 1,
    }
}

fn postgres(endpoints: &[&str]) -> Upstream {
    let probe = PostgresProbe {
        user: "postgres".to_owned(),
        database: "postgres".to_owned(),
        password: None,
    };
    upstream(UpstreamKind::Postgres, Probe::Postgres(probe), endpoints)
}

fn redis(endpoints: &[&str]) -> Upstream {
    let probe = Probe::Redis(RedisProbe::default());
    upstream(UpstreamKind::Redis, probe, endpoints)
}

#[tokio::test]
async fn postgres_promoted_wins_and_the_old_primary_never_comes_back() {
    let mut old = PostgresServer::primary().await;
    let new = old.standby().await;
    let (old_id, new_id) = (old.endpoint(), new.endpoint());
    let stage = Stage::new(postgres(&[&old_id, &new_id]));
    let (epoch, life) = stage.led_by(&old_id).await;
    assert_eq!(epoch, 1);
    stage
        .until(&new_id, "is a replica", |view| {
            view.role == Role::Replica && view.flags.is_empty()
        })
        .await;
    assert!(!life.is_retired());

    // The old primary crashes: its sessions are left alone until somebody knows better.
    old.kill();
    eventually("the primary to be gone", LONG, async || {
        stage.primary().is_none().then_some(())
    })
    .await;
    assert!(!life.is_retired());
    assert!(stage.view(&old_id).flags.has(Flag::ProbeFailed));

    let bell = stage.bells.bell(0).unwrap();
    new.promote().await;
    assert_eq!(stage.led_by(&new_id).await.0, 2);
    assert_eq!(life.retired(), Some(RetireReason::Demoted));
    bell.notified().await;

    old.restart().await;
    stage
        .until(&old_id, "is fenced", |view| view.flags.has(Flag::Fenced))
        .await;
    stage.verdicts(&old_id, 5).await;
    assert_eq!(stage.primary(), Some((new_id.clone(), 2)));
    assert_eq!(stage.told_primaries(), [old_id.clone(), new_id.clone()]);
    let refused = |kind: &EventKind| matches!(kind, EventKind::Refused { endpoint, .. } if endpoint.as_str() == old_id);
    assert!(
        stage
            .journal
            .list()
            .iter()
            .any(|event| refused(&event.kind))
    );
}

#[tokio::test]
async fn a_frozen_postgres_primary_is_fenced_when_it_thaws() {
    let old = PostgresServer::primary().await;
    let new = old.standby().await;
    let (old_id, new_id) = (old.endpoint(), new.endpoint());
    let stage = Stage::new(postgres(&[&old_id, &new_id]));
    let (_, life) = stage.led_by(&old_id).await;
    old.freeze();
    new.promote().await;
    assert_eq!(stage.led_by(&new_id).await.0, 2);
    assert_eq!(life.retired(), Some(RetireReason::Demoted));
    old.thaw();
    stage
        .until(&old_id, "is fenced", |view| view.flags.has(Flag::Fenced))
        .await;
    stage.verdicts(&old_id, 3).await;
    assert_eq!(stage.told_primaries(), [old_id, new_id]);
}

#[tokio::test]
async fn a_restarted_postgres_primary_takes_writes_again() {
    let mut server = PostgresServer::primary().await;
    let id = server.endpoint();
    let stage = Stage::new(postgres(&[&id]));
    let (_, life) = stage.led_by(&id).await;
    server.stop(StopMode::Fast);
    eventually("the primary to be gone", LONG, async || {
        stage.primary().is_none().then_some(())
    })
    .await;
    server.restart().await;
    let (epoch, same_life) = stage.led_by(&id).await;
    assert_eq!(epoch, 1);
    assert!(Arc::ptr_eq(&life, &same_life) && !life.is_retired());
}

#[tokio::test]
async fn postgres_of_another_history_is_never_routed() {
    let ours = PostgresServer::primary().await;
    let foreign = PostgresServer::primary().await;
    let (ours_id, foreign_id) = (ours.endpoint(), foreign.endpoint());
    let stage = Stage::new(postgres(&[&ours_id]));
    stage.led_by(&ours_id).await;
    let both = postgres(&[&ours_id, &foreign_id]);
    stage.actor.configure(Arc::new(both)).await;
    eventually(
        "the new endpoint to be known as foreign",
        LONG,
        async || {
            let snapshot = stage.snapshot();
            let view = snapshot.endpoints.get(1)?;
            view.flags.has(Flag::ForeignLineage).then_some(())
        },
    )
    .await;
    stage.verdicts(&foreign_id, 3).await;
    assert_eq!(stage.view(&foreign_id).role, Role::Unknown);
    assert_eq!(stage.primary(), Some((ours_id, 1)));
}

#[tokio::test]
async fn redis_promoted_wins_and_the_old_primary_never_comes_back() {
    let old = RedisServer::start().await;
    let new = RedisServer::start().await;
    new.replica_of(&old).await;
    let (old_id, new_id) = (old.endpoint(), new.endpoint());
    let stage = Stage::new(redis(&[&old_id, &new_id]));
    let (epoch, life) = stage.led_by(&old_id).await;
    stage
        .until(&new_id, "is a replica", |view| {
            view.role == Role::Replica && view.flags.is_empty()
        })
        .await;

    old.freeze();
    new.promote().await;
    let (new_epoch, _) = stage.led_by(&new_id).await;
    assert!(new_epoch > epoch, "{new_epoch} > {epoch}");
    assert_eq!(life.retired(), Some(RetireReason::Demoted));

    old.thaw();
    stage
        .until(&old_id, "is fenced", |view| view.flags.has(Flag::Fenced))
        .await;
    stage.verdicts(&old_id, 5).await;
    assert_eq!(stage.primary(), Some((new_id.clone(), new_epoch)));

    // What Sentinel does in the end: the old primary follows, and may serve reads again.
    old.replica_of(&new).await;
    stage
        .until(&old_id, "is a replica", |view| {
            view.role == Role::Replica && view.flags.is_empty()
        })
        .await;
    assert_eq!(stage.told_primaries(), [old_id, new_id]);
}

#[tokio::test]
async fn a_replica_without_its_primary_says_so() {
    let primary = RedisServer::start().await;
    let replica = RedisServer::start().await;
    replica.replica_of(&primary).await;
    let (primary_id, replica_id) = (primary.endpoint(), replica.endpoint());
    let stage = Stage::new(redis(&[&primary_id, &replica_id]));
    stage.led_by(&primary_id).await;
    drop(primary);
    stage
        .until(&replica_id, "its link is down", |view| {
            view.flags.has(Flag::LinkDown)
        })
        .await;
}

#[tokio::test]
async fn names_are_resolved_and_a_stopped_actor_retires_everything() {
    let redis_server = RedisServer::start().await;
    let id = format!("localhost:{}", redis_server.address().port());
    let stage = Stage::new(redis(&[&id]));
    let (_, life) = stage.led_by(&id).await;
    assert_eq!(stage.view(&id).socket, Some(redis_server.address()));
    let bell = stage.bells.bell(0).unwrap();
    stage.actor.stop().await;
    bell.notified().await;
    assert_eq!(life.retired(), Some(RetireReason::Removed));
}
