//! What a source's word does to an election, and what it never does.

use super::*;
use crate::base::time::Date;
use crate::config::source::{Patroni, Sentinel, Source};
use crate::model::role::{RedisFacts, ReplicationId};
use crate::model::source::{
    FailoverStep, LeaderWord, ListedEndpoint, Remark, SourceReport, SourceStatus, SourceWord,
    Synchrony,
};

/// A source of the kind's usual manager; nothing of it but its name is looked at here.
pub(super) fn source(kind: UpstreamKind) -> Source {
    let tls = crate::config::tls::UpstreamTls::default();
    let poll = Duration::from_secs(1);
    match kind {
        UpstreamKind::Redis => Source::Sentinel(Sentinel {
            sentinels: Vec::new(),
            master: "mymaster".into(),
            login: None,
            tls: None,
            poll,
        }),
        _ => Source::Patroni(Patroni {
            scope: "orders".into(),
            namespace: "/service/".into(),
            members: Vec::new(),
            etcd: Vec::new(),
            etcd_login: None,
            tls,
            poll,
        }),
    }
}

pub(super) fn sourced(kind: UpstreamKind, endpoints: &[(&str, u32)]) -> Bench {
    let mut config = upstream(kind, endpoints);
    config.source = Some(source(kind));
    Bench::new(config)
}

impl Bench {
    fn tell(&mut self, word: SourceWord) -> &mut Bench {
        let told_at = second(self.seconds + 1);
        self.apply(StateEvent::Source(SourceReport { told_at, word }))
    }

    pub(super) fn say(&mut self, has_say: bool) -> &mut Bench {
        self.tell(SourceWord::Status(SourceStatus {
            up: usize::from(has_say),
            of: 1,
            has_say,
            heard_at: None,
            trouble: None,
        }))
    }

    pub(super) fn names(&mut self, leader: Option<&str>) -> &mut Bench {
        self.tell(leader_word(leader, 1, false))
    }

    pub(super) fn lists(&mut self, endpoints: &[&str]) -> &mut Bench {
        let list = endpoints.iter().map(|address| listed(address, true));
        self.tell(SourceWord::Endpoints(list.collect()))
    }

    /// `b P y x`: a Redis node as in the tables of the topology.
    pub(super) fn redis(&mut self, endpoint: &str, role: Role, ids: &str) -> &mut Bench {
        let id = |at: usize| {
            let byte = ids
                .as_bytes()
                .get(at)
                .copied()
                .filter(|byte| *byte != b'-')?;
            ReplicationId::parse(&format!("{byte:02x}").repeat(20))
        };
        let facts = RedisFacts {
            role,
            replication_id: id(0),
            previous_replication_id: id(1),
            offset: 0,
            is_link_up: role == Role::Replica,
            is_loading: false,
        };
        self.hear(endpoint, Ok(Evidence::Redis(facts)))
    }
}

fn leader_word(leader: Option<&str>, term: u64, is_paused: bool) -> SourceWord {
    SourceWord::Leader(LeaderWord {
        leader: leader.map(|address| address.parse().unwrap()),
        term,
        is_paused,
    })
}

fn listed(address: &str, is_balanced: bool) -> ListedEndpoint {
    ListedEndpoint {
        address: address.parse().unwrap(),
        name: "pg".into(),
        is_balanced,
        may_lead: true,
        remark: Remark::default(),
    }
}

/// A primary `A` on timeline 3 that the manager names, and its replicas.
pub(super) fn led() -> Bench {
    let mut bench = sourced(UpstreamKind::Postgres, &[(A, 1), (B, 1), (C, 1)]);
    bench.say(true).names(Some(A));
    bench.claims(A, Role::Primary, 3);
    bench.claims(B, Role::Replica, 3);
    bench.claims(C, Role::Replica, 3);
    assert_eq!(bench.primary(), Some(A));
    bench
}

