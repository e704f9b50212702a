//! Tables of what Sentinels say and what it comes to, and the promises whatever they say.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const POLL: Duration = Duration::from_secs(1);

fn address(text: &str) -> Address {
    format!("{text}:6379").parse().unwrap()
}

fn replica(text: &str) -> ListedEndpoint {
    ListedEndpoint {
        address: address(text),
        name: text.to_owned(),
        is_balanced: true,
        may_lead: true,
        remark: Remark::default(),
    }
}

/// At `second`, this one says that `leader` leads under `epoch`.
fn says(second: u64, identity: &str, leader: &str, epoch: u64) -> Statement {
    Statement {
        asked_at: Time::from_millis(second * 1000),
        identity: identity.to_owned(),
        leader: address(leader),
        epoch,
        quorum: 2,
        is_tilted: false,
        replicas: Vec::new(),
    }
}

fn at(second: u64) -> Time {
    Time::from_millis(second * 1000)
}

fn word(leader: &str, term: u64) -> Option<LeaderWord> {
    Some(LeaderWord {
        leader: Some(address(leader)),
        term,
        is_paused: false,
    })
}

fn after(statements: Vec<Statement>, of: usize, now: Time) -> Finding {
    let mut quorum = Quorum::new(of, POLL);
    for (position, statement) in statements.into_iter().enumerate() {
        quorum.hear(position, statement);
    }
    quorum.find(now)
}

/// `who leader epoch`, then what is not usual: `tilt`, `needs=N`, `at=SECOND`.
fn spoken(text: &str) -> Statement {
    let mut words = text.split_whitespace();
    let mut next = || words.next().unwrap();
    let (who, leader, epoch) = (next(), next(), next().parse().unwrap());
    let mut statement = says(10, who, leader, epoch);
    for word in words {
        match word.split_once('=') {
            Some(("needs", quorum)) => statement.quorum = quorum.parse().unwrap(),
            Some((_, second)) => statement.asked_at = at(second.parse().unwrap()),
            None => statement.is_tilted = true,
        }
    }
    statement
}

#[test]
fn a_word_needs_most_of_them() {
    let none = None;
    for (what, said, of, expected) in [
        ("nobody answers", "", 3, none.clone()),
        ("one of three", "a x 1", 3, none.clone()),
        ("the only one, and it needs two", "a x 7", 1, none.clone()),
        ("the only one", "a x 7 needs=1", 1, word("x", 7)),
        ("two of three", "a x 1, b x 1", 3, word("x", 1)),
        ("two of four are half", "a x 1, b x 1", 4, none.clone()),
        ("they disagree", "a x 1, b y 2", 3, none.clone()),
        ("one is alone", "a x 1, b y 9, c x 1", 3, word("x", 1)),
        ("its epoch alone", "a x 1, b x 999, c x 2", 3, word("x", 2)),
        ("one is late", "a x 1, b x 1 at=6", 3, none.clone()),
        ("one is in TILT", "a x 1, b x 1 tilt", 3, none.clone()),
        ("one counted twice", "a x 1, a x 1", 3, none.clone()),
        (
            "three are needed",
            "a x 1 needs=3, b x 1 needs=3, c y 1",
            3,
            none,
        ),
        (
            "one needs too many",
            "a y 1 needs=1000, b x 1, c x 1",
            3,
            word("x", 1),
        ),
    ] {
        let said = said.split(", ").filter(|text| !text.is_empty());
        let finding = after(said.map(spoken).collect(), of, at(10));
        assert_eq!(finding.has_say(), expected.is_some(), "{what}");
        assert_eq!(finding.word, expected, "{what}");
    }
}

#[test]
fn words_only_become_newer_and_the_last_one_stays() {
    let mut quorum = Quorum::new(3, POLL);
    let mut say = |second: u64, words: [Option<(&str, u64)>; 3]| {
        for (position, name) in ["a", "b", "c"].into_iter().enumerate() {
            if let Some((leader, epoch)) = words[position] {
                quorum.hear(position, says(second, name, leader, epoch));
            }
        }
        quorum.find(at(second))
    };
    let first = say(1, [Some(("x", 1)), Some(("x", 1)), Some(("x", 1))]);
    assert_eq!((first.word.clone(), first.has_say()), (word("x", 1), true));
    let begun = say(2, [Some(("y", 2)), Some(("x", 1)), Some(("x", 1))]);
    assert_eq!((begun.word.clone(), begun.has_say()), (word("x", 1), true));
    let half = say(3, [Some(("y", 2)), None, Some(("x", 1))]);
    assert_eq!((half.word.clone(), half.has_say()), (word("x", 1), true));
    let done = say(4, [Some(("y", 2)), Some(("y", 2)), Some(("x", 1))]);
    assert_eq!((done.word.clone(), done.has_say()), (word("y", 2), true));
    // Nobody answers: the word stays, nobody stands behind it.
    let silent = say(40, [None, None, None]);
    assert_eq!((silent.word.clone(), silent.up), (word("y", 2), 0));
    assert!(!silent.has_say());
    // All of them were set up anew: their word of old is not taken, and the last one is not theirs.
    let anew = say(50, [Some(("x", 0)), Some(("x", 0)), Some(("x", 0))]);
    assert_eq!(
        (anew.word.clone(), anew.went_back_to),
        (word("y", 2), Some(0))
    );
    assert!(!anew.has_say());
    let still = say(110, [Some(("x", 0)), Some(("x", 0)), Some(("x", 0))]);
    assert!(
        still.has_say() && still.word == word("x", 0),
        "60 s without the old word"
    );
    let caught_up = say(111, [Some(("x", 3)), Some(("x", 3)), Some(("x", 3))]);
    assert_eq!(
        (caught_up.word.clone(), caught_up.has_say()),
        (word("x", 3), true)
    );
}

