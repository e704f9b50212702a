//! Failovers that run, pauses, orders, lag, and what is remembered across restarts.

use super::source::{led, sourced};
use super::*;
use crate::model::fence::Fence;
use crate::model::order::{Order, OrderRefused};
use crate::model::role::ReplicationId;
use crate::model::source::{FailoverStep, SourceReport, SourceWord};
use crate::upstream::endpoint::Phase;
use crate::upstream::snapshot::SuspensionCause;

impl Bench {
    fn step(&mut self, step: FailoverStep) -> &mut Bench {
        let told_at = second(self.seconds + 1);
        let word = SourceWord::Failover(step);
        self.apply(StateEvent::Source(SourceReport { told_at, word }))
    }

    fn begins(&mut self, candidate: Option<&str>, is_planned: bool) -> &mut Bench {
        self.step(FailoverStep::Begun {
            candidate: candidate.map(|address| address.parse().unwrap()),
            is_planned,
        })
    }

    fn ends(&mut self) -> &mut Bench {
        self.step(FailoverStep::Ended {
            why: "aborted".into(),
        })
    }

    /// Gives an order and takes its effects.
    fn order(&mut self, order: Order) -> Result<(), OrderRefused> {
        self.seconds += 1;
        let effects = self.state.order(order, second(self.seconds))?;
        self.take(effects);
        Ok(())
    }

    fn suspension(&self) -> Option<SuspensionCause> {
        let roles = self.snapshot.roles.as_ref()?;
        Some(roles.suspension.as_ref()?.cause)
    }

    /// Freezes, thaws, questions to the source and wishes to be woken, in short.
    fn moves(&self) -> Vec<&'static str> {
        let moves = self.effects.iter().filter_map(|effect| match effect {
            Effect::Freeze { .. } => Some("freeze"),
            Effect::Thaw { .. } => Some("thaw"),
            Effect::WakeAt(_) => Some("wake"),
            Effect::AskSource => Some("source"),
            _ => None,
        });
        moves.collect()
    }

    fn wanted(&mut self, endpoint: &str, is_forced: bool) -> Result<(), OrderRefused> {
        self.order(Order::Primary {
            endpoint: endpoint.into(),
            epoch: None,
            is_forced,
        })
    }
}

#[test]
fn a_planned_failover_suspends_the_old_primary_until_the_new_one_says_so() {
    let mut bench = led();
    let life = Arc::clone(&bench.view(A).incarnation);
    bench.begins(Some(B), true);
    assert_eq!(bench.suspension(), Some(SuspensionCause::Failover));
    assert_eq!((bench.primary(), &*bench.flags(A)), (None, "suspended"));
    assert_eq!(bench.snapshot.roles.as_ref().unwrap().primary, Some(0));
    assert_eq!(bench.moves(), ["freeze", "source", "wake"]);
    assert!(matches!(life.phase(), Phase::Frozen { .. }));
    assert!(bench.probes().contains(&format!("now {B}")));
    // The candidate is hunted, whatever it answers.
    assert_eq!(bench.fails(B).probes(), [format!("now {B}")]);
    assert_eq!(
        bench.claims(B, Role::Replica, 3).probes(),
        [format!("now {B}")]
    );
    // A second is half of the time; the old primary still answers.
    bench.claims(B, Role::Primary, 4);
    assert_eq!(bench.primary(), Some(B));
    assert_eq!(bench.retired(), [(A, RetireReason::Demoted)]);
    assert_eq!((bench.suspension(), &*bench.flags(A)), (None, "fenced"));
    assert!(!bench.moves().contains(&"thaw"));
}

#[test]
fn a_failover_that_comes_to_nothing_ends_when_the_old_primary_says_so_again() {
    for is_told in [true, false] {
        let mut bench = led();
        let life = Arc::clone(&bench.view(A).incarnation);
        bench.begins(Some(B), true);
        if is_told {
            bench.ends();
        } else {
            bench.seconds += default::FAILOVER_HOLD.as_secs();
            bench.apply(StateEvent::Tick);
        }
        assert_eq!((bench.primary(), &*bench.flags(A)), (None, "suspended"));
        assert!(bench.probes().contains(&format!("now {A}")));
        bench.claims(A, Role::Primary, 3);
        assert_eq!((bench.primary(), bench.moves()), (Some(A), vec!["thaw"]));
        assert!(life.phase() == Phase::Live && Arc::ptr_eq(&life, &bench.view(A).incarnation));
        // Who cries wolf is not believed at once.
        bench.begins(Some(B), true);
        assert_eq!((bench.primary(), bench.suspension()), (Some(A), None));
    }
}

