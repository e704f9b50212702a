//! Tables of events and the pictures they lead to.

use std::time::Duration;

use super::*;
use crate::config::default;
use crate::config::upstream::{Balance, Endpoint, Health, PostgresProbe, Probe, UpstreamKind};
use crate::model::flags::Flag;
use crate::model::role::{Epoch, PostgresFacts, Role, WantedRole};
use crate::model::verdict::{Evidence, ProbeFailure, ProbeFailureKind};
use crate::upstream::snapshot::Snapshot;

#[path = "tests_failover.rs"]
mod failover;
#[path = "tests_lag.rs"]
mod lag;
#[path = "tests_latency.rs"]
mod latency;
#[path = "tests_resume.rs"]
mod resume;
#[path = "tests_shards.rs"]
mod shards;
#[path = "tests_source.rs"]
mod source;

fn upstream(kind: UpstreamKind, endpoints: &[(&str, u32)]) -> Upstream {
    let probe = match kind {
        UpstreamKind::Postgres => Probe::Postgres(PostgresProbe {
            user: "fairlead".into(),
            database: "postgres".into(),
            password: None,
        }),
        UpstreamKind::Redis => Probe::Redis(Default::default()),
        _ => Probe::Tcp,
    };
    let endpoints = endpoints.iter().map(|(address, weight)| Endpoint {
        address: address.parse().unwrap(),
        weight: *weight,
    });
    Upstream {
        name: "orders".into(),
        kind,
        balance: Balance::LeastConn,
        endpoints: endpoints.collect(),
        source: None,
        tls: None,
        proxy_protocol: None,
        lag_max: Default::default(),
        release_rate: crate::config::default::RELEASE_RATE,
        held_max: crate::config::default::HELD_MAX,
        health: Some(Health {
            probe,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 2,
            start_period: Duration::ZERO,
        }),
        connect_timeout: default::CONNECT_TIMEOUT,
        first_byte_timeout: default::FIRST_BYTE_TIMEOUT,
        idle_timeout: default::IDLE_TIMEOUT,
        tunnel_timeout: default::TUNNEL_TIMEOUT,
        keepalive_timeout: default::UPSTREAM_KEEPALIVE_TIMEOUT,
        keepalive_max: default::UPSTREAM_KEEPALIVE_MAX,

        has_http2: false,
    }
}

/// A state, its last picture, and a clock that moves a second with every event.
struct Bench {
    state: UpstreamState,
    snapshot: Snapshot,
    effects: Vec<Effect>,
    /// What it was asked to remember by the last event.
    persisted: Vec<crate::model::fence::Fence>,
    seconds: u64,
}

fn second(seconds: u64) -> Time {
    Time::from_millis(1000 * seconds)
}

impl Bench {
    fn new(config: Upstream) -> Bench {
        let (state, mut effects) = UpstreamState::new(Arc::new(config), None, second(0));
        let Effect::Publish(snapshot) = effects.remove(0) else {
            panic!("the first effect is the first picture");
        };
        Bench {
            state,
            snapshot: *snapshot,
            effects,
            persisted: Vec::new(),
            seconds: 0,
        }
    }

    fn postgres(endpoints: &[(&str, u32)]) -> Bench {
        Bench::new(upstream(UpstreamKind::Postgres, endpoints))
    }

    fn apply(&mut self, event: StateEvent) -> &mut Bench {
        self.seconds += 1;
        self.apply_at(event, second(self.seconds))
    }

    fn apply_at(&mut self, event: StateEvent, now: Time) -> &mut Bench {
        let effects = self.state.apply(event, now);
        self.take(effects);
        self
    }

    /// Takes note of effects, and carries out those on lives.
    fn take(&mut self, effects: Vec<Effect>) {
        self.effects.clear();
        self.persisted.clear();
        let mut is_published = false;
        for effect in effects {
            match effect {
                Effect::Persist(fence) => {
                    assert!(!is_published, "what is shown must be remembered first");
                    self.persisted.push(fence);
                    continue;
                }
                Effect::Publish(snapshot) => {
                    assert!(!is_published && self.effects.is_empty());
                    assert_eq!(snapshot.generation, self.snapshot.generation + 1);
                    self.snapshot = *snapshot;
                    is_published = true;
                    continue;
                }
                Effect::Freeze {
                    ref incarnation,
                    grace_until,
                } => incarnation.freeze(grace_until),
                Effect::Thaw { ref incarnation } => incarnation.thaw(),
                _ => {}
            }
            self.effects.push(effect);
        }
    }