#[test]
fn the_first_primary_waits_for_a_sign_of_the_source_but_not_for_ever() {
    let mut bench = sourced(UpstreamKind::Postgres, &[(A, 1)]);
    let asks = |effect: &Effect| matches!(effect, Effect::WakeAt(at) if *at == Time::ZERO.after(default::SOURCE_WAIT));
    assert!(bench.effects.iter().any(asks), "{:?}", bench.effects);
    assert_eq!(bench.claims(A, Role::Primary, 3).primary(), None);
    bench.seconds += default::SOURCE_WAIT.as_secs();
    assert_eq!(bench.apply(StateEvent::Tick).primary(), Some(A));
    let mut bench = sourced(UpstreamKind::Postgres, &[(A, 1)]);
    bench.claims(A, Role::Primary, 3).say(false);
    assert_eq!(bench.primary(), Some(A), "it has no say");
}

#[test]
fn the_leader_key_decides_between_claims() {
    // Equal timelines: the named one.
    let mut bench = led();
    bench.claims(B, Role::Primary, 3);
    assert_eq!((bench.primary(), &*bench.flags(B)), (Some(A), "fenced"));
    let why = bench.view(B).why.clone().unwrap();
    assert!(why.contains("the leader key names 10.0.0.1:1"), "{why}");
    // A stray on a higher timeline, and who follows it: refused, and they fence nobody.
    bench
        .claims(C, Role::Replica, 9)
        .claims(B, Role::Primary, 9);
    assert_eq!((bench.primary(), &*bench.flags(B)), (Some(A), "fenced"));
    assert_eq!(bench.snapshot.roles.as_ref().unwrap().epoch, Epoch(3));
    // For good: when the manager falls silent as well.
    bench.claims(A, Role::Primary, 3).say(false);
    bench
        .claims(B, Role::Primary, 9)
        .claims(C, Role::Replica, 9);
    assert_eq!((bench.primary(), &*bench.flags(B)), (Some(A), "fenced"));
    assert_eq!(bench.retired(), []);
    // Until the manager names it.
    bench.say(true).names(Some(B));
    assert_eq!(bench.retired(), [(A, RetireReason::Demoted)]);
    assert_eq!(bench.claims(B, Role::Primary, 9).primary(), Some(B));
    assert_eq!(bench.claims(A, Role::Primary, 3).flags(A), "fenced");
}

#[test]
fn the_silence_of_a_source_makes_nobody_primary() {
    // Refused, and then nobody says so any more: the named one is asked first.
    let mut bench = led();
    bench.claims(B, Role::Primary, 9).say(false);
    assert_eq!((bench.primary(), bench.retired()), (Some(A), vec![]));
    // It has died: then the newer timeline is the better one, as without a manager.
    assert_eq!(bench.fails(A).primary(), Some(B));
    // One that was named and does not show its newer timeline now has to show it again.
    let mut bench = led();
    bench.claims(B, Role::Primary, 9).fails(B).names(Some(B));
    assert_eq!((bench.primary(), &*bench.flags(B)), (None, "role_unknown"));
    assert_eq!(bench.claims(B, Role::Primary, 9).primary(), Some(B));
}

#[test]
fn a_leader_key_that_is_gone_ends_the_sessions_at_once() {
    let mut bench = led();
    bench.names(None);
    assert_eq!(
        (bench.primary(), bench.retired()),
        (None, vec![(A, RetireReason::Demoted)])
    );
    assert_eq!(bench.claims(A, Role::Primary, 3).primary(), None);
    // Named again, it carries on when it has said so once more.
    assert_eq!(bench.names(Some(A)).primary(), Some(A));
    bench.names(None).names(Some(A));
    assert_eq!((bench.primary(), &*bench.flags(A)), (None, "role_unknown"));
    assert_eq!(bench.claims(A, Role::Primary, 3).primary(), Some(A));
    // A new timeline needs no word.
    bench.names(None).claims(B, Role::Primary, 4);
    assert_eq!(bench.primary(), Some(B));
    // Paused, the manager's missing leader is no demotion.
    let mut bench = led();
    bench.tell(leader_word(None, 1, true));
    assert_eq!((bench.primary(), bench.retired()), (Some(A), vec![]));
}

