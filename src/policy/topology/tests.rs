//! Stories of claims, and who is primary after each sentence.
//!
//! A sentence is an endpoint, a letter for what it says, and the details:
//! `a P 3` primary on timeline 3 (`a P 3 9`: of system 9), `a R 3` replica, `a !` does not answer;
//! for Redis `b P y x` primary of history y that grew from x, `b R y` replica in sync, `b L y` link
//! down, `b B y` primary that is still loading. Every answer brings an endpoint up.
//! The outcome is `primary@epoch` (or `-@epoch`) and the flags.

use super::*;
use crate::model::role::{PostgresFacts, RedisFacts, ReplicationId};

const ENDPOINTS: [&str; 4] = ["a", "b", "c", "d"];

struct Story {
    topology: Topology,
    kind: UpstreamKind,
    names: Vec<Name>,
    claims: Vec<(bool, Option<Evidence>)>,
}

impl Story {
    fn new(kind: UpstreamKind) -> Story {
        Story {
            topology: Topology::new(kind).unwrap(),
            kind,
            names: ENDPOINTS.map(Name::from).to_vec(),
            claims: vec![(false, None); 4],
        }
    }

    fn says(&mut self, sentence: &str) {
        let words: Vec<&str> = sentence.split(' ').collect();
        let at = ENDPOINTS.iter().position(|id| *id == words[0]).unwrap();
        if words[1] == "!" {
            self.claims[at].0 = false;
            return;
        }
        let role = if "PB".contains(words[1]) {
            Role::Primary
        } else {
            Role::Replica
        };
        let evidence = match self.kind {
            UpstreamKind::Postgres => Evidence::Postgres(PostgresFacts {
                role,
                system_identifier: words.get(3).map_or(7, |word| word.parse().unwrap()),
                timeline: words[2].parse().unwrap(),
                lsn: 0,
                replay_age_seconds: None,
            }),
            _ => Evidence::Redis(RedisFacts {
                role,
                replication_id: words.get(2).copied().and_then(history),
                previous_replication_id: words.get(3).copied().and_then(history),
                offset: 0,
                is_link_up: words[1] == "R",
                is_loading: words[1] == "B",
            }),
        };
        self.topology.learn(&evidence);
        self.claims[at] = (true, Some(evidence));
    }

    fn outcome(&mut self, is_settled: bool) -> String {
        let claims: Vec<Claim<'_>> = (self.names.iter().zip(&self.claims))
            .map(|(endpoint, (is_healthy, evidence))| Claim {
                endpoint,
                is_healthy: *is_healthy,
                evidence: evidence.as_ref(),
                asked_at: evidence.as_ref().map(|_| Time::ZERO),
                is_fresh: *is_healthy,
                is_doubted: false,
            })
            .collect();
        let advice = Advice::none(is_settled, Time::ZERO);
        let election = self.topology.elect(&claims, &advice);
        assert_eq!(
            self.topology.elect(&claims, &advice),
            election,
            "the same again"
        );
        let mut text = election.primary.map_or("-", |at| ENDPOINTS[at]).to_owned();
        text += &format!("@{}", election.epoch);
        for (name, standing) in ENDPOINTS.iter().zip(&election.standings) {
            let is_flagged = !standing.flags.is_empty() && !standing.flags.has(Flag::RoleUnknown);
            if is_flagged {
                text += &format!(" {name}:{}", standing.flags);
            }
            let is_shown = standing.role == Role::Primary;
            assert!(!is_shown || !is_flagged || standing.flags.has(Flag::Loading));
        }
        text
    }
}

/// A letter as a replication id.
fn history(letter: &str) -> Option<ReplicationId> {
    ReplicationId::parse(&format!("{:02x}", letter.as_bytes()[0]).repeat(20))
}

fn run(kind: UpstreamKind, stories: &[&[(&str, &str)]]) {
    for story in stories {
        let mut told = Story::new(kind);
        for (sentence, outcome) in *story {
            told.says(sentence);
            assert_eq!(
                told.outcome(true),
                *outcome,
                "after `{sentence}` in {story:?}"
            );
        }
    }
}

#[test]
fn postgres_routes_the_highest_timeline_of_its_lineage() {
    run(
        UpstreamKind::Postgres,
        &[
            // A crash, a promotion, and the old primary comes back twice.
            &[
                ("a P 3", "a@3"),
                ("b R 3", "a@3"),
                ("a !", "-@3"),
                ("b P 4", "b@4 a:fenced"),
                ("a P 3", "b@4 a:fenced"),
                ("b !", "-@4 a:fenced"),
                ("a P 4", "a@4"),
                ("a R 4", "-@4"),
                ("b P 4", "b@4"),
            ],
            // A follower proves a newer timeline before the new primary itself answers.
            &[
                ("a P 3", "a@3"),
                ("c R 4", "-@4 a:fenced"),
                ("b P 4", "b@4 a:fenced"),
            ],
            // Equal timelines: nobody, until one stops.
            &[
                ("a P 3", "a@3"),
                ("b P 3", "-@3 a:split_brain b:split_brain"),
                ("c P 3", "-@3 a:split_brain b:split_brain c:split_brain"),
                ("c R 3", "-@3 a:split_brain b:split_brain"),
                ("b R 3", "a@3"),
            ],
            // Another system is never ours, whatever its timeline.
            &[
                ("a P 3", "a@3"),
                ("b P 9 8", "a@3 b:foreign_lineage"),
                ("a !", "-@3 b:foreign_lineage"),
                ("b R 3 8", "-@3 b:foreign_lineage"),
            ],
            // What was seen before the first primary counts as well.
            &[
                ("b R 5", "-@0"),
                ("c R 5 8", "-@0 b:unknown_lineage c:unknown_lineage"),
                ("b R 4", "-@0 b:unknown_lineage c:unknown_lineage"),
                ("a P 4", "-@5 a:fenced c:foreign_lineage"),
            ],
        ],
    );
}

