//! Answers and events of Sentinels, and the words that come of them.

use std::time::Duration;

use super::*;
use crate::io::source::sentinel::notice;
use crate::model::source::FailoverStep::{Begun, Ended};
use crate::model::source::Remark;

const POLL: Duration = Duration::from_secs(1);

fn address(text: &str) -> Address {
    format!("{text}:6379").parse().unwrap()
}

fn at(ms: u64) -> Time {
    Time::from_millis(1_000_000 + ms)
}

fn statement(identity: &str, leader: &str, epoch: u64, now: Time) -> Statement {
    let replicas = ["r1", "r2", "r3"]
        .into_iter()
        .filter(|name| *name != leader);
    Statement {
        asked_at: now,
        identity: identity.to_owned(),
        leader: address(leader),
        epoch,
        quorum: 2,
        is_tilted: false,
        replicas: replicas
            .map(|name| ListedEndpoint {
                address: address(name),
                name: name.to_owned(),
                is_balanced: true,
                may_lead: true,
                remark: Remark::default(),
            })
            .collect(),
    }
}

/// Three Sentinels that say that r1 leads r2 and r3 under epoch 4, and have been heard.
fn watch() -> Watch {
    let sentinels: Vec<Address> = ["s1", "s2", "s3"].into_iter().map(address).collect();
    let mut watch = Watch::new(&sentinels, POLL);
    all_say(&mut watch, "r1", 4, at(0));
    watch
}

fn all_say(watch: &mut Watch, leader: &str, epoch: u64, now: Time) -> Vec<SourceWord> {
    let mut words = Vec::new();
    for (position, name) in ["s1", "s2", "s3"].into_iter().enumerate() {
        let said = Ok(statement(name, leader, epoch, now));
        words.extend(watch.hear_answer(position, said, now));
    }
    words
}

/// An event of the Sentinel at this position, as it is on the wire.
fn event(watch: &mut Watch, by: usize, channel: &str, payload: &str, now: Time) -> Vec<SourceWord> {
    let event = notice::read(channel, payload, "m").unwrap();
    watch.hear_event(by, event, now)
}

fn candidate(replica: &str) -> String {
    format!("slave {replica}:6379 {replica} 6379 @ m r1 6379")
}

fn steps(words: &[SourceWord]) -> Vec<FailoverStep> {
    let step = |word: &SourceWord| match word {
        SourceWord::Failover(step) => Some(step.clone()),
        _ => None,
    };
    words.iter().filter_map(step).collect()
}

fn trouble(watch: &Watch) -> String {
    watch.status().trouble.unwrap_or_default()
}

fn planned(replica: &str) -> FailoverStep {
    Begun {
        candidate: Some(address(replica)),
        is_planned: true,
    }
}

const SELECTED: &str = "+selected-slave";
const ABORTED: &str = "-failover-abort-slave-timeout";

#[test]
fn the_first_word_comes_with_everything_and_then_only_what_is_new() {
    let sentinels: Vec<Address> = ["s1", "s2", "s3"].into_iter().map(address).collect();
    let mut watch = Watch::new(&sentinels, POLL);
    let first = watch.hear_answer(0, Ok(statement("s1", "r1", 4, at(0))), at(0));
    assert_eq!(first, [], "most of them are about to answer");
    let second = watch.hear_answer(1, Ok(statement("s2", "r1", 4, at(1))), at(1));
    let [
        SourceWord::Endpoints(endpoints),
        SourceWord::Status(status),
        SourceWord::Leader(word),
    ] = second.as_slice()
    else {
        panic!("{second:?}");
    };
    assert_eq!((endpoints.len(), status.has_say), (3, true));
    assert_eq!((&word.leader, word.term), (&Some(address("r1")), 4));
    let refused = Err("cannot connect: refused".to_owned());
    let third = watch.hear_answer(2, refused, at(2));
    assert!(
        matches!(third.as_slice(), [SourceWord::Status(s)] if s.trouble == Some("s3:6379: cannot connect: refused".to_owned())),
        "{third:?}"
    );
    assert_eq!(watch.tick(at(500)), []);
    assert_eq!(watch.tick(at(1100)).len(), 3, "all of it once in a while");
    // When all were asked in vain, it says so.
    let mut deaf = Watch::new(&sentinels, POLL);
    let refusals = (0..3).map(|position| {
        deaf.hear_answer(position, Err("refused".to_owned()), at(0))
            .len()
    });
    assert_eq!(refusals.collect::<Vec<_>>(), [0, 0, 1]);
    // Silence takes the say, not the word.
    let words = watch.tick(at(9000));
    assert!(
        !words
            .iter()
            .any(|word| matches!(word, SourceWord::Leader(_)))
    );
    assert!(!watch.status().has_say && watch.status().heard_at == Some(at(1)));
}