#[test]
fn a_newer_timeline_takes_over_when_the_named_one_does_not_lead() {
    // It is dead.
    let mut bench = led();
    bench.fails(A).fails(A).claims(B, Role::Primary, 4);
    assert_eq!(bench.primary(), Some(B));
    // The key is out of date: the old one does not come back by it.
    bench.claims(A, Role::Primary, 3).names(Some(A));
    assert_eq!((bench.primary(), &*bench.flags(A)), (Some(B), "fenced"));
    assert!(
        !bench
            .told()
            .iter()
            .any(|kind| matches!(kind, EventKind::TakeBack { .. }))
    );
    // It says itself that it is a replica.
    let mut bench = led();
    bench.claims(B, Role::Primary, 4);
    assert_eq!(bench.primary(), Some(A));
    bench.claims(A, Role::Replica, 4);
    assert_eq!(bench.primary(), Some(B));
}

#[test]
fn a_lead_taken_back_is_refused_and_alarmed() {
    let mut bench = led();
    bench.names(None).names(Some(B));
    assert_eq!(bench.claims(B, Role::Primary, 4).primary(), Some(B));
    bench.claims(A, Role::Primary, 3).names(Some(A));
    assert_eq!((bench.primary(), &*bench.flags(A)), (None, "fenced"));
    let is_alarm = |kind: &EventKind| matches!(kind, EventKind::TakeBack { endpoint, .. } if endpoint.as_str() == A);
    assert!(bench.told().iter().any(is_alarm), "{:?}", bench.told());
    assert!(bench.view(A).why.as_ref().unwrap().contains("forced order"));
    // Told once, not with every answer.
    bench.claims(A, Role::Primary, 3);
    assert!(!bench.told().iter().any(is_alarm));
    let is_shown = |bench: &Bench| bench.snapshot.roles.as_ref().unwrap().is_take_back;
    assert!(is_shown(&bench));
    // The manager thinks better of it.
    bench.names(Some(B)).claims(B, Role::Primary, 4);
    assert!(!is_shown(&bench) && bench.primary() == Some(B));
}

#[test]
fn old_words_and_words_about_nobody_are_dropped() {
    let mut bench = led();
    bench.tell(leader_word(Some(A), 7, false));
    bench.tell(leader_word(Some(B), 6, false));
    assert_eq!(bench.primary(), Some(A), "a lower term");
    let old = StateEvent::Source(SourceReport {
        told_at: second(1),
        word: leader_word(None, 7, false),
    });
    assert!(bench.apply(old).effects.is_empty(), "told before");
    bench.names(Some("10.9.9.9:5432"));
    bench.seconds += default::SOURCE_TERM_KEPT.as_secs();
    bench.names(Some("10.9.9.9:5432"));
    assert_eq!((bench.primary(), bench.retired()), (Some(A), vec![]));
    let view = bench
        .snapshot
        .roles
        .as_ref()
        .unwrap()
        .source
        .clone()
        .unwrap();
    assert!(view.trouble.unwrap().contains("none of the endpoints"));
    // Without a configured source nobody is heard.
    let mut bench = pair();
    assert!(bench.say(true).effects.is_empty());
    assert!(bench.names(None).effects.is_empty() && bench.primary() == Some(A));
}

#[test]
fn endpoints_are_found_where_none_is_configured() {
    let mut bench = sourced(UpstreamKind::Postgres, &[]);
    bench.lists(&[B, A]);
    assert_eq!(bench.probes(), [format!("start {A}"), format!("start {B}")]);
    bench.say(true).names(Some(A));
    bench
        .claims(A, Role::Primary, 3)
        .claims(B, Role::Replica, 3);
    assert_eq!(bench.primary(), Some(A));
    let before = Arc::clone(&bench.view(A).incarnation);
    assert!(bench.lists(&[A, B]).effects.is_empty(), "the same list");
    assert!(bench.lists(&[]).effects.is_empty(), "an empty list");
    bench.lists(&[A, C]);
    assert_eq!(bench.probes(), [format!("stop {B}"), format!("start {C}")]);
    assert_eq!(bench.retired(), [(B, RetireReason::Removed)]);
    assert!(Arc::ptr_eq(&before, &bench.view(A).incarnation));
    // Whom it names stays, and without a say it takes nobody away.
    assert!(bench.lists(&[C]).effects.is_empty());
    bench.say(false).lists(&[B]);
    assert_eq!(bench.snapshot.endpoints.len(), 3);
    bench.say(true);
    assert_eq!(bench.retired(), [(C, RetireReason::Removed)]);
    // Configured endpoints are all there are.
    let mut bench = led();
    bench.lists(&["10.0.0.9:1"]);
    assert_eq!(
        (bench.snapshot.endpoints.len(), bench.probes().len()),
        (3, 0)
    );
}