#[test]
fn old_and_repeated_steps_change_nothing() {
    let mut bench = led();
    let step = |told_at| {
        StateEvent::Source(SourceReport {
            told_at,
            word: SourceWord::Failover(FailoverStep::Begun {
                candidate: None,
                is_planned: true,
            }),
        })
    };
    let told_at = second(bench.seconds);
    bench.apply(step(told_at));
    assert!(bench.suspension().is_some());
    assert!(bench.apply(step(told_at)).effects.is_empty());
    assert!(bench.apply(step(second(1))).effects.is_empty());
    // Nobody is named: whoever answers is hunted.
    assert_eq!(
        bench.claims(C, Role::Replica, 3).probes(),
        [format!("now {C}")]
    );
}

#[test]
fn the_candidate_takes_over_while_the_sentinels_still_name_the_old_one() {
    let mut bench = sourced(UpstreamKind::Redis, &[(A, 1), (B, 1)]);
    bench.say(true).names(Some(A));
    bench
        .redis(A, Role::Primary, "x")
        .redis(B, Role::Replica, "x");
    bench.begins(Some(B), false);
    assert_eq!((bench.primary(), bench.suspension()), (Some(A), None));
    bench.redis(B, Role::Primary, "yx");
    assert_eq!(
        (bench.primary(), bench.retired()),
        (Some(B), vec![(A, RetireReason::Demoted)])
    );
    bench.names(Some(A)).redis(A, Role::Primary, "x");
    assert_eq!((bench.primary(), &*bench.flags(A)), (Some(B), "fenced"));
    bench.names(Some(B));
    assert_eq!(bench.primary(), Some(B));
}

#[test]
fn a_pause_holds_until_it_is_resumed_and_a_switch_until_another_one_leads() {
    for ends_with_switch in [false, true] {
        let mut bench = led();
        let pause = Order::Pause {
            until: second(60),
            grace: Duration::from_secs(3),
            ends_with_switch,
            candidate: None,
        };
        bench.order(pause).unwrap();
        assert_eq!((bench.primary(), &*bench.flags(A)), (None, "suspended"));
        let grace_until = second(bench.seconds + 3);
        assert_eq!(
            bench.view(A).incarnation.phase(),
            Phase::Frozen { grace_until }
        );
        if ends_with_switch {
            bench.names(Some(B)).claims(B, Role::Primary, 4);
            assert_eq!((bench.primary(), bench.suspension()), (Some(B), None));
        } else {
            bench.order(Order::Resume).unwrap();
            assert_eq!(bench.primary(), None);
            assert_eq!(bench.claims(A, Role::Primary, 3).primary(), Some(A));
            let refused = bench.order(Order::Resume).unwrap_err();
            assert!(matches!(refused, OrderRefused::Conflict(_)), "{refused}");
        }
    }
    // Nobody is left to resume it.
    let mut bench = led();
    let pause = Order::Pause {
        until: second(bench.seconds + 10),
        grace: Duration::ZERO,
        ends_with_switch: false,
        candidate: None,
    };
    bench.order(pause).unwrap();
    bench.seconds += 10;
    bench.apply(StateEvent::Tick).claims(A, Role::Primary, 3);
    assert_eq!((bench.primary(), bench.suspension()), (Some(A), None));
}