    fn hear(&mut self, endpoint: &str, result: Result<Evidence, ProbeFailure>) -> &mut Bench {
        let asked_at = second(self.seconds + 1);
        self.apply(verdict(endpoint, asked_at, result))
    }

    fn claims(&mut self, endpoint: &str, role: Role, timeline: u32) -> &mut Bench {
        self.hear(endpoint, Ok(facts(role, timeline)))
    }

    fn fails(&mut self, endpoint: &str) -> &mut Bench {
        self.hear(endpoint, failure())
    }

    fn primary(&self) -> Option<&str> {
        let table = self.snapshot.table(WantedRole::Primary);
        assert!(table.positions.len() < 2);
        let view = self.snapshot.endpoint(*table.positions.first()?)?;
        Some(view.endpoint.id.as_str())
    }

    fn eligible(&self, wanted: WantedRole) -> Vec<&str> {
        let positions = self.snapshot.table(wanted).positions.iter();
        positions
            .map(|at| self.snapshot.endpoint(*at).unwrap().endpoint.id.as_str())
            .collect()
    }

    fn view(&self, endpoint: &str) -> &EndpointView {
        let mut views = self.snapshot.endpoints.iter();
        views.find(|view| &*view.endpoint.id == endpoint).unwrap()
    }

    fn flags(&self, endpoint: &str) -> String {
        self.view(endpoint).flags.to_string()
    }

    fn retired(&self) -> Vec<(&str, RetireReason)> {
        let retired = self.effects.iter().filter_map(|effect| match effect {
            Effect::Retire {
                endpoint, reason, ..
            } => Some((endpoint.as_str(), *reason)),
            _ => None,
        });
        retired.collect()
    }

    /// The effects but the pictures and records, in short.
    fn probes(&self) -> Vec<String> {
        let probes = self.effects.iter().filter_map(|effect| match effect {
            Effect::StartProbe { endpoint, .. } => Some(format!("start {}", endpoint.id)),
            Effect::StopProbe { endpoint } => Some(format!("stop {endpoint}")),
            Effect::ProbeNow { endpoint } => Some(format!("now {endpoint}")),
            _ => None,
        });
        probes.collect()
    }

    fn told(&self) -> Vec<EventKind> {
        let told = self.effects.iter().filter_map(|effect| match effect {
            Effect::Record(event) => Some(event.kind.clone()),
            _ => None,
        });
        told.collect()
    }
}

fn verdict(endpoint: &str, asked_at: Time, result: Result<Evidence, ProbeFailure>) -> StateEvent {
    StateEvent::Verdict {
        endpoint: endpoint.into(),
        verdict: Verdict {
            asked_at,
            took: Duration::from_millis(1),
            result,
        },
    }
}

fn facts(role: Role, timeline: u32) -> Evidence {
    Evidence::Postgres(PostgresFacts {
        role,
        system_identifier: 7,
        timeline,
        lsn: 1,
        replay_age_seconds: None,
    })
}

fn failure() -> Result<Evidence, ProbeFailure> {
    Err(ProbeFailure::new(ProbeFailureKind::Connect, "refused"))
}

fn alive() -> Result<Evidence, ProbeFailure> {
    Ok(Evidence::Alive("connected".into()))
}

const A: &str = "10.0.0.1:1";
const B: &str = "10.0.0.2:1";
const C: &str = "10.0.0.3:1";

fn pair() -> Bench {
    let mut bench = Bench::postgres(&[(A, 1), (B, 1)]);
    bench
        .claims(A, Role::Primary, 3)
        .claims(B, Role::Replica, 3);
    bench
}

#[test]
fn the_first_primary_waits_until_everyone_was_asked_once() {
    let mut bench = Bench::postgres(&[(A, 1), (B, 1), ("pg:1", 1)]);
    assert_eq!(bench.probes(), ["start 10.0.0.1:1", "start 10.0.0.2:1"]);
    assert!(bench.snapshot.is_starting);
    bench.claims(A, Role::Primary, 3);
    assert!(!bench.snapshot.is_starting);
    assert_eq!((bench.primary(), &*bench.flags(A)), (None, "role_unknown"));
    bench.claims(B, Role::Primary, 4);
    assert_eq!((bench.primary(), &*bench.flags(A)), (Some(B), "fenced"));
    assert_eq!(bench.flags("pg:1"), "unresolved,no_verdict,role_unknown");
    let roles = bench.snapshot.roles.as_ref().unwrap();
    assert_eq!(
        (roles.primary, roles.epoch, roles.since),
        (Some(1), Epoch(4), second(2))
    );
    assert!(bench.told().contains(&EventKind::Primary {
        from: None,
        to: Some(B.into()),
        epoch: Epoch(4),
        lost_for: None,
    }));
}