#[test]
fn a_late_answer_changes_nothing() {
    let mut quorum = Quorum::new(1, POLL);
    let alone = |second, leader| Statement {
        quorum: 1,
        ..says(second, "a", leader, 1)
    };
    quorum.hear(0, alone(5, "y"));
    quorum.hear(0, alone(4, "x"));
    assert_eq!(quorum.find(at(5)).word, word("y", 1));
    quorum.hear(7, alone(6, "z"));
    assert_eq!(quorum.heard_at(7), None);
    assert_eq!(quorum.heard_at(0), Some(at(5)));
}

#[test]
fn endpoints_are_those_most_name_and_leave_late() {
    let with = |statement: Statement, replicas: &[&str]| Statement {
        replicas: replicas.iter().map(|text| replica(text)).collect(),
        ..statement
    };
    let names = |finding: &Finding| -> Vec<String> {
        let endpoints = finding.endpoints.iter();
        let texts = endpoints.map(|e| e.address.to_string());
        texts.map(|text| text.replace(":6379", "")).collect()
    };
    let mut quorum = Quorum::new(3, POLL);
    quorum.hear(0, with(says(1, "a", "x", 1), &["y", "z"]));
    assert_eq!(
        names(&quorum.find(at(1))),
        Vec::<String>::new(),
        "no word yet"
    );
    quorum.hear(1, with(says(1, "b", "x", 1), &["y"]));
    assert_eq!(names(&quorum.find(at(1))), ["x", "y"]);
    // One lies: it adds nobody and removes nobody.
    quorum.hear(2, with(says(1, "c", "q", 9), &["p"]));
    assert_eq!(names(&quorum.find(at(1))), ["x", "y"]);
    for (position, name) in ["a", "b", "c"].into_iter().enumerate() {
        quorum.hear(position, says(2, name, "x", 1));
    }
    assert_eq!(names(&quorum.find(at(2))), ["x", "y"], "just forgotten");
    for (position, name) in ["a", "b", "c"].into_iter().enumerate() {
        quorum.hear(position, says(40, name, "x", 1));
    }
    assert_eq!(names(&quorum.find(at(40))), ["x"]);
}

#[test]
fn what_most_say_of_a_replica_is_what_it_is() {
    let never = ListedEndpoint {
        may_lead: false,
        ..replica("y")
    };
    let mut quorum = Quorum::new(3, POLL);
    for (position, listed) in [replica("y"), never.clone(), never].into_iter().enumerate() {
        let statement = says(1, ["a", "b", "c"][position], "x", 1);
        let replicas = vec![listed];
        quorum.hear(
            position,
            Statement {
                replicas,
                ..statement
            },
        );
    }
    let finding = quorum.find(at(1));
    let y = finding.endpoints.iter().find(|e| e.address == address("y"));
    assert!(!y.unwrap().may_lead && y.unwrap().is_balanced);
    let x = finding.endpoints.iter().find(|e| e.address == address("x"));
    assert!(x.unwrap().may_lead);
}

fn any_statement(second: u64, identity: String) -> impl Strategy<Value = Statement> {
    (0..3usize, 0..4u64, 0..5usize, any::<bool>()).prop_map(move |(leader, epoch, quorum, tilt)| {
        Statement {
            quorum,
            is_tilted: tilt,
            replicas: vec![replica(["x", "y", "z"][leader])],
            ..says(second, &identity, ["x", "y", "z"][2 - leader], epoch)
        }
    })
}

proptest! {
    /// Whatever they say in whatever order, the word never becomes older, and it was said by more
    /// than half of them.
    #[test]
    fn a_word_is_of_most_and_never_older(
        said in prop::collection::vec((0..5usize, 0..2u64), 1..60)
            .prop_flat_map(|steps| {
                let mut second = 0;
                steps.into_iter().map(|(position, later)| {
                    second += later;
                    any_statement(second, position.to_string()).prop_map(move |s| (position, s))
                }).collect::<Vec<_>>()
            })
    ) {
        let mut quorum = Quorum::new(5, POLL);
        let mut term = 0;
        for (position, statement) in said {
            let now = statement.asked_at;
            quorum.hear(position, statement);
            let before = quorum.word.clone();
            let finding = quorum.find(now);
            prop_assert!(finding.voices <= finding.up && finding.up <= 5);
            if let Some(word) = &finding.word {
                prop_assert!(word.term >= term);
                term = word.term;
                if finding.word != before {
                    let same = quorum.statements.iter().flatten()
                        .filter(|s| Some(&s.leader) == word.leader.as_ref() && !s.is_tilted)
                        .filter(|s| s.epoch >= word.term);
                    prop_assert!(same.count() >= 3);
                }
            }
            // The same again changes nothing.
            prop_assert_eq!(quorum.find(now), finding);
        }
    }

    /// Two of five may say what they like: the word is that of the three.
    #[test]
    fn a_minority_decides_nothing(
        first in any_statement(1, "d".to_owned()),
        second in any_statement(1, "e".to_owned()),
    ) {
        let honest = |name: &str| Statement {
            quorum: 3,
            replicas: vec![replica("y")],
            ..says(1, name, "x", 2)
        };
        let said = vec![honest("a"), honest("b"), honest("c"), first, second];
        let finding = after(said, 5, at(1));
        prop_assert!(finding.has_say());
        prop_assert_eq!(finding.word, word("x", 2));
        let known: Vec<_> = finding.endpoints.iter().map(|e| e.address.clone()).collect();
        prop_assert_eq!(known, [address("x"), address("y")]);
    }
}