#[test]
fn an_operators_word_breaks_a_tie_and_forced_takes_the_fence_back() {
    let mut bench = pair();
    bench.claims(B, Role::Primary, 3);
    assert_eq!(bench.flags(A), "split_brain");
    bench.wanted(B, false).unwrap();
    assert!(bench.state.is_wish_open(second(bench.seconds)));
    assert_eq!((bench.primary(), bench.probes().len()), (None, 2));
    assert_eq!(bench.claims(B, Role::Primary, 3).primary(), Some(B));
    assert_eq!(bench.retired(), [(A, RetireReason::Demoted)]);
    assert_eq!(bench.claims(A, Role::Primary, 3).primary(), Some(B));
    bench.claims(A, Role::Primary, 4);
    assert_eq!((bench.primary(), &*bench.flags(B)), (Some(A), "fenced"));
    // An older one needs force; then whoever is above it is a stray.
    let refused = bench.wanted(B, false).unwrap_err();
    assert!(
        matches!(&refused, OrderRefused::Conflict(why) if why.contains("--force")),
        "{refused}"
    );
    let old = Order::Primary {
        endpoint: A.into(),
        epoch: Some(Epoch(3)),
        is_forced: false,
    };
    assert!(matches!(bench.order(old), Err(OrderRefused::Conflict(_))));
    bench.wanted(B, true).unwrap();
    assert_eq!(bench.claims(B, Role::Primary, 3).primary(), Some(B));
    assert_eq!(bench.claims(A, Role::Primary, 4).primary(), Some(B));
    assert_eq!((bench.flags(A), bench.retired()), ("fenced".into(), vec![]));
    // One that never says it is primary is never believed.
    bench.claims(A, Role::Replica, 3).wanted(A, true).unwrap();
    assert_eq!(bench.claims(A, Role::Replica, 3).primary(), Some(B));
    assert!(!bench.state.is_wish_open(second(bench.seconds + 60)));
    let refused = bench.wanted(C, true).unwrap_err();
    assert!(
        matches!(refused, OrderRefused::UnknownEndpoint(_)),
        "{refused}"
    );
    let mut bench = Bench::new(upstream(UpstreamKind::Http, &[(A, 1)]));
    assert!(matches!(
        bench.wanted(A, true),
        Err(OrderRefused::NoRoles(_))
    ));
}

/// A machine that begins with this fence; and what it was last asked to remember.
fn remembering(kind: UpstreamKind, endpoints: &[(&str, u32)], fence: Fence) -> Bench {
    let config = Arc::new(upstream(kind, endpoints));
    let (state, mut effects) = UpstreamState::new(config, Some(fence), second(0));
    let Effect::Publish(snapshot) = effects.remove(0) else {
        panic!("nothing is persisted that is known already: {effects:?}");
    };
    Bench {
        state,
        snapshot: *snapshot,
        effects,
        persisted: Vec::new(),
        seconds: 0,
    }
}

#[test]
fn what_is_remembered_refuses_and_makes_no_primary() {
    let fence = Fence::Postgres {
        system_identifier: 7,
        timeline: 5,
        strays: Vec::new(),
    };
    let mut bench = remembering(UpstreamKind::Postgres, &[(A, 1), (B, 1)], fence);
    bench.claims(A, Role::Primary, 5);
    assert_eq!(bench.primary(), None, "a newer one may be about to answer");
    bench.claims(B, Role::Primary, 6);
    assert_eq!((bench.primary(), &*bench.flags(A)), (Some(B), "fenced"));
    let fence = Fence::Postgres {
        system_identifier: 7,
        timeline: 6,
        strays: Vec::new(),
    };
    assert_eq!(bench.persisted.first(), Some(&fence));
    let mut bench = remembering(UpstreamKind::Postgres, &[(A, 1)], fence.clone());
    assert_eq!(bench.claims(A, Role::Primary, 5).flags(A), "fenced");
    assert!(bench.primary().is_none() && bench.persisted.is_empty());
    bench.wanted(A, true).unwrap();
    assert_eq!(bench.claims(A, Role::Primary, 5).primary(), Some(A));
    assert_eq!(bench.persisted.len(), 1);
    // What another kind has remembered says nothing.
    let mut bench = remembering(UpstreamKind::Redis, &[(A, 1)], fence);
    assert_eq!(bench.redis(A, Role::Primary, "x").primary(), Some(A));
}

#[test]
fn a_redis_history_that_is_over_stays_refused_across_a_restart() {
    let id = |letter: u8| ReplicationId::parse(&format!("{letter:02x}").repeat(20)).unwrap();
    let fence = || Fence::Redis {
        epoch: 4,
        head: vec![id(b'y')],
        superseded: vec![id(b'x')],
        strays: Vec::new(),
    };
    let pair = [(A, 1), (B, 1)];
    // The old one, and one that grew from it.
    for ids in ["x", "zx"] {
        let mut bench = remembering(UpstreamKind::Redis, &pair, fence());
        bench.fails(B).redis(A, Role::Primary, ids);
        assert_eq!(bench.primary(), None, "{ids}");
    }
    // The newest one, one that grew from it, one of which nothing is known.
    for (ids, epoch) in [("y", 4), ("zy", 5), ("q", 5)] {
        let mut bench = remembering(UpstreamKind::Redis, &pair, fence());
        assert_eq!(bench.redis(A, Role::Primary, ids).primary(), None);
        assert_eq!(bench.fails(B).primary(), Some(A), "{ids}");
        assert_eq!(bench.snapshot.roles.as_ref().unwrap().epoch, Epoch(epoch));
    }
    // Not while a follower still shows the newest one.
    let mut bench = remembering(UpstreamKind::Redis, &pair, fence());
    bench
        .redis(B, Role::Replica, "y")
        .redis(A, Role::Primary, "q");
    assert_eq!(bench.primary(), None);
}