#[test]
fn a_failed_probe_is_no_demotion_and_a_successor_is() {
    let mut bench = pair();
    assert_eq!(bench.primary(), Some(A));
    assert_eq!(bench.eligible(WantedRole::Replica), [B]);
    assert_eq!(bench.eligible(WantedRole::Any), [A, B]);
    let life = Arc::clone(&bench.view(A).incarnation);
    bench.fails(A);
    assert_eq!(
        (bench.primary(), bench.probes()),
        (Some(A), vec![format!("now {B}")])
    );
    bench.fails(A);
    assert_eq!((bench.primary(), &*bench.flags(A)), (None, "probe_failed"));
    assert_eq!(bench.view(A).why.as_deref(), Some("connect: refused"));
    assert_eq!(bench.retired(), []);
    let roles = bench.snapshot.roles.as_ref().unwrap();
    assert_eq!(
        (roles.last_primary.as_deref(), roles.since),
        (Some(A), second(4))
    );
    bench.claims(B, Role::Primary, 4);
    assert_eq!(bench.primary(), Some(B));
    assert_eq!(bench.retired(), [(A, RetireReason::Demoted)]);
    assert!(!Arc::ptr_eq(&life, &bench.view(A).incarnation));
    assert!(bench.told().contains(&EventKind::Primary {
        from: Some(A.into()),
        to: Some(B.into()),
        epoch: Epoch(4),
        lost_for: Some(Duration::from_secs(1)),
    }));
    bench.claims(A, Role::Primary, 3);
    assert_eq!((bench.primary(), &*bench.flags(A)), (Some(B), "fenced"));
    assert_eq!(bench.retired(), []);
    bench.claims(A, Role::Replica, 4);
    assert_eq!((bench.view(A).role, &*bench.flags(A)), (Role::Replica, ""));
}

#[test]
fn a_primary_that_calls_itself_replica_or_is_fenced_by_a_follower_loses_its_sessions() {
    for (endpoint, timeline) in [(A, 3), (B, 4)] {
        let mut bench = pair();
        bench.claims(endpoint, Role::Replica, timeline);
        assert_eq!(bench.primary(), None);
        assert_eq!(bench.retired(), [(A, RetireReason::Demoted)]);
    }
}

#[test]
fn old_and_repeated_verdicts_change_nothing() {
    let mut bench = pair();
    for at in [0, 1] {
        bench.apply(verdict(A, second(at), Ok(facts(Role::Replica, 9))));
        assert!(bench.effects.is_empty() && bench.primary() == Some(A));
    }
    let generation = bench.snapshot.generation;
    bench
        .claims(A, Role::Primary, 3)
        .claims(B, Role::Replica, 3);
    assert_eq!(
        bench.snapshot.generation, generation,
        "equal verdicts publish nothing"
    );
    assert!(bench.effects.is_empty());
    bench.hear("10.9.9.9:1", failure());
    assert!(bench.effects.is_empty());
}

#[test]
fn equal_timelines_split_the_brain_and_keep_the_sessions() {
    let mut bench = pair();
    bench.claims(B, Role::Primary, 3);
    assert_eq!(
        (bench.primary(), bench.flags(A), bench.flags(B)),
        (None, "split_brain".into(), "split_brain".into())
    );
    assert!(bench.retired().is_empty());
    assert!(bench.told().contains(&EventKind::SplitBrain {
        endpoints: vec![A.into(), B.into()]
    }));
    bench.claims(A, Role::Replica, 3);
    assert_eq!(
        (bench.primary(), bench.retired()),
        (Some(B), vec![(A, RetireReason::Demoted)])
    );
    assert!(
        bench
            .told()
            .contains(&EventKind::SplitBrain { endpoints: vec![] })
    );
}

#[test]
fn while_there_is_no_primary_whoever_answers_is_asked_again() {
    let mut bench = pair();
    bench.claims(A, Role::Replica, 3);
    assert_eq!(bench.probes(), [format!("now {A}"), format!("now {B}")]);
    bench.claims(B, Role::Replica, 3);
    assert_eq!(bench.probes(), [format!("now {B}")]);
    bench.seconds += default::PRIMARY_HUNT.as_secs();
    bench.claims(B, Role::Replica, 3);
    assert!(bench.effects.is_empty(), "not for ever");
}