#[test]
fn no_first_primary_is_chosen_before_everyone_was_asked() {
    for (kind, first, second, outcome) in [
        (UpstreamKind::Postgres, "a P 3", "b P 4", "b@4 a:fenced"),
        (
            UpstreamKind::Postgres,
            "a P 3",
            "b P 3 8",
            "-@0 a:split_brain b:split_brain",
        ),
        (UpstreamKind::Redis, "a P x", "b P y x", "b@1 a:fenced"),
        (
            UpstreamKind::Redis,
            "a P x",
            "b P y",
            "-@0 a:split_brain b:split_brain",
        ),
    ] {
        let mut story = Story::new(kind);
        story.says(first);
        assert_eq!(story.outcome(false), "-@0", "{first}");
        story.says(second);
        // The flags of those who wait are left out of the outcome.
        assert!(story.outcome(false).starts_with("-@0"));
        assert_eq!(story.outcome(true), outcome, "{first}, {second}");
    }
}

#[test]
fn redis_routes_the_newest_history() {
    run(
        UpstreamKind::Redis,
        &[
            // A promotion, the old primary comes back, is restarted, and is made a replica.
            &[
                ("a P x", "a@1"),
                ("b R x", "a@1"),
                ("a !", "-@1"),
                ("b P y x", "b@2 a:fenced"),
                ("a P x", "b@2 a:fenced"),
                ("a P z x", "b@2 a:unknown_lineage"),
                ("b !", "-@2 a:unknown_lineage"),
                ("b P y x", "b@2 a:unknown_lineage"),
                ("a L x", "b@2 a:link_down"),
                ("a R y", "b@2"),
                ("a P w y", "a@3 b:fenced"),
            ],
            // A planned failover in which both claim for a while.
            &[
                ("a P x", "a@1"),
                ("b P y x", "b@2 a:fenced"),
                ("a R y", "b@2"),
            ],
            // A follower proves the newer history before its primary answers.
            &[
                ("a P x", "a@1"),
                ("c R y x", "-@2 a:fenced"),
                ("b P y x", "b@2 a:fenced"),
            ],
            // Strangers never displace, nor follow, a known primary.
            &[
                ("a P x", "a@1"),
                ("d P q", "a@1 d:unknown_lineage"),
                ("c R q", "a@1 c:unknown_lineage d:unknown_lineage"),
                ("a !", "-@1 c:unknown_lineage d:unknown_lineage"),
            ],
        ],
    );
}

#[test]
fn redis_knows_a_restarted_primary_and_one_it_was_made_to_follow() {
    run(
        UpstreamKind::Redis,
        &[
            // The last primary restarts: with its data (the old id is its previous one) or without.
            &[
                ("a P x", "a@1"),
                ("a !", "-@1"),
                ("a P z x", "a@2"),
                ("a P v", "a@3"),
                ("c R x", "a@3"),
                // It was promoted from what the primary was before the restarts.
                ("b P y x", "b@4 a:fenced c:fenced"),
            ],
            // Two promotions at once, told in the wrong order.
            &[
                ("a P x", "a@1"),
                ("c P z y", "a@1 c:unknown_lineage"),
                ("b R y x", "c@2 a:fenced b:fenced"),
            ],
            // A newer history is proven to exist and to be over: nobody is left to route to.
            &[
                ("a P x", "a@1"),
                ("c P z y", "a@1 c:unknown_lineage"),
                ("c !", "a@1 c:unknown_lineage"),
                ("c R x", "a@1"),
                ("b P y x", "-@1 a:fenced b:fenced c:fenced"),
            ],
            // An id shown while loading is about to change.
            &[
                ("a P x", "a@1"),
                ("a B q", "-@1 a:loading"),
                ("a P z x", "a@2"),
                ("c B q x", "a@2 c:loading"),
            ],
            // The last primary was made to follow somebody of unknown history.
            &[
                ("a P x", "a@1"),
                ("b P q", "a@1 b:unknown_lineage"),
                ("a L q", "-@1 a:link_down b:unknown_lineage"),
                ("a R q", "b@2"),
                // But never somebody whose history is over.
                ("b R x", "-@2 b:fenced"),
                ("a P x", "-@2 a:fenced b:fenced"),
            ],
            // Two that hide or share their ids.
            &[
                ("a P", "a@1"),
                ("b P", "a@1 b:unknown_lineage"),
                ("b R", "a@1"),
            ],
            &[
                ("a P x", "a@1"),
                ("b P x", "-@1 a:split_brain b:split_brain"),
                ("a R x", "b@1"),
            ],
            // Replicas without a primary.
            &[
                ("a R x", "-@0"),
                ("b R x", "-@0"),
                (
                    "c R q",
                    "-@0 a:unknown_lineage b:unknown_lineage c:unknown_lineage",
                ),
            ],
        ],
    );
}

#[test]
fn memory_is_bounded_and_an_old_enough_history_is_still_refused() {
    let mut story = Story::new(UpstreamKind::Redis);
    let letter = |at: u8| char::from(at + 33).to_string();
    story.says(&format!("a P {}", letter(0)));
    assert_eq!(story.outcome(true), "a@1");
    for at in 1..90 {
        let promoted = ENDPOINTS[usize::from(at % 3)];
        story.says(&format!("{promoted} P {} {}", letter(at), letter(at - 1)));
        assert!(story.outcome(true).starts_with(promoted));
    }
    story.says(&format!("d P {}", letter(2)));
    assert!(story.outcome(true).contains("d:unknown_lineage"));
}