#[test]
fn a_planned_failover_holds_once_and_the_word_follows() {
    let mut watch = watch();
    let master = "master m r1 6379";
    let attempt = event(&mut watch, 1, "+try-failover", master, at(10));
    let hunt = Begun {
        candidate: None,
        is_planned: false,
    };
    assert_eq!(steps(&attempt), [hunt]);
    assert!(watch.is_hurried(at(10)));
    let again = event(&mut watch, 1, "+elected-leader", master, at(20));
    assert_eq!(steps(&again), [], "a hunt is on");
    let begun = event(&mut watch, 1, SELECTED, &candidate("r2"), at(90));
    assert_eq!(steps(&begun), [planned("r2")]);
    let state = "+failover-state-send-slaveof-noone";
    let next = event(&mut watch, 1, state, &candidate("r2"), at(95));
    assert_eq!(steps(&next), [], "the same failover");
    let promoted = event(&mut watch, 1, "+promoted-slave", &candidate("r2"), at(900));
    assert_eq!(steps(&promoted), []);
    let words = all_say(&mut watch, "r2", 5, at(1000));
    let new_leader = LeaderWord {
        leader: Some(address("r2")),
        term: 5,
        is_paused: false,
    };
    assert!(words.contains(&SourceWord::Leader(new_leader)), "{words:?}");
    assert!(!watch.is_open() && trouble(&watch).is_empty());
    // And back at once: it was honest.
    let back = "slave r1:6379 r1 6379 @ m r2 6379";
    let begun = event(&mut watch, 1, SELECTED, back, at(2000));
    assert_eq!(steps(&begun), [planned("r1")]);
}

#[test]
fn an_abort_ends_the_hold_of_who_began_it_alone() {
    let mut watch = watch();
    let master = "master m r1 6379";
    event(&mut watch, 0, SELECTED, &candidate("r2"), at(0));
    assert_eq!(steps(&event(&mut watch, 2, ABORTED, master, at(10))), []);
    let ended = event(&mut watch, 0, ABORTED, master, at(20));
    assert!(matches!(steps(&ended).as_slice(), [Ended { .. }]));
    // While another one's goes on, the end of one ends nothing.
    event(&mut watch, 1, SELECTED, &candidate("r2"), at(30));
    event(&mut watch, 2, SELECTED, &candidate("r3"), at(31));
    assert_eq!(steps(&event(&mut watch, 2, ABORTED, master, at(40))), []);
    let ended = event(&mut watch, 1, ABORTED, master, at(50));
    assert!(matches!(steps(&ended).as_slice(), [Ended { .. }]));
}

#[test]
fn who_announces_in_vain_is_listened_to_less_and_less() {
    let mut watch = watch();
    let mut holds = Vec::new();
    for second in 0..3600 {
        let now = at(second * 1000);
        all_say(&mut watch, "r1", 4, now);
        if !steps(&event(&mut watch, 2, SELECTED, &candidate("r2"), now)).is_empty() {
            holds.push(second);
        }
    }
    // Each is given up after 10 s, then 10, 20, 40 … and at most 600 s pass.
    assert!(holds.len() <= 12, "{holds:?}");
    assert!(trouble(&watch).contains("came to nothing") || watch.is_open());
    // The others are heard as before.
    let now = at(3_600_000);
    let begun = event(&mut watch, 0, SELECTED, &candidate("r3"), now);
    assert_eq!(steps(&begun), [planned("r3")]);
}

#[test]
fn events_that_cannot_be_true_hold_nobody() {
    for (channel, payload, complaint) in [
        (
            SELECTED,
            "slave x r9 6379 @ m r1 6379",
            "it announced r9:6379, which is none of the known replicas",
        ),
        (
            SELECTED,
            "slave x r1 6379 @ m r1 6379",
            "it announced r1:6379, which is the primary already",
        ),
        (
            SELECTED,
            "slave x r2 6379 @ m r3 6379",
            "its event is about r3:6379, which is not the primary",
        ),
        (
            "+switch-master",
            "m r1 6379 r9 6379",
            "it announced r9:6379, which is none of the known replicas",
        ),
    ] {
        let mut watch = watch();
        let words = event(&mut watch, 0, channel, payload, at(5));
        assert_eq!(steps(&words), [], "{channel} {payload}");
        assert_eq!(trouble(&watch), format!("s1:6379: {complaint}"));
    }
    // Before anybody has said who leads, nobody is a known replica.
    let mut watch = Watch::new(&[address("s1")], POLL);
    assert_eq!(
        steps(&event(&mut watch, 0, SELECTED, &candidate("r2"), at(0))),
        []
    );
}

#[test]
fn a_switch_that_was_missed_is_hunted_and_holds_nobody() {
    let mut watch = watch();
    let switch = "m r1 6379 r3 6379";
    let hunted = event(&mut watch, 0, "+switch-master", switch, at(0));
    let hunt = Begun {
        candidate: Some(address("r3")),
        is_planned: false,
    };
    assert_eq!(steps(&hunted), [hunt]);
    assert_eq!(
        steps(&event(&mut watch, 1, "+switch-master", switch, at(1))),
        []
    );
    all_say(&mut watch, "r3", 5, at(100));
    assert_eq!(
        steps(&event(&mut watch, 2, "+switch-master", switch, at(2000))),
        []
    );
}

#[test]
fn status_says_what_keeps_them_from_a_word() {
    let mut watch = watch();
    let mut tilted = statement("s1", "r1", 4, at(10));
    tilted.is_tilted = true;
    watch.hear_answer(0, Ok(tilted), at(10));
    assert_eq!(trouble(&watch), "1 of them in TILT, or configured twice");
    assert!(watch.status().has_say);
    let words = all_say(&mut watch, "r2", 0, at(20));
    assert!(
        !words
            .iter()
            .any(|word| matches!(word, SourceWord::Leader(_)))
    );
    assert_eq!(
        trouble(&watch),
        "their config-epoch went back from 4 to 0: not listened to"
    );
    let mut watch = Watch::new(&[address("s1")], POLL);
    watch.hear_answer(0, Ok(statement("s1", "r1", 4, at(0))), at(0));
    assert_eq!(
        trouble(&watch),
        "2 of them must agree, and 1 are configured"
    );
}