#[test]
fn a_reload_keeps_what_stays_and_retires_what_goes() {
    let mut bench = pair();
    let before = bench.view(A).clone();
    let config = upstream(UpstreamKind::Postgres, &[(C, 1), (A, 0)]);
    bench.apply(StateEvent::Configure(Arc::new(config.clone())));
    let after = bench.view(A);
    assert!(Arc::ptr_eq(&before.endpoint, &after.endpoint));
    assert!(Arc::ptr_eq(&before.incarnation, &after.incarnation));
    assert_eq!(
        (after.role, after.is_healthy, bench.flags(A)),
        (Role::Primary, true, "draining".into())
    );
    assert_eq!(bench.primary(), None);
    assert_eq!(bench.snapshot.roles.as_ref().unwrap().primary, Some(1));
    assert_eq!(bench.retired(), [(B, RetireReason::Removed)]);
    assert_eq!(bench.probes(), [format!("stop {B}"), format!("start {C}")]);
    assert_eq!(
        bench.told(),
        [
            EventKind::Added { endpoint: C.into() },
            EventKind::Removed { endpoint: B.into() }
        ]
    );
    bench.apply(StateEvent::Configure(Arc::new(config.clone())));
    assert!(
        bench.effects.is_empty(),
        "an equal configuration changes nothing"
    );
    let mut slower = config;
    slower.health.as_mut().unwrap().interval *= 2;
    bench.apply(StateEvent::Configure(Arc::new(slower)));
    assert_eq!(bench.probes().len(), 4);
    assert!(bench.view(A).is_healthy);
    // Not one endpoint stays: another database, whose timelines start anew.
    bench.apply(StateEvent::Configure(Arc::new(upstream(
        UpstreamKind::Postgres,
        &[(B, 1)],
    ))));
    assert_eq!(bench.claims(B, Role::Primary, 1).primary(), Some(B));
}

#[test]
fn endpoints_without_a_probe_are_eligible_when_they_have_an_address() {
    let mut config = upstream(UpstreamKind::Http, &[(A, 1), ("app:80", 1)]);
    config.health = None;
    let mut bench = Bench::new(config.clone());
    assert_eq!(bench.eligible(WantedRole::Any), [A]);
    assert!(!bench.snapshot.is_starting && bench.snapshot.roles.is_none());
    assert_eq!(bench.flags("app:80"), "unresolved");
    for (socket, count) in [
        (Some("10.0.0.9:80"), 2),
        (None, 2),
        (Some("10.0.0.8:80"), 2),
    ] {
        bench.apply(StateEvent::Resolved {
            endpoint: "app:80".into(),
            socket: socket
                .map(|text| text.parse().unwrap())
                .ok_or_else(|| "no such name".into()),
        });
        assert_eq!(bench.eligible(WantedRole::Any).len(), count);
        assert!(bench.retired().is_empty());
    }
    // A probe that comes later starts from "up".
    config.health = upstream(UpstreamKind::Http, &[]).health;
    bench.apply(StateEvent::Configure(Arc::new(config)));
    assert_eq!(bench.fails(A).eligible(WantedRole::Any).len(), 2);
    assert_eq!(bench.fails(A).eligible(WantedRole::Any), ["app:80"]);
}

#[test]
fn another_address_of_a_database_is_another_endpoint_behind_the_name() {
    let mut bench = Bench::postgres(&[("pg:1", 1)]);
    let resolved = |socket: &str| StateEvent::Resolved {
        endpoint: "pg:1".into(),
        socket: Ok(socket.parse().unwrap()),
    };
    bench.apply(resolved(A));
    assert_eq!(bench.probes(), ["start pg:1"]);
    assert_eq!(
        bench.claims("pg:1", Role::Primary, 3).primary(),
        Some("pg:1")
    );
    bench.apply(resolved(B));
    assert_eq!(
        (bench.primary(), bench.probes()),
        (None, vec!["stop pg:1".into(), "start pg:1".into()])
    );
    assert_eq!(bench.retired(), [("pg:1", RetireReason::Removed)]);
    bench.apply(verdict("pg:1", second(2), Ok(facts(Role::Primary, 3))));
    assert_eq!(bench.primary(), None, "the old node's answer came late");
    assert_eq!(
        bench.claims("pg:1", Role::Primary, 3).primary(),
        Some("pg:1")
    );
}
