//! Failovers for later, and who is expected.

use std::time::SystemTime;

use super::tests::{
    begun, delete, ended, entry, followed, leader, listing, member_value, paused, put, with,
};
use super::*;
use crate::base::time::Date;
use crate::model::source::FailoverStep;

/// 2027-01-01T00:00:00Z, and so many seconds.
fn wall(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_798_761_600 + seconds)
}

const LATER: &str = r#"{"leader":"pg1","member":"pg2","scheduled_at":"2027-01-01T00:00:00+00:00"}"#;

fn scheduled() -> SourceWord {
    SourceWord::Failover(FailoverStep::Scheduled {
        at: Date(wall(0)),
        candidate: Some("pg2:5432".parse().unwrap()),
    })
}

fn ended_as(why: &str) -> SourceWord {
    SourceWord::Failover(FailoverStep::Ended {
        why: why.to_owned(),
    })
}

#[test]
fn a_scheduled_failover_is_announced_and_begins_at_its_time() {
    let mut scope = followed();
    let words = scope.change(&[put("failover", LATER, 10)], Time::ZERO);
    assert_eq!(words, [scheduled()]);
    assert_eq!(scope.due(), Some(wall(0)));
    let before = wall(0) - std::time::Duration::from_millis(1);
    assert!(scope.strike(before).is_empty());
    // It is listed all along, and told once.
    let listed = with(listing(11), entry("failover", LATER, 10));
    assert!(scope.list(&listed, Time::ZERO).unwrap().is_empty());
    assert_eq!(scope.strike(wall(0)), [begun(Some(2))]);
    assert_eq!((scope.due(), scope.strike(wall(1)).len()), (None, 0));
    assert!(scope.list(&listed, Time::ZERO).unwrap().is_empty());
    let changes = [
        delete("leader", 12),
        put("leader", "pg2", 13),
        put("failover", "{}", 14),
    ];
    let words = scope.change(&changes, Time::ZERO);
    assert_eq!(words, [leader(None, 12), leader(Some(2), 13)]);
}

#[test]
fn a_scheduled_failover_that_cannot_be_holds_nothing() {
    let announced = || {
        let mut scope = followed();
        scope.change(&[put("failover", LATER, 10)], Time::ZERO);
        scope
    };
    for (what, changes, said, struck) in [
        (
            "it is taken back",
            vec![put("failover", "{}", 11)],
            vec![ended()],
            vec![],
        ),
        (
            "another one leads",
            vec![put("leader", "pg2", 11)],
            vec![leader(Some(2), 11)],
            vec![ended_as(
                "Patroni refuses it: another one leads than when it was asked for",
            )],
        ),
        (
            "Patroni is paused",
            vec![put("config", r#"{"pause":true}"#, 11)],
            vec![paused(Some(1), 11, true)],
            vec![ended_as("Patroni is paused")],
        ),
        (
            "it is put off to a time that nobody can read",
            vec![put(
                "failover",
                r#"{"leader":"pg1","scheduled_at":"tomorrow"}"#,
                11,
            )],
            vec![ended()],
            vec![],
        ),
        (
            "one that begins now takes its place",
            vec![put("failover", r#"{"leader":"pg1","member":"pg2"}"#, 11)],
            vec![begun(Some(2))],
            vec![],
        ),
        (
            "Patroni gives it up when its time has come",
            vec![],
            vec![],
            vec![begun(Some(2))],
        ),
    ] {
        let mut scope = announced();
        assert_eq!(scope.change(&changes, Time::ZERO), said, "{what}");
        assert_eq!(scope.strike(wall(0)), struck, "{what}");
        if changes.is_empty() {
            let words = scope.change(&[put("failover", "{}", 12)], Time::ZERO);
            assert_eq!(words, [ended()], "{what}");
        }
    }
    let mut scope = announced();
    let words = scope.strike(wall(60));
    assert_eq!(words, [ended_as("its time has passed")]);
}

#[test]
fn the_rest_api_tells_of_scheduled_failovers_as_well() {
    let answer = |leader: &str, is_listed: bool| ClusterAnswer {
        members: [1, 2]
            .map(|number| {
                member(
                    &format!("members/pg{number}"),
                    &entry("", &member_value(number), 1),
                )
                .unwrap()
            })
            .to_vec(),
        leader: Some(leader.to_owned()),
        is_paused: false,
        synchrony: BTreeMap::new(),
        scheduled: is_listed.then(|| Scheduled {
            at: wall(0),
            from: Some("pg1".to_owned()),
            to: Some("pg2".to_owned()),
        }),
    };
    let at = Time::from_millis;
    for (after, words) in [
        (answer("pg1", false), vec![ended()]),
        (answer("pg2", false), vec![leader(Some(2), 0)]),
    ] {
        let mut scope = Scope::new("/service/", "it");
        assert_eq!(scope.hear(&answer("pg1", true), at(10))[2..], [scheduled()]);
        assert!(scope.hear(&answer("pg1", true), at(20)).is_empty());
        assert_eq!(scope.strike(wall(1)), [begun(Some(2))]);
        assert!(scope.hear(&answer("pg1", true), at(30)).is_empty());
        assert_eq!(scope.hear(&after, at(40)), words);
        assert!(scope.hear(&after, at(50)).is_empty());
    }
}

#[test]
fn who_is_synchronous_is_said_and_expected_where_it_is_the_only_one() {
    let said = |words: &[SourceWord]| -> Vec<Option<Synchrony>> {
        let [SourceWord::Endpoints(endpoints)] = words else {
            panic!("no list: {words:?}");
        };
        endpoints.iter().map(|it| it.remark.synchrony).collect()
    };
    let mut scope = followed();
    let sync = put("sync", r#"{"leader":"pg1","sync_standby":"pg2"}"#, 10);
    let words = scope.change(std::slice::from_ref(&sync), Time::ZERO);
    assert_eq!(said(&words), [None, Some(Synchrony::Sync)]);
    assert!(scope.change(&[sync], Time::ZERO).is_empty());
    // Patroni picks, and there is one to pick.
    let asked = put("failover", r#"{"leader":"pg1"}"#, 11);
    assert_eq!(scope.change(&[asked], Time::ZERO), [begun(Some(2))]);
    let quorum = put("config", r#"{"synchronous_mode":"quorum"}"#, 12);
    let words = scope.change(&[quorum], Time::ZERO);
    assert_eq!(said(&words), [None, Some(Synchrony::Quorum)]);
    let words = scope.change(&[delete("sync", 13)], Time::ZERO);
    assert_eq!(said(&words), [None, None]);
    // A listing says the same.
    let sync = entry("sync", r#"{"leader":"pg1","sync_standby":"pg2"}"#, 14);
    let words = scope.list(&with(listing(14), sync), Time::ZERO).unwrap();
    assert_eq!(said(&words[..1]), [None, Some(Synchrony::Sync)]);
}