#[test]
fn a_reload_before_the_source_has_listed_anybody_forgets_nothing() {
    let mut config = upstream(UpstreamKind::Postgres, &[]);
    config.source = Some(super::source::source(UpstreamKind::Postgres));
    let fence = Fence::Postgres {
        system_identifier: 7,
        timeline: 5,
        strays: Vec::new(),
    };
    let mut bench = Bench::new(config.clone());
    let (state, _) = UpstreamState::new(Arc::new(config.clone()), Some(fence), second(0));
    bench.state = state;
    config.held_max += 1;
    bench.apply(StateEvent::Configure(Arc::new(config)));
    bench.say(true).lists(&[A]).names(Some(A));
    assert_eq!(bench.claims(A, Role::Primary, 4).primary(), None);
    assert_eq!(bench.flags(A), "fenced");
    assert_eq!(bench.claims(A, Role::Primary, 5).primary(), Some(A));
}

#[test]
fn a_forced_order_is_obeyed_by_redis_while_who_went_on_still_answers() {
    let mut bench = Bench::new(upstream(UpstreamKind::Redis, &[(A, 1), (B, 1)]));
    bench
        .redis(A, Role::Primary, "x")
        .redis(B, Role::Replica, "x");
    assert_eq!(bench.primary(), Some(A));
    bench.redis(B, Role::Primary, "yx");
    assert_eq!(bench.primary(), Some(B));
    bench.wanted(A, true).unwrap();
    assert_eq!(bench.redis(A, Role::Primary, "x").primary(), Some(A));
    let fence = bench.persisted.first().cloned().unwrap();
    bench
        .redis(B, Role::Primary, "yx")
        .redis(A, Role::Primary, "x");
    assert_eq!((bench.primary(), &*bench.flags(B)), (Some(A), "fenced"));
    // Nor is it heard after a restart, whoever answers first.
    let mut bench = remembering(UpstreamKind::Redis, &[(A, 1), (B, 1)], fence);
    bench
        .redis(B, Role::Primary, "yx")
        .redis(A, Role::Primary, "x");
    assert_eq!((bench.primary(), &*bench.flags(B)), (Some(A), "fenced"));
}

#[test]
fn who_went_on_against_the_operators_word_is_refused_after_a_restart_too() {
    let mut bench = pair();
    bench.claims(B, Role::Primary, 4);
    assert_eq!(bench.primary(), Some(B));
    bench.wanted(A, true).unwrap();
    assert_eq!(bench.claims(A, Role::Primary, 3).primary(), Some(A));
    let fence = bench.persisted.first().cloned().unwrap();
    let expected = Fence::Postgres {
        system_identifier: 7,
        timeline: 3,
        strays: vec![B.into()],
    };
    assert_eq!(fence, expected);
    let mut bench = remembering(UpstreamKind::Postgres, &[(A, 1), (B, 1)], fence.clone());
    bench
        .claims(B, Role::Primary, 4)
        .claims(A, Role::Primary, 3);
    assert_eq!((bench.primary(), &*bench.flags(B)), (Some(A), "fenced"));
    assert!(bench.persisted.is_empty(), "that is known already");
    // Nor does it lead by who follows it.
    let mut bench = remembering(
        UpstreamKind::Postgres,
        &[(A, 1), (B, 1), (C, 1)],
        fence.clone(),
    );
    bench
        .claims(B, Role::Primary, 4)
        .claims(C, Role::Replica, 4);
    assert_eq!(bench.claims(A, Role::Primary, 3).primary(), Some(A));
    bench.claims(C, Role::Replica, 4);
    assert_eq!((bench.primary(), &*bench.flags(B)), (Some(A), "fenced"));
    // It is alone, and still refused; a person decides.
    let mut bench = remembering(UpstreamKind::Postgres, &[(A, 1), (B, 1)], fence);
    bench.fails(A).fails(A).claims(B, Role::Primary, 4);
    assert_eq!((bench.primary(), &*bench.flags(B)), (None, "fenced"));
    bench.wanted(B, true).unwrap();
    assert_eq!(bench.claims(B, Role::Primary, 4).primary(), Some(B));
    let forgiven = Fence::Postgres {
        system_identifier: 7,
        timeline: 4,
        strays: Vec::new(),
    };
    assert_eq!(bench.persisted, [forgiven]);
}