#[test]
fn reads_keep_away_from_where_none_are_wanted() {
    let mut bench = led();
    bench.tell(SourceWord::Endpoints(vec![
        listed(A, false),
        listed(B, false),
        listed(C, true),
    ]));
    assert_eq!(bench.eligible(WantedRole::Replica), [C]);
    assert_eq!(
        (bench.primary(), &*bench.flags(B)),
        (Some(A), "not_balanced")
    );
}

/// A Redis primary `A` of history `x` that the Sentinels name.
fn led_redis() -> Bench {
    let mut bench = sourced(UpstreamKind::Redis, &[(A, 1), (B, 1), (C, 1)]);
    bench.say(true).names(Some(A));
    bench.redis(A, Role::Primary, "x");
    bench
        .redis(B, Role::Replica, "x")
        .redis(C, Role::Replica, "x");
    assert_eq!(bench.primary(), Some(A));
    bench
}

#[test]
fn the_sentinels_majority_decides_between_redis_histories() {
    // Promoted behind the Sentinels' back while the named one leads: a stray, for good.
    let mut bench = led_redis();
    bench
        .redis(B, Role::Primary, "yx")
        .redis(A, Role::Primary, "x");
    assert_eq!(
        (bench.primary(), &*bench.flags(B)),
        (Some(A), "unknown_lineage")
    );
    bench.say(false).redis(B, Role::Primary, "yx");
    assert_eq!(bench.primary(), Some(A));
    bench.say(true).names(Some(B));
    assert_eq!(bench.redis(B, Role::Primary, "yx").primary(), Some(B));
    assert_eq!(bench.redis(A, Role::Primary, "x").flags(A), "fenced");
    // `FAILOVER TO`: the named one says itself that it follows.
    let mut bench = led_redis();
    bench
        .redis(A, Role::Replica, "yx")
        .redis(B, Role::Primary, "yx");
    assert_eq!(bench.primary(), Some(B));
    bench.names(Some(A)).redis(B, Role::Primary, "yx");
    assert_eq!(bench.primary(), Some(B), "the Sentinels never follow it");
    // The old one comes back while the Sentinels still name it, and when they name it again.
    let mut bench = led_redis();
    bench.fails(A).fails(A).redis(B, Role::Primary, "yx");
    bench.redis(A, Role::Primary, "x").names(Some(A));
    assert_eq!((bench.primary(), &*bench.flags(A)), (Some(B), "fenced"));
    bench.names(Some(B)).names(Some(A));
    assert_eq!(bench.primary(), None);
    assert!(
        bench
            .told()
            .iter()
            .any(|kind| matches!(kind, EventKind::TakeBack { .. }))
    );
    // A history nobody can order: the word does.
    let mut bench = led_redis();
    bench.fails(A).fails(A).redis(B, Role::Primary, "qp");
    assert_eq!(bench.primary(), None);
    assert_eq!(bench.names(Some(B)).primary(), Some(B));
}

#[test]
fn whom_the_source_names_and_lists_under_another_spelling_is_one_endpoint_and_not_two() {
    let mut bench = sourced(UpstreamKind::Postgres, &[]);
    bench.say(true).lists(&["db.internal:1"]);
    bench.apply(StateEvent::Resolved {
        endpoint: "db.internal:1".into(),
        socket: Ok("10.0.0.2:1".parse().unwrap()),
    });
    bench
        .names(Some(B))
        .claims("db.internal:1", Role::Primary, 3);
    assert_eq!(bench.primary(), Some("db.internal:1"));
    // It stays while the list forgets it, and goes when it is there by its number.
    bench.lists(&[A]);
    assert_eq!(bench.primary(), Some("db.internal:1"));
    bench.lists(&[A, B]);
    let shown: Vec<_> = bench
        .snapshot
        .endpoints
        .iter()
        .map(|v| &*v.endpoint.id)
        .collect();
    assert_eq!(shown, [A, B]);
    assert_eq!(bench.retired(), [("db.internal:1", RetireReason::Removed)]);
    assert_eq!(bench.claims(B, Role::Primary, 3).primary(), Some(B));
}

