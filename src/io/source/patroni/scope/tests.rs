//! Keys in, words out.

use proptest::prelude::*;

use super::*;
use crate::config::default;
use crate::io::source::patroni::tags::Tags;
use crate::model::source::FailoverStep;

const PREFIX: &str = "/service/it/";

pub(super) fn entry(key: &str, value: &str, revision: u64) -> Entry {
    Entry {
        key: format!("{PREFIX}{key}"),
        value: value.to_owned(),
        revision,
    }
}

pub(super) fn put(key: &str, value: &str, revision: u64) -> Change {
    Change::Put(entry(key, value, revision))
}

pub(super) fn delete(key: &str, revision: u64) -> Change {
    Change::Delete {
        key: format!("{PREFIX}{key}"),
        revision,
    }
}

pub(super) fn member_value(number: u32) -> String {
    format!(r#"{{"conn_url":"postgres://pg{number}:5432/postgres","state":"running"}}"#)
}

/// Two members, `pg1` leads since revision 4.
pub(super) fn listing(revision: u64) -> Listing {
    Listing {
        store: 1,
        revision,
        entries: vec![
            entry("config", r#"{"ttl":30}"#, 3),
            entry("initialize", "7710622266520237243", 2),
            entry("leader", "pg1", 4),
            entry("members/pg1", &member_value(1), 5),
            entry("members/pg2", &member_value(2), 6),
        ],
    }
}

fn without(mut listing: Listing, key: &str) -> Listing {
    let key = format!("{PREFIX}{key}");
    listing.entries.retain(|entry| entry.key != key);
    listing
}

pub(super) fn with(mut listing: Listing, entry: Entry) -> Listing {
    listing.entries.push(entry);
    listing
}

pub(super) fn leader(number: Option<u32>, term: u64) -> SourceWord {
    paused(number, term, false)
}

pub(super) fn paused(number: Option<u32>, term: u64, is_paused: bool) -> SourceWord {
    SourceWord::Leader(LeaderWord {
        leader: number.map(|number| format!("pg{number}:5432").parse().unwrap()),
        term,
        is_paused,
    })
}

pub(super) fn begun(candidate: Option<u32>) -> SourceWord {
    SourceWord::Failover(FailoverStep::Begun {
        candidate: candidate.map(|number| format!("pg{number}:5432").parse().unwrap()),
        is_planned: true,
    })
}

pub(super) fn ended() -> SourceWord {
    SourceWord::Failover(FailoverStep::Ended {
        why: "Patroni has dropped it".to_owned(),
    })
}

/// A scope that has heard [`listing`] at revision 9.
pub(super) fn followed() -> Scope {
    let mut scope = Scope::new("/service/", "it");
    let words = scope.list(&listing(9), Time::ZERO).unwrap();
    assert_eq!(words.len(), 2);
    assert!(matches!(&words[0], SourceWord::Endpoints(endpoints) if endpoints.len() == 2));
    assert_eq!(words[1], leader(Some(1), 4));
    scope
}

#[test]
fn planned_failovers_become_words_in_their_order() {
    let switchover = r#"{"leader":"pg1","member":"pg2"}"#;
    each(vec![
        (
            "a switchover",
            vec![
                put("failover", switchover, 10),
                delete("leader", 11),
                put("leader", "pg2", 12),
                put("failover", "{}", 13),
            ],
            vec![begun(Some(2)), leader(None, 11), leader(Some(2), 12)],
        ),
        (
            "a switchover that is dropped",
            vec![put("failover", switchover, 10), put("failover", "{}", 11)],
            vec![begun(Some(2)), ended()],
        ),
        (
            "a switchover after which the old one leads again",
            vec![
                put("failover", switchover, 10),
                delete("leader", 11),
                put("leader", "pg1", 12),
                delete("failover", 13),
            ],
            vec![
                begun(Some(2)),
                leader(None, 11),
                leader(Some(1), 12),
                ended(),
            ],
        ),
        (
            "to whomever Patroni picks",
            vec![put("failover", r#"{"leader":"pg1"}"#, 10)],
            vec![begun(None)],
        ),
        (
            "ones that Patroni refuses, or whose time nobody can read",
            vec![
                put("failover", r#"{"leader":"pg2","member":"pg1"}"#, 10),
                put("failover", r#"{"member":"pg1"}"#, 11),
                put("failover", r#"{"leader":"pg1","scheduled_at":"soon"}"#, 12),
                put("failover", "{}", 13),
                put("failover", "nonsense", 14),
            ],
            vec![],
        ),
    ]);
}

#[test]
fn other_changes_become_words_in_their_order() {
    each(vec![
        (
            "a crash",
            vec![
                delete("leader", 10),
                delete("members/pg1", 11),
                put("leader", "pg2", 12),
            ],
            vec![leader(None, 10), gone(1), leader(Some(2), 12)],
        ),
        (
            "a pause",
            vec![
                put("config", r#"{"ttl":30,"pause":true}"#, 10),
                delete("leader", 11),
                put("config", r#"{"ttl":30}"#, 12),
            ],
            vec![
                paused(Some(1), 10, true),
                paused(None, 11, true),
                leader(None, 12),
            ],
        ),
        (
            "what says nothing new",
            vec![
                put("members/pg1", &member_value(1), 10),
                put("status", r#"{"optime":8388608}"#, 11),
                put("sync", r#"{"leader":"pg1"}"#, 12),
                put("0/leader", "pg2", 13),
                put("members/pg2/x", &member_value(7), 14),
                put("leader", "a stranger", 15),
            ],
            vec![],
        ),
        (
            "what the listing had already",
            vec![put("leader", "pg2", 8), delete("leader", 9)],
            vec![],
        ),
    ]);
}

/// The list, when this one's key is gone.
fn gone(number: u32) -> SourceWord {
    let mut roster = Roster::default();
    for number in [1, 2] {
        let key = format!("members/pg{number}");
        let entry = entry(&key, &member_value(number), 1);
        roster.join(member(&key, &entry).unwrap());
    }
    roster.leave(&format!("pg{number}"), Time::ZERO);
    SourceWord::Endpoints(roster.endpoints())
}

/// What changes are called, the changes, and the words they become: all in one piece and one by one.
fn each(cases: Vec<(&str, Vec<Change>, Vec<SourceWord>)>) {
    for (what, changes, words) in cases {
        assert_eq!(followed().change(&changes, Time::ZERO), words, "{what}");
        let mut scope = followed();
        let one_by_one: Vec<_> = changes
            .iter()
            .flat_map(|change| scope.change(std::slice::from_ref(change), Time::ZERO))
            .collect();
        assert_eq!(one_by_one, words, "{what}");
    }
}

#[test]
fn a_listing_says_what_was_missed() {
    let mut scope = followed();
    assert!(scope.list(&listing(10), Time::ZERO).unwrap().is_empty());
    let gone = without(listing(11), "leader");
    assert_eq!(scope.list(&gone, Time::ZERO).unwrap(), [leader(None, 11)]);
    let still_gone = without(listing(15), "leader");
    assert!(scope.list(&still_gone, Time::ZERO).unwrap().is_empty());
    let back = with(still_gone, entry("leader", "pg2", 16));
    let words = scope.list(
        &Listing {
            revision: 17,
            ..back
        },
        Time::ZERO,
    );
    assert_eq!(words.unwrap(), [leader(Some(2), 16)]);

    // A failover was asked for and is over, or has been asked for again.
    let mut scope = followed();
    let asked = entry("failover", r#"{"member":"pg2"}"#, 10);
    let running = with(listing(10), asked);
    assert_eq!(scope.list(&running, Time::ZERO).unwrap(), [begun(Some(2))]);
    assert!(scope.list(&running, Time::ZERO).unwrap().is_empty());
    assert_eq!(scope.list(&listing(11), Time::ZERO).unwrap(), [ended()]);
}

#[test]
fn a_leader_that_is_missing_from_the_beginning_is_missing() {
    let mut scope = Scope::new("/service/", "it");
    let words = scope
        .list(&without(listing(9), "leader"), Time::ZERO)
        .unwrap();
    assert_eq!(words[1..], [leader(None, 9)]);
}

#[test]
fn an_empty_etcd_says_nothing_of_the_leader() {
    let nothing = Listing {
        store: 1,
        revision: 9,
        entries: vec![Entry {
            key: "/service/other/leader".to_owned(),
            value: "pg1".to_owned(),
            revision: 4,
        }],
    };
    let why = Scope::new("/service/", "it")
        .list(&nothing, Time::ZERO)
        .unwrap_err();
    assert!(why.contains("\"/service/it/\"") && why.contains("is the scope right?"));
    assert!(followed().list(&nothing, Time::ZERO).is_err());
}

#[test]
fn an_etcd_that_begins_anew_does_not_turn_terms_back() {
    for (store, revision) in [(1, 5), (2, 5), (2, 100)] {
        let mut scope = followed();
        let mut anew = listing(revision);
        anew.store = store;
        let words = scope.list(&anew, Time::ZERO).unwrap();
        assert_eq!(words, [leader(Some(1), 9 + 4)]);
        let words = scope.change(&[delete("leader", revision + 1)], Time::ZERO);
        assert_eq!(words, [leader(None, 9 + revision + 1)]);
    }
}

#[test]
fn the_rest_api_names_a_leader_and_never_none() {
    let answer = |names: Option<u32>, is_paused| ClusterAnswer {
        members: vec![Member {
            name: "pg3".to_owned(),
            address: "pg3:5432".parse().unwrap(),
            api: None,
            tags: Tags::default(),
            condition: None,
            needs_restart: false,
        }],
        leader: names.map(|number| format!("pg{number}")),
        is_paused,
        synchrony: BTreeMap::new(),
        scheduled: None,
    };
    let at = Time::from_millis;
    let mut scope = Scope::new("/service/", "it");
    let words = scope.hear(&answer(Some(3), false), at(10));
    assert!(matches!(&words[0], SourceWord::Endpoints(endpoints) if endpoints.len() == 1));
    assert_eq!(words[1..], [leader(Some(3), 0)]);
    assert!(scope.hear(&answer(None, false), at(20)).is_empty());
    assert_eq!(
        scope.hear(&answer(None, true), at(30)),
        [paused(Some(3), 0, true)]
    );
    // Asked before the last one: an old answer.
    assert!(scope.hear(&answer(None, false), at(25)).is_empty());

    // Etcd knows better; when it is lost, what it said last is the beginning.
    let mut scope = followed();
    assert!(scope.hear(&answer(Some(3), false), at(10)).is_empty());
    scope.lose_etcd();
    let words = scope.hear(&answer(Some(3), false), at(20));
    assert_eq!(words[1..], [leader(Some(3), 4)]);
    let words = scope.list(&listing(12), at(30)).unwrap();
    // Who is listed there and who is not has changed as well.
    assert!(matches!(&words[0], SourceWord::Endpoints(endpoints) if endpoints.len() == 3));
    assert_eq!(words[1..], [leader(Some(1), 4)]);
    // Who was silent is heard in full.
    scope.fall_silent();
    assert_eq!(scope.list(&listing(13), at(40)).unwrap().len(), 2);
}

#[test]
fn a_dead_member_stays_listed_and_leads_by_its_address() {
    let mut scope = followed();
    scope.change(&[delete("members/pg2", 10)], Time::ZERO);
    let words = scope.change(&[put("leader", "pg2", 11)], Time::ZERO);
    assert_eq!(words, [leader(Some(2), 11)]);
    let much_later = Time::ZERO.after(default::SOURCE_ENDPOINT_KEEP);
    let words = scope
        .list(&without(listing(12), "members/pg2"), much_later)
        .unwrap();
    assert!(matches!(&words[0], SourceWord::Endpoints(endpoints) if endpoints.len() == 1));
}

/// Any change of the keys that matter.
fn any_change() -> impl Strategy<Value = (bool, usize, usize)> {
    (any::<bool>(), 0..5usize, 0..4usize)
}

proptest! {
    /// However changes are cut into pieces, and wherever listings fall between them, the last word on
    /// the leader is the truth, and terms never fall.
    #[test]
    fn the_last_word_is_the_truth(steps in proptest::collection::vec((any_change(), any::<bool>()), 1..40)) {
        let keys = ["leader", "members/pg1", "members/pg2", "failover", "config"];
        let mut scope = followed();
        let mut truth: std::collections::BTreeMap<String, Entry> =
            listing(9).entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        let mut heard = vec![leader(Some(1), 4)];
        for (step, ((is_delete, key, value), is_listed)) in steps.into_iter().enumerate() {
            let (revision, key) = (10 + step as u64, keys[key]);
            let value = match key {
                "leader" => format!("pg{}", 1 + value % 2),
                "config" => format!(r#"{{"pause":{}}}"#, value % 2 == 0),
                "failover" => [r#"{"member":"pg2"}"#, r#"{"member":"pg1"}"#, "{}", "x"][value].to_owned(),
                _ => member_value(if key.ends_with('1') { 1 } else { 2 }),
            };
            let change = if is_delete { delete(key, revision) } else { put(key, &value, revision) };
            match &change {
                Change::Put(entry) => drop(truth.insert(entry.key.clone(), entry.clone())),
                Change::Delete { key, .. } => drop(truth.remove(key)),
            }
            let words = if is_listed {
                let entries = truth.values().cloned().collect();
                scope.list(&Listing { store: 1, revision, entries }, Time::ZERO).unwrap()
            } else {
                scope.change(&[change], Time::ZERO)
            };
            heard.extend(words);
        }
        let words: Vec<&LeaderWord> = heard
            .iter()
            .filter_map(|word| match word {
                SourceWord::Leader(word) => Some(word),
                _ => None,
            })
            .collect();
        prop_assert!(words.windows(2).all(|pair| pair[0].term <= pair[1].term));
        let named = truth.get("/service/it/leader").map(|entry| format!("{}:5432", entry.value));
        let last = words.last().unwrap();
        prop_assert_eq!(last.leader.as_ref().map(ToString::to_string), named);
        let is_paused = truth.get("/service/it/config").is_some_and(|entry| Settings::read(&entry.value).is_paused);
        prop_assert_eq!(last.is_paused, is_paused);
    }
}