#[test]
fn a_candidate_proves_nothing_by_what_it_follows() {
    let mut bench = sourced(UpstreamKind::Redis, &[(A, 1), (B, 1), (C, 1)]);
    bench.say(true).names(Some(A));
    bench.redis(A, Role::Primary, "1");
    bench.redis(B, Role::Replica, "1");
    bench.redis(C, Role::Replica, "1");
    assert_eq!(bench.primary(), Some(A));
    // B is promoted behind the Sentinels' back, and C follows it.
    bench.redis(B, Role::Primary, "21");
    bench.redis(C, Role::Replica, "21");
    let candidate = Some(C.parse().unwrap());
    bench.tell(SourceWord::Failover(
        crate::model::source::FailoverStep::Begun {
            candidate,
            is_planned: true,
        },
    ));
    assert_eq!((bench.primary(), bench.retired()), (None, vec![]));
    assert_eq!(bench.flags(A), "suspended");
    // Promoted itself, from the history that was known, it takes over.
    bench.redis(C, Role::Primary, "31");
    assert_eq!(bench.primary(), Some(C));
}

#[test]
fn a_scheduled_failover_is_told_and_holds_nothing() {
    let mut bench = led();
    let scheduled = FailoverStep::Scheduled {
        at: Date(std::time::UNIX_EPOCH),
        candidate: Some(B.parse().unwrap()),
    };
    bench.tell(SourceWord::Failover(scheduled));
    let told = |bench: &Bench| {
        let steps = bench.effects.iter().filter_map(|effect| match effect {
            Effect::Record(event) => match &event.kind {
                EventKind::Failover { step } => Some(step.clone()),
                _ => None,
            },
            _ => None,
        });
        steps.collect::<Vec<_>>()
    };
    let text = format!("a failover to {B} is scheduled for 1970-01-01T00:00:00.000Z");
    assert_eq!(told(&bench), [text]);
    let is_asked = |effect: &Effect| matches!(effect, Effect::ProbeNow { .. } | Effect::AskSource);
    assert!(!bench.effects.iter().any(is_asked), "{:?}", bench.effects);
    assert_eq!(bench.primary(), Some(A));
    let dropped = FailoverStep::Ended { why: "x".into() };
    bench.tell(SourceWord::Failover(dropped));
    assert_eq!(told(&bench), ["the failover ended: x"]);
    assert_eq!(bench.primary(), Some(A));
}

#[test]
fn who_is_expected_and_a_pause_are_told() {
    let mut bench = led();
    let mut list: Vec<_> = [A, B, C].map(|address| listed(address, true)).into();
    list[1].remark.synchrony = Some(Synchrony::Sync);
    bench.tell(SourceWord::Endpoints(list));
    let told = |bench: &Bench, wanted: &EventKind| {
        let is_it =
            |effect: &Effect| matches!(effect, Effect::Record(event) if event.kind == *wanted);
        bench.effects.iter().any(is_it)
    };
    bench.tell(leader_word(None, 2, false));
    let gone = EventKind::Leader {
        leader: None,
        expected: vec![B.into()],
    };
    assert!(told(&bench, &gone), "{:?}", bench.effects);
    bench.tell(leader_word(Some(A), 3, true));
    let paused = EventKind::Automatic { is_on: false };
    assert!(told(&bench, &paused), "{:?}", bench.effects);
    // Without a leader in a pause nobody is expected.
    bench.tell(leader_word(None, 4, true));
    assert!(!told(&bench, &paused) && !told(&bench, &gone));
    bench.tell(leader_word(Some(A), 5, false));
    assert!(told(&bench, &EventKind::Automatic { is_on: true }));
}
